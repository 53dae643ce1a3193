// conv3x3: a 3x3 convolution of channels-last features, LeakyReLU and a sum, and the gradients.
#include "direct.h"
#include "direct_gradient.h"
#include "instruction_set.h"
#include "winograd.h"
#include "winograd_gradient.h"

#ifdef DASR_FAST_KERNELS

namespace dasr_fast {
namespace {

void run_direct(const Conv3x3& p, int64_t begin, int64_t end) {
    Tiles tiles;
    DirectStrip strip(p);
    for (int64_t item = begin; item < end; ++item) {
        const int64_t start = item / (p.strips * p.bands) * p.height * p.width * p.channels;
        strip.run(tiles, item, [&](int64_t row, int64_t column, int64_t columns, bfloat16* inputs) {
            int64_t pixel = start + (row * p.width + column) * p.channels;
            if (!p.sign && strip.channels() == p.channels)
                return copy((const bfloat16*)p.x + pixel, columns * p.channels, inputs);
            for (int64_t i = 0; i < columns; ++i, pixel += p.channels, inputs += strip.channels())
                for (int64_t c = 0; c < p.channels; c += LANES)
                    store(inputs + c, load_gradient<bfloat16>(p.x, p.sign, p.slope, pixel + c, p.channels - c),
                        p.channels - c);
        });
    }
}

} // namespace

namespace DASR_FAST_KERNELS {

void conv3x3_weights(const Conv3x3& p, int64_t begin, int64_t end) {
    if (p.tiles) {
        for (int64_t tap = begin; tap < end; ++tap) pack_weights(p, tap);
        return;
    }
    with_type(p.type, [&](auto element) {
        for (int64_t c = begin; c < end; ++c) transform_weights<typename decltype(element)::type>(p, c);
    });
}

void conv3x3(const Conv3x3& p, int64_t begin, int64_t end) {
    if (p.tiles) return run_direct(p, begin, end);
    with_type(p.type, [&](auto element) {
        using T = typename decltype(element)::type;
        Strip strip(p);
        for (int64_t item = begin; item < end; ++item) {
            const int64_t start = item / (p.strips * p.bands) * p.height * p.width * p.channels;
            strip.run<T>(item, [&](int64_t row, int64_t column, int64_t columns, float* inputs) {
                int64_t pixel = start + (row * p.width + column) * p.channels;
                for (int64_t i = 0; i < columns; ++i, pixel += p.channels, inputs += strip.channels())
                    for (int64_t c = 0; c < p.channels; c += LANES)
                        store(inputs + c, load_gradient<T>(p.x, p.sign, p.slope, pixel + c, p.channels - c));
            }, [&](int64_t row, int64_t column, int64_t columns) {
                const int64_t pixel = start + (row * p.width + column) * p.channels;
                prefetch_range((const T*)p.x, pixel, columns * p.channels);
                if (p.sign) prefetch_range((const T*)p.sign, pixel, columns * p.channels);
            });
        }
    });
}

void conv3x3_weight_gradient(const Conv3x3Gradient& p, int64_t begin, int64_t end) {
    if (p.tiles) {
        Tiles tiles;
        DirectGradient gradient(p);
        for (int64_t part = begin; part < end; ++part) gradient.run(tiles, part);
        return;
    }
    with_type(p.type, [&](auto element) {
        WeightGradient<typename decltype(element)::type> gradient(p);
        for (int64_t item = begin; item < end; ++item) gradient.run(item);
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "conv3x3_binding.h"
#include "winograd_gradient.h"

namespace dasr_fast {

DASR_FAST_BEST(conv3x3_weights, Conv3x3)
DASR_FAST_BEST(conv3x3, Conv3x3)
DASR_FAST_BEST(conv3x3_weight_gradient, Conv3x3Gradient)

void transform_weights(const Conv3x3& p) { run(best_conv3x3_weights(), p, p.tiles ? TAPS * TAPS : p.channels); }

static void convolve(Conv3x3& p) {
    cut(p);
    transform_weights(p);
    run(best_conv3x3(), p, p.samples * p.bands * p.strips);
}

Tensor conv3x3(
    Tensor x, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> residual,
    std::optional<double> negative_slope, bool tiles
) {
    const MemoryFormat format = memory_format(x);
    x = pixels(x), bias = in_format(bias), residual = in_format(residual, MemoryFormat::ChannelsLast);
    const Tensor transformed = new_transformed(weight.size(1), weight.size(0), tiles);
    const Tensor y = new_features(x, weight.size(0), MemoryFormat::ChannelsLast);
    Conv3x3 p = convolution(x, weight, bias, residual, tiles, transformed, y);
    p.activate = negative_slope.has_value(), p.slope = static_cast<float>(negative_slope.value_or(1.0));
    convolve(p);
    return in_memory_format(y, format);
}

// The gradient for the inputs: a convolution of the outputs' gradient with the weights turned by 180 degrees.
Tensor conv3x3_input_gradient(
    Tensor grad, Tensor weight, std::optional<Tensor> y, std::optional<double> negative_slope, bool tiles
) {
    grad = pixels(grad), y = in_format(y, MemoryFormat::ChannelsLast);
    const Tensor transformed = new_transformed(weight.size(0), weight.size(1), tiles);
    const Tensor grad_x = new_features(grad, weight.size(1), MemoryFormat::ChannelsLast);
    Conv3x3 p = convolution(grad, weight, std::nullopt, std::nullopt, tiles, transformed, grad_x, true);
    p.sign = pointer(y), p.slope = static_cast<float>(negative_slope.value_or(1.0));
    convolve(p);
    return grad_x;
}

// The gradients for weight and bias, in float32. At most 16 parts' sums are added afterwards; a part has 2048 pixels or
// more, since its sums have to be transformed, which should not show. Few parts are cut into blocks of 32 channels or more.
std::tuple<Tensor, Tensor> conv3x3_weight_gradient(
    Tensor grad, Tensor x, std::optional<Tensor> y, std::optional<double> negative_slope, bool tiles
) {
    grad = pixels(grad), x = pixels(x), y = in_format(y, MemoryFormat::ChannelsLast);
    Conv3x3Gradient p{};
    p.tiles = tiles;
    p.samples = x.size(0), p.height = x.size(2), p.width = x.size(3);
    p.channels = x.size(1), p.channels_out = grad.size(1);
    p.strips = strips_of(p.width);
    const int64_t most = p.samples * p.height * p.width / 2048;
    for (p.parts = 1; 2 * p.parts <= most && p.parts < 16;) p.parts *= 2; // As many for each of 2, 4, ... threads.
    for (p.blocks = 1; !tiles && p.blocks * p.parts < 4 && 64 * p.blocks <= p.channels;) p.blocks *= 2;
    const Tensor grad_weight = new_sums({p.parts, 3, 3, p.channels, p.channels_out});
    const Tensor grad_bias = new_sums({p.parts, p.channels_out});
    p.type = type_of(x);
    p.slope = static_cast<float>(negative_slope.value_or(1.0));
    p.x = x.const_data_ptr(), p.grad = grad.const_data_ptr(), p.sign = pointer(y);
    p.grad_weight = floats(grad_weight), p.grad_bias = floats(grad_bias);
    run(best_conv3x3_weight_gradient(), p, p.parts * p.blocks);
    // [3, 3, C, C_out] as [C_out, C, 3, 3].
    const Tensor sums = torch::stable::transpose(sum(grad_weight, 0), 0, 3);
    return {torch::stable::transpose(torch::stable::transpose(sums, 1, 2), 2, 3), sum(grad_bias, 0)};
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) {
    m.impl("conv3x3", TORCH_BOX(&conv3x3));
    m.impl("conv3x3_input_gradient", TORCH_BOX(&conv3x3_input_gradient));
    m.impl("conv3x3_weight_gradient", TORCH_BOX(&conv3x3_weight_gradient));
}

} // namespace dasr_fast

#endif
