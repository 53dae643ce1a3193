from typing import Any

import pytest
import torch
from torch import zeros

from dasr_fast import ops
from tests.specification import SPECIFICATIONS

X = (2, 4, 6, 5)
SHAPES = {"x": X, "kernel": (2, 4, 3, 3), "weight": (4, 4), "bias": (4,), "gate": (2, 4), "residual": X}
SHAPES |= {"conv_weight": (4, 4, 3, 3), "conv_bias": (4,), "hr": (2, 3, 16, 12), "image": (2, 3, 8, 8)}
GOOD = {
    "dynamic_depthwise_conv": "x kernel",
    "channel_modulation": "x gate residual",
    "da_conv": "x kernel weight bias gate",
    "conv3x3": "x weight bias",
    "da_half_block": "x kernel weight bias gate conv_weight conv_bias",
    "blur_downsample": "hr",
    "jpeg": "image",
    "resize": "image",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "blur_downsample": {"kernel": zeros(2, 5, 5), "scale": 4},
    "jpeg": {"quality": 90},
    "resize": {"size": (4, 4), "mode": "area"},
}
WRONG: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("dynamic_depthwise_conv", {"x": zeros(4, 6, 5)}, ValueError, "x must be [B, C, H, W]"),
    ("dynamic_depthwise_conv", {"x": [1.0]}, TypeError, "x must be a tensor; got list"),
    ("dynamic_depthwise_conv", {"x": zeros(X, dtype=torch.int32)}, TypeError, "x must be float32"),
    ("dynamic_depthwise_conv", {"x": zeros(X, dtype=torch.int64)}, TypeError, "x must be float32"),
    ("dynamic_depthwise_conv", {"kernel": zeros(2, 4, 2, 2)}, ValueError, "k in 1, 3, 5, 7"),
    ("dynamic_depthwise_conv", {"kernel": zeros(2, 4, 9, 9)}, ValueError, "k in 1, 3, 5, 7"),
    ("dynamic_depthwise_conv", {"kernel": zeros(2, 4, 3, 5)}, ValueError, "k in 1, 3, 5, 7"),
    ("dynamic_depthwise_conv", {"kernel": zeros(3, 4, 3, 3)}, ValueError, "with B = 2, C = 4 and k in"),
    ("dynamic_depthwise_conv", {"kernel": zeros(2, 4, 3, 3).half()}, TypeError, "kernel must be float32 as x"),
    ("dynamic_depthwise_conv", {"kernel": zeros(2, 4, 3, 3, device="meta")}, ValueError, "kernel must be on cpu"),
    ("dynamic_depthwise_conv", {"negative_slope": -1.0}, ValueError, "negative_slope must be from 0"),
    ("dynamic_depthwise_conv", {"negative_slope": float("nan")}, ValueError, "negative_slope must be from 0"),
    ("dynamic_depthwise_conv", {"backend": "cudnn"}, ValueError, "backend must be one of auto, cuda, triton, cpp"),
    ("channel_modulation", {"gate": zeros(2, 5)}, ValueError, "gate must be [B, C] = [2, 4]; got [2, 5]"),
    ("channel_modulation", {"residual": zeros(2, 4, 6, 6)}, ValueError, "residual must be [B, C, H, W]"),
    ("channel_modulation", {"residual": zeros(X).double()}, TypeError, "residual must be float32 as x"),
    ("da_conv", {"weight": zeros(4, 4, 1, 1)}, ValueError, "weight must be [C_out, C] with C = 4"),
    ("da_conv", {"weight": zeros(5, 4), "bias": None}, ValueError, "B = 2, C = 4 and C_out = 5; got [2, 4]"),
    ("da_conv", {"weight": None}, TypeError, "weight must be a tensor; got NoneType"),
    ("da_conv", {"bias": zeros(3)}, ValueError, "bias must be [C_out] = [4]; got [3]"),
    ("da_conv", {"gate": zeros(2, 4, 1, 1)}, ValueError, "gate must be [B, C = C_out] with"),
    ("da_conv", {"gate": zeros(2, 4).bfloat16()}, TypeError, "gate must be float32 as x is; got bfloat16"),
    ("conv3x3", {"weight": zeros(4, 4, 5, 5)}, ValueError, "weight must be [C_out, C, 3, 3] with C = 4"),
    ("conv3x3", {"weight": None}, TypeError, "weight must be a tensor; got NoneType"),
    ("conv3x3", {"bias": zeros(3)}, ValueError, "bias must be [C_out] = [4]; got [3]"),
    ("conv3x3", {"bias": zeros(4).double()}, TypeError, "bias must be float32 as x is; got float64"),
    ("conv3x3", {"residual": zeros(2, 4, 6, 6)}, ValueError, "residual must be [B, C_out, H, W]"),
    ("conv3x3", {"negative_slope": 2}, ValueError, "negative_slope must be from 0 (ReLU) to 1"),
    ("da_half_block", {"weight": zeros(4, 3)}, ValueError, "weight must be [M, C] with C = 4"),
    ("da_half_block", {"weight": zeros(5, 4), "bias": None}, ValueError, "[B, C = M] with B = 2, C = 4 and M = 5"),
    ("da_half_block", {"bias": zeros(3)}, ValueError, "bias must be [M] = [4]; got [3]"),
    ("da_half_block", {"conv_weight": zeros(4, 4)}, ValueError, "conv_weight must be [C_out, M, 3, 3] with M"),
    ("da_half_block", {"conv_weight": zeros(4, 4, 5, 5)}, ValueError, "conv_weight must be [C_out, M, 3, 3]"),
    ("da_half_block", {"conv_weight": None}, TypeError, "conv_weight must be a tensor; got NoneType"),
    ("da_half_block", {"conv_bias": zeros(3)}, ValueError, "conv_bias must be [C_out] = [4]; got [3]"),
    ("da_half_block", {"residual": zeros(2, 4, 6, 6)}, ValueError, "residual must be [B, C_out, H, W]"),
    ("da_half_block", {"residual": zeros(X).half()}, TypeError, "residual must be float32 as x is; got float16"),
    ("blur_downsample", {"scale": 5}, ValueError, "scale must be 1, 2, 3 or 4; got 5"),
    ("blur_downsample", {"scale": 2.5}, ValueError, "scale must be 1, 2, 3 or 4; got 2.5"),
    ("blur_downsample", {"mode": "nearest"}, ValueError, "mode must be bicubic or s-fold"),
    ("blur_downsample", {"mode": torch.ones(2, 3)}, ValueError, "mode must be bicubic or s-fold; got Tensor."),
    ("blur_downsample", {"scale": torch.ones(2, 3)}, ValueError, "scale must be 1, 2, 3 or 4; got Tensor."),
    ("blur_downsample", {"quantize": "no"}, TypeError, "quantize must be True or False; got 'no'."),
    ("da_conv", {"activate": torch.ones(2)}, TypeError, "activate must be True or False; got Tensor."),
    ("da_conv", {"negative_slope": torch.ones(2, 3)}, ValueError, "(no activation); got Tensor."),
    ("da_half_block", {"activate": None}, TypeError, "activate must be True or False; got None."),
    ("channel_modulation", {"backend": torch.ones(2, 3)}, ValueError, "reference; got Tensor."),
    ("blur_downsample", {"kernel": zeros(2, 40, 5)}, ValueError, "hr must be at least 21 pixels high"),
    ("blur_downsample", {"kernel": zeros(2, 5, 40)}, ValueError, "hr must be at least 21 pixels wide"),
    ("blur_downsample", {"kernel": zeros(3, 5, 5)}, ValueError, "kernel must be [B, kh, kw] with B = 2"),
    ("blur_downsample", {"kernel": zeros(5, 5)}, ValueError, "kernel must be [B, kh, kw]"),
    ("blur_downsample", {"kernel": zeros(2, 5, 5, dtype=torch.uint8)}, TypeError, "kernel must be float32"),
    ("blur_downsample", {"hr": zeros(3, 16, 12)}, ValueError, "hr must be [B, N, C, H, W] or [B, C, H, W]"),
    ("blur_downsample", {"hr": zeros(2, 3, 3, 3, 12)}, ValueError, "at least 4 pixels high"),
    ("blur_downsample", {"noise": zeros(2, 3, 4, 4)}, ValueError, "[B, C, h, w] = [2, 3, 4, 3]; got [2, 3, 4, 4]"),
    ("blur_downsample", {"noise": zeros(2, 3, 4, 3, dtype=torch.int8)}, TypeError, "noise must be float32"),
    ("blur_downsample", {"noise": zeros(2, 3, 4, 3, requires_grad=True)}, ValueError, "noise has no gradient"),
    ("blur_downsample", {"level": zeros(2)}, ValueError, "level is the noise's, and noise is None"),
    ("blur_downsample", {"noise": zeros(2, 3, 4, 3), "level": zeros(3)}, ValueError, "level must be [B] = [2]"),
    ("blur_downsample", {"hr": zeros(2, 3, 16, 12, dtype=torch.int64)}, TypeError, "hr must be float32"),
    ("jpeg", {"image": None}, TypeError, "image must be a tensor; got NoneType"),
    ("jpeg", {"image": zeros(2, 1, 8, 8)}, ValueError, "or [B, 3, H, W]; got [2, 1, 8, 8]"),
    ("jpeg", {"quality": 0}, ValueError, "quality must be a number from 1 to 100, or a tensor; got 0"),
    ("jpeg", {"quality": torch.ones(3)}, ValueError, "quality must be"),
    ("jpeg", {"image": zeros(2, 3, 8, 8, dtype=torch.int64)}, TypeError, "image must be float32"),
    ("jpeg", {"subsampling": 3}, ValueError, "subsampling must be 0, 1 or 2, or a tensor; got 3"),
    ("jpeg", {"subsampling": torch.ones(2)}, TypeError, "subsampling must hold whole numbers; got float32"),
    ("resize", {"image": None}, TypeError, "image must be a tensor; got NoneType"),
    ("resize", {"image": zeros(3, 8, 8)}, ValueError, "or [B, C, H, W]; got [3, 8, 8]"),
    ("resize", {"image": zeros(1, 3, 0, 8)}, ValueError, "got [1, 3, 0, 8]"),
    ("resize", {"image": zeros(1, 3, 8, 8).byte()}, TypeError, "image must be float32"),
    ("resize", {"size": (4, 0)}, ValueError, "size must be two whole numbers of at least 1; got (4, 0)"),
    ("resize", {"size": 4}, ValueError, "size must be two whole numbers of at least 1; got 4"),
    ("resize", {"mode": "nearest"}, ValueError, "mode must be area, bilinear, bicubic; got 'nearest'"),
]


@pytest.mark.parametrize(("op", "wrong", "kind", "message"), WRONG)
def test_wrong_arguments(op: str, wrong: dict[str, Any], kind: type[Exception], message: str):
    shapes = SHAPES | ({"weight": (4, 4, 3, 3)} if op == "conv3x3" else {})
    good: dict[str, Any] = {name: zeros(shapes[name]) for name in GOOD[op].split()}
    good |= OPTIONS.get(op, {})
    getattr(ops, op)(**good)
    with pytest.raises(kind) as caught:
        getattr(ops, op)(**{**good, **wrong})
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{op}: ")
    assert str(caught.value).count("\n") == 0


def test_autocast_does_not_hide_a_wrong_type():
    x, kernel = zeros(X, dtype=torch.int64), zeros(2, 4, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(TypeError, match="x must be float32"):
        ops.dynamic_depthwise_conv(x, kernel)


def test_every_op_has_a_specification():
    assert set(SPECIFICATIONS) == set(ops.__all__) - {"add_noise", "jpeg", "normal_numbers", "resize"}  # Tested apart.
