"""The op `gaussian_kernel`: a batch of Gaussian blur kernels in one go."""

import torch
from torch import Tensor

from dasr_fast import reference
from dasr_fast.ops.backends import Asked
from dasr_fast.ops.op import Op
from dasr_fast.torch_state import needs_gradient

OP = Op("gaussian_kernel", {"sigma_x": "B", "sigma_y": "B", "theta": "B", "y": "B size size"})


def gaussian_kernel(
    sigma_x: Tensor, sigma_y: Tensor | None, theta: Tensor, size: int, *, backend: Asked = "auto"
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
    return OP.compute(backend, sigma_x, sigma_y, theta, size)
