// da_half_block: a DA convolution, LeakyReLU, a 3x3 convolution, then LeakyReLU or a sum, of channels-last features.
//
// The convolution takes its inputs from rows of the DA convolution that have just been computed: they never leave the
// second-level cache.
#include "da_conv.h"
#include "direct.h"
#include "instruction_set.h"
#include "winograd.h"

namespace dasr_fast {

struct DAHalfBlock {
    DAConv da_conv; // Its x, kernel, weight, bias, gate and slope.
    Conv3x3 convolution;
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

namespace dasr_fast {
namespace {

template <class T>
void run_items(const DAHalfBlock& p, int64_t begin, int64_t end) {
    const DAConv& da_conv = p.da_conv;
    const int64_t items = p.convolution.strips * p.convolution.bands; // Of a sample.
    Strip strip(p.convolution);
    const PixelsForward<T> forward(da_conv, WIDEST);
    for (int64_t item = begin; item < end;) {
        const Sample<T> sample(da_conv, item / items);
        for (const int64_t last = (sample.index + 1) * items; item < end && item < last; ++item)
            strip.run<T>(item, [&](int64_t row, int64_t column, int64_t columns, float* inputs) {
                forward.run(sample, Tile{row, 1, column, columns}, [&](int64_t pixel, int64_t c, Vector value) {
                    store(inputs + pixel * strip.channels() + c, leaky_relu(value, da_conv.slope));
                });
            }, [&](int64_t row, int64_t column, int64_t columns) {
                const int64_t start = (row + da_conv.size / 2) * da_conv.width + column;
                prefetch_range(sample.x, start * da_conv.channels, columns * da_conv.channels);
            });
    }
}

void run_items_in_tiles(const DAHalfBlock& p, int64_t begin, int64_t end) {
    const DAConv& da_conv = p.da_conv;
    const int64_t items = p.convolution.strips * p.convolution.bands; // Of a sample.
    Tiles tiles;
    DirectStrip strip(p.convolution);
    const PixelsForwardInTiles forward(da_conv, strip.widest());
    for (int64_t item = begin; item < end;) {
        const Sample<bfloat16> sample(da_conv, item / items);
        for (const int64_t last = (sample.index + 1) * items; item < end && item < last; ++item)
            strip.run(tiles, item, [&](int64_t row, int64_t column, int64_t columns, bfloat16* inputs) {
                const int64_t count = strip.channels();
                forward.run(tiles, sample, Tile{row, 1, column, columns}, [&](int64_t pixel, int64_t c, Vector value) {
                    store(inputs + pixel * count + c, leaky_relu(value, da_conv.slope), count - c);
                });
            });
    }
}

} // namespace

namespace DASR_FAST_KERNELS {

void da_half_block(const DAHalfBlock& p, int64_t begin, int64_t end) {
    if (p.convolution.tiles) return run_items_in_tiles(p, begin, end);
    with_type(p.da_conv.type, [&](auto element) { run_items<typename decltype(element)::type>(p, begin, end); });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "conv3x3_binding.h"

namespace dasr_fast {

DASR_FAST_BEST(da_half_block, DAHalfBlock)

Tensor da_half_block(
    Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> gate, Tensor conv_weight,
    std::optional<Tensor> conv_bias, std::optional<Tensor> residual, double negative_slope, bool activate,
    bool tiles
) {
    const MemoryFormat format = memory_format(x);
    x = pixels(x), kernel = torch::stable::contiguous(kernel), weight = torch::stable::contiguous(weight);
    bias = in_format(bias), gate = in_format(gate), conv_bias = in_format(conv_bias);
    residual = in_format(residual, MemoryFormat::ChannelsLast);
    const Tensor transformed = new_transformed(conv_weight.size(1), conv_weight.size(0), tiles);
    const Tensor y = new_features(x, conv_weight.size(0), MemoryFormat::ChannelsLast);
    DAHalfBlock p{};
    p.convolution = convolution(x, conv_weight, conv_bias, residual, tiles, transformed, y);
    p.convolution.activate = activate, p.convolution.slope = static_cast<float>(negative_slope);
    cut(p.convolution);
    DAConv& da_conv = p.da_conv;
    da_conv.channels = x.size(1), da_conv.channels_out = weight.size(0);
    da_conv.height = x.size(2), da_conv.width = x.size(3), da_conv.size = kernel.size(3);
    da_conv.channels_last = true, da_conv.type = type_of(x), da_conv.slope = static_cast<float>(negative_slope);
    da_conv.x = x.const_data_ptr(), da_conv.kernel = kernel.const_data_ptr(), da_conv.weight = weight.const_data_ptr();
    da_conv.bias = pointer(bias), da_conv.gate = pointer(gate);
    transform_weights(p.convolution);
    run(best_da_half_block(), p, p.convolution.samples * p.convolution.bands * p.convolution.strips);
    return in_memory_format(y, format);
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) { m.impl("da_half_block", TORCH_BOX(&da_half_block)); }

} // namespace dasr_fast

#endif
