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

const auto fused = emulation::op_of_type("blur_downsample_fused", "kernel", [](auto zero, const Arguments& a) {
    using T = decltype(zero);
    const Array &kernel = a["kernel"], &y = a["y"];
    const Images outputs = images_of(y);
    blur_downsample(images_of(a["hr"]), kernel.data<const T>(), int(kernel.size(1)), int(kernel.size(2)), taps_of(a),
                    int(a.integer("top")), int(a.integer("left")), a.integer("reflect") != 0, a.data<float>("noise"),
                    a.data<float>("level"), a.integer("quantize") != 0, a.data<float>("stencils"), y.memory,
                    type_of(y), outputs.height, outputs.width, Stream());
});

const auto spread = emulation::op_of_type("blur_downsample_spread", "grad", [](auto zero, const Arguments& a) {
    const Array& blurred = a["grad_blurred"];
    blur_downsample_spread<decltype(zero)>(images_of(a["grad"]), taps_of(a), blurred.data<float>(),
                                           int(blurred.size(2)), int(blurred.size(3)), Stream());
});

template <typename K>
void correlate(K, const Arguments& a) {
    const Array& parts = a["parts"];
    const auto run = [&](auto of_hr) {
        blur_downsample_correlate<decltype(of_hr), K>(
            images_of(a["hr"]), a.data<const float>("grad_blurred"), int(parts.size(2)), int(parts.size(3)),
            parts.data<float>(), int(parts.size(1)), a["grad_kernel"].data<K>(), Stream());
    };
    a["hr"].type == "uint8" ? run(std::uint8_t{}) : emulation::for_type(a["hr"].type, run);
}

const auto correlation = emulation::op_of_type("blur_downsample_correlate", "grad_kernel",
                                               [](auto zero, const Arguments& a) { correlate(zero, a); });

}  // namespace
}  // namespace dasr_fast
