// Tiles of da_half_block, and where a block has everything in shared memory.
//
// Matrices there, of pixels or of weights, have rows of 64 channels and lie in eight planes: plane i has channels 8 i to
// 8 i + 7 of each row, 16 bytes a row. From one plane to the next it is an odd number of rows, so that neither eight
// neighbouring rows of a plane nor the eight planes of a row share banks.
#pragma once

#include "device.h"

namespace dasr_fast {

// Features are [B, H, W, 64] in memory, aligned to 16 bytes; what may be null is zero.
template <typename T>
struct HalfBlock {
    const T* x;
    const T* kernel;       // [B, 64, 3, 3].
    const T* weight;       // [64, 64], aligned to 16 bytes.
    const T* bias;         // [64] or null.
    const T* gate;         // [B, 64] or null.
    const T* conv_weight;  // [64, 3, 3, 64]: output channel, row, column, input channel; aligned to 16 bytes.
    const T* conv_bias;    // [64] or null.
    const T* residual;     // As y, or null.
    T* y;
    std::int64_t batch;
    int height, width;
    float negative_slope;
    bool activate;
};

namespace half_block {

constexpr int CHANNELS = 64, PLANES = 8, ROW_BYTES = 16, TAPS = 9;
constexpr int COLUMNS = 16, MIDDLE_COLUMNS = COLUMNS + 2, INPUT_COLUMNS = COLUMNS + 4;
constexpr int CONVOLVING = 4 * WARP;

// Bytes from one plane of a matrix of so many rows to the next.
constexpr int pitch_of(int rows) { return (rows / 2 * 2 + 1) * ROW_BYTES; }

constexpr int WEIGHT_PITCH = pitch_of(CHANNELS);              // A row for each output channel,
constexpr int CONV_WEIGHT_PITCH = pitch_of(TAPS * CHANNELS);  // and of each tap.

// Sizes of a tile of ROWS rows, threads of its block, and where everything is in shared memory, in bytes.
template <int ROWS>
struct Plan {
    static constexpr int MIDDLE_ROWS = ROWS + 2, INPUT_ROWS = ROWS + 4;
    static constexpr int PREPARING = MIDDLE_ROWS / 2 * WARP, THREADS = CONVOLVING + PREPARING;
    static constexpr int INPUT_PITCH = pitch_of(INPUT_ROWS * INPUT_COLUMNS);
    static constexpr int MIDDLE_PITCH = pitch_of(MIDDLE_ROWS * MIDDLE_COLUMNS);
    static constexpr int INPUT_BYTES = PLANES * INPUT_PITCH, MIDDLE_BYTES = PLANES * MIDDLE_PITCH;
    static constexpr int BIAS_BYTES = CHANNELS * 2;
    static constexpr int SAMPLE_BYTES = (TAPS + 1) * BIAS_BYTES;  // Filters [3, 3, 64] and the gate of a sample.
    static constexpr int CONV_WEIGHT = 0;
    static constexpr int WEIGHT = CONV_WEIGHT + PLANES * CONV_WEIGHT_PITCH;
    static constexpr int INPUT = WEIGHT + PLANES * WEIGHT_PITCH;
    static constexpr int MIDDLE = INPUT + 2 * INPUT_BYTES;
    static constexpr int SAMPLE = MIDDLE + 2 * MIDDLE_BYTES;
    static constexpr int BIAS = SAMPLE + 2 * SAMPLE_BYTES;
    static constexpr int CONV_BIAS = BIAS + BIAS_BYTES;
    static constexpr int BYTES = CONV_BIAS + BIAS_BYTES;
};

// A tile by its first output pixel.
struct Tile {
    std::int64_t sample;
    int row, column;
};

template <int ROWS>
__device__ __forceinline__ Tile tile_of(int index, int height, int width) {
    const int across = ceil_divide(width, COLUMNS), down = ceil_divide(height, ROWS), strip = index / across;
    return {strip / down, strip % down * ROWS, index % across * COLUMNS};
}

__device__ __forceinline__ float leaky_relu(float value, float slope) { return value > 0 ? value : value * slope; }

template <typename T>
__device__ __forceinline__ T or_zero(const T* pointer, std::int64_t index) {
    return pointer == nullptr ? from_float<T>(0) : pointer[index];
}

}  // namespace half_block
}  // namespace dasr_fast
