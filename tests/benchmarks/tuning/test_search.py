import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("triton")

from tuning_helpers import ASKED, DEFAULT

from benchmarks.tuning import search
from dasr_fast.kernels.options import Options


class Surface:
    """A search over made-up times, and what it did."""

    def __init__(self, times: Any, limit: float = math.inf) -> None:
        self.times, self.limit = times, limit
        self.timed: list[Options] = []
        self.prepared: list[Options] = []
        self.search = search.Search(self.milliseconds, self.prepare, lambda: len(self.timed) < self.limit)

    def milliseconds(self, options: Options) -> float:
        self.timed.append(options)
        return self.times(options)

    def prepare(self, batch: Sequence[Options]) -> None:
        self.prepared += batch


def bowl(**best: int) -> Any:
    """Times that grow with the factors by which options miss the best."""
    return lambda options: 1 + sum(abs(math.log2(options[name] / value)) for name, value in best.items())


def test_alternatives_of_a_size():
    assert search.alternatives(ASKED, DEFAULT, DEFAULT, "BLOCK_W") == [{**DEFAULT, "BLOCK_W": n} for n in (8, 32, 64)]


def test_alternatives_of_a_choice():
    assert [o["num_warps"] for o in search.alternatives(ASKED, DEFAULT, DEFAULT, "num_warps")] == [1, 2, 8]
    staged = {**DEFAULT, "num_stages": 1}
    assert [o["num_stages"] for o in search.alternatives(ASKED, staged, staged, "num_stages")] == [2, 3, 4]
    assert search.alternatives(ASKED, {"maxnreg": 64}, {"maxnreg": 64}, "maxnreg") == []


def test_a_tile_has_no_more_channels_than_the_features_need():
    assert [o["BLOCK_C"] for o in search.alternatives(ASKED, DEFAULT, DEFAULT, "BLOCK_C")] == [16, 64]
    wide = {**DEFAULT, "BLOCK_C": 256}
    asked = replace(ASKED, sizes=(1, 4096, 8, 8, 3))
    assert [o["BLOCK_C"] for o in search.alternatives(asked, wide, wide, "BLOCK_C")] == [128]


def test_sizes_are_bounded():
    assert [o["ROWS"] for o in search.alternatives(ASKED, DEFAULT, DEFAULT, "ROWS")] == [4, 16]
    small = {**DEFAULT, "BLOCK_W": 1}
    assert [o["BLOCK_W"] for o in search.alternatives(ASKED, small, small, "BLOCK_W")] == [2, 4]
    long = {"BLOCK_W": 2048, "num_warps": 4}
    assert [o["BLOCK_W"] for o in search.alternatives(ASKED, long, long, "BLOCK_W")] == [1024, 4096, 8192]


def test_tiles_do_not_outgrow_the_registers():
    grown = {**DEFAULT, "BLOCK_W": 64}
    assert [o["BLOCK_W"] for o in search.alternatives(ASKED, DEFAULT, grown, "BLOCK_W")] == [32]
    assert {"num_warps": 8, "BLOCK_W": 128}.items() <= search.pairs(ASKED, DEFAULT, grown)[-2].items()


def test_pairs_keep_the_work_of_a_thread():
    others = search.pairs(ASKED, DEFAULT, DEFAULT)
    assert [(o["BLOCK_C"], o["BLOCK_W"], o["num_warps"]) for o in others] == [
        (64, 8, 4),
        (16, 32, 4),
        (64, 16, 8),
        (16, 16, 2),
        (32, 32, 8),
        (32, 8, 2),
    ]


def test_search_finds_the_fastest_and_times_nothing_twice():
    best = {"BLOCK_C": 16, "BLOCK_W": 64, "ROWS": 2, "num_warps": 2}
    surface = Surface(bowl(**best))
    surface.search.descend(ASKED, [DEFAULT])
    assert surface.search.best == best
    assert len({tuple(options.items()) for options in surface.timed}) == len(surface.timed)
    assert surface.timed == [DEFAULT, *surface.prepared]


def test_search_moves_along_a_ridge():
    def times(options: Options) -> float:
        # Four elements a thread are best, and then few channels.
        each = options["BLOCK_C"] * options["BLOCK_W"] / options["num_warps"] / 128
        return 10 * abs(math.log2(each)) + math.log2(options["BLOCK_C"]) + 2

    surface = Surface(times)
    surface.search.descend(ASKED, [DEFAULT])
    assert times(surface.search.best) == 2


def test_search_begins_at_the_best_of_what_is_known():
    far = {"BLOCK_C": 1, "BLOCK_W": 128, "ROWS": 1, "num_warps": 1}
    surface = Surface(bowl(**far))
    surface.search.descend(ASKED, [DEFAULT, far])
    assert surface.timed[:2] == [DEFAULT, far]
    assert surface.search.best == far


def test_search_avoids_what_does_not_work():
    surface = Surface(lambda options: math.inf if options["num_warps"] != 4 else bowl(BLOCK_W=32)(options))
    surface.search.descend(ASKED, [DEFAULT])
    assert surface.search.best == {**DEFAULT, "BLOCK_W": 32}


def test_search_stays_with_the_default_where_all_are_equal():
    surface = Surface(lambda options: 1.0)
    surface.search.descend(ASKED, [DEFAULT])
    assert surface.search.best == DEFAULT


def test_search_ends_when_time_does():
    surface = Surface(bowl(BLOCK_W=256), limit=2)
    surface.search.descend(ASKED, [DEFAULT, {**DEFAULT, "ROWS": 4}])
    assert len(surface.timed) == 2
    surface = Surface(bowl(BLOCK_W=256), limit=0)
    surface.search.descend(ASKED, [DEFAULT, {**DEFAULT, "ROWS": 4}])
    assert surface.timed == [DEFAULT]
