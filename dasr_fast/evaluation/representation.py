"""How well representations tell degradations apart."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dasr_fast.degradation import image_generator
from dasr_fast.evaluation.setting import Setting

Numbers = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

WIDTHS = tuple(round(0.2 + i * 3.8 / 7, 1) for i in range(8))
"""Eight widths of isotropic kernels over the paper's range, 0.2 to 4 pixels."""


def isotropic_settings(widths: Sequence[float] = WIDTHS, noise_levels: Sequence[float] = (0.0,)) -> list[Setting]:
    """Isotropic blurs of these widths, each with these noise levels."""
    return [Setting(width, noise=noise) for noise in noise_levels for width in widths]


def degraded_patches(
    hr: Tensor, name: str, settings: Sequence[Setting], scale: int, *, patches: int = 4, size: int = 48, seed: int = 0
) -> Tensor:
    """LR patches of one image under several degradations.

    The places of the patches are random and the same for all degradations. They and the noise depend on `seed` and
    `name`, not on other images.

    Args:
        hr: HR image `[3, H, W]` in 0 to 255, uint8 or floating point.
        name: The image's.
        settings: The degradations.
        scale: 1 to 4.
        patches: How many of each degradation.
        size: Rows and columns of the LR patches.
        seed: Decides places and noise.

    Returns:
        `[len(settings), patches, 3, size, size]`, uint8.

    Raises:
        ValueError: The image is smaller than a patch.
    """
    side = size * scale
    height, width = hr.shape[-2:]
    if min(height, width) < side:
        raise ValueError(
            f"An image must be at least {side} x {side} pixels for patches of {size} x {size} at scale {scale}; "
            f"got {height} x {width}."
        )
    generator = image_generator(name, seed)
    rows, columns = (
        torch.randint(length - side + 1, (patches,), generator=generator, device=generator.device).tolist()
        for length in (height, width)
    )
    cut = torch.stack([hr[:, y : y + side, x : x + side] for y, x in zip(rows, columns, strict=True)])[None].float()
    return torch.cat([setting.degradation(scale)(cut, generator=generator)[0] for setting in settings]).byte()


@dataclass(frozen=True)
class Representations:
    """Vectors of patches, and where each comes from.

    Attributes:
        vectors: `[n, d]`, float32.
        degradations: Which degradation each patch has, `[n]`.
        images: Which image it comes from, `[n]`.
    """

    vectors: Numbers
    degradations: Labels
    images: Labels


def represent(encode: Callable[[Tensor], Tensor], patches: Sequence[Tensor]) -> Representations:
    """Encode patches of images.

    Args:
        encode: LR patches `[B, 3, H, W]` in 0 to 255, float32, to vectors `[B, d]`, on any device.
        patches: For each image `[degradations, patches, 3, H, W]`, as from `degraded_patches`.
    """
    with torch.inference_mode():
        vectors = [encode(of_image.flatten(0, 1).float()).float().cpu().numpy() for of_image in patches]
    counts = [(of_image.shape[0], of_image.shape[1]) for of_image in patches]
    return Representations(
        np.concatenate(vectors),
        np.concatenate([np.repeat(np.arange(degradations), each) for degradations, each in counts]),
        np.repeat(np.arange(len(patches)), [degradations * each for degradations, each in counts]),
    )


@dataclass(frozen=True)
class Separability:
    """How often the nearest neighbours' degradation is the patch's own.

    Attributes:
        accuracy: Over all patches.
        by_degradation: Over those of each degradation.
        chance: What guessing would reach.
    """

    accuracy: float
    by_degradation: tuple[float, ...]
    chance: float


def separability(representations: Representations, neighbours: int = 15) -> Separability:
    """Accuracy of the degradation that a patch's nearest neighbours, in patches of *other* images, have.

    Neighbours are by Euclidean distance and vote with its inverse as weight. Patches of the same image are left out:
    they may be near because of what they show.

    Args:
        representations: Those of two images or more.
        neighbours: How many vote.

    Raises:
        ImportError: scikit-learn isn't installed.
        ValueError: There are too few images or patches.
    """
    require_plotting("sklearn")
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    of_image = np.bincount(representations.images)
    if len(of_image) < 2:
        raise ValueError("Separability compares patches of different images; got those of one image.")
    others = len(representations.images) - int(of_image.max())
    if not 1 <= neighbours <= others:
        raise ValueError(f"neighbours must be from 1 to {others}, the patches of other images; got {neighbours}.")
    found = cross_val_predict(
        KNeighborsClassifier(neighbours, weights="distance"),
        representations.vectors,
        representations.degradations,
        groups=representations.images,
        cv=LeaveOneGroupOut(),
    )
    right = found == representations.degradations
    classes = np.unique(representations.degradations)
    by_degradation = tuple(float(right[representations.degradations == label].mean()) for label in classes)
    return Separability(float(right.mean()), by_degradation, 1 / len(classes))


def in_two_dimensions(representations: Representations, *, seed: int = 0) -> Numbers:
    """Vectors `[n, 2]` by t-SNE (van der Maaten and Hinton, 2008), started from the principal components.

    Raises:
        ImportError: scikit-learn isn't installed.
        ValueError: There are fewer than 4 patches.
    """
    require_plotting("sklearn")
    from sklearn.manifold import TSNE

    count = len(representations.vectors)
    if count < 4:
        raise ValueError(f"t-SNE needs 4 patches or more; got {count}.")
    tsne = TSNE(perplexity=min(30, (count - 1) / 3), init="pca", random_state=seed)
    return np.asarray(tsne.fit_transform(representations.vectors), dtype=np.float32)


def require_plotting(*modules: str) -> None:
    """Raises ImportError if a package of the extra `plot` is missing; the message says how to install it."""
    packages = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}
    missing = [packages[module] for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f"Representations need the package {' and '.join(missing)}: pip install 'dasr-fast[plot]'.")
