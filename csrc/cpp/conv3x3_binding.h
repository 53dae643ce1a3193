// What the bindings of conv3x3 and da_half_block share: the convolution's problem, and how it is cut into items.
#pragma once

#include "binding.h"
#include "winograd.h"

namespace dasr_fast {

// Transforms the weights of a convolution.
void transform_weights(const Conv3x3& p);

// Memory for the transformed weights of a convolution.
inline Tensor new_transformed(int64_t channels, int64_t channels_out, bool tiles) {
    const int64_t lines = (channels_out + 15) / 16 * 16, depth = (channels + 31) / 32 * 32;
    return new_sums({tiles ? 9 * depth * lines / 2 : 36 * channels * lines});
}

// Features [B, C, H, W] channels-last, copied unless they are.
inline Tensor pixels(const Tensor& x) { return in_memory_format(x, MemoryFormat::ChannelsLast); }

// Features `x` and `y` are channels-last; weights are [C_out, C, 3, 3] of any strides, or `turned` ones [C, C_out, 3, 3].
inline Conv3x3 convolution(
    const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const std::optional<Tensor>& residual,
    bool tiles, const Tensor& transformed, const Tensor& y, bool turned = false
) {
    Conv3x3 p{};
    p.tiles = tiles;
    p.samples = x.size(0), p.height = x.size(2), p.width = x.size(3);
    p.channels = weight.size(turned ? 0 : 1), p.channels_out = weight.size(turned ? 1 : 0);
    const int64_t row = weight.stride(2), column = weight.stride(3);
    if (turned) p.steps = {2 * (row + column), weight.stride(1), weight.stride(0), -row, -column};
    else p.steps = {0, weight.stride(0), weight.stride(1), row, column};
    p.type = type_of(x);
    p.x = x.const_data_ptr(), p.weight = weight.const_data_ptr(), p.bias = pointer(bias), p.residual = pointer(residual);
    p.transformed = floats(transformed), p.y = y.mutable_data_ptr();
    return p;
}

// Strips as narrow as they must be, for Winograd's transforms.
inline int64_t strips_of(int64_t width) {
    const int64_t strips = (tiles_of(width) + TILES_TOGETHER - 1) / TILES_TOGETHER;
    return strips < 1 ? 1 : strips;
}

// Bands for a few items a thread: each band computes two rows of inputs anew.
inline void cut(Conv3x3& p) {
    const int64_t threads = torch::stable::get_num_threads();
    p.strips = p.tiles ? (p.width * p.channels + 65535) / 65536 : strips_of(p.width);
    if (p.strips < 1) p.strips = 1;
    const int64_t items = p.samples * p.strips, wanted = items > 0 ? (4 * threads + items - 1) / items : 1;
    const int64_t rows = tiles_of(p.height);
    p.bands = wanted < rows / 2 ? wanted : rows / 2;
    if (p.bands < 1) p.bands = 1;
}

} // namespace dasr_fast
