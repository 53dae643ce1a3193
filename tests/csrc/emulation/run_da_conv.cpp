#include "csrc/cuda/da_conv.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

const auto forward = emulation::op_of_type("da_conv", "x", [](auto zero, const Arguments& a) {
    using T = decltype(zero);
    da_conv(a.data<const T>("x"), a.data<const T>("kernel"), int(a["kernel"].size(3)), a.data<const T>("weight"),
            a.data<const T>("bias"), a.data<const T>("gate"), a.real("negative_slope"), a.integer("activate") != 0,
            a.data<T>("y"), features(a["x"]), int(a["weight"].size(0)), Stream());
});

const auto backward = emulation::op_of_type("da_conv_pointwise_backward", "x", [](auto zero, const Arguments& a) {
    using T = decltype(zero);
    da_conv_pointwise_backward(
        a.data<const T>("grad"), a.data<const T>("x"), a.data<const T>("kernel"), int(a["kernel"].size(3)),
        a.data<const T>("weight"), a.data<const T>("y"), a.real("negative_slope"), a.data<T>("grad_filtered"),
        a.data<T>("grad_activated"), a.data<T>("grad_weight"), a.data<T>("grad_bias"), a.data<T>("grad_gate"),
        a.data<float>("weight_parts"), a.data<float>("bias_parts"), a.data<float>("gate_parts"),
        int(a["weight_parts"].size(1)), features(a["x"]), int(a["weight"].size(0)), Stream());
});

}  // namespace
}  // namespace dasr_fast
