"""All that only a GPU can show, in one command: that it builds, that it is right, how fast it is."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from operator import ge, le
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dasr_fast.files import written_whole

ROOT = Path(__file__).resolve().parents[1]

FOLDERS = (
    *("ops", "kernels", "compiled", "degradation", "nn", "models", "acceleration", "export", "inference", "training"),
    *("test_cuda_graph.py", "test_soak.py"),
)
HUGE = "2_31"
"""In the names of tests that fill most of a GPU's memory, and so can't run beside others."""


class Step(NamedTuple):
    """Something to find out by commands that run at once, which have the names of their logs, and an environment.

    It may take that many seconds, more or less in proportion where more or less are left for all steps.
    """

    name: str
    seconds: float
    commands: Mapping[str, Sequence[str]]
    environment: Mapping[str, str] = {}


def steps(details: Path, *, on_gpu: bool, reference: Sequence[str]) -> Iterator[Step]:
    """All of them, in order of what a second of them tells; on a CPU the same commands do little."""
    python, device = sys.executable, "cuda" if on_gpu else "cpu"
    pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "-rf"]

    def speed(name: str, *options: str) -> dict[str, list[str]]:
        run = [python, "benchmarks/run.py", "--device", device, "--without", "compiled", "--without", "max-autotune"]
        return {name: [*run, *reference, "--output", str(details / name), *options]}

    yield Step("build", 240, {"build": [python, "-m", "dasr_fast.build", *(["--what", "cuda"] if on_gpu else [])]})
    if on_gpu:
        gpu = [*pytest, "-p", "only_gpu"]
        workers = ["-n", "10"] if find_spec("xdist") else []
        every = [*gpu, *workers, "-k", f"not {HUGE}", *(f"tests/{name}" for name in FOLDERS)]
        # Each process compiles by itself already.
        more = {"DASR_FAST_EXAMPLES": "300", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        yield Step("tests", 170, {"tests": every}, more)
        yield Step("huge", 40, {"huge": [*gpu, "-k", HUGE, "tests/kernels/test_gpu.py"]})
    else:
        yield Step("tests", 170, {"tests": [*pytest, "tests/ops/test_backends.py"]})
    small = [*pytest, "-p", "only_gpu", "tests/ops/test_every_op.py", "-k", "small or medium or odd"]
    # Each tensor has memory of its own, so that what lies beyond it is nobody's.
    apart = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    sanitizer = ["compute-sanitizer", "--error-exitcode", "1", "--print-limit", "20", "--tool"]
    tools = ("memcheck", "racecheck", "initcheck")
    yield Step("sanitizer", 120, {tool: [*sanitizer, tool, *small] for tool in tools}, apart)
    soak = [*pytest, "-s", "tests/test_soak.py"]
    yield Step("soak", 60, {"soak": soak}, {"DASR_FAST_SOAK": "10" if on_gpu else "0"})
    if on_gpu:
        sizes = ["--size", "320x180", "--size", "960x540", "--scale", "4", "--suite", "network"]
        yield Step("network", 90, speed("network", *sizes, "--batch", "1", "--profile"))
        yield Step("training", 60, speed("training", "--suite", "training", "--suite", "degradation", "--profile"))
        yield Step("memory", 40, speed("memory", "--suite", "memory"))
    ops = ["--suite", "ops"] if on_gpu else ["--suite", "degradation", "--quick"]
    yield Step("ops", 120, speed("ops", *ops))
    tune = ["--budget", "70"] if on_gpu else ["--dry-run", "--op", "channel_modulation"]
    yield Step("tune", 80, {"tune": [python, "benchmarks/gpu/tune.py", *tune]})
    if on_gpu:
        yield Step("tuned", 120, speed("tuned", *ops))
    results = [str(details / name / "results.json") for name in ("ops", "tuned" if on_gpu else "ops")]
    yield Step("compare", 20, {"compare": [python, "benchmarks/compare.py", *results, "--all"]})
    ncu = ["ncu", "--set", "basic", "--csv", "--kernel-name-base", "demangled", "--kernel-name", "regex:dasr_fast|^_"]
    ncu += ["--target-processes", "all", "--launch-count", "400", "--log-file", str(details / "counters.csv"), *small]
    yield Step("counters", 60, {"counters": ncu})


def run(step: Step, details: Path, seconds: float, device: str) -> tuple[str, str]:
    """State of a step, and the last lines that it said; its commands are stopped after some seconds."""
    end, processes = time.monotonic() + seconds, {}
    for name, (program, *arguments) in step.commands.items():
        path = find(program)
        if path is None:
            return "absent", f"{program} isn't there"
        with (details / f"{name}.log").open("w") as log:
            processes[name] = subprocess.Popen(
                [path, *arguments],
                cwd=ROOT,
                env={**environment(device), **step.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    states, lines = [], []
    for name, process in processes.items():
        try:
            states.append("failed" if process.wait(max(0.0, end - time.monotonic())) else "passed")
        except subprocess.TimeoutExpired:
            states.append("late")
        stop(process)
        said = [line.strip() for line in (details / f"{name}.log").read_text(errors="replace").splitlines()]
        lines.append(next((line for line in reversed(said) if line), "it said nothing"))
        missing = re.search(r"No module named '?(\w+)", lines[-1])
        if states[-1] == "failed" and missing and missing[1] not in ("dasr_fast", "benchmarks"):
            states[-1] = "absent"
    return next(state for state in ("failed", "late", "absent", "passed") if state in states), "; ".join(lines)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started."""
    for what in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, what)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)


