// blur_downsample: the stencils of blur_stencils.cpp applied to images, and the gradient for the kernel.
#include <algorithm>
#include <cstdint>

#include "blur_stencils.h"
#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

// An item is `band` output rows of an image. The stencil of the first output begins at pixel (top, left); taps reach
// `reach` pixels beyond the blurred image.
struct BlurDownsample {
    int64_t images, height, width, out_height, out_width, band, bands; // `images` of a sample
    int64_t classes, stencil_height, stencil_width, window, scale, reach, top, left;
    bool reflect, quantize; // Pixels beyond the image are reflected, or 0.
    Type type, noise_type, out_type;
    const void *x, *noise;
    const float *stencils, *ends, *level;
    void* y;
    // For the kernel's gradient, whose stencil is the kernel: that of the blurred image, and a sum for each band.
    const float* grad;
    float* grad_kernel;
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include <array>
#include <utility>

#include "blur_rows.h"
#include "vector.h"

namespace dasr_fast {
namespace {

constexpr int ROWS = REGISTERS == 32 ? 8 : 4; // Output rows whose sums are in registers together,
constexpr int VECTORS = LANES == 4 ? 2 : 3; // and vectors of their columns.
constexpr int LAGS_DOWN = 3; // Elements of the kernel's gradient whose sums are in registers together.
constexpr int LAGS_ACROSS = REGISTERS == 32 ? 7 : 4;
constexpr int64_t TOGETHER = 4; // Most rows of pixels whose products are summed before they are added to others.

// Which stencil output row `i` of `count` has: the first and the last EDGE ones have their own.
inline int64_t row_class(int64_t i, int64_t count) {
    if (i < EDGE) return i;
    return std::max(EDGE, CLASSES - count + i);
}

// Columns of an image's rows as stencils take them, and the memory of a thread.
struct Layout {
    explicit Layout(const BlurDownsample& p)
        : columns(whole_vectors(p.out_width)),
          pitch(columns + whole_vectors((p.stencil_width + p.scale - 1) / p.scale)),
          line(whole_vectors(std::max(p.scale * pitch, p.width + std::max(p.reach, -p.left) + p.window))),
          rows(p.scale * (std::min(p.band, p.out_height) - 1) + p.stencil_height),
          taps(TOGETHER * p.stencil_width),
          scratch(2 * taps + line + rows * (p.scale * pitch + 2 * p.window) + ROWS * columns) {
        padded = scratch.data();
        phases = padded + line;
        ends = phases + rows * p.scale * pitch;
        sums = ends + rows * 2 * p.window;
        offsets = (int64_t*)(sums + ROWS * columns);
        for (int64_t t = 0; t < taps; ++t) {
            const int64_t row = t / p.stencil_width, column = t % p.stencil_width;
            offsets[t] = (row * p.scale + column % p.scale) * pitch + column / p.scale;
        }
    }

