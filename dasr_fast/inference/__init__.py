"""Inference on pictures."""

from dasr_fast.inference.upscale import upscale

__all__ = ["upscale"]
