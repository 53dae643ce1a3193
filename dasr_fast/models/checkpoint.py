"""Weights in and out of files: the released model's keys, from `.pt` (tensors only) or `.safetensors`."""

import math
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dasr_fast.files import written_whole
from dasr_fast.models import bounds as embedding_bounds

if TYPE_CHECKING:
    from dasr_fast.models.blind_sr import BlindSR

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
"""Folder of the weights that come with the package."""

NOT_SAVED = ("E.encoder_k.", "E.queue")
"""Keys that the released training leaves out of its checkpoints: the key encoder, the queue and its pointer."""


class CheckpointError(ValueError):
    """A file doesn't hold weights that can be used; the message says why."""


def find_weights(name_or_path: str | Path) -> Path:
    """Path of the weights with that name (shipped with the package) or path.

    Raises:
        FileNotFoundError: There are none.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{name_or_path}.safetensors"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors")))
    raise FileNotFoundError(
        f"No weights at {name_or_path}, and none of that name come with the package (which has {names})."
    )


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by the released model's keys, on the CPU.

    A dictionary inside (`state_dict`, `model`, `params`) is opened, and the prefix `module.` of DataParallel removed.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, holds code, or no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    with path.open("rb"):
        pass  # Raises what the operating system says where reading isn't allowed.
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for key in ("state_dict", "model", "params"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no dictionary of tensors.")
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        raise CheckpointError(f"{path} holds something else than named tensors.")
    state = {key.removeprefix("module."): value for key, value in content.items()}
    for key, value in state.items():
        if value.is_complex() or value.is_quantized or value.layout != torch.strided or value.is_meta:
            raise CheckpointError(f"{path} holds no ordinary tensor in {key}.")
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise CheckpointError(f"{path} holds NaN or infinity in {key}.")
    return state


def read_limits(path: str | Path, embedding: int) -> tuple[Tensor | None, float | None]:
    """What the weights in a file were trained with: bounds `[3, embedding]` of the embeddings, and the largest noise.

    Both are None where the file doesn't say, as a `.pt` file never does.

    Raises:
        CheckpointError: The file says something that can't be.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        return None, None
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        facts = file.metadata() or {}
    try:
        bounds = embedding_bounds.from_text(facts["bounds"], embedding) if "bounds" in facts else None
        noise = float(facts["noise"]) if "noise" in facts else None
    except ValueError as error:
        raise CheckpointError(f"{path} holds no limits of its training that can be used: {error}.") from None
    if noise is not None and not 0 <= noise < math.inf:
        raise CheckpointError(f"{path} holds no limits of its training that can be used: noise is {noise}.")
    return bounds, noise


def settings_of(state: Mapping[str, Tensor], path: str | Path) -> dict[str, Any]:
    """Arguments of `BlindSR` that keys and shapes in `state` tell: scale, sizes, and what an ablation left out.

    `path` is for messages.

    Raises:
        CheckpointError: These aren't the weights of a DASR model.
    """

    def shape(key: str, dimensions: int) -> torch.Size:
        if key not in state:
            raise CheckpointError(f"{path} holds no DASR model: it lacks {key}.")
        size = state[key].shape
        if len(size) != dimensions or 0 in size:
            raise CheckpointError(f"{path} holds another network: {key} is {list(size)}.")
        return size

    def count(pattern: str) -> int:
        return len({m[1] for m in (re.match(pattern, key) for key in state) if m})

    channels, _, kernel_size, _ = shape("G.head.0.weight", 4)
    factor = shape("G.tail.0.0.weight", 4)[0] / channels
    scale = {(4.0, False): 2, (9.0, False): 3, (4.0, True): 4}.get((factor, "G.tail.0.2.weight" in state))
    if scale is None:
        raise CheckpointError(f"{path} holds a model whose scale is not 2, 3 or 4.")
    representation, embedding = shape("G.compress.0.weight", 2)
    settings: dict[str, Any] = {
        "scale": scale,
        "channels": channels,
        "embedding": embedding,
        "representation": representation,
        "groups": count(r"G\.body\.(\d+)\.body\."),
        "blocks": count(r"G\.body\.0\.body\.(\d+)\.da_conv1\."),
        "kernel_size": kernel_size,
    }
    gate = "G.body.0.body.0.da_conv1.ca.conv_du.0.weight"
    if gate in state:
        settings["reduction"] = max(1, representation // shape(gate, 4)[0])
    elif settings["blocks"]:
        settings["gate"] = "none"
    if "G.body.0.body.0.da_conv1.kernel.weight" in state:
        settings["depthwise"] = "static"
    return settings


def load_weights(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights into a `BlindSR`; what released checkpoints lack (`NOT_SAVED`) may be missing.

    `path` is for messages.

    Raises:
        CheckpointError: Keys or shapes are those of another network. The model is then unchanged.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.startswith(NOT_SAVED)]
    unknown = [key for key in state if key not in own]
    if missing or unknown:
        what = f"it lacks {missing[0]}" if missing else f"it has {unknown[0]}"
        raise CheckpointError(f"{path} holds another network: {what}.")
    for key, value in state.items():
        if value.is_floating_point() != own[key].is_floating_point():
            raise CheckpointError(f"{path} holds another network: {key} is {str(value.dtype).removeprefix('torch.')}.")
        if value.shape != own[key].shape:
            raise CheckpointError(
                f"{path} holds another network: {key} is {list(value.shape)} instead of {list(own[key].shape)}."
            )
    model.load_state_dict(state, strict=False)


def save_weights(model: "BlindSR", path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a `BlindSR`'s weights with the keys of a released checkpoint, whole or not at all.

    A `.safetensors` file also says what they were trained with, as far as the model knows: `G.bounds` and `noise`.

    Args:
        model: The model.
        path: Ends in `.safetensors` or `.pt`.
        metadata: Texts to keep in a `.safetensors` file.

    Raises:
        ValueError: The file name ends otherwise.
        OSError: The file can't be written.
    """
    from safetensors import SafetensorError  # Models in memory do without it.
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix not in (".safetensors", ".pt"):
        raise ValueError(f"Weights are written as .safetensors or .pt; got {path.name}.")
    state = {
        key: value.detach().cpu().contiguous()
        for key, value in model.state_dict().items()
        if not key.startswith(NOT_SAVED)
    }
    facts = {**(metadata or {}), "format": "pt"}
    if model.G.bounds is not None:
        facts["bounds"] = embedding_bounds.to_text(model.G.bounds)
    if model.noise is not None:
        facts["noise"] = f"{model.noise:g}"
    with written_whole(path) as temporary:
        try:
            if path.suffix == ".pt":
                torch.save(state, temporary)
            else:
                save_file(state, temporary, metadata=facts)
        except (RuntimeError, SafetensorError) as error:  # Theirs for a full disk.
            raise OSError(f"{path} can't be written: {error}") from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole .safetensors file: {error}.") from None


def _read_pickle(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
                raise CheckpointError(
                    f"{path} holds Python objects that could run code, not only tensors, and was not loaded."
                ) from None
            raise CheckpointError(f"{path} is not a checkpoint that PyTorch can read.") from None
        except MemoryError:
            raise
        except Exception:  # Damaged files make PyTorch raise almost anything.
            raise CheckpointError(f"{path} is not a whole checkpoint that PyTorch can read.") from None
