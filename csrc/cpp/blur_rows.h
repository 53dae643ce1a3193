// Blur without downsampling. Rows of pixels are in a ring, and the sums of a few rows of results in registers. Of a
// kernel that is the sum of few products of a column and a row, all rows come first, then all columns.
#pragma once

#include <array>
#include <cmath>
#include <utility>

#include "vector.h"

namespace dasr_fast {

namespace {

constexpr int TALL = REGISTERS == 32 ? 4 : 2, WIDE = 6; // Rows and vectors of results in registers.
constexpr double LEFT_OUT = 2e-7; // Part of a kernel that products may miss: float32 rounds as much.

// Weights of R results at a time for rows of pixels, each seen at `taps` places.
struct Taps {
    int64_t rows, taps, step; // Of pixels; floats from one place to the next.
    const float* weights; // [rows, taps, R]
    const int64_t *first, *last; // [rows]: the places of which the weights aren't all 0.
    int64_t mirror; // Where pixels of the first place's weights are, too, and before it those of the others; 0 for none.
    bool slanted; // Whether results after the first one begin and end a row later each, so that others take no part.
};

// Adds row `r` to results [LOW, HIGH).
template <bool MIRRORED, int LOW, int HIGH, int R, int V>
inline void add_row(const Taps& p, const float* const* rows, int64_t r, int64_t column, Vector (&total)[R][V]) {
    const float *pixels = rows[r] + column, *weights = p.weights + r * p.taps * R;
    for (int64_t t = p.first[r]; t < p.last[r]; ++t) {
        Vector weight[R];
        for (int i = LOW; i < HIGH; ++i) weight[i] = splat(weights[t * R + i]);
        for (int v = 0; v < V; ++v) {
            Vector x = load(pixels + t * p.step + v * LANES);
            if (MIRRORED) x += load(pixels + p.mirror - t + v * LANES);
            x = in_register(x);
            for (int i = LOW; i < HIGH; ++i) total[i][v] += weight[i] * x;
        }
    }
}

template <bool MIRRORED, int R, int V, int... I>
inline void add_rows(
    const Taps& p, const float* const* rows, int64_t column, Vector (&total)[R][V], std::integer_sequence<int, I...>) {
    const int64_t ends = p.slanted ? R - 1 : 0;
    if (ends) (add_row<MIRRORED, 0, I + 1>(p, rows, I, column, total), ...);
    for (int64_t r = ends; r < p.rows - ends; ++r) add_row<MIRRORED, 0, R>(p, rows, r, column, total);
    if (ends) (add_row<MIRRORED, I + 1, R>(p, rows, p.rows - ends + I, column, total), ...);
}

template <int R, int V>
void correlate(const Taps& p, const float* const* rows, int64_t column, float* sums, int64_t pitch) {
    Vector total[R][V];
    for (int i = 0; i < R; ++i)
        for (int v = 0; v < V; ++v) total[i][v] = Vector{};
    if (p.mirror)
        add_rows<true>(p, rows, column, total, std::make_integer_sequence<int, R - 1>());
    else
        add_rows<false>(p, rows, column, total, std::make_integer_sequence<int, R - 1>());
    for (int i = 0; i < R; ++i)
        for (int v = 0; v < V; ++v) store(sums + i * pitch + column + v * LANES, total[i][v]);
}

using Correlate = void (*)(const Taps&, const float* const*, int64_t, float*, int64_t);

template <int R, int... V>
constexpr std::array<Correlate, WIDE> for_widths(std::integer_sequence<int, V...>) {
    return {correlate<R, V + 1>...};
}

template <int... R>
constexpr std::array<std::array<Correlate, WIDE>, TALL> for_heights(std::integer_sequence<int, R...>) {
    return {for_widths<R + 1>(std::make_integer_sequence<int, WIDE>())...};
}

constexpr auto CORRELATE = for_heights(std::make_integer_sequence<int, TALL>()); // [results - 1][vectors - 1]

// Sums of `columns` pixels, whole vectors, for `results` of at most TALL.
inline void correlate(
    int64_t results, const Taps& taps, const float* const* rows, int64_t columns, float* sums, int64_t pitch) {
    const int64_t vectors = columns / LANES, blocks = (vectors + WIDE - 1) / WIDE;
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = vectors * block / blocks, count = vectors * (block + 1) / blocks - first;
        CORRELATE[results - 1][count - 1](taps, rows, first * LANES, sums, pitch);
    }
}

// How many products of a column and a row a kernel is, or -1 if more than `most`: cross approximation with full pivoting.
inline int64_t decompose(
    const float* kernel, int64_t height, int64_t width, int64_t most, double* rest, float* columns, float* rows) {
    double total = 0;
    for (int64_t i = 0; i < height * width; ++i) rest[i] = kernel[i], total += rest[i] < 0 ? -rest[i] : rest[i];
    for (int64_t rank = 0;; ++rank) {
        double sum = 0, largest = 0;
        int64_t pivot = 0;
        for (int64_t i = 0; i < height * width; ++i) {
            const double size = rest[i] < 0 ? -rest[i] : rest[i];
            sum += size;
            if (size > largest) largest = size, pivot = i;
        }
        if (rank > 0 && sum <= LEFT_OUT * total) return rank;
        if (rank >= most || !(largest > 0)) return -1;
        float *column = columns + rank * height, *row = rows + rank * width;
        const double* of_pivot = rest + pivot / width * width;
        for (int64_t i = 0; i < height; ++i) column[i] = (float)(rest[i * width + pivot % width] / rest[pivot]);
        for (int64_t j = 0; j < width; ++j) row[j] = (float)of_pivot[j];
        for (int64_t i = 0; i < height; ++i)
            for (int64_t j = 0; j < width; ++j) rest[i * width + j] -= (double)column[i] * (double)row[j];
    }
}

// Whether the columns of a kernel are the same from right to left, but for what products may miss, too.
inline bool is_mirrored(const float* kernel, int64_t height, int64_t width) {
    double differ = 0, total = 0;
    for (int64_t i = 0; i < height * width; ++i) {
        const float value = kernel[i], other = kernel[i / width * width + width - 1 - i % width];
        differ += std::fabs((double)value - other), total += std::fabs((double)value);
    }
    return width % 2 == 1 && differ <= LEFT_OUT * total;
}

// What blurs the images of a thread. `height` and `width` are the kernel's.
class Blur {
public:
    Blur(int64_t kernel_height, int64_t kernel_width, int64_t whole_columns)
        : height(kernel_height), width(kernel_width), columns(whole_columns), pitch(columns + whole_vectors(width)),
          most_(height * width * 3 / (4 * (height + width))), ring_(height + TALL - 1),
          planes_(most_ < 1 ? 1 : most_), weights_(ring_ * (width > planes_ ? width : planes_) * TALL),
          row_weights_(planes_ * width), factors_(planes_ * (height + width)), rest_(2 * height * width),
          rows_(ring_ * planes_ * pitch), places_(6 * ring_), sums(TALL * columns), padded(pitch) {}

