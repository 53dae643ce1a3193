"""Models made fast for inference on images of any size."""

import importlib
from typing import Any

from dasr_fast.inference.engine import Engine
from dasr_fast.inference.pictures import comparison, upscale

_ELSEWHERE = {
    **dict.fromkeys(("Report", "accelerate", "report", "revert"), "dasr_fast.acceleration"),
    **dict.fromkeys(("export_onnx", "export_program"), "dasr_fast.export"),
}
"""Names that once were here, and the packages that need this one and hold them."""

__all__ = ["Engine", "comparison", "upscale", *_ELSEWHERE]


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
