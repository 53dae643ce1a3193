// The second half of da_half_block: the 3x3 convolution of a tile, with mma.sync.
#pragma once

#include <cstring>

#include "da_half_block_tile.cuh"

namespace dasr_fast {
namespace half_block {

__device__ __forceinline__ std::uint32_t exchange(std::uint32_t word, int mask) {
    float value;
    std::memcpy(&value, &word, sizeof value);
    value = shuffle_xor(value, mask);
    std::memcpy(&word, &value, sizeof word);
    return word;
}

// Lanes that differ in the bit `mask` exchange `first` of the upper one and `second` of the lower one.
__device__ __forceinline__ void swap(std::uint32_t& first, std::uint32_t& second, int lane, int mask) {
    const bool upper = (lane & mask) != 0;
    const std::uint32_t received = exchange(upper ? first : second, mask);
    first = upper ? received : first;
    second = upper ? second : received;
}

// Of four neighbouring lanes, lane i gets word i of each: fragments become 16 bytes side by side, and the reverse.
__device__ __forceinline__ void transpose(std::uint32_t (&words)[4], int lane) {
    swap(words[0], words[1], lane, 1);
    swap(words[2], words[3], lane, 1);
    swap(words[0], words[2], lane, 2);
    swap(words[1], words[3], lane, 2);
}

// Convolves the middle of a tile and writes the result; a warp takes half the rows and half the output channels.
template <int ROWS, typename T>
__device__ __forceinline__ void convolve(const HalfBlock<T>& block, int index, const unsigned char* middle,
                                         const unsigned char* conv_weight, const T* conv_bias, int warp, int lane) {
    constexpr int RUN = ROWS / 2;
    const int first_row = warp / 2 * RUN, first_channel = warp % 2 * 32;
    float sums[RUN][4][4] = {};
    constexpr int PITCH = Plan<ROWS>::MIDDLE_PITCH;
    const unsigned char* rows = middle + lane / 16 * PITCH + (first_row * MIDDLE_COLUMNS + lane % 16) * ROW_BYTES;
    const unsigned char* weights = conv_weight + lane / 8 % 2 * CONV_WEIGHT_PITCH +
                                   (first_channel + lane / 16 * 8 + lane % 8) * ROW_BYTES;
    // A step is a column of taps and 16 input channels. Each row of the middle is loaded once a step, for the three
    // rows of results that it takes part in; what the next step needs is loaded as soon as its registers are free.
    std::uint32_t a[2][4], b[3][2][4];
    int from = 0, weights_from = 0;
    const auto go_to = [&](int step) {
        from = step % 4 * 2 * PITCH + step / 4 * ROW_BYTES;
        weights_from = step % 4 * 2 * CONV_WEIGHT_PITCH + step / 4 * CHANNELS * ROW_BYTES;
    };
    const auto load_row = [&](int row) {
        load_matrix_x4(a[row % 2], rows + row * MIDDLE_COLUMNS * ROW_BYTES + from);
    };
    const auto load_taps = [&](int j) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            load_matrix_x4(b[j][n], weights + (j * 3 * CHANNELS + n * 16) * ROW_BYTES + weights_from);
        }
    };
    go_to(0);
    load_row(0);
#pragma unroll
    for (int j = 0; j < 3; ++j) load_taps(j);
#pragma unroll 1
    for (int step = 0; step < 12; ++step) {
#pragma unroll
        for (int row = 0; row < RUN + 2; ++row) {
            if (row + 1 < RUN + 2) load_row(row + 1);
            if (row == RUN) go_to(step + 1 < 12 ? step + 1 : 0);
#pragma unroll
            for (int j = 0; j < 3; ++j) {
                if (row - j < 0 || row - j >= RUN) continue;
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    const std::uint32_t low[2] = {b[j][n][0], b[j][n][1]}, high[2] = {b[j][n][2], b[j][n][3]};
                    multiply_16x8x16<T>(sums[row - j][2 * n], a[row % 2], low);
                    multiply_16x8x16<T>(sums[row - j][2 * n + 1], a[row % 2], high);
                }
            }
            if (row >= RUN) load_taps(row - RUN);
        }
        load_row(0);
        load_taps(2);
    }
    float biases[4][2];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) biases[n][i] = to_float(conv_bias[first_channel + n * 8 + lane % 4 * 2 + i]);
    }
    // A part is eight pixels, half a row. Residuals are read AHEAD parts before they are needed.
    constexpr int PARTS = 2 * RUN, AHEAD = minimum(4, PARTS);
    const Tile tile = tile_of<ROWS>(index, block.height, block.width);
    const int h = tile.row + first_row, w = tile.column + lane / 4;
    const std::int64_t first = ((tile.sample * block.height + h) * block.width + w) * CHANNELS + first_channel;
    const T* residuals = block.residual == nullptr ? nullptr : block.residual + first + lane % 4 * 8;
    T* results = block.y + first + lane % 4 * 8;
    const auto is_inside = [&](int part) { return h + part / 2 < block.height && w + part % 2 * 8 < block.width; };
    const auto offset = [&](int part) { return (part / 2 * block.width + part % 2 * 8) * CHANNELS; };
    Vector<std::uint32_t, 4> residual[PARTS]{};
    const auto load = [&](int part) {
        if (part >= PARTS || residuals == nullptr || !is_inside(part)) return;
        residual[part] = *reinterpret_cast<const Vector<std::uint32_t, 4>*>(residuals + offset(part));
    };
#pragma unroll
    for (int part = 0; part < AHEAD; ++part) load(part);
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        load(part + AHEAD);
        Vector<std::uint32_t, 4> result;
        if (residuals != nullptr) transpose(residual[part].values, lane);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
            Vector<T, 2> added;
            std::memcpy(&added, &residual[part].values[n], sizeof added);
            float values[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                values[i] = sums[part / 2][n][2 * (part % 2) + i] + biases[n][i];
                if (block.activate) values[i] = leaky_relu(values[i], block.negative_slope);
                values[i] += to_float(added.values[i]);
            }
            result.values[n] = pack<T>(values[0], values[1]);
        }
        transpose(result.values, lane);
        if (is_inside(part)) *reinterpret_cast<Vector<std::uint32_t, 4>*>(results + offset(part)) = result;
    }
}

}  // namespace half_block
}  // namespace dasr_fast
