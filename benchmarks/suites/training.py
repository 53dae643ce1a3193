"""Suite `training`: a step of each of the two stages, x4."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache, partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.work import BASELINE, Contender, Inputs, Settings, Work, rounding
from benchmarks.suites.network import ours, plain_network, released_network, smooth_images
from benchmarks.suites.variants import Variant, accelerated, of_network
from dasr_fast import precision
from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.degradation import Degradation
from dasr_fast.processes import Processes
from dasr_fast.training.networks import placed
from dasr_fast.training.representation import DegradationTarget, MoCoLearner
from dasr_fast.training.schedule import Schedule, Stage
from dasr_fast.training.step import TrainingStep
from tests.released.baseline import Baseline, find_baseline
from tests.released.network import Blind

SCALE, PATCH = 4, 48
STAGES: tuple[Stage, ...] = ("encoder", "everything")
RATE = 1e-4

TOLERANCE = {"float32": 1e-2, "tf32": 0.1, "bfloat16": 0.25}
"""Largest error of losses and of all gradients of a network as one vector.

Features that are rounded to the other sign have another slope, and batch normalisation multiplies such differences.
On a CPU float32 has errors of 3e-4 to 2e-3 and bfloat16 of 0.13; TF32, in which a GPU's convolutions are, lies between.
"""


def works(settings: Settings) -> Iterator[Work]:
    """Both stages from LR patches that all contenders share, and everything from HR patches; one of them if quick."""
    for batch in batches(settings):
        for stage in STAGES[-1:] if settings.quick else STAGES:
            yield step_work("training", stage, batch, settings)
        if not settings.quick:
            yield from_hr(batch, settings)


def batches(settings: Settings) -> tuple[int, ...]:
    """Chosen batches."""
    if settings.batches:
        return settings.batches
    return (4,) if settings.quick else (8,) if settings.device == "cpu" and not settings.everything else (32,)


def step_work(suite: str, stage: Stage, batch: int, settings: Settings) -> Work:
    """A step from LR patches: losses, gradients and Adam."""

    def inputs() -> Inputs:
        return tuple(x.to(settings.device) for x in patches(batch))

    def expected(lr: Tensor, hr: Tensor) -> Any:
        return ReleasedStep(plain_network(SCALE, settings), stage)(lr.double(), hr)

    return Work(
        suite,
        f"training step, {stage}, {batch} of {PATCH}x{PATCH}",
        inputs,
        contenders(stage, settings),
        expected,
        lambda dtype: TOLERANCE[rounding(settings.device, dtype)],
        losses_and_gradients,
        operations=lambda: operations(stage, batch),
        pixels=batch * PATCH**2,
    )


def from_hr(batch: int, settings: Settings) -> Work:
    """A step of everything from HR patches, which are degraded at random."""
    baseline, side = find_baseline(settings.reference, settings.device), SCALE * PATCH
    graphs = settings.device == "cuda"

    def released(change: Callable[[Any], Any]) -> Contender:
        def make() -> Callable[[Tensor], Any]:
            step = ReleasedStep(change(released_network(SCALE, settings)), "everything", baseline)
            degrade = baseline.degradation(SCALE)
            degrade = degrade if settings.reference is None else change(degrade)
            return lambda hr: step(degrade(hr), hr)

        return Contender(make, lambda inputs: (inputs[0].float(),))

    def fast(**options: Any) -> Callable[[Tensor], Any]:
        step, _ = _our_step(TrainingStep, "everything", settings, **options)
        indices = torch.arange(batch, device=settings.device)
        return lambda hr: step(0, hr, indices)

    return Work(
        "training",
        f"training step from HR, {batch} of {side}x{side}",
        lambda: (patches(batch)[1].to(settings.device),),
        {
            BASELINE: released(lambda part: part),
            "accelerate(released)": released(accelerated),
            "dasr-fast": Contender(fast),
            **({"dasr-fast, CUDA graph": Contender(partial(fast, capture=CudaCapture))} if graphs else {}),
        },
        None,
        lambda dtype: TOLERANCE[rounding(settings.device, dtype)],
        lambda _: [],
        pixels=batch * PATCH**2,
    )


def contenders(stage: Stage, settings: Settings) -> dict[str, Contender]:
    """Everybody who takes steps of that stage."""
    baseline, device = find_baseline(settings.reference, settings.device), settings.device

    def released(variant: Variant) -> ReleasedStep:
        network = variant.change(released_network(SCALE, settings))
        return ReleasedStep(network, stage, baseline, bf16=variant.dtype == "bfloat16")

    compiles = stage == "everything" or device == "cuda" or settings.everything
    variants = of_network(settings, compiles=compiles, mode="max-autotune-no-cudagraphs")
    found = {name: Contender(partial(released, variant), dtype=variant.dtype) for name, variant in variants.items()}
    narrow = not settings.quick and not precision.emulates_bfloat16(device)
    for name, dtype in ({"dasr-fast": "float32"} | ({"dasr-fast, bf16": "bfloat16"} if narrow else {})).items():
        step = partial(our_step, stage, settings, bf16=dtype == "bfloat16")
        found[name] = Contender(step, dtype=dtype)
        if device == "cuda":
            found[f"{name}, CUDA graph"] = Contender(partial(step, capture=CudaCapture), dtype=dtype)
    return found


class ReleasedStep:
    """A step as the released trainer takes it, with a network that is called like the released one."""

    def __init__(
        self, network: nn.Module, stage: Stage, baseline: Baseline | None = None, *, bf16: bool = False
    ) -> None:
        self.network, self.stage, self.bf16 = network.train(), stage, bf16
        self.running = nullcontext if baseline is None else baseline.running
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, RATE, (0.9, 0.999))

    def __call__(self, lr: Tensor, hr: Tensor) -> tuple[list[Tensor], nn.Module]:
        """Losses of patches `[B, 2, 3, h, w]` and `[B, 2, 3, H, W]`, and the network, which keeps its gradients."""
        with self.running():
            self.optimizer.zero_grad()
            with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.bf16):
                losses = self._losses(lr, hr)
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return losses, self.network

    def _losses(self, lr: Tensor, hr: Tensor) -> list[Tensor]:
        if self.stage == "encoder":
            _, logits, labels = self.network.get_submodule("E")(lr[:, 0], lr[:, 1])
            return [F.cross_entropy(logits, labels)]
        sr, logits, labels = self.network(lr)
        return [F.cross_entropy(logits, labels), F.l1_loss(sr, hr[:, 0].to(sr.dtype))]


class _GivenPatches(TrainingStep):
    """Our step, with LR patches that are given to it."""

    lr: Tensor

    def degraded(self, step: int, hr: Tensor, indices: Tensor) -> tuple[Tensor, DegradationTarget]:
        return self.lr, DegradationTarget(indices, indices)  # MoCo doesn't look at them.


def our_step(
    stage: Stage, settings: Settings, **options: Any
) -> Callable[[Tensor, Tensor], tuple[list[Tensor], nn.Module]]:
    """As `ReleasedStep`, by `TrainingStep` with its options."""
    step, network = _our_step(_GivenPatches, stage, settings, **options)

    def call(lr: Tensor, hr: Tensor) -> tuple[list[Tensor], nn.Module]:
        step.lr = lr
        losses = step(0, hr, torch.empty(0, dtype=torch.long, device=lr.device))
        return [losses[name] for name in ("representation", "l1") if name in losses], network

    return call


Step = TypeVar("Step", bound=TrainingStep)


def _our_step(kind: type[Step], stage: Stage, settings: Settings, **options: Any) -> tuple[Step, nn.Module]:
    device = torch.device(settings.device)
    network = placed(ours(released_network(SCALE, settings), SCALE), device)
    schedule, processes = Schedule(int(stage == "encoder"), 1, RATE, RATE), Processes(device)
    return kind(MoCoLearner(network.E), network.G, Degradation(SCALE), schedule, processes, **options), network


def patches(batch: int) -> tuple[Tensor, Tensor]:
    """Smooth LR patches `[B, 2, 3, h, w]` in float32, and HR patches `[B, 2, 3, H, W]`, uint8."""
    lr, hr = (smooth_images(2 * batch, side, side).view(batch, 2, 3, side, side) for side in (PATCH, SCALE * PATCH))
    return lr, hr.byte()


def losses_and_gradients(output: tuple[list[Tensor], nn.Module]) -> list[Tensor]:
    """Losses, and all gradients of the encoder and of the SR network as one vector each."""
    losses, network = output
    gradients = {name: p.grad.flatten() for name, p in sorted(network.named_parameters()) if p.grad is not None}
    vectors = [[g for name, g in gradients.items() if name.startswith(part)] for part in ("E.", "G.")]
    return [*losses, *(torch.cat(vector) for vector in vectors if vector)]


@cache
def operations(stage: Stage, batch: int) -> int:
    """Of the released step: convolutions and products forward, and twice as many backward, but for the key encoder."""
    with torch.device("meta"):
        network, images = Blind(SCALE), torch.empty(batch, 3, PATCH, PATCH)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedding, _ = network.E.encoder_q(images)
        encoder = counter.get_total_flops()
        network.G(images, embedding)
    restorer = counter.get_total_flops() - encoder
    return int(4 * encoder + (3 * restorer if stage == "everything" else 0))
