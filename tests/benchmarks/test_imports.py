"""What a machine lacks costs only the parts that need it."""

import subprocess
import sys

from benchmarks.acceptance.part import ROOT
from benchmarks.gpu_acceptance import PARTS, environment

NOT_NEEDED = ("pyvips", "pydantic", "tomlkit", "tensorboard", "sklearn", "scipy", "onnx", "ninja", "safetensors")


def run_without(packages: tuple[str, ...], code: str) -> str:
    """What a process says in which none of these packages can be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({packages}))"
    command = [sys.executable, "-c", f"{hidden}\n{code}"]
    done = subprocess.run(command, cwd=ROOT, env=environment("cpu"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_parts_can_be_imported_without_what_they_may_not_need():
    parts = [f"benchmarks.acceptance.{part.name}" for part in PARTS]
    modules = [*parts, "benchmarks.acceptance.calls", "benchmarks.run", "dasr_fast.inference"]
    run_without(NOT_NEEDED, f"import {', '.join(modules)}")
    run_without((*NOT_NEEDED, "matplotlib", "click"), f"import {', '.join(parts)}")


def test_without_a_reader_of_images_only_the_photograph_is_lost():
    code = """
from benchmarks import degradation
from benchmarks.work import Settings
settings = Settings(quick=True)
print([work.label for work in degradation.works(settings)])
print(degradation.left_out(settings)[-1])
"""
    works, reason = run_without(("pyvips",), code).splitlines()
    assert works == "['degradation of 4x2x3x192x192']"
    assert reason.startswith("degradation: of a photograph: photographs need the Python package pyvips: ")
    assert reason.endswith(".")
