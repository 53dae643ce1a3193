"""The two stages of training, and the learning rate at each step."""

from dataclasses import dataclass
from typing import Literal

Stage = Literal["encoder", "everything"]
"""The encoder by its own loss alone, or encoder and SR network together."""


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rates of both stages; the paper's section 4.1.

    Attributes:
        encoder_steps: Steps of the encoder alone.
        steps: Steps of everything after them.
        encoder_learning_rate: Of the encoder alone; a tenth of it after 60 % of its steps.
        learning_rate: Of everything; halved after each 25 % of its steps.
    """

    encoder_steps: int
    steps: int
    encoder_learning_rate: float
    learning_rate: float

    @property
    def total(self) -> int:
        """Steps of both stages."""
        return self.encoder_steps + self.steps

    def stage(self, step: int) -> Stage:
        """Stage of a step, which are counted from 0."""
        return "encoder" if step < self.encoder_steps else "everything"

    def rate(self, step: int) -> float:
        """Learning rate of a step, which are counted from 0."""
        if step < self.encoder_steps:
            return self.encoder_learning_rate * (0.1 if 5 * step >= 3 * self.encoder_steps else 1.0)
        quarter = 4 * (step - self.encoder_steps) // self.steps
        return self.learning_rate * 0.5**quarter
