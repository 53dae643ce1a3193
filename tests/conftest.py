"""Seeds, precision and threads for every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dasr_fast import precision
from dasr_fast.models import BlindSR, save_weights
from dasr_fast.training import results


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _full_precision() -> None:
    """float32 on a GPU is compared as float32, not as TF32."""
    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(autouse=True)
def _float32_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on CPUs with a matrix unit, where `Engine` would take bfloat16."""
    monkeypatch.setattr(precision, "has_matrix_unit", lambda: False)


@pytest.fixture(autouse=True, scope="session")
def _few_pieces() -> None:
    """Measure bounds of the embeddings from few pieces, or it would take as long as a small run."""
    results.MOST = 4


@pytest.fixture(autouse=True, scope="session")
def _one_thread_a_worker() -> None:
    """Tests that run side by side have a core each; those of threads ask for more."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture
def _poisoned() -> Iterator[None]:
    """Fill memory that nobody has written to with NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=[torch.float64, torch.bfloat16, torch.float16], ids=str)
def other_default(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """A default type for the test to set."""
    yield request.param
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained model for scale 2."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(BlindSR(2, channels=8, groups=1, blocks=1), path)
    return path
