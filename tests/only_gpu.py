"""Plugin of pytest: only the tests that are skipped without a GPU, or have a GPU's backend among their parameters."""

from typing import Any

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    others = [item for item in items if not needs_gpu(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def needs_gpu(item: pytest.Item) -> bool:
    """Whether it is one of them."""
    reasons = [str(mark.kwargs.get("reason", "")) for mark in item.iter_markers("skipif")]
    call: Any = getattr(item, "callspec", None)
    values = call.params.values() if call else ()
    return any("GPU" in reason for reason in reasons) or any(
        isinstance(value, str) and value in ("cuda", "triton") for value in values
    )