    int64_t columns, pitch, line, rows, taps;
    Scratch scratch;
    float* padded; // A row of the image and what is beyond, from column `left` on.
    float* phases; // [rows, scale, pitch]: every scale-th pixel of padded rows, so that neighbours are for neighbours.
    float* ends; // [rows, left and right, window] of padded rows
    float* sums; // [ROWS, columns]
    int64_t* offsets; // [taps]: where phases have the pixels of TOGETHER rows of a stencil, for the first output.
};

template <int SCALE>
void separate_phases(const float* __restrict padded, float* __restrict phases, int64_t pitch) {
    for (int64_t j = 0; j < pitch; ++j)
        for (int64_t phase = 0; phase < SCALE; ++phase) phases[phase * pitch + j] = padded[SCALE * j + phase];
}

// Row `row` of the padded image, from column `left` on, to `padded`, where all of `line` floats but pixels are 0 already;
// false if no pixel is in it.
template <class T>
bool pad_row(const BlurDownsample& p, const T* image, int64_t row, float* padded, int64_t line) {
    const int64_t before = p.reflect ? std::min(-p.left, p.width - 1) : 0;
    const int64_t after = p.reflect ? std::min(line + p.left - p.width, p.width - 1) : 0;
    float* pixels = padded - p.left;
    row += p.top;
    if (p.reflect && row < 0) row = -row;
    if (p.reflect && row >= p.height) row = 2 * (p.height - 1) - row;
    if (row < 0 || row >= p.height) return false;
    const T* source = image + row * p.width;
    for (int64_t c = 0; c < p.width; c += LANES) {
        prefetch(source, TALL * p.width + c); // Of the next rows, which come after much arithmetic.
        store(pixels + c, load(source + c, p.width - c), p.width - c);
    }
    for (int64_t c = 1; c <= before; ++c) pixels[-c] = pixels[c];
    for (int64_t c = 1; c <= after; ++c) pixels[p.width - 1 + c] = pixels[p.width - 1 - c];
    return true;
}

// The pixels of `count` rows from row `first` of the padded image.
template <class T>
void prepare(const BlurDownsample& p, const Layout& layout, const T* image, int64_t first, int64_t count) {
    std::fill(layout.padded, layout.padded + layout.line, 0.0f);
    for (int64_t r = 0; r < count; ++r) {
        float* phases = layout.phases + r * p.scale * layout.pitch;
        float* ends = layout.ends + r * 2 * p.window;
        if (!pad_row(p, image, first + r, layout.padded, layout.line)) {
            std::fill(phases, phases + p.scale * layout.pitch, 0.0f);
            std::fill(ends, ends + 2 * p.window, 0.0f);
            continue;
        }
        switch (p.scale) {
        case 1: separate_phases<1>(layout.padded, phases, layout.pitch); break;
        case 2: separate_phases<2>(layout.padded, phases, layout.pitch); break;
        case 3: separate_phases<3>(layout.padded, phases, layout.pitch); break;
        default: separate_phases<4>(layout.padded, phases, layout.pitch);
        }
        std::copy(layout.padded, layout.padded + p.window, ends);
        const float* last = layout.padded + p.width - 1 + p.reach;
        std::copy(last, last + p.window, ends + p.window);
    }
}

// Adds what a few rows of pixels give to R output rows: sums[i][j] += sum of weights[i][t] * pixel[scale * j + t].
template <int R, int V>
void add_pixels(const Layout& layout, int64_t taps, const float* pixels, const float* const* rows, float* sums) {
    const int64_t columns = layout.columns, *offsets = layout.offsets;
    const float* weights[R];
    Vector total[R][V];
    for (int i = 0; i < R; ++i) {
        weights[i] = rows[i];
        for (int v = 0; v < V; ++v) total[i][v] = Vector{};
    }
    int64_t t = 0;
    do {
        Vector x[V];
        for (int v = 0; v < V; ++v) x[v] = load(pixels + offsets[t] + v * LANES);
        for (int i = 0; i < R; ++i) {
            const Vector weight = splat(weights[i][t]);
            for (int v = 0; v < V; ++v) total[i][v] += weight * x[v];
        }
    } while (++t < taps);
    for (int i = 0; i < R; ++i)
        for (int v = 0; v < V; ++v) {
            float* sum = sums + i * columns + v * LANES;
            store(sum, load(sum) + total[i][v]);
        }
}

using AddPixels = void (*)(const Layout&, int64_t, const float*, const float* const*, float*);

template <int V, int... R>
constexpr std::array<AddPixels, ROWS> for_all_rows(std::integer_sequence<int, R...>) {
    return {add_pixels<R + 1, V>...};
}

template <int... V>
constexpr std::array<std::array<AddPixels, ROWS>, VECTORS> for_all_sizes(std::integer_sequence<int, V...>) {
    return {for_all_rows<V + 1>(std::make_integer_sequence<int, ROWS>())...};
}

constexpr auto ADD_PIXELS = for_all_sizes(std::make_integer_sequence<int, VECTORS>()); // [vectors - 1][rows - 1]

// Sums of `count` output rows whose pixels begin at row `base` of those prepared.
void add_rows(
    const BlurDownsample& p, const Layout& layout, const float* const* stencils, int64_t base, int64_t count) {
    const int64_t vectors = layout.columns / LANES, blocks = (vectors + VECTORS - 1) / VECTORS;
    // The output rows that have a row of pixels in their stencil.
    const auto begin = [&](int64_t r) { return r < p.stencil_height ? 0 : (r - p.stencil_height) / p.scale + 1; };
    const auto end = [&](int64_t r) { return std::min(count, r / p.scale + 1); };
    const int64_t reach = p.stencil_height + p.scale * (count - 1);
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t column = vectors * block / blocks, size = vectors * (block + 1) / blocks - column;
        for (int64_t r = 0, same; r < reach; r += same) {
            const int64_t first = begin(r), last = end(r);
            for (same = 1; same < TOGETHER && r + same < reach; ++same)
                if (begin(r + same) != first || end(r + same) != last) break;
            if (first == last) continue; // Rows between small stencils.
            const float* weights[ROWS];
            for (int64_t i = first; i < last; ++i)
                weights[i - first] = stencils[i] + (r - p.scale * i) * p.stencil_width;
            const float* pixels = layout.phases + (base + r) * p.scale * layout.pitch + column * LANES;
            float* sums = layout.sums + first * layout.columns + column * LANES;
            ADD_PIXELS[size - 1][last - first - 1](layout, same * p.stencil_width, pixels, weights, sums);
        }
    }
}

// Adds the ends' windows to the first or last EDGE columns of R output rows of one class.
template <int R>
void add_end(
    const BlurDownsample& p, const Layout& layout, const float* pixels, const float* weights, int64_t column,
    float* sums) {
    Vector total[R][EDGE] = {};
    for (int64_t u = 0; u < p.stencil_height; ++u)
        for (int64_t k = 0; k < p.window; k += LANES) {
            const float* at = weights + u * p.window + k;
            const Vector weight[EDGE] = {load(at), load(at + p.stencil_height * p.window)};
            for (int i = 0; i < R; ++i) {
                const Vector x = load(pixels + (p.scale * i + u) * 2 * p.window + k);
                for (int e = 0; e < EDGE; ++e) total[i][e] += weight[e] * x;
            }
        }
    for (int64_t e = 0; e < EDGE; ++e)
        if (column + e >= 0 && column + e < p.out_width)
            for (int i = 0; i < R; ++i) sums[i * layout.columns + column + e] += sum(total[i][e]);
}

void add_ends(
    const BlurDownsample& p, const Layout& layout, int64_t sample, int64_t first, int64_t base, int64_t count) {
    const int64_t size = EDGE * p.stencil_height * p.window;
    for (int64_t i = 0, same; i < count; i += same) {
        const int64_t row = row_class(first + i, p.out_height);
        for (same = 1; i + same < count && row_class(first + i + same, p.out_height) == row;) ++same;
        same = same >= ROWS ? ROWS : same >= 4 ? 4 : same >= 2 ? 2 : 1;
        const auto add = same == ROWS ? add_end<ROWS> : same == 4 ? add_end<4> : same == 2 ? add_end<2> : add_end<1>;
        for (int64_t side = 0; side < 2; ++side)
            add(p, layout, layout.ends + ((base + p.scale * i) * 2 + side) * p.window,
                p.ends + ((sample * CLASSES + row) * 2 + side) * size, side == 0 ? 0 : p.out_width - EDGE,
                layout.sums + i * layout.columns);
    }
}

// Noise, rounding, clamping.
template <class T, class Noise>
void finish(const BlurDownsample& p, const float* sums, float level, int64_t start) {
    for (int64_t j = 0; j < p.out_width; j += LANES) {
        const int64_t count = p.out_width - j;
        Vector value = load(sums + j);
        if (p.noise) value += splat(level) * load((const Noise*)p.noise + start + j, count);
        if (p.quantize) {
            value = value < 0 ? Vector{} : value > 255 ? splat(255) : value;
            value = (value + 0x1.8p23f) - 0x1.8p23f; // What is left of a fraction there is rounded to even.
        }
        store((T*)p.y + start + j, value, count);
    }
}

void finish_row(const BlurDownsample& p, const float* sums, int64_t image, int64_t row) {
    with_type(p.out_type, [&](auto out) {
        with_type(p.noise_type, [&](auto noise) {
            finish<typename decltype(out)::type, typename decltype(noise)::type>(
                p, sums, p.level ? p.level[image / p.images] : 1, (image * p.out_height + row) * p.out_width);
        });
    });
}

template <class T>
void blur_downsample_band(const BlurDownsample& p, const Layout& layout, int64_t item) {
    const int64_t image = item / p.bands, sample = image / p.images;
    const int64_t begin = item % p.bands * p.band, end = std::min(begin + p.band, p.out_height);
    const int64_t size = p.stencil_height * p.stencil_width;
    const T* pixels = (const T*)p.x + image * p.height * p.width;
    prepare(p, layout, pixels, p.scale * begin, p.scale * (end - begin - 1) + p.stencil_height);
    for (int64_t first = begin; first < end; first += ROWS) {
        const int64_t count = std::min<int64_t>(ROWS, end - first), base = p.scale * (first - begin);
        const float* stencils[ROWS];
        for (int64_t i = 0; i < count; ++i) {
            const int64_t row = p.classes == 1 ? 0 : row_class(first + i, p.out_height);
            stencils[i] = p.stencils + (sample * p.classes + row) * size;
        }
        std::fill(layout.sums, layout.sums + count * layout.columns, 0.0f);
        add_rows(p, layout, stencils, base, count);
        if (p.ends) add_ends(p, layout, sample, first, base, count);
        for (int64_t i = 0; i < count; ++i) finish_row(p, layout.sums + i * layout.columns, image, first + i);
    }
}

// A band without downsampling.
template <class T>
void blur_band(const BlurDownsample& p, Blur& blur, int64_t item) {
    const int64_t image = item / p.bands, sample = image / p.images, size = p.stencil_height * p.stencil_width;
    const int64_t begin = item % p.bands * p.band, end = std::min(begin + p.band, p.out_height);
    const T* pixels = (const T*)p.x + image * p.height * p.width;
    float* padded = blur.padded.data();
    blur.set(p.stencils + sample * size);
    std::fill(padded, padded + blur.pitch, 0.0f);
    for (int64_t y = begin, ready = begin; y < end; y += TALL) {
        const int64_t count = std::min<int64_t>(TALL, end - y), needed = y + count - 1 + p.stencil_height;
        for (; ready < needed; ++ready) {
            if (!pad_row(p, pixels, ready, padded, blur.pitch)) std::fill(padded, padded + blur.pitch, 0.0f);
            blur.put(ready);
        }
        blur.blur(y, needed);
        for (int64_t i = 0; i < count; ++i) finish_row(p, blur.sums.data() + i * blur.columns, image, y + i);
    }
}

// Adds the products of a row of pixels, at a few offsets, with a few rows of the gradient.
void add_products(const float* pixels, const float* const* grads, int64_t columns, float* sums) {
    Vector total[LAGS_DOWN][LAGS_ACROSS];
    for (int i = 0; i < LAGS_DOWN; ++i)
        for (int j = 0; j < LAGS_ACROSS; ++j) total[i][j] = Vector{};
    int64_t x = 0;
    do {
        Vector grad[LAGS_DOWN];
        for (int i = 0; i < LAGS_DOWN; ++i) grad[i] = load(grads[i] + x);
        for (int j = 0; j < LAGS_ACROSS; ++j) {
            const Vector pixel = load(pixels + x + j);
            for (int i = 0; i < LAGS_DOWN; ++i) total[i][j] += grad[i] * pixel;
        }
    } while ((x += LANES) < columns);
    for (int i = 0; i < LAGS_DOWN; ++i)
        for (int j = 0; j < LAGS_ACROSS; ++j) {
            float* sum = sums + (i * LAGS_ACROSS + j) * LANES;
            store(sum, load(sum) + total[i][j]);
        }
}

// `grads` [band + 1, columns] is memory for the gradient of a band, and a row of zeros.
template <class T>
void grad_kernel_band(const BlurDownsample& p, const Layout& layout, float* grads, int64_t item) {
    const int64_t image = item / p.bands, begin = std::min(item % p.bands * p.band, p.out_height);
    const int64_t rows = std::min(p.band, p.out_height - begin), kh = p.stencil_height, kw = p.stencil_width;
    prepare(p, layout, (const T*)p.x + image * p.height * p.width, begin, rows + kh - 1);
    std::fill(grads, grads + (p.band + 1) * layout.columns, 0.0f);
    for (int64_t y = 0; y < rows; ++y) {
        const float* row = p.grad + (image * p.out_height + begin + y) * p.out_width;
        std::copy(row, row + p.out_width, grads + y * layout.columns);
    }
    float* result = p.grad_kernel + item * kh * kw;
    for (int64_t down = 0; down < kh; down += LAGS_DOWN)
        for (int64_t across = 0; across < kw; across += LAGS_ACROSS) {
            float sums[LAGS_DOWN * LAGS_ACROSS * LANES] = {};
            for (int64_t r = down; r < rows + std::min(down + LAGS_DOWN, kh) - 1; ++r) {
                const float* row[LAGS_DOWN];
                for (int i = 0; i < LAGS_DOWN; ++i) {
                    const int64_t y = r - down - i;
                    row[i] = grads + (y >= 0 && y < rows ? y : p.band) * layout.columns;
                }
                add_products(layout.phases + r * layout.pitch + across, row, layout.columns, sums);
            }
            for (int64_t i = 0; i < std::min<int64_t>(LAGS_DOWN, kh - down); ++i)
                for (int64_t j = 0; j < std::min<int64_t>(LAGS_ACROSS, kw - across); ++j)
                    result[(down + i) * kw + across + j] = sum(load(sums + (i * LAGS_ACROSS + j) * LANES));
        }
}

// Calls `function` with the `Element` of an image's type.
template <class Function>
void with_image_type(Type type, const Function& function) {
    if (type == Type::uint8) return function(Element<uint8_t>());
    with_type(type, function);
}

} // namespace

namespace DASR_FAST_KERNELS {

void blur_downsample(const BlurDownsample& p, int64_t begin, int64_t end) {
    if (p.scale == 1 && p.classes == 1 && !p.ends) {
        Blur blur(p.stencil_height, p.stencil_width, whole_vectors(p.out_width));
        return with_image_type(p.type, [&](auto element) {
            for (int64_t item = begin; item < end; ++item)
                blur_band<typename decltype(element)::type>(p, blur, item);
        });
    }
    const Layout layout(p);
    with_image_type(p.type, [&](auto element) {
        for (int64_t item = begin; item < end; ++item)
            blur_downsample_band<typename decltype(element)::type>(p, layout, item);
    });
}

void blur_downsample_grad_kernel(const BlurDownsample& p, int64_t begin, int64_t end) {
    const Layout layout(p);
    const Scratch grads((p.band + 1) * layout.columns);
    with_image_type(p.type, [&](auto element) {
        for (int64_t item = begin; item < end; ++item)
            grad_kernel_band<typename decltype(element)::type>(p, layout, grads.data(), item);
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(blur_downsample, BlurDownsample)
DASR_FAST_BEST(blur_downsample_grad_kernel, BlurDownsample)

constexpr int64_t ITEMS = 16; // Bands that an image is cut into if it is alone.
constexpr int64_t BAND = 16; // Fewest rows of a band, which prepares again what the one before it had of its pixels,
constexpr int64_t REPEATED = 8; // so, without downsampling, that many times the kernel's rows,
constexpr int64_t MEMORY = 1 << 19; // and most floats of its pixels, if there are more rows.

// Applies stencils [B, 5 or 1, U, V] and perhaps ends to images x [B, images, H, W].
void blur_downsample(
    Tensor x, Tensor stencils, std::optional<Tensor> ends, int64_t scale, int64_t reach, int64_t top, int64_t left,
    bool reflect, std::optional<Tensor> noise, std::optional<Tensor> level, bool quantize, Tensor y) {
    BlurDownsample p{};
    p.images = x.size(1), p.height = x.size(2), p.width = x.size(3), p.out_height = y.size(2), p.out_width = y.size(3);
    p.classes = stencils.size(1), p.stencil_height = stencils.size(2), p.stencil_width = stencils.size(3);
    p.window = ends.has_value() ? ends->size(5) : 0;
    p.scale = scale, p.reach = reach, p.top = top, p.left = left, p.reflect = reflect, p.quantize = quantize;
    p.type = type_of(x), p.out_type = type_of(y);
    p.noise_type = noise.has_value() ? type_of(*noise) : Type::float32;
    p.x = x.const_data_ptr(), p.noise = pointer(noise), p.y = y.mutable_data_ptr();
    p.stencils = static_cast<const float*>(stencils.const_data_ptr());
    p.ends = static_cast<const float*>(pointer(ends)), p.level = static_cast<const float*>(pointer(level));
    const int64_t images = x.size(0) * p.images;
    const int64_t wanted = (ITEMS + images - 1) / images;
    const int64_t fitting = (MEMORY / (p.width + p.stencil_width) - p.stencil_height) / scale;
    const int64_t fewest = scale == 1 ? std::max(BAND, REPEATED * p.stencil_height) : BAND;
    const int64_t most = std::max(fewest, std::min(fitting, (p.out_height + wanted - 1) / wanted));
    int64_t bands = std::max<int64_t>(1, (p.out_height + most - 1) / most);
    const int64_t threads = torch::stable::get_num_threads();
    while (images * bands < 4 * threads && images * bands % threads) ++bands; // As many for each thread.
    p.band = ((p.out_height + bands - 1) / bands + 7) / 8 * 8;
    p.bands = (p.out_height + p.band - 1) / p.band;
    run(best_blur_downsample(), p, images * p.bands);
}

// Writes the sums [B, images, parts, kh, kw] of the products of the blurred images' gradient [B, images, H, W] and the
// reflected pixels of x, for each of the `parts` of an image's rows.
void blur_downsample_grad_kernel(Tensor grad, Tensor x, Tensor grad_kernel) {
    BlurDownsample p{};
    p.images = x.size(1), p.height = p.out_height = x.size(2), p.width = p.out_width = x.size(3);
    p.bands = grad_kernel.size(2), p.band = (p.height + p.bands - 1) / p.bands;
    p.stencil_height = grad_kernel.size(3), p.stencil_width = grad_kernel.size(4);
    p.scale = 1, p.reflect = true, p.type = type_of(x);
    p.top = -(p.stencil_height / 2), p.left = -(p.stencil_width / 2);
    p.x = x.const_data_ptr(), p.grad = static_cast<const float*>(grad.const_data_ptr());
    p.grad_kernel = static_cast<float*>(grad_kernel.mutable_data_ptr());
    run(best_blur_downsample_grad_kernel(), p, x.size(0) * p.images * p.bands);
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) {
    m.impl("blur_downsample", TORCH_BOX(&blur_downsample));
    m.impl("blur_downsample_grad_kernel", TORCH_BOX(&blur_downsample_grad_kernel));
}

} // namespace dasr_fast

#endif
