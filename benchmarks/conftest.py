"""Options of `pytest benchmarks/`, and what its files tell of the machine."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import machine, suites
from benchmarks.work import Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which works; see `python benchmarks/run.py --help`."""
    group = parser.getgroup("dasr-fast")
    group.addoption("--full", action="store_true", help="Sizes as run.py has them without --quick.")
    group.addoption("--suite", action="append", choices=list(suites.SUITES), help="Only these; repeatable.")
    group.addoption("--reference", type=Path, help="A checkout of the released code.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each work and contender. Memory is no time, and left to run.py."""
    config = metafunc.config
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = Settings(device, quick=not config.getoption("--full"), reference=config.getoption("--reference"))
    names = tuple(config.getoption("--suite") or (name for name in suites.SUITES if name != "memory"))
    pairs = [(work, name) for work in suites.works(names, settings) for name in work.contenders]
    ids = [f"{work.suite}: {work.label}[{name}]" for work, name in pairs]
    metafunc.parametrize("work, contender", pairs, ids=ids)


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """The same facts as in run.py's files."""
    machine_info.clear()
    machine_info.update(machine.facts("cuda" if torch.cuda.is_available() else "cpu"))
