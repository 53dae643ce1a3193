// Matrices in the registers of a warp, as the PTX ISA lays them out (sections "ldmatrix" and "mma.m16n8k16").
#include <cstring>

#include "block.h"

namespace dasr_fast {
namespace emulation {

namespace {

std::uint16_t half_of(std::uint32_t word, int high) { return std::uint16_t(word >> 16 * high); }

struct Load {
    const void* row;
    std::uint32_t* r;
    bool transposed;
};

void load(void* const* lanes) {
    for (int matrix = 0; matrix < 4; ++matrix) {
        std::uint16_t elements[8][8];
        for (int row = 0; row < 8; ++row) {
            std::memcpy(elements[row], static_cast<const Load*>(lanes[8 * matrix + row])->row, 16);
        }
        for (int lane = 0; lane < 32; ++lane) {
            const Load& mine = *static_cast<const Load*>(lanes[lane]);
            const int row = lane / 4, column = lane % 4 * 2;
            const std::uint32_t low = mine.transposed ? elements[column][row] : elements[row][column];
            const std::uint32_t high = mine.transposed ? elements[column + 1][row] : elements[row][column + 1];
            mine.r[matrix] = low | high << 16;
        }
    }
}

struct Product {
    float* d;
    const std::uint32_t *a, *b;
    float (*value)(std::uint16_t);
};

void multiply_warp(void* const* lanes) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const Product& mine = *static_cast<const Product*>(lanes[lane]);
        for (int high = 0; high < 2; ++high) {
            const int group = lane / 4, pair = lane % 4 * 2 + high;
            a[group][pair] = mine.value(half_of(mine.a[0], high));
            a[group + 8][pair] = mine.value(half_of(mine.a[1], high));
            a[group][pair + 8] = mine.value(half_of(mine.a[2], high));
            a[group + 8][pair + 8] = mine.value(half_of(mine.a[3], high));
            b[pair][group] = mine.value(half_of(mine.b[0], high));
            b[pair + 8][group] = mine.value(half_of(mine.b[1], high));
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        const Product& mine = *static_cast<const Product*>(lanes[lane]);
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            for (int k = 0; k < 16; ++k) mine.d[i] += a[row][k] * b[k][column];
        }
    }
}

}  // namespace

void load_matrices(Place place, std::uint32_t (&r)[4], const void* row, bool transposed) {
    check_alignment(row, 16, "a row of a matrix");
    Load mine{row, r, transposed};
    wait_for_warp(place, &mine, load);
}

void multiply(Place place, float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              float (*value)(std::uint16_t)) {
    Product mine{d, a, b, value};
    wait_for_warp(place, &mine, multiply_warp);
}

}  // namespace emulation
}  // namespace dasr_fast
