import pytest
import torch

pytest.importorskip("triton")

from tuning_helpers import planned

from benchmarks.tuning import problems, search
from tests.specification import SPECIFICATIONS, Case


def test_a_resized_case_is_consistent():
    case = next(case for case in SPECIFICATIONS["da_conv"].cases if case.label == "training")
    other = problems.resized(case, 2, 5, 7)
    assert other.tensors == {
        "x": (2, 64, 5, 7),
        "kernel": (2, 64, 3, 3),
        "weight": (64, 64),
        "bias": (64,),
        "gate": (2, 64),
    }
    assert other.options == case.options
    assert not other.timed


def test_features_are_tuned_in_every_layout_and_images_at_every_scale():
    features = list(problems.settings(["channel_modulation"], problems.DTYPES))
    assert len({(s.case.tensors["x"], s.dtype, s.layout) for s in features}) == 4 * 3 * 2
    images = list(problems.settings(["blur_downsample"], problems.DTYPES))
    assert {(s.case.options["scale"], s.dtype) for s in images} == {
        (n, dtype) for n in (2, 3, 4) for dtype in ("float32", "uint8")
    }
    assert [s.dtype for s in problems.settings(["blur_downsample"], ["float16", "uint8"])] == ["uint8"] * 3


def test_what_matters_most_is_tuned_first():
    found = problems.settings(["channel_modulation", "blur_downsample", "da_conv"], problems.DTYPES)
    assert [(s.op, s.dtype, s.layout, s.case.label) for s in found[:2]] == [
        ("da_conv", "float16", "channels_last", "training"),
        ("da_conv", "float16", "channels_last", "frame"),
    ]
    last = [s.op for s in found if s.dtype in ("float16", "uint8") and s.layout != "contiguous" and not s.case.timed]
    assert last == ["da_conv"] * 2 + ["channel_modulation"] * 2
    places = {(s.op, s.case.timed): index for index, s in enumerate(found) if s.dtype in ("float16", "uint8")}
    assert places["blur_downsample", True] < places["da_conv", False]
    assert (found[-1].op, found[-1].dtype) == ("channel_modulation", "bfloat16")


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("dtype", problems.FEATURE_DTYPES)
def test_problems_of_forward_and_backward_are_found(dtype: str, layout: str):
    found = planned("dynamic_depthwise_conv", SPECIFICATIONS["dynamic_depthwise_conv"].cases[0], dtype, layout)
    assert [one.function for one in found] == ["dynamic_depthwise_conv", "dynamic_depthwise_conv_backward"]
    assert len({one.asked.kernel for one in found}) == 2
    for one in found:
        assert (one.asked.dtype, one.asked.layout) == (dtype, layout)
        assert search.allowed(one.asked, one.default, one.default)


def test_a_problem_is_planned_once():
    setting = problems.Setting(
        "channel_modulation", SPECIFICATIONS["channel_modulation"].cases[0], "float32", "contiguous"
    )
    assert len(list(problems.plan([setting, setting], pytest.fail))) == 2


def test_what_kernels_cannot_do_is_said():
    setting = problems.Setting(
        "channel_modulation", SPECIFICATIONS["channel_modulation"].cases[0], "float64", "contiguous"
    )
    said: list[str] = []
    assert list(problems.plan([setting], said.append)) == []
    assert said == ["channel_modulation, small, float64, contiguous: it computes in float32, and x is float64"]


def test_arguments_take_the_type_and_layout_of_the_setting():
    case = Case("", {})
    arguments = {"hr": torch.rand(2, 3, 4, 5).double(), "kernel": torch.rand(2, 3, 3).double(), "scale": 2}
    setting = problems.Setting("blur_downsample", case, "uint8", "channels_last")
    hr, kernel, scale = (problems.as_set(value, setting, arguments) for value in arguments.values())
    assert (hr.dtype, kernel.dtype, scale) == (torch.uint8, torch.float32, 2)
    assert hr.is_contiguous(memory_format=torch.channels_last)
    assert (hr.requires_grad, kernel.requires_grad) == (False, True)
