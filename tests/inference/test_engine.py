import copy
import ctypes
import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from golden import error, fill
from torch import Tensor, nn, zeros

from dasr_fast.inference import attempts
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.executor import Executor
from dasr_fast.models import BlindSR

MODEL = fill(BlindSR(4, groups=1, blocks=1)).eval()
EXACT = copy.deepcopy(MODEL).double()


@torch.no_grad()
def exact(lr: Tensor, v: Tensor | None = None) -> Tensor:
    """What the small network computes in float64."""
    lr = lr.double()
    return EXACT.restore(lr, EXACT.encode(lr) if v is None else v.double())


@torch.no_grad()
def exact_v(lr: Tensor) -> Tensor:
    """What the small network's encoder computes in float64."""
    return EXACT.encode(lr.double())


def image(*shape: int) -> Tensor:
    return torch.rand(*shape) * 255


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(MODEL)


@pytest.mark.parametrize("shape", [(2, 3, 20, 30), (3, 20, 31), (3, 3, 1, 1), (1, 3, 1, 7), (3, 3, 5)])
def test_shapes(engine: Engine, shape: tuple[int, ...]):
    lr = image(*shape)
    sr = engine(lr)
    assert sr.dtype == torch.float32
    assert sr.shape == (*shape[:-2], shape[-2] * 4, shape[-1] * 4)
    expected = exact(lr if lr.dim() == 4 else lr[None]).view_as(sr)
    torch.testing.assert_close(sr.double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_types_of_images(engine: Engine, dtype: torch.dtype):
    lr = image(1, 3, 12, 13).round().to(dtype)
    sr = engine(lr)
    assert sr.dtype == torch.float32
    assert (sr - exact(lr)).abs().max() < 1e-3
    assert engine(lr[:0]).shape == (0, 3, 48, 52)
    assert engine.encode(lr[:0]).shape == (0, 256)
    assert sr.round_().clamp_(0, 255).max() <= 255  # Results can be changed in place.


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_embeddings_outside_of_the_bounds_are_drawn_inside(precision: str):
    lr, v = image(2, 3, 12, 13), exact_v(image(1, 3, 12, 13)).float()
    model = copy.deepcopy(MODEL)
    model.G.bounds = torch.cat((v - 0.5, v, v + 0.25))
    engine = Engine(model, precision)
    far = v + torch.tensor([[4.0], [0.1]]) * torch.randn(1, 256).sign()
    # The first sample departs by 4 with at most 0.25 allowed; the second stays.
    inside = v + (far - v) * torch.tensor([[1 / 16], [1.0]])
    torch.testing.assert_close(engine.restore(lr, far).double(), exact(lr, inside), rtol=0, atol=0.5)
    assert torch.equal(engine.restore(lr[1], far[1]), Engine(MODEL, precision).restore(lr[1], far[1]))
    assert (exact(lr, far) - exact(lr, inside)).abs().max() > 1


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.5), ("bf16", 4.0)])
def test_16_bits(precision: str, tolerance: float):
    lr = image(1, 3, 24, 25)
    engine = Engine(MODEL, precision)
    assert engine.precision == precision
    difference = (engine(lr) - exact(lr)).abs().max()
    assert 1e-3 < difference < tolerance


@pytest.mark.parametrize("tile", [64, 70, 0])
def test_tiles(engine: Engine, tile: int):
    lr = image(1, 3, 100, 66)
    assert (engine(lr, tile=tile) - exact(lr)).abs().max() < 1e-3
    assert error(engine.encode(lr, tile=tile), engine.encode(lr)) < 1e-5


def test_tiles_where_memory_is_short(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    shapes: list[torch.Size] = []
    restore = Executor.restore
    monkeypatch.setattr(Executor, "restore", lambda own, lr, v: shapes.append(lr.shape[2:]) or restore(own, lr, v))
    monkeypatch.setattr(attempts, "UNASKED", 1000)
    monkeypatch.setattr(attempts, "LEAST", 64 * 64)
    monkeypatch.setattr(attempts, "free_memory", lambda device: 20_000_000)
    lr = image(1, 3, 100, 66)
    assert (engine(lr) - exact(lr)).abs().max() < 1e-3
    assert len(shapes) > 1
    # Half of what is free may be taken, and a pixel takes 6 maps of features and more.
    assert all(4 * 6 * 64 * height * width < 20_000_000 / 2 or (height, width) == (64, 64) for height, width in shapes)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux alone tells")
def test_the_result_is_in_memory_before_tiles_are_chosen(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    def resident() -> int:
        return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[1])

    def ask(_: torch.device) -> int:
        raise InterruptedError(resident() - before)

    monkeypatch.setattr(attempts, "free_memory", ask)
    lr = image(1, 3, 600, 600)
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # What earlier tests left could hold the result.
    before = resident()
    with pytest.raises(InterruptedError) as caught:
        engine(lr)
    assert caught.value.args[0] > 0.9 * 4 * engine.scale**2 * lr.numel()


@pytest.mark.parametrize("shape", [(256,), (1, 256), (2, 256)])
def test_given_embeddings(engine: Engine, shape: tuple[int, ...]):
    lr, v = image(2, 3, 10, 12), torch.randn(*shape)
    assert (engine.restore(lr, v) - exact(lr, v.expand(2, 256))).abs().max() < 1e-3


def test_later_changes_of_the_model_do_not_matter():
    model = copy.deepcopy(MODEL)
    engine = Engine(model)
    images = image(1, 3, 10, 12), image(1, 3, 2, 5)
    before = [engine(lr) for lr in images]
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(engine(lr), sr) for lr, sr in zip(images, before, strict=True))


