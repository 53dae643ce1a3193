// How threads share the features in a depthwise convolution, and how they read and write rows of them.
#pragma once

#include "dense_features.h"
#include "device.h"
#include "packed.h"

namespace dasr_fast {
namespace depthwise {

constexpr int THREADS = 128;
constexpr int COLUMNS = 4;  // Of a strip.
constexpr int WIDE = 4;     // Neighbouring pixels of a contiguous row in one access.

// How the strips of a sample (channels-last) or a plane (contiguous) are shared out.
struct Tiles {
    int groups;  // Channels-last: threads side by side in a block, N channels each.
    int lanes;   // Threads that share the strips of a part.
    int parts;
    int across, down;  // Strips.
    int rows;          // Of a strip.
    bool wide;         // Contiguous: rows are read WIDE pixels at a time.
};

// What the thread computes.
template <int N, bool CHANNELS_LAST>
struct Task {
    std::int64_t sample;
    int channel, part, lane;
    bool valid;

    __device__ __forceinline__ Task(const Features& features, const Tiles& tiles) {
        if (CHANNELS_LAST) {
            const int blocks = ceil_divide(features.channels, tiles.groups * N);
            part = blockIdx.x % tiles.parts;
            sample = blockIdx.x / tiles.parts / blocks;
            lane = threadIdx.x / tiles.groups;
            channel = (blockIdx.x / tiles.parts % blocks * tiles.groups + threadIdx.x % tiles.groups) * N;
            valid = lane < tiles.lanes && channel < features.channels;
        } else {
            const std::int64_t warp = blockIdx.x * std::int64_t(THREADS / WARP) + threadIdx.x / WARP;
            const std::int64_t plane = warp / tiles.parts;
            part = int(warp % tiles.parts);
            sample = plane / features.channels;
            channel = int(plane % features.channels);
            lane = threadIdx.x % WARP;
            valid = sample < features.batch;
        }
    }

    // Offset of this sample and channel, at the first pixel.
    __device__ __forceinline__ std::int64_t offset(const Features& features) const {
        const std::int64_t pixels = std::int64_t(features.height) * features.width;
        return CHANNELS_LAST ? sample * pixels * features.channels + channel
                             : (sample * features.channels + channel) * pixels;
    }
};

// Neighbouring pixels of a row.
template <typename T, int N, int PIXELS>
struct Row {
    Packed<T, N> pixels[PIXELS];
};

// PIXELS pixels from column `first`, zero outside the plane; `row` points to column 0, or is null outside the plane.
// If `wide`, all but HALO pixels at either end are read WIDE at a time: `first + HALO` and `width` are multiples of it.
template <typename T, int N, int PIXELS, int HALO, bool CHANNELS_LAST>
__device__ __forceinline__ Row<T, N, PIXELS> load_row(const T* row, int first, int width, int channels, bool wide) {
    Row<T, N, PIXELS> result;
    const int step = CHANNELS_LAST ? channels : 1;
    constexpr int OWN = PIXELS - 2 * HALO;
#pragma unroll
    for (int i = 0; i < PIXELS; ++i) {
        const bool in_halo = i < HALO || i >= HALO + OWN;
        const int column = first + i;
        result.pixels[i] = {};
        if ((CHANNELS_LAST || in_halo || !wide) && row != nullptr && unsigned(column) < unsigned(width)) {
            result.pixels[i] = *reinterpret_cast<const Packed<T, N>*>(row + column * step);
        }
    }
    if (!CHANNELS_LAST && wide && row != nullptr) {
#pragma unroll
        for (int i = 0; i < OWN; i += WIDE) {
            if (first + HALO + i >= width) continue;
            const auto pixels = *reinterpret_cast<const Vector<Packed<T, N>, WIDE>*>(row + first + HALO + i);
#pragma unroll
            for (int j = 0; j < WIDE; ++j) result.pixels[HALO + i + j] = pixels.values[j];
        }
    }
    return result;
}

// Stores COLUMNS pixels from column `first`, as far as they are in the plane.
template <typename T, int N, bool CHANNELS_LAST>
__device__ __forceinline__ void store_row(T* row, int first, int width, int channels, bool wide,
                                          const float (&values)[COLUMNS][N]) {
    if (!CHANNELS_LAST && wide) {
#pragma unroll
        for (int i = 0; i < COLUMNS; i += WIDE) {
            if (first + i >= width) continue;
            Vector<T, WIDE> pixels;
#pragma unroll
            for (int j = 0; j < WIDE; ++j) pixels.values[j] = from_float<T>(values[i + j][0]);
            *reinterpret_cast<Vector<T, WIDE>*>(row + first + i) = pixels;
        }
        return;
    }
    const int step = CHANNELS_LAST ? channels : 1;
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) {
        if (first + i >= width) continue;
        Vector<T, N> pixel;
#pragma unroll
        for (int n = 0; n < N; ++n) pixel.values[n] = from_float<T>(values[i][n]);
        *reinterpret_cast<Vector<T, N>*>(row + (first + i) * step) = pixel;
    }
}

// The filters of the thread's channels, which are neighbours in memory.
template <typename T, int K, int N>
__device__ __forceinline__ void load_taps(const T* kernel, float (&taps)[K * K][N]) {
#pragma unroll
    for (int i = 0; i < K * K; ++i) {
        const auto values = reinterpret_cast<const Vector<T, N>*>(kernel)[i];
#pragma unroll
        for (int n = 0; n < N; ++n) taps[(i * N + n) % (K * K)][(i * N + n) / (K * K)] = to_float(values.values[n]);
    }
}

// The rows that wait move up by one; the last becomes zero.
template <int K, int N>
__device__ __forceinline__ void move_up(float (&rows)[K][COLUMNS][N]) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
#pragma unroll
        for (int i = 0; i < COLUMNS; ++i) {
#pragma unroll
            for (int n = 0; n < N; ++n) rows[k][i][n] = k + 1 < K ? rows[k + 1 < K ? k + 1 : k][i][n] : 0;
        }
    }
}

}  // namespace depthwise
}  // namespace dasr_fast
