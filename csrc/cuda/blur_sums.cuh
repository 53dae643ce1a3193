// The sums of blur_downsample: a thread's part of what a tile's pixels and stencils in shared memory give.
//
// A warp takes COLUMNS columns of a tile. Each of its threads sums ROWS x COLUMNS outputs over a quarter of the
// stencil's rows, so that a pixel read from shared memory serves several outputs of a row and the ROWS of a column, and
// a weight COLUMNS outputs. Outputs near the left and right edge have other stencils, read from global memory: where
// they are among a warp's columns is known to the compiler.
#pragma once

#include "blur_images.cuh"
#include "blur_stencils.cuh"
#include "blur_tiling.cuh"
#include "device.h"

namespace dasr_fast {
namespace blur {

struct Problem {
    Images images;
    Stencils stencils;
    const float *noise, *level;
    void* y;
    Type type;  // Of y.
    int top, left, height, width;  // Where the first output's window begins; size of the output.
    bool reflect, quantize, vectors;
    Tiling tiling;
};

// Columns of a warp that have a stencil of their own, as a bit each.
constexpr unsigned NO_COLUMNS = 0, LEFT_COLUMNS = 0x03, RIGHT_COLUMNS = 0xC0, ALL_COLUMNS = 0xFF;

// What a thread reads in a step.
struct Sources {
    const float* pixels;          // In shared memory,
    const float* weights[ROWS];   // as are the weights of the columns that are not special.
    const float* special;         // The sample's stencils, in global memory,
    unsigned offsets[ROWS];       // and where in them the weights of class 0 of the columns are.
    bool active[ROWS];            // Whether the warp has anything to add to the row; the same for all threads.
    int row, rows;                // Row of the stencils for the first of ROWS, and how many there are.
    int scale, column, width;     // The warp's first output is in column `column` of `width`.
    unsigned class_size;          // From one class of columns to the next, in the stencils.
};

// Adds TAPS columns of a phase of one row of pixels to the sums; if ALL_ACTIVE, without asking for which rows.
template <int TAPS, unsigned SPECIAL, bool ALL_ACTIVE>
__device__ __forceinline__ void add_taps(float (&sums)[ROWS][COLUMNS], const Sources& sources) {
    constexpr int LOADED = padded(COLUMNS + TAPS - 1);
    float pixels[LOADED];
#pragma unroll
    for (int n = 0; n < LOADED; n += 4) {
        const Vector<float, 4> four = load_16(sources.pixels + n);
#pragma unroll
        for (int k = 0; k < 4; ++k) pixels[n + k] = four.values[k];
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        if (!ALL_ACTIVE && !sources.active[i]) continue;
        const bool inside = unsigned(sources.row - sources.scale * i) < unsigned(sources.rows);
#pragma unroll
        for (int m = 0; m < TAPS; m += 4) {
            Vector<float, 4> weights = {};
            if (SPECIAL != ALL_COLUMNS) weights = load_16(sources.weights[i] + m);
#pragma unroll
            for (int k = 0; k < 4 && m + k < TAPS; ++k) {
#pragma unroll
                for (int x = 0; x < COLUMNS; ++x) {
                    if ((SPECIAL >> x & 1) == 0) sums[i][x] += weights.values[k] * pixels[x + m + k];
                }
            }
#pragma unroll
            for (int x = 0; x < COLUMNS; ++x) {
                if ((SPECIAL >> x & 1) == 0) continue;
                int column_class = SPECIAL == LEFT_COLUMNS ? x : x - COLUMNS + 2 * EDGE + 1;
                if (SPECIAL == ALL_COLUMNS) {
                    column_class = class_of(minimum(sources.column + x, sources.width - 1), sources.width, EDGE);
                }
                const unsigned offset = sources.offsets[i] + column_class * sources.class_size;
                Vector<float, 4> special = {};
                if (inside) special = load_16(sources.special + offset + m);
#pragma unroll
                for (int k = 0; k < 4 && m + k < TAPS; ++k) sums[i][x] += special.values[k] * pixels[x + m + k];
            }
        }
    }
}

__device__ __forceinline__ void advance(Sources& sources, const Strides& strides) {
    sources.pixels += strides.pixels;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        sources.weights[i] += strides.weights;
        sources.offsets[i] += unsigned(strides.special);
    }
}

// What a thread takes of a tile.
struct Share {
    int group, part, band, split;
};

__device__ __forceinline__ Share share_of(const Tiling& tiling) {
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    return {warp % tiling.groups, warp / tiling.groups, lane % BANDS, lane / BANDS};
}

// Adds to a thread's sums what rows [start, start + rows) of the stencils give.
template <int TAPS, bool IS_NARROW>
__device__ __forceinline__ void add_chunk(float (&sums)[ROWS][COLUMNS], const Problem& problem, const Tile& tile,
                                          int start, int rows, const float* pixels, const float* weights) {
    const Tiling& tiling = problem.tiling;
    const Stencils& stencils = problem.stencils;
    const Share share = share_of(tiling);
    const int scale = stencils.scale, residues = ROWS * scale;
    const int column = tile.first_column + COLUMNS * share.group;
    const bool at_left = stencils.classes > 1 && column == 0;
    const bool at_right = stencils.classes > 1 && column + COLUMNS == problem.width;
    const int all = steps_of(tiling.chunk, scale) * scale, begin = all * share.part / tiling.parts;
    int phase = begin % scale, first = begin / scale * SPLITS, residue = (first + share.split) % residues;
    const int row = residue * tiling.rows_per_residue + (first + share.split) / residues + share.band;
    const int padded_rows = tiling.chunk + 2 * MARGIN;
    Sources sources;
    sources.pixels = pixels + row * tiling.row_pitch + phase * tiling.phase_pitch + share.group * COLUMNS;
    sources.special = stencils.at(tile.sample, 0, 0);
    sources.row = first + share.split;
    sources.rows = rows;
    sources.scale = scale;
    sources.column = column;
    sources.width = problem.width;
    sources.class_size = tiling.class_size;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        const int row_class = tile.row_classes[ROWS * share.band + i], u = sources.row - scale * i;
        sources.weights[i] = weights + (row_class - tile.first_class) * tiling.slot_size +
                             (phase * padded_rows + u + MARGIN) * stencils.pitch;
        sources.offsets[i] =
            unsigned(row_class * stencils.size + (phase * stencils.rows + start + u) * stencils.pitch);
    }
    for (int steps = all * (share.part + 1) / tiling.parts - begin; steps > 0;) {
        bool all_active = true;
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            sources.active[i] = unsigned(first - scale * i + MARGIN) < unsigned(rows + MARGIN);
            all_active = all_active && sources.active[i];
        }
        int phases = minimum(scale - phase, steps);
        for (steps -= phases; phases > 0; --phases) {
            for (int pass = 0; pass < (TAPS == 8 ? tiling.passes : 1); ++pass) {
                if (IS_NARROW) {
                    add_taps<TAPS, ALL_COLUMNS, false>(sums, sources);
                } else if (at_left) {
                    add_taps<TAPS, LEFT_COLUMNS, false>(sums, sources);
                } else if (at_right) {
                    add_taps<TAPS, RIGHT_COLUMNS, false>(sums, sources);
                } else if (all_active) {
                    add_taps<TAPS, NO_COLUMNS, true>(sums, sources);
                } else {
                    add_taps<TAPS, NO_COLUMNS, false>(sums, sources);
                }
                if (TAPS == 8) advance(sources, tiling.pass_strides);
            }
            advance(sources, tiling.phase_strides);
        }
        phase = 0;
        first += SPLITS;
        sources.row += SPLITS;
        advance(sources, tiling.row_strides);
        for (residue += SPLITS; residue >= residues; residue -= residues) sources.pixels += tiling.residue_stride;
    }
}

}  // namespace blur
}  // namespace dasr_fast
