// jpeg: compression and decompression of images in the whole numbers of libjpeg's accurate transform.
//
// Entropy coding loses nothing and is left out. An item is a band of rows of an image. It goes through a few rows of memory, 16
// rows at a time; chroma is coded 16 rows beyond it, since its interpolation looks there.
#include <algorithm>
#include <cstdint>

#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

struct Jpeg {
    int64_t patches, height, width, bands; // Patches share quality and subsampling of their sample.
    int64_t image, channel, row, pixel; // Strides of x and y in elements.
    Type type;
    const float* quality; // [B]
    const int64_t* subsampling; // [B]: 0 (4:4:4), 1 (4:2:2) or 2 (4:2:0)
    const void* x;
    void* y;
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "vector.h"

namespace dasr_fast {
namespace {

constexpr int64_t SIDE = 8, GROUP = 16; // Rows of a block; of the blocks that belong together, most.
constexpr int64_t KEPT = 4 * GROUP; // Rows of a plane that are in memory: those before, at and after what is written.

typedef int32_t Ints __attribute__((vector_size(32)));
typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Levels __attribute__((vector_size(sizeof(Vector)))); // Of neighbouring pixels.

// ITU-T T.81, Annex K.
constexpr uint8_t TABLES[2][SIDE * SIDE] = {
    {16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,  14, 13, 16, 24, 40, 57,
     69, 56, 14, 17, 22,  29,  51,  87,  80, 62, 18, 22, 37,  56,  68,  109, 103, 77, 24, 35, 55, 64,
     81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99},
    {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
     99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
     99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99},
};

constexpr int32_t scaled(double factor) { return (int32_t)(factor * (1 << 13) + 0.5); }

// Loeffler, Ligtenberg and Moschytz, ICASSP 1989.
constexpr int32_t EVEN = scaled(0.541196100), EVEN_SUM = scaled(0.765366865), EVEN_DIFFERENCE = scaled(1.847759065),
    ODD = scaled(1.175875602), ODD_4 = scaled(0.298631336), ODD_5 = scaled(2.053119869), ODD_6 = scaled(3.072711026),
    ODD_7 = scaled(1.501321110), OUTER = scaled(0.899976223), INNER = scaled(2.562915447), SECOND = scaled(1.961570560),
    FIRST = scaled(0.390180644);

// By reference, since vectors as results would need the instruction set in the calling convention.
inline void load_ints(const int32_t* pointer, Ints& value) { std::memcpy(&value, pointer, sizeof(value)); }
inline void store_ints(int32_t* pointer, const Ints& value) { std::memcpy((void*)pointer, &value, sizeof(value)); }

// The odd part of both transforms, which is its own transpose.
inline void rotate(Ints (&t)[4]) {
    const Ints all = (t[0] + t[1] + t[2] + t[3]) * ODD;
    const Ints outer = (t[0] + t[3]) * -OUTER, inner = (t[1] + t[2]) * -INNER;
    const Ints second = (t[0] + t[2]) * -SECOND + all, first = (t[1] + t[3]) * -FIRST + all;
    t[0] = t[0] * ODD_4 + outer + second, t[1] = t[1] * ODD_5 + inner + first;
    t[2] = t[2] * ODD_6 + inner + second, t[3] = t[3] * ODD_7 + outer + first;
}

template <int SHIFT>
inline void transform(Ints (&v)[SIDE]) {
    const Ints far = v[0] + v[7], near = v[3] + v[4], second = v[1] + v[6], third = v[2] + v[5];
    Ints odd[4] = {v[3] - v[4], v[2] - v[5], v[1] - v[6], v[0] - v[7]};
    const Ints sum = far + near, difference = far - near, inner_sum = second + third, inner = second - third;
    const Ints both = (inner + difference) * EVEN;
    constexpr int32_t HALF = 1 << (SHIFT - 1);
    rotate(odd);
    v[0] = (((sum + inner_sum) << 13) + HALF) >> SHIFT, v[4] = (((sum - inner_sum) << 13) + HALF) >> SHIFT;
    v[2] = (both + difference * EVEN_SUM + HALF) >> SHIFT, v[6] = (both - inner * EVEN_DIFFERENCE + HALF) >> SHIFT;
    v[7] = (odd[0] + HALF) >> SHIFT, v[5] = (odd[1] + HALF) >> SHIFT, v[3] = (odd[2] + HALF) >> SHIFT;
    v[1] = (odd[3] + HALF) >> SHIFT;
}

template <int SHIFT>
inline void transform_back(Ints (&v)[SIDE]) {
    const Ints both = (v[2] + v[6]) * EVEN, lower = both - v[6] * EVEN_DIFFERENCE, upper = both + v[2] * EVEN_SUM;
    const Ints sum = (v[0] + v[4]) << 13, difference = (v[0] - v[4]) << 13;
    Ints odd[4] = {v[7], v[5], v[3], v[1]};
    constexpr int32_t HALF = 1 << (SHIFT - 1);
    rotate(odd);
    const Ints even[4] = {sum + upper, difference + lower, difference - lower, sum - upper};
    for (int i = 0; i < 4; ++i) {
        v[i] = (even[i] + odd[3 - i] + HALF) >> SHIFT;
        v[7 - i] = (even[i] - odd[3 - i] + HALF) >> SHIFT;
    }
}

#ifdef __clang__
#define SHUFFLE __builtin_shufflevector
#else // GCC has the other from version 12 on.
#define SHUFFLE(first, second, ...) __builtin_shuffle(first, second, Ints{__VA_ARGS__})
#endif

// Turns a square of numbers: by ones and twos within both halves of the vectors, then by halves.
inline void turn(Ints (&v)[SIDE]) {
    Ints t[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        t[i] = SHUFFLE(v[i], v[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        t[i + 1] = SHUFFLE(v[i], v[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < SIDE; ++i) {
        const int first = i / 4 * 4 + i % 2, odd = i / 2 % 2;
        if (odd) v[i] = SHUFFLE(t[first], t[first + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        else v[i] = SHUFFLE(t[first], t[first + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = SHUFFLE(v[i], v[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        t[i + 4] = SHUFFLE(v[i], v[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    for (int i = 0; i < SIDE; ++i) v[i] = t[i];
}

// Steps of the quantization for a quality, and one over eight times each.
inline void make_table(float quality, const uint8_t* base, int32_t* steps, float* shares) {
    int32_t q = (int32_t)(quality + 0.5f);
    q = q < 1 ? 1 : q > 100 ? 100 : q;
    const int32_t percent = q < 50 ? 5000 / q : 200 - 2 * q;
    for (int64_t i = 0; i < SIDE * SIDE; ++i) {
        const int32_t step = (base[i] * percent + 50) / 100;
        steps[i] = step < 1 ? 1 : step > 255 ? 255 : step;
        shares[i] = 1 / (8 * (float)steps[i]);
    }
}

// A block after transform, quantization and back, in its place.
inline void code_block(int32_t* block, int64_t pitch, const int32_t* steps, const float* shares) {
    Ints v[SIDE];
    for (int i = 0; i < SIDE; ++i) load_ints(block + i * pitch, v[i]), v[i] -= 128;
    turn(v), transform<11>(v);
    turn(v), transform<15>(v);
    for (int i = 0; i < SIDE; ++i) {
        Ints step;
        Floats share;
        load_ints(steps + i * SIDE, step), std::memcpy(&share, shares + i * SIDE, sizeof(share));
        const Ints negative = v[i] >> 31, absolute = (v[i] ^ negative) - negative;
        // Below 2^21, the half is more than what floats are wrong by.
        const Floats quotient = (__builtin_convertvector(absolute + 4 * step, Floats) + 0.5f) * share;
        const Ints level = __builtin_convertvector(quotient, Ints) * step;
        v[i] = (level ^ negative) - negative;
    }
    transform_back<11>(v), turn(v);
    transform_back<18>(v), turn(v);
    for (int i = 0; i < SIDE; ++i) {
        Ints value = v[i] + 128;
        value = value < 0 ? Ints{} : value;
        store_ints(block + i * pitch, value > 255 ? Ints{} + 255 : value);
    }
}

inline Levels load_levels(const int32_t* pointer) {
    Levels value;
    std::memcpy(&value, pointer, sizeof(value));
    return value;
}

inline void store_levels(int32_t* pointer, Levels value) { std::memcpy((void*)pointer, &value, sizeof(value)); }

// Up to LANES pixels, `step` elements apart, as whole numbers from 0 to 255; NaN counts as 0.
template <class T>
inline Levels read_levels(const T* x, int64_t step, int64_t count) {
    T values[LANES] = {};
    if (step != 1)
        for (int64_t i = 0; i < LANES && i < count; ++i) values[i] = x[i * step];
    const Vector value = step == 1 ? load(x, count) : load(values), positive = value > 0 ? value : Vector{};
    return __builtin_convertvector((positive < 255 ? positive : splat(255)) + 0.5f, Levels);
}

inline void store(uint8_t* pointer, Vector value) {
    const Bytes bytes = __builtin_convertvector(__builtin_convertvector(value, Levels), Bytes);
    std::memcpy((void*)pointer, &bytes, sizeof(bytes));
}

// The other way round; what is below 0 or above 255 is clamped.
template <class T>
inline void write_levels(T* x, int64_t step, int64_t count, Levels level) {
    level = level < 0 ? Levels{} : level;
    const Vector value = __builtin_convertvector(level > 255 ? Levels{} + 255 : level, Vector);
    if (step == 1 && count >= LANES) return store(x, value);
    T values[LANES];
    store(values, value);
    for (int64_t i = 0; i < LANES && i < count; ++i) x[i * step] = values[i];
}

constexpr int64_t whole_blocks(int64_t pixels) { return (pixels + SIDE - 1) / SIDE * SIDE; }

// What codes the bands of one size of images.
class Coder {
public:
    explicit Coder(const Jpeg& p)
        : p_(p), pitch_(whole_blocks(p.width) + 2 * GROUP), planes_(3 * KEPT * pitch_), rows_(7 * pitch_) {}

    template <class T>
    void run(int64_t item) {
        const int64_t image = item / p_.bands, band = item % p_.bands, sample = image / p_.patches;
        const int64_t groups = (p_.height + GROUP - 1) / GROUP, first = groups * band / p_.bands * GROUP;
        const int64_t end = std::min(p_.height, groups * (band + 1) / p_.bands * GROUP);
        if (first >= end) return;
        const int64_t subsampling = p_.subsampling[sample];
        columns_ = subsampling == 0 ? 1 : 2, lines_ = subsampling == 2 ? 2 : 1;
        for (int table = 0; table < 2; ++table)
            make_table(p_.quality[sample], TABLES[table], steps_[table], shares_[table]);
        const int64_t last = std::min(p_.height, end + GROUP);
        for (int64_t y = std::max<int64_t>(0, first - GROUP), written = first; y < last; y += GROUP) {
            const int64_t next = std::min(y + GROUP, last), ready = std::min(next == last ? last : y, end);
            for (int64_t row = y; row < next; row += lines_) read<T>(image, row);
            if (y >= first && y < end) code(0, y, next, 1, p_.width, 0);
            for (int plane = 1; plane < 3; ++plane)
                code(plane, y, next, lines_, (p_.width + columns_ - 1) / columns_, 1);
            for (; written < ready; ++written) write<T>(image, written);
        }
    }

private:
    // A row of a plane; `y` counts the plane's rows.
    int32_t* at(int64_t plane, int64_t y) const {
        return (int32_t*)planes_.data() + (plane * KEPT + y % KEPT) * pitch_;
    }
    int32_t* buffer(int64_t number) const { return (int32_t*)rows_.data() + number * pitch_; }

    // Luma of rows [y, y + lines_), and the row of chroma that belongs to them.
    template <class T>
    void read(int64_t image, int64_t y) {
        const int64_t padded = std::max(whole_blocks(p_.width), whole_blocks((p_.width + columns_ - 1) / columns_) * columns_);
        for (int64_t line = 0; line < lines_; ++line) {
            const int64_t row = std::min(y + line, p_.height - 1);
            const T* x = (const T*)p_.x + image * p_.image + row * p_.row;
            int32_t *luma = y + line < p_.height ? at(0, row) : buffer(6), *blue = buffer(2 * line), *red = buffer(2 * line + 1);
            const int64_t width = p_.width, channel = p_.channel, pixel = p_.pixel;
            for (int64_t i = 0; i < width; i += LANES) {
                const T* at = x + i * pixel;
                const Levels r = read_levels(at, pixel, width - i), g = read_levels(at + channel, pixel, width - i);
                const Levels b = read_levels(at + 2 * channel, pixel, width - i);
                constexpr int32_t HALF = 1 << 15, OFFSET = (128 << 16) + HALF - 1;
                store_levels(luma + i, (19595 * r + 38470 * g + 7471 * b + HALF) >> 16);
                store_levels(blue + i, (-11059 * r - 21709 * g + 32768 * b + OFFSET) >> 16);
                store_levels(red + i, (32768 * r - 27439 * g - 5329 * b + OFFSET) >> 16);
            }
            for (int32_t* values : {luma, blue, red}) std::fill(values + p_.width, values + padded, values[p_.width - 1]);
        }
        for (int plane = 1; plane < 3; ++plane) {
            const int32_t *above = buffer(plane - 1), *below = buffer(plane + 1);
            int32_t* out = at(plane, y / lines_);
            const int64_t count = whole_blocks((p_.width + columns_ - 1) / columns_);
            // A bias that alternates along a row rounds halves down and up.
            if (columns_ == 1) std::copy(above, above + count, out);
            else if (lines_ == 1) for (int32_t i = 0; i < count; ++i) out[i] = (above[2 * i] + above[2 * i + 1] + i % 2) >> 1;
            else
                for (int32_t i = 0; i < count; ++i)
                    out[i] = (above[2 * i] + above[2 * i + 1] + below[2 * i] + below[2 * i + 1] + 1 + i % 2) >> 2;
        }
    }

    // The blocks of a plane that hold the image's rows [first, end) and `width` columns.
    void code(int64_t plane, int64_t first, int64_t end, int64_t lines, int64_t width, int table) {
        const int64_t begin = first / lines, last = (end + lines - 1) / lines;
        for (int64_t y = last; y < whole_blocks(last); ++y) // The image's end: bands end with whole blocks.
            std::copy(at(plane, last - 1), at(plane, last - 1) + whole_blocks(width), at(plane, y));
        for (int64_t y = begin; y < last; y += SIDE)
            for (int64_t x = 0; x < width; x += SIDE) code_block(at(plane, y) + x, pitch_, steps_[table], shares_[table]);
    }

    // A row of the image from luma and interpolated chroma.
    template <class T>
    void write(int64_t image, int64_t y) {
        const int32_t *luma = at(0, y), *blue = interpolated(1, y), *red = interpolated(2, y);
        T* out = (T*)p_.y + image * p_.image + y * p_.row;
        const int64_t width = p_.width, channel = p_.channel, pixel = p_.pixel;
        for (int64_t i = 0; i < width; i += LANES) {
            T* at = out + i * pixel;
            const Levels l = load_levels(luma + i), b = load_levels(blue + i) - 128, r = load_levels(red + i) - 128;
            write_levels(at, pixel, width - i, l + ((91881 * r + 32768) >> 16));
            write_levels(at + channel, pixel, width - i, l + ((-22554 * b - 46802 * r + 32768) >> 16));
            write_levels(at + 2 * channel, pixel, width - i, l + ((116130 * b + 32768) >> 16));
        }
    }

    // A row of chroma for each pixel: the nearest sample counts three times as much as the next.
    const int32_t* interpolated(int64_t plane, int64_t y) const {
        if (columns_ == 1) return at(plane, y);
        const int64_t count = (p_.width + 1) / 2, rows = (p_.height + lines_ - 1) / lines_;
        const int32_t* near = at(plane, y / lines_);
        int32_t *sums = buffer(4), *out = buffer(plane - 1);
        if (count <= 2) { // libjpeg repeats samples of such narrow images.
            for (int64_t i = 0; i < 2 * count; ++i) out[i] = near[i / 2];
            return out;
        }
        int32_t shift = 2, left = 1, right = 2;
        if (lines_ == 2) {
            const int64_t beside = y % 2 ? std::min(y / 2 + 1, rows - 1) : std::max<int64_t>(y / 2 - 1, 0);
            const int32_t* far = at(plane, beside);
            for (int64_t i = 0; i < count; ++i) sums[i] = 3 * near[i] + far[i];
            near = sums, shift = 4, left = 8, right = 7;
        }
        out[0] = (4 * near[0] + left) >> shift, out[2 * count - 1] = (4 * near[count - 1] + right) >> shift;
        for (int64_t i = 0; i + 1 < count; ++i) {
            out[2 * i + 1] = (3 * near[i] + near[i + 1] + right) >> shift;
            out[2 * i + 2] = (3 * near[i + 1] + near[i] + left) >> shift;
        }
        return out;
    }

    const Jpeg& p_;
    int64_t pitch_; // Numbers of a row.
    Scratch planes_; // [3][KEPT][pitch_] whole numbers
    Scratch rows_;
    int64_t columns_ = 1, lines_ = 1;
    int32_t steps_[2][SIDE * SIDE];
    float shares_[2][SIDE * SIDE];
};

} // namespace

namespace DASR_FAST_KERNELS {

void jpeg(const Jpeg& p, int64_t begin, int64_t end) {
    Coder coder(p);
    const auto run = [&](auto element) {
        for (int64_t item = begin; item < end; ++item) coder.run<decltype(element)>(item);
    };
    switch (p.type) {
    case Type::uint8: return run(uint8_t());
    case Type::float16: return run(float16());
    case Type::bfloat16: return run(bfloat16());
    default: return run(float());
    }
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(jpeg, Jpeg)

// Images are [B, 3, H, W] or [B, N, 3, H, W].
Tensor jpeg(Tensor image, Tensor quality, Tensor subsampling) {
    const bool patches = image.dim() == 5;
    const Tensor x = patches ? torch::stable::contiguous(image) : dense(image), y = torch::stable::empty_like(x);
    quality = torch::stable::contiguous(quality), subsampling = torch::stable::contiguous(subsampling);
    Jpeg p{};
    const int64_t first = patches ? 1 : 0, images = x.size(0) * (patches ? x.size(1) : 1); // Dimension of images.
    p.patches = patches ? x.size(1) : 1, p.height = x.size(first + 2), p.width = x.size(first + 3);
    p.image = x.stride(first), p.channel = x.stride(first + 1), p.row = x.stride(first + 2), p.pixel = x.stride(first + 3);
    p.type = type_of(x);
    p.quality = static_cast<const float*>(quality.const_data_ptr());
    p.subsampling = static_cast<const int64_t*>(subsampling.const_data_ptr());
    p.x = x.const_data_ptr(), p.y = y.mutable_data_ptr();
    const int64_t wanted = images > 0 ? (64 + images - 1) / images : 1, most = p.height / 192;
    p.bands = wanted < most ? wanted : most;
    if (p.bands < 1) p.bands = 1;
    run(best_jpeg(), p, p.height * p.width > 0 ? images * p.bands : 0);
    return y;
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) { m.impl("jpeg", TORCH_BOX(&jpeg)); }

} // namespace dasr_fast

#endif
