// dynamic_depthwise_conv: a K x K filter for every sample and channel, then LeakyReLU, and its gradients.
//
// A thread takes a strip of COLUMNS columns and N channels and walks down some rows. Each row is read once, while the
// one before is computed, and added to the K output rows that it touches, which wait in registers. The backward pass
// walks in the same way over the gradient's rows: they give the gradient for x, and, times x, the filter's.
//
// Channels-last, a block takes neighbouring channels of a sample and a part of its strips; contiguous, a warp takes a
// part of the strips of a plane. A row must have fewer than 2^31 elements, other sizes may be any.
#pragma once

#include "dense_features.h"
#include "depthwise_rows.cuh"
#include "device.h"
#include "sum_parts.cuh"

namespace dasr_fast {
namespace depthwise {

// Whether a row is read while the one before is computed; large filters leave no registers for it.
template <int K>
constexpr bool AHEAD = K == 3;

// Rows that are computed in a turn of the loop: with K of them, rows that wait need no moving, but code is long.
template <int K>
constexpr int UNROLL = K <= 3 ? K : 1;

template <typename T, int K, int N, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS)
    forward(const T* x, const T* kernel, T* y, Features features, Tiles tiles, float slope) {
    constexpr int HALO = K / 2, PIXELS = COLUMNS + K - 1;
    const Task<N, CHANNELS_LAST> task(features, tiles);
    if (!task.valid) return;
    const int channels = features.channels, height = features.height, width = features.width;
    const std::int64_t pitch = std::int64_t(width) * (CHANNELS_LAST ? channels : 1);
    float taps[K * K][N];
    load_taps<T, K, N>(kernel + (task.sample * channels + task.channel) * (K * K), taps);
    x += task.offset(features);
    y += task.offset(features);
    const int strips = tiles.across * tiles.down;
    for (int strip = task.part * tiles.lanes + task.lane; strip < strips; strip += tiles.parts * tiles.lanes) {
        const int column = strip % tiles.across * COLUMNS, top = strip / tiles.across * tiles.rows;
        const int bottom = minimum(top + tiles.rows, height);
        const auto load = [&](int h) {
            const T* row = h >= 0 && h < height && h < bottom + HALO ? x + h * pitch : nullptr;
            return load_row<T, N, PIXELS, HALO, CHANNELS_LAST>(row, column - HALO, width, channels, tiles.wide);
        };
        float sums[K][COLUMNS][N] = {};  // Output rows, the topmost first.
        Row<T, N, PIXELS> next;
        if (AHEAD<K>) next = load(top - HALO);
#pragma unroll(UNROLL<K>)
        for (int h = top - HALO; h < bottom + HALO; ++h) {
            const auto current = AHEAD<K> ? next : load(h);
            if (AHEAD<K>) next = load(h + 1);
#pragma unroll
            for (int pixel = 0; pixel < PIXELS; ++pixel) {
                float values[N];
#pragma unroll
                for (int n = 0; n < N; ++n) values[n] = current.pixels[pixel].value(n);
#pragma unroll
                for (int i = 0; i < COLUMNS; ++i) {
                    const int tap = pixel - i;
                    if (tap < 0 || tap >= K) continue;
#pragma unroll
                    for (int k = 0; k < K; ++k) {
#pragma unroll
                        for (int n = 0; n < N; ++n) sums[k][i][n] += values[n] * taps[(K - 1 - k) * K + tap][n];
                    }
                }
            }
            if (h - HALO >= top) {
#pragma unroll
                for (int i = 0; i < COLUMNS; ++i) {
#pragma unroll
                    for (int n = 0; n < N; ++n) sums[0][i][n] *= sums[0][i][n] > 0 ? 1.0f : slope;
                }
                store_row<T, N, CHANNELS_LAST>(y + (h - HALO) * pitch, column, width, channels, tiles.wide,
                                                        sums[0]);
            }
            move_up(sums);
        }
    }
}

// What the backward pass reads and writes, and the branch that may be added to the gradient for x.
template <typename T>
struct Gradients {
    const T *grad, *x, *kernel;
    const T* y;             // The output, whose sign is the LeakyReLU's; null if there was none.
    const T *extra, *gate;  // grad_x += extra * gate[b, c], unless they are null.
    T* grad_x;
    float* parts;  // [B, parts, C, K, K]: sums of gradient * x.
};

template <typename T, int K, int N>
struct Rows {
    Row<T, N, COLUMNS + K - 1> grad, y;
    Row<T, N, COLUMNS> x;
};

template <typename T, int K, int N, bool CHANNELS_LAST>
__global__ void __launch_bounds__(THREADS, K == 3 && sizeof(T) == 2 ? 3 : 2)
    backward(Gradients<T> tensors, Features features, Tiles tiles, float slope) {
    constexpr int HALO = K / 2, PIXELS = COLUMNS + K - 1;
    const Task<N, CHANNELS_LAST> task(features, tiles);
    const int channels = features.channels, height = features.height, width = features.width;
    const std::int64_t pitch = std::int64_t(width) * (CHANNELS_LAST ? channels : 1), offset = task.offset(features);
    float taps[K * K][N], products[K * K][N] = {}, gate[N] = {};
    if (task.valid) {
        const std::int64_t plane = task.sample * channels + task.channel;
        load_taps<T, K, N>(tensors.kernel + plane * (K * K), taps);
#pragma unroll
        for (int n = 0; n < N; ++n) gate[n] = tensors.gate == nullptr ? 0.0f : to_float(tensors.gate[plane + n]);
    }
    const int strips = task.valid ? tiles.across * tiles.down : 0;
    for (int strip = task.part * tiles.lanes + task.lane; strip < strips; strip += tiles.parts * tiles.lanes) {
        const int column = strip % tiles.across * COLUMNS, top = strip / tiles.across * tiles.rows;
        const int bottom = minimum(top + tiles.rows, height);
        const auto load_around = [&](const T* tensor, int h) {
            const bool inside = tensor != nullptr && h >= 0 && h < height && h < bottom + HALO;
            return load_row<T, N, PIXELS, HALO, CHANNELS_LAST>(inside ? tensor + offset + h * pitch : nullptr,
                                                               column - HALO, width, channels, tiles.wide);
        };
        const auto load_own = [&](const T* tensor, int h) {
            const bool inside = tensor != nullptr && h >= top && h < bottom;
            return load_row<T, N, COLUMNS, 0, CHANNELS_LAST>(inside ? tensor + offset + h * pitch : nullptr, column,
                                                             width, channels, tiles.wide);
        };
        const auto load = [&](int h) {  // What the gradient's row h needs.
            return Rows<T, K, N>{load_around(tensors.grad, h), load_around(tensors.y, h),
                                 load_own(tensors.x, h + HALO)};
        };
        float sums[K][COLUMNS][N] = {};  // Rows of grad_x and of x, the topmost first.
        float rows[K][COLUMNS][N] = {};
        Rows<T, K, N> next;
        if (AHEAD<K>) next = load(top - HALO);
#pragma unroll(UNROLL<K>)
        for (int h = top - HALO; h < bottom + HALO; ++h) {
            const auto current = AHEAD<K> ? next : load(h);
            if (AHEAD<K>) next = load(h + 1);
            const auto extra = load_own(tensors.extra, h - HALO);
            move_up(rows);
#pragma unroll
            for (int i = 0; i < COLUMNS; ++i) {
#pragma unroll
                for (int n = 0; n < N; ++n) rows[K - 1][i][n] = current.x.pixels[i].value(n);
            }
#pragma unroll
            for (int pixel = 0; pixel < PIXELS; ++pixel) {
                float values[N];
#pragma unroll
                for (int n = 0; n < N; ++n) {
                    values[n] = current.grad.pixels[pixel].value(n);
                    const bool negative = !(current.y.pixels[pixel].value(n) > 0);
                    if (tensors.y != nullptr && negative) values[n] *= slope;
                }
#pragma unroll
                for (int i = 0; i < COLUMNS; ++i) {
                    const int tap = K - 1 - (pixel - i);
                    if (tap < 0 || tap >= K) continue;
#pragma unroll
                    for (int k = 0; k < K; ++k) {  // Row k that waits is under row k of the filter.
#pragma unroll
                        for (int n = 0; n < N; ++n) {
                            sums[k][i][n] += values[n] * taps[k * K + tap][n];
                            products[k * K + tap][n] += values[n] * rows[k][i][n];
                        }
                    }
                }
            }
            if (h - HALO >= top) {
#pragma unroll
                for (int i = 0; i < COLUMNS; ++i) {
#pragma unroll
                    for (int n = 0; n < N; ++n) sums[0][i][n] += extra.pixels[i].value(n) * gate[n];
                }
                store_row<T, N, CHANNELS_LAST>(tensors.grad_x + offset + (h - HALO) * pitch, column, width,
                                                        channels, tiles.wide, sums[0]);
            }
            move_up(sums);
        }
    }
    if (CHANNELS_LAST) {
        float* shared = reinterpret_cast<float*>(shared_memory());
        const int columns = tiles.groups * N * K * K, first = task.channel - threadIdx.x % tiles.groups * N;
        if (task.lane < tiles.lanes) {
            float* mine = shared + task.lane * columns + (task.channel - first) * K * K;
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int i = 0; i < K * K; ++i) mine[n * K * K + i] = products[i][n];
            }
        }
        __syncthreads();
        float* sums = tensors.parts + ((task.sample * tiles.parts + task.part) * channels + first) * (K * K);
        const int held = minimum(columns, (channels - first) * K * K);
        for (int i = threadIdx.x; i < held; i += blockDim.x) {
            float sum = 0;
            for (int lane = 0; lane < tiles.lanes; ++lane) sum += shared[lane * columns + i];
            sums[i] = sum;
        }
    } else {
        float* sums = tensors.parts + ((task.sample * tiles.parts + task.part) * channels + task.channel) * (K * K);
#pragma unroll
        for (int i = 0; i < K * K; ++i) {
            float sum = products[i][0];
#pragma unroll
            for (int mask = WARP / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
            if (task.valid && task.lane == i % WARP) sums[i] = sum;
        }
    }
}

