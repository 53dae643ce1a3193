// conv3x3: a 3x3 convolution of channels-last features, LeakyReLU and a sum.
#include "instruction_set.h"
#include "winograd.h"

#ifdef DASR_FAST_KERNELS

namespace dasr_fast {
namespace DASR_FAST_KERNELS {

void conv3x3_weights(const Conv3x3& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        for (int64_t c = begin; c < end; ++c) transform_weights<typename decltype(element)::type>(p, c);
    });
}

void conv3x3(const Conv3x3& p, int64_t begin, int64_t end) {
    with_type(p.type, [&](auto element) {
        using T = typename decltype(element)::type;
        Strip strip(p);
        for (int64_t item = begin; item < end; ++item) {
            const T* x = (const T*)p.x + item / (p.strips * p.bands) * p.height * p.width * p.channels;
            strip.run<T>(item, [&](int64_t row, int64_t column, int64_t columns, float* inputs) {
                const T* pixel = x + (row * p.width + column) * p.channels;
                for (int64_t i = 0; i < columns; ++i, pixel += p.channels, inputs += strip.channels())
                    for (int64_t c = 0; c < p.channels; c += LANES) store(inputs + c, load(pixel + c, p.channels - c));
            }, [&](int64_t row, int64_t column, int64_t columns) {
                prefetch_range(x, (row * p.width + column) * p.channels, columns * p.channels);
            });
        }
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "conv3x3_binding.h"

namespace dasr_fast {

DASR_FAST_BEST(conv3x3_weights, Conv3x3)
DASR_FAST_BEST(conv3x3, Conv3x3)

void transform_weights(const Conv3x3& p) { run(best_conv3x3_weights(), p, p.channels); }

void conv3x3(
    Tensor x, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> residual,
    std::optional<double> negative_slope, int64_t threads, Tensor transformed, Tensor y
) {
    Conv3x3 p = convolution(x, weight, bias, residual, transformed, y);
    p.activate = negative_slope.has_value(), p.slope = static_cast<float>(negative_slope.value_or(1.0));
    cut(p, threads);
    transform_weights(p);
    run(best_conv3x3(), p, p.samples * p.bands * p.strips);
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpu, CPU, m) { m.impl("conv3x3", TORCH_BOX(&conv3x3)); }

} // namespace dasr_fast

#endif
