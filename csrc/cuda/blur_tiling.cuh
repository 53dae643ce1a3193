// How blocks, warps and threads share the outputs of blur_downsample, and what a block has in shared memory.
#pragma once

#include "blur_stencils.cuh"
#include "device.h"

namespace dasr_fast {
namespace blur {

constexpr int ROWS = 2;
constexpr int COLUMNS = 8;
constexpr int BANDS = 8;               // Of ROWS rows, side by side in a warp.
constexpr int SPLITS = WARP / BANDS;   // Threads that share the sums of a band: each takes every SPLITS-th row.
constexpr int MARGIN = SPLITS - 1;     // Rows of zeros above and below a stencil, for threads that are ahead or behind.
constexpr int TILE_ROWS = ROWS * BANDS;

// Warps of a block, two of which share a multiprocessor's registers: more taps need more of them.
__host__ __device__ constexpr int most_warps(int taps) { return taps > 9 ? 10 : 12; }

// Narrower outputs have columns that are near both edges of a warp's columns: each then has its own stencil.
constexpr int NARROW = COLUMNS + EDGE;

// Columns of a phase that one pass over them takes, and what rows of weights are padded to.
inline int taps_of_pass(int columns, bool narrow) {
    if (narrow || columns <= 8 || columns > 14) return 8;
    return columns <= 9 ? 9 : columns <= 11 ? 11 : 14;
}

// Rows of TAPS weights are padded to whole 16 bytes.
__host__ __device__ constexpr int padded(int taps) { return (taps + 3) / 4 * 4; }

// Distances in the pixels and stencils in shared memory, and in the stencils in global memory.
struct Strides {
    int pixels, weights, special;
};

// How the outputs are cut into tiles, and the stencils' rows into chunks that fit into shared memory.
struct Tiling {
    int groups;  // Warps side by side, of COLUMNS columns.
    int parts;   // Warps that share the sums of the same outputs.
    int tiles_down, tiles_across, chunk, chunks, passes, slots;
    // In elements, of shared memory,
    int header_size, phase_pitch, row_pitch, rows_per_residue, slot_size;
    // between two classes of columns of the stencils in global memory,
    unsigned class_size;
    // and what a step to the next pass, phase, SPLITS rows, or residue of rows adds to a thread's pointers.
    Strides pass_strides, phase_strides, row_strides;
    int residue_stride;

