"""Build of the package, which pyproject.toml declares, and of its compiled library, if this machine can."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

ROOT = Path(__file__).parent.resolve()
COMPILED = Path("dasr_fast", "compiled")
PRODUCTS = ("_library.abi3.so", "build.json")
RUN = """
import runpy, sys
sys.path[0] = {root!r}
sys.path += {tools!r}
runpy.run_module("dasr_fast.build", run_name="__main__", alter_sys=True)
"""


def tools() -> list[str]:
    """Where ninja is: pip brought it here for the build, maybe not yet into the environment."""
    try:
        import ninja
    except ImportError:
        return []
    return [str(Path(ninja.__file__).parent.parent)]


class build_library(Command):
    """Runs `python -m dasr_fast.build` as the environment's interpreter does, without pip's isolation.

    So it finds the PyTorch there, and pip installs no second one, of gigabytes, to build with.
    """

    def initialize_options(self) -> None:
        self.build_lib = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        output = ROOT / COMPILED if self.editable_mode else Path(self.build_lib, COMPILED).resolve()
        program = [sys.executable, "-E", "-c", RUN.format(root=str(ROOT), tools=tools()), "--output", str(output)]
        failed = subprocess.run(program, cwd=ROOT).returncode
        if failed and (os.environ.get("DASR_FAST_BUILD") or "auto") != "auto":
            raise SystemExit("What DASR_FAST_BUILD asks for was not built, for the reason above.")

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return [path for name in PRODUCTS if Path(path := str(Path(self.build_lib, COMPILED, name))).exists()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class build_with_library(build):
    sub_commands = [*build.sub_commands, ("build_library", None)]  # noqa: RUF012


class wheel(bdist_wheel):
    """A wheel for this platform and any Python if it has the library, else for any platform."""

    def run(self) -> None:
        self.run_command("build")
        built = Path(self.get_finalized_command("build").build_lib, COMPILED, PRODUCTS[0]).exists()
        self.distribution.has_ext_modules = lambda: built
        self.root_is_pure = not built
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        tag = super().get_tag()
        # A Python without the GIL takes no abi3.
        narrow = self.root_is_pure or sysconfig.get_config_var("Py_GIL_DISABLED")
        return tag if narrow else ("cp310", "abi3", tag[2])


setup(cmdclass={"build": build_with_library, "build_library": build_library, "bdist_wheel": wheel})
