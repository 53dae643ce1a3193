#include "blur_downsample.cuh"

#include "binding.h"
#include "blur_gradients.cuh"

namespace dasr_fast {
namespace {

using blur::Images;
using blur::Taps;
using blur::Type;

Type type_of(const Tensor& tensor) {
    using torch::headeronly::ScalarType;
    switch (tensor.scalar_type()) {
    case ScalarType::Float: return Type::float32;
    case ScalarType::Half: return Type::float16;
    case ScalarType::BFloat16: return Type::bfloat16;
    case ScalarType::Byte: return Type::uint8;
    default: throw std::runtime_error("dasr_fast_cuda: the type of images is none that kernels know.");
    }
}

// Dense images [B, ..., H, W].
Images images_of(const Tensor& tensor, bool channels_last) {
    const int64_t dimensions = tensor.dim();
    int64_t count = 1;
    for (int64_t i = 1; i < dimensions - 2; ++i) count *= tensor.size(i);
    return {tensor.const_data_ptr(), type_of(tensor), tensor.size(0), int(count), int(tensor.size(dimensions - 2)),
            int(tensor.size(dimensions - 1)), channels_last};
}

// The taps are on the CPU.
Taps taps_of(const Tensor& tensor, int64_t scale, int64_t first) {
    Taps taps = {int(scale), int(first), int(tensor.numel()), {}};
    if (taps.count > blur::MOST_TAPS) throw std::runtime_error("dasr_fast_cuda: there are too many taps.");
    for (int i = 0; i < taps.count; ++i) taps.weights[i] = input<float>(tensor)[i];
    return taps;
}

template <typename Function>
void for_image_type(const Tensor& tensor, Function function) {
    if (type_of(tensor) == Type::uint8) return function(std::uint8_t());
    for_type(tensor, function);
}

void fused(Tensor hr, Tensor kernel, Tensor taps, std::optional<Tensor> noise, std::optional<Tensor> level,
           int64_t scale, int64_t first, int64_t top, int64_t left, bool reflect, bool quantize, bool channels_last,
           Tensor stencils, Tensor y) {
    const CurrentStream stream(hr);
    const Images outputs = images_of(y, channels_last);
    for_type(kernel, [&](auto zero) {
        blur_downsample(images_of(hr, channels_last), input<decltype(zero)>(kernel), int(kernel.size(1)),
                        int(kernel.size(2)), taps_of(taps, scale, first), int(top), int(left), reflect,
                        input<float>(noise), input<float>(level), quantize, output<float>(stencils),
                        y.mutable_data_ptr(), outputs.type, outputs.height, outputs.width, stream);
    });
}

void spread(Tensor grad, Tensor taps, int64_t scale, int64_t first, bool channels_last, Tensor grad_blurred) {
    const CurrentStream stream(grad);
    for_type(grad, [&](auto zero) {
        blur_downsample_spread<decltype(zero)>(images_of(grad, channels_last), taps_of(taps, scale, first),
                                               output<float>(grad_blurred), int(grad_blurred.size(2)),
                                               int(grad_blurred.size(3)), stream);
    });
}

void correlate(Tensor grad_blurred, Tensor hr, bool channels_last, Tensor parts, Tensor grad_kernel) {
    const CurrentStream stream(hr);
    for_image_type(hr, [&](auto zero) {
        for_type(grad_kernel, [&](auto other) {
            using K = decltype(other);
            blur_downsample_correlate<decltype(zero), K>(
                images_of(hr, channels_last), input<float>(grad_blurred), int(parts.size(2)), int(parts.size(3)),
                output<float>(parts), int(parts.size(1)), output<K>(grad_kernel), stream);
        });
    });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cuda, CUDA, m) {
    m.impl("blur_downsample_fused", TORCH_BOX(&fused));
    m.impl("blur_downsample_spread", TORCH_BOX(&spread));
    m.impl("blur_downsample_correlate", TORCH_BOX(&correlate));
}

}  // namespace dasr_fast
