"""Python modules of the backend "cuda" that find emulated kernels where the compiled library would be."""

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from csrc.emulation import emulate

from dasr_fast.compiled.schemas import SCHEMAS

PACKAGE = "dasr_fast.compiled.cuda"


class EmulatedLibrary:
    """The raw ops, with the arguments that their schemas name; `options` go to the emulation."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        parsed = [torch._C.parse_schema(schema) for schema in SCHEMAS["cuda"]]
        self.arguments = {schema.name: [argument.name for argument in schema.arguments] for schema in parsed}

    def __getattr__(self, name: str) -> Any:
        def run(*values: Any) -> None:
            emulate(name, **dict(zip(self.arguments[name], values, strict=True)), **self.options)

        return run


def load(op: str, parts: int | None = None, **options: Any) -> Any:
    """The module `dasr_fast.compiled.cuda.<op>` and those that it imports, on an emulated GPU; its `cuda` emulates.

    `parts` is into how many each sum is cut, if not as many as the modules choose.
    """
    library = ModuleType("dasr_fast.build.library")
    library.cuda = EmulatedLibrary(**options)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, library.__name__, library)
        for name in _loaded():
            patch.delitem(sys.modules, name)
        module = importlib.import_module(f"{PACKAGE}.{op}")
        for name in _loaded():
            loaded = sys.modules.pop(name)
            if parts is not None and hasattr(loaded, "parts"):
                loaded.parts = lambda *_: parts  # type: ignore[attr-defined]
    return module


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]
