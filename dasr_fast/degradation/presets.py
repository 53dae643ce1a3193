"""Degradations by name."""

from collections.abc import Callable

from dasr_fast.degradation.blur import Blur
from dasr_fast.degradation.compression import Jpeg
from dasr_fast.degradation.degradation import Degradation
from dasr_fast.degradation.noise import Noise
from dasr_fast.degradation.pipeline import Chain, Pipeline
from dasr_fast.degradation.resizing import Resize
from dasr_fast.ops.checks import check_scale


def preset(name: str, scale: int = 4) -> Degradation | Pipeline:
    """A degradation of `PRESETS`, at a scale from 1 to 4.

    Raises:
        ValueError: There is no such preset or scale.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: name must be {', '.join(PRESETS)}; got {name!r}.")
    check_scale("preset", scale)
    return PRESETS[name](scale)


def photo(scale: int) -> Pipeline:
    """What happens to a photograph that is taken, made smaller and sent: blur, resize, noise, JPEG, sometimes twice.

    One order, milder than those below. Widths of the blur reach 0.75 HR pixels for each pixel of the scale (3 at x4).
    """
    parts = (
        Blur((0.1, max(0.75 * scale, 1.0)), probability=0.9, sinc=0.05),
        Resize(((1.0, (1.0, 1.0)),), of_lr=True, antialias=True, modes=(0.2, 0.2, 0.6)),
        Noise((0.0, 15.0), (0.05, 1.0), poisson_probability=0.3, grey=0.25, probability=0.8),
        Jpeg((30, 95), 0.8, subsampling=(0.2, 0.1, 0.7)),
        Jpeg((50, 95), 0.15, subsampling=(0.2, 0.1, 0.7)),
    )
    return Pipeline(scale, Chain(parts), noise=(0.0, 16.0))


PRESETS: dict[str, Callable[[int], Degradation | Pipeline]] = {
    "paper": lambda scale: Degradation(scale, sigma=(0.2, float(max(scale, 2)))),
    "photo": photo,
}
"""Makers by name, from the scale."""