def find(program: str) -> str | None:
    """Path of a program: on the PATH, in CUDA_HOME, or in the usual folders."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [f"{home}/{name}" for home in filter(None, homes) for name in ("bin", "compute-sanitizer")]
    folders += map(str, sorted(Path("/opt/nvidia/nsight-compute").glob("*"), reverse=True))
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(folders))


def environment(device: str) -> dict[str, str]:
    """For steps: the checkout is found first, kernels are compiled for this GPU, and there is none on a CPU."""
    before = filter(None, [os.environ.get("PYTHONPATH")])
    changed = {"PYTHONPATH": os.pathsep.join([str(ROOT), *before]), "PYTHONUNBUFFERED": "1"}
    if device == "cpu":
        changed["CUDA_VISIBLE_DEVICES"] = ""
    else:
        import torch

        changed["TORCH_CUDA_ARCH_LIST"] = ".".join(map(str, torch.cuda.get_device_capability()))
    return {**os.environ, **changed}


def complete_checkout() -> None:
    """Let a checkout that wasn't installed find its kernels and its version."""
    if find_spec("dasr_fast.kernels") is None:
        (ROOT / "dasr_fast" / "kernels").symlink_to(Path("..", "kernels"))
    try:
        metadata.version("dasr-fast")
    except metadata.PackageNotFoundError:
        version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        (ROOT / "dasr_fast.egg-info").mkdir()
        (ROOT / "dasr_fast.egg-info" / "PKG-INFO").write_text(f"Name: dasr-fast\nVersion: {version and version[1]}\n")


def targets(details: Path) -> Iterator[tuple[str, str, str, bool | None]]:
    """What is to be reached on an NVIDIA H200: work, what is wanted, what was measured, whether that is enough."""
    from benchmarks.harness.results import Best, read

    step = "training step, everything, 32 of 48x48"
    depthwise = "dynamic_depthwise_conv 32x64x48x48, forward + backward"
    # Times as fast as the released code and as the best alternative, or a share of its memory; ms; of the ceiling.
    wanted = (
        ("network", "network", "x4 of 320x180", 10, 2.5, 0.8, None),
        ("network", "network", "x4 of 960x540", 5, 2, 8, None),
        ("training", "training", step, 6, 2, 5, None),
        ("training", "degradation", "degradation of 32x2x3x192x192", 50, None, 0.06, None),
        ("memory", "memory", step, 2, None, None, None),
        ("ops", "ops", depthwise, None, None, None, 0.8),
    )
    for file, suite, label, released, alternative, milliseconds, ceiling in wanted:
        path = details / file / "results.json"
        run = read(path) if path.exists() else None
        best = Best.of(run.works().get((suite, label), []) if run else [])
        ours = min((r.measured for r in (best.ours, best.narrow) if r and r.measured), default=None)
        others = [one and one.measured for one in (best.released, best.alternative)]
        others.append(run.floor(best.ours) if run and best.ours else None)
        by_released, by_alternative, by_floor = (other / ours if other and ours else None for other in others)
        for text, form, limit, measured, reaches in (
            ("{:g}x released", "{:.2f}x", released, by_released, ge),
            ("{:g}x alternative", "{:.2f}x", alternative, by_alternative, ge),
            ("<= {:g} ms", "{:.3g} ms", milliseconds, ours and ours * 1e3, le),
            ("{:.0%} of the ceiling", "{:.0%}", ceiling, by_floor, ge),
        ):
            if limit is not None:
                figure = ("", None) if measured is None else (form.format(measured), reaches(measured, limit))
                yield f"{suite}: {label}", text.format(limit), *figure


