"""The table of what Triton kernels need of a GPU."""

import pytest
from resource_table import Cells, print_table, recorded


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[tuple[str, ...], Cells] = {}
    for measured in recorded(terminalreporter, "machine code"):
        for op, capability, dtype, layout, code in measured:
            cells = rows.setdefault((op, code["kernel"], dtype, layout), {})
            cells.setdefault("{}.{}".format(*capability), []).append(code)
    print_table(terminalreporter, "Triton", ("op", "kernel", "type", "layout"), rows)
