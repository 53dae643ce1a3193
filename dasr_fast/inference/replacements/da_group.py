"""The released `DAG` and its like."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dasr_fast.inference.replacements.da_block import DABlockPlan
from dasr_fast.inference.replacements.layer import LayerPlan, call_layer, signatures
from dasr_fast.inference.replacements.replacement import Proposal, plan_of
from dasr_fast.inference.replacements.structure import flattened
from dasr_fast.nn.convolution import convolved, is_plain


@dataclass(frozen=True)
class DAGroupPlan(LayerPlan):
    """The last convolution and the skip connection in one op.

    Attributes:
        blocks: Paths of the blocks, in order.
        conv: Path of the convolution after them.
    """

    released = "DAG"
    blocks: tuple[str, ...]
    conv: str

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        if not isinstance(candidate, nn.Module):
            return
        children = flattened(candidate)
        plans = {path: plan_of(child) for path, child in children}
        blocks = {path: plan for path, plan in plans.items() if isinstance(plan, DABlockPlan)}
        convs = [path for path, child in children if is_plain(child, 3)]
        if not blocks or len(convs) != 1:
            return
        first = next(iter(blocks.values())).signature
        for signature in signatures(first.channels, first.representation):
            yield Proposal(signature.examples(), [cls(signature, tuple(blocks), convs[0])])

    def is_intact(self, layer: nn.Module) -> bool:
        return all(isinstance(plan_of(layer.get_submodule(path)), LayerPlan) for path in self.blocks)

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        y = x
        for path in self.blocks:
            y = call_layer(layer.get_submodule(path), y, v)
        return convolved(layer.get_submodule(self.conv), y, x)
