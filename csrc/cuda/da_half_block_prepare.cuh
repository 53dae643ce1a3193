// The first half of da_half_block: a tile's input is copied, filtered in float32 and multiplied by the 1x1 weights.
#pragma once

#include "da_half_block_tile.cuh"

namespace dasr_fast {
namespace half_block {

// Starts to copy a tile's input, zeros outside the image; `thread` is one of the preparing.
template <int ROWS, typename T>
__device__ __forceinline__ void copy_input(const HalfBlock<T>& block, const Tile& tile, unsigned char* input,
                                           int thread) {
    const T* image = block.x + tile.sample * block.height * block.width * CHANNELS;
#pragma unroll 1
    for (int i = thread; i < Plan<ROWS>::INPUT_ROWS * INPUT_COLUMNS * PLANES; i += Plan<ROWS>::PREPARING) {
        const int plane = i % PLANES, pixel = i / PLANES, row = pixel / INPUT_COLUMNS, column = pixel % INPUT_COLUMNS;
        const int h = tile.row + row - 2, w = tile.column + column - 2;
        const bool inside = 0 <= h && h < block.height && 0 <= w && w < block.width;
        const T* source = inside ? image + (std::int64_t(h) * block.width + w) * CHANNELS + plane * 8 : image;
        copy_async_16(input + plane * Plan<ROWS>::INPUT_PITCH + pixel * ROW_BYTES, source, inside);
    }
}

// Starts to copy 64 rows of weights; row r comes from `source + r * stride`.
template <typename T>
__device__ __forceinline__ void copy_weights(const T* source, int stride, unsigned char* weights, int pitch, int thread,
                                             int threads) {
    for (int i = thread; i < CHANNELS * PLANES; i += threads) {
        const int row = i / PLANES, plane = i % PLANES;
        copy_async_16(weights + plane * pitch + row * ROW_BYTES, source + row * stride + plane * 8, true);
    }
}

// A sample's filters and gate on their way to shared memory, in the registers of THREADS threads.
template <int THREADS, typename T>
struct SampleValues {
    static constexpr int ELEMENTS = CHANNELS * TAPS, EACH = ceil_divide(ELEMENTS, THREADS);
    static_assert(THREADS >= CHANNELS);
    T filters[EACH], gate;

    __device__ __forceinline__ void load(const HalfBlock<T>& block, std::int64_t sample, int thread) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int element = i * THREADS + thread;
            if (element < ELEMENTS) filters[i] = block.kernel[sample * ELEMENTS + element];
        }
        gate = thread < CHANNELS ? or_zero(block.gate, sample * CHANNELS + thread) : from_float<T>(0);
    }

    __device__ __forceinline__ void store(T* values, int thread) const {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int element = i * THREADS + thread;
            if (element < ELEMENTS) values[element % TAPS * CHANNELS + element / TAPS] = filters[i];
        }
        if (thread < CHANNELS) values[TAPS * CHANNELS + thread] = gate;
    }
};

// Filters, activates and rounds two rows of the middle; a lane takes eight channels of half a row.
template <int ROWS, typename T>
__device__ __forceinline__ void filter(const HalfBlock<T>& block, const unsigned char* input, const T* sample,
                                       unsigned char* middle, int first_row, int lane) {
    constexpr int RUN = MIDDLE_COLUMNS / 2;
    const int plane = lane % PLANES, row = first_row + lane / 16, first = lane / 8 % 2 * RUN;
    const unsigned char* from = input + plane * Plan<ROWS>::INPUT_PITCH + (row * INPUT_COLUMNS + first) * ROW_BYTES;
    unsigned char* to = middle + plane * Plan<ROWS>::MIDDLE_PITCH + (row * MIDDLE_COLUMNS + first) * ROW_BYTES;
    float sums[RUN][8] = {};
#pragma unroll 1
    for (int j = 0; j < 3; ++j) {
        float taps[3][8];
#pragma unroll
        for (int i = 0; i < 3; ++i) {
            const auto values = load_16(sample + (j * 3 + i) * CHANNELS + plane * 8);
#pragma unroll
            for (int c = 0; c < 8; ++c) taps[i][c] = to_float(values.values[c]);
        }
#pragma unroll
        for (int column = 0; column < RUN + 2; ++column) {
            const int offset = (j * INPUT_COLUMNS + column) * ROW_BYTES;
            const auto values = load_16(reinterpret_cast<const T*>(from + offset));
#pragma unroll
            for (int c = 0; c < 8; ++c) {
                const float value = to_float(values.values[c]);
#pragma unroll
                for (int i = 0; i < 3; ++i) {
                    if (0 <= column - i && column - i < RUN) sums[column - i][c] += value * taps[i][c];
                }
            }
        }
    }
#pragma unroll
    for (int column = 0; column < RUN; ++column) {
        Vector<std::uint32_t, 4> result;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            result.values[c] = pack<T>(leaky_relu(sums[column][2 * c], block.negative_slope),
                                       leaky_relu(sums[column][2 * c + 1], block.negative_slope));
        }
        *reinterpret_cast<Vector<std::uint32_t, 4>*>(to + column * ROW_BYTES) = result;
    }
}

