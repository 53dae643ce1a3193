"""Models for other runtimes: `torch.export` and ONNX, of any batch, height and width, in standard operators alone."""

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dasr_fast.export.portable import PortableBlindSR
from dasr_fast.files import written_whole
from dasr_fast.models.adopt import as_blind_sr
from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.precision import tf32_convolutions

Part = Literal["whole", "encode", "restore"]
"""All that `BlindSR` does to an image, or one of its methods."""

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2}
"""Largest difference that `verify` accepts, of the largest value: a hundred times what rounding to float32
makes, twenty times what rounding to float16 makes."""


_INPUTS: dict[str, tuple[str, ...]] = {"whole": ("lr",), "encode": ("lr",), "restore": ("lr", "v")}

# The oldest that PyTorch's exporter writes directly.
_OPSET = 18

# Batch, height and width.
_TRIALS = ((1, 1, 1), (2, 3, 5), (3, 17, 40))


class Form(NamedTuple):
    """How images go into an exported network and come out.

    Attributes:
        unit_range: Whether 0 to 1 takes the place of 0 to 255.
        half: Whether weights, images and embeddings are float16 instead of float32.
        size: Height and width of the LR images, if the program is for these alone; its batch is then 1.
    """

    unit_range: bool = False
    half: bool = False
    size: tuple[int, int] | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, images and embeddings."""
        return torch.float16 if self.half else torch.float32


USUAL = Form()


class _Formed(nn.Module):
    """A part of the network whose images are in 0 to 1."""

    def __init__(self, network: nn.Module, part: Part) -> None:
        super().__init__()
        self.network, self.part = network, part

    def forward(self, lr: Tensor, *others: Tensor) -> Tensor:
        result: Tensor = self.network(lr * 255, *others)
        return result if self.part == "encode" else result / 255


def export_program(model: nn.Module, part: Part = "whole", form: Form = USUAL) -> ExportedProgram:
    """The network as a program of `torch.export`, of ATen operators alone, on the CPU.

    Args:
        model: A `BlindSR`, ours or the released one, in any mode; it isn't changed.
        part: "whole" gives SR for LR images, "encode" their embeddings, "restore" SR for LR images and embeddings.
        form: Of the images.

    Returns:
        A program for any batch, height and width from 1 on, unless the form has a size. LR images are `[B, 3, H, W]` in
        0 to 255 or in the form's range, embeddings `[B, 256]`, SR images `[B, 3, H * scale, W * scale]`, neither
        rounded nor clamped.

    Raises:
        TypeError: It isn't a model of that kind.
        ValueError: There is no such part, or the model computes something else than DASR.
    """
    inputs = _inputs(part)
    network = PortableBlindSR(as_blind_sr(model))
    module = {"whole": network, "encode": network.encoder, "restore": network.sr_network}[part]
    module = (_Formed(module, part) if form.unit_range else module).to(form.dtype)
    batch, height, width = (2, 17, 19) if form.size is None else (1, *form.size)
    shapes = {"lr": (batch, 3, height, width), "v": (batch, EMBEDDING)}
    examples = tuple(torch.zeros(shapes[name], dtype=form.dtype, device="cpu") for name in inputs)
    any_size = nullcontext()
    if _takes_any_size():
        any_size = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with any_size, _silenced():
        return torch.export.export(module, examples, dynamic_shapes=_sizes(inputs, form))


def export_onnx(model: nn.Module, path: str | Path, part: Part = "whole", form: Form = USUAL) -> None:
    """Write the network as an ONNX file, of operators of the standard domain alone, whole or not at all.

    Inputs and output are those of `export_program`, called `lr`, `v` and `sr`; sizes are called batch, height, width.

    Raises:
        ImportError: The packages for it aren't installed; the message says which.
        FileNotFoundError: The folder of `path` doesn't exist.
        TypeError, ValueError: As for `export_program`.
    """
    require_onnx()
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from onnxscript import optimizer

    inputs = _inputs(part)
    with written_whole(path) as temporary, _silenced():
        program = torch.onnx.export(
            export_program(model, part, form),
            dynamo=True,
            input_names=inputs,
            output_names=["v" if part == "encode" else "sr"],
            dynamic_shapes=_sizes(inputs, form),
            opset_version=_OPSET,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        # Folding first, since the rules of `optimize` need a minute for the many constants that it removes.
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
        program.optimize()
        ClearMetadataAndDocStringPass()(program.model)  # It holds stack traces with paths of this machine.
        program.save(temporary, external_data=False)


def require_onnx() -> None:
    """Raises ImportError if `export_onnx` lacks a package; the message says which, and how to install it."""
    missing = [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]
    if missing:
        raise ImportError(f"ONNX files need the package {' and '.join(missing)}: pip install 'dasr-fast[export]'.")


def verify(path: str | Path, model: nn.Module, part: Part = "whole", form: Form = USUAL) -> float:
    """Largest difference between what a file computes and what the model does, over random images of several sizes.

    Args:
        path: A file by `export_onnx`, which onnxruntime computes, or by `torch.export.save`, which ends in `.pt2`.
        model: The model that was exported; a copy of it computes in float32, on its device.
        part: The part that was exported.
        form: Its form.

    Returns:
        The difference, in grey levels for "whole" and "restore".

    Raises:
        ImportError: It is an ONNX file, and onnxruntime isn't installed.
        RuntimeError: The difference is larger than rounding can make it.
        TypeError, ValueError: As for `export_program`.
    """
    inputs = _inputs(part)
    network = copy.deepcopy(as_blind_sr(model)).float().eval()
    own: Callable[..., Tensor] = network if part == "whole" else getattr(network, part)
    device = next(network.parameters()).device
    computed = _run_program(path) if Path(path).suffix == ".pt2" else _run_onnx(path, inputs)
    generator = torch.Generator().manual_seed(0)
    largest, white = 0.0, 255 if form.unit_range else 1
    for batch, height, width in _TRIALS if form.size is None else [(1, *form.size)]:
        lr = 255 * torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float32, device="cpu")
        with torch.inference_mode(), tf32_convolutions(False):
            images = {"lr": lr, "v": network.encode(lr.to(device)).cpu()}
            truth = own(*(images[name].to(device) for name in inputs)).cpu()
            given = {"lr": lr / white, "v": images["v"]}
            result = computed(*(given[name].to(form.dtype) for name in inputs)).float()
            difference = (result * (1 if part == "encode" else white) - truth).abs().max().item()
        if not difference <= TOLERANCE[form.dtype] * truth.abs().max().item():
            raise RuntimeError(
                f"The exported file computes something else than the model: results for {list(lr.shape)} differ by "
                f"{difference:.1e}."
            )
        largest = max(largest, difference)
    return largest


def _inputs(part: str) -> tuple[str, ...]:
    if part not in _INPUTS:
        raise ValueError(f"part must be whole, encode or restore; got {part!r}.")
    return _INPUTS[part]


def _takes_any_size() -> bool:
    """Whether PyTorch has the private option for programs that take any size.

    Otherwise the strides of the encoder's features are inferred for images of more than four pixels a side.
    """
    return hasattr(getattr(torch.fx.experimental, "_config", None), "backed_size_oblivious")


def _sizes(inputs: tuple[str, ...], form: Form) -> tuple[dict[int, Dim], ...] | None:
    """What varies of each input; None if nothing does."""
    if form.size is not None:
        return None
    least = 1 if _takes_any_size() else 5
    batch, height, width = (Dim(name, min=size) for name, size in (("batch", 1), ("height", least), ("width", least)))
    sizes = {"lr": {0: batch, 2: height, 3: width}, "v": {0: batch}}
    return tuple(sizes[name] for name in inputs)


def _run_program(path: str | Path) -> Callable[..., Tensor]:
    with _silenced():
        return torch.export.load(path).module()


def _run_onnx(path: str | Path, inputs: tuple[str, ...]) -> Callable[..., Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(*arguments: Tensor) -> Tensor:
        feed = {name: argument.numpy() for name, argument in zip(inputs, arguments, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


@contextmanager
def _silenced() -> Iterator[None]:
    """Without the exporter's remarks on PyTorch's own code and on packages that it doesn't need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
