"""A table of what compiled kernels need of a GPU, printed after the tests that measured it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

Cells = dict[str, list[Mapping[str, int]]]
"""By GPU, `registers`, `shared` and `local` (bytes of each) of every variant of a kernel."""


def recorded(terminalreporter: pytest.TerminalReporter, name: str) -> Iterator[Any]:
    """What tests left with `record_property(name, ...)`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                yield from (value for known, value in report.user_properties if known == name)


def print_table(
    terminalreporter: pytest.TerminalReporter, of: str, head: tuple[str, ...], rows: dict[tuple[str, ...], Cells]
) -> None:
    """The most of each number over a kernel's variants: a row for each kernel, a column for each GPU."""
    if not rows:
        return
    gpus = sorted({gpu for cells in rows.values() for gpu in cells}, key=lambda gpu: (len(gpu), gpu))
    terminalreporter.section(f"{of}: most registers of a thread / bytes of shared memory of a block (! local memory)")
    lines = [(*head, *gpus)]
    for row, cells in sorted(rows.items()):
        lines.append((*row, *(_cell(cells.get(gpu, [])) for gpu in gpus)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        terminalreporter.write_line("  ".join(map(str.ljust, line, widths)).rstrip())


def _cell(variants: list[Mapping[str, int]]) -> str:
    if not variants:
        return "-"
    most = {key: max(variant[key] for variant in variants) for key in ("registers", "shared", "local")}
    return f"{most['registers']} / {most['shared']}" + (" !" if most["local"] else "")
