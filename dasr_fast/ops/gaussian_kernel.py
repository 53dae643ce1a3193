"""The op `gaussian_kernel`: a batch of Gaussian blur kernels in one go."""

import torch
from torch import Tensor

from dasr_fast import reference
from dasr_fast.ops.registration import compute, define, needs_gradient

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
    if needs_gradient(sigma_x, sigma_y, theta):
        return reference.gaussian_kernel(sigma_x, sigma_y, theta, size)
    return compute(OP, _forward, backend, (sigma_x, sigma_y, theta, size))


def _fake(sigma_x: Tensor, sigma_y: Tensor | None, theta: Tensor, size: int, backend: str) -> Tensor:
    return sigma_x.new_empty(sigma_x.shape[0], size, size)


_forward = define(OP, OP, "(Tensor sigma_x, Tensor? sigma_y, Tensor theta, int size, str backend) -> Tensor", _fake)
