// The pieces of da_conv that its own file and da_half_block share: the problem, tiles, and the forward pass of a tile.
#pragma once

#include <cstdint>

#include "types.h"

namespace dasr_fast {

// An item is one of the `parts` of a sample's rows; of `da_conv_depthwise_backward` a plane.
struct DAConv {
    int64_t channels, channels_out, height, width, size, parts;
    bool channels_last, activate;
    bool tiles; // Products of bfloat16 features, which are channels-last, in tiles.
    Type type;
    float slope;
    const void *x, *kernel, *weight, *bias, *gate, *grad;
    const void* sign; // The output, whose sign is the last LeakyReLU's, or null.
    void *y, *grad_x;
    float* grad_filtered; // Of contiguous features: the gradient before the depthwise filter.
    float* grad_kernel; // As that of dynamic_depthwise_conv.
    float* grad_weight; // [B * parts, C_out, C]
    float* grad_bias; // [B * parts, C_out]
    float* grad_gate; // [B, parts, C] or null.
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "depthwise.h"
#include "product.h"
#include "tiles.h"

namespace dasr_fast {
namespace {

// Whole rows, or a piece of one: always pixels that follow each other.
struct Tile {
    int64_t row, rows, column, columns;
    int64_t pixels() const { return rows * columns; }
};

// The largest tile of at most `most` pixels, a number of whole vectors, of an image of some width.
Tile largest_tile(int64_t width, int64_t most) {
    if (width <= most) return {0, most / (width > 0 ? width : 1), 0, width};
    const int64_t pieces = (width + most - 1) / most;
    return {0, 1, 0, whole_vectors((width + pieces - 1) / pieces)};
}

// Cuts rows [first, last) into tiles of about `most` pixels and calls `function` with each.
template <class Function>
void for_tiles(int64_t first, int64_t last, int64_t width, int64_t most, const Function& function) {
    const Tile largest = largest_tile(width, most);
    const int64_t pieces = (last - first + largest.rows - 1) / largest.rows;
    for (int64_t piece = 0; piece < pieces; ++piece) {
        const int64_t row = first + (last - first) * piece / pieces;
        const int64_t rows = first + (last - first) * (piece + 1) / pieces - row;
        for (int64_t column = 0; column < width; column += largest.columns) {
            const int64_t left = width - column;
            function(Tile{row, rows, column, left < largest.columns ? left : largest.columns});
        }
    }
}

// Pixels of a tile: forward, the depthwise results lie in the second-level cache; backward, gradients too, but longer
// tiles spend less on adding up vectors.
constexpr int64_t FORWARD_TILE = 384, BACKWARD_TILE = 512;

// Floats from one channel of a tile to the next; an odd number of vectors, so that channels don't share cache sets.
constexpr int64_t tile_pitch(int64_t pixels) { return ((whole_vectors(pixels) / LANES + 1) | 1) * LANES; }

// Zeros if there are none.
template <class T>
void read_numbers(const T* from, int64_t count, float* numbers) {
    for (int64_t i = 0; i < count; ++i) numbers[i] = from ? number(from + i) : 0.0f;
}

// What the tiles of a sample share: its filters and gates, and the bias, all as floats.
template <class T>
struct Sample {
    const DAConv& p;
    int64_t channels, channels_out, size, index;
    const T* x;
    Scratch filters; // [C, k * k], or channels-last [k * k, whole_vectors(C)]
    Scratch gate, bias;

    Sample(const DAConv& p, int64_t index)
        : p(p), channels(p.channels), channels_out(p.channels_out), size(p.size), index(index),
          x((const T*)p.x + index * channels * p.height * p.width), filters(size * size * whole_vectors(channels)),
          gate(whole_vectors(channels)), bias(whole_vectors(channels_out)) {
        const T* kernel = (const T*)p.kernel + index * channels * size * size;
        // Lanes without a channel meet weights of 0 in products: they must not be NaN.
        std::memset((void*)gate.data(), 0, whole_vectors(channels) * sizeof(float));
        std::memset((void*)bias.data(), 0, whole_vectors(channels_out) * sizeof(float));
        if (p.channels_last)
            turn_weights(kernel, channels, size * size, filters.data());
        else
            read_numbers(kernel, channels * size * size, filters.data());
        read_numbers(p.gate ? (const T*)p.gate + index * channels : nullptr, channels, gate.data());
        read_numbers((const T*)p.bias, channels_out, bias.data());
    }

    int64_t padded_size(const Tile& largest) const {
        return (largest.rows + size - 1) * padded_pitch(largest.columns);
    }

    // The depthwise results after LeakyReLU: `[C][pitch]` with pixels along the row.
    void filter_contiguous(const Tile& tile, int64_t pitch, float* padded, float* filtered) const {
        with_size(size, [&](auto k) {
            constexpr int K = decltype(k)::value;
            for (int64_t c = 0; c < channels; ++c) {
                const T* plane = x + c * p.height * p.width;
                float* out = filtered + c * pitch;
                pad([&](int64_t offset, int64_t count) { return load(plane + offset, count); }, p.height, p.width,
                    tile.row - K / 2, tile.rows + K - 1, tile.column, tile.columns, K / 2, padded);
                filter<K>(padded, filters.data() + c * K * K, tile.rows, tile.columns,
                    [&](int64_t row, int64_t column, Vector value) {
                        store(out + row * tile.columns + column, leaky_relu(value, p.slope), tile.columns - column);
                    });
                store(out + tile.pixels(), Vector{});
            }
        });
    }

