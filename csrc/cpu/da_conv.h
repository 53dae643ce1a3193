// The pieces of da_conv that its own file and da_half_block share: the problem, tiles, and the forward pass of a tile.
#pragma once

#include <cstdint>

#include "types.h"

namespace dasr_fast {

// An item is one of the `parts` of a sample's rows; of `da_conv_depthwise_backward` a plane.
struct DAConv {
    int64_t channels, channels_out, height, width, size, parts;
    bool channels_last, activate;
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

    // The same as `[pixels][whole_vectors(C)]`.
    void filter_channels_last(const Tile& tile, float* filtered) const {
        const int64_t pitch = whole_vectors(channels);
        with_size(size, [&](auto k) {
            constexpr int K = decltype(k)::value;
            filter_rows_channels_last<K>(
                [&](int64_t offset, int64_t count) { return load(x + offset, count); }, p.height, p.width, channels,
                tile.row, tile.row + tile.rows, tile.column, tile.columns, filters.data(),
                [&](int64_t row, int64_t column, int64_t c, Vector value) {
                    const int64_t pixel = (row - tile.row) * tile.columns + column - tile.column;
                    store(filtered + pixel * pitch + c, leaky_relu(value, p.slope));
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
        for (int64_t c = 0; c < p.channels; ++c)
            for (int64_t o = 0; o < p.channels_out; ++o)
                weight_.data()[c * pitch_out_ + o] = number((const T*)p.weight + o * p.channels + c);
    }

    // `emit(pixel, channel, value)` takes a vector of results, before the last activation.
    template <class Emit>
    void run(const Sample<T>& sample, const Tile& tile, const Emit& emit) const {
        const float *gate = sample.gate.data(), *bias = sample.bias.data();
        sample.filter_channels_last(tile, filtered_.data());
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

} // namespace
} // namespace dasr_fast

#endif
