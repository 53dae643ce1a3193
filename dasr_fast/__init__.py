"""Fast, complete DASR blind super-resolution (Wang et al., CVPR 2021).

`ops` are the kernels with their backends, `nn` the layers, `models` the networks, `degradation` turns HR into LR,
`evaluation` measures. Each is imported when first used, so that `import dasr_fast` is quick.
"""

import importlib
from typing import Any

_MODULES = ("degradation", "evaluation", "images", "inference", "models", "nn", "ops", "reference")

__all__ = list(_MODULES)
__version__: str


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"dasr_fast.{name}")
    if name == "__version__":
        from importlib import metadata

        return metadata.version("dasr-fast")
    raise AttributeError(f"module 'dasr_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, "__version__"])
