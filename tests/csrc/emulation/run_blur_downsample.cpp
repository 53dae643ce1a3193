#include "csrc/cuda/blur_downsample.cuh"
#include "csrc/cuda/blur_gradients.cuh"
#include "driver.h"

namespace dasr_fast {
namespace {

using blur::Images;
using blur::Taps;
using blur::Type;
using emulation::Arguments;
using emulation::Array;

Type type_of(const Array& array) {
    if (array.type == "uint8") return Type::uint8;
    if (array.type == "float16") return Type::float16;
    return array.type == "bfloat16" ? Type::bfloat16 : Type::float32;
}

Images images_of(const Array& array) {
    Images images;
    images.data = array.memory;
    images.type = type_of(array);
    images.batch = array.size(0);
    images.count = 1;
    const int dimensions = int(array.sizes.size());
    for (int i = 1; i < dimensions - 2; ++i) images.count *= int(array.size(i));
    images.height = int(array.size(dimensions - 2));
    images.width = int(array.size(dimensions - 1));
    images.channels_last = array.channels_last;
    return images;
}

Taps taps_of(const Arguments& arguments) {
    Taps taps = {};
    taps.scale = int(arguments.integer("scale"));
    taps.first = int(arguments.integer("first"));
    taps.count = int(arguments["taps"].size(0));
    for (int i = 0; i < taps.count; ++i) taps.weights[i] = arguments.data<float>("taps")[i];
    return taps;
}

template <typename Function>
void for_image_type(const Array& array, Function function) {
    if (array.type == "uint8") return function(std::uint8_t{});
    emulation::for_type(array.type, function);
}

const emulation::Op fused("blur_downsample_fused", [](const Arguments& arguments) {
    const Array &kernel = arguments["kernel"], &y = arguments["y"];
    const Images outputs = images_of(y);
    emulation::for_type(kernel.type, [&](auto zero) {
        using T = decltype(zero);
        blur_downsample(images_of(arguments["hr"]), kernel.data<const T>(), int(kernel.size(1)), int(kernel.size(2)),
                        taps_of(arguments), int(arguments.integer("top")), int(arguments.integer("left")),
                        arguments.integer("reflect") != 0, arguments.data<float>("noise"),
                        arguments.data<float>("level"), arguments.integer("quantize") != 0,
                        arguments.data<float>("stencils"), y.memory, type_of(y), outputs.height, outputs.width,
                        Stream());
    });
});

const emulation::Op spread("blur_downsample_spread", [](const Arguments& arguments) {
    const Array& blurred = arguments["grad_blurred"];
    emulation::for_type(arguments["grad"].type, [&](auto zero) {
        blur_downsample_spread<decltype(zero)>(images_of(arguments["grad"]), taps_of(arguments), blurred.data<float>(),
                                               int(blurred.size(2)), int(blurred.size(3)), Stream());
    });
});

const emulation::Op correlate("blur_downsample_correlate", [](const Arguments& arguments) {
    const Array &parts = arguments["parts"], &grad_kernel = arguments["grad_kernel"];
    for_image_type(arguments["hr"], [&](auto zero) {
        using T = decltype(zero);
        emulation::for_type(grad_kernel.type, [&](auto other) {
            using K = decltype(other);
            blur_downsample_correlate<T, K>(images_of(arguments["hr"]), arguments.data<const float>("grad_blurred"),
                                            int(parts.size(2)), int(parts.size(3)), parts.data<float>(),
                                            int(parts.size(1)), grad_kernel.data<K>(), Stream());
        });
    });
});

}  // namespace
}  // namespace dasr_fast