def summary(rows: Sequence[tuple[str, str, float, str]], details: Path) -> str:
    """A page: a line for each step, the targets, and what failed by the logs."""
    lines = ["# Acceptance", "", "| step | state | seconds | |", "|---|---|---:|---|"]
    lines += [f"| {name} | {state} | {seconds:.0f} | {line.replace('|', '/')} |" for name, state, seconds, line in rows]
    verdicts = {True: "reached", False: "**missed**", None: "not measured"}
    lines += ["", "| work | wanted | measured | |", "|---|---:|---:|---|"]
    with suppress(ModuleNotFoundError):  # Of pytest-benchmark.
        lines += [f"| {' | '.join(row)} | {verdicts[reached]} |" for *row, reached in targets(details)]
    found = re.compile(r"(?:FAILED|ERROR|=+ (?:Error|Invalid|Uninit|Misaligned)).*")
    for log in sorted(details.glob("*.log")):
        failures = [f"- {line[:300]}" for line in log.read_text(errors="replace").splitlines() if found.match(line)]
        lines += ["", f"## {log.stem}", "", *failures[:20]] if failures else []
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 1 if a step failed or was late."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [step.name for step in steps(Path(), on_gpu=True, reference=())]
    parser.add_argument("--only", action="extend", nargs="+", choices=names, default=[], help="these steps alone")
    parser.add_argument("--skip", action="extend", nargs="+", choices=names, default=[], help="all but these steps")
    parser.add_argument("--budget", type=float, default=530.0, help="seconds in all (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("gpu-acceptance"), help="folder (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run of everything")
    parser.add_argument("--reference", type=Path, help="a checkout of the released code, to be compared with")
    given = parser.parse_args(arguments)
    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("No NVIDIA GPU was found; --device cpu is a dry run.")
    complete_checkout()
    end, output, rows = time.monotonic() + given.budget, given.output.resolve(), []
    output.mkdir(parents=True, exist_ok=True)
    reference = ["--reference", str(given.reference.resolve())] if given.reference else []
    with tempfile.TemporaryDirectory() as folder:
        details = Path(folder)
        every = steps(details, on_gpu=given.device == "cuda", reference=reference)
        chosen = [s for s in every if (not given.only or s.name in given.only) and s.name not in given.skip]
        for number, step in enumerate(chosen):
            begin = time.monotonic()
            share = (end - begin) / sum(other.seconds for other in chosen[number:])
            state, line = run(step, details, step.seconds * share, given.device) if share > 0 else ("skipped", "")
            rows.append((step.name, state, time.monotonic() - begin, line))
            print(f"{step.name:10} {state:8} {rows[-1][2]:4.0f} s  {line}", flush=True)
            (output / "summary.md").write_text(summary(rows, details))
            with written_whole(output / "details.tar.gz") as path, tarfile.open(path, "w:gz") as archive:
                archive.add(details, "details")
    print(f"Written: {output / 'summary.md'}, {output / 'details.tar.gz'}")
    return int(any(state in ("failed", "late") for _, state, *_ in rows))


if __name__ == "__main__":
    sys.exit(main())
