import sys
from pathlib import Path

import pytest
import torch
from golden import table

from tests.released.baseline import NoCheckoutError, find_baseline

FAKE = {
    "model/__init__.py": "",
    "model/blindsr.py": """
import torch
from torch import nn
class BlindSR(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.scale = torch.ones(1).cuda() * args.scale[0]
    def forward(self, x):
        return x * self.scale.cuda()
""",
    "moco/__init__.py": "",
    "moco/builder.py": "",
    "utils/__init__.py": "",
    "utils/util.py": """
class SRMDPreprocessing:
    def __init__(self, scale, blur_type, noise):
        self.scale = scale
    def __call__(self, hr):
        return hr.cuda()[..., :: self.scale, :: self.scale], None
""",
}


@pytest.fixture
def checkout(tmp_path: Path):
    for name, content in FAKE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("model", "moco", "utils")]:
        del sys.modules[name]


def test_a_checkout_runs_without_a_gpu(checkout: Path):
    path, cuda = list(sys.path), torch.Tensor.cuda
    baseline = find_baseline(checkout, "cpu")
    network = baseline.network(3)
    with baseline.running():
        assert network(torch.ones(2)).tolist() == [3, 3]
    assert baseline.degradation(2)(torch.ones(1, 1, 3, 8, 8)).shape == (1, 1, 3, 4, 4)
    assert sys.path == path
    assert torch.Tensor.cuda is cuda


@pytest.mark.parametrize("name", ["model/blindsr.py", "moco/builder.py", "utils/util.py"])
def test_another_folder_is_refused(checkout: Path, name: str):
    (checkout / name).unlink()
    with pytest.raises(NoCheckoutError, match=f"is no checkout of the released code: there is no {name}"):
        find_baseline(checkout, "cpu")


def test_a_broken_checkout_is_refused(checkout: Path):
    (checkout / "utils/util.py").write_text("import nowhere_to_be_found")
    with pytest.raises(NoCheckoutError, match="nowhere_to_be_found"):
        find_baseline(checkout, "cpu")


def test_the_plain_network_has_the_released_keys():
    keys = table("state_dict_keys")["x4"]
    assert set(find_baseline(None, "cpu").network(4).state_dict()) == set(keys)
