import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_acceptance
from benchmarks.gpu_acceptance import ROOT, Step, main, targets
from benchmarks.harness.results import Result, Run, write
from benchmarks.harness.work import BASELINE


def says(text: str, *, seconds: float = 60) -> Step:
    """A step by a program of Python."""
    return Step(text.split()[0], seconds, {text.split()[0]: [sys.executable, "-c", text.partition(" ")[2]]})


STEPS = {
    step.name: step
    for step in (
        says("passes print('all is well\\n')"),
        says("fails print('FAILED test'); print('last words'); raise SystemExit(1)"),
        says("lacks import a_package_that_nobody_has"),
        says("breaks import dasr_fast.nothing"),
        says("sleeps import os, time; print(os.getpid(), flush=True); os.fork(); time.sleep(60)", seconds=3),
        Step("absent", 60, {"absent": ["a-program-that-nobody-has"]}),
    )
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the steps of these names; returns the exit code, and states and lines by name."""

    def call(*names: str, budget: float = 600) -> tuple[int, dict[str, list[str]]]:
        monkeypatch.setattr(gpu_acceptance, "steps", lambda *_, **__: iter([STEPS[name] for name in names]))
        code = main(["--device", "cpu", "--output", str(tmp_path), "--budget", str(budget)])
        page = [line.strip("| ").split(" | ") for line in (tmp_path / "summary.md").read_text().splitlines()]
        return code, {row[0]: row[1:] for row in page if row[0] in names}

    return call


def test_the_rest_goes_on_after_a_failure_and_an_archive_is_kept(run: Any, tmp_path: Path):
    code, rows = run("fails", "lacks", "breaks", "absent", "passes")
    assert code == 1
    assert [row[0] for row in rows.values()] == ["failed", "absent", "failed", "absent", "passed"]
    assert rows["passes"][2] == "all is well"
    assert rows["absent"][2] == "a-program-that-nobody-has isn't there"
    assert "## fails\n\n- FAILED test\n" in (tmp_path / "summary.md").read_text()
    with tarfile.open(tmp_path / "details.tar.gz") as archive:
        assert {"details/fails.log", "details/passes.log"} <= set(archive.getnames())


def test_a_step_is_stopped_at_its_limit_with_all_that_it_started(run: Any):
    begin = time.monotonic()
    code, rows = run("sleeps", "passes", budget=63)
    assert time.monotonic() - begin < 40
    assert (code, rows["sleeps"][0], rows["passes"][0]) == (1, "late", "passed")
    status = Path(f"/proc/{rows['sleeps'][2]}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_steps_for_which_no_time_is_left_are_skipped(run: Any):
    code, rows = run("passes", budget=0)
    assert (code, rows["passes"][0]) == (0, "skipped")


def test_commands_are_things_that_are_there(tmp_path: Path):
    for on_gpu in (True, False):
        steps = list(gpu_acceptance.steps(tmp_path, on_gpu=on_gpu, reference=()))
        assert len({step.name for step in steps}) == len(steps)
        words = [word for step in steps for command in step.commands.values() for word in command]
        paths = [word for word in words if word.startswith(("tests/", "benchmarks/"))]
        assert len(paths) > 5
        assert all((ROOT / path).exists() for path in paths)


def test_targets_are_compared_with_the_best_of_this_project(tmp_path: Path):
    (tmp_path / "network").mkdir()
    times = {BASELINE: 10e-3, "onnxruntime": 2e-3, "dasr-fast": 3e-3, "Engine fp16": 0.9e-3}
    results = [Result("network", "x4 of 320x180", name, [time]) for name, time in times.items()]
    results[-1].dtype = "float16"
    write(Run({}, "", {}, [], results, {}), tmp_path / "network" / "results.json")
    rows = {row[:2]: row[2:] for row in targets(tmp_path)}
    work = "network: x4 of 320x180"
    assert rows[work, "10x released"] == ("11.11x", True)
    assert rows[work, "2.5x alternative"] == ("2.22x", False)
    assert rows[work, "<= 0.8 ms"] == ("0.9 ms", False)
    assert rows["memory: training step, everything, 32 of 48x48", "2x released"] == ("", None)


def test_a_checkout_that_was_not_installed_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "dasr_fast").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')

    def no_version(name: str) -> str:
        raise gpu_acceptance.metadata.PackageNotFoundError

    monkeypatch.setattr(gpu_acceptance, "ROOT", tmp_path)
    monkeypatch.setattr(gpu_acceptance, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu_acceptance.metadata, "version", no_version)
    gpu_acceptance.complete_checkout()
    assert (tmp_path / "dasr_fast" / "kernels").readlink() == Path("..", "kernels")
    assert (tmp_path / "dasr_fast.egg-info" / "PKG-INFO").read_text() == "Name: dasr-fast\nVersion: 1.2.3\n"


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        main([])
    assert "No NVIDIA GPU was found; --device cpu is a dry run." in capsys.readouterr().err
