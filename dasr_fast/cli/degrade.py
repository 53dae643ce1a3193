"""`dasr-fast degrade`."""

from pathlib import Path
from typing import Any, Literal

import click

from dasr_fast.cli.common import (
    PATH,
    Report,
    blur_options,
    check_target,
    input_images,
    make_folder,
    mode_option,
    output_paths,
    overwrite_option,
    refuse_angle_alone,
    refuse_overwriting,
    seed_option,
)
from dasr_fast.progress import progress


@click.command()
@click.argument("source", type=PATH)
@click.option("-o", "--output", type=PATH, help="File or folder; beside SOURCE if left out.")
@click.option("--scale", type=click.IntRange(1, 4), default=4, show_default=True, help="1 doesn't downsample.")
@blur_options
@click.option(
    "--random",
    "random_kernel",
    type=click.Choice(["isotropic", "anisotropic"]),
    help="Draw a kernel for each image as in training (any angle, widths from 0.2 to SCALE, or to 2 at scale 1), and a "
    "noise level up to --noise.",
)
@click.option("--kernel-file", type=PATH, help="Blur with the kernel in this .npy file (two dimensions).")
@mode_option
@click.option("--save-kernels", type=PATH, help="Write the kernels used to this .npz file, by file name.")
@seed_option
@overwrite_option
def degrade(
    source: Path,
    output: Path | None,
    scale: int,
    sigma: float,
    sigma_y: float | None,
    theta: float | None,
    noise: float,
    random_kernel: Literal["isotropic", "anisotropic"] | None,
    kernel_file: Path | None,
    mode: Literal["bicubic", "s-fold"],
    save_kernels: Path | None,
    seed: int,
    overwrite: bool,
) -> int:
    """Make LR images from SOURCE, an HR image or a folder of them: blur, downsample, add noise.

    Exit code: 0 if all was done, 1 if an image failed, 2 if nothing was tried.

    \b
    dasr-fast degrade photo.png -o lr.png --scale 4 --sigma 2.4
    dasr-fast degrade photos/ -o lr/ --sigma 4 --sigma-y 1.5 --theta 120 --noise 10
    dasr-fast degrade photos/ -o lr/ --random anisotropic --noise 25 --save-kernels kernels.npz
    """
    import numpy as np

    from dasr_fast.degradation import Degradation, bicubic_downsample, image_generator
    from dasr_fast.evaluation import Setting
    from dasr_fast.files import written_whole
    from dasr_fast.images import read_image, write_image

    gaussian = sigma or sigma_y is not None or theta is not None
    if random_kernel and (kernel_file or gaussian):
        raise click.UsageError("--random draws the kernel; leave out --sigma, --sigma-y, --theta and --kernel-file.")
    if kernel_file and gaussian:
        raise click.UsageError("--kernel-file is the kernel; leave out --sigma, --sigma-y and --theta.")
    refuse_angle_alone(sigma_y, theta)
    if kernel_file:
        degradation = Degradation(scale, _read_kernel(kernel_file), (noise, noise), mode=mode)
    elif random_kernel:
        degradation = Degradation(scale, random_kernel, noise, sigma=(0.2, max(scale, 2)), mode=mode)
    else:
        degradation = Setting(sigma, sigma_y, theta or 0.0, noise, mode).degradation(scale)
    images = input_images(source)
    targets = output_paths(source, images, output, f"_lr{scale}", None)
    if save_kernels is not None:
        save_kernels = save_kernels.with_suffix(".npz")
        check_target(save_kernels, overwrite)
    report, kernels = Report(), {}
    for image, target in progress(targets.items(), "Degrading", len(targets)):
        make_folder(target.parent)
        with report.guard(image):
            refuse_overwriting(target, overwrite)
            picture = read_image(image)
            lr, used = degradation(picture.tensor(), generator=image_generator(image.name, seed))
            alpha = picture.alpha_plane()
            write_image(target, picture.replaced(lr, None if alpha is None else bicubic_downsample(alpha, scale)))
            kernels[image.name] = used[0].numpy()
    if save_kernels is not None:
        with written_whole(save_kernels) as temporary:
            np.savez(temporary, **kernels)
    return report.finish(f"Degraded to {next(iter(targets.values())).parent}")


def _read_kernel(path: Path) -> Any:
    import numpy as np
    import torch

    try:
        kernel = np.load(path, allow_pickle=False)
        return torch.from_numpy(np.asarray(kernel, dtype=np.float32).reshape(kernel.shape))
    except FileNotFoundError:
        raise click.UsageError(f"There is no file {path}.") from None
    except (ValueError, OSError, EOFError, TypeError, AttributeError):
        raise click.UsageError(f"{path} is not a .npy file of numbers.") from None
