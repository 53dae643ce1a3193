"""The released `DAG` and `DASR` and their like: blocks in a row, and the whole SR network."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dasr_fast.acceleration.layer import LayerPlan, Part, fast_features, parts_of, signatures
from dasr_fast.acceleration.replacement import Proposal
from dasr_fast.acceleration.replacements.da_block import DABlockPlan
from dasr_fast.acceleration.structure import call_net, descendant, flattened, net_widths
from dasr_fast.nn.collapsed_tail import run_tail
from dasr_fast.nn.convolution import convolved, in_memory_format, is_plain, run_layers
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

    def fewest_pixels(self) -> int:
        return max(block.plan.fewest_pixels() for block in self.blocks)

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
            y = convolved(descendant(layer, self.conv), y, skip)
        elif skip is not None:
            y = y + skip
        return in_memory_format(y, memory_format(x))


@dataclass(frozen=True)
class DASRPlan(LayerPlan):
    """Features in the fastest memory format, the fast 3x3 convolution, the tail as one convolution.

    Attributes:
        before: Names of what comes before the groups, in order.
        compress: Name of the net that compresses the embedding, if there is one.
        groups: The groups, or blocks, in order.
        conv: Path of the convolution after them, to whose result the input of the first is added.
        after: Names of what follows, in order.
    """

    released = "DASR"
    before: tuple[str, ...]
    compress: str | None
    groups: tuple[Part, ...]
    conv: str
    after: tuple[str, ...]

    def fewest_pixels(self) -> int:
        return max(group.plan.fewest_pixels() for group in self.groups)

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        parts = flattened(candidate)
        groups = parts_of(parts, DAGroupPlan, DABlockPlan)
        if not groups:
            return
        body = {group.path.partition(".")[0] for group in groups}
        first = groups[0].plan.signature
        others = {name: child for name, child in candidate.named_children() if name not in body}
        nets = [name for name, child in others.items() if net_widths(child) and not is_plain(child, 1)]
        means = [name for name, child in others.items() if is_plain(child, 1)]
        convs = [path for path, child in parts if is_plain(child, 3) and child.in_channels == child.out_channels]
        names = [name for name in others if name not in (*nets, *means)]
        for compress in (*nets, None):
            widths = None if compress is None else net_widths(others[compress])
            for signature in signatures(3, widths[0] if widths else first.representation):
                found = [
                    cls(signature, (*mean[:1], *head), compress, groups, conv, (*tail, *mean[1:]))
                    for conv, mean in itertools.product(convs, itertools.permutations(means))
                    for head, tail in _splits([name for name in names if name != conv])
                ]
                yield Proposal(signature.examples(), found)

    def is_intact(self, layer: nn.Module) -> bool:
        return all(group.is_intact(layer) for group in self.groups)

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        if self.compress is not None:
            v = call_net(descendant(layer, self.compress), v)
        for name in self.before:
            x = run_layers(descendant(layer, name), x)
        y = x = fast_features(x)
        for group in self.groups:
            y = group(layer, y, v)
        y = convolved(descendant(layer, self.conv), y, x)
        return run_tail([descendant(layer, name) for name in self.after], y)


def _splits(names: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Names before and after the groups, the likeliest split first."""
    return ((names[:i], names[i:]) for i in range(1, len(names) + 1))
