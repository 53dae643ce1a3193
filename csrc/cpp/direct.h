// 3x3 convolution of channels-last bfloat16 features as a sum of products of matrices, one for each tap.
//
// The inputs of a few rows of a strip lie in the second-level cache with zeros around the image, so that the pixels that a
// tap needs for all outputs follow each other, those of the rows' ends included, whose results nobody reads.
#pragma once

#include "winograd.h"

#ifdef DASR_FAST_KERNELS

#include "tiles.h"

namespace dasr_fast {
namespace {

constexpr int64_t ALL_TAPS = TAPS * TAPS;

// The weights of a tap as right tiles: [C_out / 16][9][C / 32].
inline void pack_weights(const Conv3x3& p, int64_t tap) {
    const WeightSteps& steps = p.steps;
    const bfloat16* weight =
        (const bfloat16*)p.weight + steps.first + tap / TAPS * steps.row + tap % TAPS * steps.column;
    const int64_t tap_size = whole_depths(p.channels) * TILE_COLUMNS;
    pack_strided(weight, steps.in, steps.out, p.channels, p.channels_out, ALL_TAPS * tap_size,
        (bfloat16*)p.transformed + tap * tap_size);
}

// The convolution of a strip of columns, some rows at a time.
class DirectStrip {
public:
    explicit DirectStrip(const Conv3x3& p)
        : p_(p), channels_(whole_depths(p.channels)), widest_((p.width + p.strips - 1) / p.strips + 2),
          most_(rows_at_a_time(widest_, channels_)), offsets_(ALL_TAPS * channels_ / TILE_DEPTH * 2),
          inputs_(((most_ + 2) * widest_ + BLOCK + 2) * channels_ / 2) {
        std::memset((void*)inputs_.data(), 0, ((most_ + 2) * widest_ + BLOCK + 2) * channels_ * sizeof(bfloat16));
    }

    int64_t channels() const { return channels_; } // Elements of a pixel of inputs.
    int64_t widest() const { return widest_; } // Pixels of a row of inputs.

    // `fill(row, column, columns, inputs)` puts the inputs of columns [column, column + columns) of a row, which lie in the
    // image, at `inputs`.
    template <class Fill>
    void run(Tiles& tiles, int64_t item, const Fill& fill) {
        const int64_t strip = item % p_.strips, band = item / p_.strips % p_.bands, sample = item / p_.strips / p_.bands;
        column_ = p_.width * strip / p_.strips, columns_ = p_.width * (strip + 1) / p_.strips - column_;
        for (int64_t tap = 0, step = 0; tap < ALL_TAPS; ++tap)
            for (int64_t c = 0; c < channels_; c += TILE_DEPTH, ++step)
                offsets()[step] = ((tap / TAPS * pitch() + tap % TAPS) * channels_ + c) * (int64_t)sizeof(bfloat16);
        const int64_t last = p_.height * (band + 1) / p_.bands;
        int64_t row = p_.height * band / p_.bands, ready = row - 1; // The next rows of outputs and of inputs.
        for (int64_t slot = 0; row < last; slot = 2) {
            const int64_t rows = last - row < most_ ? last - row : most_;
            for (; slot < rows + 2; ++slot) fill_row(ready++, input(slot), fill);
            multiply_rows_of(tiles, sample, row, rows);
            copy(input(rows), 2 * pitch() * channels_, input(0)); // Forwards, since they may overlap.
            row += rows;
        }
    }

private:
    static int64_t rows_at_a_time(int64_t width, int64_t channels) {
        const int64_t wanted = 262144 / (width * channels * (int64_t)sizeof(bfloat16));
        return wanted < 4 ? 4 : wanted;
    }

    int64_t pitch() const { return columns_ + 2; } // Pixels of a row.
    int64_t* offsets() const { return (int64_t*)offsets_.data(); } // Of the inputs of each step of a product.
    bfloat16* input(int64_t slot) const { return (bfloat16*)inputs_.data() + slot * pitch() * channels_; }

