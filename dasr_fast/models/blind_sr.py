"""Encoder and SR network together: blind super-resolution."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast.models import hub
from dasr_fast.models.checkpoint import (
    check_weights,
    find_weights,
    load_weights,
    read_limits,
    read_weights,
    settings_of,
)
from dasr_fast.models.dasr import DASR
from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.models.moco import MoCo
from dasr_fast.ops.checks import type_name


class BlindSR(nn.Module):
    """Blind super-resolution in one pass: the encoder's embedding of an image steers the SR network.

    The released module `BlindSR`, with its parameter and buffer names; paper Figure 2.

    Args:
        scale: 2, 3 or 4.
        options: Further arguments of `DASR`.

    Attributes:
        noise: Largest standard deviation of the noise in grey levels that the weights were trained with, or None if
            nobody knows.
    """

    def __init__(self, scale: int = 4, **options: Any) -> None:
        super().__init__()
        self.G = DASR(scale, **options)
        self.E = MoCo()
        self.noise: float | None = None
        if self.G.embedding != EMBEDDING:
            raise ValueError(f"BlindSR: the encoder's embedding has width {EMBEDDING}; got {self.G.embedding}.")

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **options: Any) -> "BlindSR":
        """The model whose weights have that name or path, in float32 and evaluation mode.

        A name is that of weights that come with the package, or of a repository `owner/name` of the Hugging Face hub
        (extra `hub`).

        Scale, sizes and what is left out (`gate="none"`, `depthwise="static"`) are those of the weights: a `.pt` or
        `.safetensors` file with the released model's keys, wrapped in whatever way, or the folder of a training run or
        of `save_pretrained`. A `.safetensors` file may also hold the limits of what they were trained with: the bounds
        of the embeddings, `G.bounds`, and `noise`.

        Args:
            name_or_path: Name or path.
            options: Arguments of `BlindSR` that keys and shapes don't tell, such as `gate="series"`.

        Raises:
            FileNotFoundError: There are no such weights.
            CheckpointError: The file is damaged, unsafe, or holds another network.
        """
        path = find_weights(name_or_path)
        state = read_weights(path)
        settings = {**settings_of(state, path), **options}
        with torch.device("meta"):  # Sizes that don't fit together could ask for any memory.
            check_weights(cls(**settings), state, path)
        model = cls(**settings).float()
        load_weights(model, state, path)
        model.G.bounds, model.noise = read_limits(path, model.G.embedding)
        if not any(key.startswith("E.encoder_k.") for key in state):
            model.E.copy_query_to_key()
        return model.eval()

    def save_pretrained(self, folder: str | Path, *, card: str | None = None) -> None:
        """Write weights, settings and a model card into a folder, for `from_pretrained` and the Hugging Face hub.

        Args:
            folder: It is made if it isn't there; files of the same names are replaced.
            card: Text of the model card; a beginning of one if None.

        Raises:
            OSError: Something can't be written.
        """
        hub.save(self, Path(folder), card)

    def push_to_hub(
        self, repository: str, *, private: bool = False, card: str | None = None, token: str | None = None
    ) -> str:
        """Write what `save_pretrained` writes into a repository of the Hugging Face hub, and return its address.

        Args:
            repository: `owner/name`; it is made if it isn't there.
            private: Whether a new one is.
            card: Text of the model card; a beginning of one if None.
            token: Of the hub; the one that is logged in if None.

        Raises:
            ImportError: huggingface_hub isn't installed (extra `hub`).
            OSError: The hub can't be reached, or refuses.
        """
        return hub.push(self, repository, private=private, card=card, token=token)

    @property
    def scale(self) -> int:
        """Factor between LR and SR."""
        return self.G.scale

    def encode(self, lr: Tensor) -> Tensor:
        """Embedding `[B, 256]` of the degradation of LR images `[B, 3, H, W]` in 0 to 255."""
        _check_images(lr, (3,), "[B, 3, H, W]")
        return self.E.encoder_q.embed(lr)

    def restore(self, lr: Tensor, v: Tensor) -> Tensor:
        """SR images `[B, 3, H * scale, W * scale]` for LR images `[B, 3, H, W]` with the embeddings `v` `[B, 256]`.

        Values are in 0 to 255, neither rounded nor clamped. In evaluation mode, embeddings outside of `G.bounds` are
        drawn inside.
        """
        _check_images(lr, (3,), "[B, 3, H, W]")
        if tuple(v.shape) != (lr.shape[0], self.G.embedding):
            raise ValueError(
                f"BlindSR: v must be [B, {self.G.embedding}] with B = {lr.shape[0]} as lr has it; got {list(v.shape)}."
            )
        return self.G(lr, v)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Super-resolve, and in training mode contrast too, as the released model does.

        Args:
            x: In evaluation mode LR images `[B, 3, H, W]`; in training mode two patches of each image with the
                same degradation, `[B, 2, 3, H, W]`. Values in 0 to 255, floating point.

        Returns:
            In evaluation mode SR images `[B, 3, H * scale, W * scale]`. In training mode the SR images of the first
            patches, and the logits and labels of `MoCo`.

        Raises:
            TypeError: The images aren't floating point.
            ValueError: The shape is another.
        """
        if not self.training:
            return self.restore(x, self.encode(x))
        _check_images(x, (2, 3), "[B, 2, 3, H, W] in training mode")
        embedding, logits, labels = self.E(x[:, 0], x[:, 1])
        return self.G(x[:, 0], embedding), logits, labels


def _check_images(x: Tensor, middle: tuple[int, ...], shape: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"BlindSR: images must be a tensor; got {type(x).__name__}.")
    if x.dim() != 3 + len(middle) or tuple(x.shape[1:-2]) != middle or 0 in x.shape[-2:]:
        raise ValueError(f"BlindSR: images must be {shape}; got {list(x.shape)}.")
    if not x.dtype.is_floating_point:
        raise TypeError(f"BlindSR: images must be floating point in 0 to 255; got {type_name(x.dtype)}.")
