"""The op `conv3x3`: a 3x3 convolution for inference, with what follows it."""

import torch
from torch import Tensor

from dasr_fast.ops.backends import choose
from dasr_fast.ops.checks import check_alike, check_features, check_shape, check_slope, check_tensor
from dasr_fast.ops.registration import autocast, define, refuse_gradient
from dasr_fast.reference.layout import memory_format

OP = "conv3x3"


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    *,
    negative_slope: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """3x3 convolution of `x` padded with zeros, then LeakyReLU if asked for, then `+ residual`.

    For inference: there is no gradient, and asking for one raises an error; PyTorch's convolution has one.

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        weight: `[C_out, C, 3, 3]`.
        bias: `[C_out]`, or None.
        residual: `[B, C_out, H, W]`, added last, or None.
        negative_slope: Slope in [0, 1] of the LeakyReLU: 0 is a ReLU; None for no activation.
        backend: "auto" or the name of one; see `dasr-fast doctor`.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type; all have the type of `x`.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run; or, from the backward pass, that there is no gradient.
    """
    optional = {"bias": bias, "residual": residual}
    given = {"x": x, "weight": weight} | {name: tensor for name, tensor in optional.items() if tensor is not None}
    for name, tensor in given.items():
        check_tensor(OP, name, tensor)
    x, weight, bias, residual = autocast(x, weight, bias, residual)
    check_features(OP, x)
    if weight.dim() != 4 or weight.shape[0] < 1 or tuple(weight.shape[1:]) != (x.shape[1], 3, 3):
        raise ValueError(
            f"{OP}: weight must be [C_out, C, 3, 3] with C = {x.shape[1]} as x has it; got {list(weight.shape)}."
        )
    if bias is not None:
        check_shape(OP, "bias", bias, weight.shape[:1], "[C_out]")
    if residual is not None:
        shape = (x.shape[0], weight.shape[0], *x.shape[2:])
        check_shape(OP, "residual", residual, shape, "[B, C_out, H, W]")
    for name, tensor in (("weight", weight), ("bias", bias), ("residual", residual)):
        if tensor is not None:
            check_alike(OP, name, tensor, x)
    if negative_slope is not None:
        check_slope(OP, negative_slope)
    arguments = (x, weight, bias, residual, negative_slope)
    return _forward(*arguments, choose(OP, backend, x.device.type, arguments))


def _fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    negative_slope: float | None,
    backend: str,
) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


_forward = define(
    OP,
    OP,
    "(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, float? negative_slope, str backend) -> Tensor",
    _fake,
)

refuse_gradient(OP, f"{OP}: it is for inference and has no gradient; torch.nn.functional.conv2d has one.")
