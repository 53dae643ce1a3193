import pytest

from dasr_fast.acceleration import layer


@pytest.fixture(autouse=True)
def _small_features_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans compute features of any size; otherwise small ones would be compared with themselves."""
    monkeypatch.setattr(layer, "WORTHWHILE", 0)
