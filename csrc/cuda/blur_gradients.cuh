// Gradients of blur_downsample: the adjoint of downsampling, and from the blurred images' gradient that of the kernels.
#pragma once

#include "blur_images.cuh"
#include "blur_stencils.cuh"
#include "device.h"
#include "sum_parts.cuh"

namespace dasr_fast {
namespace blur {

constexpr int SPREADING_THREADS = 256;
constexpr int PIXELS_A_BLOCK = 4 * SPREADING_THREADS;

// The gradient for the blurred images [image, height, width]; a block takes some pixels of an image.
template <typename T>
__global__ void __launch_bounds__(SPREADING_THREADS)
    spread_kernel(const T* grads, Images grad, Taps taps, int height, int width, int blocks, float* blurred) {
    const int edge = edge_of(taps), classes = 2 * edge + 1, scale = taps.scale;
    float* down = reinterpret_cast<float*>(shared_memory());  // [classes, taps]
    float* across = down + classes * taps.count;
    for (int i = threadIdx.x; i < classes * taps.count; i += blockDim.x) {
        const int k = i / taps.count, t = i % taps.count;
        down[i] = folded_tap(taps, k, t, grad.height, height);
        across[i] = folded_tap(taps, k, t, grad.width, width);
    }
    __syncthreads();
    const std::int64_t image = blockIdx.x / blocks, pixels = std::int64_t(height) * width;
    const std::int64_t first = blockIdx.x % blocks * std::int64_t(PIXELS_A_BLOCK);
    const T* upstream = grads + grad.first(image);
    for (std::int64_t pixel = first + threadIdx.x; pixel < minimum(first + PIXELS_A_BLOCK, pixels);
         pixel += blockDim.x) {
        const int row = int(pixel / width), column = int(pixel % width);
        // The last outputs that see the pixel; `first` of the taps is never positive.
        const int last_row = minimum((row - taps.first) / scale, grad.height - 1);
        const int last_column = minimum((column - taps.first) / scale, grad.width - 1);
        float sum = 0;
        for (int i = last_row; i >= 0 && row - taps.first - scale * i < taps.count; --i) {
            float row_sum = 0;
            for (int j = last_column; j >= 0 && column - taps.first - scale * j < taps.count; --j) {
                const int tap = class_of(j, grad.width, edge) * taps.count + column - taps.first - scale * j;
                const std::int64_t at = i * grad.row_stride() + std::int64_t(j) * grad.column_stride();
                row_sum += across[tap] * to_float(upstream[at]);
            }
            sum += down[class_of(i, grad.height, edge) * taps.count + row - taps.first - scale * i] * row_sum;
        }
        blurred[image * pixels + pixel] = sum;
    }
}

// A thread sums LAG_ROWS x LAG_COLUMNS weights of the kernel; THREAD_ROWS x THREAD_COLUMNS threads make a block of
// them, and the block has SHARERS of such groups, each of which takes every SHARERS-th row of a tile of the images.
constexpr int LAG_ROWS = 3, LAG_COLUMNS = 4;
constexpr int THREAD_ROWS = 7, THREAD_COLUMNS = 6, GROUP = THREAD_ROWS * THREAD_COLUMNS, SHARERS = 6;
constexpr int BLOCK_ROWS = LAG_ROWS * THREAD_ROWS, BLOCK_COLUMNS = LAG_COLUMNS * THREAD_COLUMNS;
constexpr int CORRELATING_THREADS = 256;
constexpr int GRAD_ROWS = 2 * SHARERS, GRAD_COLUMNS = 64;  // A tile of the gradient,
constexpr int PIXEL_ROWS = GRAD_ROWS + BLOCK_ROWS - 1;     // and of the pixels that its weights see,
constexpr int PIXEL_PITCH = GRAD_COLUMNS + BLOCK_COLUMNS + 4;  // in rows of an odd number of 16 bytes.
constexpr int CORRELATING_FLOATS = GRAD_ROWS * GRAD_COLUMNS + PIXEL_ROWS * PIXEL_PITCH;
static_assert(GROUP * SHARERS <= CORRELATING_THREADS, "every group needs its threads");
static_assert(SHARERS * BLOCK_ROWS * BLOCK_COLUMNS <= CORRELATING_FLOATS, "the groups' sums must fit where tiles were");

// parts[b, p, kernel_height, kernel_width]: a block sums a block of weights over a part of a sample's tiles.
template <typename T>
__global__ void __launch_bounds__(CORRELATING_THREADS, 3)
    correlate_kernel(const T* pixels, Images images, const float* blurred, int kernel_height, int kernel_width,
                     int count, float* parts) {
    float* grads = reinterpret_cast<float*>(shared_memory());  // [GRAD_ROWS, GRAD_COLUMNS]
    float* window = grads + GRAD_ROWS * GRAD_COLUMNS;          // [PIXEL_ROWS, PIXEL_PITCH]
    const int lags_down = ceil_divide(kernel_height, BLOCK_ROWS);
    const int lags_across = ceil_divide(kernel_width, BLOCK_COLUMNS);
    const int lag = blockIdx.x % (lags_down * lags_across), block = blockIdx.x / (lags_down * lags_across);
    const int part = block % count;
    const std::int64_t sample = block / count;
    const int first_lag_row = lag / lags_across * BLOCK_ROWS, first_lag_column = lag % lags_across * BLOCK_COLUMNS;
    const int sharer = threadIdx.x / GROUP, member = threadIdx.x % GROUP;
    const int lag_row = member / THREAD_COLUMNS * LAG_ROWS, lag_column = member % THREAD_COLUMNS * LAG_COLUMNS;
    const int tiles_down = ceil_divide(images.height, GRAD_ROWS);
    const int tiles_across = ceil_divide(images.width, GRAD_COLUMNS);
    const std::int64_t tiles = std::int64_t(images.count) * tiles_down * tiles_across;
    const std::int64_t last = tiles * (part + 1) / count;
    float sums[LAG_ROWS][LAG_COLUMNS] = {};
    for (std::int64_t tile = tiles * part / count; tile < last; ++tile) {
        const std::int64_t image = sample * images.count + tile / tiles_across / tiles_down;
        const int first_row = int(tile / tiles_across % tiles_down) * GRAD_ROWS;
        const int first_column = int(tile % tiles_across) * GRAD_COLUMNS;
        __syncthreads();
        for (int i = threadIdx.x; i < GRAD_ROWS * GRAD_COLUMNS; i += blockDim.x) {
            const int row = first_row + i / GRAD_COLUMNS, column = first_column + i % GRAD_COLUMNS;
            const bool inside = row < images.height && column < images.width;
            grads[i] = inside ? blurred[(image * images.height + row) * images.width + column] : 0.0f;
        }
        const T* source = pixels + images.first(image);
        for (int i = threadIdx.x; i < PIXEL_ROWS * PIXEL_PITCH; i += blockDim.x) {
            const int row = first_row + i / PIXEL_PITCH + first_lag_row - kernel_height / 2;
            const int column = first_column + i % PIXEL_PITCH + first_lag_column - kernel_width / 2;
            window[i] = to_float(source[reflected(row, images.height) * images.row_stride() +
                                        std::int64_t(reflected(column, images.width)) * images.column_stride()]);
        }
        __syncthreads();
        if (sharer >= SHARERS) continue;
        for (int row = sharer; row < GRAD_ROWS; row += SHARERS) {
            const float* seen = window + (row + lag_row) * PIXEL_PITCH + lag_column;
            Vector<float, 4> here[LAG_ROWS];
#pragma unroll
            for (int i = 0; i < LAG_ROWS; ++i) here[i] = load_16(seen + i * PIXEL_PITCH);
#pragma unroll 2
            for (int column = 0; column < GRAD_COLUMNS; column += 4) {
                const Vector<float, 4> grad = load_16(grads + row * GRAD_COLUMNS + column);
#pragma unroll
                for (int i = 0; i < LAG_ROWS; ++i) {
                    const Vector<float, 4> next = load_16(seen + i * PIXEL_PITCH + column + 4);
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
#pragma unroll
                        for (int j = 0; j < LAG_COLUMNS; ++j) {
                            const float pixel = k + j < 4 ? here[i].values[(k + j) % 4] : next.values[(k + j) % 4];
                            sums[i][j] += grad.values[k] * pixel;
                        }
                    }
                    here[i] = next;
                }
            }
        }
    }
    __syncthreads();
    float* shared = grads;  // [SHARERS, BLOCK_ROWS, BLOCK_COLUMNS]
    if (sharer < SHARERS) {
#pragma unroll
        for (int i = 0; i < LAG_ROWS; ++i) {
#pragma unroll
            for (int j = 0; j < LAG_COLUMNS; ++j) {
                shared[(sharer * BLOCK_ROWS + lag_row + i) * BLOCK_COLUMNS + lag_column + j] = sums[i][j];
            }
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < BLOCK_ROWS * BLOCK_COLUMNS; i += blockDim.x) {
        const int row = first_lag_row + i / BLOCK_COLUMNS, column = first_lag_column + i % BLOCK_COLUMNS;
        if (row >= kernel_height || column >= kernel_width) continue;
        float sum = 0;
        for (int other = 0; other < SHARERS; ++other) sum += shared[other * BLOCK_ROWS * BLOCK_COLUMNS + i];
        parts[((sample * count + part) * kernel_height + row) * kernel_width + column] = sum;
    }
}

}  // namespace blur

// blurred [B * count, height, width] = the gradient for the blurred images, from that of the downsampled ones.
template <typename T>
void blur_downsample_spread(const blur::Images& grad, const blur::Taps& taps, float* blurred, int height, int width,
                            Stream stream) {
    using namespace blur;
    const int classes = 2 * edge_of(taps) + 1;
    const std::int64_t blocks = ceil_divide<std::int64_t>(std::int64_t(height) * width, PIXELS_A_BLOCK);
    launch(spread_kernel<T>, dim3(unsigned(grad.batch * grad.count * blocks)), SPREADING_THREADS,
           2 * classes * taps.count * sizeof(float), stream, static_cast<const T*>(grad.data), grad, taps, height,
           width, int(blocks), blurred);
}

// grad_kernel [B, kernel_height, kernel_width], from the gradient for the blurred images, with `parts`
// [B, count, kernel_height, kernel_width] to work in.
template <typename T, typename K>
void blur_downsample_correlate(const blur::Images& images, const float* blurred, int kernel_height, int kernel_width,
                               float* parts, int count, K* grad_kernel, Stream stream) {
    using namespace blur;
    const std::int64_t lags =
        std::int64_t(ceil_divide(kernel_height, BLOCK_ROWS)) * ceil_divide(kernel_width, BLOCK_COLUMNS);
    launch(correlate_kernel<T>, dim3(unsigned(images.batch * count * lags)), CORRELATING_THREADS,
           CORRELATING_FLOATS * sizeof(float), stream, static_cast<const T*>(images.data), images, blurred,
           kernel_height, kernel_width, count, parts);
    sum_parts(parts, grad_kernel, images.batch, count, std::int64_t(kernel_height) * kernel_width, stream);
}

}  // namespace dasr_fast
