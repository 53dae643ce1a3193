#include <stdexcept>

#include "csrc/cuda/da_half_block.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

template <typename T>
void run(const Arguments& arguments) {
    HalfBlock<T> block{};
    block.x = arguments.data<const T>("x");
    block.kernel = arguments.data<const T>("kernel");
    block.weight = arguments.data<const T>("weight");
    block.bias = arguments.data<const T>("bias");
    block.gate = arguments.data<const T>("gate");
    block.conv_weight = arguments.data<const T>("conv_weight");
    block.conv_bias = arguments.data<const T>("conv_bias");
    block.residual = arguments.data<const T>("residual");
    block.y = arguments.data<T>("y");
    const Features sizes = features(arguments["x"]);
    block.batch = sizes.batch, block.height = sizes.height, block.width = sizes.width;
    block.negative_slope = arguments.real("negative_slope");
    block.activate = arguments.integer("activate") != 0;
    da_half_block(block, Stream(), arguments.has("rows") ? int(arguments.integer("rows")) : 0);
}

const emulation::Op forward("da_half_block", [](const Arguments& arguments) {
    arguments["x"].type == "float16" ? run<half_t>(arguments) : run<bfloat16_t>(arguments);
});

}  // namespace
}  // namespace dasr_fast
