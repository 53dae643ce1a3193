#include "csrc/cuda/channel_modulation.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

const auto forward = emulation::op_of_type("channel_modulation", "x", [](auto zero, const Arguments& a) {
    using T = decltype(zero);
    channel_modulation(a.data<const T>("x"), a.data<const T>("gate"), a.data<const T>("residual"), a.data<T>("y"),
                       features(a["x"]), Stream());
});

const auto backward = emulation::op_of_type("channel_modulation_backward", "x", [](auto zero, const Arguments& a) {
    using T = decltype(zero);
    channel_modulation_backward(a.data<const T>("grad"), a.data<const T>("x"), a.data<const T>("gate"),
                                a.data<T>("grad_x"), a.data<T>("grad_gate"), a.data<float>("workspace"),
                                int(a["workspace"].size(1)), features(a["x"]), Stream());
});

}  // namespace
}  // namespace dasr_fast
