// Matrix products of small panels that lie in a cache.
#pragma once

#include "vector.h"

namespace dasr_fast {
namespace {

constexpr int ROWS = 6; // Of a block whose sums stay in registers.
constexpr int COLUMNS = REGISTERS == 32 ? 4 : 2; // Vectors of them.

// The left matrix of a product: element (row, k) at `start[row / ROWS * block + row % ROWS * row + k * depth]`.
// Whole blocks are read.
struct Left {
    const float* start;
    int64_t block, row, depth;
};

// Zeros for what the last block has beyond `rows` rows: products with subnormal numbers, as memory that nobody has written
// may hold, take a hundred times as long on some processors.
inline void fill_block(float* matrix, int64_t rows, int64_t pitch) {
    std::memset((void*)(matrix + rows * pitch), 0, (ROWS - 1) * pitch * sizeof(float));
}

template <int N, class Emit>
inline void multiply_column(
    const Left& left, int64_t rows, const float* right, int64_t right_pitch, int64_t depth, const Emit& emit
) {
    for (int64_t first = 0; first < rows; first += ROWS) {
        const float *a = left.start + first / ROWS * left.block, *b = right;
        Vector sums[ROWS][N] = {};
        for (int64_t k = 0; k < depth; ++k, a += left.depth, b += right_pitch) {
            Vector columns[N];
            for (int n = 0; n < N; ++n) columns[n] = load(b + n * LANES);
            for (int m = 0; m < ROWS; ++m) {
                const Vector factor = splat(a[m * left.row]);
                for (int n = 0; n < N; ++n) sums[m][n] += factor * columns[n];
            }
        }
        for (int m = 0; m < ROWS; ++m)
            if (first + m < rows)
                for (int n = 0; n < N; ++n) emit(first + m, n * LANES, sums[m][n]);
    }
}

// The product of `left` (rows x depth) and `right` (depth x columns, whole vectors with `right_pitch` floats from row
// to row): `emit(row, column, value)` for each vector of it.
template <class Emit>
inline void multiply(
    const Left& left, int64_t rows, const float* right, int64_t right_pitch, int64_t columns, int64_t depth,
    const Emit& emit
) {
    for (int64_t column = 0; column < columns; column += COLUMNS * LANES) {
        const auto shifted = [&](int64_t row, int64_t c, Vector value) { emit(row, column + c, value); };
        const float* b = right + column;
        const int64_t vectors = (columns - column + LANES - 1) / LANES;
        if (vectors >= COLUMNS)
            multiply_column<COLUMNS>(left, rows, b, right_pitch, depth, shifted);
        else if (vectors == 3)
            multiply_column<3>(left, rows, b, right_pitch, depth, shifted);
        else if (vectors == 2)
            multiply_column<2>(left, rows, b, right_pitch, depth, shifted);
        else
            multiply_column<1>(left, rows, b, right_pitch, depth, shifted);
    }
}

// Floats that `pack` takes.
constexpr int64_t packed_size(int64_t rows, int64_t depth) { return (rows + ROWS - 1) / ROWS * ROWS * depth; }

// Puts element (row, k) of a matrix, `read(row, k)`, where the rows of a block are neighbours; zeros fill the last.
template <class Read>
inline Left pack(const Read& read, int64_t rows, int64_t depth, float* packed) {
    for (int64_t row = 0; row < (rows + ROWS - 1) / ROWS * ROWS; ++row)
        for (int64_t k = 0; k < depth; ++k)
            packed[row / ROWS * ROWS * depth + k * ROWS + row % ROWS] = row < rows ? read(row, k) : 0.0f;
    return {packed, ROWS * depth, 1, ROWS};
}

// Which lanes of two vectors, one after the other, `merge` adds.
template <int WIDTH>
struct Lanes {
    uint32_t low[LANES], high[LANES];
    constexpr Lanes() : low(), high() {
        for (int lane = 0; lane < LANES; ++lane) {
            const int place = lane % (2 * WIDTH), group = lane - place;
            low[lane] = place < WIDTH ? group + place : LANES + group + place - WIDTH;
            high[lane] = low[lane] + WIDTH;
        }
    }
};

// Halves the lanes over which each of the sums in `first` and `second` is spread, and interleaves them.
template <int WIDTH>
inline Vector merge(Vector first, Vector second) {
    static constexpr Lanes<WIDTH> lanes;
    Bits low, high;
    std::memcpy(&low, lanes.low, sizeof(low));
    std::memcpy(&high, lanes.high, sizeof(high));
    return shuffle(first, second, low) + shuffle(first, second, high);
}

// Lane i is the sum of the lanes of `vectors[i]`, which are lost.
template <int WIDTH = 1>
inline Vector sums_of(Vector (&vectors)[LANES]) {
    if constexpr (WIDTH < LANES) {
        for (int i = 0; i < LANES; i += 2 * WIDTH) vectors[i] = merge<WIDTH>(vectors[i], vectors[i + WIDTH]);
        return sums_of<2 * WIDTH>(vectors);
    }
    return vectors[0];
}

// Adds to `total` (rows x columns, row after row) the product of two matrices that are `depth` long and contiguous
// along it: rows of `left` and `right` `pitch` floats apart. Whole vectors are read: zeros must fill the last of `left`.
inline void add_product_along_rows(
    const float* left, int64_t rows, const float* right, int64_t columns, int64_t pitch, int64_t depth, float* total
) {
    constexpr int A = LANES == 4 ? 2 : LANES / 4, B = LANES / A;
    for (int64_t row = 0; row < rows; row += A)
        for (int64_t column = 0; column < columns; column += B) {
            Vector sums[LANES] = {};
            const float *a[A], *b[B]; // Beyond the end the last is taken again.
            for (int i = 0; i < A; ++i) a[i] = left + (row + i < rows ? row + i : rows - 1) * pitch;
            for (int j = 0; j < B; ++j) b[j] = right + (column + j < columns ? column + j : columns - 1) * pitch;
            for (int64_t k = 0; k < depth; k += LANES) {
                Vector x[A];
                for (int i = 0; i < A; ++i) x[i] = load(a[i] + k);
                for (int j = 0; j < B; ++j) {
                    const Vector y = load(b[j] + k);
                    for (int i = 0; i < A; ++i) sums[i * B + j] += x[i] * y;
                }
            }
            const Vector result = sums_of(sums);
            for (int i = 0; i < A && row + i < rows; ++i)
                for (int j = 0; j < B && column + j < columns; ++j)
                    total[(row + i) * columns + column + j] += result[i * B + j];
        }
}

} // namespace
} // namespace dasr_fast
