"""The moving average of a network's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from dasr_fast.foreach import lerp_
from dasr_fast.models.wrapped import ALL_UPDATES


class MovingAverage:
    """Exponential moving average of tensors after each update; of those that aren't floating point, the latest.

    It is corrected as Adam corrects its first moments: after few updates it is the average of these alone, and what the
    tensors were before has no part in it.

    Args:
        tensors: What to follow, by name; they are updated in place elsewhere.
        decay: Weight of the past, in [0, 1).
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self._followed = {name: tensor.detach() for name, tensor in tensors.items()}
        floating = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
        sums = {name: torch.zeros_like(tensor) for name, tensor in self._followed.items()}
        one = torch.ones((), device=next(iter(sums.values())).device)
        self.state = {**sums, ALL_UPDATES: torch.zeros_like(one)}
        self._averaged = [self.state[name] for name in (*floating, ALL_UPDATES)]
        self._latest = [*(self._followed[name] for name in floating), one]
        self._copied = [name for name in tensors if name not in floating]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the tensors as they are now."""
        lerp_(self._averaged, self._latest, 1 - self.decay)
        for name in self._copied:
            self.state[name].copy_(self._followed[name])

    def values(self) -> dict[str, Tensor]:
        """The averages by name; the tensors themselves before the first update."""
        weight = self.state[ALL_UPDATES]
        if not weight:
            return {name: tensor.clone() for name, tensor in self._followed.items()}
        return {
            name: self.state[name].clone() if name in self._copied else self.state[name] / weight
            for name in self._followed
        }

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state` that was stored.

        Raises:
            KeyError, ValueError: It belongs to other tensors.
        """
        for name, tensor in self.state.items():
            if state[name].shape != tensor.shape:
                raise ValueError(f"The average of {name} is {list(state[name].shape)} instead of {list(tensor.shape)}.")
            tensor.copy_(state[name])

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The followed tensors hold the averages inside the block."""
        latest = {name: tensor.clone() for name, tensor in self._followed.items()}
        self._fill(self.values())
        try:
            yield
        finally:
            self._fill(latest)

    @torch.no_grad()
    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self._followed.items():
            tensor.copy_(tensors[name])
