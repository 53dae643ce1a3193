import copy
from collections.abc import Callable

import pytest
import torch
from golden import fill
from torch import Tensor, nn

from dasr_fast.models import BlindSR
from dasr_fast.models.adopt import as_blind_sr

SMALL = {"channels": 8, "groups": 1, "blocks": 1}


class Foreign(nn.Module):
    """A model of another class with the released model's state dict, and a record of its calls.

    `after` is what it does with the SR image.
    """

    def __init__(self, scale: int = 2, after: Callable[[Tensor], object] = lambda sr: sr) -> None:
        super().__init__()
        own = BlindSR(scale, **SMALL)
        self.G, self.E, self.after = fill(own.G), own.E, after
        self.calls = 0

    def forward(self, lr: Tensor) -> object:
        self.calls += 1
        self.E.queue += 1
        if self.training:
            raise RuntimeError("training takes pairs")
        return self.after(self.G(lr, self.E.encoder_q.embed(lr)))


def changed(key: str, part: nn.Module | None = None) -> nn.Module:
    """The foreign model with another part at `key`, or without it."""
    model = Foreign()
    owner, _, name = key.rpartition(".")
    if part is None:
        delattr(model.get_submodule(owner), name)
    else:
        setattr(model.get_submodule(owner), name, part)
    return model


class Wrapper(nn.Module):
    """A module around a model, with the model's state dict."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def state_dict(self, **options: bool) -> dict[str, Tensor]:
        return self.model.state_dict(**options)

    def forward(self, lr: Tensor) -> object:
        return self.model(lr)


def test_ours_is_returned_as_it_is():
    model = BlindSR(2, **SMALL)
    assert as_blind_sr(model) is model
    assert as_blind_sr(nn.DataParallel(nn.DataParallel(model))) is model


@pytest.mark.parametrize(
    ("scale", "wrap", "training"),
    [(2, None, True), (3, None, False), (4, None, False), (2, nn.DataParallel, True), (2, Wrapper, False)],
)
def test_the_same_parameters_and_buffers(scale: int, wrap: Callable[[nn.Module], nn.Module] | None, training: bool):
    foreign = Foreign(scale)
    model = (foreign if wrap is None else wrap(foreign)).train(training)
    adopted = as_blind_sr(model)
    assert type(adopted) is BlindSR
    assert (adopted.scale, adopted.training) == (scale, training)
    theirs, own = foreign.state_dict(keep_vars=True), adopted.state_dict(keep_vars=True)
    assert list(theirs) == list(own)
    assert all(tensor is own[key] for key, tensor in theirs.items())
    lr = 255 * torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(adopted.eval()(lr), foreign.eval()(lr))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_probing_changes_nothing(dtype: torch.dtype):
    foreign = Foreign().to(dtype)
    foreign.E.encoder_q.eval()
    foreign.G.head.requires_grad_(False)
    before = copy.deepcopy(foreign)
    random_state = torch.get_rng_state()
    adopted = as_blind_sr(foreign)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert foreign.calls == 0
    for key, tensor in before.state_dict(keep_vars=True).items():
        own = adopted.state_dict(keep_vars=True)[key]
        assert torch.equal(own, tensor)
        assert (own.dtype, own.requires_grad) == (tensor.dtype, tensor.requires_grad)
        assert own.grad is None
    modes = [module.training for module in foreign.modules()]
    assert modes == [module.training for module in before.modules()]


def test_another_default_device():
    foreign = Foreign()
    with torch.device("meta"):
        assert as_blind_sr(foreign).scale == 2


def test_fixed_tensors_in_place_of_parameters():
    foreign = Foreign()
    for shift in (foreign.G.sub_mean, foreign.G.add_mean):
        bias = shift.bias.detach().clone()
        del shift.bias
        shift.register_buffer("bias", bias)
    adopted = as_blind_sr(foreign)
    assert not adopted.G.add_mean.bias.requires_grad
    assert adopted.G.add_mean.bias.data_ptr() == foreign.G.add_mean.bias.data_ptr()


@pytest.mark.parametrize("after", [lambda sr: sr * 1.001, lambda sr: (sr, sr), lambda sr: sr[..., 1:], lambda sr: 0])
def test_another_result(after: Callable[[Tensor], object]):
    with pytest.raises(ValueError, match="Foreign has DASR's parameters, but its forward differs from DASR's: by "):
        as_blind_sr(Foreign(after=after))


def test_a_forward_that_fails():
    def fail(sr: Tensor) -> object:
        raise KeyError("noise level")

    with pytest.raises(ValueError, match="Foreign has DASR's parameters, but fails: 'noise level'"):
        as_blind_sr(Foreign(after=fail))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 3, "got int"),
        (lambda: nn.Linear(2, 2), r"Linear holds no DASR model: it lacks G.head.0.weight"),
        (lambda: BlindSR(2, **SMALL).G, r"DASR holds no DASR model: it lacks G.head.0.weight"),
        (lambda: changed("E.queue_ptr"), r"Foreign lacks E.queue_ptr"),
        (lambda: changed("G.body.0.body.0.conv1.weight"), r"Foreign lacks G.body.0.body.0.conv1.weight"),
        (lambda: changed("noise", nn.Linear(1, 1, bias=False)), r"Foreign has noise.weight"),
        (lambda: changed("E.encoder_q.mlp.2", nn.Linear(256, 9)), r"mlp.2.weight \[9, 256\] instead of \[256, 256\]"),
    ],
)
def test_other_networks(make: Callable[[], object], message: str):
    with pytest.raises(TypeError, match=rf"model must be a BlindSR, ours or the released one, .*{message}"):
        as_blind_sr(make())
