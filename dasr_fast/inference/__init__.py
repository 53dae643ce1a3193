"""Inference: models made fast for images of any size, other people's models made faster in place, and export."""

from dasr_fast.inference.accelerate import Report, accelerate, report, revert
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.export import export_onnx, export_program
from dasr_fast.inference.upscale import comparison, upscale

__all__ = [
    "Engine",
    "Report",
    "accelerate",
    "comparison",
    "export_onnx",
    "export_program",
    "report",
    "revert",
    "upscale",
]
