// Blur and bicubic downsampling as one strided stencil: every blur kernel convolved with the taps of downsampling.
//
// Taps that reach beyond the blurred image count for its last pixel. They are folded onto it before, which gives two
// outputs at either end of an axis stencils of their own: an output's class, along each axis, is one of five.
#pragma once

#include "device.h"

namespace dasr_fast {
namespace blur {

constexpr int EDGE = 2;
constexpr int MOST_TAPS = 16;

// Output `i` along an axis is the sum of weights[t] * blurred[scale * i + first + t].
struct Taps {
    int scale, first, count;
    float weights[MOST_TAPS];
};

// Outputs at either end of an axis that have a class of their own.
inline __host__ __device__ int edge_of(const Taps& taps) { return taps.count > 1 ? EDGE : 0; }

// The class of output `i` of `count`.
inline __host__ __device__ int class_of(int i, int count, int edge) {
    if (count <= 2 * edge + 1) return minimum(i, 2 * edge);
    return minimum(i, edge) + maximum(i - (count - 1 - edge), 0);
}

// The weight of tap `t` for outputs of class `k`, where `count` outputs see an image of `size` pixels.
inline __device__ float folded_tap(const Taps& taps, int k, int t, int count, int size) {
    const int edge = edge_of(taps), classes = 2 * edge + 1;
    if (t >= taps.count) return 0.0f;
    if (edge == 0) return taps.weights[0];
    const int output = count <= classes || k <= edge ? k : count - classes + k;
    const int start = taps.scale * output + taps.first;
    float weight = 0;
#pragma unroll
    for (int from = 0; from < MOST_TAPS; ++from) {
        const int pixel = minimum(maximum(start + from, 0), size - 1);
        if (from < taps.count && pixel - start == t) weight += taps.weights[from];
    }
    return weight;
}

// Index of a pixel beyond the image as reflect padding has it; within the image for any position.
inline __device__ int reflected(int position, int size) {
    const int beyond = size - 1 - (position < 0 ? -position : position);
    return maximum(size - 1 - (beyond < 0 ? -beyond : beyond), 0);
}

// Stencils in memory: [B, classes of columns, classes of rows, phases, rows, pitch]. The columns of a row are split by
// phase: column v is element v / scale of phase v % scale, as threads that are neighbours read neighbouring pixels so.
struct Stencils {
    const float* data;
    int rows, scale, classes, pitch;
    int size;  // Of one stencil: scale * rows * pitch.

    __device__ const float* at(std::int64_t sample, int column_class, int row_class) const {
        return data + ((sample * classes + column_class) * classes + row_class) * size;
    }
};

constexpr int COMPOSING_THREADS = 256;
constexpr int NEIGHBOURS = 4;  // Weights that a thread computes together, as they share most of what they are sums of.

// Elements of a row of the kernel that is convolved with the taps of rows, MOST_TAPS zeros before it and enough behind.
inline __host__ __device__ int composing_pitch(int width) {
    return MOST_TAPS + ceil_divide(width + MOST_TAPS + NEIGHBOURS, NEIGHBOURS) * NEIGHBOURS;
}

// The NEIGHBOURS outputs of a convolution with the taps whose window is `values`, the first tap last.
__device__ __forceinline__ void convolve(float (&sums)[NEIGHBOURS], const float* taps,
                                         const float (&values)[MOST_TAPS + NEIGHBOURS]) {
#pragma unroll
    for (int t = 0; t < MOST_TAPS; t += 4) {
        const Vector<float, 4> four = load_16(taps + t);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
#pragma unroll
            for (int n = 0; n < NEIGHBOURS; ++n) sums[n] += four.values[k] * values[MOST_TAPS + n - t - k];
        }
    }
}

// A block: one stencil, from a kernel [height, width].
template <typename T>
__global__ void __launch_bounds__(COMPOSING_THREADS)
    compose(const T* kernels, float* composed, Stencils stencils, Taps taps, int height, int width, int outputs_down,
            int outputs_across, int image_height, int image_width) {
    const int classes = stencils.classes, rows = stencils.rows, pitch = composing_pitch(width);
    const int row_class = blockIdx.x % classes, column_class = blockIdx.x / classes % classes;
    const std::int64_t sample = blockIdx.x / classes / classes;
    float* down = reinterpret_cast<float*>(shared_memory());
    float* across = down + MOST_TAPS;
    float* half_composed = across + MOST_TAPS;  // [rows, pitch]
    if (threadIdx.x < MOST_TAPS) {
        down[threadIdx.x] = folded_tap(taps, row_class, threadIdx.x, outputs_down, image_height);
        across[threadIdx.x] = folded_tap(taps, column_class, threadIdx.x, outputs_across, image_width);
    }
    for (int i = threadIdx.x; i < rows * (pitch - width); i += blockDim.x) {
        const int column = i % (pitch - width);
        half_composed[i / (pitch - width) * pitch + (column < MOST_TAPS ? column : column + width)] = 0;
    }
    __syncthreads();
    const T* kernel = kernels + sample * height * width;
    for (int i = threadIdx.x; i < ceil_divide(rows, NEIGHBOURS) * width; i += blockDim.x) {
        const int first = i / width * NEIGHBOURS, column = i % width;
        float values[MOST_TAPS + NEIGHBOURS], sums[NEIGHBOURS] = {};
#pragma unroll
        for (int n = 0; n < MOST_TAPS + NEIGHBOURS; ++n) {
            const int row = first + n - MOST_TAPS;
            values[n] = row >= 0 && row < height ? to_float(kernel[row * width + column]) : 0.0f;
        }
        convolve(sums, down, values);
#pragma unroll
        for (int n = 0; n < NEIGHBOURS; ++n) {
            if (first + n < rows) half_composed[(first + n) * pitch + MOST_TAPS + column] = sums[n];
        }
    }
    __syncthreads();
    float* stencil = composed + blockIdx.x * std::int64_t(stencils.size);
    const int columns = stencils.scale * stencils.pitch, groups = ceil_divide(columns, NEIGHBOURS);
    for (int i = threadIdx.x; i < rows * groups; i += blockDim.x) {
        const int u = i / groups, v = i % groups * NEIGHBOURS;
        float values[MOST_TAPS + NEIGHBOURS], sums[NEIGHBOURS] = {};
        if (v < width + MOST_TAPS) {
#pragma unroll
            for (int n = 0; n < MOST_TAPS + NEIGHBOURS; n += 4) {
                const Vector<float, 4> four = load_16(half_composed + u * pitch + v + n);
#pragma unroll
                for (int k = 0; k < 4; ++k) values[n + k] = four.values[k];
            }
            convolve(sums, across, values);
        }
        int m = v / stencils.scale, phase = v % stencils.scale;
#pragma unroll
        for (int n = 0; n < NEIGHBOURS; ++n) {
            if (v + n < columns) stencil[(phase * rows + u) * stencils.pitch + m] = sums[n];
            if (++phase < stencils.scale) continue;
            phase = 0;
            ++m;
        }
    }
}

}  // namespace blur
}  // namespace dasr_fast
