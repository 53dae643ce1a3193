// blur_downsample: every image blurred with its sample's kernel and downsampled, by one strided stencil, in float32.
//
// A block takes a tile of an image's outputs: it reads the pixels that they see, and their stencils, into shared
// memory, sums, and adds noise, rounds and stores. Stencils that don't fit are taken in chunks of their rows.
#pragma once

#include <stdexcept>

#include "blur_images.cuh"
#include "blur_stencils.cuh"
#include "blur_sums.cuh"
#include "blur_tiling.cuh"
#include "device.h"

namespace dasr_fast {
namespace blur {

// Copies rows [start, start + rows) of the stencils of the tile's classes into shared memory, zeros around them.
__device__ __forceinline__ void read_stencils(const Problem& problem, const Tile& tile, int start, int rows,
                                              float* weights) {
    const Tiling& tiling = problem.tiling;
    const Stencils& stencils = problem.stencils;
    const int vectors = stencils.pitch / 4, padded_rows = tiling.chunk + 2 * MARGIN;
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    for (int index = warp; index < tile.classes * stencils.scale; index += blockDim.x / WARP) {
        const int k = index / stencils.scale, phase = index % stencils.scale;
        const float* source = stencils.at(tile.sample, stencils.classes / 2, tile.first_class + k) +
                              (phase * stencils.rows + start) * stencils.pitch;
        float* place = weights + k * tiling.slot_size + phase * padded_rows * stencils.pitch;
        for (int n = lane; n < padded_rows * vectors; n += WARP) {
            const int from = n - MARGIN * vectors;
            const bool within = from >= 0 && from < rows * vectors;
            copy_async_16(place + 4 * n, within ? source + 4 * from : source, within);
        }
    }
    copy_async_commit();
}

// Finds, for every row of the window, its row in the image and its place in shared memory.
__device__ __forceinline__ void find_rows(const Problem& problem, const Tile& tile, int start, int rows,
                                          RowPlace* places) {
    const int scale = problem.stencils.scale, height = problem.images.height;
    for (int row = threadIdx.x; row < rows; row += blockDim.x) {
        const int source = tile.first_row * scale + problem.top + start + row;
        const int residue = row % (ROWS * scale), quotient = row / (ROWS * scale);
        const bool inside = problem.reflect || (source >= 0 && source < height);
        places[row] = {inside ? reflected(source, height) : -1,
                       (residue * problem.tiling.rows_per_residue + quotient) * problem.tiling.row_pitch};
    }
}

// Adds up the sums of the SPLITS threads of a band: each ends with two columns of every row, for shared memory.
__device__ __forceinline__ void gather(const float (&sums)[ROWS][COLUMNS], const Share& share, int columns,
                                       float* partial) {
    const int right = share.split & 1, outer = share.split >> 1;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        float half[COLUMNS / 2];
#pragma unroll
        for (int x = 0; x < COLUMNS / 2; ++x) {
            const float kept = right ? sums[i][x + COLUMNS / 2] : sums[i][x];
            const float given = right ? sums[i][x] : sums[i][x + COLUMNS / 2];
            half[x] = kept + shuffle_xor(given, BANDS);
        }
        Vector<float, 2> result;
#pragma unroll
        for (int x = 0; x < 2; ++x) {
            const float kept = outer ? half[x + 2] : half[x], given = outer ? half[x] : half[x + 2];
            result.values[x] = kept + shuffle_xor(given, 2 * BANDS);
        }
        const int row = ROWS * share.band + i;
        const int column = COLUMNS * share.group + COLUMNS / 2 * right + 2 * outer;
        *reinterpret_cast<Vector<float, 2>*>(partial + (share.part * TILE_ROWS + row) * columns + column) = result;
    }
}

// Adds noise to the tile's outputs, rounds and stores them.
__device__ __forceinline__ void finish(const Problem& problem, const Tile& tile, const float* partial) {
    const Tiling& tiling = problem.tiling;
    const int columns = tiling.columns(), across = blockIdx.x % tiling.tiles_across;
    const int begin = first_written(across, tiling.tiles_across, columns, problem.width);
    const int end = first_written(across + 1, tiling.tiles_across, columns, problem.width);
    const float level = problem.level == nullptr ? 1.0f : problem.level[tile.sample];
    Images outputs = problem.images;
    outputs.height = problem.height;
    outputs.width = problem.width;
    const std::int64_t output = outputs.first(tile.image);
    for (int index = threadIdx.x; index < TILE_ROWS * columns; index += blockDim.x) {
        const int row = tile.first_row + index / columns, column = tile.first_column + index % columns;
        if (row > tile.last_row || column < begin || column >= end) continue;
        float value = 0;
        for (int part = 0; part < tiling.parts; ++part) value += partial[part * TILE_ROWS * columns + index];
        const std::int64_t at = output + row * outputs.row_stride() + std::int64_t(column) * outputs.column_stride();
        if (problem.noise != nullptr) value += problem.noise[at] * level;
        if (problem.quantize) {
            value = value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value;
            value = (value + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: what is left of a fraction is rounded to even.
        }
        store(problem.y, problem.type, at, value);
    }
}

template <int TAPS, bool IS_NARROW>
__global__ void __launch_bounds__(most_warps(TAPS) * WARP, IS_NARROW ? 1 : 2) apply(Problem problem) {
    const Tiling& tiling = problem.tiling;
    const int scale = problem.stencils.scale;
    Tile& tile = *reinterpret_cast<Tile*>(shared_memory());
    RowPlace* places = reinterpret_cast<RowPlace*>(&tile + 1);
    float* pixels = reinterpret_cast<float*>(shared_memory()) + tiling.header_size;
    float* weights = pixels + ROWS * scale * tiling.rows_per_residue * tiling.row_pitch;
    if (threadIdx.x < TILE_ROWS) {
        const int edge = problem.stencils.classes / 2, across = blockIdx.x % tiling.tiles_across;
        const int first = blockIdx.x / tiling.tiles_across % tiling.tiles_down * TILE_ROWS;
        const int last = minimum(first + TILE_ROWS, problem.height) - 1;
        tile.row_classes[threadIdx.x] = class_of(minimum(first + int(threadIdx.x), last), problem.height, edge);
        if (threadIdx.x == 0) {
            tile.image = blockIdx.x / tiling.tiles_across / tiling.tiles_down;
            tile.sample = tile.image / problem.images.count;
            tile.first_row = first;
            tile.last_row = last;
            tile.first_column = first_column(across, tiling.tiles_across, tiling.columns(), problem.width);
            tile.first_class = class_of(first, problem.height, edge);
            tile.classes = class_of(last, problem.height, edge) - tile.first_class + 1;
        }
    }
    float sums[ROWS][COLUMNS] = {};
    for (int start = 0; start < problem.stencils.rows; start += tiling.chunk) {
        const int rows = minimum(tiling.chunk, problem.stencils.rows - start);
        __syncthreads();
        Window window;
        window.left = tile.first_column * scale + problem.left;
        window.rows = window_rows(tiling.chunk, scale);
        window.columns = scale * (tiling.columns() + TAPS * tiling.passes - 1);
        window.scale = scale;
        window.phase_pitch = tiling.phase_pitch;
        window.reflect = problem.reflect;
        window.vectors = problem.vectors;
        find_rows(problem, tile, start, window.rows, places);
        read_stencils(problem, tile, start, rows, weights);
        __syncthreads();
        with_type(problem.images.data, problem.images.type, [&](auto* data) {
            read_window(data + problem.images.first(tile.image), problem.images, window, places, pixels);
        });
        copy_async_wait<0>();
        __syncthreads();
        add_chunk<TAPS, IS_NARROW>(sums, problem, tile, start, rows, pixels, weights);
    }
    __syncthreads();
    gather(sums, share_of(tiling), tiling.columns(), pixels);  // As [parts, TILE_ROWS, columns].
    __syncthreads();
    finish(problem, tile, pixels);
}

}  // namespace blur

// Composes the stencils of `kernels` [B, kernel_height, kernel_width] in `workspace`, and applies them to the images,
// the first output's window beginning at row `top`, column `left`; beyond the images are their reflections, or zeros.
// `workspace` has B * classes^2 * scale * rows * pitch elements, rows of the stencil (kernel_height + taps - 1) and
// pitch as for ceil_divide(columns, scale) columns, rounded up to a multiple of 8. y [.., height, width] is laid out as
// the images are, and so is the noise; level is [B].
template <typename T>
void blur_downsample(const blur::Images& images, const T* kernels, int kernel_height, int kernel_width,
                     const blur::Taps& taps, int top, int left, bool reflect, const float* noise, const float* level,
                     bool quantize, float* workspace, void* y, blur::Type type, int height, int width, Stream stream) {
    using namespace blur;
    if (images.batch * images.count == 0 || height == 0 || width == 0) return;
    Stencils stencils;
    stencils.data = workspace;
    stencils.rows = kernel_height + taps.count - 1;
    stencils.scale = taps.scale;
    stencils.classes = 2 * edge_of(taps) + 1;
    const int columns = ceil_divide(kernel_width + taps.count - 1, taps.scale);
    const bool narrow = edge_of(taps) > 0 && width < NARROW;
    const int pass = taps_of_pass(columns, narrow), passes = ceil_divide(columns, pass);
    stencils.pitch = padded(pass * passes);
    stencils.size = stencils.scale * stencils.rows * stencils.pitch;
    launch(compose<T>, dim3(unsigned(images.batch * stencils.classes * stencils.classes)), COMPOSING_THREADS,
           (2 * MOST_TAPS + stencils.rows * composing_pitch(kernel_width)) * sizeof(float), stream, kernels, workspace,
           stencils, taps, kernel_height, kernel_width, height, width, images.height, images.width);

    Problem problem;
    problem.images = images;
    problem.stencils = stencils;
    problem.noise = noise;
    problem.level = level;
    problem.y = y;
    problem.type = type;
    problem.top = top;
    problem.left = left;
    problem.height = height;
    problem.width = width;
    problem.reflect = reflect;
    problem.quantize = quantize;
    problem.vectors = images.has_vectors();
    problem.tiling = choose_tiling(stencils, pass, passes, images.batch * images.count, height, width);
    const Tiling& tiling = problem.tiling;
    if (tiling.groups == 0) throw std::runtime_error("blur_downsample: the GPU's shared memory is too small.");
    const std::int64_t blocks = images.batch * images.count * tiling.tiles_down * tiling.tiles_across;
    auto kernel = narrow ? apply<8, true> : apply<8, false>;
    if (pass == 9) kernel = apply<9, false>;
    if (pass == 11) kernel = apply<11, false>;
    if (pass == 14) kernel = apply<14, false>;
    launch(kernel, dim3(unsigned(blocks)), tiling.threads(), shared_elements(tiling, taps.scale) * sizeof(float),
           stream, problem);
}

}  // namespace dasr_fast
