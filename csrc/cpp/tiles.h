// Products of bfloat16 matrices in tile registers, with float sums: AMX where the instruction set has it, and elsewhere the
// same sums in the same order.
//
// A left tile holds 16 rows of 32 elements, a right one 16 columns of 32, whose elements 2 k and 2 k + 1 lie beside each
// other: `[16][16][2]`. A tile of sums holds 16 x 16 floats.
#pragma once

#include "vector.h"

namespace dasr_fast {
namespace {

constexpr int TILE_ROWS = 16, TILE_COLUMNS = 16, TILE_DEPTH = 32;
constexpr int64_t TILE_ELEMENTS = TILE_COLUMNS * TILE_DEPTH; // Of a left or right tile.

constexpr int64_t whole_depths(int64_t value) { return (value + TILE_DEPTH - 1) / TILE_DEPTH * TILE_DEPTH; }
constexpr int64_t whole_tiles(int64_t value) { return (value + TILE_COLUMNS - 1) / TILE_COLUMNS; }

#if defined(__AMX_BF16__)

// The eight tile registers of this thread, as long as it lives.
class Tiles {
public:
    Tiles() {
        struct {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {};
            uint8_t rows[16] = {};
        } shapes;
        for (int i = 0; i < 8; ++i) shapes.bytes[i] = 64, shapes.rows[i] = TILE_ROWS;
        asm volatile("ldtilecfg %0" ::"m"(shapes));
    }
    ~Tiles() { asm volatile("tilerelease"); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;

    template <int I>
    void zero() {
        asm volatile("tilezero %%tmm%c0" ::"i"(I));
    }
    // Rows of 64 bytes, `pitch` bytes apart.
    template <int I>
    void load(const void* start, int64_t pitch) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(start), "r"(pitch), "i"(I) : "memory");
    }
    template <int I>
    void store(void* start, int64_t pitch) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(start), "r"(pitch), "i"(I) : "memory");
    }
    template <int SUMS, int LEFT, int RIGHT>
    void multiply() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUMS), "i"(LEFT), "i"(RIGHT));
    }
};

#else

class Tiles {
public:
    template <int I>
    void zero() {
        std::memset(bytes_[I], 0, sizeof(bytes_[I]));
    }
    template <int I>
    void load(const void* start, int64_t pitch) {
        for (int row = 0; row < TILE_ROWS; ++row) std::memcpy(bytes_[I][row], (const char*)start + row * pitch, 64);
    }
    template <int I>
    void store(void* start, int64_t pitch) {
        for (int row = 0; row < TILE_ROWS; ++row) std::memcpy((char*)start + row * pitch, bytes_[I][row], 64);
    }
    // The sums of even and of odd elements, then theirs: as the instruction adds. A product of two bfloat16 is exact.
    template <int SUMS, int LEFT, int RIGHT>
    void multiply() {
        for (int row = 0; row < TILE_ROWS; ++row) {
            const bfloat16* left = (const bfloat16*)bytes_[LEFT][row];
            float even[TILE_COLUMNS] = {}, odd[TILE_COLUMNS] = {}, sums[TILE_COLUMNS];
            for (int k = 0; k < TILE_DEPTH / 2; ++k) {
                const bfloat16* right = (const bfloat16*)bytes_[RIGHT][k];
                for (int column = 0; column < TILE_COLUMNS; ++column) {
                    even[column] += number(left + 2 * k) * number(right + 2 * column);
                    odd[column] += number(left + 2 * k + 1) * number(right + 2 * column + 1);
                }
            }
            std::memcpy(sums, bytes_[SUMS][row], sizeof(sums));
            for (int column = 0; column < TILE_COLUMNS; ++column) sums[column] += even[column] + odd[column];
            std::memcpy(bytes_[SUMS][row], sums, sizeof(sums));
        }
    }

private:
    alignas(64) unsigned char bytes_[8][TILE_ROWS][64];
};

#endif

constexpr int MOST_TILES = 4; // Left tiles of a `multiply_column`.
constexpr int64_t BLOCK = MOST_TILES * TILE_ROWS; // Rows of its product.

