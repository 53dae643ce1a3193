#include "csrc/cuda/channel_modulation.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

const emulation::Op forward("channel_modulation", [](const Arguments& arguments) {
    emulation::for_type(arguments["x"].type, [&](auto zero) {
        using T = decltype(zero);
        channel_modulation(arguments.data<const T>("x"), arguments.data<const T>("gate"),
                           arguments.data<const T>("residual"), arguments.data<T>("y"), features(arguments["x"]),
                           Stream());
    });
});

const emulation::Op backward("channel_modulation_backward", [](const Arguments& arguments) {
    emulation::for_type(arguments["x"].type, [&](auto zero) {
        using T = decltype(zero);
        channel_modulation_backward(arguments.data<const T>("grad"), arguments.data<const T>("x"),
                                    arguments.data<const T>("gate"), arguments.data<T>("grad_x"),
                                    arguments.data<T>("grad_gate"), arguments.data<float>("workspace"),
                                    int(arguments["workspace"].size(1)), features(arguments["x"]), Stream());
    });
});

}  // namespace
}  // namespace dasr_fast
