// Depthwise filters over a piece of an image, forward and backward, for both memory formats.
//
// Contiguous planes are vectors of columns: rows are first copied to floats with zeros around the image, so that every
// tap is an ordinary load. Channels-last rows are vectors of channels: a walk along the row reads each pixel once a
// row of the filter and adds it to the K outputs that it reaches.
#pragma once

#include "vector.h"

namespace dasr_fast {
namespace {

// Floats from one padded row to the next, for rows of `columns`.
constexpr int64_t padded_pitch(int64_t columns) { return whole_vectors(columns) + 2 * LANES; }

// Copies rows [row, row + rows) and columns [column, column + columns) of an image of height x width, and `margin` more
// columns on either side, as floats; zeros stand outside of the image. `read(offset, count)` gives the pixels from
// offset = row * width + column on. The first column comes to lie at `padded + LANES` of each row.
template <class Read>
inline void pad(
    const Read& read, int64_t height, int64_t width, int64_t row, int64_t rows, int64_t column, int64_t columns,
    int margin, float* padded
) {
    const int64_t pitch = padded_pitch(columns);
    for (int64_t r = row; r < row + rows; ++r, padded += pitch) {
        if (r < 0 || r >= height) {
            std::memset(padded, 0, pitch * sizeof(float));
            continue;
        }
        const int64_t start = r * width;
        const int64_t before = column < margin ? column : margin;
        const int64_t last = column + columns, after = width - last < margin ? width - last : margin;
        store(padded, Vector{});
        if (before > 0) store(padded + LANES - before, read(start + column - before, before));
        for (int64_t c = 0; c < columns; c += LANES) store(padded + LANES + c, read(start + column + c, columns - c));
        store(padded + LANES + whole_vectors(columns), Vector{});
        if (after > 0) store(padded + LANES + columns, read(start + last, after), after);
    }
}

// Filters padded rows: `emit(row, column, value)` for each vector of outputs. `weights` are K x K.
template <int K, class Emit>
inline void filter(const float* padded, const float* weights, int64_t rows, int64_t columns, const Emit& emit) {
    const int64_t pitch = padded_pitch(columns);
    const float* first = padded + LANES - K / 2;
    Vector w[K * K];
    for (int i = 0; i < K * K; ++i) w[i] = splat(weights[i]);
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; column += LANES) {
            Vector value = {};
            for (int i = 0; i < K; ++i)
                for (int j = 0; j < K; ++j) value += w[i * K + j] * load(first + (row + i) * pitch + column + j);
            emit(row, column, value);
        }
}

// Filters padded gradients with the weights turned round, and adds to `grad_weights` (turned round too) the products
// of the shifted gradients with `image(row, column)`, the vectors of the filter's input.
template <int K, class Image, class Emit>
inline void filter_backward(
    const float* padded, const float* weights, int64_t rows, int64_t columns, Vector (&grad_weights)[K * K],
    const Image& image, const Emit& emit
) {
    const int64_t pitch = padded_pitch(columns);
    const float* first = padded + LANES - K / 2;
    Vector w[K * K], totals[K * K];
    for (int i = 0; i < K * K; ++i) w[i] = splat(weights[K * K - 1 - i]), totals[i] = grad_weights[i];
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; column += LANES) {
            const Vector x = image(row, column);
            Vector value = {};
            for (int i = 0; i < K; ++i)
                for (int j = 0; j < K; ++j) {
                    const Vector grad = load(first + (row + i) * pitch + column + j);
                    value += w[i * K + j] * grad;
                    totals[i * K + j] += x * grad;
                }
            emit(row, column, value);
        }
    for (int i = 0; i < K * K; ++i) grad_weights[i] = totals[i];
}

// Filters of `taps` weights for `channels` channels, laid out like channels-last features:
// `[taps][whole_vectors(channels)]`.
template <class T>
inline void turn_weights(const T* kernel, int64_t channels, int64_t taps, float* turned) {
    const int64_t pitch = whole_vectors(channels);
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < taps; ++i) turned[i * pitch + c] = load(kernel + c * taps + i, 1)[0];
}

// Filters columns [column, column + columns) of a row of channels-last features, `LANES` channels of them.
// `read(i, column)` gives a pixel of the filter's row i, `present[i]` tells whether the image has that row, and
// `emit(column, value)` takes the results in turn.
template <int K, class Read, class Emit>
inline void filter_channels_last(
    const Read& read, const bool (&present)[K], const Vector (&w)[K * K], int64_t width, int64_t column,
    int64_t columns, const Emit& emit
) {
    constexpr int HALF = K / 2;
    Vector sums[K] = {};
    for (int64_t c = column - HALF; c < column + columns + HALF; ++c) {
        if (c >= 0 && c < width)
            for (int i = 0; i < K; ++i) {
                if (!present[i]) continue;
                const Vector pixel = read(i, c);
                for (int j = 0; j < K; ++j) sums[j] += w[i * K + K - 1 - j] * pixel;
            }
        if (c - HALF >= column) emit(c - HALF, sums[0]);
        for (int j = 0; j + 1 < K; ++j) sums[j] = sums[j + 1];
        sums[K - 1] = Vector{};
    }
}