// Sums over `steps` of the products of M left tiles, one below the other, with a right one: `[16 M][16]` at `sums`.
// The first row of a step's left tile stands `offsets[step]` bytes after `left`, the others `pitch` bytes after each other;
// right tiles follow each other.
template <int M>
inline void multiply_column(
    Tiles& tiles, const void* left, const int64_t* offsets, int64_t pitch, const bfloat16* right, int64_t steps, float* sums
) {
    tiles.zero<0>();
    if constexpr (M > 1) tiles.zero<1>();
    if constexpr (M > 2) tiles.zero<2>();
    if constexpr (M > 3) tiles.zero<3>();
    for (int64_t step = 0; step < steps; ++step, right += TILE_ELEMENTS) {
        const char* start = (const char*)left + offsets[step];
        tiles.load<4>(right, 64);
        tiles.load<5>(start, pitch);
        tiles.multiply<0, 5, 4>();
        if constexpr (M > 1) tiles.load<6>(start + 16 * pitch, pitch), tiles.multiply<1, 6, 4>();
        if constexpr (M > 2) tiles.load<7>(start + 32 * pitch, pitch), tiles.multiply<2, 7, 4>();
        if constexpr (M > 3) tiles.load<5>(start + 48 * pitch, pitch), tiles.multiply<3, 5, 4>();
    }
    tiles.store<0>(sums, 64);
    if constexpr (M > 1) tiles.store<1>(sums + 256, 64);
    if constexpr (M > 2) tiles.store<2>(sums + 512, 64);
    if constexpr (M > 3) tiles.store<3>(sums + 768, 64);
}

template <class... Arguments>
inline void multiply_rows(Tiles& tiles, int64_t rows, Arguments... arguments) {
    switch ((rows + TILE_ROWS - 1) / TILE_ROWS) {
    case 1: return multiply_column<1>(tiles, arguments...);
    case 2: return multiply_column<2>(tiles, arguments...);
    case 3: return multiply_column<3>(tiles, arguments...);
    default: return multiply_column<4>(tiles, arguments...);
    }
}

// Copies a number of elements that is a multiple of TILE_DEPTH: what is short for the library's function.
inline void copy(const bfloat16* from, int64_t count, bfloat16* to) {
    for (int64_t i = 0; i < count; i += TILE_DEPTH) __builtin_memcpy((void*)(to + i), from + i, 64);
}

// Two rows of `count` elements as a row of right tiles: element by element beside each other; zeros follow.
inline void interleave(const bfloat16* even, const bfloat16* odd, int64_t count, bfloat16* out) {
    if (count >= TILE_COLUMNS) {
        for (int i = 0; i < TILE_COLUMNS; ++i) out[2 * i] = even[i], out[2 * i + 1] = odd[i];
        return;
    }
    for (int i = 0; i < TILE_COLUMNS; ++i)
        out[2 * i] = i < count ? even[i] : bfloat16{}, out[2 * i + 1] = i < count ? odd[i] : bfloat16{};
}

// Right tiles `[columns / 16][depth / 32]` of a matrix whose rows of `columns` elements `row(k)` gives.
template <class Row>
inline void pack_rows(const Row& row, int64_t depth, int64_t columns, int64_t pitch, bfloat16* packed) {
    alignas(64) static const bfloat16 zeros[TILE_COLUMNS] = {};
    for (int64_t column = 0; column < columns; column += TILE_COLUMNS, packed += pitch)
        for (int64_t k = 0; k < whole_depths(depth); k += 2) {
            const bfloat16 *even = k < depth ? row(k) + column : zeros, *odd = k + 1 < depth ? row(k + 1) + column : zeros;
            interleave(even, odd, columns - column, packed + k * TILE_COLUMNS);
        }
}

// The same of a matrix whose rows are `row_step` elements apart, and whose columns are `column_step` apart.
inline void pack_strided(
    const bfloat16* matrix, int64_t row_step, int64_t column_step, int64_t depth, int64_t columns, int64_t pitch,
    bfloat16* packed
) {
    for (int64_t column = 0; column < columns; column += TILE_COLUMNS, packed += pitch)
        for (int64_t k = 0; k < whole_depths(depth); ++k)
            for (int64_t i = 0; i < TILE_COLUMNS; ++i)
                packed[k / 2 * 2 * TILE_COLUMNS + 2 * i + k % 2] = column + i < columns && k < depth
                    ? matrix[k * row_step + (column + i) * column_step]
                    : bfloat16{};
}

