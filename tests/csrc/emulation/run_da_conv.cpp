#include "csrc/cuda/da_conv.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

const emulation::Op forward("da_conv", [](const Arguments& arguments) {
    emulation::for_type(arguments["x"].type, [&](auto zero) {
        using T = decltype(zero);
        da_conv(arguments.data<const T>("x"), arguments.data<const T>("kernel"), int(arguments["kernel"].size(3)),
                arguments.data<const T>("weight"), arguments.data<const T>("bias"), arguments.data<const T>("gate"),
                arguments.real("negative_slope"), arguments.integer("activate") != 0, arguments.data<T>("y"),
                features(arguments["x"]), int(arguments["weight"].size(0)), Stream());
    });
});

const emulation::Op backward("da_conv_pointwise_backward", [](const Arguments& arguments) {
    emulation::for_type(arguments["x"].type, [&](auto zero) {
        using T = decltype(zero);
        da_conv_pointwise_backward(
            arguments.data<const T>("grad"), arguments.data<const T>("x"), arguments.data<const T>("kernel"),
            int(arguments["kernel"].size(3)), arguments.data<const T>("weight"), arguments.data<const T>("y"),
            arguments.real("negative_slope"), arguments.data<T>("grad_filtered"), arguments.data<T>("grad_activated"),
            arguments.data<T>("grad_weight"), arguments.data<T>("grad_bias"), arguments.data<T>("grad_gate"),
            arguments.data<float>("weight_parts"), arguments.data<float>("bias_parts"),
            arguments.data<float>("gate_parts"), int(arguments["weight_parts"].size(1)), features(arguments["x"]),
            int(arguments["weight"].size(0)), Stream());
    });
});

}  // namespace
}  // namespace dasr_fast