    __host__ __device__ int columns() const { return groups * COLUMNS; }
    __host__ __device__ int threads() const { return groups * parts * WARP; }
};

// Steps down the rows that a band sees, SPLITS rows each.
inline __host__ __device__ int steps_of(int chunk, int scale) {
    return ceil_divide(chunk + scale * (ROWS - 1), SPLITS);
}

inline __host__ __device__ int window_rows(int chunk, int scale) {
    return ROWS * scale * (BANDS - 1) + SPLITS * steps_of(chunk, scale);
}

// First output column of a tile. The last tile ends where the image does, and overlaps with the one before.
inline __host__ __device__ int first_column(int tile, int tiles, int columns, int width) {
    return tile > 0 && tile == tiles - 1 ? width - columns : tile * columns;
}

// Where the columns that a tile writes begin; the outer EDGE columns belong to the tile whose warps know them as such.
inline __host__ __device__ int first_written(int tile, int tiles, int columns, int width) {
    if (tile >= tiles) return width;
    return tile == 0 ? 0 : maximum(first_column(tile, tiles, columns, width), EDGE);
}

// What the threads of a block must know of it, in shared memory, as registers are for sums.
struct Tile {
    std::int64_t image, sample;
    int first_row, last_row, first_column;  // Among the outputs.
    int first_class, classes;               // Of the rows; shared memory holds the stencils of these.
    int row_classes[TILE_ROWS];
};

// Elements of shared memory of a block.
inline std::int64_t shared_elements(const Tiling& tiling, int scale) {
    const std::int64_t pixels = std::int64_t(ROWS) * scale * tiling.rows_per_residue * tiling.row_pitch;
    const std::int64_t partial = std::int64_t(tiling.parts) * TILE_ROWS * tiling.columns();
    return tiling.header_size + maximum(pixels + std::int64_t(tiling.slots) * tiling.slot_size, partial);
}

// Most classes of rows in a tile.
inline int slots_of(int height, int tiles, int edge) {
    int slots = 1;
    for (int tile = 0; tile < tiles; ++tile) {
        const int last = minimum(height, (tile + 1) * TILE_ROWS) - 1;
        slots = maximum(slots, class_of(last, height, edge) - class_of(tile * TILE_ROWS, height, edge) + 1);
    }
    return slots;
}

// The tiling with `groups` warps side by side and the stencils in `chunks` chunks, or one fewer.
inline Tiling tiling_of(const Stencils& stencils, int taps, int passes, int height, int width, int groups, int chunks) {
    const int scale = stencils.scale;
    Tiling tiling;
    tiling.groups = groups;
    tiling.passes = passes;
    tiling.chunk = minimum(ceil_divide(ceil_divide(stencils.rows, chunks), SPLITS) * SPLITS, stencils.rows);
    tiling.chunks = ceil_divide(stencils.rows, tiling.chunk);
    tiling.parts = maximum(1, minimum(most_warps(taps) / groups, steps_of(tiling.chunk, scale) * scale));
    tiling.tiles_down = ceil_divide(height, TILE_ROWS);
    tiling.tiles_across = ceil_divide(width, tiling.columns());
    const int rows = window_rows(tiling.chunk, scale);
    tiling.header_size = ceil_divide(int(sizeof(Tile) / 4) + 2 * rows, 4) * 4;
    tiling.phase_pitch = (groups - 1) * COLUMNS + (passes - 1) * taps + padded(COLUMNS + taps - 1);
    // An odd number of 16 bytes, so that the bands of a warp read different banks, with room for one element more.
    tiling.row_pitch = scale * tiling.phase_pitch / 8 * 8 + (scale * tiling.phase_pitch % 8 < 4 ? 4 : 12);
    tiling.rows_per_residue = ceil_divide(rows, ROWS * scale);
    // Stencils of different classes begin in different banks.
    const int padded_rows = tiling.chunk + 2 * MARGIN;
    tiling.slot_size = ceil_divide(scale * padded_rows * stencils.pitch, 32) * 32 + 8;
    tiling.class_size = unsigned(stencils.classes * stencils.size);
    // A step to the next phase takes back those to the passes.
    const int passed = taps == 8 ? taps * passes : 0;
    tiling.pass_strides = {taps, taps, taps};
    tiling.phase_strides = {tiling.phase_pitch - passed, padded_rows * stencils.pitch - passed,
                            stencils.rows * stencils.pitch - passed};
    tiling.row_strides = {SPLITS * tiling.rows_per_residue * tiling.row_pitch - scale * tiling.phase_pitch,
                          (SPLITS - scale * padded_rows) * stencils.pitch,
                          (SPLITS - scale * stencils.rows) * stencils.pitch};
    tiling.residue_stride = (1 - ROWS * scale * tiling.rows_per_residue) * tiling.row_pitch;
    return tiling;
}

// Instructions of a block's threads, in sum, roughly: a multiplication is one, a pixel is read in six.
inline double cost_of(const Tiling& tiling, const Stencils& stencils, int taps) {
    const int scale = stencils.scale, steps = steps_of(tiling.chunk, scale) * scale;
    const double uneven = double(ceil_divide(steps, tiling.parts)) * tiling.parts / steps;
    const double products = double(TILE_ROWS) * tiling.columns() * stencils.rows * scale * taps * tiling.passes;
    const double pixels = double(window_rows(tiling.chunk, scale)) * scale * tiling.phase_pitch;
    const double weights = double(tiling.slots) * tiling.slot_size;
    return uneven * products + tiling.chunks * (6 * pixels + 2 * weights);
}

// The tiling with which the multiprocessor that has most blocks has least to do; none (no groups) if none fits.
inline Tiling choose_tiling(const Stencils& stencils, int taps, int passes, std::int64_t images, int height,
                            int width) {
    const std::int64_t multiprocessors = sm_count();
    const std::size_t most = max_shared_memory(), half = (most + 1024) / 2 - 1024;  // 1 KiB a block is CUDA's.
    const int slots = slots_of(height, ceil_divide(height, TILE_ROWS), stencils.classes / 2);
    Tiling best = {};
    double least = 0;
    for (int groups = 1; groups <= minimum(most_warps(taps), maximum(1, width / COLUMNS)); ++groups) {
        for (int chunks = 1; chunks <= ceil_divide(stencils.rows, SPLITS); ++chunks) {
            Tiling tiling = tiling_of(stencils, taps, passes, height, width, groups, chunks);
            tiling.slots = slots;
            const std::size_t bytes = shared_elements(tiling, stencils.scale) * sizeof(float);
            if (bytes > most) continue;
            const double alone = bytes > half ? 1.4 : 1.0;  // Nothing is multiplied while a block reads.
            const std::int64_t blocks = images * tiling.tiles_down * tiling.tiles_across;
            const double cost = alone * ceil_divide(blocks, multiprocessors) * cost_of(tiling, stencils, taps);
            if (least == 0 || cost < least) {
                least = cost;
                best = tiling;
            }
            if (bytes <= half) break;  // More chunks would read more.
        }
    }
    return best;
}

}  // namespace blur
}  // namespace dasr_fast
