// Depthwise filters over a piece of an image, forward and backward, for both memory formats.
//
// Contiguous planes are vectors of columns: rows are first copied to floats with zeros around the image, so that every
// tap is an ordinary load, which serves two rows of outputs. Channels-last rows are vectors of channels: a walk along the
// row reads each pixel once a row of the filter and adds it to the K outputs that it reaches.
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

// Filters R padded rows: `emit(row, column, value)` for each vector of outputs.
template <int K, int R, class Emit>
inline void filter_rows(const float* first, const Vector (&w)[K * K], int64_t columns, const Emit& emit) {
    const int64_t pitch = padded_pitch(columns);
    for (int64_t column = 0; column < columns; column += LANES) {
        Vector sums[R] = {};
        for (int i = 0; i < R + K - 1; ++i)
            for (int j = 0; j < K; ++j) {
                const Vector value = in_register(load(first + i * pitch + column + j));
                for (int r = 0; r < R; ++r)
                    if (i - r >= 0 && i - r < K) sums[r] += w[(i - r) * K + j] * value;
            }
        for (int r = 0; r < R; ++r) emit(r, column, sums[r]);
    }
}

// Filters padded rows with K x K weights: `emit(row, column, value)` for each vector of outputs, row by row or two rows at
// once.
template <int K, class Emit>
inline void filter(const float* padded, const float* weights, int64_t rows, int64_t columns, const Emit& emit) {
    const int64_t pitch = padded_pitch(columns);
    const float* first = padded + LANES - K / 2;
    Vector w[K * K];
    for (int i = 0; i < K * K; ++i) w[i] = splat(weights[i]);
    int64_t row = 0;
    const auto below = [&](int r, int64_t column, Vector value) { emit(row + r, column, value); };
    for (; row + 2 <= rows; row += 2) filter_rows<K, 2>(first + row * pitch, w, columns, below);
    for (; row < rows; ++row) filter_rows<K, 1>(first + row * pitch, w, columns, below);
}

// The gradient through `filter_rows` from padded gradients and with weights turned round; adds to `grad_weights`, turned
// round too, the products of the shifted gradients with `image(row, column)`, the filter's input.
template <int K, int R, class Image, class Emit>
inline void filter_rows_backward(
    const float* first, const Vector (&w)[K * K], int64_t columns, Vector (&grad_weights)[K * K], const Image& image,
    const Emit& emit
) {
    const int64_t pitch = padded_pitch(columns);
    for (int64_t column = 0; column < columns; column += LANES) {
        Vector sums[R] = {}, inputs[R];
        for (int r = 0; r < R; ++r) inputs[r] = image(r, column);
        for (int i = 0; i < R + K - 1; ++i)
            for (int j = 0; j < K; ++j) {
                const Vector grad = in_register(load(first + i * pitch + column + j));
                for (int r = 0; r < R; ++r)
                    if (i - r >= 0 && i - r < K) {
                        sums[r] += w[(i - r) * K + j] * grad;
                        grad_weights[(i - r) * K + j] += inputs[r] * grad;
                    }
            }
        for (int r = 0; r < R; ++r) emit(r, column, sums[r]);
    }
}

// The gradient through `filter`; adds to `grad_weights` as `filter_rows_backward` does.
template <int K, class Image, class Emit>
inline void filter_backward(
    const float* padded, const float* weights, int64_t rows, int64_t columns, Vector (&grad_weights)[K * K],
    const Image& image, const Emit& emit
) {
    const int64_t pitch = padded_pitch(columns);
    const float* first = padded + LANES - K / 2;
    Vector w[K * K], sums[K * K];
    for (int i = 0; i < K * K; ++i) w[i] = splat(weights[K * K - 1 - i]), sums[i] = grad_weights[i];
    int64_t row = 0;
    const auto input = [&](int r, int64_t column) { return image(row + r, column); };
    const auto below = [&](int r, int64_t column, Vector value) { emit(row + r, column, value); };
    for (; row + 2 <= rows; row += 2) filter_rows_backward<K, 2>(first + row * pitch, w, columns, sums, input, below);
    for (; row < rows; ++row) filter_rows_backward<K, 1>(first + row * pitch, w, columns, sums, input, below);
    for (int i = 0; i < K * K; ++i) grad_weights[i] = sums[i];
}

// Filters of `taps` weights for `channels` channels, laid out like channels-last features:
// `[taps][whole_vectors(channels)]`.
template <class T>
inline void turn_weights(const T* kernel, int64_t channels, int64_t taps, float* turned) {
    const int64_t pitch = whole_vectors(channels);
    std::memset((void*)turned, 0, taps * pitch * sizeof(float)); // Lanes without a channel must be numbers, too.
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < taps; ++i) turned[i * pitch + c] = number(kernel + c * taps + i);
}

