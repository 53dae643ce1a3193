"""A training run: from a folder of HR images to weights."""

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.degradation import Degradation
from dasr_fast.evaluation import Setting
from dasr_fast.evaluation.protocol import Restore
from dasr_fast.models import CheckpointError
from dasr_fast.precision import choose_precision, tf32_convolutions
from dasr_fast.processes import Processes
from dasr_fast.training.average import MovingAverage
from dasr_fast.training.background import computed_ahead
from dasr_fast.training.configuration import Configuration, ConfigurationError, configure, store
from dasr_fast.training.degradation import make_degradation
from dasr_fast.training.display import Display
from dasr_fast.training.folder import Checkpoints
from dasr_fast.training.image_cache import ImageCache
from dasr_fast.training.log import Log, LogFile, Window, not_finite
from dasr_fast.training.networks import followed, make_networks
from dasr_fast.training.pairs import LRImages, PairedPatches
from dasr_fast.training.patches import Patches
from dasr_fast.training.representation import DegradationTarget
from dasr_fast.training.results import measure_bounds, write_card, write_weights
from dasr_fast.training.schedule import Schedule
from dasr_fast.training.step import TrainingStep
from dasr_fast.training.validation import SMALLEST, Best, Row, pictures, settings, validate, validate_pairs


class Trainer:
    """A run, at its beginning or, after `resume`, where its latest checkpoint was written.

    Args:
        configuration: The settings.
        folder: The run's, which exists. It gets `configuration.toml`, `log.jsonl`, `checkpoints`, `weights.safetensors`
            and the model card `README.md`.
        processes: This process among those that train together, of which the first writes.

    Raises:
        ConfigurationError: The settings don't suit the machine or each other.
        FileNotFoundError, ValueError: There are no images to train with, or no initial weights.
        CheckpointError: The initial weights can't be read, or belong to another network.
    """

    def __init__(self, configuration: Configuration, folder: Path, processes: Processes) -> None:
        self.configuration = c = _resolved(configuration, processes)
        self.folder, self.processes = folder, processes
        self._checkpoints = Checkpoints(folder / "checkpoints")
        self.images = ImageCache.open(c.data, c.cache, smallest=c.scale * c.patch)
        self.validation = ImageCache.open(c.validation, c.cache, smallest=SMALLEST) if c.validation else None
        self.lr = LRImages(self.images, c.lr, c.cache, c.scale) if c.lr else None
        self.validation_lr = None
        if self.validation is not None and c.validation_lr is not None:
            self.validation_lr = LRImages(self.validation, c.validation_lr, c.cache, c.scale)
        self.degradation = make_degradation(c)
        self.network, self.learner = make_networks(
            c, len(self.images), self.degradation, processes, begun=bool(self._checkpoints.steps())
        )
        self.schedule = _schedule(c, self.learner.learns_alone)
        self.average = MovingAverage(followed(self.network, self.learner), c.ema) if c.ema else None
        self.step = self._make_step()
        self.taken = 0
        self._window = Window()
        self._rows: list[Row] = []
        self._best: Best | None = None

    def _make_step(self) -> TrainingStep:
        c, device = self.configuration, self.processes.device
        of_images = None
        if self.learner.fixed_degradations:
            assert isinstance(self.degradation, Degradation)  # `Configuration` sees to it.
            generator = torch.Generator().manual_seed(c.seed)  # The same images' on every device.
            of_images = self.degradation.draw((len(self.images), 3, 0, 0), torch.device("cpu"), generator).to(device)
        return TrainingStep(
            self.learner,
            self.network.G,
            self.degradation,
            self.schedule,
            self.processes,
            bf16=c.precision == "bf16",
            clip=c.clip,
            average=self.average,
            keep_statistics=c.batch_statistics == "kept",
            of_images=of_images,
            seed=c.seed,
            # Collectives between processes are left out of graphs.
            capture=CudaCapture if device.type == "cuda" and self.processes.world == 1 and c.cuda_graph else None,
        )

    @property
    def checkpoint(self) -> Path:
        """File of the present step's checkpoint."""
        return self._checkpoints.path(self.taken)

    def resume(self) -> list[str]:
        """Go on where the latest checkpoint was written that can be used; at the beginning if none was written yet.

        Returns:
            Sentences on checkpoints that were passed over, or that there is none.

        Raises:
            CheckpointError: None can be used, they were removed, or they were made with other images.
            ConfigurationError: The schedule is another, and its decay has begun.
        """
        passed_over: list[str] = []
        for path, content in self._checkpoints.latest_first():
            problem = str(content) if isinstance(content, CheckpointError) else self._problem(path, content)
            if problem is None:
                return [f"{text} The run goes on from step {self.taken}." for text in passed_over]
            passed_over.append(problem)
        if passed_over:
            raise CheckpointError(f"No checkpoint in {self._checkpoints.folder} can be resumed. {passed_over[0]}")
        weights = self.folder / "weights.safetensors"
        if weights.exists() or (self.folder / "README.md").exists():  # Both are written with checkpoints.
            advice = f"; a new run can begin with --initial-weights {weights}" if weights.exists() else ""
            raise CheckpointError(f"The checkpoints of {self.folder} were removed, and it can't be resumed{advice}.")
        return [f"{self.folder} holds no checkpoint yet; the run begins anew."]

    def _problem(self, path: Path, content: Any) -> str | None:
        """Go on from what a checkpoint holds; returns one sentence if that can't be done."""
        images = content.get("images") if isinstance(content, dict) else None
        if isinstance(images, str) and images != _fingerprint(self.images):
            raise CheckpointError(
                f"{self.configuration.data} holds other images than those with which the run was begun, and the run "
                "can't be resumed with it."
            )
        try:
            self._load(content)
        except (torch.OutOfMemoryError, ConfigurationError):
            raise
        except Exception as error:  # Another program's file, or one made by hand, may hold anything.
            reason = f"it lacks {error}" if isinstance(error, KeyError) else "it holds something else"
            return f"{path} is no checkpoint of this run: {reason}."
        return None

    def _load(self, state: dict[str, Any]) -> None:
        taken, stored = state["taken"], self.folder / "configuration.toml"
        before = _schedule(configure(stored, {}), self.learner.learns_alone) if stored.is_file() else self.schedule
        if not 0 <= taken <= before.total:
            raise ValueError
        if before != self.schedule:
            self._check_decay(taken, before)
        self.network.G.load_state_dict(state["sr"])
        self.learner.load_state_dict(state["learner"])
        self.step.load_optimizer(state["optimizer"])
        if self.average is not None:
            self.average.load(state["average"])
        self._window.steps = int(state["window"]["steps"])
        self._window.sums = {
            name: x.to(self.processes.device).reshape(()) for name, x in state["window"]["sums"].items()
        }
        self._rows = [Row(**row) for row in state["rows"]]
        best = Best(**state["best"]) if state.get("best") else None  # Earlier versions stored none.
        if best is not None and self.validation is not None and best.images == _fingerprint(self.validation):
            self._best = best
        torch.set_rng_state(state["random"]["cpu"])
        if self.processes.device.type == "cuda" and state["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["random"]["cuda"], self.processes.device)
        self.taken = taken

    def _check_decay(self, taken: int, before: Schedule) -> None:
        """Raises ConfigurationError if a step that was taken has another learning rate than it would have had."""
        for schedule, began in ((before, "it began"), (self.schedule, "with these it would have begun")):
            if schedule.decay_begins is not None and taken > schedule.decay_begins:
                raise ConfigurationError(
                    f"steps and decay_steps can change only before the decay begins; {began} after step "
                    f"{schedule.decay_begins}, and the run is at step {taken}."
                )

    def train(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Take the steps that are left.

        Args:
            stop: Asked after each step; if it says yes in any process, all save and stop.

        Returns:
            Whether all steps were taken.

        Raises:
            TrainingError: The loss or a weight isn't finite; nothing of that is saved.
        """
        c, processes, total = self.configuration, self.processes, self.schedule.total
        first = processes.rank == 0
        if first:
            store(c, self.folder / "configuration.toml")
        self.network.train()  # The learner is in it.
        display = Display(self.taken, total, c.batch, shown=first)
        with (
            Log(display, LogFile(self.folder, self.taken) if first else None) as log,
            closing(computed_ahead(self._patches().inputs, range(self.taken, total), ahead=4, workers=2)) as batches,
            tf32_convolutions(c.precision == "tf32") if processes.device.type == "cuda" else nullcontext(),
        ):
            if self.taken == total:
                self._save(log)  # What it writes may be asked for otherwise than before.
            for step, batch in batches:
                self._window.add(self.step(step, *(x.to(processes.device, non_blocking=True) for x in batch)))
                self.taken = step + 1
                stopping = processes.any(stop())
                last = self.taken == total
                if self.taken % c.log_every == 0 or last or self.taken == self.schedule.encoder_steps:
                    log.begin(self.taken, self.schedule, self._window, processes.world)
                    self._window = Window()
                log.advance(self.taken)
                with display.untimed():
                    validating = self.taken % c.validate_every == 0 or last
                    best = self.schedule.stage(step) == "everything" and validating and self._validate(log)
                    if self.taken % c.save_every == 0 or last or stopping or best:
                        self._save(log)
                if stopping:
                    break
        return self.taken == total

    def _patches(self) -> Patches:
        c, processes = self.configuration, self.processes
        settings: dict[str, Any] = {
            "size": c.scale * c.patch,
            "batch": c.batch // processes.world,
            "seed": c.seed,
            "rank": processes.rank,
            "world": processes.world,
            "pin_memory": processes.device.type == "cuda",
        }
        if self.lr is None:
            return Patches(self.images, **settings)
        return PairedPatches(self.images, self.lr, scale=c.scale, **settings)

    def _validate(self, log: Log) -> bool:
        """Measure the present weights; returns whether they are the best so far."""
        best = False
        if self.validation is not None and log.file is not None:
            chosen, scale = settings(self.configuration), self.configuration.scale
            self.network.eval()
            with self._result():
                shown = []
                if self.validation_lr is not None:
                    restore = self._restore(chosen[-1])
                    self._rows = validate_pairs(self.validation, self.validation_lr, restore, scale)
                else:
                    self._rows = validate(self.validation, self._restore, chosen, scale)
                    shown = list(pictures(self.validation, self._restore, chosen[-1], scale)) if log.file.board else []
            self.network.train()
            log.validated(self.taken, self._rows, shown)
            psnr = fmean(row.psnr for row in self._rows)
            best = self._best is None or psnr > self._best.psnr
            if best:
                self._best = Best(self.taken, psnr, _fingerprint(self.validation))
        return self.processes.any(best)  # The others wait here, where they have patience.

    def _restore(self, setting: Setting) -> Restore:
        """The present networks, told of the setting, at which only the oracle looks."""
        device = self.processes.device
        degradation = setting.degradation(self.configuration.scale)
        numbers = degradation.describe(degradation.draw((1, 3, 0, 0), device, torch.Generator()))
        target = DegradationTarget(numbers, torch.zeros(1, dtype=torch.long, device=device))

        @torch.no_grad()
        def restore(lr: Tensor) -> Tensor:
            lr = lr.to(device)
            return self.network.restore(lr, self.learner.embed(lr, target))

        return restore

    def _save(self, log: Log) -> None:
        log.finish()
        if self.processes.any(not self._is_finite()):
            raise not_finite(self.taken)
        if self.processes.rank == 0:
            best, total = self._best, self.schedule.total
            self._checkpoints.write(self.taken, self._state(), None if best is None else best.step)
            with self._result():
                if self.learner.encoder is not None:
                    if self.taken == total:  # Weights that will change again do without.
                        self.network.eval()
                        self.network.G.bounds = measure_bounds(self.network, self.lr or self.images, self.degradation)
                        self.network.train()
                    write_weights(self.network, self.folder, self.configuration, self.taken)
            steps, images = (self.taken, total), len(self.images)
            write_card(self.folder, self.configuration, images, steps, self._rows, best, self.processes)
        self.processes.any(False)  # The others wait.

    def _is_finite(self) -> bool:
        """Whether all losses since the log's last entry are, and all weights."""
        values = (*self._window.sums.values(), *followed(self.network, self.learner).values())
        return bool(torch.stack([x.isfinite().all() for x in values]).all())

    def _result(self) -> AbstractContextManager[None]:
        """The weights that are a run's result are in the networks inside this context."""
        return self.average.in_use() if self.average is not None else nullcontext()

    def _state(self) -> dict[str, Any]:
        device = self.processes.device
        return {
            "taken": self.taken,
            "images": _fingerprint(self.images),
            "sr": self.network.G.state_dict(),
            "learner": self.learner.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state,
            "window": {"steps": self._window.steps, "sums": self._window.sums},
            "rows": [asdict(row) for row in self._rows],
            "best": None if self._best is None else asdict(self._best),
            "random": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            },
        }


def _fingerprint(images: ImageCache) -> str:
    """What the sequence of patches depends on besides the settings."""
    return hashlib.sha256(os.fsencode("\n".join(images.names))).hexdigest()


def _schedule(c: Configuration, learns_alone: bool) -> Schedule:
    """The course of a run; there is no stage of the encoder alone if it can't learn alone.

    Raises:
        ConfigurationError: No step is left, or batch normalisation has no statistics to keep.
    """
    encoder_steps = c.encoder_steps if learns_alone else 0
    schedule = Schedule(encoder_steps, c.steps, c.encoder_learning_rate, c.learning_rate, c.decay, c.warm_up)
    if schedule.total == 0:
        raise ConfigurationError(f"The representation {c.representation} is learned in steps, which are 0.")
    if c.batch_statistics == "kept" and c.initial_weights is None and not encoder_steps:
        raise ConfigurationError(
            "Batch normalisation has no statistics to be kept: begin with weights, or with the encoder alone."
        )
    return schedule


def _resolved(configuration: Configuration, processes: Processes) -> Configuration:
    """The settings with what "auto" means here."""
    c, world = configuration, processes.world
    if c.batch % world:
        raise ConfigurationError(f"batch must be a multiple of the number of processes, {world}; got {c.batch}.")
    if c.representation == "moco" and c.queue < c.batch:
        raise ConfigurationError(f"queue must be at least as large as batch, {c.batch}; got {c.queue}.")
    if c.representation == "in-batch" and c.batch < 2:
        raise ConfigurationError(f"batch must be at least 2 for the representation in-batch; got {c.batch}.")
    device = processes.device
    precision: Any = c.precision
    if precision == "auto":
        tf32 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        precision = "tf32" if tf32 else "fp32"
    try:
        choose_precision(precision, device)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return c.model_copy(update={"precision": precision, "device": device.type})
