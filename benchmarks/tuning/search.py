"""Which options are tried for a problem, and in which order."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

from dasr_fast.kernels.options import Options, Problem

CHOICES = {"num_warps": (1, 2, 4, 8), "num_stages": (1, 2, 3, 4)}
MOST = {"BLOCK": 256, "other": 16}
"""Largest side of a tile, and largest other size: ROWS are unrolled, and twice as many compile for twice as long."""
MOST_GROWTH = 4
"""How much larger than the default's a thread's part of a tile may be."""


def allowed(asked: Problem, default: Options, options: Options) -> bool:
    """Whether options are worth a try: within bounds, and with tiles not much larger than the default's."""

    def thread(some: Options) -> float:
        return math.prod(value for name, value in some.items() if name.startswith("BLOCK_")) / some.get("num_warps", 4)

    def within(name: str, value: int) -> bool:
        if name in CHOICES:
            return value in CHOICES[name] or value == default[name]
        most = MOST["BLOCK" if name.startswith("BLOCK_") else "other"]
        if name == "BLOCK_C":
            most = min(most, 1 << (max(1, asked.sizes[1]) - 1).bit_length())
        elif default[name] > most:
            most = MOST_GROWTH * default[name]
        return 1 <= value <= max(most, default[name])

    fits = all(within(name, value) for name, value in options.items())
    return fits and thread(options) <= MOST_GROWTH * thread(default)


def alternatives(asked: Problem, default: Options, options: Options, name: str) -> list[Options]:
    """The same options but one, which is halved, doubled or quadrupled, or has any other of its few values."""
    value = options[name]
    values = CHOICES.get(name) or ((value // 2, 2 * value, 4 * value) if name.isupper() else ())
    others = [{**options, name: other} for other in values if other != value]
    return [other for other in others if allowed(asked, default, other)]


def pairs(asked: Problem, default: Options, options: Options) -> list[Options]:
    """The same options but two: one side of the tile doubled and another halved, or a side and the warps alike."""
    names = [name for name in options if name.startswith("BLOCK_") or name == "num_warps"]
    others = []
    for one, two in combinations(names, 2):
        doubled, halved = {one: 2 * options[one]}, {one: options[one] // 2}
        if "num_warps" in (one, two):
            doubled[two], halved[two] = 2 * options[two], options[two] // 2
        else:
            doubled[two], halved[two] = options[two] // 2, 2 * options[two]
        others += [{**options, **doubled}, {**options, **halved}]
    return [other for other in others if allowed(asked, default, other)]


@dataclass
class Search:
    """Options tried for one problem.

    Attributes:
        milliseconds: Times options; infinite if they don't work.
        prepare: Told what is timed next, all that is known of it.
        in_time: Whether there is time to try more.
        tried: All of them with their times, in order.
    """

    milliseconds: Callable[[Options], float]
    prepare: Callable[[Sequence[Options]], None]
    in_time: Callable[[], bool]
    tried: list[tuple[Options, float]] = field(default_factory=list)

    def attempt(self, batch: Iterable[Options]) -> None:
        """Time those that are new, if there is time."""
        known = [options for options, _ in self.tried]
        new: list[Options] = []
        for options in batch:
            if options not in known and options not in new:
                new.append(options)
        if not new or not self.in_time():
            return
        self.prepare(new)  # Takes much longer than what follows.
        self.tried += [(options, self.milliseconds(options)) for options in new]

    @property
    def best(self) -> Options:
        """The fastest; of equals the one that was tried first."""
        return self._fastest(self.tried)[0]

    def descend(self, asked: Problem, seeds: Sequence[Options]) -> None:
        """From the best of the seeds, the first of which is the default, vary one option at a time while it helps.

        The best values of all options together are tried too, and changes of two where none of one helps.
        """
        default = seeds[0]
        self.tried.append((default, self.milliseconds(default)))
        self.attempt(seeds)
        while self.in_time():
            start = self.best
            around = [alternatives(asked, default, start, name) for name in start]
            self.attempt(chain(*around))
            self.attempt(some for some in [self._together(start)] if allowed(asked, default, some))
            if self.best == start:
                self.attempt(pairs(asked, default, start))
            if self.best == start:
                return

    def _together(self, start: Options) -> Options:
        """`start` with the fastest value of each option that alone is faster than `start`."""
        changes: dict[str, int] = {}
        for name in start:
            alone = [(other, ms) for other, ms in self.tried if {**other, name: start[name]} == start]
            changes[name] = self._fastest(alone)[0][name]
        return {**start, **changes}

    @staticmethod
    def _fastest(tried: Iterable[tuple[Options, float]]) -> tuple[Options, float]:
        return min(tried, key=lambda pair: pair[1])