def scaled(factor: float) -> BlindSR:
    """The small network with features `factor` times as large, and the same result."""
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        for name, parameter in model.G.named_parameters():
            if name.startswith("head") or (name.endswith("bias") and name.startswith("body")):
                parameter.mul_(factor)
        model.G.tail[0][0].weight.div_(factor)
    return model


def test_fp16_has_room_for_large_features():
    lr = image(1, 3, 10, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sr = Engine(scaled(2.0**12), "fp16")(lr)  # Up to two million, and float16 ends at 65504.
    assert (sr - exact(lr)).abs().max() < 0.5


def test_overflow_is_said_and_computed_again_in_fp32():
    lr = image(2, 3, 70, 6)
    engine = Engine(scaled(2.0**20), "fp16")
    overflowed = r"^Engine: a result overflowed in fp16 and is computed again in fp32\.$"
    for tile in (0, 64):
        with pytest.warns(RuntimeWarning, match=overflowed):
            sr = engine(lr, tile=tile)
        assert (sr - exact(lr)).abs().max() < 1e-3


def test_an_encoder_that_overflows_is_computed_again_too():
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model.E.encoder_q.E[0].weight.mul_(1e6)
        model.E.encoder_q.E[4].running_var.mul_(1e12)
    lr = image(1, 3, 10, 12)
    expected = Engine(model)
    engine = Engine(model, "fp16")
    with pytest.warns(RuntimeWarning, match="overflowed"):
        assert torch.equal(engine(lr), expected(lr))
    with pytest.warns(RuntimeWarning, match="overflowed"):
        assert torch.equal(engine.encode(lr), expected.encode(lr))


class Memory:
    """Stands in for a device on which only so many LR pixels can be restored at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
        self.failures, self.pixels = 0, pixels
        restore = Executor.restore

        def bounded(executor: Executor, lr: Tensor, v: Tensor) -> Tensor:
            if lr.shape[0] * lr.shape[2] * lr.shape[3] > self.pixels:
                self.failures += 1
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return restore(executor, lr, v)

        monkeypatch.setattr(Executor, "restore", bounded)


def test_smaller_tiles_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch):
    engine, memory = Engine(MODEL), Memory(monkeypatch, 6000)
    lr = image(2, 3, 100, 66)
    with pytest.warns(RuntimeWarning) as caught:
        sr = engine(lr)
    assert [str(warning.message) for warning in caught] == [
        "Engine: memory ran out, and tiles of 100 x 66 LR pixels are tried.",
        "Engine: memory ran out, and tiles of 64 x 66 LR pixels are tried.",
    ]
    assert (sr - exact(lr)).abs().max() < 1e-3
    assert memory.failures == 2
    assert (engine(lr) - sr).abs().max() < 1e-3  # It has learned what fits.
    assert memory.failures == 2


@pytest.mark.parametrize("enough", [True, False])
def test_memory_of_graphs_is_given_back_first(monkeypatch: pytest.MonkeyPatch, enough: bool):
    engine, memory = Engine(MODEL), Memory(monkeypatch, 6000)

    def release(executor: Executor) -> bool:
        memory.pixels = 20_000 if enough else memory.pixels
        return True

    monkeypatch.setattr(Executor, "release", release)
    lr = image(1, 3, 100, 66)
    with nullcontext() if enough else pytest.warns(RuntimeWarning, match="tiles of 64 x 66 LR pixels are tried"):
        sr = engine(lr)
    assert (sr - exact(lr)).abs().max() < 1e-3
    assert memory.failures == (1 if enough else 2)


def test_other_errors_are_passed_on(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Tensor) -> Tensor:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(Executor, "restore", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        engine(image(3, 10, 10))


def test_stream(engine: Engine):
    frames = [image(3, 12, 14) for _ in range(3)] + [image(3, 9, 8)]
    for frame, result in zip(frames, engine.stream(iter(frames)), strict=True):
        assert (result - exact(frame[None])[0]).abs().max() < 1e-3
    assert list(engine.stream([])) == []
    first = engine.encode(frames[0])
    for representation in ("first", first[0]):
        for frame, result in zip(frames, engine.stream(frames, representation=representation), strict=True):
            assert (result - exact(frame[None], first)[0]).abs().max() < 1e-3
    assert list(engine.stream([], representation="first")) == []


LR = zeros(3, 4, 4)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda e: e(None), TypeError, "lr must be a tensor of uint8 or floating point in 0 to 255; got NoneType"),
        (lambda e: e(LR.int()), TypeError, "lr must be a tensor of uint8 .* got int32"),
        (lambda e: e(zeros(1, 4, 4)), ValueError, r"lr must be \[B, 3, H, W\] or \[3, H, W\]; got \[1, 4, 4\]"),
        (lambda e: e(zeros(3, 0, 4)), ValueError, r"lr must be .* got \[3, 0, 4\]"),
        (lambda e: e.encode(zeros(3, 4)), ValueError, r"lr must be .* got \[3, 4\]"),
        (lambda e: e(LR, tile=63), ValueError, "tile must be auto, 0 for .*, or at least 64 .* got 63"),
        (lambda e: e(LR, tile=-1), ValueError, "tile must be .* got -1"),
        (lambda e: e(LR, tile=None), ValueError, "tile must be .* got None"),
        (lambda e: e.encode(LR, tile=True), ValueError, "tile must be .* got True"),
        (lambda e: e.pieces(LR, tile="big"), ValueError, "tile must be .* got 'big'"),
        (lambda e: e.restore(LR, None), TypeError, "v must be a floating-point tensor; got NoneType"),
        (lambda e: e.restore(LR, zeros(1, 64)), ValueError, r"v must be \[256\].* got \[1, 64\]"),
        (lambda e: e.restore(zeros(3, 3, 4, 4), zeros(2, 256)), ValueError, "v must be .* with B = 1 or 3 as lr"),
        (lambda e: e.stream([], representation="last"), ValueError, "representation must be .* got 'last'"),
        (lambda e: next(e.stream([zeros(1, 3, 4, 4)])), ValueError, r"frames must be \[3, H, W\]; got \[1, 3, 4, 4\]"),
        (lambda e: next(e.stream([None])), TypeError, "lr must be a tensor .* got NoneType"),
        (lambda e: Engine(MODEL, "int8"), ValueError, "precision must be one of .* got 'int8'"),
        (lambda e: Engine(MODEL, backend="fast"), ValueError, "backend must be one of auto, cuda, triton, cpp, ref"),
        (lambda e: Engine(nn.Conv2d(3, 3, 3)), TypeError, "model must be a BlindSR"),
        (lambda e: Engine(MODEL, "tf32"), ValueError, "precision tf32 needs an NVIDIA GPU"),
    ],
)
def test_mistakes(engine: Engine, call: Callable[[Engine], object], kind: type[Exception], message: str):
    with pytest.raises(kind, match=f"^(Engine: |as_blind_sr: )?{message}[^\\n]*[.]$"):
        call(engine)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("tf32", 1.0), ("fp16", 0.5), ("bf16", 4.0)])
def test_on_a_gpu(precision: str, tolerance: float):
    engine = Engine(copy.deepcopy(MODEL).cuda(), precision)
    frames = [image(3, 70, 80) for _ in range(5)]
    expected = [exact(frame[None])[0] for frame in frames]
    for results in (map(engine, frames), engine.stream(frames), (engine(frame, tile=64) for frame in frames)):
        for result, reference in zip(results, expected, strict=True):
            assert result.device.type == "cpu"
            assert (result - reference).abs().max() < tolerance
    assert engine(frames[0].cuda()).is_cuda
    assert all(sr.is_cuda for sr in engine.stream(frame.cuda() for frame in frames))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_overflow_in_a_stream_on_a_gpu():
    engine = Engine(scaled(2.0**20).cuda(), "fp16")
    frames = [image(3, 20, 30) for _ in range(4)]
    with pytest.warns(RuntimeWarning, match="overflowed"):
        results = list(engine.stream(frames))
    for frame, result in zip(frames, results, strict=True):
        assert (result - exact(frame[None])[0]).abs().max() < 1e-3
