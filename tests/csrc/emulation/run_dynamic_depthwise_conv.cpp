#include "csrc/cuda/dynamic_depthwise_conv.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

const auto forward = emulation::op_of_type("dynamic_depthwise_conv", "x", [](auto zero, const Arguments& a) {
    using T = decltype(zero);
    dynamic_depthwise_conv(a.data<const T>("x"), a.data<const T>("kernel"), int(a["kernel"].size(3)),
                           a.real("negative_slope", 1), a.data<T>("y"), features(a["x"]), Stream());
});

const auto backward = emulation::op_of_type("dynamic_depthwise_conv_backward", "x", [](auto zero, const Arguments& a) {
    using T = decltype(zero);
    dynamic_depthwise_conv_backward(
        a.data<const T>("grad"), a.data<const T>("x"), a.data<const T>("kernel"), int(a["kernel"].size(3)),
        a.data<const T>("y"), a.real("negative_slope", 1), a.data<const T>("extra"), a.data<const T>("gate"),
        a.data<T>("grad_x"), a.data<T>("grad_kernel"), a.data<float>("workspace"), int(a["workspace"].size(1)),
        features(a["x"]), Stream());
});

}  // namespace
}  // namespace dasr_fast
