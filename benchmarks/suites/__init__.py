"""What is compared: suites of works, and who contends for each."""

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from benchmarks.harness.machine import EMULATED
from benchmarks.harness.picture import unreadable
from benchmarks.harness.work import Settings, Work
from benchmarks.suites import degradation, memory, network, ops, scaling, training
from dasr_fast import precision
from dasr_fast.ops.backends import BACKENDS, state

SUITES: dict[str, ModuleType] = {
    "network": network,
    "training": training,
    "degradation": degradation,
    "memory": memory,
    "ops": ops,
    "scaling": scaling,
}
"""By name; each has `works(settings)`."""

QUICK = ("network", "training", "degradation", "memory")
"""Suites of a quick run."""


def works(suites: tuple[str, ...], settings: Settings) -> Iterator[Work]:
    """Works of some suites, with the contenders that aren't left out."""
    for name in suites:
        for work in SUITES[name].works(settings):
            some = {k: v for k, v in work.contenders.items() if not any(part in k for part in settings.without)}
            yield replace(work, contenders=some)


def find(settings: Settings, suite: str, label: str) -> Work:
    """The work of that label, in any process."""
    return next(work for work in works((suite,), settings) if work.label == label)


def left_out(settings: Settings) -> Iterator[str]:
    """What isn't compared here, and why: sentences."""
    if settings.quick:
        yield "other sizes, 16 bits, torch.compile, onnxruntime, OpenVINO, ops and scaling, for --quick."
    elif settings.device == "cpu" and not settings.everything:
        yield (
            "other scales and batches of the network, all but a few contenders at 960x540, a training step of 32, "
            "sides over 256, max-autotune, and torch.compile at others than x4 of 320x180, which take hours on a CPU; "
            "--everything has them."
        )
    if settings.device == "cuda":
        yield "CUDA graphs of the released training step, which asks the GPU for the queue's pointer."
    if precision.emulates_bfloat16(settings.device):
        yield f"the released code in bfloat16, {EMULATED}"
    if (obstacle := unreadable()) is not None:
        yield f"degradation of a photograph: {obstacle}."
    for name in BACKENDS:
        if (obstacle := state("da_conv", name)) is not None:
            yield f"dasr-fast's backend {name}: {obstacle}."
