"""Activations by name, as the options of the layers give them."""

from typing import Literal

from torch import nn

Activation = Literal["leaky_relu", "relu", "prelu", "none"]


def make_activation(name: Activation, negative_slope: float) -> nn.Module:
    """A new activation module; `negative_slope` is that of "leaky_relu" and the initial one of "prelu".

    Raises:
        ValueError: There is no activation called `name`.
    """
    if name == "leaky_relu":
        return nn.LeakyReLU(negative_slope)
    if name == "relu":
        return nn.ReLU()
    if name == "prelu":
        return nn.PReLU(init=negative_slope)
    if name == "none":
        return nn.Identity()
    raise ValueError(f"activation must be leaky_relu, relu, prelu or none; got {name!r}.")


def fixed_slope(activation: nn.Module) -> float | None:
    """Slope in [0, 1] of the LeakyReLU that `activation` is (ReLU: 0, none: 1), or None if it is something else."""
    forward = type(activation).forward
    if isinstance(activation, nn.LeakyReLU) and forward is nn.LeakyReLU.forward:
        return activation.negative_slope if 0 <= activation.negative_slope <= 1 else None
    if forward is nn.ReLU.forward:
        return 0.0
    return 1.0 if forward is nn.Identity.forward else None
