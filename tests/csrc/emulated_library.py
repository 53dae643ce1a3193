"""Python modules of the backend "cuda" that find emulated kernels where the compiled library would be."""

import importlib.util
import re
import sys
from types import ModuleType
from typing import Any

import pytest
from csrc.emulation import ROOT, emulate

from dasr_fast.compiled.schemas import SCHEMAS

COMPILED = ROOT / "dasr_fast/compiled"


class EmulatedLibrary:
    """The raw ops, with the arguments that their schemas name; `options` go to the emulation."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.arguments = dict(_parse(schema) for schema in SCHEMAS["cuda"])

    def __getattr__(self, name: str) -> Any:
        def run(*values: Any) -> None:
            emulate(name, **dict(zip(self.arguments[name], values, strict=True)), **self.options)

        return run


def load(op: str, **options: Any) -> ModuleType:
    """The module `dasr_fast.compiled.cuda.<op>`, on an emulated GPU."""
    library = ModuleType("dasr_fast.build.library")
    library.cuda = EmulatedLibrary(**options)  # type: ignore[attr-defined]
    specification = importlib.util.spec_from_file_location(f"emulated_{op}", COMPILED / f"cuda/{op}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, library.__name__, library)
        specification.loader.exec_module(module)
    return module


def _parse(schema: str) -> tuple[str, list[str]]:
    """Name and names of the arguments."""
    name, arguments = re.findall(r"(\w+)\((.*)\) -> ", schema)[0]
    return name, [argument.split()[-1].split("=")[0] for argument in arguments.split(", ") if argument]
