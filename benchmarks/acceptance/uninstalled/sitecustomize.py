"""On PYTHONPATH this makes a checkout that wasn't installed complete: the kernels, and the version."""

import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from importlib.util import spec_from_file_location
from os import PathLike
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class Checkout(DistributionFinder):
    """Finds `dasr_fast.kernels` where it is in a checkout, and what an installer would have written down."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != "dasr_fast.kernels":
            return None
        folder = ROOT / "kernels"
        return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        if context is None or context.name in (None, "dasr-fast"):
            yield Described()


class Described(Distribution):
    """Name and version as in pyproject.toml."""

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        return f"Metadata-Version: 2.1\nName: dasr-fast\nVersion: {version[1] if version else '0'}\n"

    def locate_file(self, path: str | PathLike[str]) -> Any:
        return ROOT / path


sys.meta_path.insert(0, Checkout())