// Adds to 2 x 2 tiles of sums, `[2][2][16][16]` at `sums`, the products of two left tiles, whose rows stand `pitch` bytes apart
// and go on from step to step, with two right ones, `next` elements apart.
inline void add_products(
    Tiles& tiles, const bfloat16* left, int64_t pitch, const bfloat16* right, int64_t next, int64_t steps, float* sums
) {
    tiles.load<0>(sums, 64), tiles.load<1>(sums + 256, 64), tiles.load<2>(sums + 512, 64), tiles.load<3>(sums + 768, 64);
    for (int64_t step = 0; step < steps; ++step, left += TILE_DEPTH, right += TILE_ELEMENTS) {
        tiles.load<4>(left, pitch);
        tiles.load<6>(right, 64);
        tiles.multiply<0, 4, 6>();
        tiles.load<7>(right + next, 64);
        tiles.multiply<1, 4, 7>();
        tiles.load<5>((const char*)left + 16 * pitch, pitch);
        tiles.multiply<2, 5, 6>();
        tiles.multiply<3, 5, 7>();
    }
    tiles.store<0>(sums, 64), tiles.store<1>(sums + 256, 64), tiles.store<2>(sums + 512, 64), tiles.store<3>(sums + 768, 64);
}

// Sixteen channels, or the first `count` of them and zeros, of 32 pixels: `[16][pitch]`, pixels along the row.
inline void turn_pixels(const bfloat16* const* pixels, int64_t channel, int64_t count, bfloat16* out, int64_t pitch) {
#if defined(__AVX512F__)
    const __mmask16 mask = count >= 16 ? (__mmask16)0xffff : lanes_below(count);
    __m512i pairs[16], turned[16];
    for (int i = 0; i < 16; ++i) {
        const __m256i even = _mm256_maskz_loadu_epi16(mask, pixels[2 * i] + channel);
        const __m256i odd = _mm256_maskz_loadu_epi16(mask, pixels[2 * i + 1] + channel);
        pairs[i] = _mm512_or_si512(
            _mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
    }
    for (int i = 0; i < 16; i += 2) {
        turned[i] = _mm512_unpacklo_epi32(pairs[i], pairs[i + 1]);
        turned[i + 1] = _mm512_unpackhi_epi32(pairs[i], pairs[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; ++j) {
            pairs[i + 2 * j] = _mm512_unpacklo_epi64(turned[i + j], turned[i + j + 2]);
            pairs[i + 2 * j + 1] = _mm512_unpackhi_epi64(turned[i + j], turned[i + j + 2]);
        }
    // Lane 4 l + r of `pairs[4 q + j]` is now channel 4 l + j of pair 4 q + r.
    for (int j = 0; j < 4; ++j)
        for (int q = 0; q < 2; ++q) {
            turned[j + 8 * q] = _mm512_shuffle_i32x4(pairs[j + 8 * q], pairs[j + 8 * q + 4], 0x88);
            turned[j + 8 * q + 4] = _mm512_shuffle_i32x4(pairs[j + 8 * q], pairs[j + 8 * q + 4], 0xdd);
        }
    for (int j = 0; j < 4; ++j)
        for (int odd = 0; odd < 2; ++odd) {
            const __m512i low = turned[j + 4 * odd], high = turned[j + 4 * odd + 8];
            _mm512_storeu_si512(out + (j + 4 * odd) * pitch, _mm512_shuffle_i32x4(low, high, 0x88));
            _mm512_storeu_si512(out + (j + 4 * odd + 8) * pitch, _mm512_shuffle_i32x4(low, high, 0xdd));
        }
#else
    for (int c = 0; c < 16; ++c)
        for (int i = 0; i < TILE_DEPTH; ++i) out[c * pitch + i] = c < count ? pixels[i][channel + c] : bfloat16{};
#endif
}

} // namespace
} // namespace dasr_fast
