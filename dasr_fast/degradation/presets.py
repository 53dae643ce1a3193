"""Degradations by name."""

from collections.abc import Callable

from dasr_fast.degradation.blur import Blur, Ringing
from dasr_fast.degradation.bsrgan import Downsampling, Halving, MixedNoise, ScaledBlur
from dasr_fast.degradation.camera import Camera
from dasr_fast.degradation.compression import Jpeg
from dasr_fast.degradation.degradation import Degradation
from dasr_fast.degradation.noise import Noise
from dasr_fast.degradation.pipeline import AnyOrder, Chain, Pipeline
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


def second_order(scale: int) -> Pipeline:
    """The degradation of Real-ESRGAN: blur, resize, noise and JPEG, twice.

    Sources: Wang et al., ICCVW 2021; its code, `options/train_realesrgan_x4plus.yml`, `realesrgan_dataset.py` and
    `realesrgan_model.py`. What is drawn there for a whole batch is drawn here for each sample, JPEG is libjpeg's, and
    HR images aren't sharpened.
    """
    first = (
        Blur((0.2, 3.0), sinc=0.1),
        Resize(((0.2, (1.0, 1.5)), (0.7, (0.15, 1.0)), (0.1, (1.0, 1.0)))),
        Noise((1.0, 30.0), (0.05, 3.0)),
        Jpeg((30, 95)),
    )
    second = (
        Blur((0.2, 1.5), probability=0.8, sinc=0.1),
        Resize(((0.3, (1.0, 1.2)), (0.4, (0.3, 1.0)), (0.3, (1.0, 1.0))), of_lr=True),
        Noise((1.0, 25.0), (0.05, 2.5)),
        AnyOrder((Chain((Resize(of_lr=True), Ringing(0.8))), Jpeg((30, 95)))),
    )
    return Pipeline(scale, Chain((*first, *second)), noise=(1.0, 48.0))


def bsrgan(scale: int) -> Pipeline:
    """The degradation of BSRGAN: two blurs, two steps of downsampling, noise, JPEG and a camera, in random order.

    At scale 4, a quarter of the images is halved first. The last step is JPEG. Sources: Zhang et al., ICCV 2021; its
    code, `utils/utils_blindsr.py`.
    """
    shuffled = (
        ScaledBlur(),
        ScaledBlur(),
        Downsampling(),
        Resize(of_lr=True),
        MixedNoise(),
        Jpeg((30, 95), 0.9),
        Camera(0.25),
    )
    return Pipeline(scale, Chain((Halving(), AnyOrder(shuffled, before=[(2, 3)]), Jpeg((30, 95)))), noise=(2.0, 25.0))


PRESETS: dict[str, Callable[[int], Degradation | Pipeline]] = {
    "paper": lambda scale: Degradation(scale, sigma=(0.2, float(max(scale, 2)))),
    "photo": photo,
    "second-order": second_order,
    "bsrgan": bsrgan,
}
"""Makers by name, from the scale."""
