// The stencils of blur_downsample: a blur kernel convolved with the taps of downsampling.
//
// All output columns share a stencil; rows have one for each class: the first two and the last two outputs of an axis
// reach beyond the blurred image, where its last pixel counts. Rows of these classes have the taps beyond moved to that
// pixel before composition; columns get the difference that this makes added, over a narrow window at either end.
#include <algorithm>
#include <cstdint>

#include "blur_stencils.h"
#include "instruction_set.h"

namespace dasr_fast {

// An item is the stencils of a sample's class of rows.
struct BlurStencils {
    int64_t height, width, out_height, out_width, kernel_height, kernel_width, taps, scale, first, window;
    const float* kernel; // [B, kernel_height, kernel_width]
    const double* weights; // [taps]: output i is the sum of weights[t] * blurred[scale * i + first + t].
    float* stencils; // [B, CLASSES, kernel_height + taps - 1, kernel_width + taps - 1]
    float* ends; // [B, CLASSES, left and right, EDGE, kernel_height + taps - 1, window]
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "vector.h"

namespace dasr_fast {
namespace {

constexpr int MOST_TAPS = 16;

// Weights of one output, those of pixels beyond the axis moved to its first or last one.
void fold(const BlurStencils& p, int64_t output, int64_t size, float* folded) {
    double moved[MOST_TAPS] = {};
    const int64_t start = p.scale * output + p.first;
    for (int64_t t = 0; t < p.taps; ++t)
        moved[std::min(std::max<int64_t>(start + t, 0), size - 1) - start] += p.weights[t];
    std::copy(moved, moved + p.taps, folded);
}

// What folding changes at the left end of a row, from column `first` to 0, ...
void change_left(const BlurStencils& p, int64_t output, float* change) {
    double last = 0;
    for (int64_t n = 0; n < -p.first; ++n) {
        const int64_t t = n - p.scale * output;
        const double weight = t >= 0 && t < p.taps ? p.weights[t] : 0;
        change[n] = (float)-weight;
        last += weight;
    }
    change[-p.first] = (float)last;
}

// ... and at its right end, from the last column to -first after it.
void change_right(const BlurStencils& p, int64_t output, float* change) {
    double last = 0;
    for (int64_t n = 1; n <= -p.first; ++n) {
        const int64_t t = p.width - 1 + n - (p.scale * output + p.first);
        const double weight = t >= 0 && t < p.taps ? p.weights[t] : 0;
        change[n] = (float)-weight;
        last += weight;
    }
    change[0] = (float)last;
}

// result[v] = sum of weights[t] * row[v - t], for `size` places.
void convolve(const float* row, const float* weights, int64_t taps, float* result, int64_t size) {
    for (int64_t v = 0; v < size; v += LANES) {
        Vector total = {};
        for (int64_t t = 0; t < taps; ++t) total += splat(weights[t]) * load(row + v - t);
        store(result + v, total, size - v);
    }
}

void compose(const BlurStencils& p, int64_t item) {
    const int64_t sample = item / CLASSES, row = item % CLASSES;
    const int64_t output = row <= EDGE ? row : p.out_height - CLASSES + row;
    if (row != EDGE && (output < 0 || output >= p.out_height)) return; // No output has this class.
    const int64_t height = p.kernel_height + p.taps - 1, width = p.kernel_width + p.taps - 1;
    float down[MOST_TAPS], across[MOST_TAPS], change[2 * EDGE][MOST_TAPS];
    std::copy(p.weights, p.weights + p.taps, down);
    std::copy(p.weights, p.weights + p.taps, across);
    if (row != EDGE) fold(p, output, p.height, down);
    for (int64_t e = 0; e < EDGE; ++e) {
        change_left(p, e, change[e]);
        change_right(p, p.out_width - EDGE + e, change[EDGE + e]);
    }
    const float* kernel = p.kernel + sample * p.kernel_height * p.kernel_width;
    float* stencil = p.stencils + item * height * width;
    float* ends = p.ends + item * 2 * EDGE * height * p.window;
    const int64_t whole = MOST_TAPS + whole_vectors(std::max(width, p.window));
    const Scratch scratch(whole);
    float* sums = scratch.data() + MOST_TAPS; // A row of the kernel convolved with the taps along columns.
    std::fill(scratch.data(), scratch.data() + whole, 0.0f);
    for (int64_t u = 0; u < height; ++u) {
        std::fill(sums, sums + p.kernel_width, 0.0f);
        for (int64_t t = std::max<int64_t>(0, u - p.kernel_height + 1); t <= std::min(u, p.taps - 1); ++t)
            for (int64_t c = 0; c < p.kernel_width; ++c) sums[c] += down[t] * kernel[(u - t) * p.kernel_width + c];
        convolve(sums, across, p.taps, stencil + u * width, width);
        for (int64_t e = 0; e < 2 * EDGE; ++e)
            convolve(sums, change[e], 1 - p.first, ends + (e * height + u) * p.window, p.window);
    }
}

} // namespace

namespace DASR_FAST_KERNELS {

void blur_stencils(const BlurStencils& p, int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) compose(p, item);
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(blur_stencils, BlurStencils)

// Writes stencils [B, 5, kh + taps - 1, kw + taps - 1] and ends [B, 5, 2, 2, kh + taps - 1, window] for the kernels
// [B, kh, kw] and downsampling taps of images of height x width.
void blur_stencils(
    Tensor kernel, Tensor weights, int64_t first, int64_t scale, int64_t height, int64_t width, Tensor stencils,
    Tensor ends) {
    BlurStencils p{};
    p.height = height, p.width = width, p.out_height = height / scale, p.out_width = width / scale;
    p.kernel_height = kernel.size(1), p.kernel_width = kernel.size(2), p.taps = weights.size(0);
    p.scale = scale, p.first = first, p.window = ends.size(5);
    p.kernel = static_cast<const float*>(kernel.const_data_ptr());
    p.weights = static_cast<const double*>(weights.const_data_ptr());
    p.stencils = static_cast<float*>(stencils.mutable_data_ptr());
    p.ends = static_cast<float*>(ends.mutable_data_ptr());
    run(best_blur_stencils(), p, kernel.size(0) * CLASSES);
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) { m.impl("blur_stencils", TORCH_BOX(&blur_stencils)); }

} // namespace dasr_fast

#endif
