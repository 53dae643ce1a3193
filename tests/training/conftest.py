"""Images to train with, and threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training.small_run import Settings, make_images, small_settings


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Sums are in another order in several, and runs in this process are compared bit for bit with others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("training") / "photos")


@pytest.fixture
def settings(photos: Path) -> Settings:
    """A run of seven steps, three of the encoder alone."""
    return small_settings(photos)
