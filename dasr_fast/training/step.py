"""One training step: degradation, losses, gradients, Adam."""

import logging
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dasr_fast.cuda_graph import Capture, CaptureError
from dasr_fast.degradation import Degradation, Pipeline
from dasr_fast.degradation.degradation import Drawn
from dasr_fast.device import on_device
from dasr_fast.models import DASR
from dasr_fast.processes import Processes
from dasr_fast.training.average import MovingAverage
from dasr_fast.training.representation import DegradationTarget, Learner
from dasr_fast.training.representation.batch_statistics import keep
from dasr_fast.training.schedule import Schedule, Stage

LOG = logging.getLogger(__name__)

Losses = dict[str, Tensor]
Function = Callable[..., Losses]

WARM_UP = 3
"""Calls before a capture, so that libraries have loaded and chosen their kernels, and the optimizer has its state."""


class TrainingStep:
    """Takes HR patches, makes LR patches of them, and changes the networks to reduce the losses.

    Nothing in a step waits for the device, shapes are always the same, and rate and randomness are in tensors and a
    generator on the device. What is drawn for a step depends on the seed and the step alone: several processes draw for
    all their images together and take their own.

    Args:
        learner: Learns the representation, on the device.
        sr: The SR network, on the device.
        degradation: From HR to LR.
        schedule: The stages and learning rates.
        processes: Those that share each batch.
        bf16: Whether convolutions and products compute in bfloat16 (autocast); weights stay in float32.
        clip: Largest norm of the gradient, or None.
        average: Updated after each step, or None.
        keep_statistics: Whether batch normalisation keeps its running statistics in the stage of everything.
        of_images: Kernels and noise levels of all training images, if those stay the same whenever an image comes.
        seed: Decides what is drawn.
        capture: Makes what lets a stage's part after the degradation be replayed, see `Repeated`; None: it is called.
    """

    def __init__(
        self,
        learner: Learner,
        sr: DASR,
        degradation: Degradation | Pipeline,
        schedule: Schedule,
        processes: Processes,
        *,
        bf16: bool = False,
        clip: float | None = None,
        average: MovingAverage | None = None,
        keep_statistics: bool = False,
        of_images: Drawn | None = None,
        seed: int = 0,
        capture: Callable[[], Capture[Losses]] | None = None,
    ) -> None:
        self.degradation, self.schedule, self.processes = degradation, schedule, processes
        self.bf16, self.clip, self.average, self.of_images, self.seed = bf16, clip, average, of_images, seed
        self.keep_statistics = keep_statistics
        self.parameters = [p for p in (*learner.parameters(), *sr.parameters()) if p.requires_grad]
        self._rate = torch.zeros((), device=processes.device)
        capturable = processes.device.type == "cuda"
        self.optimizer = torch.optim.Adam(self.parameters, self._rate, (0.9, 0.999), fused=True, capturable=capturable)
        self._networks = {"encoder": (learner, None), "everything": (learner, sr)}
        self._of_stage: dict[Stage, Function] = {}
        self._capture = capture
        self._generator = torch.Generator(processes.device)

    def __call__(self, step: int, hr: Tensor, indices: Tensor, lr: Tensor | None = None) -> Losses:
        """Take a step.

        Args:
            step: Its number, from 0.
            hr: This process's part of the HR patches, uint8 `[B, 2, 3, P, P]`, on the device.
            indices: Number of the image that each comes from, `[B]`, on the device.
            lr: LR patches uint8 `[B, 2, 3, p, p]` that are given; HR is degraded if None.

        Returns:
            Losses and scores as from `Objective`, of this process's part, as tensors on the device.
        """
        if lr is None:
            lr, target = self.degraded(step, hr, indices)
        else:
            lr, target = lr.float(), DegradationTarget(lr.new_empty(len(lr), 0), indices)
        self._rate.fill_(self.schedule.rate(step))
        return self._updates(self.schedule.stage(step))(lr, hr[:, 0], *target)

    def degraded(self, step: int, hr: Tensor, indices: Tensor) -> tuple[Tensor, DegradationTarget]:
        """LR patches `[B, 2, 3, p, p]` of a step, and what was drawn for them."""
        batch, rank = hr.shape[0], self.processes.rank
        self._generator.manual_seed(zlib.crc32(f"{self.seed} {step}".encode()))
        shape = (batch * self.processes.world, *hr.shape[1:])
        own = slice(rank * batch, (rank + 1) * batch)
        degradation: Any = self.degradation  # Each kind degrades with what it has drawn.
        drawn = degradation.draw(shape, hr.device, self._generator)[own]
        if self.of_images is not None:
            of_images = self.of_images[indices]
            drawn = Drawn(of_images.kernels, of_images.level, drawn.noise)
        numbers = on_device(degradation.describe(drawn), hr.device)
        return degradation.degrade(hr, drawn), DegradationTarget(numbers, indices)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Go on with an optimizer's state that was stored.

        Raises:
            KeyError, TypeError, ValueError: The state belongs to other parameters.
        """
        self.optimizer.load_state_dict(state)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
            group["capturable"] = self.processes.device.type == "cuda"  # It may have been stored on another device.
        for parameter, of_parameter in self.optimizer.state.items():
            of_parameter["step"] = of_parameter["step"].float()
            for name in ("exp_avg", "exp_avg_sq"):  # Adam reads them as if they lay as the weights do.
                if of_parameter[name].shape != parameter.shape:
                    raise ValueError(f"{name} of a parameter of {list(parameter.shape)} has another shape.")
                of_parameter[name] = torch.empty_like(parameter).copy_(of_parameter[name])

    def _updates(self, stage: Stage) -> Function:
        """From LR patches, HR patches and their degradations to losses, with all changes of the networks."""
        if stage not in self._of_stage:
            objective: nn.Module = Objective(*self._networks[stage])
            if stage == "everything" and self.keep_statistics:
                keep(objective)
            if self.processes.world > 1:
                # Queues are alike everywhere already, and only process 0 evaluates with its running statistics.
                objective = DistributedDataParallel(objective, broadcast_buffers=False)
            update = partial(self._update, objective)
            self._of_stage = {stage: update if self._capture is None else Repeated(update, self._capture())}
        return self._of_stage[stage]

    def _update(self, objective: nn.Module, lr: Tensor, hr: Tensor, *target: Tensor) -> Losses:
        self.optimizer.zero_grad(set_to_none=True)
        device = self.processes.device.type
        # A CUDA graph must cast the weights again at each replay.
        with torch.autocast(device, torch.bfloat16, cache_enabled=False) if self.bf16 else nullcontext():
            losses: Losses = objective(lr, hr, DegradationTarget(*target))
        torch.autograd.backward(losses["loss"])
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=True)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        return {name: value.detach() for name, value in losses.items()}


class Objective(nn.Module):
    """The losses of a batch of patches, by a learner and the SR network; without that the learner's loss alone."""

    def __init__(self, learner: Learner, sr: DASR | None) -> None:
        super().__init__()
        self.learner, self.sr = learner, sr

    def forward(self, lr: Tensor, hr: Tensor, target: DegradationTarget) -> Losses:
        """Losses and scores of LR patches; the first of each pair is restored.

        Args:
            lr: `[B, 2, 3, h, w]` in 0 to 255, floating point.
            hr: HR images of the first patches, `[B, 3, H, W]`, of any type.
            target: The degradations.

        Returns:
            "loss", which is to be minimised; its parts "representation" (the learner's) and "l1" (of SR, in grey
            levels); and the learner's scores.
        """
        embedding, loss, scores = self.learner(lr, target)
        losses = {"loss": loss, "representation": loss, **scores}
        if self.sr is not None:
            losses["l1"] = F.l1_loss(self.sr(lr[:, 0], embedding).float(), hr.float())
            losses["loss"] = loss + losses["l1"]
        return losses


class Repeated:
    """A function of tensors, of the same shapes at each call, that is captured after a few calls and then replayed.

    What it does depends on tensors alone, and it changes nothing but tensors in place. Where capturing fails, a warning
    says so, and the function goes on being called.
    """

    def __init__(self, function: Function, capture: Capture[Losses]) -> None:
        self._function, self._capture = function, capture
        self._replay: Function | None = None
        self._left = WARM_UP

    def __call__(self, *inputs: Tensor) -> Losses:
        """What the function does and returns."""
        if self._left:
            self._left -= 1
            return self._capture.run(self._function, *inputs)
        if self._replay is None:
            try:
                self._replay = self._capture(self._function, *inputs)
            except CaptureError as error:
                LOG.warning("The training step can't be captured as a CUDA graph, and goes on without: %s", error)
                self._replay = self._function
        return self._replay(*inputs)
