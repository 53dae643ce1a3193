"""A picture super-resolved."""

import torch

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.images import Picture
from dasr_fast.models import BlindSR


@torch.inference_mode()
def upscale(model: BlindSR, picture: Picture) -> Picture:
    """The picture enlarged by the model's scale: colours by the network, alpha by bicubic upsampling.

    Args:
        model: In evaluation mode, on any device.
        picture: Grey or RGB, 8 or 16 bits; the result is of the same kind.

    Raises:
        RuntimeError: The network's result isn't finite.
    """
    device = next(model.parameters()).device
    lr = picture.rgb().to(device)
    sr = model.restore(lr, model.encode(lr))
    if not torch.isfinite(sr).all():
        raise RuntimeError("The network's result holds NaN or infinity.")
    alpha = picture.alpha_plane()
    return picture.replaced(sr, None if alpha is None else bicubic_upsample(alpha, model.scale))