// Multiplies two filtered rows by the 1x1 weights, adds bias and gated input, activates; in place.
template <int ROWS, typename T>
__device__ __forceinline__ void multiply(const HalfBlock<T>& block, const Tile& tile, const unsigned char* input,
                                         const unsigned char* weight, const T* bias, const T* gate,
                                         unsigned char* middle, int first_row, int lane) {
    constexpr int PIXELS = 2 * MIDDLE_COLUMNS, MATRICES = ceil_divide(PIXELS, 16);
    constexpr int PITCH = Plan<ROWS>::MIDDLE_PITCH;
    unsigned char* rows = middle + first_row * MIDDLE_COLUMNS * ROW_BYTES;
    std::uint32_t a[MATRICES][4][4];
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) {
        const int pixel = minimum(m * 16 + lane % 16, PIXELS - 1);
#pragma unroll
        for (int k = 0; k < 4; ++k) load_matrix_x4(a[m][k], rows + (2 * k + lane / 16) * PITCH + pixel * ROW_BYTES);
    }
    __syncwarp();
    weight += lane / 8 % 2 * WEIGHT_PITCH + (lane / 16 * 8 + lane % 8) * ROW_BYTES;
#pragma unroll 1
    for (int first_channel = 0; first_channel < CHANNELS; first_channel += 16) {
        float sums[MATRICES][2][4] = {};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            std::uint32_t b[4];
            load_matrix_x4(b, weight + 2 * k * WEIGHT_PITCH + first_channel * ROW_BYTES);
            const std::uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
            for (int m = 0; m < MATRICES; ++m) {
                multiply_16x8x16<T>(sums[m][0], a[m][k], low);
                multiply_16x8x16<T>(sums[m][1], a[m][k], high);
            }
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const int plane = first_channel / 8 + n, channel = plane * 8 + lane % 4 * 2;
            const auto biases = *reinterpret_cast<const Vector<T, 2>*>(bias + channel);
            const auto gates = *reinterpret_cast<const Vector<T, 2>*>(gate + channel);
#pragma unroll
            for (int i = 0; i < 2 * MATRICES; ++i) {
                const int pixel = i * 8 + lane / 4;
                if (pixel >= PIXELS) continue;
                const int row = first_row + pixel / MIDDLE_COLUMNS, column = pixel % MIDDLE_COLUMNS;
                const int h = tile.row + row - 1, w = tile.column + column - 1;
                // Zeros beside the image are the padding of the 3x3 convolution.
                const bool inside = 0 <= h && h < block.height && 0 <= w && w < block.width;
                const int from = plane * Plan<ROWS>::INPUT_PITCH +
                                 ((row + 1) * INPUT_COLUMNS + column + 1) * ROW_BYTES + lane % 4 * 4;
                const int to = plane * PITCH + pixel * ROW_BYTES + lane % 4 * 4;
                const auto x = *reinterpret_cast<const Vector<T, 2>*>(input + from);
                float results[2];
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    const float sum = sums[i / 2][n][i % 2 * 2 + j] + to_float(biases.values[j]);
                    const float result = sum + to_float(x.values[j]) * to_float(gates.values[j]);
                    results[j] = inside ? leaky_relu(result, block.negative_slope) : 0.0f;
                }
                *reinterpret_cast<std::uint32_t*>(rows + to) = pack<T>(results[0], results[1]);
            }
        }
    }
}

}  // namespace half_block
}  // namespace dasr_fast
