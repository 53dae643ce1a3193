#include "csrc/cuda/dynamic_depthwise_conv.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

const emulation::Op forward("dynamic_depthwise_conv", [](const Arguments& arguments) {
    emulation::for_type(arguments["x"].type, [&](auto zero) {
        using T = decltype(zero);
        dynamic_depthwise_conv(arguments.data<const T>("x"), arguments.data<const T>("kernel"),
                               int(arguments["kernel"].size(3)), arguments.real("negative_slope", 1),
                               arguments.data<T>("y"), features(arguments["x"]), Stream());
    });
});

const emulation::Op backward("dynamic_depthwise_conv_backward", [](const Arguments& arguments) {
    emulation::for_type(arguments["x"].type, [&](auto zero) {
        using T = decltype(zero);
        dynamic_depthwise_conv_backward(
            arguments.data<const T>("grad"), arguments.data<const T>("x"), arguments.data<const T>("kernel"),
            int(arguments["kernel"].size(3)), arguments.data<const T>("y"), arguments.real("negative_slope", 1),
            arguments.data<const T>("extra"), arguments.data<const T>("gate"), arguments.data<T>("grad_x"),
            arguments.data<T>("grad_kernel"), arguments.data<float>("workspace"),
            int(arguments["workspace"].size(1)), features(arguments["x"]), Stream());
    });
});

}  // namespace
}  // namespace dasr_fast