// Channels of a thread, channels-last, so that filters fit in registers.
template <int K>
constexpr int FORWARD_CHANNELS = K <= 3 ? 4 : K == 5 ? 2 : 1;
template <int K>
constexpr int BACKWARD_CHANNELS = K == 1 ? 4 : K == 3 ? 2 : 1;

// Tiles of about `rows` rows, or if `parts` isn't 0, that many parts.
inline Tiles choose_tiles(const Features& features, int n, int rows, int parts) {
    Tiles tiles{};
    tiles.groups = features.channels_last ? minimum(ceil_divide(features.channels, n), THREADS) : 1;
    tiles.lanes = features.channels_last ? THREADS / tiles.groups : WARP;
    tiles.across = maximum(1, ceil_divide(features.width, COLUMNS));
    if (parts == 0) {
        const std::int64_t strips = std::int64_t(tiles.across) * ceil_divide(features.height, rows);
        parts = int(maximum<std::int64_t>(1, strips / tiles.lanes));
    }
    tiles.parts = parts;
    const std::int64_t down = maximum<std::int64_t>(1, std::int64_t(parts) * tiles.lanes / tiles.across);
    tiles.rows = maximum(1, int(ceil_divide<std::int64_t>(features.height, down)));
    tiles.down = ceil_divide(features.height, tiles.rows);
    return tiles;
}

