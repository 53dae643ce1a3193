"""What is compared: suites of works, and who contends for each."""

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from benchmarks.harness.work import Settings, Work
from benchmarks.suites import degradation, memory, network, ops, training
from dasr_fast import precision
from dasr_fast.ops.backends import BACKENDS, state

SUITES: dict[str, ModuleType] = {
    "network": network,
    "training": training,
    "degradation": degradation,
    "memory": memory,
    "ops": ops,
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
        yield "other sizes, 16 bits, torch.compile, accelerate, onnxruntime, OpenVINO and ops, for --quick."
    elif settings.device == "cpu" and not settings.everything:
        yield "what takes hours on a CPU: other scales and batches, large images by most, most of torch.compile."
    if settings.device == "cuda":
        yield "CUDA graphs of the released training step, which asks the GPU for the queue's pointer."
    if precision.emulates_bfloat16(settings.device):
        yield "the released code in bfloat16, which PyTorch emulates on this processor, many times slower than float32."
    for name in BACKENDS:
        if (obstacle := state("da_conv", name)) is not None:
            yield f"dasr-fast's backend {name}: {obstacle}."
