// 3x3 convolution of channels-last features by F(4x4, 3x3) (Winograd 1980; Lavin and Gray, CVPR 2016).
//
// A tile of 4x4 outputs comes from 6x6 inputs: both, and the weights, are transformed, so that 36 products of channels
// take the place of 144. The points of interpolation are 0, +-sqrt(1/2), +-sqrt(2) and infinity, whose rounding errors
// are half of those of 0, +-1, +-2 and infinity.
#pragma once

#include "types.h"

namespace dasr_fast {

// Element (o, c, i, j) of weights stands `first + o * out + c * in + i * row + j * column` elements from their start.
struct WeightSteps {
    int64_t first, out, in, row, column;
};

// A convolution `[B, H, W, C]` to `[B, H, W, C_out]`, with the activation and the sum that follow it.
struct Conv3x3 {
    int64_t samples, height, width, channels, channels_out;
    Type type;
    bool activate;
    float slope;
    const void *x, *weight, *bias, *residual; // Bias and residual may be null.
    WeightSteps steps; // Of the weights.
    const void* sign; // If not null, `x` is a gradient after a LeakyReLU with that output.
    bool tiles; // By products in tiles, of bfloat16; otherwise by Winograd's transforms.
    float* transformed; // Weights: [36, C, whole_lines(C_out)], or right tiles.
    void* y;
    int64_t bands, strips; // An item of work is one of the strips of columns of one of the bands of rows of a sample.
};

constexpr int64_t TILE = 4, TAPS = 3, INPUTS = TILE + TAPS - 1, POSITIONS = INPUTS * INPUTS;

// Floats of a row of transformed weights for `channels` outputs: whole vectors of every instruction set.
constexpr int64_t whole_lines(int64_t channels) { return (channels + 15) / 16 * 16; }

constexpr int64_t tiles_of(int64_t pixels) { return (pixels + TILE - 1) / TILE; }

// Most tiles at a time, of one row of a strip or of several short ones. They are enough to pay for reading the weights, and
// so few that their inputs for all positions stay in a second-level cache.
constexpr int64_t TILES_TOGETHER = 24;

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "product.h"

namespace dasr_fast {
namespace {

constexpr float ROOT = 1.41421356237309504880f, HALF_ROOT = 0.70710678118654752440f;

// Six inputs at the points of interpolation.
inline void transform_input(const Vector (&d)[INPUTS], Vector (&t)[INPUTS]) {
    const Vector even = d[4] - 2.0f * d[2], odd = d[3] - 2.0f * d[1];
    const Vector even_far = d[4] - 0.5f * d[2], odd_far = d[3] - 0.5f * d[1];
    t[0] = d[4] - 2.5f * d[2] + d[0];
    t[1] = even + HALF_ROOT * odd;
    t[2] = even - HALF_ROOT * odd;
    t[3] = even_far + ROOT * odd_far;
    t[4] = even_far - ROOT * odd_far;
    t[5] = d[5] - 2.5f * d[3] + d[1];
}

// Three weights at the points, divided by what the inputs' transform left out.
inline void transform_weight(const Vector (&w)[TAPS], Vector (&t)[INPUTS]) {
    const Vector even = w[0] + 0.5f * w[2], odd = HALF_ROOT * w[1];
    const Vector even_far = w[0] + 2.0f * w[2], odd_far = ROOT * w[1];
    t[0] = w[0];
    t[1] = (even + odd) * (-2.0f / 3.0f);
    t[2] = (even - odd) * (-2.0f / 3.0f);
    t[3] = (even_far + odd_far) * (1.0f / 6.0f);
    t[4] = (even_far - odd_far) * (1.0f / 6.0f);
    t[5] = w[2];
}

// Four outputs from the products at the points.
inline void transform_output(const Vector (&m)[INPUTS], Vector (&y)[TILE]) {
    const Vector sum = m[1] + m[2], difference = HALF_ROOT * (m[1] - m[2]);
    const Vector sum_far = m[3] + m[4], difference_far = ROOT * (m[3] - m[4]);
    y[0] = m[0] + sum + sum_far;
    y[1] = difference + difference_far;
    y[2] = 0.5f * sum + 2.0f * sum_far;
    y[3] = 0.5f * difference + 2.0f * difference_far + m[5];
}

// The weights of one input channel at all positions.
template <class T>
void transform_weights(const Conv3x3& p, int64_t channel) {
    const int64_t pitch = whole_lines(p.channels_out);
    const WeightSteps& steps = p.steps;
    for (int64_t o = 0; o < pitch; o += LANES) {
        const T* weight = (const T*)p.weight + steps.first + channel * steps.in + o * steps.out;
        const int64_t count = p.channels_out - o;
        Vector rows[TAPS][INPUTS], w[TAPS], t[INPUTS];
        float gathered[TAPS * TAPS][LANES] = {};
        for (int64_t lane = 0; lane < LANES && lane < count; ++lane)
            for (int tap = 0; tap < TAPS * TAPS; ++tap)
                gathered[tap][lane] =
                    number(weight + lane * steps.out + tap / TAPS * steps.row + tap % TAPS * steps.column);
        for (int i = 0; i < TAPS; ++i) {
            for (int j = 0; j < TAPS; ++j) w[j] = load(gathered[i * TAPS + j]);
            transform_weight(w, rows[i]);
        }
        for (int j = 0; j < INPUTS; ++j) {
            for (int i = 0; i < TAPS; ++i) w[i] = rows[i][j];
            transform_weight(w, t);
            for (int i = 0; i < INPUTS; ++i)
                store(p.transformed + ((i * INPUTS + j) * p.channels + channel) * pitch + o, t[i]);
        }
    }
}

// What a product's result does with what is there already.
enum class Result { replaces, adds };

// R rows of a product in registers: element (r, k) of the left matrix is `left[r * row + k * step]`.
template <Result RESULT, int R, int N>
inline void multiply_block(
    const float* left, int64_t row, int64_t step, const float* right, int64_t right_pitch, int64_t depth, float* result,
    int64_t result_pitch
) {
    Vector sums[R][N] = {};
    if (RESULT == Result::adds)
        for (int r = 0; r < R; ++r)
            for (int n = 0; n < N; ++n) sums[r][n] = load(result + r * result_pitch + n * LANES);
    for (int64_t k = 0; k < depth; ++k, left += step, right += right_pitch) {
        Vector columns[N];
        for (int n = 0; n < N; ++n) columns[n] = load(right + n * LANES);
        for (int r = 0; r < R; ++r) {
            const Vector factor = splat(left[r * row]);
            for (int n = 0; n < N; ++n) sums[r][n] += factor * columns[n];
        }
    }
    for (int r = 0; r < R; ++r)
        for (int n = 0; n < N; ++n) store(result + r * result_pitch + n * LANES, sums[r][n]);
}

template <Result RESULT, int R, class... Arguments>
inline void multiply_block_of(int64_t vectors, Arguments... arguments) {
    switch (vectors) {
    case 1: return multiply_block<RESULT, R, 1>(arguments...);
    case 2: return multiply_block<RESULT, R, 2>(arguments...);
    case 3: return multiply_block<RESULT, R, COLUMNS == 4 ? 3 : COLUMNS>(arguments...);
    default: return multiply_block<RESULT, R, COLUMNS>(arguments...);
    }
}

// Calls `function(first, rows)` with the rows [first, first + rows) of blocks of at most ROWS, `rows` as a type.
template <class Function>
inline void for_blocks(int64_t rows, const Function& function) {
    const int64_t blocks = (rows + ROWS - 1) / ROWS;
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = rows * block / blocks;
        switch (rows * (block + 1) / blocks - first) {
        case 1: function(first, Size<1>()); break;
        case 2: function(first, Size<2>()); break;
        case 3: function(first, Size<3>()); break;
        case 4: function(first, Size<4>()); break;
        case 5: function(first, Size<5>()); break;
        default: function(first, Size<6>());
        }
    }
}

constexpr int64_t WIDEST = TILES_TOGETHER * TILE + 2; // Most pixels of a row of inputs.

// The inputs of a strip of columns, row by row, and the transform of their tiles.
class InputRows {
public:
    // Of `channels`, whole vectors.
    InputRows(int64_t height, int64_t width, int64_t channels)
        : height_(height), width_(width), channels_(channels), inputs_(INPUTS * WIDEST * channels) {}

