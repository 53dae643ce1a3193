"""Schemas of the raw ops in the compiled library: `torch.ops.dasr_fast_cpp.<name>`, `torch.ops.dasr_fast_cuda.<name>`.

A raw op checks nothing: `dasr_fast.ops` does that. Those of C++ take tensors of any strides and make their results;
those of CUDA, and of blurs, write into tensors that the modules in `cpp` and `cuda` made, and take dense ones.
"""

import re
from collections.abc import Callable
from typing import Any

import torch

from dasr_fast import reference
from dasr_fast.reference.channel_modulation import channel_modulation_backward
from dasr_fast.reference.da_conv import da_conv_backward
from dasr_fast.reference.dynamic_depthwise_conv import dynamic_depthwise_conv_backward


def schema(function: Callable[..., Any], *further: str) -> str:
    """The schema of a reference function, without defaults and with further arguments at the end."""
    inferred = re.sub("=[^,)]*", "", torch.library.infer_schema(function, mutates_args=()))
    return function.__name__ + inferred.replace(") -> ", "".join(f", {one}" for one in further) + ") -> ")


SCHEMAS = {
    "cpp": (
        "instruction_set() -> int",
        "channels_last(Tensor x) -> Tensor",
        "contiguous(Tensor x) -> Tensor",
        schema(reference.channel_modulation),
        schema(channel_modulation_backward),
        schema(reference.dynamic_depthwise_conv),
        schema(dynamic_depthwise_conv_backward),
        *(schema(function, "bool tiles") for function in (reference.da_conv, da_conv_backward)),
        *(schema(function, "bool tiles") for function in (reference.conv3x3, reference.da_half_block)),
        "conv3x3_input_gradient(Tensor grad, Tensor weight, Tensor? y, float? negative_slope, bool tiles) -> Tensor",
        "conv3x3_weight_gradient(Tensor grad, Tensor x, Tensor? y, float? negative_slope, bool tiles) "
        "-> (Tensor, Tensor)",
        "blur_stencils(Tensor kernel, Tensor weights, int first, int scale, int height, int width, "
        "Tensor(a!) stencils, Tensor(b!) ends) -> ()",
        "blur_downsample(Tensor x, Tensor stencils, Tensor? ends, int scale, int reach, int top, int left, "
        "bool reflect, Tensor? noise, Tensor? level, bool quantize, Tensor(a!) y) -> ()",
        "blur_downsample_grad_kernel(Tensor grad, Tensor x, Tensor(a!) grad_kernel) -> ()",
        *(schema(function) for function in (reference.jpeg, reference.normal_numbers, reference.add_noise)),
        "resize(Tensor image, int height, int width, int reach, bool antialias) -> Tensor",
    ),
    "cuda": (
        "channel_modulation(Tensor x, Tensor gate, Tensor? residual, Tensor(a!) y) -> ()",
        "channel_modulation_backward(Tensor grad, Tensor x, Tensor gate, Tensor(a!) grad_x, Tensor(b!) grad_gate, "
        "Tensor(c!)? workspace) -> ()",
        "dynamic_depthwise_conv(Tensor x, Tensor kernel, float? negative_slope, Tensor(a!) y) -> ()",
        "dynamic_depthwise_conv_backward(Tensor grad, Tensor x, Tensor kernel, Tensor? y, float? negative_slope, "
        "Tensor? extra, Tensor? gate, Tensor(a!) grad_x, Tensor(b!) grad_kernel, Tensor(c!)? workspace) -> ()",
        "da_conv(Tensor x, Tensor kernel, Tensor weight, Tensor? bias, Tensor? gate, float negative_slope, "
        "bool activate, Tensor(a!) y) -> ()",
        "da_conv_pointwise_backward(Tensor grad, Tensor x, Tensor kernel, Tensor weight, Tensor? y, "
        "float negative_slope, Tensor(a!) grad_filtered, Tensor(b!)? grad_activated, Tensor(c!) grad_weight, "
        "Tensor(d!) grad_bias, Tensor(e!)? grad_gate, Tensor(f!) weight_parts, Tensor(g!) bias_parts, "
        "Tensor(h!)? gate_parts) -> ()",
        "da_half_block(Tensor x, Tensor kernel, Tensor weight, Tensor? bias, Tensor? gate, Tensor conv_weight, "
        "Tensor? conv_bias, Tensor? residual, float negative_slope, bool activate, Tensor(a!) y) -> ()",
        "blur_downsample_fused(Tensor hr, Tensor kernel, Tensor taps, Tensor? noise, Tensor? level, int scale, "
        "int first, int top, int left, bool reflect, bool quantize, bool channels_last, Tensor(a!) stencils, "
        "Tensor(b!) y) -> ()",
        "blur_downsample_spread(Tensor grad, Tensor taps, int scale, int first, bool channels_last, Tensor(a!) "
        "grad_blurred) -> ()",
        "blur_downsample_correlate(Tensor grad_blurred, Tensor hr, bool channels_last, Tensor(a!) parts, "
        "Tensor(b!) grad_kernel) -> ()",
    ),
}
"""By device."""
