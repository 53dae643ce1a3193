// Images in memory, and reading windows of them into shared memory.
#pragma once

#include "blur_stencils.cuh"
#include "device.h"

namespace dasr_fast {
namespace blur {

enum class Type { float32, float16, bfloat16, uint8 };

inline std::int64_t bytes_of(Type type) { return type == Type::float32 ? 4 : type == Type::uint8 ? 1 : 2; }

// Calls `function` with a pointer to elements of `type`.
template <typename Function>
__device__ __forceinline__ void with_type(const void* data, Type type, Function function) {
    switch (type) {
        case Type::float32: return function(static_cast<const float*>(data));
        case Type::float16: return function(static_cast<const half_t*>(data));
        case Type::bfloat16: return function(static_cast<const bfloat16_t*>(data));
        case Type::uint8: return function(static_cast<const std::uint8_t*>(data));
    }
}

inline __device__ void store(void* data, Type type, std::int64_t at, float value) {
    if (type == Type::float32) {
        static_cast<float*>(data)[at] = value;
    } else if (type == Type::float16) {
        static_cast<half_t*>(data)[at] = from_float<half_t>(value);
    } else {
        static_cast<bfloat16_t*>(data)[at] = from_float<bfloat16_t>(value);
    }
}

// `count` images of each sample; contiguous, or channels-last with one patch a sample, whose channels are the images.
struct Images {
    const void* data;
    Type type;
    std::int64_t batch;
    int count, height, width;
    bool channels_last;

    __host__ __device__ std::int64_t pixels() const { return std::int64_t(height) * width; }
    __host__ __device__ int column_stride() const { return channels_last ? count : 1; }
    __host__ __device__ std::int64_t row_stride() const { return std::int64_t(width) * column_stride(); }
    // Index of the first pixel of image `image` of all.
    __host__ __device__ std::int64_t first(std::int64_t image) const {
        return channels_last ? image / count * count * pixels() + image % count : image * pixels();
    }
    // Whether VECTOR pixels of a row can be read at once where the column is a multiple of that.
    bool has_vectors() const;
};

constexpr int VECTOR = 4;

inline bool Images::has_vectors() const {
    return !channels_last && width % VECTOR == 0 &&
           reinterpret_cast<std::uintptr_t>(data) % (VECTOR * bytes_of(type)) == 0;
}

// A window of an image, of `rows` x `columns` pixels, and the way to its place in shared memory: a row at
// `places[row].offset`, and column c at (c % scale) * phase_pitch + c / scale of it. Behind the phases of a row there
// is an element that nobody reads.
struct RowPlace {
    int source, offset;  // The row of the image, or -1 for zeros.
};

struct Window {
    int left, rows, columns, scale, phase_pitch;
    bool reflect, vectors;

    __device__ int place(int column) const { return column % scale * phase_pitch + column / scale; }

    // The places of neighbouring columns, some of which may lie outside.
    __device__ void find(int (&found)[VECTOR], int column) const {
        const int shifted = column + VECTOR * scale;  // Not negative, and of the same phase.
        int phase = shifted % scale, next = shifted / scale - VECTOR;
#pragma unroll
        for (int v = 0; v < VECTOR; ++v) {
            const bool inside = column + v >= 0 && column + v < columns;
            found[v] = inside ? phase * phase_pitch + next : scale * phase_pitch;
            if (++phase < scale) continue;
            phase = 0;
            ++next;
        }
    }
};

constexpr int LOADS_IN_FLIGHT = 4;

// Columns of the window that lie beyond the aligned part of the image: [0, before) and [after, columns).
template <typename T>
__device__ void read_pixels(const T* image, const Images& images, const Window& window, const RowPlace* places,
                            float* pixels, int before, int after) {
    const int count = before + window.columns - after;
    for (int first = 0; first < count; first += blockDim.x) {
        const int side = minimum(count - first, int(blockDim.x));
        const int index = first + int(threadIdx.x) % side, step = int(blockDim.x) / side;
        const int column = index < before ? index : index - before + after;
        const int place = window.place(column);
        int source = window.left + column;
        const bool inside = window.reflect || (source >= 0 && source < images.width);
        source = reflected(source, images.width);
        const T* pixel = image + std::int64_t(source) * images.column_stride();
        const int lane = int(threadIdx.x) / side;
        if (lane >= step) continue;
        for (int row = lane; row < window.rows; row += LOADS_IN_FLIGHT * step) {
            float values[LOADS_IN_FLIGHT];
            int offsets[LOADS_IN_FLIGHT];
#pragma unroll
            for (int n = 0; n < LOADS_IN_FLIGHT; ++n) {
                const int last = minimum(row + n * step, window.rows - 1);
                const RowPlace at = places[last];
                offsets[n] = at.offset + place;
                values[n] = inside && at.source >= 0 ? to_float(pixel[at.source * images.row_stride()]) : 0.0f;
            }
#pragma unroll
            for (int n = 0; n < LOADS_IN_FLIGHT; ++n) {
                if (row + n * step < window.rows) pixels[offsets[n]] = values[n];
            }
        }
    }
}

// Aligned vectors of pixels, the first of which is column `first` of the window, as many as `count`.
template <typename T>
__device__ void read_vectors(const T* image, const Images& images, const Window& window, const RowPlace* places,
                             float* pixels, int first, int count) {
    using Pixels = Vector<T, VECTOR>;
    for (int begin = 0; begin < count; begin += blockDim.x) {
        const int side = minimum(count - begin, int(blockDim.x));
        const int step = int(blockDim.x) / side, lane = int(threadIdx.x) / side;
        const int column = first + VECTOR * (begin + int(threadIdx.x) % side);
        int place[VECTOR];
        window.find(place, column);
        const T* pixel = image + window.left + column;
        if (lane >= step) continue;
        for (int row = lane; row < window.rows; row += LOADS_IN_FLIGHT * step) {
            Pixels values[LOADS_IN_FLIGHT];
            int offsets[LOADS_IN_FLIGHT];
#pragma unroll
            for (int n = 0; n < LOADS_IN_FLIGHT; ++n) {
                const RowPlace at = places[minimum(row + n * step, window.rows - 1)];
                offsets[n] = at.offset;
                if (at.source >= 0) {
                    values[n] = *reinterpret_cast<const Pixels*>(pixel + at.source * images.row_stride());
                } else {
                    values[n] = Pixels();
                }
            }
#pragma unroll
            for (int n = 0; n < LOADS_IN_FLIGHT; ++n) {
                if (row + n * step >= window.rows) break;
#pragma unroll
                for (int v = 0; v < VECTOR; ++v) pixels[offsets[n] + place[v]] = to_float(values[n].values[v]);
            }
        }
    }
}

// The block reads a window of an image.
template <typename T>
__device__ __forceinline__ void read_window(const T* image, const Images& images, const Window& window,
                                            const RowPlace* places, float* pixels) {
    // The first column that starts an aligned vector within the image, and the number of such vectors.
    int first = maximum(-window.left, -(window.left & (VECTOR - 1)));
    int count = (minimum(images.width - window.left, window.columns + VECTOR - 1) - first) / VECTOR;
    if (!window.vectors || count <= 0) first = count = 0;
    const int before = maximum(first, 0), after = minimum(first + VECTOR * count, window.columns);
    read_vectors(image, images, window, places, pixels, first, count);
    read_pixels(image, images, window, places, pixels, before, after);
}

}  // namespace blur
}  // namespace dasr_fast
