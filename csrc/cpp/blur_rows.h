// Blur without downsampling. Rows of pixels are in a ring, and the sums of a few rows of results in registers. Of a
// kernel that is the sum of few products of a column and a row, all rows come first, then all columns.
#pragma once

#include <array>
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
};

template <int R, int V>
void correlate(const Taps& p, const float* const* rows, int64_t column, float* sums, int64_t pitch) {
    Vector total[R][V];
    for (int i = 0; i < R; ++i)
        for (int v = 0; v < V; ++v) total[i][v] = Vector{};
    for (int64_t r = 0; r < p.rows; ++r) {
        const float *pixels = rows[r] + column, *weights = p.weights + r * p.taps * R;
        for (int64_t t = p.first[r]; t < p.last[r]; ++t) {
            Vector weight[R];
            for (int i = 0; i < R; ++i) weight[i] = splat(weights[t * R + i]);
            for (int v = 0; v < V; ++v) {
                const Vector x = in_register(load(pixels + t * p.step + v * LANES));
                for (int i = 0; i < R; ++i) total[i][v] += weight[i] * x;
            }
        }
    }
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

// What blurs the images of a thread. `height` and `width` are the kernel's.
class Blur {
public:
    Blur(int64_t kernel_height, int64_t kernel_width, int64_t whole_columns)
        : height(kernel_height), width(kernel_width), columns(whole_columns), pitch(columns + whole_vectors(width)),
          most_(height * width * 3 / (4 * (height + width))), ring_(height + TALL - 1), planes_(most_ < 1 ? 1 : most_),
          weights_(ring_ * (width > planes_ ? width : planes_) * TALL), row_weights_(planes_ * width),
          factors_(planes_ * (height + width)), rest_(2 * height * width), rows_(ring_ * planes_ * pitch),
          places_(6 * ring_), sums(TALL * columns), padded(pitch) {}

    // Takes a kernel [height, width]; the same one as before costs nothing.
    void set(const float* kernel) {
        if (kernel == kernel_) return;
        kernel_ = kernel;
        float *down = factors_.data(), *across = down + planes_ * height;
        rank_ = decompose(kernel, height, width, most_, (double*)rest_.data(), down, across);
        int64_t *first = places(), *last = first + ring_;
        const bool apart = rank_ > 0;
        taps_ = {ring_, apart ? rank_ : width, apart ? pitch : 1, weights_.data(), first, last};
        for (int64_t r = 0; r < ring_; ++r) {
            first[r] = taps_.taps, last[r] = 0;
            for (int64_t t = 0; t < taps_.taps; ++t)
                for (int64_t i = 0; i < TALL; ++i) {
                    const int64_t row = r - i;
                    const bool within = row >= 0 && row < height;
                    const float weight = !within ? 0 : apart ? down[t * height + row] : kernel[row * width + t];
                    weights_.data()[(r * taps_.taps + t) * TALL + i] = weight;
                    if (weight != 0) first[r] = t < first[r] ? t : first[r], last[r] = t + 1;
                }
        }
        for (int64_t t = 0; apart && t < rank_; t += TALL) // Weights of TALL rows beside each other.
            for (int64_t j = 0, count = rank_ - t < TALL ? rank_ - t : TALL; j < width; ++j)
                for (int64_t i = 0; i < count; ++i)
                    row_weights_.data()[t * width + j * count + i] = across[(t + i) * width + j];
    }

    // Takes row `number` of the padded image from `padded`.
    void put(int64_t number) {
        float* row = at(number);
        if (rank_ <= 0) return (void)std::memcpy(row, padded.data(), pitch * sizeof(float));
        const int64_t first = 0;
        const float* pixels = padded.data();
        for (int64_t t = 0; t < rank_; t += TALL) {
            const Taps taps{1, width, 1, row_weights_.data() + t * width, &first, &width};
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
    int64_t rank_ = 0;
    Taps taps_{};
};

} // namespace

} // namespace dasr_fast
