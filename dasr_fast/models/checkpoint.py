"""Weights in and out of files: the released model's keys, from `.pt` (tensors only) or `.safetensors`."""

import argparse
import hashlib
import importlib.util
import io
import math
import pathlib
import pickle
import re
import types
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dasr_fast.files import written_whole
from dasr_fast.models import bounds as embedding_bounds
from dasr_fast.models import hub
from dasr_fast.models.wrapped import FIRST, find_state, names_in, plain
from dasr_fast.ops.checks import type_name

if TYPE_CHECKING:
    from dasr_fast.models.blind_sr import BlindSR

SHIPPED = Path(__file__).resolve().parent.parent / "weights"
"""Folder of the weights that come with the package."""

FOR_PICTURES = {2: "x2-photo", 3: "x3", 4: "x4-photo"}
"""Names of the weights for pictures of which nobody says what happened to them, by scale."""

SAVED = ("G.", "E.encoder_q.")
"""How keys begin in released checkpoints, without the key encoder, the queue and its pointer."""

CHECKSUM = "sha256"
"""Name, in the metadata of a `.safetensors` file, of its tensors' SHA-256 (`checksum`)."""

# What checkpoints hold beside tensors, and can't run code. NumPy's functions have two names, before and from version 2.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    types.SimpleNamespace,
    *((pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    *((pathlib.PureWindowsPath, f"{module}.WindowsPath") for module in ("pathlib", "pathlib._local")),
    np.ndarray,
    np.dtype,
    *(getattr(np.dtypes, name) for name in np.dtypes.__all__ if name != "ObjectDType"),
    *(
        (value.__reduce__()[0], f"numpy.{package}.multiarray.{name}")
        for package in ("core", "_core")
        for value, name in ((np.float64(), "scalar"), (np.empty(0), "_reconstruct"))
    ),
]


class CheckpointError(ValueError):
    """A file doesn't hold weights that can be used; the message says why."""


def find_weights(name_or_path: str | Path) -> Path:
    """Path of the weights with that name (shipped with the package) or path.

    A training run's folder stands for its `weights.safetensors`, or else for its latest checkpoint, and a folder of
    `BlindSR.save_pretrained` for its weights. `owner/name`, where there is no folder `owner`, is a repository of the
    Hugging Face hub if the extra `hub` is installed.

    Raises:
        FileNotFoundError: There are none.
    """
    path = Path(name_or_path)
    if not str(name_or_path).strip():
        raise FileNotFoundError("The name of the weights is empty.")
    if path.is_file():
        return path
    own = shipped()
    if str(name_or_path) in own:
        return own[str(name_or_path)]
    if path.is_dir():
        of_run = [*path.glob("step-*.pt"), *path.glob("checkpoints/step-*.pt")]
        names = ("weights.safetensors", "weights.pt", "model.safetensors")
        for found in (*(path / name for name in names), *sorted(of_run, reverse=True)):
            if found.is_file():
                return found
        raise FileNotFoundError(f"The folder {path} holds no weights.safetensors and no checkpoint of a run.")
    missing = f"No weights at {name_or_path}, and none of that name come with the package (which has {', '.join(own)})."
    if hub.may_be_repository(str(name_or_path)):
        if importlib.util.find_spec("huggingface_hub") is not None:
            return hub.download(str(name_or_path))
        missing += " The Hugging Face hub wasn't asked: pip install 'dasr-fast[hub]'."
    raise FileNotFoundError(missing)


def shipped() -> dict[str, Path]:
    """Files of the weights that come with the package, by name, in order."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}


def card_facts(name: str) -> dict[str, str]:
    """The first table in the model card of weights that come with the package, such as `degradation`."""
    text = (SHIPPED / f"{name}.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (\w[\w ]*) \| (.+) \|$", text, re.MULTILINE))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a DASR model by the released model's keys, on the CPU.

    They are looked for in dictionaries inside, behind prefixes and in the checkpoints of a training run, see
    `dasr_fast.models.wrapped.find_state`. Checksums are compared: weights that come with the package have theirs in
    their cards, other `.safetensors` files by `save_weights` in the metadata, `.pt` files in the zip format.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, holds code, or no DASR model.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no dictionary of tensors.")
    state = find_state(content)
    if not state:
        raise CheckpointError(f"{path} holds no DASR model: it lacks {FIRST}. Its keys are {names_in(content)}.")
    for key, value in state.items():
        if not isinstance(value, Tensor) or not _is_ordinary(value):
            raise CheckpointError(f"{path} holds no ordinary tensor in {key}.")
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise CheckpointError(f"{path} holds NaN or infinity in {key}.")
    return state


def checksum(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors on the CPU with their names, types and shapes, in hexadecimal digits."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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


def check_weights(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare weights with a `BlindSR`; what released checkpoints lack may be missing.

    `path` is for messages.

    Raises:
        CheckpointError: Keys, types or shapes are those of another network.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and key.startswith(SAVED)]
    unknown = [key for key in state if key not in own]
    if missing or unknown:
        what = f"it lacks {missing[0]}" if missing else f"it has {unknown[0]}"
        raise CheckpointError(f"{path} holds another network: {what}.")
    for key, value in state.items():
        if value.is_floating_point() != own[key].is_floating_point():
            raise CheckpointError(f"{path} holds another network: {key} is {type_name(value.dtype)}.")
        if value.shape != own[key].shape:
            raise CheckpointError(
                f"{path} holds another network: {key} is {list(value.shape)} instead of {list(own[key].shape)}."
            )


def load_weights(model: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights into a `BlindSR`, unless `check_weights` raises an error; the model is then unchanged."""
    check_weights(model, state, path)
    model.load_state_dict(state, strict=False)


def save_weights(model: "BlindSR", path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a `BlindSR`'s weights with the keys of a released checkpoint, whole or not at all.

    A `.safetensors` file also says what they were trained with, as far as the model knows: `G.bounds` and `noise`.

    Args:
        model: The model, perhaps in DataParallel or compiled.
        path: Ends in `.safetensors` or `.pt`.
        metadata: Texts to keep in a `.safetensors` file.

    Raises:
        ValueError: The file name ends otherwise.
        OSError: The file can't be written.
    """
    from safetensors.torch import save  # Models in memory do without it.

    path = Path(path)
    if path.suffix not in (".safetensors", ".pt"):
        raise ValueError(f"Weights are written as .safetensors or .pt; got {path.name}.")
    tensors = {plain(key): value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    state = {key: value for key, value in tensors.items() if key.startswith(SAVED)}
    facts = {**(metadata or {}), "format": "pt", CHECKSUM: checksum(state)}
    network: BlindSR = getattr(model, "module", model)  # That of DataParallel.
    if network.G.bounds is not None:
        facts["bounds"] = embedding_bounds.to_text(network.G.bounds)
    if network.noise is not None:
        facts["noise"] = f"{network.noise:g}"
    with written_whole(path) as temporary:
        temporary.write_bytes(pickled(state) if path.suffix == ".pt" else save(state, metadata=facts))


def pickled(content: Any) -> memoryview:
    """What `torch.save` writes; in memory, since its writer hides what the system says of a full disk, or aborts."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def read_pickle(path: Path) -> Any:
    """What a `.pt` file holds, on the CPU: tensors, numbers, texts, containers and what else can't run code.

    Raises:
        OSError: The file can't be read.
        CheckpointError: The file is damaged, or holds code.
    """
    _check_archive(path)
    with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
                found = re.search(r"GLOBAL ([\w.]+)", str(error))
                example = f", such as {found[1]}" if found else ""
                raise CheckpointError(
                    f"{path} holds Python objects that could run code{example}, not only tensors, and was not loaded."
                ) from None
            raise CheckpointError(f"{path} is not a checkpoint that PyTorch can read.") from None
        except MemoryError:
            raise
        except Exception:  # Damaged files make PyTorch raise almost anything.
            raise CheckpointError(f"{path} is not a whole checkpoint that PyTorch can read.") from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    if path.resolve().parent == SHIPPED:
        card = path.resolve().with_suffix(".md")
        if not card.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() not in card.read_text(encoding="utf-8"):
            raise CheckpointError(f"{path} is damaged: {card.name} beside it has another SHA-256. Install it anew.")
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get(CHECKSUM)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole .safetensors file: {error}.") from None
    if expected is not None and checksum(state) != expected:
        raise CheckpointError(f"{path} is damaged: its tensors don't have the SHA-256 of its metadata.")
    return state


def _check_archive(path: Path) -> None:
    """Compare what a zip archive holds with its checksums, which PyTorch doesn't do."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return  # The older format, without checksums.
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.CRC:  # PyTorch can be told to write none.
                    with archive.open(member) as content:
                        while content.read(1 << 20):
                            pass
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        raise CheckpointError(f"{path} is damaged: it is not a whole checkpoint, or its checksums differ.") from None


def _is_ordinary(tensor: Tensor) -> bool:
    """Whether it has numbers, in memory, and no more than the file holds."""
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided or tensor.is_meta:
        return False
    if tensor.nbytes > tensor.untyped_storage().nbytes():  # Repeated by strides: small in the file, huge when copied.
        return False
    try:
        tensor.to(torch.float32 if tensor.is_floating_point() else torch.int64)
    except RuntimeError:  # Types without arithmetic.
        return False
    return True
