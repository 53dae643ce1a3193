// Products of matrices in shared memory for da_conv: for 16-bit numbers on the tensor cores, else by multiply-adds.
//
// `Products<T, K>` says how the 256 threads share a result: `Sums` are a thread's part of [PIXELS, CHUNK] numbers, and
// `WeightSums` of [CHUNK, CHUNK]; rows in shared memory are PITCH apart where nothing else is said.
#pragma once

#include "da_conv_tile.cuh"

namespace dasr_fast {
namespace da {

template <typename T, int K>
struct Products {
    using S = Sizes<T, K>;
    static constexpr int WEIGHT_SUMS = 16;

    struct Sums {
        float values[2][4][4] = {};
    };

    // A warp takes 32 pixels and half the channels.
    // sums[p, n] += a[p, :] . b[n, :], or a[p, :] . b[:, n] if TRANSPOSED, over CHUNK numbers.
    template <bool TRANSPOSED>
    static __device__ __forceinline__ void add(Sums& sums, const T* a, int pitch, const T* b) {
        const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        const T* rows = a + (warp / 2 * 32 + lane % 16) * pitch + lane / 16 * 8;
        const int k_of_lane = TRANSPOSED ? lane % 16 : lane / 8 % 2 * 8;
        const int n_of_lane = warp % 2 * 32 + (TRANSPOSED ? lane / 16 * 8 : lane / 16 * 8 + lane % 8);
#pragma unroll
        for (int k = 0; k < S::CHUNK; k += 16) {
            std::uint32_t pixels[2][4];
#pragma unroll
            for (int m = 0; m < 2; ++m) load_matrix_x4(pixels[m], rows + m * 16 * pitch + k);
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                std::uint32_t weights[4];
                if constexpr (TRANSPOSED) {
                    load_matrix_x4_transposed(weights, b + (k + k_of_lane) * S::PITCH + n * 16 + n_of_lane);
                } else {
                    load_matrix_x4(weights, b + (n * 16 + n_of_lane) * S::PITCH + k + k_of_lane);
                }
                const std::uint32_t low[2] = {weights[0], weights[1]}, high[2] = {weights[2], weights[3]};
#pragma unroll
                for (int m = 0; m < 2; ++m) {
                    multiply_16x8x16<T>(sums.values[m][2 * n], pixels[m], low);
                    multiply_16x8x16<T>(sums.values[m][2 * n + 1], pixels[m], high);
                }
            }
        }
    }

    // Calls function(pixel, channel, sum, sum of the next channel) for all sums of the thread.
    template <typename Function>
    static __device__ __forceinline__ void visit(const Sums& sums, Function function) {
        const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
#pragma unroll
        for (int n = 0; n < 4; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int pixel = warp / 2 * 32 + i * 8 + lane / 4, channel = warp % 2 * 32 + n * 8 + lane % 4 * 2;
                const float* pair = sums.values[i / 2][n] + i % 2 * 2;
                function(pixel, channel, pair[0], pair[1]);
            }
        }
    }

    // A warp takes 16 rows and half the columns.
    // sums[m, n] += a[:, m] . b[:, n] over the pixels; `sums` are WEIGHT_SUMS numbers, THREADS apart.
    static __device__ __forceinline__ void add_weights(float* sums, const T* a, const T* b) {
        const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        float values[4][4];
#pragma unroll
        for (int i = 0; i < WEIGHT_SUMS; ++i) values[i / 4][i % 4] = sums[i * THREADS];
        const T* columns_a = a + (lane / 16 * 8 + lane % 8) * S::PITCH + warp / 2 * 16 + lane / 8 % 2 * 8;
        const T* columns_b = b + lane % 16 * S::PITCH + warp % 2 * 32 + lane / 16 * 8;
#pragma unroll
        for (int pixel = 0; pixel < S::PIXELS; pixel += 16) {
            std::uint32_t rows[4];
            load_matrix_x4_transposed(rows, columns_a + pixel * S::PITCH);
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                std::uint32_t columns[4];
                load_matrix_x4_transposed(columns, columns_b + pixel * S::PITCH + n * 16);
                const std::uint32_t low[2] = {columns[0], columns[1]}, high[2] = {columns[2], columns[3]};
                multiply_16x8x16<T>(values[2 * n], rows, low);
                multiply_16x8x16<T>(values[2 * n + 1], rows, high);
            }
        }
#pragma unroll
        for (int i = 0; i < WEIGHT_SUMS; ++i) sums[i * THREADS] = values[i / 4][i % 4];
    }

    // Row and column of a thread's sum i in a matrix of weights.
    static __device__ __forceinline__ int weight_row(int i) {
        return threadIdx.x / WARP / 2 * 16 + i % 4 / 2 * 8 + threadIdx.x % WARP / 4;
    }
    static __device__ __forceinline__ int weight_column(int i) {
        return threadIdx.x / WARP % 2 * 32 + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
    }
};

template <int K>
struct Products<float, K> {
    using S = Sizes<float, K>;
    static constexpr int WEIGHT_SUMS = 4;

    struct Sums {
        float values[4][2] = {};
    };

    // A thread takes four pixels and two channels.
    template <bool TRANSPOSED>
    static __device__ __forceinline__ void add(Sums& sums, const float* a, int pitch, const float* b) {
        const int pixel = threadIdx.x / 16 * 4, channel = threadIdx.x % 16 * 2;
#pragma unroll 2
        for (int k = 0; k < S::CHUNK; k += 4) {
            float weights[2][4];
#pragma unroll
            for (int n = 0; n < 2; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    weights[n][i] =
                        TRANSPOSED ? b[(k + i) * S::PITCH + channel + n] : b[(channel + n) * S::PITCH + k + i];
                }
            }
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                const auto values = load_16(a + (pixel + m) * pitch + k);
#pragma unroll
                for (int n = 0; n < 2; ++n) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) sums.values[m][n] += values.values[i] * weights[n][i];
                }
            }
        }
    }

    template <typename Function>
    static __device__ __forceinline__ void visit(const Sums& sums, Function function) {
#pragma unroll
        for (int m = 0; m < 4; ++m) {
            function(threadIdx.x / 16 * 4 + m, threadIdx.x % 16 * 2, sums.values[m][0], sums.values[m][1]);
        }
    }

    static __device__ __forceinline__ int weight_row(int i) { return threadIdx.x / 16 * 2 + i / 2; }
    static __device__ __forceinline__ int weight_column(int i) { return threadIdx.x % 16 * 2 + i % 2; }

    static __device__ __forceinline__ void add_weights(float* sums, const float* a, const float* b) {
        const float* rows = a + weight_row(0);
        const float* columns = b + weight_column(0);
        float values[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) values[i] = sums[i * THREADS];
#pragma unroll 4
        for (int pixel = 0; pixel < S::PIXELS; ++pixel) {
            const int offset = pixel * S::PITCH;
#pragma unroll
            for (int i = 0; i < 4; ++i) values[i] += rows[offset + i / 2] * columns[offset + i % 2];
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i * THREADS] = values[i];
    }
};

}  // namespace da
}  // namespace dasr_fast
