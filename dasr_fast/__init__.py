"""Fast, complete DASR blind super-resolution (Wang et al., CVPR 2021).

`ops` are the kernels with their backends, `nn` the layers, `models` the networks, `degradation` turns HR into LR,
`evaluation` measures, `training` trains. `upscale` super-resolves an image. `accelerate` makes other people's models
use the ops, and `revert` undoes it.
Each is imported when first used, so that `import dasr_fast` is quick.
"""

import importlib
from typing import Any

_MODULES = (
    "acceleration",
    "degradation",
    "evaluation",
    "export",
    "images",
    "inference",
    "integrations",
    "models",
    "nn",
    "ops",
    "reference",
    "training",
)
_FUNCTIONS = {
    "accelerate": "dasr_fast.acceleration",
    "revert": "dasr_fast.acceleration",
    "upscale": "dasr_fast.inference.any_image",
}

__all__ = [*_MODULES, *_FUNCTIONS]
__version__: str


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"dasr_fast.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name == "__version__":
        from importlib import metadata

        return metadata.version("dasr-fast")
    raise AttributeError(f"module 'dasr_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
