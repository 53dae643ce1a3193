import sys
from collections.abc import Iterator

import pytest

from dasr_fast.acceleration.replacements.da_block import DABlockPlan
from dasr_fast.acceleration.replacements.da_conv import DAConvPlan


@pytest.fixture(autouse=True)
def _small_features_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans compute features of any size; otherwise small ones would be compared with themselves."""
    for plan in (DAConvPlan, DABlockPlan):
        monkeypatch.setattr(plan, "fewest_pixels", lambda self: 0)
    monkeypatch.setattr("dasr_fast.acceleration.replacements.surroundings.PRODUCTS", 0)


@pytest.fixture
def _hurried_threads() -> Iterator[None]:
    """Threads that take turns every microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
