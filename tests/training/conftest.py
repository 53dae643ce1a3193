"""Images to train with."""

from pathlib import Path
from typing import Any

import pytest
from training.small_run import NETWORK, STEPS, make_images


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("training") / "photos")


@pytest.fixture
def settings(photos: Path) -> dict[str, Any]:
    """Of a run of seven steps, three of the encoder alone."""
    return {"data": photos, "cache": photos.parent / "cache", "device": "cpu", **NETWORK, **STEPS}