    // The next row of inputs that isn't there yet.
    int64_t ready() const { return ready_; }

    // Begins with the row of tiles `row` of a strip of `count` tiles from tile `first` on.
    void begin(int64_t row, int64_t first, int64_t count) {
        column_ = first * TILE, columns_ = count * TILE, ready_ = row * TILE - 1;
    }

    // Makes the inputs of a row of tiles be there. `fill(row, column, columns, inputs)` puts the inputs of columns [column,
    // column + columns) of a row, which lie in the image, at `inputs`.
    template <class Fill>
    void read(int64_t row, const Fill& fill) {
        for (; ready_ < row * TILE + INPUTS - 1; ++ready_) fill_row(fill);
    }

    // The transformed inputs of a tile: those of each position `pitch` floats after those of the last.
    void transform(int64_t row, int64_t tile, float* out, int64_t pitch) const {
        const float* rows[INPUTS];
        for (int i = 0; i < INPUTS; ++i) rows[i] = input(row * TILE - 1 + i) + tile * TILE * channels_;
        for (int64_t c = 0; c < channels_; c += LANES) {
            Vector half[INPUTS][INPUTS], d[INPUTS], t[INPUTS];
            for (int j = 0; j < INPUTS; ++j) {
                for (int i = 0; i < INPUTS; ++i) d[i] = load(rows[i] + j * channels_ + c);
                transform_input(d, t);
                for (int i = 0; i < INPUTS; ++i) half[i][j] = t[i];
            }
            for (int i = 0; i < INPUTS; ++i) {
                transform_input(half[i], t);
                for (int j = 0; j < INPUTS; ++j) store(out + (i * INPUTS + j) * pitch + c, t[j]);
            }
        }
    }

private:
    float* input(int64_t row) const { return inputs_.data() + (row + INPUTS) % INPUTS * WIDEST * channels_; }

