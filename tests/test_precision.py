from collections.abc import Callable, Iterator

import pytest
import torch

from dasr_fast import precision
from dasr_fast.precision import PRECISIONS, choose_precision, tf32_convolutions

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def capability(monkeypatch: pytest.MonkeyPatch):
    """Sets the compute capability that GPUs seem to have."""
    return lambda *value: monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: value)


@pytest.mark.parametrize(("unit", "name"), [(False, "fp32"), (True, "bf16")])
def test_auto(monkeypatch: pytest.MonkeyPatch, unit: bool, name: str):
    monkeypatch.setattr(precision, "has_matrix_unit", lambda: unit)
    assert choose_precision("auto", CPU) is PRECISIONS[name]


@pytest.mark.parametrize(("value", "name"), [((7, 0), "fp32"), ((7, 5), "fp16"), ((9, 0), "fp16")])
def test_auto_on_a_gpu(capability, value: tuple[int, int], name: str):
    capability(*value)
    assert choose_precision("auto", GPU) is PRECISIONS[name]


@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_by_name(capability, name: str):
    capability(8, 0)
    assert choose_precision(name, CPU) is choose_precision(name, GPU) is PRECISIONS[name]


def test_what_a_device_cannot_do(capability):
    with pytest.raises(ValueError, match=r"must be one of auto, fp32, tf32, fp16, bf16; got 'int8'\.$"):
        choose_precision("int8", CPU)
    with pytest.raises(ValueError, match=r"^precision tf32 needs an NVIDIA GPU; the model is on cpu\.$"):
        choose_precision("tf32", CPU)
    capability(7, 5)
    for name in ("tf32", "bf16"):
        with pytest.raises(ValueError, match=f"^precision {name} needs .* 8.0 or newer; this one has 7.5[.]$"):
            choose_precision(name, GPU)


@pytest.mark.parametrize(("seconds", "emulated"), [(3.9, False), (4.1, True)])
def test_a_slow_product_in_bfloat16_is_an_emulated_one(monkeypatch: pytest.MonkeyPatch, seconds: float, emulated: bool):
    times = {torch.float32: 1.0, torch.bfloat16: seconds}
    monkeypatch.setattr(precision, "_seconds_of_product", lambda dtype, device: times[dtype])
    assert precision.emulates_bfloat16.__wrapped__("cpu") == emulated


SETTINGS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)


@pytest.fixture
def change() -> Iterator[Callable[[str], None]]:
    """Gives PyTorch's settings a value until the test ends."""

    def change(value: str) -> None:
        for setting in SETTINGS:
            setting.fp32_precision = value

    before = values()
    yield change
    for setting, value in zip(SETTINGS, before, strict=True):
        setting.fp32_precision = value


def values() -> list[str]:
    return [setting.fp32_precision for setting in SETTINGS]


@pytest.mark.parametrize("before", ["tf32", "ieee", "none"])
def test_tf32_is_set_inside_and_restored(change: Callable[[str], None], before: str):
    change(before)
    with tf32_convolutions(True):
        assert values() == ["ieee", "tf32", "tf32"]
        with tf32_convolutions(False):
            assert values() == ["ieee", "ieee", "ieee"]
    assert values() == [before] * 3
    with pytest.raises(KeyError), tf32_convolutions(True):
        raise KeyError
    assert values() == [before] * 3


def test_blocks_that_overlap(change: Callable[[str], None]):
    """As those of two threads do."""
    change("none")
    first, second = tf32_convolutions(True), tf32_convolutions(False)
    first.__enter__()
    second.__enter__()
    assert values() == ["ieee", "ieee", "ieee"]
    first.__exit__(None, None, None)
    assert values() == ["ieee", "ieee", "ieee"]
    second.__exit__(None, None, None)
    assert values() == ["none"] * 3