    // Takes a kernel [height, width]; the same one as before costs nothing.
    void set(const float* kernel) {
        if (kernel == kernel_) return;
        kernel_ = kernel;
        float *down = factors_.data(), *across = down + planes_ * height;
        const bool mirrored = is_mirrored(kernel, height, width);
        const int64_t most = mirrored ? (most_ + 1) / 2 : most_;
        const int64_t rank = decompose(kernel, height, width, most, (double*)rest_.data(), down, across);
        rank_ = rank;
        int64_t *first = places(), *last = first + ring_;
        const int64_t mirror = rank <= 0 && mirrored ? width - 1 : 0, taps = rank > 0 ? rank : mirror ? width / 2 + 1 : width;
        taps_ = {ring_, taps, rank > 0 ? pitch : 1, weights_.data(), first, last, mirror, rank != 1 && height >= TALL};
        for (int64_t r = 0; r < ring_; ++r) {
            first[r] = taps, last[r] = 0;
            for (int64_t t = 0; t < taps; ++t)
                for (int64_t i = 0; i < TALL; ++i) {
                    const int64_t row = r - i;
                    const bool within = row >= 0 && row < height;
                    float weight = !within ? 0 : rank > 0 ? down[t * height + row] : kernel[row * width + t];
                    if (mirror && 2 * t == mirror) weight /= 2; // The middle is added to itself.
                    weights_.data()[(r * taps + t) * TALL + i] = weight;
                    if (weight != 0) first[r] = t < first[r] ? t : first[r], last[r] = t + 1;
                }
        }
        for (int64_t t = 0; t < rank; t += TALL) // Weights of TALL rows beside each other.
            for (int64_t j = 0, count = rank - t < TALL ? rank - t : TALL; j < width; ++j)
                for (int64_t i = 0; i < count; ++i)
                    row_weights_.data()[t * width + j * count + i] = across[(t + i) * width + j];
    }

    // Takes row `number` of the padded image from `padded`.
    void put(int64_t number) {
        float* row = at(number);
        const float* pixels = padded.data();
        if (rank_ <= 0) return (void)std::memcpy(row, pixels, pitch * sizeof(float));
        const int64_t first = 0;
        for (int64_t t = 0; t < rank_; t += TALL) {
            const Taps taps{1, width, 1, row_weights_.data() + t * width, &first, &width, 0, false};
            correlate(rank_ - t < TALL ? rank_ - t : TALL, taps, &pixels, columns, row + t * pitch, pitch);
        }
    }

    // Sums of results from row `number` on, of which the padded rows before `end` are there.
    void blur(int64_t number, int64_t end) {
        const float** rows = (const float**)(places() + 2 * ring_);
        for (int64_t r = 0; r < ring_; ++r) rows[r] = at(number + r < end ? number + r : end - 1);
        correlate(TALL, taps_, rows, columns, sums.data(), columns);
    }

    const int64_t height, width, columns, pitch; // The kernel's; whole vectors of results, and floats of a padded row.

private:
    float* at(int64_t number) const { return rows_.data() + number % ring_ * planes_ * pitch; }
    int64_t* places() const { return (int64_t*)places_.data(); }

    const int64_t most_, ring_, planes_; // Products that are worth while; padded rows that are kept, and of what each consists.
    const Scratch weights_, row_weights_, factors_, rest_, rows_, places_;

public:
    const Scratch sums; // [TALL, columns]
    const Scratch padded; // [pitch]

private:
    const float* kernel_ = nullptr;
    int64_t rank_ = 0; // Products that the kernel is taken as, if any.
    Taps taps_{};
};

} // namespace

} // namespace dasr_fast
