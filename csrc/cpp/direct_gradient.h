// The gradient of a 3x3 convolution for its weights as a product of matrices for each tap, in bfloat16 with float sums.
//
// The product runs along the pixels of a few rows: the inputs stand channel by channel, with zeros around the image, so
// that a tap is an offset; gradients of outputs pixel by pixel, with zeros for the two pixels by which rows of inputs are longer.
#pragma once

#include "winograd_gradient.h"

#ifdef DASR_FAST_KERNELS

#include "direct.h"

namespace dasr_fast {
namespace {

class DirectGradient {
public:
    explicit DirectGradient(const Conv3x3Gradient& p)
        : p_(p), channels_(whole_depths(p.channels)), channels_out_(whole_depths(p.channels_out)),
          widest_((p.width + p.strips - 1) / p.strips + 2), most_(rows_at_a_time(widest_)),
          depth_(whole_depths(most_ * widest_)), pitch_(odd_lines((most_ + 2) * widest_ + 2 * TILE_DEPTH)),
          inputs_(channels_ * pitch_ / 2), grads_(channels_out_ * depth_ / 2),
          sums_(ALL_TAPS * channels_ * channels_out_), bias_(channels_out_), zeros_(channels_) {
        std::memset((void*)inputs_.data(), 0, channels_ * pitch_ * sizeof(bfloat16));
        std::memset((void*)zeros_.data(), 0, channels_ * sizeof(float));
    }

    void run(Tiles& tiles, int64_t part) {
        std::memset((void*)sums_.data(), 0, ALL_TAPS * channels_ * channels_out_ * sizeof(float));
        std::memset((void*)bias_.data(), 0, channels_out_ * sizeof(float));
        const int64_t all = p_.samples * p_.strips * p_.height, last = all * (part + 1) / p_.parts;
        for (int64_t item = all * part / p_.parts; item < last;) {
            const int64_t row = item % p_.height, strip = item / p_.height % p_.strips;
            const int64_t column = p_.width * strip / p_.strips;
            const Rows rows{item / p_.height / p_.strips, row, at_most(at_most(most_, p_.height - row), last - item), column,
                p_.width * (strip + 1) / p_.strips - column};
            read_inputs(rows);
            read_gradients(rows);
            multiply(tiles, rows);
            item += rows.rows;
        }
        write(part);
    }

private:
    struct Rows {
        int64_t sample, row, rows, column, columns;
        int64_t pitch() const { return columns + 2; } // Pixels of a row of inputs.
        int64_t depth() const { return whole_depths(rows * pitch()); } // Of the product.
    };

    static int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

    static int64_t rows_at_a_time(int64_t width) { return width < 768 ? 768 / width : 1; }

    // Elements of a row of at least `count`: an odd number of cache lines, so that rows don't share cache sets.
    static int64_t odd_lines(int64_t count) { return (whole_depths(count) / TILE_DEPTH | 1) * TILE_DEPTH; }

    void read_inputs(const Rows& rows) {
        const bfloat16* x = (const bfloat16*)p_.x + rows.sample * p_.height * p_.width * p_.channels;
        const int64_t pixels = (rows.rows + 2) * rows.pitch();
        int64_t row = rows.row - 1, column = rows.column - 1;
        for (int64_t first = 0; first < pixels; first += TILE_DEPTH) {
            const bfloat16* pointers[TILE_DEPTH];
            for (int i = 0; i < TILE_DEPTH; ++i) {
                const bool inside = first + i < pixels && row >= 0 && row < p_.height && column >= 0 && column < p_.width;
                pointers[i] = inside ? x + (row * p_.width + column) * p_.channels : (const bfloat16*)zeros_.data();
                if (++column == rows.column + rows.columns + 1) column = rows.column - 1, ++row;
            }
            for (int64_t c = 0; c < p_.channels; c += 16)
                turn_pixels(pointers, c, p_.channels - c, (bfloat16*)inputs_.data() + c * pitch_ + first, pitch_);
        }
    }

    void read_gradients(const Rows& rows) {
        const int64_t start = (rows.sample * p_.height + rows.row) * p_.width + rows.column, depth = rows.depth();
        for (int64_t o = 0; o < channels_out_; o += TILE_COLUMNS) {
            bfloat16* out = (bfloat16*)grads_.data() + o * depth;
            int64_t row = 0, column = 0;
            for (int64_t pixel = 0; pixel < depth; pixel += 2, out += 2 * TILE_COLUMNS) {
                bfloat16 pair[2][TILE_COLUMNS];
                for (int i = 0; i < 2; ++i) {
                    const bool inside = row < rows.rows && column < rows.columns;
                    const int64_t at = (start + row * p_.width + column) * p_.channels_out;
                    for (int64_t c = 0; c < TILE_COLUMNS; c += LANES) {
                        Vector grad = {};
                        if (inside && o + c < p_.channels_out)
                            grad = load_gradient<bfloat16>(p_.grad, p_.sign, p_.slope, at + o + c, p_.channels_out - o - c);
                        store(bias_.data() + o + c, load(bias_.data() + o + c) + grad);
                        store(pair[i] + c, grad);
                    }
                    if (++column == rows.pitch()) column = 0, ++row;
                }
                interleave(pair[0], pair[1], TILE_COLUMNS, out);
            }
        }
    }

    void multiply(Tiles& tiles, const Rows& rows) {
        const int64_t depth = rows.depth();
        float* sums = sums_.data();
        for (int64_t c = 0; c < channels_; c += 32)
            for (int64_t o = 0; o < channels_out_; o += 32)
                for (int64_t tap = 0; tap < ALL_TAPS; ++tap, sums += 32 * 32)
                    add_products(tiles,
                        (const bfloat16*)inputs_.data() + c * pitch_ + tap / TAPS * rows.pitch() + tap % TAPS,
                        pitch_ * sizeof(bfloat16), (const bfloat16*)grads_.data() + o * depth, TILE_COLUMNS * depth,
                        depth / TILE_DEPTH, sums);
    }

    void write(int64_t part) {
        for (int64_t tap = 0; tap < ALL_TAPS; ++tap)
            for (int64_t c = 0; c < p_.channels; ++c)
                for (int64_t o = 0; o < p_.channels_out; o += LANES) {
                    const int64_t block = c / 32 * (channels_out_ / 32) + o / 32, tile = c % 32 / 16 * 2 + o % 32 / 16;
                    const float* sums = sums_.data() + ((block * ALL_TAPS + tap) * 4 + tile) * 256 + c % 16 * 16 + o % 16;
                    store(p_.grad_weight + ((part * ALL_TAPS + tap) * p_.channels + c) * p_.channels_out + o, load(sums),
                        p_.channels_out - o);
                }
        for (int64_t o = 0; o < p_.channels_out; o += LANES)
            store(p_.grad_bias + part * p_.channels_out + o, load(bias_.data() + o), p_.channels_out - o);
    }

    const Conv3x3Gradient& p_;
    int64_t channels_, channels_out_; // In pairs of tiles.
    int64_t widest_, most_; // Pixels of a row of inputs; rows of outputs at a time.
    int64_t depth_, pitch_; // Pixels of a product, with those between rows; elements of a channel of inputs.
    Scratch inputs_; // [channels_][pitch_] in bfloat16
    Scratch grads_; // [channels_out_ / 16][depth / 32] right tiles
    Scratch sums_; // [channels_ / 32][channels_out_ / 32][9][2][2] tiles of sums
    Scratch bias_, zeros_;
};

} // namespace
} // namespace dasr_fast

#endif
