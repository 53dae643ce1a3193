"""Find the blur between an HR and an LR image by gradient descent through one op: python examples/one_op.py"""

import torch

from dasr_fast import ops
from dasr_fast.degradation import gaussian_kernel


def main(steps: int = 200, size: int = 128) -> tuple[float, float]:
    """How far the kernel is from the true one at first and at last, as the sum of absolute differences."""
    torch.manual_seed(0)
    hr = torch.rand(1, 3, size, size) * 255
    true = gaussian_kernel(11, 1.6, 0.8, 0.5)[None]
    lr = ops.blur_downsample(hr, true, scale=2)

    logits = torch.zeros(1, 121, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    errors = []
    for _ in range(steps):
        kernel = logits.softmax(1).view(1, 11, 11)
        errors.append((kernel - true).abs().sum().item())
        loss = (ops.blur_downsample(hr, kernel, scale=2) - lr).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return errors[0], errors[-1]


if __name__ == "__main__":
    print("The kernel differs from the true one by {:.2f} at first, and by {:.3f} in the end.".format(*main()))
