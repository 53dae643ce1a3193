"""One training step: degradation, losses, gradients, Adam."""

import zlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dasr_fast.cuda_graph import Capture
from dasr_fast.degradation.degradation import Degradation, Drawn
from dasr_fast.models import DASR
from dasr_fast.training.average import MovingAverage
from dasr_fast.training.graph import Losses, Repeated
from dasr_fast.training.processes import Processes
from dasr_fast.training.representation import DegradationTarget, Learner
from dasr_fast.training.representation.batch_statistics import keep
from dasr_fast.training.schedule import Schedule, Stage

Network = TypeVar("Network", bound=nn.Module)


class Objective(nn.Module):
    """The losses of a batch of patches.

    Args:
        learner: Of the degradation representation.
        sr: The SR network, or None for the learner's loss alone.
    """

    def __init__(self, learner: Learner, sr: DASR | None) -> None:
        super().__init__()
        self.learner, self.sr = learner, sr

    def forward(self, lr: Tensor, hr: Tensor, target: DegradationTarget) -> Losses:
        """Losses and scores of LR patches `[B, 2, 3, h, w]`; the first of each pair is restored.

        Args:
            lr: In 0 to 255, floating point.
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


class TrainingStep:
    """Takes HR patches, makes LR patches of them, and changes the networks to reduce the losses.

    Nothing in a step waits for the device, shapes are always the same, and rate and randomness are in tensors and a
    generator on the device. What is drawn for a step depends on the seed and the step alone: several processes draw for
    all their images together and take their own.

    Args:
        learner: Of the degradation representation, on the device.
        sr: The SR network, on the device.
        degradation: From HR to LR.
        schedule: Of the stages and learning rates.
        processes: Which share each batch.
        bf16: Whether convolutions and products compute in bfloat16 (autocast); weights stay in float32.
        clip: Largest norm of the gradient, or None.
        average: To be updated after each step, or None.
        keep_statistics: Whether batch normalisation keeps its running statistics in the stage of everything.
        of_images: Kernels and noise levels of all training images, if those stay the same whenever an image comes.
        seed: Of what is drawn.
        capture: Makes what lets a stage's part after the degradation be replayed, see
            `dasr_fast.training.graph.Repeated`; None: it is called.
    """

    def __init__(
        self,
        learner: Learner,
        sr: DASR,
        degradation: Degradation,
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
        self.optimizer, self._rate = _adam(self.parameters, processes.device)
        self._networks = {"encoder": (learner, None), "everything": (learner, sr)}
        self._of_stage: dict[Stage, Callable[..., Losses]] = {}
        self._capture = capture
        self._generator = torch.Generator(processes.device)
        save_memory(learner)
        save_memory(sr)

    def __call__(self, step: int, hr: Tensor, indices: Tensor) -> Losses:
        """Take a step.

        Args:
            step: Its number, from 0.
            hr: This process's part of the HR patches, uint8 `[B, 2, 3, P, P]`, on the device.
            indices: Number of the image that each comes from, `[B]`, on the device.

        Returns:
            Losses and scores as from `Objective`, of this process's part, as tensors on the device.
        """
        lr, target = self.degraded(step, hr, indices)
        self._rate.fill_(self.schedule.rate(step))
        return self._updates(self.schedule.stage(step))(lr, hr[:, 0], *target)

    def degraded(self, step: int, hr: Tensor, indices: Tensor) -> tuple[Tensor, DegradationTarget]:
        """LR patches `[B, 2, 3, p, p]` of a step, and what was drawn for them."""
        batch, rank = hr.shape[0], self.processes.rank
        self._generator.manual_seed(zlib.crc32(f"{self.seed} {step}".encode()))
        shape = (batch * self.processes.world, *hr.shape[1:])
        drawn = self.degradation.draw(shape, hr.device, self._generator)[rank * batch : (rank + 1) * batch]
        if self.of_images is not None:
            own = self.of_images[indices]
            drawn = Drawn(own.kernels, own.level, drawn.noise)
        level = hr.new_zeros(batch, dtype=torch.float32) if drawn.level is None else drawn.level
        return self.degradation.degrade(hr, drawn), DegradationTarget(drawn.kernels, level, indices)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Go on with an optimizer's state that was stored.

        Raises:
            KeyError, TypeError, ValueError: It is of other parameters.
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

    def _updates(self, stage: Stage) -> Callable[..., Losses]:
        """From LR patches, HR patches and their degradations to losses, with all changes of the networks."""
        if stage not in self._of_stage:
            update = partial(self._update, self._objective(stage))
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

    def _objective(self, stage: Stage) -> nn.Module:
        objective: nn.Module = Objective(*self._networks[stage])
        if stage == "everything" and self.keep_statistics:
            keep(objective)
        if self.processes.world > 1:
            # Queues are alike everywhere already, and only process 0 evaluates with its running statistics.
            objective = DistributedDataParallel(objective, broadcast_buffers=False)
        return objective


def placed(network: Network, device: torch.device) -> Network:
    """The network itself, moved to the device, on a GPU with channels-last weights, as convolutions there compute."""
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def save_memory(network: nn.Module) -> None:
    """Let every LeakyReLU of a network work in place; results and gradients are the same to the last bit."""
    for module in network.modules():
        if isinstance(module, nn.LeakyReLU):
            module.inplace = True


def _adam(parameters: list[nn.Parameter], device: torch.device) -> tuple[torch.optim.Adam, Tensor]:
    """Adam, and its learning rate as a tensor that can be filled."""
    rate = torch.zeros((), device=device)
    return torch.optim.Adam(parameters, rate, (0.9, 0.999), fused=True, capturable=device.type == "cuda"), rate
