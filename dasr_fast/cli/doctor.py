"""`dasr-fast doctor`."""

import json
import platform
from importlib import metadata
from typing import Any

import click


@click.command()
@click.option("--check", is_flag=True, help="Compare all kernels with the reference first, and keep what is found.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(check: bool, as_json: bool) -> int:
    """Say what computes here: which backends are on, and why not.

    It prints versions, the device, and every backend of every op. Kernels for GPUs are compared with the reference at
    their first use on a device; those that differ stay off. --check compares them anew, and those for CPUs too.

    Exit code: 0; with --check 1 if kernels differ.
    """
    facts = examine(check)
    failed = any(facts["differ"].values())
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return int(failed)
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name in ("dasr-fast", "python", "torch", "triton", "libvips", "library", "device", "threads"):
        console.print(f"{name:10} {facts[name]}", highlight=False, markup=False, soft_wrap=True)
    table = Table("op", "backend", "state", "reason")
    for op, backends in facts["ops"].items():
        for backend, reason in backends.items():
            table.add_row(op, backend, "on" if reason is None else "off", reason or "")
        table.add_section()
    console.print(table)
    for name, reason in facts["differ"].items():
        console.print(f"{name}: {reason or 'agrees with the reference'}", highlight=False, markup=False, soft_wrap=True)
    return int(failed)


def examine(check: bool = False) -> dict[str, Any]:
    """The facts: versions, device, and for every op and backend None (on) or the reason why it is off.

    "differ" says for each op and backend that was checked what differs, or None.
    """
    import torch

    from dasr_fast.ops.backends import BACKENDS, OPS, state
    from dasr_fast.ops.self_check import check_again, known_failure

    differ = {}
    for op in OPS if check else ():
        for name, backend in BACKENDS.items():
            device = torch.device(backend.device or "cpu")
            reason = state(op, name)
            on = reason is None or (torch.cuda.is_available() and reason == known_failure(op, name, device))
            if name != "reference" and on:
                differ[f"{op} by {name}"] = check_again(op, name, device)
    return {
        "differ": differ,
        "dasr-fast": metadata.version("dasr-fast"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "libvips": _libvips(),
        "library": _library(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "ops": {op: {backend: state(op, backend) for backend in BACKENDS} for op in OPS},
    }


def _library() -> str:
    """The compiled library: where, the instruction set in use, and what it was built with; or why it is off."""
    from dasr_fast.build import record

    try:
        path = record.require()
        from dasr_fast.build.library import INSTRUCTION_SETS, cpp

        facts = record.read()
        kinds = [] if facts["parts"]["cpp"] else [INSTRUCTION_SETS[cpp.instruction_set()]]
        kinds += [] if facts["parts"]["cuda"] else [f"CUDA {facts['nvcc']} for {facts['architectures']}"]
    except record.NotBuilt as error:
        return f"off: {error}"
    except Exception as error:  # Whatever is wrong with the library, this is where to read it.
        return f"importing it failed: {error.__cause__ or error}"
    return f"{path} ({', '.join(kinds)}; built with torch {facts['torch']})"


def _libvips() -> str:
    try:
        import pyvips

        return ".".join(str(pyvips.version(part)) for part in range(3))
    except (ImportError, OSError) as error:
        return f"not usable, so image files can't be read or written: {error}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
