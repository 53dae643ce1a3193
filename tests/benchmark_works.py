"""A work with a contender of every kind, which processes of its contenders find here."""

import os
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from benchmarks.harness.work import BASELINE, AbsentError, Contender, Work

TOLERANCE = {"float32": 1e-5, "float16": 1e-2}


def fails() -> NoReturn:
    raise RuntimeError("it needs a GPU.\nThe rest isn't told.")


def lacks() -> NoReturn:
    import a_package_that_nobody_has  # noqa: F401


def absent() -> NoReturn:
    raise AbsentError("there is none here")


def work() -> Work:
    contenders = {
        BASELINE: Contender(lambda: lambda x: x + 1),
        "inexact": Contender(lambda: lambda x: x + 1 + 1e-3 * torch.randn_like(x)),
        "half": Contender(lambda: lambda x: (x + 1).half(), dtype="float16"),
        "nan": Contender(lambda: lambda x: x * torch.nan),
        "grey": Contender(lambda: lambda x: x.mean().expand_as(x) + 1),
        "other shape": Contender(lambda: lambda x: (x + 1)[:5]),
        "arranged": Contender(lambda: lambda x: x, lambda inputs: (inputs[0] + 1,)),
        "fails": Contender(fails),
        "lacks": Contender(lacks),
        "absent": Contender(absent),
        "dies": Contender(lambda: lambda x: os._exit(3)),
        "other": Contender(lambda: lambda x: x + 2, other="adds 2"),
    }
    return Work(
        "suite",
        "label",
        lambda: (torch.arange(10.0),),
        contenders,
        lambda x: x.double() + 1,
        TOLERANCE.__getitem__,
        operations=lambda: 10,
        bytes_moved=80,
    )


def memory() -> Work:
    """Contenders that need 8 and 16 MB."""
    contenders = {
        BASELINE: Contender(lambda: lambda x: torch.ones(4 * 10**6)),
        "other": Contender(lambda: lambda x: torch.ones(2 * 10**6)),
    }
    return replace(work(), contenders=contenders, timed=False)


def two(calls: Path) -> Work:
    """Contenders whose calls write their names and their processes to a file."""

    def writes(name: str) -> Contender:
        def call(x: torch.Tensor) -> torch.Tensor:
            with calls.open("a") as file:
                file.write(f"{name} {os.getpid()}\n")
            return x + 1

        return Contender(lambda: call)

    return replace(work(), contenders={name: writes(name) for name in (BASELINE, "other")})
