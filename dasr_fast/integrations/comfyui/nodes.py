"""The nodes: images are `[B, H, W, C]` in 0 to 1, as ComfyUI hands them over."""

from typing import Any

from torch import Tensor

from dasr_fast.inference.any_image import as_picture, shared_engine, upscale_with
from dasr_fast.inference.pictures import embed
from dasr_fast.models.checkpoint import shipped

IMAGE: tuple[str] = ("IMAGE",)
WEIGHTS: tuple[list[str], dict[str, Any]] = (
    list(shipped()),
    {"default": "x4-photo", "tooltip": "Weights that come with dasr-fast; `dasr-fast weights` tells what each is for."},
)
PATH = (
    "STRING",
    {"default": "", "tooltip": "Path of a checkpoint of DASR or of a training run, instead of those weights."},
)


class Upscale:
    """Each image of the batch, with the representation of its own degradation."""

    CATEGORY, FUNCTION, RETURN_TYPES = "image/upscaling", "run", IMAGE
    DESCRIPTION = "Blind super-resolution with DASR: finds out how each image is blurred, and restores it."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": IMAGE, "weights": WEIGHTS}, "optional": {"path": PATH}}

    def run(self, image: Tensor, weights: str, path: str = "") -> tuple[Tensor]:
        return (_upscaled(image, None, path.strip() or weights),)


class UpscaleAs:
    """All images of the batch, with the representation of another image's degradation."""

    CATEGORY, FUNCTION, RETURN_TYPES = Upscale.CATEGORY, Upscale.FUNCTION, IMAGE
    DESCRIPTION = "As Upscale (DASR), but with the degradation found in another image, such as a sharper frame."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types = Upscale.INPUT_TYPES()
        return {**types, "required": {**types["required"], "reference": IMAGE}}

    def run(self, image: Tensor, reference: Tensor, weights: str, path: str = "") -> tuple[Tensor]:
        return (_upscaled(image, reference, path.strip() or weights),)


def _upscaled(image: Tensor, reference: Tensor | None, weights: str) -> Tensor:
    engine, v = shared_engine(weights), None
    if reference is not None:
        v = embed(engine, as_picture(reference[0, :, :, :3].clamp(0, 1).cpu().numpy()))
    planes = image[..., :3].permute(0, 3, 1, 2).clamp(0, 1)
    return upscale_with(engine, planes, v).permute(0, 2, 3, 1).contiguous()


NODE_CLASS_MAPPINGS = {"DASRUpscale": Upscale, "DASRUpscaleAs": UpscaleAs}
NODE_DISPLAY_NAME_MAPPINGS = {
    "DASRUpscale": "Upscale (DASR)",
    "DASRUpscaleAs": "Upscale (DASR) with the degradation of another image",
}
