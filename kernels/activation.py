"""LeakyReLU inside kernels."""

import triton
import triton.language as tl


@triton.jit
def leaky_relu(y, slope):
    return tl.where(y > 0, y, y * slope)


@triton.jit
def leaky_relu_backward(grad, y, slope):
    """Gradient before a LeakyReLU with output (or input) `y`."""
    return tl.where(y > 0, grad, grad * slope)