// Walks along the outputs [first, last) of a filter. `read(i, at)` gives the vector at tap i of the other axis and position
// `at`, which lies in [begin, end): beyond are zeros. The weight of tap i and tap j of the walk is `w[i * K + j]`;
// `emit(at, value)` takes the results in turn.
template <int K, class Read, class Emit>
inline void walk(
    const Read& read, const Vector (&w)[K * K], int64_t begin, int64_t end, int64_t first, int64_t last, const Emit& emit
) {
    constexpr int HALF = K / 2;
    Vector sums[K] = {};
    for (int64_t at = first - HALF; at < last + HALF; ++at) {
        if (at >= begin && at < end)
            for (int i = 0; i < K; ++i) {
                const Vector value = read(i, at);
                for (int j = 0; j < K; ++j) sums[j] += w[i * K + K - 1 - j] * value;
            }
        if (at - HALF >= first) emit(at - HALF, sums[0]);
        for (int j = 0; j + 1 < K; ++j) sums[j] = sums[j + 1];
        sums[K - 1] = Vector{};
    }
}

// The same with the gradients of the filter's outputs and its weights turned round, which gives the gradients for its
// inputs; adds to `grad_weights`, turned round too, the products of the gradients with the inputs, `image(at)`.
template <int K, class Read, class Image, class Emit>
inline void walk_backward(
    const Read& read, const Vector (&w)[K * K], Vector (&grad_weights)[K * K], int64_t begin, int64_t end, int64_t first,
    int64_t last, const Image& image, const Emit& emit
) {
    constexpr int HALF = K / 2;
    Vector sums[K] = {}, inputs[K] = {};
    if (first < last) inputs[K - 1] = image(first);
    for (int64_t at = first - HALF; at < last + HALF; ++at) {
        if (at >= begin && at < end)
            for (int i = 0; i < K; ++i) {
                const Vector grad = read(i, at);
                for (int j = 0; j < K; ++j) {
                    sums[j] += w[i * K + K - 1 - j] * grad;
                    grad_weights[i * K + K - 1 - j] += inputs[j] * grad;
                }
            }
        if (at - HALF >= first) emit(at - HALF, sums[0]);
        for (int j = 0; j + 1 < K; ++j) sums[j] = sums[j + 1], inputs[j] = inputs[j + 1];
        sums[K - 1] = Vector{};
        inputs[K - 1] = at + 1 + HALF < last ? image(at + 1 + HALF) : Vector{};
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
        const int64_t above = row - K / 2;
        for (int64_t c = 0; c < channels; c += LANES) {
            Vector w[K * K];
            for (int i = 0; i < K * K; ++i) w[i] = load(turned + i * whole_vectors(channels) + c);
            walk<K>(
                [&](int i, int64_t at) {
                    if (above + i < 0 || above + i >= height) return Vector{};
                    return read(((above + i) * width + at) * channels + c, channels - c);
                },
                w, 0, width, column, column + columns, [&](int64_t at, Vector value) { emit(row, at, c, value); });
        }
    }
}

// The gradient through `filter_rows_channels_last` for the same rows; adds that of those rows for the weights,
// `[K * K][channels]`. `image` reads the filter's input as `read` does its output's gradient.
template <int K, class Read, class Image, class Emit>
inline void filter_rows_channels_last_backward(
    const Read& read, int64_t height, int64_t width, int64_t channels, int64_t first, int64_t last, const float* turned,
    const Image& image, const Emit& emit, float* grad_weights
) {
    for (int64_t c = 0; c < channels; c += LANES) {
        const int64_t count = channels - c;
        Vector w[K * K], sums[K * K];
        for (int i = 0; i < K * K; ++i) {
            w[i] = load(turned + (K * K - 1 - i) * whole_vectors(channels) + c);
            sums[i] = load(grad_weights + (K * K - 1 - i) * channels + c, count);
        }
        for (int64_t row = first; row < last; ++row) {
            const int64_t above = row - K / 2;
            walk_backward<K>(
                [&](int i, int64_t at) {
                    if (above + i < 0 || above + i >= height) return Vector{};
                    return read(((above + i) * width + at) * channels + c, count);
                },
                w, sums, 0, width, 0, width,
                [&](int64_t at) { return image((row * width + at) * channels + c, count); },
                [&](int64_t at, Vector value) { emit(row, at, c, value); });
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
    for (int i = 0; i < K * K; ++i) weights[i] = number(kernel + i);
}

} // namespace
} // namespace dasr_fast
