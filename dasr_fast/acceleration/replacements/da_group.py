"""The released `DAG` and its like."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dasr_fast.acceleration.layer import LayerPlan, Part, fast_features, parts_of, signatures
from dasr_fast.acceleration.replacement import Proposal
from dasr_fast.acceleration.replacements.da_block import DABlockPlan
from dasr_fast.acceleration.structure import flattened
from dasr_fast.nn.convolution import convolved, is_plain
from dasr_fast.reference.layout import memory_format


@dataclass(frozen=True)
class DAGroupPlan(LayerPlan):
    """Features in the fastest memory format, the last convolution and the skip connection in one op.

    Attributes:
        blocks: The blocks, in order.
        conv: Path of the convolution after them, if there is one.
        skip: Whether the features are added last.
    """

    released = "DAG"
    blocks: tuple[Part, ...]
    conv: str | None
    skip: bool

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        children = flattened(candidate)
        blocks = parts_of(children, DABlockPlan)
        convs = [path for path, child in children if is_plain(child, 3)]
        if not blocks or len(convs) > 1:
            return
        first = blocks[0].plan.signature
        for signature in signatures(first.channels, first.representation):
            plans = [cls(signature, blocks, conv, skip) for conv in (*convs, None) for skip in (True, False)]
            yield Proposal(signature.examples(), plans)

    def is_intact(self, layer: nn.Module) -> bool:
        return all(block.is_intact(layer) for block in self.blocks)

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        y = features = fast_features(x)
        for block in self.blocks:
            y = block(layer, y, v)
        skip = features if self.skip else None
        if self.conv is not None:
            y = convolved(layer.get_submodule(self.conv), y, skip)
        elif skip is not None:
            y = y + skip
        return y.contiguous(memory_format=memory_format(x))
