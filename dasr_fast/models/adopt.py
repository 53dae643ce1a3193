"""The released `BlindSR`, or one written like it, as ours."""

import copy
import math

import torch
from torch import Tensor, nn

from dasr_fast.models import BlindSR, CheckpointError
from dasr_fast.models.checkpoint import settings_of
from dasr_fast.precision import tf32_convolutions

TOLERANCE = 1e-4
"""Largest difference between the results of a probe, as a part of their largest magnitude."""


def as_blind_sr(model: nn.Module) -> BlindSR:
    """The model as our `BlindSR`, with the very same parameters and buffers.

    A `BlindSR` of ours is returned as it is. Any other model is recognised by its state dict, whose keys and shapes
    must be those of the released model at some scale and sizes, and probed: it must restore a random image as ours
    does. Copies in float32 with random weights are probed, so that nothing of the model changes, and its weights may
    come later. DataParallel and DistributedDataParallel are opened.

    Args:
        model: On any device, of any floating type, in any mode.

    Returns:
        A `BlindSR` in the mode of `model`.

    Raises:
        TypeError: It isn't recognised.
        ValueError: Its state dict is DASR's, but its forward isn't, or its weights are on the device "meta".
    """
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    if isinstance(model, nn.Module) and any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError("as_blind_sr: model is on the device meta, where weights have no values.")
    if isinstance(model, BlindSR):
        return model
    accepted = "as_blind_sr: model must be a BlindSR, ours or the released one, or in DataParallel"
    if not isinstance(model, nn.Module):
        raise TypeError(f"{accepted}; got {type(model).__name__}.")
    try:
        adopted = _adopted(model.state_dict(keep_vars=True), type(model).__name__)
    except CheckpointError as error:
        raise TypeError(f"{accepted}; {error}") from None
    difference = _difference(model, adopted)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"as_blind_sr: {type(model).__name__} has DASR's parameters, but its forward differs from DASR's: by "
            f"{difference:.1e} of the largest value for a random image, where {TOLERANCE:.0e} is accepted."
        )
    return adopted.train(model.training)


def _adopted(state: dict[str, Tensor], name: str) -> BlindSR:
    """A `BlindSR` of those parameters and buffers; `name` is for messages.

    Raises:
        CheckpointError: They are those of another network.
    """
    with torch.device("meta"):
        adopted = BlindSR(**settings_of(state, name))
    own = adopted.state_dict(keep_vars=True)
    for key in (*own, *state):
        if key not in state or key not in own:
            raise CheckpointError(f"{name} {'lacks' if key in own else 'has'} {key}.")
        if state[key].shape != own[key].shape:
            raise CheckpointError(f"{name} has {key} {list(state[key].shape)} instead of {list(own[key].shape)}.")
    for key, value in state.items():
        owner, _, attribute = key.rpartition(".")
        fixed = isinstance(own[key], nn.Parameter) and not isinstance(value, nn.Parameter)
        setattr(adopted.get_submodule(owner), attribute, nn.Parameter(value, False) if fixed else value)
    return adopted


@torch.no_grad()
def _difference(model: nn.Module, adopted: BlindSR) -> float:
    """Largest difference between the models' results for a random image, as a part of the largest magnitude.

    Raises:
        ValueError: The model doesn't take an image or return one, or has no weights.
    """
    name, device = type(model).__name__, next(adopted.parameters()).device
    generator = torch.Generator().manual_seed(0)
    lr = 255 * torch.rand(1, 3, 24, 24, generator=generator, dtype=torch.float32, device="cpu")
    lr = lr.to(device)
    with tf32_convolutions(False):
        try:
            other = copy.deepcopy(model).float().eval()
            own = copy.deepcopy(adopted).float().eval()
            _set_random_weights([own, other], generator)
            expected, result = own(lr), other(lr)
        except Exception as error:  # Other people's code may raise anything.
            raise ValueError(f"as_blind_sr: {name} has DASR's parameters, but fails: {error}") from error
    if not isinstance(result, Tensor) or result.shape != expected.shape:
        return math.inf
    return ((result - expected).abs().max() / expected.abs().max()).item()


def _set_random_weights(models: list[nn.Module], generator: torch.Generator) -> None:
    """The same parameters and buffers for all models, of a size that keeps the features'."""
    states = [model.state_dict() for model in models]
    for key, value in states[0].items():
        if value.is_floating_point():
            inputs = value[0].numel() if value.dim() > 1 else 4
            numbers = torch.randn(value.shape, generator=generator, dtype=torch.float32, device="cpu") / inputs**0.5
            for state in states:
                state[key].copy_(numbers.abs() + 0.5 if key.endswith("running_var") else numbers)