    // The same as `[pixels][pitch]`.
    template <class To>
    void filter_channels_last(const Tile& tile, int64_t pitch, To* filtered) const {
        with_size(size, [&](auto k) {
            constexpr int K = decltype(k)::value;
            filter_rows_channels_last<K>(
                [&](int64_t offset, int64_t count) { return load(x + offset, count); }, p.height, p.width, channels,
                tile.row, tile.row + tile.rows, tile.column, tile.columns, filters.data(),
                [&](int64_t row, int64_t column, int64_t c, Vector value) {
                    const int64_t pixel = (row - tile.row) * tile.columns + column - tile.column;
                    store(filtered + pixel * pitch + c, leaky_relu(value, p.slope), pitch - c);
                });
        });
    }
};

// Both branches for tiles of channels-last features.
template <class T>
class PixelsForward {
public:
    PixelsForward(const DAConv& p, int64_t most_pixels)
        : p_(p), pitch_(whole_vectors(p.channels)), pitch_out_(whole_vectors(p.channels_out)),
          filtered_((most_pixels + ROWS) * pitch_), weight_(p.channels * pitch_out_) {
        std::memset((void*)weight_.data(), 0, p.channels * pitch_out_ * sizeof(float));
        for (int64_t c = 0; c < p.channels; ++c)
            for (int64_t o = 0; o < p.channels_out; ++o)
                weight_.data()[c * pitch_out_ + o] = number((const T*)p.weight + o * p.channels + c);
    }

    // `emit(pixel, channel, value)` takes a vector of results, before the last activation.
    template <class Emit>
    void run(const Sample<T>& sample, const Tile& tile, const Emit& emit) const {
        const float *gate = sample.gate.data(), *bias = sample.bias.data();
        sample.filter_channels_last(tile, pitch_, filtered_.data());
        fill_block(filtered_.data(), tile.pixels(), pitch_);
        const T* x = sample.x + (tile.row * p_.width + tile.column) * p_.channels;
        const Left left{filtered_.data(), ROWS * pitch_, pitch_, 1};
        multiply(left, tile.pixels(), weight_.data(), pitch_out_, p_.channels_out, p_.channels,
            [&](int64_t pixel, int64_t o, Vector value) {
                value += load(bias + o);
                if (p_.gate) value += load(x + pixel * p_.channels + o, p_.channels - o) * load(gate + o);
                emit(pixel, o, value);
            });
    }

private:
    const DAConv& p_;
    int64_t pitch_, pitch_out_;
    Scratch filtered_, weight_;
};

// The same for bfloat16, with the pointwise product in tiles.
class PixelsForwardInTiles {
public:
    PixelsForwardInTiles(const DAConv& p, int64_t most_pixels)
        : p_(p), depth_(whole_depths(p.channels)), filtered_((most_pixels + BLOCK) * depth_ / 2),
          weight_(whole_tiles(p.channels_out) * TILE_COLUMNS * depth_ / 2), offsets_(depth_ / TILE_DEPTH * 2) {
        std::memset((void*)filtered_.data(), 0, (most_pixels + BLOCK) * depth_ * sizeof(bfloat16));
        pack_strided((const bfloat16*)p.weight, 1, p.channels, p.channels, p.channels_out, depth_ * TILE_COLUMNS,
            (bfloat16*)weight_.data());
        for (int64_t step = 0; step < depth_ / TILE_DEPTH; ++step) offsets()[step] = 64 * step;
    }

    template <class Emit>
    void run(Tiles& tiles, const Sample<bfloat16>& sample, const Tile& tile, const Emit& emit) const {
        alignas(64) float sums[BLOCK * TILE_COLUMNS];
        bfloat16* filtered = (bfloat16*)filtered_.data();
        sample.filter_channels_last(tile, depth_, filtered);
        const bfloat16* x = sample.x + (tile.row * p_.width + tile.column) * p_.channels;
        for (int64_t first = 0; first < tile.pixels(); first += BLOCK) {
            const int64_t count = tile.pixels() - first < BLOCK ? tile.pixels() - first : BLOCK;
            const bfloat16* right = (const bfloat16*)weight_.data();
            for (int64_t o = 0; o < p_.channels_out; o += TILE_COLUMNS, right += TILE_COLUMNS * depth_) {
                multiply_rows(tiles, count, filtered + first * depth_, offsets(), depth_ * sizeof(bfloat16), right,
                    depth_ / TILE_DEPTH, sums);
                for (int64_t c = o; c < o + TILE_COLUMNS && c < p_.channels_out; c += LANES) {
                    const Vector bias = load(sample.bias.data() + c);
                    const Vector gate = p_.gate ? load(sample.gate.data() + c) : Vector{};
                    const bfloat16* in = x + first * p_.channels + c;
                    for (int64_t i = 0; i < count; ++i, in += p_.channels) {
                        Vector value = load(sums + i * TILE_COLUMNS + c - o) + bias;
                        if (p_.gate) value += load(in, p_.channels - c) * gate;
                        emit(first + i, c, value);
                    }
                }
            }
        }
    }

private:
    int64_t* offsets() const { return (int64_t*)offsets_.data(); }

    const DAConv& p_;
    int64_t depth_;
    Scratch filtered_; // [pixels][depth_] in bfloat16
    Scratch weight_, offsets_;
};

} // namespace
} // namespace dasr_fast

#endif
