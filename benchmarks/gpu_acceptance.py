"""All that only a GPU can show, in one command: that it builds, that it is right, how fast it is."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.acceptance import summary
from benchmarks.acceptance.part import ROOT, Report
from dasr_fast.files import written_whole

PATHS = (ROOT / "benchmarks" / "acceptance" / "uninstalled", ROOT)
"""What must be found first, so that the checkout needs no installation."""

SPARE = 5.0
"""Seconds before its limit at which a part should be done, to be left to end by itself."""


@dataclass(frozen=True)
class Part:
    """Something to find out.

    Attributes:
        name: As users choose it.
        limit: Seconds that it may take; more or less in proportion, where more or less are left for all parts.
        alone: Whether nothing else may run meanwhile.
        module: What has its function `run(asked, report)`; by its name if left out.
    """

    name: str
    limit: float
    alone: bool = True
    module: str = ""

    @property
    def least(self) -> float:
        """Seconds with which it is worth beginning."""
        return self.limit / 8


PARTS = (
    Part("build", 240),
    Part("tests", 170, alone=False),
    Part("shapes", 120, alone=False),
    Part("sanitizer", 170, alone=False),
    Part("soak", 60, alone=False),
    Part("benchmarks", 150),
    Part("tune", 80),
    Part("tuned", 30),
    Part("profile", 60),
)
"""In order of what a second of them tells. Those that measure times run alone; neighbours that don't run together."""


