// resize: sums of a few weighted rows, then of columns of those. An item is ROWS rows of a result.
#include <algorithm>
#include <cstdint>

#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

constexpr int64_t ROWS = 16; // No fewer than a vector has lanes.

struct Taps {
    int64_t count, size; // Of each new row or column; of those.
    const int64_t* index; // [count, size]
    const float* weight; // [count, size]
};

struct Resize {
    int64_t height, width, items; // Of an image.
    Taps rows, columns;
    Type type;
    const void* x;
    void* y;
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "vector.h"

namespace dasr_fast {
namespace {

// Turns a square of LANES x LANES numbers.
inline void turn(Vector (&v)[LANES]) {
    Bits low, high;
    for (int i = 0; i < LANES; ++i) low[i] = i % 2 * LANES + i / 2, high[i] = low[i] + LANES / 2;
    for (int width = 1; width < LANES; width *= 2) { // Rows of both halves in turns, element by element.
        Vector t[LANES];
        for (int i = 0; i < LANES / 2; ++i) {
            t[2 * i] = shuffle(v[i], v[i + LANES / 2], low);
            t[2 * i + 1] = shuffle(v[i], v[i + LANES / 2], high);
        }
        for (int i = 0; i < LANES; ++i) v[i] = t[i];
    }
}

// Rows of an image's result from `first` on, one for each lane. `strip` [width, LANES] is memory for them before their
// columns are summed, turned.
template <class T>
void resize_rows(const Resize& p, float* strip, int64_t image, int64_t first) {
    const T* x = (const T*)p.x + image * p.height * p.width;
    Vector v[LANES];
    for (int64_t c = 0; c < p.width; c += LANES) {
        for (int64_t i = 0; i < LANES; ++i) {
            const int64_t row = std::min(first + i, p.rows.size - 1);
            v[i] = Vector{};
            for (int64_t t = row; t < p.rows.count * p.rows.size; t += p.rows.size)
                v[i] += splat(p.rows.weight[t]) * load(x + p.rows.index[t] * p.width + c, p.width - c);
        }
        turn(v);
        for (int64_t i = 0; i < LANES; ++i) store(strip + (c + i) * LANES, v[i]);
    }
    const int64_t count = std::min<int64_t>(LANES, p.rows.size - first);
    for (int64_t c = 0; c < p.columns.size; c += LANES) {
        for (int64_t i = 0; i < LANES; ++i) {
            v[i] = Vector{};
            const int64_t column = std::min(c + i, p.columns.size - 1);
            for (int64_t t = column; t < p.columns.count * p.columns.size; t += p.columns.size)
                v[i] += splat(p.columns.weight[t]) * load(strip + p.columns.index[t] * LANES);
        }
        turn(v);
        for (int64_t i = 0; i < count; ++i)
            store((T*)p.y + (image * p.rows.size + first + i) * p.columns.size + c, v[i], p.columns.size - c);
    }
}

} // namespace

namespace DASR_FAST_KERNELS {

void resize(const Resize& p, int64_t begin, int64_t end) {
    const Scratch strip(whole_vectors(p.width) * LANES);
    with_type(p.type, [&](auto element) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t first = item % p.items * ROWS, last = std::min(first + ROWS, p.rows.size);
            for (int64_t row = first; row < last; row += LANES)
                resize_rows<typename decltype(element)::type>(p, strip.data(), item / p.items, row);
        }
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(resize, Resize)

static Taps taps(const Tensor& index, const Tensor& weight) {
    const auto numbers = static_cast<const int64_t*>(index.const_data_ptr());
    return {index.size(0), index.size(1), numbers, static_cast<const float*>(weight.const_data_ptr())};
}

// Images [..., H, W]; of each new row and column, the old ones [taps, size] that it takes, and their weights.
Tensor resize(Tensor image, Tensor rows, Tensor row_weights, Tensor columns, Tensor column_weights) {
    const Tensor x = torch::stable::contiguous(image);
    const int64_t last = x.dim() - 1;
    Resize p{};
    p.height = x.size(last - 1), p.width = x.size(last), p.type = type_of(x);
    p.rows = taps(rows, row_weights), p.columns = taps(columns, column_weights);
    std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
    shape[last - 1] = p.rows.size, shape[last] = p.columns.size;
    const Tensor y = torch::stable::empty(shape, x.scalar_type());
    p.x = x.const_data_ptr(), p.y = y.mutable_data_ptr();
    p.items = (p.rows.size + ROWS - 1) / ROWS;
    run(best_resize(), p, x.numel() / (p.height * p.width) * p.items);
    return y;
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) { m.impl("resize", TORCH_BOX(&resize)); }

} // namespace dasr_fast

#endif
