"""The moving average of a network's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    """Exponential moving average of tensors; those that aren't floating point are the latest.

    Args:
        state: The tensors to follow, by name, which are updated in place elsewhere.
        decay: Weight of the past, in [0, 1).
    """

    def __init__(self, state: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self._followed = dict(state)
        self.state = {name: tensor.detach().clone() for name, tensor in state.items()}
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        self._averages: list[Tensor] = [self.state[name] for name in floating]
        self._latest = [self._followed[name].detach() for name in floating]
        self._copied = [name for name in state if name not in floating]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the tensors as they are now."""
        torch._foreach_lerp_(self._averages, self._latest, 1 - self.decay)
        for name in self._copied:
            self.state[name].copy_(self._followed[name])

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from an average that was stored."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])

    @contextmanager
    @torch.no_grad()
    def in_use(self) -> Iterator[None]:
        """The followed tensors hold the average inside the block."""
        latest = {name: tensor.clone() for name, tensor in self._followed.items()}
        self._fill(self.state)
        try:
            yield
        finally:
            self._fill(latest)

    @torch.no_grad()
    def _fill(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self._followed.items():
            tensor.copy_(state[name])