// The same with gradients and weights turned round, for a whole row; adds to `grad_weights`, turned round too, the
// products of the gradients with `image(column)`, the filter's input.
template <int K, class Read, class Image, class Emit>
inline void filter_channels_last_backward(
    const Read& read, const bool (&present)[K], const Vector (&w)[K * K], Vector (&grad_weights)[K * K], int64_t width,
    const Image& image, const Emit& emit
) {
    constexpr int HALF = K / 2;
    Vector sums[K] = {}, inputs[K] = {};
    for (int j = HALF; j < K; ++j)
        if (j - HALF < width) inputs[j] = image(j - HALF);
    for (int64_t c = 0; c < width + HALF; ++c) {
        if (c < width)
            for (int i = 0; i < K; ++i) {
                if (!present[i]) continue;
                const Vector grad = read(i, c);
                for (int j = 0; j < K; ++j) {
                    sums[j] += w[i * K + K - 1 - j] * grad;
                    grad_weights[i * K + K - 1 - j] += inputs[j] * grad;
                }
            }
        if (c >= HALF) emit(c - HALF, sums[0]);
        for (int j = 0; j + 1 < K; ++j) sums[j] = sums[j + 1], inputs[j] = inputs[j + 1];
        sums[K - 1] = Vector{};
        inputs[K - 1] = c + 1 + HALF < width ? image(c + 1 + HALF) : Vector{};
    }
}

// Filters columns [column, column + columns) of rows [first, last) of channels-last features of one sample. `turned` are
// the weights of `turn_weights`; `read(offset, count)` takes offsets from the sample's first element, and
// `emit(row, column, channel, value)` the results.
template <int K, class Read, class Emit>
inline void filter_rows_channels_last(
    const Read& read, int64_t height, int64_t width, int64_t channels, int64_t first, int64_t last, int64_t column,
    int64_t columns, const float* turned, const Emit& emit
) {
    for (int64_t row = first; row < last; ++row) {
        bool present[K];
        for (int i = 0; i < K; ++i) present[i] = row + i - K / 2 >= 0 && row + i - K / 2 < height;
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t above = (row - K / 2) * width * channels + c;
            Vector w[K * K];
            for (int i = 0; i < K * K; ++i) w[i] = load(turned + i * whole_vectors(channels) + c);
            filter_channels_last<K>(
                [&](int i, int64_t at) { return read(above + (i * width + at) * channels, channels - c); }, present, w,
                width, column, columns, [&](int64_t at, Vector value) { emit(row, at, c, value); });
        }
    }
}

// The gradient through `filter_rows_channels_last` for the same rows, and of those rows for the weights,
// `[K * K][channels]`; `image` reads the filter's input as `read` does its output's gradient.
template <int K, class Read, class Image, class Emit>
inline void filter_rows_channels_last_backward(
    const Read& read, int64_t height, int64_t width, int64_t channels, int64_t first, int64_t last, const float* turned,
    const Image& image, const Emit& emit, float* grad_weights
) {
    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t count = channels - c;
        Vector w[K * K], sums[K * K] = {};
        for (int i = 0; i < K * K; ++i) w[i] = load(turned + (K * K - 1 - i) * whole_vectors(channels) + c);
        for (int64_t row = first; row < last; ++row) {
            bool present[K];
            for (int i = 0; i < K; ++i) present[i] = row + i - K / 2 >= 0 && row + i - K / 2 < height;
            const int64_t above = (row - K / 2) * width * channels + c, here = row * width * channels + c;
            filter_channels_last_backward<K>(
                [&](int i, int64_t column) { return read(above + (i * width + column) * channels, count); }, present, w,
                sums, width, [&](int64_t column) { return image(here + column * channels, count); },
                [&](int64_t column, Vector value) { emit(row, column, c, value); });
        }
        for (int i = 0; i < K * K; ++i) store(grad_weights + (K * K - 1 - i) * channels + c, sums[i], count);
    }
}

// How many rows of a plane are padded at a time, to stay in the first-level cache.
inline int64_t rows_at_a_time(int64_t columns) {
    const int64_t rows = 6144 / padded_pitch(columns);
    return rows < 4 ? 4 : rows;
}

// Filters a plane: `read(offset, count)` and `emit(offset, count, value)` take offsets from its first element.
template <int K, class Read, class Emit>
inline void filter_plane(
    const Read& read, int64_t height, int64_t width, const float* weights, const Emit& emit
) {
    const int64_t most = rows_at_a_time(width);
    const Scratch padded((most + K - 1) * padded_pitch(width));
    for (int64_t first = 0; first < height; first += most) {
        const int64_t rows = height - first < most ? height - first : most;
        pad(read, height, width, first - K / 2, rows + K - 1, 0, width, K / 2, padded.data());
        filter<K>(padded.data(), weights, rows, width, [&](int64_t row, int64_t column, Vector value) {
            emit((first + row) * width + column, width - column, value);
        });
    }
}

// The gradient through `filter_plane`, and that for the weights.
template <int K, class Read, class Image, class Emit>
inline void filter_plane_backward(
    const Read& read, int64_t height, int64_t width, const float* weights, const Image& image, const Emit& emit,
    float* grad_weights
) {
    const int64_t most = rows_at_a_time(width);
    const Scratch padded((most + K - 1) * padded_pitch(width));
    Vector sums[K * K] = {};
    for (int64_t first = 0; first < height; first += most) {
        const int64_t rows = height - first < most ? height - first : most;
        pad(read, height, width, first - K / 2, rows + K - 1, 0, width, K / 2, padded.data());
        filter_backward<K>(
            padded.data(), weights, rows, width, sums,
            [&](int64_t row, int64_t column) { return image((first + row) * width + column, width - column); },
            [&](int64_t row, int64_t column, Vector value) {
                emit((first + row) * width + column, width - column, value);
            });
    }
    for (int i = 0; i < K * K; ++i) grad_weights[i] = sum(sums[K * K - 1 - i]);
}

// The K x K weights of a plane as floats.
template <int K, class T>
inline void read_weights(const T* kernel, float* weights) {
    for (int i = 0; i < K * K; ++i) weights[i] = load(kernel + i, 1)[0];
}

} // namespace
} // namespace dasr_fast
