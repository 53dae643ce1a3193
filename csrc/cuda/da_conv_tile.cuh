// A block's tile of pixels for da_conv: its input into shared memory, its filtered input, its result out of there.
//
// In shared memory a pixel's channels are neighbours, CHUNK at a time, in both layouts, with zeros where there are no
// more pixels or channels. A pixel is followed by 16 unused bytes, so that neighbours are read from different banks.
//
// VECTORS: all features are channels-last and they and the weights are read and written 16 bytes at a time.
#pragma once

#include "dense_features.h"
#include "device.h"

namespace dasr_fast {
namespace da {

constexpr int THREADS = 256;

template <typename T, int K>
struct Sizes {
    static constexpr int ROWS = sizeof(T) == 2 ? 8 : 4, COLUMNS = 16, PIXELS = ROWS * COLUMNS;
    static constexpr int INPUT_COLUMNS = COLUMNS + K - 1, INPUT_PIXELS = (ROWS + K - 1) * INPUT_COLUMNS;
    static constexpr int VECTOR = 16 / sizeof(T);  // Numbers in 16 bytes.
    static constexpr int CHUNK = 8 * VECTOR, PITCH = CHUNK + VECTOR;
    static constexpr int TAPS = K * K * CHUNK;
};

// A tile by its first pixel.
struct Tile {
    std::int64_t sample;
    int row, column;
};

template <typename T, int K>
__host__ __device__ inline int tiles_of(const Features& features) {
    using S = Sizes<T, K>;
    return ceil_divide(features.height, S::ROWS) * ceil_divide(features.width, S::COLUMNS);
}

template <typename T, int K>
__device__ __forceinline__ Tile tile_of(const Features& features, std::int64_t sample, int index) {
    using S = Sizes<T, K>;
    const int across = ceil_divide(features.width, S::COLUMNS);
    return {sample, index / across * S::ROWS, index % across * S::COLUMNS};
}

__device__ __forceinline__ float leaky_relu(float value, float slope) { return value > 0 ? value : value * slope; }

__device__ __forceinline__ bool inside(const Features& features, int h, int w) {
    return 0 <= h && h < features.height && 0 <= w && w < features.width;
}

// Index of an element of features; `h` and `w` must be inside.
__device__ __forceinline__ std::int64_t index_of(const Features& features, std::int64_t sample, int channel, int h,
                                                 int w) {
    if (features.channels_last) {
        return ((sample * features.height + h) * features.width + w) * features.channels + channel;
    }
    return ((sample * features.channels + channel) * features.height + h) * features.width + w;
}

// Whether vectors of 16 bytes along the contiguous axis of features are aligned.
template <typename T, typename... Pointers>
bool aligned_vectors(const Features& features, const Pointers*... pointers) {
    const int axis = features.channels_last ? features.channels : features.width;
    return axis % int(16 / sizeof(T)) == 0 && aligned_to(16, pointers...);
}

// Copies the tile and K / 2 pixels around it, channels from `first`; complete after waiting for asynchronous copies and
// for the block.
template <bool VECTORS, typename T, int K>
__device__ __forceinline__ void load_input(const T* x, const Features& features, const Tile& tile, int first,
                                           T* input) {
    using S = Sizes<T, K>;
    const auto row = [&](int pixel) { return tile.row + pixel / S::INPUT_COLUMNS - K / 2; };
    const auto column = [&](int pixel) { return tile.column + pixel % S::INPUT_COLUMNS - K / 2; };
    if constexpr (VECTORS) {
#pragma unroll 1
        for (int i = threadIdx.x; i < S::INPUT_PIXELS * 8; i += THREADS) {
            const int pixel = i / 8, channel = first + i % 8 * S::VECTOR, h = row(pixel), w = column(pixel);
            const bool valid = inside(features, h, w) && channel < features.channels;
            const T* source = valid ? x + index_of(features, tile.sample, channel, h, w) : x;
            copy_async_16(input + pixel * S::PITCH + i % 8 * S::VECTOR, source, valid);
        }
    } else {
        for (int i = threadIdx.x; i < S::INPUT_PIXELS * S::CHUNK / 2; i += THREADS) {
            const int pixel = features.channels_last ? i / (S::CHUNK / 2) : i % S::INPUT_PIXELS;
            const int pair = features.channels_last ? i % (S::CHUNK / 2) : i / S::INPUT_PIXELS;
            const int channel = first + 2 * pair, h = row(pixel), w = column(pixel);
            Vector<T, 2> values{};
            if (inside(features, h, w)) {
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    if (channel + n < features.channels) {
                        values.values[n] = x[index_of(features, tile.sample, channel + n, h, w)];
                    }
                }
            }
            *reinterpret_cast<Vector<T, 2>*>(input + pixel * S::PITCH + 2 * pair) = values;
        }
    }
}

// Copies the filters of channels from `first`, [K, K, CHUNK], complete after waiting for the block.
template <typename T, int K>
__device__ __forceinline__ void load_taps(const T* kernel, const Features& features, std::int64_t sample, int first,
                                          T* taps) {
    using S = Sizes<T, K>;
    kernel += (sample * features.channels + first) * (K * K);
    for (int i = threadIdx.x; i < S::TAPS; i += THREADS) {
        const int channel = i / (K * K);
        taps[i % (K * K) * S::CHUNK + channel] = first + channel < features.channels ? kernel[i] : from_float<T>(0);
    }
}

// Copies CHUNK numbers from `first`, one a channel; zeros where there are no more, and if `values` is null.
template <typename T, int K>
__device__ __forceinline__ void load_channels(const T* values, int channels, int first, T* result) {
    const int channel = first + int(threadIdx.x);
    if (threadIdx.x >= Sizes<T, K>::CHUNK) return;
    result[threadIdx.x] = values != nullptr && channel < channels ? values[channel] : from_float<T>(0);
}

// Copies weights [rows, columns] of a matrix from row `first_row` and column `first_column`, CHUNK of each; complete
// after waiting for asynchronous copies and for the block.
template <bool VECTORS, typename T, int K>
__device__ __forceinline__ void load_weights(const T* weight, int rows, int columns, int first_row, int first_column,
                                             T* weights) {
    using S = Sizes<T, K>;
    if constexpr (VECTORS) {
#pragma unroll 1
        for (int i = threadIdx.x; i < S::CHUNK * 8; i += THREADS) {
            const int row = first_row + i / 8, column = first_column + i % 8 * S::VECTOR;
            const bool valid = row < rows && column < columns;
            const T* source = valid ? weight + std::int64_t(row) * columns + column : weight;
            copy_async_16(weights + i / 8 * S::PITCH + i % 8 * S::VECTOR, source, valid);
        }
    } else {
#pragma unroll 1
        for (int i = threadIdx.x; i < S::CHUNK * S::CHUNK; i += THREADS) {
            const int row = first_row + i / S::CHUNK, column = first_column + i % S::CHUNK;
            weights[i / S::CHUNK * S::PITCH + i % S::CHUNK] =
                row < rows && column < columns ? weight[std::int64_t(row) * columns + column] : from_float<T>(0);
        }
    }
}

// The activated result of the depthwise convolution, rounded, into `filtered`, whose pixels are `pitch` apart. A thread
// takes VECTOR channels of a few pixels below each other.
template <typename T, int K>
__device__ __forceinline__ void filter(const T* input, const T* taps, float slope, T* filtered, int pitch) {
    using S = Sizes<T, K>;
    constexpr int V = S::VECTOR, RUN = S::PIXELS * 8 / THREADS;
    const int channel = threadIdx.x % 8 * V, column = threadIdx.x / 8 % S::COLUMNS;
    const int first = threadIdx.x / 8 / S::COLUMNS * RUN;
    input += (first * S::INPUT_COLUMNS + column) * S::PITCH + channel;
    taps += channel;
    float sums[RUN][V] = {};
#pragma unroll 1
    for (int i = 0; i < K; ++i) {
        float tap[K][V];
#pragma unroll
        for (int j = 0; j < K; ++j) {
            const auto values = load_16(taps + (j * K + i) * S::CHUNK);
#pragma unroll
            for (int n = 0; n < V; ++n) tap[j][n] = to_float(values.values[n]);
        }
#pragma unroll
        for (int row = 0; row < RUN + K - 1; ++row) {
            const auto values = load_16(input + (row * S::INPUT_COLUMNS + i) * S::PITCH);
#pragma unroll
            for (int n = 0; n < V; ++n) {
                const float value = to_float(values.values[n]);
#pragma unroll
                for (int j = 0; j < K; ++j) {
                    if (0 <= row - j && row - j < RUN) sums[row - j][n] += value * tap[j][n];
                }
            }
        }
    }
#pragma unroll
    for (int row = 0; row < RUN; ++row) {
        Vector<T, V> result;
#pragma unroll
        for (int n = 0; n < V; ++n) result.values[n] = from_float<T>(leaky_relu(sums[row][n], slope));
        store_16(filtered + ((first + row) * S::COLUMNS + column) * pitch + channel, result);
    }
}

// Writes a tile, channels from `first`, from shared memory to features; contiguous ones 16 bytes at a time if `wide`.
template <bool VECTORS, typename T, int K>
__device__ __forceinline__ void store_tile(const T* result, T* y, const Features& features, bool wide, const Tile& tile,
                                           int first) {
    using S = Sizes<T, K>;
    constexpr int V = S::VECTOR;
    const auto row = [&](int pixel) { return tile.row + pixel / S::COLUMNS; };
    const auto column = [&](int pixel) { return tile.column + pixel % S::COLUMNS; };
    if constexpr (VECTORS) {
        for (int i = threadIdx.x; i < S::PIXELS * 8; i += THREADS) {
            const int channel = i % 8 * V, pixel = i / 8, h = row(pixel), w = column(pixel);
            if (!inside(features, h, w) || first + channel >= features.channels) continue;
            store_16(y + index_of(features, tile.sample, first + channel, h, w),
                     load_16(result + pixel * S::PITCH + channel));
        }
    } else if (!features.channels_last && wide) {
        for (int i = threadIdx.x; i < S::PIXELS * 8; i += THREADS) {
            const int channel = i / (S::PIXELS / V), pixel = i % (S::PIXELS / V) * V, h = row(pixel), w = column(pixel);
            if (!inside(features, h, w) || first + channel >= features.channels) continue;
            Vector<T, V> values;
#pragma unroll
            for (int n = 0; n < V; ++n) values.values[n] = result[(pixel + n) * S::PITCH + channel];
            store_16(y + index_of(features, tile.sample, first + channel, h, w), values);
        }
    } else {
        for (int i = threadIdx.x; i < S::PIXELS * S::CHUNK; i += THREADS) {
            const int channel = features.channels_last ? i % S::CHUNK : i / S::PIXELS;
            const int pixel = features.channels_last ? i / S::CHUNK : i % S::PIXELS, h = row(pixel), w = column(pixel);
            if (!inside(features, h, w) || first + channel >= features.channels) continue;
            y[index_of(features, tile.sample, first + channel, h, w)] = result[pixel * S::PITCH + channel];
        }
    }
}

}  // namespace da
}  // namespace dasr_fast
