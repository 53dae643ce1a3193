// The gradient of a 3x3 convolution for its weights, in the domain of winograd.h: inputs are transformed as for the
// convolution, gradients of outputs by the transpose of the outputs' transform, and the sums over tiles of their products
// by the transpose of the weights' transform.
#pragma once

#include "types.h"

namespace dasr_fast {

// An item is one of `blocks` of input channels of one of `parts` of all rows of tiles of all strips of all samples.
struct Conv3x3Gradient {
    int64_t samples, height, width, channels, channels_out, strips, parts, blocks;
    Type type;
    bool tiles; // By products in tiles, of bfloat16; otherwise by Winograd's transforms.
    float slope;
    const void *x, *grad;
    const void* sign; // The output, whose sign is the LeakyReLU's, or null.
    float* grad_weight; // [parts, 3, 3, C, C_out]
    float* grad_bias; // [parts, C_out]
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "winograd.h"

namespace dasr_fast {
namespace {

// Four gradients of outputs to the points of interpolation.
inline void transform_gradient(const Vector (&g)[TILE], Vector (&t)[INPUTS]) {
    const Vector even = g[0] + 0.5f * g[2], odd = HALF_ROOT * (g[1] + 0.5f * g[3]);
    const Vector even_far = g[0] + 2.0f * g[2], odd_far = ROOT * (g[1] + 2.0f * g[3]);
    t[0] = g[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = even_far + odd_far;
    t[4] = even_far - odd_far;
    t[5] = g[3];
}

// Three gradients of weights from the sums at the points.
inline void transform_sums(const Vector (&m)[INPUTS], Vector (&w)[TAPS]) {
    const Vector sum = m[1] + m[2], difference = m[1] - m[2], sum_far = m[3] + m[4], difference_far = m[3] - m[4];
    w[0] = m[0] + sum * (-2.0f / 3.0f) + sum_far * (1.0f / 6.0f);
    w[1] = difference * (-2.0f / 3.0f * HALF_ROOT) + difference_far * (1.0f / 6.0f * ROOT);
    w[2] = sum * (-1.0f / 3.0f) + sum_far * (1.0f / 3.0f) + m[5];
}

template <class T>
class WeightGradient {
public:
    explicit WeightGradient(const Conv3x3Gradient& p)
        : p_(p), channels_(whole_vectors((p.channels + p.blocks - 1) / p.blocks)), channels_out_(whole_vectors(p.channels_out)),
          position_(TILES_TOGETHER * channels_ + LANES), position_out_(TILES_TOGETHER * channels_out_ + LANES),
          rows_(p.height, p.width, channels_), inputs_(POSITIONS * position_), grads_(POSITIONS * position_out_),
          sums_(POSITIONS * channels_ * channels_out_), bias_(channels_out_) {}

    void run(int64_t number) {
        const int64_t part = number / p_.blocks;
        first_ = number % p_.blocks * channels_;
        count_ = p_.channels - first_ < channels_ ? p_.channels - first_ : channels_;
        if (count_ < 1) return;
        const int64_t rows = tiles_of(p_.height), columns = tiles_of(p_.width), all = p_.samples * p_.strips * rows;
        std::memset((void*)sums_.data(), 0, POSITIONS * channels_ * channels_out_ * sizeof(float));
        std::memset((void*)bias_.data(), 0, channels_out_ * sizeof(float));
        const int64_t start = all * part / p_.parts;
        int64_t tiles = 0; // Whose products aren't added yet.
        for (int64_t item = start; item < all * (part + 1) / p_.parts; ++item) {
            const int64_t row = item % rows, strip = item / rows % p_.strips, sample = item / rows / p_.strips;
            const int64_t first = columns * strip / p_.strips, count = columns * (strip + 1) / p_.strips - first;
            if (tiles + count > TILES_TOGETHER) add(tiles), tiles = 0;
            if (row == 0 || item == start) rows_.begin(row, first, count);
            const T* x = (const T*)p_.x + sample * p_.height * p_.width * p_.channels;
            rows_.read(row, [&](int64_t y, int64_t column, int64_t pixels, float* inputs) {
                const T* pixel = x + (y * p_.width + column) * p_.channels + first_;
                for (int64_t i = 0; i < pixels; ++i, pixel += p_.channels, inputs += channels_)
                    for (int64_t c = 0; c < count_; c += LANES) store(inputs + c, load(pixel + c, count_ - c));
            });
            for (int64_t tile = 0; tile < count; ++tile, ++tiles) {
                rows_.transform(row, tile, inputs_.data() + tiles * channels_, position_);
                read_gradients(sample, row * TILE, (first + tile) * TILE, tiles);
            }
        }
        add(tiles);
        write(part);
    }

private:
    void read_gradients(int64_t sample, int64_t row, int64_t column, int64_t tile) {
        float* out = grads_.data() + tile * channels_out_;
        for (int64_t o = 0; o < p_.channels_out; o += LANES) {
            const int64_t count = p_.channels_out - o;
            Vector half[TILE][INPUTS], g[TILE], t[INPUTS], bias = load(bias_.data() + o);
            for (int i = 0; i < TILE; ++i) {
                const int64_t at = ((sample * p_.height + row + i) * p_.width + column) * p_.channels_out + o;
                for (int j = 0; j < TILE; ++j) {
                    const bool inside = row + i < p_.height && column + j < p_.width;
                    const int64_t pixel = at + j * p_.channels_out;
                    g[j] = inside ? load_gradient<T>(p_.grad, p_.sign, p_.slope, pixel, count) : Vector{};
                    bias += g[j];
                }
                transform_gradient(g, half[i]);
            }
            store(bias_.data() + o, bias);
            for (int j = 0; j < INPUTS; ++j) {
                for (int i = 0; i < TILE; ++i) g[i] = half[i][j];
                transform_gradient(g, t);
                for (int i = 0; i < INPUTS; ++i) store(out + (i * INPUTS + j) * position_out_ + o, t[i]);
            }
        }
    }

    void add(int64_t tiles) {
        for (int64_t position = 0; position < POSITIONS; ++position) add_position(position, tiles);
    }

    // Adds the products of all tiles' inputs and gradients at a position.
    void add_position(int64_t position, int64_t tiles) {
        const float *inputs = inputs_.data() + position * position_, *grads = grads_.data() + position * position_out_;
        float* sums = sums_.data() + position * channels_ * channels_out_;
        for_blocks(count_, [&](int64_t c, auto rows) {
            for (int64_t o = 0; o < channels_out_; o += COLUMNS * LANES)
                multiply_block_of<Result::adds, decltype(rows)::value>(
                    (channels_out_ - o) / LANES, inputs + c, 1, channels_, grads + o, channels_out_, tiles,
                    sums + c * channels_out_ + o, channels_out_);
        });
    }

    void write(int64_t part) {
        for (int64_t o = 0; o < p_.channels_out; o += LANES) {
            const int64_t count = p_.channels_out - o;
            for (int64_t c = 0; c < count_; ++c) {
                Vector half[INPUTS][TAPS], m[INPUTS], w[TAPS];
                for (int i = 0; i < INPUTS; ++i) {
                    for (int j = 0; j < INPUTS; ++j)
                        m[j] = load(sums_.data() + ((i * INPUTS + j) * channels_ + c) * channels_out_ + o);
                    transform_sums(m, half[i]);
                }
                for (int j = 0; j < TAPS; ++j) {
                    for (int i = 0; i < INPUTS; ++i) m[i] = half[i][j];
                    transform_sums(m, w);
                    for (int i = 0; i < TAPS; ++i) {
                        const int64_t tap = part * TAPS * TAPS + i * TAPS + j;
                        store(p_.grad_weight + (tap * p_.channels + first_ + c) * p_.channels_out + o, w[i], count);
                    }
                }
            }
            if (first_ == 0) store(p_.grad_bias + part * p_.channels_out + o, load(bias_.data() + o), count);
        }
    }

    const Conv3x3Gradient& p_;
    int64_t channels_, channels_out_; // Of a block, and of the output, in whole vectors.
    int64_t first_ = 0, count_ = 0; // Channels of the block.
    int64_t position_, position_out_; // Floats of a position; they don't share cache sets.
    InputRows rows_;
    Scratch inputs_, grads_; // [36][tiles][channels]: transformed.
    Scratch sums_; // [36][channels][channels_out]
    Scratch bias_;
};

} // namespace
} // namespace dasr_fast

#endif