    // A row of inputs, one pixel wider than the strip on either side; zeros outside of the image.
    template <class Fill>
    void fill_row(const Fill& fill) {
        float* start = input(ready_);
        const bool inside = ready_ >= 0 && ready_ < height_;
        const int64_t begin = !inside || column_ > 0 ? 0 : 1, right = width_ - column_ + 1;
        const int64_t end = !inside ? 0 : right < columns_ + 2 ? right : columns_ + 2;
        std::memset((void*)start, 0, begin * channels_ * sizeof(float));
        if (inside) fill(ready_, column_ - 1 + begin, end - begin, start + begin * channels_);
        std::memset((void*)(start + end * channels_), 0, (columns_ + 2 - end) * channels_ * sizeof(float));
    }

    int64_t height_, width_, channels_;
    int64_t column_ = 0, columns_ = 0, ready_ = 0; // Of the strip.
    Scratch inputs_; // A ring of rows.
};

// The convolution of a strip of columns, row of tiles by row of tiles.
class Strip {
public:
    explicit Strip(const Conv3x3& p)
        : p_(p), channels_(whole_vectors(p.channels)), channels_out_(whole_vectors(p.channels_out)),
          row_(channels_ > channels_out_ ? channels_ : channels_out_),
          position_(TILES_TOGETHER * row_ + LANES), // Positions don't share cache sets.
          inputs_(p.height, p.width, channels_), products_(POSITIONS * position_),
          block_(ROWS * channels_) {}

    int64_t channels() const { return channels_; } // Floats of a pixel of inputs.

