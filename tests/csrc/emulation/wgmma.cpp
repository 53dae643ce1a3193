// Products by warpgroups, as the PTX ISA has them ("Asynchronous Warpgroup Level Matrix Multiply-Accumulate").
//
// Each warp has 16 of the 64 rows. Products are computed when they are waited for, and until then the sums are NaN.
// They read a copy of shared memory, made at each fence between ordinary accesses and those of wgmma: what was written
// after the last of them isn't there. (What a thread wrote before the fence of another one is, though it need not be.)
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "block.h"

namespace dasr_fast {
namespace emulation {

namespace {

constexpr int LANES = 32, GROUP = 4, K = 16;

struct Product {
    int n;
    std::uint64_t a, b;
    float (*value)(std::uint16_t);

    bool operator==(const Product& other) const { return n == other.n && a == other.a && b == other.b; }
};

struct Warp {
    bool begun = false;
    std::vector<Product> waiting, all;  // All since threads met.
    std::size_t committed = 0;          // Of those that wait.
    std::vector<float> sums[LANES];
    float* d[LANES];
};

std::vector<Warp> warps;
std::vector<unsigned char> visible;

std::uint64_t field(std::uint64_t descriptor, int bit) { return (descriptor >> bit & 0x3FFF) << 4; }

// A matrix of 16 columns (or rows, if it is the right factor) by its descriptor, without swizzle.
class Matrix {
public:
    Matrix(std::uint64_t descriptor, float (*value)(std::uint16_t))
        : first(field(descriptor, 0)), leading(field(descriptor, 16)), stride(field(descriptor, 32)), value(value) {
        const std::uint64_t known = 0x3FFFull | 0x3FFFull << 16 | 0x3FFFull << 32;
        if ((descriptor & ~known) != 0) fail("the descriptor of a matrix is of a layout that the emulation lacks");
    }

    float at(int row, int k) const {
        const std::uint64_t address = first + row / 8 * stride + row % 8 * 16 + k / 8 * leading + k % 8 * 2;
        if (address < 1024 || address - 1024 + 2 > visible.size()) fail("wgmma reads what isn't shared memory");
        std::uint16_t bits;
        std::memcpy(&bits, &visible[address - 1024], 2);
        return value(bits);
    }

private:
    std::uint64_t first, leading, stride;
    float (*value)(std::uint16_t);
};

// Element i of a thread of the warp that has rows 16 * warp and on.
int row_of(int lane, int i) { return lane / 4 + i % 4 / 2 * 8; }
int column_of(int lane, int i) { return i / 4 * 8 + lane % 4 * 2 + i % 2; }

void compute(Warp& warp, int first_row, const Product& product) {
    const Matrix a(product.a, product.value), b(product.b, product.value);
    std::vector<float> left(16 * K), right(product.n * K);
    for (int row = 0; row < 16; ++row) {
        for (int k = 0; k < K; ++k) left[row * K + k] = a.at(first_row + row, k);
    }
    for (int column = 0; column < product.n; ++column) {
        for (int k = 0; k < K; ++k) right[column * K + k] = b.at(column, k);
    }
    for (int lane = 0; lane < LANES; ++lane) {
        for (int i = 0; i < product.n / 2; ++i) {
            const float* row = &left[row_of(lane, i) * K];
            const float* column = &right[column_of(lane, i) * K];
            float sum = warp.sums[lane][i];
            for (int k = 0; k < K; ++k) sum += row[k] * column[k];
            warp.sums[lane][i] = sum;
        }
    }
}

struct Request {
    int warp;
    float* d;
    Product product;
};

void begin(void* const* lanes) { warps[static_cast<Request*>(lanes[0])->warp].begun = true; }

void add(void* const* lanes) {
    const Request& first = *static_cast<Request*>(lanes[0]);
    Warp& warp = warps[first.warp];
    if (!warp.begun) fail("wgmma adds to registers that no wgmma.fence came before");
    for (int lane = 0; lane < LANES; ++lane) {
        const Request& mine = *static_cast<Request*>(lanes[lane]);
        if (!(mine.product == first.product)) fail("threads of a warp give different matrices to wgmma");
        if (warp.waiting.empty()) {
            warp.sums[lane].assign(mine.d, mine.d + first.product.n / 2);
            warp.d[lane] = mine.d;
            for (int i = 0; i < first.product.n / 2; ++i) mine.d[i] = NAN;
        }
        if (warp.d[lane] != mine.d) fail("wgmma adds to registers while it still adds to other ones");
    }
    warp.waiting.push_back(first.product);
    warp.all.push_back(first.product);
}

void commit(void* const* lanes) {
    Warp& warp = warps[static_cast<Request*>(lanes[0])->warp];
    warp.committed = warp.waiting.size();
}

void finish(void* const* lanes) {
    const int number = static_cast<Request*>(lanes[0])->warp;
    Warp& warp = warps[number];
    if (warp.committed < warp.waiting.size()) fail("products are waited for that were not committed");
    for (const Product& product : warp.waiting) compute(warp, number % GROUP * 16, product);
    for (int lane = 0; lane < LANES && !warp.waiting.empty(); ++lane) {
        const bool same = warp.d[lane] == static_cast<Request*>(lanes[lane])->d;
        if (!same) fail("wgmma adds to other registers than are waited for");
        std::copy(warp.sums[lane].begin(), warp.sums[lane].end(), warp.d[lane]);
    }
    warp.waiting.clear();
    warp.committed = 0;
    warp.begun = false;
}

}  // namespace

void forget_products(int count) {
    warps.assign(count, Warp());
    visible.assign(shared_bytes_of_block(), 0xFF);
}

void check_products() {
    for (std::size_t i = 0; i < warps.size(); ++i) {
        if (!warps[i].waiting.empty()) fail("a block meets or ends, and nobody waited for its products");
        const std::size_t first = i / GROUP * GROUP;
        if (!(warps[i].all == warps[first].all)) fail("warps of a warpgroup don't give wgmma the same matrices");
    }
    // A group that isn't whole has no products.
    for (std::size_t i = warps.size() / GROUP * GROUP; i < warps.size(); ++i) {
        if (!warps[i].all.empty()) fail("a warpgroup has fewer than four warps");
    }
    for (Warp& warp : warps) warp.all.clear();
}

void fence_shared() { std::memcpy(visible.data(), shared_memory_of_block(), visible.size()); }

void begin_products(Place place) {
    Request mine{current_warp(), nullptr, {}};
    wait_for_warp(place, &mine, begin);
}

void add_product(Place place, float* d, int n, std::uint64_t a, std::uint64_t b, float (*value)(std::uint16_t)) {
    Request mine{current_warp(), d, {n, a, b, value}};
    wait_for_warp(place, &mine, add);
}

void commit_products(Place place) {
    Request mine{current_warp(), nullptr, {}};
    wait_for_warp(place, &mine, commit);
}

void wait_for_products(Place place, float* d) {
    Request mine{current_warp(), d, {}};
    wait_for_warp(place, &mine, finish);
}

}  // namespace emulation
}  // namespace dasr_fast
