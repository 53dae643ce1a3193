from collections.abc import Callable

import torch
from golden import fill
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dasr_fast.inference import tiling
from dasr_fast.inference.attempts import _smaller, choose_window
from dasr_fast.inference.tiling import OVERLAP, SMALLEST, Window, overlapping_spans
from dasr_fast.models import BlindSR

CPU = torch.device("cpu")


class Plain:
    """A model's encoder and SR network in float64, and the sizes of what they were called with."""

    def __init__(self, scale: int = 2) -> None:
        self.model = fill(BlindSR(scale, channels=4, groups=1, blocks=1)).eval().double()
        self.shapes: list[torch.Size] = []

    def encode(self, lr: Tensor) -> Tensor:
        return self._run(self.model.encode, lr).float()

    def encode_features(self, lr: Tensor) -> Tensor:
        return self._run(self.model.E.encoder_q.E[:-1], lr).float()

    def restore(self, lr: Tensor, v: Tensor) -> Tensor:
        return self._run(lambda x: self.model.restore(x, v.double()), lr)

    @torch.no_grad()
    def _run(self, function: Callable[[Tensor], Tensor], lr: Tensor) -> Tensor:
        self.shapes.append(lr.shape)
        return function(lr.double())


NETWORK = Plain()
sides = st.integers(1, 110)
tiles = st.integers(SMALLEST, 80)


@given(st.integers(1, 2000), st.integers(SMALLEST, 300), st.sampled_from([2, OVERLAP]))
def test_spans_cover_and_have_context(length: int, size: int, overlap: int):
    spans = overlapping_spans(length, size, overlap)
    assert [span.first for span in spans] == [0, *(span.last for span in spans[:-1])]
    assert (spans[-1].last, len({span.stop - span.start for span in spans})) == (length, 1)
    assert spans[0].stop - spans[0].start <= size
    for span in spans:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.first == 0 or span.first - span.start >= overlap
        assert span.last == length or span.stop - span.last >= overlap


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 9), st.integers(SMALLEST**2, 10**6))
def test_automatic_windows_fit_into_memory(height: int, width: int, batch: int, pixels: int):
    window = choose_window(batch, height, width, pixels, None)
    assert 1 <= window.samples <= batch
    assert window.samples * window.height * window.width <= pixels
    if height * width <= pixels:
        assert (window.height, window.width) == (height, width)
    else:
        assert window.samples == 1
        assert min(SMALLEST, height) <= window.height <= height
        assert min(SMALLEST, width) <= window.width <= width
        assert 2 * window.height * window.width > pixels or window.height * window.width >= pixels - max(height, width)


def test_windows_by_tile():
    assert choose_window(5, 300, 80, 10**6, 128) == Window(5, 128, 80)
    assert choose_window(5, 300, 80, 20_000, 128) == Window(1, 128, 80)
    assert choose_window(2, 3000, 4000, 10_000, 0) == Window(1, 3000, 4000)


def test_smaller_windows():
    window: Window | None = Window(3, 300, 200)
    seen = []
    while (window := _smaller(window)) is not None:
        seen.append((window.samples, window.height, window.width))
    assert seen == [(1, 300, 200), (1, 150, 200), (1, 150, 100), (1, 75, 100), (1, 75, 64), (1, 64, 64)]
    assert _smaller(Window(1, 20, 30)) is None


@settings(deadline=None, max_examples=8)
@given(sides, sides, tiles, tiles)
def test_the_encoder_in_tiles_is_the_encoder(height: int, width: int, tile_height: int, tile_width: int):
    lr = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    embedding = tiling.encode(NETWORK, lr, Window(1, tile_height, tile_width), CPU)
    expected = NETWORK.encode(lr)
    assert embedding.dtype == torch.float32
    assert (embedding - expected).abs().max() <= 1e-6 * expected.abs().max()


@settings(deadline=None, max_examples=8)
@given(sides, sides, tiles)
def test_a_network_that_looks_no_further_than_the_overlap_has_no_seams(height: int, width: int, tile: int):
    lr, v = torch.rand(2, 3, height, width) * 255, torch.randn(2, 256)
    sr = torch.full((2, 3, 2 * height, 2 * width), torch.nan, dtype=torch.float64)
    for place, piece in tiling.restore(NETWORK, lr, v, Window(1, tile, tile), 2):
        assert sr[place].isnan().all()
        sr[place] = piece
    assert (sr - NETWORK.restore(lr, v)).abs().max() < 1e-9


def test_tiles_of_an_image_have_one_size():
    network = Plain()
    pieces = list(tiling.restore(network, torch.rand(3, 3, 200, 150), torch.randn(3, 256), Window(2, 70, 100), 2))
    assert (len(pieces), set(network.shapes)) == (2 * 7 * 2, {(2, 3, 70, 99), (1, 3, 70, 99)})
