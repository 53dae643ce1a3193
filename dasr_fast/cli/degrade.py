"""`dasr-fast degrade`."""

from pathlib import Path
from typing import Any, Literal

import click

from dasr_fast.cli import common
from dasr_fast.cli.common import PATH, Report, option
from dasr_fast.files import SUFFIXES
from dasr_fast.progress import Progress

SUM_TOLERANCE = 1e-3
"""How far from 1 the sum of a kernel of one's own may be: a quarter of a grey level in white."""


@click.command()
@click.argument("source", type=PATH)
@option("-o", "--output", type=PATH, help="File or folder; beside SOURCE if left out.")
@option("--scale", type=click.IntRange(1, 4), default=4, help="1 doesn't downsample.")
@common.degradation_options
@common.preset_option
@option(
    "--random",
    "random_kernel",
    type=click.Choice(["isotropic", "anisotropic"]),
    help="Draw a kernel for each image as in training (any angle, widths from 0.2 to SCALE, or to 2 at scale 1), and a "
    "noise level up to --noise.",
)
@option(
    "--kernel-file", type=PATH, help="Blur with the kernel in this .npy file: real numbers, two dimensions, of sum 1."
)
@option("--pairs", is_flag=True, help="Write PNG files into the folders lr and hr of OUTPUT; HR is cropped to fit.")
@option("--save-kernels", type=PATH, help="Write the kernels used to this .npz file, by file name.")
@common.seed_option
@common.overwrite_option
def degrade(
    source: Path,
    output: Path | None,
    scale: int,
    preset: str | None,
    random_kernel: Literal["isotropic", "anisotropic"] | None,
    kernel_file: Path | None,
    pairs: bool,
    save_kernels: Path | None,
    seed: int,
    overwrite: bool,
    fixed: common.DegradationOptions,
) -> int:
    """Make LR images: blur, downsample, add noise, compress.

    SOURCE is an HR image or a folder of them. Formats are those of upscale, and as much of each image is kept. Images
    of a folder whose results exist already are skipped, but with --save-kernels they fail. Exit code: 0 if all was
    done, 1 if an image failed, 2 if nothing was tried.

    \b
    dasr-fast degrade photo.png -o lr.png --scale 4 --sigma 2.4
    dasr-fast degrade photos/ -o lr/ --sigma 4 --sigma-y 1.5 --theta 120 --noise 10
    dasr-fast degrade photos/ -o lr/ --random anisotropic --noise 25 --save-kernels kernels.npz
    dasr-fast degrade photos/ -o pairs/ --preset photo --seed 1 --pairs
    """
    import numpy as np
    import torch

    from dasr_fast.degradation import Degradation, bicubic_downsample, image_generator
    from dasr_fast.degradation import preset as find_preset
    from dasr_fast.degradation.compression import compressed
    from dasr_fast.files import written_whole
    from dasr_fast.images import check_format, read_image, write_image

    if random_kernel and (kernel_file or fixed.blurs):
        raise click.UsageError("--random draws the kernel; leave out --sigma, --sigma-y, --theta and --kernel-file.")
    if kernel_file and fixed.blurs:
        raise click.UsageError("--kernel-file is the kernel; leave out --sigma, --sigma-y and --theta.")
    if preset and (fixed.given or random_kernel or kernel_file or save_kernels):
        raise click.UsageError("--preset draws everything; leave out --sigma, --noise, --jpeg, --random and the like.")
    degradation: Any
    if preset:
        degradation = find_preset(preset, scale)
    elif kernel_file:
        degradation = Degradation(scale, _read_kernel(kernel_file), (fixed.noise, fixed.noise), mode=fixed.mode)
    elif random_kernel:
        degradation = Degradation(scale, random_kernel, fixed.noise, sigma=(0.2, max(scale, 2)), mode=fixed.mode)
    else:
        degradation = fixed.setting().degradation(scale)
    images = common.input_images(source)
    targets = (
        _pairs(source, images, output) if pairs else common.output_paths(source, images, output, f"_lr{scale}", None)
    )
    if save_kernels is not None:
        save_kernels = _kernels_file(save_kernels)
        common.check_target(save_kernels, overwrite)
    folder = targets[images[0]].parent
    report, kernels = Report(), {}
    results = {
        image: [target, *([folder.with_name("hr") / target.name] if pairs else [])] for image, target in targets.items()
    }
    # The file of kernels is to hold those of all images.
    to_do = report.unfinished(results, overwrite) if source.is_dir() and save_kernels is None else results
    with common.results_in(folder, *([folder.with_name("hr")] if pairs else [])):
        for image, (target, *of_hr) in Progress(to_do.items(), "Degrading", len(to_do)):
            with report.guard(image):
                for file in (target, *of_hr):
                    common.refuse_overwriting(file, overwrite)
                picture = read_image(image)
                check_format(target, picture)
                hr, alpha = picture.tensor(), picture.alpha_plane()
                lr, used = degradation(hr, generator=image_generator(image.name, seed))
                if fixed.jpeg is not None:
                    lr = compressed(lr, torch.tensor([fixed.jpeg]))
                write_image(target, picture.replaced(lr, None if alpha is None else bicubic_downsample(alpha, scale)))
                for file in of_hr:
                    write_image(file, picture.replaced(*(_cropped(x, scale) for x in (hr, alpha))))
                if save_kernels is not None:
                    kernels[common.printable(image.name)] = used[0].numpy()
        if save_kernels is not None:
            with report.guard(save_kernels, counted=False), written_whole(save_kernels) as temporary:
                np.savez(temporary, **kernels)
    return report.finish(f"Degraded to {folder}")


def _pairs(source: Path, images: list[Path], output: Path | None) -> dict[Path, Path]:
    """Where the LR image of each image goes; the HR image goes beside that folder, into `hr`."""
    if output is None:
        raise click.UsageError("--pairs writes two folders; name the folder for them: --output.")
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        raise click.UsageError(f"--pairs writes two folders; {output} is a file's name.")
    return common.output_paths(source, images, output / "lr", "", ".png")


def _cropped(image: Any, scale: int) -> Any:
    """The image without what is left of rows and columns after division by the scale; None for None."""
    if image is None:
        return None
    height, width = (size // scale * scale for size in image.shape[-2:])
    return image[..., :height, :width]


def _kernels_file(path: Path) -> Path:
    if path.is_dir():
        raise click.UsageError(f"{path} is a folder; name a file for the kernels.")
    if path.suffix not in ("", ".npz"):
        raise click.UsageError(f"{path}: kernels are written as .npz.")
    return path.with_suffix(".npz")


def _read_kernel(path: Path) -> Any:
    """The blur kernel `[kh, kw]` in a file, as float32."""
    import numpy as np
    import torch

    try:
        kernel = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise click.UsageError(f"There is no file {path}.") from None
    except (ValueError, OSError, EOFError):
        kernel = None
    if not isinstance(kernel, np.ndarray) or kernel.dtype.kind not in "iuf":
        raise click.UsageError(f"{path} is not a .npy file of real numbers.")
    if kernel.ndim != 2 or kernel.size == 0:
        raise click.UsageError(f"{path}: kernel must be [kh, kw]; got {list(kernel.shape)}.")
    if not np.isfinite(kernel).all():
        raise click.UsageError(f"{path}: kernel must be finite; it holds NaN or infinity.")
    total = float(kernel.sum(dtype=np.float64))
    if abs(total - 1) > SUM_TOLERANCE:
        raise click.UsageError(f"{path}: kernel must sum to 1, or the images become darker or brighter; got {total:g}.")
    return torch.from_numpy(kernel.astype(np.float32))