@dataclass
class Run:
    """Parts of one run, and what came out of them so far.

    Attributes:
        parts: What is asked for, in order.
        output: Folder for everything.
        device: "cpu" or "cuda".
        budget: Seconds in all.
        jobs: Parts that may run at once.
        options: For all parts.
        packed: Whether there is an archive of the details instead of a folder; it is there after each part.
    """

    parts: Sequence[Part]
    output: Path
    device: str
    budget: float
    jobs: int
    options: Sequence[str] = ()
    packed: bool = False

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.budget
        self.stretch = 1.0
        self.facts = facts(self.device)
        self.reports: dict[str, Report] = {}
        self.output.mkdir(parents=True, exist_ok=True)
        self.details = Path(tempfile.mkdtemp()) if self.packed else self.output / "details"
        self.details.mkdir(exist_ok=True)
        self._lock = threading.Lock()

    def __call__(self) -> list[Report]:
        """Run all parts; the summary is there after each, and the time that one left is shared by those after it."""
        groups = self._groups()
        limits = [max(part.limit for part in group) for group in groups]
        try:
            for number, group in enumerate(groups):
                self.stretch = max(0.0, self.end - time.monotonic()) / sum(limits[number:])
                with ThreadPoolExecutor(self.jobs) as pool:
                    list(pool.map(self._report, group))
        finally:
            if self.packed:
                pack(self.details, self.output)
                shutil.rmtree(self.details)
        return self._known()

    def _groups(self) -> list[list[Part]]:
        """Parts that may run together."""
        numbered = groupby(enumerate(self.parts), key=lambda pair: pair[0] if pair[1].alone else None)
        return [[part for _, part in group] for _, group in numbered]

    def _report(self, part: Part) -> None:
        report = self._result(part)
        print(f"{part.name:10} {report.state:8} {report.seconds:4.0f} s  {report.line}", flush=True)
        for failure in report.failures:
            print(f"           {failure}", flush=True)
        with self._lock:
            self.reports[part.name] = report
            summary.write(self._known(), self.facts, self.output)
            if self.packed:
                with suppress(OSError):  # Others may be writing; the next archive has all of it.
                    pack(self.details, self.output)

    def _known(self) -> list[Report]:
        return [self.reports[part.name] for part in self.parts if part.name in self.reports]

    def _result(self, part: Part) -> Report:
        left = self.end - time.monotonic()
        if left < part.least:
            return Report(part.name, "skipped", f"{max(0.0, left):.0f} s were left, and it needs {part.least:.0f}")
        begin = time.monotonic()
        (self.details / f"{part.name}.json").unlink(missing_ok=True)
        status = self._status(part, min(part.limit * self.stretch, left))
        report = Report.read(self.details, part.name) or Report(part.name)
        report.seconds = round(time.monotonic() - begin, 1)
        if status is None:
            report.line = f"stopped after {report.seconds:.0f} s" + (f": {report.line}" if report.line else "")
        elif report.state == "late":  # It ended without a report.
            report.state = "failed"
            report.fail(f"it ended with status {status}: {last_line(self.details / f'{part.name}.log')}")
        return report

    def _status(self, part: Part, seconds: float) -> int | None:
        """Exit status of a part, None if it had to be stopped."""
        command = [sys.executable, "-m", "benchmarks.acceptance", part.name, *self.options]
        command += ["--module", part.module or f"benchmarks.acceptance.{part.name}", "--folder", str(self.details)]
        command += ["--device", self.device, "--seconds", str(max(1.0, seconds - SPARE))]
        with (self.details / f"{part.name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(self.device),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            finally:
                stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started."""
    for what in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, what)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)


def environment(device: str) -> dict[str, str]:
    """For parts: the checkout is found first, and no GPU if it's about the CPU."""
    before = filter(None, [os.environ.get("PYTHONPATH")])
    changed = {"PYTHONPATH": os.pathsep.join([*map(str, PATHS), *before]), "PYTHONUNBUFFERED": "1"}
    if device == "cpu":
        changed["CUDA_VISIBLE_DEVICES"] = ""
    return {**os.environ, **changed}


def facts(device: str) -> dict[str, Any]:
    """What figures depend on."""
    import torch

    found = {"device": torch.cuda.get_device_name() if device == "cuda" else "CPU", "torch": torch.__version__}
    commit = ""
    with suppress(OSError):
        git = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {**found, "CUDA": torch.version.cuda, "commit": commit}


def last_line(log: Path) -> str:
    """The last that was written to a file."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def pack(details: Path, output: Path) -> None:
    """Put a folder's files into one archive."""
    with written_whole(output / "details.tar.gz") as path, tarfile.open(path, "w:gz") as archive:
        archive.add(details, "details")


def chosen(only: Sequence[str], skip: Sequence[str]) -> Iterator[Part]:
    """Parts that are asked for."""
    return (part for part in PARTS if (not only or part.name in only) and part.name not in skip)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 1 if a part failed or was late."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [part.name for part in PARTS]
    parser.add_argument("--only", action="extend", nargs="+", choices=names, default=[], help="these parts alone")
    parser.add_argument("--skip", action="extend", nargs="+", choices=names, default=[], help="all but these parts")
    parser.add_argument("--budget", type=float, default=530.0, help="seconds in all (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("gpu-acceptance"), help="folder (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run of everything")
    parser.add_argument("--reference", type=Path, help="a checkout of the released code, to be compared with")
    parser.add_argument("--save", action="store_true", help="keep benchmarks in benchmarks/results/<machine>.json too")
    parser.add_argument("--pack", action="store_true", help="leave all but the summary as one archive, to take it home")
    parser.add_argument("--jobs", type=int, help="parts at once, where no times are measured (default: 4, on a CPU 1)")
    given = parser.parse_args(arguments)
    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("No NVIDIA GPU was found; --device cpu is a dry run.")
    if given.reference is not None:
        from benchmarks.baseline import NoCheckoutError, check_checkout

        try:
            check_checkout(given.reference)
        except NoCheckoutError as error:
            parser.error(str(error))
    options = ["--reference", str(given.reference.resolve())] if given.reference else []
    options += ["--save"] if given.save else []
    parts = list(chosen(given.only, given.skip))
    if not parts:
        parser.error("No part is left.")
    jobs = given.jobs or (4 if given.device == "cuda" else 1)
    output = given.output.resolve()
    reports = Run(parts, output, given.device, given.budget, jobs, options, given.pack)()
    print(f"Written: {output / 'summary.md'}")
    return int(any(report.state in ("failed", "late") for report in reports))


if __name__ == "__main__":
    sys.exit(main())