inline dim3 grid_of(const Features& features, const Tiles& tiles, int n) {
    if (features.channels_last) {
        return dim3(unsigned(features.batch * ceil_divide(features.channels, tiles.groups * n) * tiles.parts));
    }
    return dim3(unsigned(ceil_divide<std::int64_t>(features.batch * features.channels * tiles.parts, THREADS / WARP)));
}

// A block has no more warps than have something to do.
inline int threads_of(const Features& features, const Tiles& tiles) {
    return features.channels_last ? ceil_divide(tiles.groups * tiles.lanes, WARP) * WARP : THREADS;
}

template <typename... Pointers>
bool wide(const Features& features, std::size_t size, const Pointers*... pointers) {
    return features.width % WIDE == 0 && aligned_to(WIDE * size, pointers...);
}

template <typename T, int K, int N, bool CHANNELS_LAST>
void run_forward(const T* x, const T* kernel, float slope, T* y, const Features& features, Stream stream) {
    int rows = 8;
    Tiles tiles = choose_tiles(features, N, rows, 0);
    // Short strips, which read more rows twice, where there would be too few blocks to fill the GPU.
    while (rows > 2 && grid_of(features, tiles, N).x < 2u * sm_count()) {
        rows /= 2;
        tiles = choose_tiles(features, N, rows, 0);
    }
    tiles.wide = wide(features, sizeof(T), x, y);
    launch(forward<T, K, N, CHANNELS_LAST>, grid_of(features, tiles, N), threads_of(features, tiles), 0,
           stream, x, kernel, y, features, tiles, slope);
}

