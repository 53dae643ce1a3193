"""The table of what kernels need of a GPU, printed after the tests."""

from collections.abc import Iterator
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[tuple[str, ...], dict[str, list[dict[str, Any]]]] = {}
    for op, capability, dtype, layout, code in _measured(terminalreporter):
        cells = rows.setdefault((op, code["kernel"], dtype, layout), {})
        cells.setdefault("{}.{}".format(*capability), []).append(code)
    if not rows:
        return
    capabilities = sorted({capability for cells in rows.values() for capability in cells}, key=float)
    terminalreporter.section("most registers of a thread / bytes of shared memory of a block (! local memory)")
    lines = [("op", "kernel", "type", "layout", *capabilities)]
    for row, cells in sorted(rows.items()):
        lines.append((*row, *(_cell(cells.get(capability, [])) for capability in capabilities)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        terminalreporter.write_line("  ".join(map(str.ljust, line, widths)).rstrip())


def _measured(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[Any, ...]]:
    """What tests left with `record_property("machine code", ...)`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in report.user_properties:
                    if name == "machine code":
                        yield from value


def _cell(codes: list[dict[str, Any]]) -> str:
    if not codes:
        return "-"
    most = {key: max(code[key] for code in codes) for key in ("registers", "shared", "local")}
    return f"{most['registers']} / {most['shared']}" + (" !" if most["local"] else "")