    // A row of inputs, one pixel wider than the strip on either side; zeros outside of the image.
    template <class Fill>
    void fill_row(int64_t row, bfloat16* start, const Fill& fill) {
        const bool inside = row >= 0 && row < p_.height;
        const int64_t begin = !inside || column_ > 0 ? 0 : 1, right = p_.width - column_ + 1;
        const int64_t end = !inside ? 0 : right < pitch() ? right : pitch();
        std::memset((void*)start, 0, begin * channels_ * sizeof(bfloat16));
        if (inside) fill(row, column_ - 1 + begin, end - begin, start + begin * channels_);
        std::memset((void*)(start + end * channels_), 0, (pitch() - end) * channels_ * sizeof(bfloat16));
    }

    void multiply_rows_of(Tiles& tiles, int64_t sample, int64_t row, int64_t rows) {
        const int64_t pixels = rows * pitch() - 2, steps = ALL_TAPS * channels_ / TILE_DEPTH;
        alignas(64) float sums[BLOCK * TILE_COLUMNS];
        for (int64_t first = 0; first < pixels; first += BLOCK) {
            const int64_t count = pixels - first < BLOCK ? pixels - first : BLOCK;
            const bfloat16* right = (const bfloat16*)p_.transformed;
            for (int64_t o = 0; o < p_.channels_out; o += TILE_COLUMNS, right += steps * TILE_ELEMENTS) {
                multiply_rows(tiles, count, input(0) + first * channels_, offsets(), channels_ * sizeof(bfloat16), right,
                    steps, sums);
                write(sample, row, first, count, o, sums);
            }
        }
    }

    // Results of a tile of channels for pixels [first, first + count) of the rows from `row` on.
    void write(int64_t sample, int64_t row, int64_t first, int64_t count, int64_t channel, const float* sums) {
        for (int64_t pixel = first; pixel < first + count;) {
            const int64_t column = pixel % pitch(), left = first + count - pixel;
            const int64_t valid = columns_ - column < left ? columns_ - column : left;
            const int64_t start = (sample * p_.height + row + pixel / pitch()) * p_.width + column_ + column;
            for (int64_t o = 0; o < TILE_COLUMNS && channel + o < p_.channels_out; o += LANES)
                with_condition(p_.activate, [&](auto activate) {
                    with_condition(p_.residual, [&](auto residual) {
                        write_run<decltype(activate)::value, decltype(residual)::value>(
                            start * p_.channels_out + channel + o, valid, channel + o,
                            sums + (pixel - first) * TILE_COLUMNS + o);
                    });
                });
            pixel += pitch() - column;
        }
    }

    template <bool ACTIVATE, bool RESIDUAL>
    void write_run(int64_t at, int64_t pixels, int64_t channel, const float* sums) {
        const int64_t count = p_.channels_out - channel, step = p_.channels_out;
        const Vector bias = p_.bias ? load((const bfloat16*)p_.bias + channel, count) : Vector{};
        const float slope = p_.slope;
        const bfloat16* residual = (const bfloat16*)p_.residual + at;
        bfloat16* y = (bfloat16*)p_.y + at;
        for (int64_t i = 0; i < pixels; ++i, residual += step, y += step, sums += TILE_COLUMNS) {
            Vector value = load(sums) + bias;
            if (ACTIVATE) value = leaky_relu(value, slope);
            if (RESIDUAL) value += load(residual, count);
            store(y, value, count);
        }
    }

    const Conv3x3& p_;
    int64_t channels_, widest_, most_; // The last: rows of outputs at a time.
    Scratch offsets_;
    Scratch inputs_; // [rows][pixels][channels_] in bfloat16
    int64_t column_ = 0, columns_ = 0; // Of the strip.
};

} // namespace
} // namespace dasr_fast

#endif