template <typename T, int K, int N, bool CHANNELS_LAST>
void run_backward(const Gradients<T>& tensors, int parts, float slope, const Features& features, Stream stream) {
    Tiles tiles = choose_tiles(features, N, 0, parts);
    tiles.wide = wide(features, sizeof(T), tensors.grad, tensors.x, tensors.y, tensors.extra, tensors.grad_x);
    const std::size_t shared_bytes = CHANNELS_LAST ? tiles.lanes * tiles.groups * N * K * K * sizeof(float) : 0;
    launch(backward<T, K, N, CHANNELS_LAST>, grid_of(features, tiles, N), threads_of(features, tiles),
           shared_bytes, stream, tensors, features, tiles, slope);
}

}  // namespace depthwise

// y = x cross-correlated with kernel [B, C, k, k], times `slope` where it is negative (1 for no activation).
template <typename T>
void dynamic_depthwise_conv(const T* x, const T* kernel, int k, float slope, T* y, const Features& features,
                            Stream stream) {
    if (features.batch == 0 || features.channels == 0 || features.height == 0 || features.width == 0) return;
    for_size(k, [&](auto size) {
        constexpr int K = size(), N = depthwise::FORWARD_CHANNELS<K>;
        if (!features.channels_last) {
            depthwise::run_forward<T, K, 1, false>(x, kernel, slope, y, features, stream);
        } else if (features.channels % N == 0 && aligned_to(N * sizeof(T), x, kernel, y)) {
            depthwise::run_forward<T, K, N, true>(x, kernel, slope, y, features, stream);
        } else {
            depthwise::run_forward<T, K, 1, true>(x, kernel, slope, y, features, stream);
        }
    });
}

// Gradients for x and kernel, and grad_x += extra * gate[b, c] if those aren't null. `y` is the output, or null for no
// activation; `workspace` is [B, parts, C, k, k] for any number of parts.
template <typename T>
void dynamic_depthwise_conv_backward(const T* grad, const T* x, const T* kernel, int k, const T* y, float slope,
                                     const T* extra, const T* gate, T* grad_x, T* grad_kernel, float* workspace,
                                     int parts, const Features& features, Stream stream) {
    if (features.batch == 0 || features.channels == 0) return;
    const depthwise::Gradients<T> tensors{grad, x, kernel, y, extra, gate, grad_x, workspace};
    for_size(k, [&](auto size) {
        constexpr int K = size(), N = depthwise::BACKWARD_CHANNELS<K>;
        if (!features.channels_last) {
            depthwise::run_backward<T, K, 1, false>(tensors, parts, slope, features, stream);
        } else if (features.channels % N == 0 && aligned_to(N * sizeof(T), grad, x, kernel, y, extra, grad_x)) {
            depthwise::run_backward<T, K, N, true>(tensors, parts, slope, features, stream);
        } else {
            depthwise::run_backward<T, K, 1, true>(tensors, parts, slope, features, stream);
        }
    });
    sum_parts(workspace, grad_kernel, features.batch, parts, std::int64_t(features.channels) * k * k, stream);
}

}  // namespace dasr_fast
