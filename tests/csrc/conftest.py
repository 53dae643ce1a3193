"""The table of what CUDA kernels need of a GPU; shared memory is what has a fixed size."""

import pytest
from resource_table import Cells, print_table, recorded


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[tuple[str, ...], Cells] = {}
    for file, architecture, kernels in recorded(terminalreporter, "resources"):
        for kernel in kernels:
            rows.setdefault((file, kernel["name"]), {}).setdefault(architecture, []).append(kernel)
    print_table(terminalreporter, "CUDA", ("file", "kernel"), rows)
