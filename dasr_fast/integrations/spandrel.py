"""DASR as an architecture of spandrel, the library by which chaiNNer, ComfyUI and others load models.

`install()` adds it. From then on `spandrel.ModelLoader().load_from_file(path)` takes released checkpoints, ours, and
those of models with DASR's keys. Extra `spandrel`.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast.inference.any_image import upscale_with
from dasr_fast.inference.engine import Engine
from dasr_fast.models import BlindSR
from dasr_fast.models.checkpoint import SAVED, checksum, load_weights, read_limits, read_weights, settings_of, shipped
from dasr_fast.models.wrapped import find_state

NAME = "DASR"

KEYS = (
    "G.head.0.weight",
    "G.compress.0.weight",
    "G.body.0.body.0.da_conv1.kernel.0.weight",
    "G.tail.1.weight",
    "E.encoder_q.E.0.weight",
)
"""What state dicts of DASR have, and no other architecture's."""

PRECISIONS = {torch.float32: "auto", torch.float16: "fp16", torch.bfloat16: "bf16"}
"""That of the engine, by the type to which the program has moved the model."""


class Upscaler(nn.Module):
    """DASR as spandrel calls it: images `[B, 3, H, W]` in 0 to 1 in, SR images out, computed by `Engine`.

    Its parameters have the released model's names, without the key encoder and the queue. Results are those of
    `dasr-fast upscale`. Large images are computed in tiles with one representation for the whole.

    Args:
        state: Tensors by the released model's keys; bounds of the embeddings are known of weights that come with the
            package.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.hyperparameters = settings_of(state, "The checkpoint")
        model = BlindSR(**self.hyperparameters)
        load_weights(model, state, "The checkpoint")
        model.G.bounds, model.noise = _limits(state, model.G.embedding)
        del model.E.encoder_k, model.E.queue, model.E.queue_ptr
        self.G, self.E, self.scale = model.G, model.E, model.scale
        self._whole = [model]  # In a list, so that its parameters aren't here twice.
        self._engine: Engine | None = None
        self._made: list[Any] = []
        self.eval()

    def engine(self) -> Engine:
        """For the type and device that the parameters have now; made anew if they were moved or written to."""
        made = [(p.device, p.dtype, p.data_ptr(), p._version) for p in self.parameters()]
        if self._engine is None or made != self._made:
            self._engine = Engine(self._whole[0], PRECISIONS.get(made[0][1], "auto"))
            self._made = made
        return self._engine

    def forward(self, image: Tensor) -> Tensor:
        return upscale_with(self.engine(), image.clamp(0, 1))  # Other models overshoot a little.


def install() -> None:
    """Add DASR to spandrel's `MAIN_REGISTRY`, if it isn't there yet.

    Raises:
        ImportError: spandrel isn't installed.
    """
    try:
        import spandrel
    except ModuleNotFoundError as error:
        raise ImportError(
            f"spandrel isn't installed ({error}); pip install 'dasr-fast[spandrel]' brings it."
        ) from error
    support = spandrel.ArchSupport.from_architecture(architecture())
    spandrel.MAIN_REGISTRY.add(support, ignore_duplicates=True)


@cache
def architecture() -> Any:
    """DASR as a `spandrel.Architecture`."""
    import spandrel

    class DASRArch(spandrel.Architecture):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(id=NAME, detect=lambda state: all(key in state for key in KEYS))

        def load(self, state_dict: Mapping[str, Any]) -> Any:
            state = {key: value for key, value in find_state(state_dict).items() if key.startswith(SAVED)}
            model = Upscaler(state)
            settings = model.hyperparameters
            return spandrel.ImageModelDescriptor(
                model,
                state,
                architecture=self,
                purpose="SR",
                tags=[f"{settings['channels']}nf", f"{settings['groups']}x{settings['blocks']}"],
                supports_half=True,
                supports_bfloat16=True,
                scale=model.scale,
                input_channels=3,
                output_channels=3,
                tiling=spandrel.ModelTiling.INTERNAL,
            )

    return DASRArch()


def _limits(state: Mapping[str, Tensor], embedding: int) -> tuple[Tensor | None, float | None]:
    """What weights that come with the package were trained with, which a state dict alone doesn't tell."""
    path = _shipped().get(checksum(state))
    return (None, None) if path is None else read_limits(path, embedding)


@cache
def _shipped() -> dict[str, Path]:
    """Files of the weights that come with the package, by the checksum of their tensors."""
    return {checksum(read_weights(path)): path for path in shipped().values()}
