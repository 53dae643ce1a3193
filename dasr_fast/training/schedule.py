"""The two stages of training, and the learning rate at each step."""

from dataclasses import dataclass
from typing import Literal

Stage = Literal["encoder", "everything"]
"""The encoder by its own loss alone, or encoder and SR network together."""

WARM_UP = 1000
"""Steps of the warm-up by default."""


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rates of both stages; by default those of the paper's section 4.1.

    Attributes:
        encoder_steps: Steps of the encoder alone.
        steps: Steps of everything after them.
        encoder_learning_rate: For the encoder alone; a tenth of it after 60 % of its steps.
        learning_rate: Largest one for everything.
        decay_steps: None halves it after each 25 % of the steps. A number makes it rise over `warm_up_steps`, stay, and
            fall linearly towards 0 over that many steps at the end (warm-up, stable, decay; Hu et al., 2024).
        warm_up_steps: Steps over which it rises.
    """

    encoder_steps: int
    steps: int
    encoder_learning_rate: float
    learning_rate: float
    decay_steps: int | None = None
    warm_up_steps: int = WARM_UP

    @property
    def total(self) -> int:
        """Steps of both stages."""
        return self.encoder_steps + self.steps

    @property
    def decay_begins(self) -> int | None:
        """The first step whose rate depends on `steps` or `decay_steps`; None if many do."""
        return None if self.decay_steps is None else self.total - self.decay_steps

    def stage(self, step: int) -> Stage:
        """Stage of a step, which are counted from 0."""
        return "encoder" if step < self.encoder_steps else "everything"

    def rate(self, step: int) -> float:
        """Learning rate of a step, which are counted from 0."""
        if step < self.encoder_steps:
            return self.encoder_learning_rate * (0.1 if 5 * step >= 3 * self.encoder_steps else 1.0)
        step -= self.encoder_steps
        if self.decay_steps is None:
            return self.learning_rate * 0.5 ** (4 * step // self.steps)
        rising = (step + 1) / (self.warm_up_steps + 1)
        falling = (self.steps - step) / (self.decay_steps + 1)
        return self.learning_rate * min(1.0, rising, falling)
