"""The table of what CUDA kernels need of a GPU, printed after the tests."""

from collections.abc import Iterator
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for op, architecture, kernels in _measured(terminalreporter):
        for kernel in kernels:
            rows.setdefault((op, kernel["name"]), {}).setdefault(architecture, []).append(kernel)
    if not rows:
        return
    architectures = sorted({architecture for cells in rows.values() for architecture in cells})
    terminalreporter.section(
        "CUDA: most registers of a thread / fixed bytes of shared memory of a block (! local memory)"
    )
    lines = [("file", "kernel", "variants", *architectures)]
    for row, cells in sorted(rows.items()):
        variants = str(max(map(len, cells.values())))
        lines.append((*row, variants, *(_cell(cells.get(architecture, [])) for architecture in architectures)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        terminalreporter.write_line("  ".join(map(str.ljust, line, widths)).rstrip())


def _measured(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[Any, ...]]:
    """What tests left with `record_property("resources", ...)`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                yield from (value for name, value in report.user_properties if name == "resources")


def _cell(kernels: list[dict[str, Any]]) -> str:
    if not kernels:
        return "-"
    most = {key: max(kernel[key] for kernel in kernels) for key in ("registers", "shared", "stack")}
    return f"{most['registers']} / {most['shared']}" + (" !" if most["stack"] else "")
