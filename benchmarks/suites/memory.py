"""Suite `memory`: what inference and a training step need at most, each contender in a process of its own, alone."""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.harness.work import Settings, Work
from benchmarks.suites import network, training
from benchmarks.suites.network import Case

CONTENDERS = (
    *("released", "released, channels-last", "onnxruntime", "OpenVINO"),
    *("accelerate(released)", "dasr-fast", "Engine fp32", "Engine fp16"),
)


def works(settings: Settings) -> Iterator[Work]:
    """x4 of a frame and of a large image, and a training step, each as in its own suite."""
    cases = network.QUICK if settings.quick else (Case(320, 180, 4, 1), Case(960, 540, 4, 1))
    everybody = network.contenders(4, settings, compiles=False)
    every = [network.network_work("memory", case, settings, everybody) for case in cases]
    every += [training.step_work("memory", "everything", batch, settings) for batch in training.batches(settings)]
    for work in every:
        some = {name: work.contenders[name] for name in CONTENDERS if name in work.contenders}
        yield replace(work, contenders=some, timed=False)