    // Convolves the tiles of an item. `fill` is as in `InputRows`, with `channels()` floats a pixel; those beyond the last
    // channel may be anything.
    // `ask(row, column, columns)` is called with the columns of rows that `fill` will need next, while there is arithmetic to
    // do; they may lie beyond the image.
    template <class T, class Fill, class Ask>
    void run(int64_t item, const Fill& fill, const Ask& ask) {
        const int64_t strip = item % p_.strips, band = item / p_.strips % p_.bands;
        const int64_t rows = tiles_of(p_.height), columns = tiles_of(p_.width);
        const int64_t first = columns * strip / p_.strips, count = columns * (strip + 1) / p_.strips - first;
        const int64_t most = count > 0 ? TILES_TOGETHER / count : 1, end = rows * (band + 1) / p_.bands;
        inputs_.begin(rows * band / p_.bands, first, count);
        for (int64_t row = rows * band / p_.bands, together; row < end; row += together) {
            together = most < end - row ? most : end - row;
            for (int64_t r = 0; r < together; ++r) {
                inputs_.read(row + r, fill);
                for (int64_t tile = 0; tile < count; ++tile)
                    inputs_.transform(row + r, tile, products_.data() + (r * count + tile) * row_, position_);
            }
            for (int64_t position = 0; position < POSITIONS; ++position) {
                constexpr int64_t PIECES = POSITIONS / TILE; // Of each of the next rows.
                const int64_t piece = position % PIECES, begin = count * TILE * piece / PIECES;
                for (int64_t r = 0; r < together; ++r)
                    ask(inputs_.ready() + r * TILE + position / PIECES, first * TILE + begin,
                        count * TILE * (piece + 1) / PIECES - begin);
                multiply_position(position, together * count);
            }
            for (int64_t r = 0; r < together; ++r)
                for (int64_t tile = 0; tile < count; ++tile)
                    write_tile<T>(item / p_.strips / p_.bands, (row + r) * TILE, (first + tile) * TILE, r * count + tile);
        }
    }

private:
    // The product of all tiles' inputs at a position with the weights there, in the inputs' place.
    void multiply_position(int64_t position, int64_t tiles) {
        const float* right = p_.transformed + position * p_.channels * whole_lines(p_.channels_out);
        for_blocks(tiles, [&](int64_t first, auto rows) {
            multiply_rows<decltype(rows)::value>(products_.data() + position * position_ + first * row_, right);
        });
    }

    template <int R>
    void multiply_rows(float* start, const float* right) {
        const int64_t vectors = channels_out_ / LANES, pitch = whole_lines(p_.channels_out);
        const float* left = start;
        int64_t left_pitch = row_;
        if (vectors > COLUMNS) { // The first results would overwrite what the others need.
            for (int r = 0; r < R; ++r)
                std::memcpy((void*)(block_.data() + r * channels_), start + r * row_, channels_ * sizeof(float));
            left = block_.data(), left_pitch = channels_;
        }
        for (int64_t n = 0; n < vectors; n += COLUMNS)
            multiply_block_of<Result::replaces, R>(
                vectors - n, left, left_pitch, 1, right + n * LANES, pitch, p_.channels, start + n * LANES, row_);
    }

    template <class T>
    void write_tile(int64_t sample, int64_t row, int64_t column, int64_t tile) {
        const float* products = products_.data() + tile * row_;
        for (int64_t o = 0; o < p_.channels_out; o += LANES) {
            const int64_t count = p_.channels_out - o;
            Vector half[INPUTS][TILE], m[INPUTS], y[TILE];
            for (int i = 0; i < INPUTS; ++i) {
                for (int j = 0; j < INPUTS; ++j) m[j] = load(products + (i * INPUTS + j) * position_ + o);
                transform_output(m, half[i]);
            }
            const Vector bias = p_.bias ? load((const T*)p_.bias + o, count) : Vector{};
            for (int j = 0; j < TILE && column + j < p_.width; ++j) {
                for (int i = 0; i < INPUTS; ++i) m[i] = half[i][j];
                transform_output(m, y);
                for (int i = 0; i < TILE && row + i < p_.height; ++i) {
                    const int64_t at =
                        ((sample * p_.height + row + i) * p_.width + column + j) * p_.channels_out + o;
                    Vector value = y[i] + bias;
                    if (p_.activate) value = leaky_relu(value, p_.slope);
                    if (p_.residual) value += load((const T*)p_.residual + at, count);
                    store((T*)p_.y + at, value, count);
                }
            }
        }
    }

    const Conv3x3& p_;
    int64_t channels_, channels_out_; // In whole vectors.
    int64_t row_, position_; // Floats of a tile at a position, and of a position.
    InputRows inputs_;
    Scratch products_; // [36][tiles][row_]: transformed inputs, then products.
    Scratch block_;
};

} // namespace
} // namespace dasr_fast

#endif
