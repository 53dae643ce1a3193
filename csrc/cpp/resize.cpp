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

#include "turn.h"

namespace dasr_fast {
namespace {

constexpr int BESIDE = 4; // Rows of results at a time where columns are picked.

// Vectors of results whose pixels are picked from two vectors of a row. Without an instruction for that, and where results
// lie too far apart, rows are turned instead.
struct Picks {
    explicit Picks(const Taps& taps)
        : count((taps.size + LANES - 1) / LANES), bases(2 * count), lanes(count * taps.count * LANES),
          weights(count * taps.count * LANES) {
#if defined(__clang__)
        possible = false;
#endif
        for (int64_t v = 0; v < count; ++v) {
            int64_t lowest = taps.index[v * LANES], highest = lowest;
            const int64_t size = std::min<int64_t>(LANES, taps.size - v * LANES);
            for (int64_t t = 0; t < taps.count; ++t)
                for (int64_t i = 0; i < size; ++i) {
                    const int64_t index = taps.index[t * taps.size + v * LANES + i];
                    lowest = std::min(lowest, index), highest = std::max(highest, index);
                }
            possible = possible && highest - lowest < 2 * LANES;
            base()[v] = lowest;
            for (int64_t t = 0; t < taps.count; ++t)
                for (int64_t i = 0; i < LANES; ++i) {
                    const int64_t from = t * taps.size + v * LANES + i, to = (v * taps.count + t) * LANES + i;
                    ((uint32_t*)lanes.data())[to] = i < size ? (uint32_t)(taps.index[from] - lowest) : 0;
                    weights.data()[to] = i < size ? taps.weight[from] : 0;
                }
        }
    }

    int64_t* base() const { return (int64_t*)bases.data(); } // [count]: the first pixel of each vector.

