"""The op `gaussian_kernel`: a batch of Gaussian blur kernels in one go."""

import torch
from torch import Tensor

from dasr_fast import reference
from dasr_fast.ops.backends import choose
from dasr_fast.ops.registration import define

OP = "gaussian_kernel"


def gaussian_kernel(
    sigma_x: Tensor, sigma_y: Tensor | None, theta: Tensor, size: int, *, backend: str = "auto"
) -> Tensor:
    """As `dasr_fast.degradation.gaussian_kernel` for tensors of one device and broadcastable shapes `[B]`.

    Widths or angles that ask for a gradient take the reference, which has it.
    """
    if sigma_y is None:
        sigma_x, theta = torch.broadcast_tensors(sigma_x, theta)  # type: ignore[no-untyped-call]
    else:
        sigma_x, sigma_y, theta = torch.broadcast_tensors(sigma_x, sigma_y, theta)  # type: ignore[no-untyped-call]
    arguments = (sigma_x, sigma_y, theta, size)
    needed = [value.requires_grad for value in (sigma_x, sigma_y, theta) if value is not None]
    if any(needed) and torch.is_grad_enabled():
        return reference.gaussian_kernel(*arguments)
    return _forward(*arguments, choose(OP, backend, sigma_x.device.type, arguments))


def _fake(sigma_x: Tensor, sigma_y: Tensor | None, theta: Tensor, size: int, backend: str) -> Tensor:
    return sigma_x.new_empty(sigma_x.shape[0], size, size)


_forward = define(OP, OP, "(Tensor sigma_x, Tensor? sigma_y, Tensor theta, int size, str backend) -> Tensor", _fake)
