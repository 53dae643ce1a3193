"""Seeds and precision for every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _full_precision() -> None:
    """float32 on a GPU is compared as float32, not as TF32."""
    torch.backends.cudnn.allow_tf32 = False