    const int64_t count;
    bool possible = LANES > 4;
    const Scratch bases, lanes, weights; // [count, taps, LANES]
};

// Row `row` of a result before its columns are summed: V vectors from column `c` on.
template <int V, class T>
inline void sum_rows(const Resize& p, const T* x, int64_t row, int64_t c, float* sums) {
    Vector sum[V] = {};
    for (int64_t t = row; t < p.rows.count * p.rows.size; t += p.rows.size) {
        const T* pixels = x + p.rows.index[t] * p.width + c;
        const Vector weight = splat(p.rows.weight[t]);
        for (int64_t v = 0; v < V; ++v)
            sum[v] += weight * (V > 1 ? load(pixels + v * LANES) : load(pixels, p.width - c));
    }
    for (int64_t v = 0; v < V; ++v) store(sums + v * LANES, sum[v]);
}

// Rows of an image's result from `first` on, at most BESIDE. `lines` [BESIDE, pitch] is memory for them before their
// columns are summed.
template <class T>
void resize_beside(const Resize& p, const Picks& picks, float* lines, int64_t pitch, int64_t image, int64_t first) {
    const T* x = (const T*)p.x + image * p.height * p.width;
    const int64_t rows = std::min<int64_t>(BESIDE, p.rows.size - first);
    for (int64_t i = 0; i < rows; ++i) {
        int64_t c = 0;
        for (; c + 4 * LANES <= p.width; c += 4 * LANES) sum_rows<4>(p, x, first + i, c, lines + i * pitch + c);
        for (; c < p.width; c += LANES) sum_rows<1>(p, x, first + i, c, lines + i * pitch + c);
    }
    for (int64_t v = 0; v < picks.count; ++v) {
        Vector lower[BESIDE], upper[BESIDE], sum[BESIDE];
        for (int i = 0; i < BESIDE; ++i) {
            const float* pixels = lines + i * pitch + picks.base()[v];
            lower[i] = load(pixels), upper[i] = load(pixels + LANES), sum[i] = Vector{};
        }
        for (int64_t t = v * p.columns.count; t < (v + 1) * p.columns.count; ++t) {
            const Bits lanes = bit_cast<Bits>(load(picks.lanes.data() + t * LANES));
            const Vector weight = load(picks.weights.data() + t * LANES);
            for (int i = 0; i < BESIDE; ++i) sum[i] += weight * shuffle(lower[i], upper[i], lanes);
        }
        T* y = (T*)p.y + (image * p.rows.size + first) * p.columns.size + v * LANES;
        for (int64_t i = 0; i < rows; ++i) store(y + i * p.columns.size, sum[i], p.columns.size - v * LANES);
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
    const Picks picks(p.columns);
    const int64_t pitch = whole_vectors(p.width) + 2 * LANES, beside = picks.possible ? BESIDE : LANES;
    const Scratch memory(beside * pitch);
    std::fill(memory.data(), memory.data() + beside * pitch, 0.0f);
    with_type(p.type, [&](auto element) {
        using T = typename decltype(element)::type;
        for (int64_t item = begin; item < end; ++item) {
            const int64_t first = item % p.items * ROWS, last = std::min(first + ROWS, p.rows.size);
            for (int64_t row = first; row < last; row += beside) {
                if (picks.possible)
                    resize_beside<T>(p, picks, memory.data(), pitch, item / p.items, row);
                else
                    resize_rows<T>(p, memory.data(), item / p.items, row);
            }
        }
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include <cmath>
#include <vector>

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(resize, Resize)

// As `taps` in `dasr_fast/reference/resize.py`; `reach` is 0 for the mean of an area, 1 for bilinear, 2 for bicubic.
class MadeTaps {
public:
    MadeTaps(int64_t length, int64_t size, int64_t reach, bool antialias) : size_(size) {
        const double step = (double)length / (double)size, widened = antialias && step > 1 ? step : 1;
        if (reach == 0)
            for (int64_t i = 0; i < size; ++i) count_ = std::max(count_, end(i, length) - i * length / size);
        else
            count_ = (int64_t)std::ceil(2 * (double)reach * widened);
        index_.resize(count_ * size), weight_.resize(count_ * size);
        for (int64_t i = 0; i < size; ++i) {
            const double centre = ((double)i + 0.5) * (double)length / (double)size - 0.5;
            const int64_t first = reach == 0 ? i * length / size : (int64_t)std::floor(centre - (double)reach * widened) + 1;
            const int64_t covered = end(i, length) - first;
            double total = 0;
            for (int64_t t = 0; t < count_; ++t) {
                const int64_t number = first + t;
                double weight = reach == 0 ? (double)(t < covered) / (double)covered
                                           : cubic(std::abs(centre - (double)number) / widened, reach, antialias);
                if (reach > 0 && antialias && (number < 0 || number >= length)) weight = 0;
                total += weight;
                weight_[t * size + i] = (float)weight;
                index_[t * size + i] = std::min(std::max<int64_t>(number, 0), (reach == 0 ? first + covered : length) - 1);
            }
            if (reach > 0 && antialias)
                for (int64_t t = 0; t < count_; ++t) weight_[t * size + i] = (float)(weight_[t * size + i] / total);
        }
    }

    Taps get() const { return {count_, size_, index_.data(), weight_.data()}; }

private:
    // The old pixel after the last one that a new one overlaps.
    int64_t end(int64_t i, int64_t length) const { return ((i + 1) * length + size_ - 1) / size_; }

    // The hat function, or Keys' cubic convolution.
    static double cubic(double x, int64_t reach, bool antialias) {
        const double a = antialias ? -0.5 : -0.75;
        if (reach == 1) return std::max(1 - x, 0.0);
        if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
        return x < 2 ? a * (((x - 5) * x + 8) * x - 4) : 0;
    }

    int64_t count_ = 0, size_;
    std::vector<int64_t> index_;
    std::vector<float> weight_;
};

// Images [..., H, W] to [..., height, width].
Tensor resize(Tensor image, int64_t height, int64_t width, int64_t reach, bool antialias) {
    const Tensor x = torch::stable::contiguous(image);
    const int64_t last = x.dim() - 1;
    Resize p{};
    p.height = x.size(last - 1), p.width = x.size(last), p.type = type_of(x);
    const MadeTaps rows(p.height, height, reach, antialias), columns(p.width, width, reach, antialias);
    p.rows = rows.get(), p.columns = columns.get();
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
