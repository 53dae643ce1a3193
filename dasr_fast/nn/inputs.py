"""The two ways to call a layer: `layer(x, v)`, and `layer([x, v])` as the released code does."""

from collections.abc import Sequence

from torch import Tensor


def features_and_representation(
    layer: str, x: Tensor | Sequence[Tensor], v: Tensor | None, channels: int, representation: int
) -> tuple[Tensor, Tensor]:
    """Features `[B, channels, H, W]` and degradation representation `[B, representation]`, checked.

    Raises:
        TypeError: Something isn't a tensor.
        ValueError: There is no representation, or a shape is wrong.
    """
    if not isinstance(x, Tensor):
        if v is not None or len(x) != 2:
            raise ValueError(f"{layer}: call it with (x, v) or with ([x, v]).")
        x, v = x
    if v is None:
        raise ValueError(f"{layer}: the degradation representation v is missing; call it with (x, v).")
    if not isinstance(x, Tensor) or not isinstance(v, Tensor):
        raise TypeError(f"{layer}: x and v must be tensors; got {type(x).__name__} and {type(v).__name__}.")
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"{layer}: x must be [B, {channels}, H, W]; got {list(x.shape)}.")
    if tuple(v.shape) != (x.shape[0], representation):
        raise ValueError(
            f"{layer}: v must be [B, {representation}] with B = {x.shape[0]} as x has it; got {list(v.shape)}."
        )
    return x, v
