"""Fast, complete DASR blind super-resolution (Wang et al., CVPR 2021).

`ops` are the kernels with their backends, `nn` the layers, `models` the networks, `degradation` turns HR into LR,
`evaluation` measures, `training` trains. `accelerate` makes other people's models use them, and `revert` undoes it.
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
    "models",
    "nn",
    "ops",
    "reference",
    "training",
)
_FUNCTIONS = ("accelerate", "revert")

__all__ = [*_MODULES, *_FUNCTIONS]
__version__: str


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"dasr_fast.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module("dasr_fast.acceleration"), name)
    if name == "__version__":
        from importlib import metadata

        return metadata.version("dasr-fast")
    raise AttributeError(f"module 'dasr_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
