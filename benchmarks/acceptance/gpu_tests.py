"""Plugin of pytest: keep the tests that need a GPU, and write each result down as soon as it is known."""

import json
from pathlib import Path
from typing import Any

import pytest

BACKENDS = ("cuda", "triton")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results-to", type=Path, required=True, help="file of a JSON line for each test")
    parser.addoption("--gpu-only", action="store_true", help="only the tests that need a GPU")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # Processes of xdist report to the one that started them.
        config.pluginmanager.register(Results(config.getoption("--results-to")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--gpu-only"):
        config.hook.pytest_deselected(items=[item for item in items if not needs_gpu(item)])
        items[:] = [item for item in items if needs_gpu(item)]


def needs_gpu(item: pytest.Item) -> bool:
    """Whether it is skipped without a GPU, or has a GPU's backend among its parameters."""
    reasons = [str(mark.kwargs.get("reason", "")) for mark in item.iter_markers("skipif")]
    call: Any = getattr(item, "callspec", None)
    values = call.params.values() if call else ()
    return any("GPU" in reason for reason in reasons) or any(
        isinstance(value, str) and value in BACKENDS for value in values
    )


class Results:
    """Writes results down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._write(report.nodeid, report.outcome, report.duration, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report.nodeid, "not collected", 0.0, report.longrepr)

    def _write(self, name: str, outcome: str, seconds: float, why: Any) -> None:
        reason = why[2] if isinstance(why, tuple) else str(why or "")
        with self.path.open("a") as file:
            file.write(json.dumps({"name": name, "outcome": outcome, "seconds": seconds, "why": reason}) + "\n")
