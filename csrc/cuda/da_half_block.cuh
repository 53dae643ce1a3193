// da_half_block: DA convolution, LeakyReLU, 3x3 convolution, then LeakyReLU or a sum, in one kernel.
//
// For 64 channels in 16 bits, channels-last, with 3x3 filters. A block stays on its multiprocessor with all weights in
// shared memory and takes tiles of ROWS x 16 pixels. Some warps prepare a tile: they start to copy the next tile's
// input, filter this one's in float32 and multiply by the 1x1 weights on the tensor cores; what they leave, the tile
// and a pixel around it, is the middle. Meanwhile four warps convolve the middle of the tile before. Input and middle
// are there twice, so that one barrier a tile suffices.
//
// Matrices in shared memory, of pixels or of weights, have rows of 64 channels and lie in eight planes: plane i has
// channels 8 i to 8 i + 7 of each row, 16 bytes a row. From one plane to the next it is an odd number of rows, so that
// neither eight neighbouring rows of a plane nor the eight planes of a row share banks.
//
// The 3x3 convolution has two versions, of which everything else is the same: with mma.sync, and with wgmma.
#pragma once

#include <cstring>

#include "device.h"

namespace dasr_fast {

// Features are [B, H, W, 64] in memory, aligned to 16 bytes; what may be null is zero.
template <typename T>
struct HalfBlock {
    const T* x;
    const T* kernel;       // [B, 64, 3, 3].
    const T* weight;       // [64, 64], aligned to 16 bytes.
    const T* bias;         // [64] or null.
    const T* gate;         // [B, 64] or null.
    const T* conv_weight;  // [64, 3, 3, 64]: output channel, row, column, input channel; aligned to 16 bytes.
    const T* conv_bias;    // [64] or null.
    const T* residual;     // As y, or null.
    T* y;
    std::int64_t batch;
    int height, width;
    float negative_slope;
    bool activate;
};

namespace half_block {

constexpr int CHANNELS = 64, PLANES = 8, ROW_BYTES = 16, TAPS = 9;
constexpr int COLUMNS = 16, MIDDLE_COLUMNS = COLUMNS + 2, INPUT_COLUMNS = COLUMNS + 4;
constexpr int CONVOLVING = 4 * WARP;

// Bytes from one plane of a matrix of so many rows to the next.
constexpr int pitch_of(int rows) { return (rows / 2 * 2 + 1) * ROW_BYTES; }

constexpr int WEIGHT_PITCH = pitch_of(CHANNELS);              // A row for each output channel,
constexpr int CONV_WEIGHT_PITCH = pitch_of(TAPS * CHANNELS);  // and of each tap.

// Sizes of a tile of ROWS rows, threads of its block, and where everything is in shared memory, in bytes.
template <int ROWS>
struct Plan {
    static constexpr int MIDDLE_ROWS = ROWS + 2, INPUT_ROWS = ROWS + 4;
    static constexpr int PREPARING = MIDDLE_ROWS / 2 * WARP, THREADS = CONVOLVING + PREPARING;
    static constexpr int INPUT_PITCH = pitch_of(INPUT_ROWS * INPUT_COLUMNS);
    static constexpr int MIDDLE_PITCH = pitch_of(MIDDLE_ROWS * MIDDLE_COLUMNS);
    static constexpr int INPUT_BYTES = PLANES * INPUT_PITCH, MIDDLE_BYTES = PLANES * MIDDLE_PITCH;
    // Pixels that wgmma computes: the tile's rows one after the other, with the two columns of the middle between them.
    static constexpr int WGMMA_PIXELS = ceil_divide(ROWS * MIDDLE_COLUMNS - 2, 8) * 8;
    static constexpr int BIAS_BYTES = CHANNELS * 2;
    static constexpr int SAMPLE_BYTES = (TAPS + 1) * BIAS_BYTES;  // Filters [3, 3, 64] and the gate of a sample.
    static constexpr int CONV_WEIGHT = 0;
    static constexpr int WEIGHT = CONV_WEIGHT + PLANES * CONV_WEIGHT_PITCH;
    static constexpr int INPUT = WEIGHT + PLANES * WEIGHT_PITCH;
    static constexpr int MIDDLE = INPUT + 2 * INPUT_BYTES;
    static constexpr int SAMPLE = MIDDLE + 2 * MIDDLE_BYTES;
    static constexpr int BIAS = SAMPLE + 2 * SAMPLE_BYTES;
    static constexpr int CONV_BIAS = BIAS + BIAS_BYTES;
    static constexpr int BYTES = CONV_BIAS + BIAS_BYTES;
};

// A tile by its first output pixel.
struct Tile {
    std::int64_t sample;
    int row, column;
};

template <int ROWS>
__device__ __forceinline__ Tile tile_of(int index, int height, int width) {
    const int across = ceil_divide(width, COLUMNS), down = ceil_divide(height, ROWS), strip = index / across;
    return {strip / down, strip % down * ROWS, index % across * COLUMNS};
}

__device__ __forceinline__ float leaky_relu(float value, float slope) { return value > 0 ? value : value * slope; }

template <typename T>
__device__ __forceinline__ T or_zero(const T* pointer, std::int64_t index) {
    return pointer == nullptr ? from_float<T>(0) : pointer[index];
}

// Starts to copy a tile's input, zeros outside the image; `thread` is one of the preparing.
template <int ROWS, typename T>
__device__ __forceinline__ void copy_input(const HalfBlock<T>& block, const Tile& tile, unsigned char* input,
                                           int thread) {
    const T* image = block.x + tile.sample * block.height * block.width * CHANNELS;
#pragma unroll 1
    for (int i = thread; i < Plan<ROWS>::INPUT_ROWS * INPUT_COLUMNS * PLANES; i += Plan<ROWS>::PREPARING) {
        const int plane = i % PLANES, pixel = i / PLANES, row = pixel / INPUT_COLUMNS, column = pixel % INPUT_COLUMNS;
        const int h = tile.row + row - 2, w = tile.column + column - 2;
        const bool inside = 0 <= h && h < block.height && 0 <= w && w < block.width;
        const T* source = inside ? image + (std::int64_t(h) * block.width + w) * CHANNELS + plane * 8 : image;
        copy_async_16(input + plane * Plan<ROWS>::INPUT_PITCH + pixel * ROW_BYTES, source, inside);
    }
}

// Starts to copy 64 rows of weights; row r comes from `source + r * stride`.
template <typename T>
__device__ __forceinline__ void copy_weights(const T* source, int stride, unsigned char* weights, int pitch, int thread,
                                             int threads) {
    for (int i = thread; i < CHANNELS * PLANES; i += threads) {
        const int row = i / PLANES, plane = i % PLANES;
        copy_async_16(weights + plane * pitch + row * ROW_BYTES, source + row * stride + plane * 8, true);
    }
}

// A sample's filters and gate on their way to shared memory, in the registers of THREADS threads.
template <int THREADS, typename T>
struct SampleValues {
    static constexpr int ELEMENTS = CHANNELS * TAPS, EACH = ceil_divide(ELEMENTS, THREADS);
    static_assert(THREADS >= CHANNELS);
    T filters[EACH], gate;

    __device__ __forceinline__ void load(const HalfBlock<T>& block, std::int64_t sample, int thread) {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int element = i * THREADS + thread;
            if (element < ELEMENTS) filters[i] = block.kernel[sample * ELEMENTS + element];
        }
        gate = thread < CHANNELS ? or_zero(block.gate, sample * CHANNELS + thread) : from_float<T>(0);
    }

    __device__ __forceinline__ void store(T* values, int thread) const {
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int element = i * THREADS + thread;
            if (element < ELEMENTS) values[element % TAPS * CHANNELS + element / TAPS] = filters[i];
        }
        if (thread < CHANNELS) values[TAPS * CHANNELS + thread] = gate;
    }
};

// Filters, activates and rounds two rows of the middle; a lane takes eight channels of half a row.
template <int ROWS, typename T>
__device__ __forceinline__ void filter(const HalfBlock<T>& block, const unsigned char* input, const T* sample,
                                       unsigned char* middle, int first_row, int lane) {
    constexpr int RUN = MIDDLE_COLUMNS / 2;
    const int plane = lane % PLANES, row = first_row + lane / 16, first = lane / 8 % 2 * RUN;
    const unsigned char* from = input + plane * Plan<ROWS>::INPUT_PITCH + (row * INPUT_COLUMNS + first) * ROW_BYTES;
    unsigned char* to = middle + plane * Plan<ROWS>::MIDDLE_PITCH + (row * MIDDLE_COLUMNS + first) * ROW_BYTES;
    float sums[RUN][8] = {};
#pragma unroll 1
    for (int j = 0; j < 3; ++j) {
        float taps[3][8];
#pragma unroll
        for (int i = 0; i < 3; ++i) {
            const auto values = load_16(sample + (j * 3 + i) * CHANNELS + plane * 8);
#pragma unroll
            for (int c = 0; c < 8; ++c) taps[i][c] = to_float(values.values[c]);
        }
#pragma unroll
        for (int column = 0; column < RUN + 2; ++column) {
            const int offset = (j * INPUT_COLUMNS + column) * ROW_BYTES;
            const auto values = load_16(reinterpret_cast<const T*>(from + offset));
#pragma unroll
            for (int c = 0; c < 8; ++c) {
                const float value = to_float(values.values[c]);
#pragma unroll
                for (int i = 0; i < 3; ++i) {
                    if (0 <= column - i && column - i < RUN) sums[column - i][c] += value * taps[i][c];
                }
            }
        }
    }
#pragma unroll
    for (int column = 0; column < RUN; ++column) {
        Vector<std::uint32_t, 4> result;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            result.values[c] = pack<T>(leaky_relu(sums[column][2 * c], block.negative_slope),
                                       leaky_relu(sums[column][2 * c + 1], block.negative_slope));
        }
        *reinterpret_cast<Vector<std::uint32_t, 4>*>(to + column * ROW_BYTES) = result;
    }
}

// Multiplies two filtered rows by the 1x1 weights, adds bias and gated input, activates; in place.
template <int ROWS, typename T>
__device__ __forceinline__ void multiply(const HalfBlock<T>& block, const Tile& tile, const unsigned char* input,
                                         const unsigned char* weight, const T* bias, const T* gate,
                                         unsigned char* middle, int first_row, int lane) {
    constexpr int PIXELS = 2 * MIDDLE_COLUMNS, MATRICES = ceil_divide(PIXELS, 16);
    constexpr int PITCH = Plan<ROWS>::MIDDLE_PITCH;
    unsigned char* rows = middle + first_row * MIDDLE_COLUMNS * ROW_BYTES;
    std::uint32_t a[MATRICES][4][4];
#pragma unroll
    for (int m = 0; m < MATRICES; ++m) {
        const int pixel = minimum(m * 16 + lane % 16, PIXELS - 1);
#pragma unroll
        for (int k = 0; k < 4; ++k) load_matrix_x4(a[m][k], rows + (2 * k + lane / 16) * PITCH + pixel * ROW_BYTES);
    }
    __syncwarp();
    weight += lane / 8 % 2 * WEIGHT_PITCH + (lane / 16 * 8 + lane % 8) * ROW_BYTES;
#pragma unroll 1
    for (int first_channel = 0; first_channel < CHANNELS; first_channel += 16) {
        float sums[MATRICES][2][4] = {};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            std::uint32_t b[4];
            load_matrix_x4(b, weight + 2 * k * WEIGHT_PITCH + first_channel * ROW_BYTES);
            const std::uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
            for (int m = 0; m < MATRICES; ++m) {
                multiply_16x8x16<T>(sums[m][0], a[m][k], low);
                multiply_16x8x16<T>(sums[m][1], a[m][k], high);
            }
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const int plane = first_channel / 8 + n, channel = plane * 8 + lane % 4 * 2;
            const auto biases = *reinterpret_cast<const Vector<T, 2>*>(bias + channel);
            const auto gates = *reinterpret_cast<const Vector<T, 2>*>(gate + channel);
#pragma unroll
            for (int i = 0; i < 2 * MATRICES; ++i) {
                const int pixel = i * 8 + lane / 4;
                if (pixel >= PIXELS) continue;
                const int row = first_row + pixel / MIDDLE_COLUMNS, column = pixel % MIDDLE_COLUMNS;
                const int h = tile.row + row - 1, w = tile.column + column - 1;
                // Zeros beside the image are the padding of the 3x3 convolution.
                const bool inside = 0 <= h && h < block.height && 0 <= w && w < block.width;
                const int from = plane * Plan<ROWS>::INPUT_PITCH +
                                 ((row + 1) * INPUT_COLUMNS + column + 1) * ROW_BYTES + lane % 4 * 4;
                const int to = plane * PITCH + pixel * ROW_BYTES + lane % 4 * 4;
                const auto x = *reinterpret_cast<const Vector<T, 2>*>(input + from);
                float results[2];
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    const float sum = sums[i / 2][n][i % 2 * 2 + j] + to_float(biases.values[j]);
                    const float result = sum + to_float(x.values[j]) * to_float(gates.values[j]);
                    results[j] = inside ? leaky_relu(result, block.negative_slope) : 0.0f;
                }
                *reinterpret_cast<std::uint32_t*>(rows + to) = pack<T>(results[0], results[1]);
            }
        }
    }
}

__device__ __forceinline__ std::uint32_t exchange(std::uint32_t word, int mask) {
    float value;
    std::memcpy(&value, &word, sizeof value);
    value = shuffle_xor(value, mask);
    std::memcpy(&word, &value, sizeof word);
    return word;
}

// Lanes that differ in the bit `mask` exchange `first` of the upper one and `second` of the lower one.
__device__ __forceinline__ void swap(std::uint32_t& first, std::uint32_t& second, int lane, int mask) {
    const bool upper = (lane & mask) != 0;
    const std::uint32_t received = exchange(upper ? first : second, mask);
    first = upper ? received : first;
    second = upper ? second : received;
}

// Of four neighbouring lanes, lane i gets word i of each: fragments become 16 bytes side by side, and the reverse.
__device__ __forceinline__ void transpose(std::uint32_t (&words)[4], int lane) {
    swap(words[0], words[1], lane, 1);
    swap(words[2], words[3], lane, 1);
    swap(words[0], words[2], lane, 2);
    swap(words[1], words[3], lane, 2);
}

// Convolves the middle of a tile and writes the result; a warp takes half the rows and half the output channels.
template <int ROWS, typename T>
__device__ __forceinline__ void convolve(const HalfBlock<T>& block, int index, const unsigned char* middle,
                                         const unsigned char* conv_weight, const T* conv_bias, int warp, int lane) {
    constexpr int RUN = ROWS / 2;
    const int first_row = warp / 2 * RUN, first_channel = warp % 2 * 32;
    float sums[RUN][4][4] = {};
    constexpr int PITCH = Plan<ROWS>::MIDDLE_PITCH;
    const unsigned char* rows = middle + lane / 16 * PITCH + (first_row * MIDDLE_COLUMNS + lane % 16) * ROW_BYTES;
    const unsigned char* weights = conv_weight + lane / 8 % 2 * CONV_WEIGHT_PITCH +
                                   (first_channel + lane / 16 * 8 + lane % 8) * ROW_BYTES;
    // A step is a column of taps and 16 input channels. Each row of the middle is loaded once a step, for the three
    // rows of results that it takes part in; what the next step needs is loaded as soon as its registers are free.
    std::uint32_t a[2][4], b[3][2][4];
    int from = 0, weights_from = 0;
    const auto go_to = [&](int step) {
        from = step % 4 * 2 * PITCH + step / 4 * ROW_BYTES;
        weights_from = step % 4 * 2 * CONV_WEIGHT_PITCH + step / 4 * CHANNELS * ROW_BYTES;
    };
    const auto load_row = [&](int row) {
        load_matrix_x4(a[row % 2], rows + row * MIDDLE_COLUMNS * ROW_BYTES + from);
    };
    const auto load_taps = [&](int j) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            load_matrix_x4(b[j][n], weights + (j * 3 * CHANNELS + n * 16) * ROW_BYTES + weights_from);
        }
    };
    go_to(0);
    load_row(0);
#pragma unroll
    for (int j = 0; j < 3; ++j) load_taps(j);
#pragma unroll 1
    for (int step = 0; step < 12; ++step) {
#pragma unroll
        for (int row = 0; row < RUN + 2; ++row) {
            if (row + 1 < RUN + 2) load_row(row + 1);
            if (row == RUN) go_to(step + 1 < 12 ? step + 1 : 0);
#pragma unroll
            for (int j = 0; j < 3; ++j) {
                if (row - j < 0 || row - j >= RUN) continue;
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    const std::uint32_t low[2] = {b[j][n][0], b[j][n][1]}, high[2] = {b[j][n][2], b[j][n][3]};
                    multiply_16x8x16<T>(sums[row - j][2 * n], a[row % 2], low);
                    multiply_16x8x16<T>(sums[row - j][2 * n + 1], a[row % 2], high);
                }
            }
            if (row >= RUN) load_taps(row - RUN);
        }
        load_row(0);
        load_taps(2);
    }
    float biases[4][2];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) biases[n][i] = to_float(conv_bias[first_channel + n * 8 + lane % 4 * 2 + i]);
    }
    // A part is eight pixels, half a row. Residuals are read AHEAD parts before they are needed.
    constexpr int PARTS = 2 * RUN, AHEAD = minimum(4, PARTS);
    const Tile tile = tile_of<ROWS>(index, block.height, block.width);
    const int h = tile.row + first_row, w = tile.column + lane / 4;
    const std::int64_t first = ((tile.sample * block.height + h) * block.width + w) * CHANNELS + first_channel;
    const T* residuals = block.residual == nullptr ? nullptr : block.residual + first + lane % 4 * 8;
    T* results = block.y + first + lane % 4 * 8;
    const auto is_inside = [&](int part) { return h + part / 2 < block.height && w + part % 2 * 8 < block.width; };
    const auto offset = [&](int part) { return (part / 2 * block.width + part % 2 * 8) * CHANNELS; };
    Vector<std::uint32_t, 4> residual[PARTS]{};
    const auto load = [&](int part) {
        if (part >= PARTS || residuals == nullptr || !is_inside(part)) return;
        residual[part] = *reinterpret_cast<const Vector<std::uint32_t, 4>*>(residuals + offset(part));
    };
#pragma unroll
    for (int part = 0; part < AHEAD; ++part) load(part);
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        load(part + AHEAD);
        Vector<std::uint32_t, 4> result;
        if (residuals != nullptr) transpose(residual[part].values, lane);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
            Vector<T, 2> added;
            std::memcpy(&added, &residual[part].values[n], sizeof added);
            float values[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                values[i] = sums[part / 2][n][2 * (part % 2) + i] + biases[n][i];
                if (block.activate) values[i] = leaky_relu(values[i], block.negative_slope);
                values[i] += to_float(added.values[i]);
            }
            result.values[n] = pack<T>(values[0], values[1]);
        }
        transpose(result.values, lane);
        if (is_inside(part)) *reinterpret_cast<Vector<std::uint32_t, 4>*>(results + offset(part)) = result;
    }
}

// The same with wgmma; a warp takes all pixels and a quarter of the output channels.
//
// Weights are the left matrix, pixels the right one: eight neighbouring pixels of a plane lie in memory as wgmma reads
// them, whatever pixel is the first, so that another tap is another address. Rows follow each other; what is computed
// for the two columns between them, and after the last, is thrown away.
template <int ROWS, typename T>
__device__ __forceinline__ void convolve_wgmma(const HalfBlock<T>& block, int index, const unsigned char* middle,
                                               const unsigned char* conv_weight, const T* conv_bias, int warp,
                                               int lane) {
    constexpr int PIXELS = Plan<ROWS>::WGMMA_PIXELS, PITCH = Plan<ROWS>::MIDDLE_PITCH, PARTS = ceil_divide(PIXELS, 16);
    const int first_channel = warp * 16;
    const float biases[2] = {to_float(conv_bias[first_channel + lane / 4]),
                             to_float(conv_bias[first_channel + lane / 4 + 8])};
    float sums[PIXELS / 2];
#pragma unroll
    for (int i = 0; i < PIXELS / 2; ++i) sums[i] = biases[i / 2 % 2];
    wgmma_begin(sums);
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const unsigned char* weights = conv_weight + 2 * k * CONV_WEIGHT_PITCH + tap * CHANNELS * ROW_BYTES;
            const unsigned char* pixels = middle + 2 * k * PITCH + (tap / 3 * MIDDLE_COLUMNS + tap % 3) * ROW_BYTES;
            wgmma_64xNx16<PIXELS, T>(sums, matrix_descriptor(weights, CONV_WEIGHT_PITCH, 8 * ROW_BYTES),
                                     matrix_descriptor(pixels, PITCH, 8 * ROW_BYTES));
        }
    }
    wgmma_commit();
    // A part is 16 pixels. A lane reads and writes eight channels of one of them; residuals are read AHEAD parts before
    // they are needed, the first of them while products are under way.
    constexpr int AHEAD = 4;
    const Tile tile = tile_of<ROWS>(index, block.height, block.width);
    const std::int64_t corner = (tile.sample * block.height + tile.row) * block.width + tile.column;
    const T* residuals = block.residual == nullptr ? nullptr : block.residual + corner * CHANNELS;
    T* results = block.y + corner * CHANNELS;
    const int height = minimum(ROWS, block.height - tile.row), width = minimum(COLUMNS, block.width - tile.column);
    const int first = lane % 4 / 2 * 8 + lane / 4;
    const auto offset = [&](int part) {
        // Pixel 16 part + first: 16 columns are a row less two.
        int row = part, column = first - 2 * part;
        if (column < 0) row -= 1, column += MIDDLE_COLUMNS;
        if (column < 0) row -= 1, column += MIDDLE_COLUMNS;
        const bool inside = row < height && column < width;
        return inside ? (row * block.width + column) * CHANNELS + first_channel + lane % 2 * 8 : -1;
    };
    Vector<std::uint32_t, 4> residual[PARTS]{};
    const auto load = [&](int part) {
        if (part >= PARTS || residuals == nullptr || offset(part) < 0) return;
        residual[part] = *reinterpret_cast<const Vector<std::uint32_t, 4>*>(residuals + offset(part));
    };
#pragma unroll
    for (int part = 0; part < AHEAD; ++part) load(part);
    wgmma_wait(sums);
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        load(part + AHEAD);
        Vector<std::uint32_t, 4> result;
        if (residuals != nullptr) {
            transpose(residual[part].values, lane);
#pragma unroll
            for (int i = 0; i < 4; ++i) residual[part].values[i] = transpose_matrix(residual[part].values[i]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            Vector<T, 2> added;
            std::memcpy(&added, &residual[part].values[i], sizeof added);
            float values[2];
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int at = part * 8 + i * 2 + j;
                values[j] = at < PIXELS / 2 ? sums[at] : 0.0f;
                if (block.activate) values[j] = leaky_relu(values[j], block.negative_slope);
                values[j] += to_float(added.values[j]);
            }
            result.values[i] = transpose_matrix(pack<T>(values[0], values[1]));
        }
        transpose(result.values, lane);
        if (offset(part) >= 0) *reinterpret_cast<Vector<std::uint32_t, 4>*>(results + offset(part)) = result;
    }
}

// Where the code may not use wgmma, the kernel with it is empty and takes a warp at most, so that it can't be launched.
template <int ROWS, bool WGMMA, typename T>
__global__ void __launch_bounds__(WGMMA && !HAS_WGMMA ? WARP : Plan<ROWS>::THREADS, 1)
    run(const HalfBlock<T> block, int tiles) {
    using P = Plan<ROWS>;
    if constexpr (WGMMA && !HAS_WGMMA) return;
    unsigned char* shared = shared_memory();
    T* bias = reinterpret_cast<T*>(shared + P::BIAS);
    T* conv_bias = reinterpret_cast<T*>(shared + P::CONV_BIAS);
    const auto input = [&](int i) { return shared + P::INPUT + i % 2 * P::INPUT_BYTES; };
    const auto middle = [&](int i) { return shared + P::MIDDLE + i % 2 * P::MIDDLE_BYTES; };
    const auto sample = [&](int i) { return reinterpret_cast<T*>(shared + P::SAMPLE + i % 2 * P::SAMPLE_BYTES); };
    const auto index = [&](int i) { return int(blockIdx.x) + i * int(gridDim.x); };
    const auto tile = [&](int i) { return tile_of<ROWS>(index(i), block.height, block.width); };
    const int count = ceil_divide(tiles - int(blockIdx.x), int(gridDim.x));
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const bool convolving = threadIdx.x < CONVOLVING;
    const int preparing = int(threadIdx.x) - CONVOLVING, first_row = (warp - CONVOLVING / WARP) * 2;

    SampleValues<P::PREPARING, T> values;
    if (convolving) {
        for (int tap = 0; tap < TAPS; ++tap) {
            unsigned char* weights = shared + P::CONV_WEIGHT + tap * CHANNELS * ROW_BYTES;
            const T* source = block.conv_weight + tap * CHANNELS;
            copy_weights(source, TAPS * CHANNELS, weights, CONV_WEIGHT_PITCH, threadIdx.x, CONVOLVING);
        }
        copy_async_commit();  // Complete at the end of the first turn.
    } else {
        copy_input<ROWS>(block, tile(0), input(0), preparing);
        copy_weights(block.weight, CHANNELS, shared + P::WEIGHT, WEIGHT_PITCH, preparing, P::PREPARING);
        copy_async_commit();
        values.load(block, tile(0).sample, preparing);
        values.store(sample(0), preparing);
        if (preparing < CHANNELS) {
            bias[preparing] = or_zero(block.bias, preparing);
            conv_bias[preparing] = or_zero(block.conv_bias, preparing);
        }
        copy_async_wait<0>();
    }
    __syncthreads();
#pragma unroll 1
    for (int i = 0; i <= count; ++i) {
        if (convolving) {
            if (i > 0) {
                const unsigned char* weights = shared + P::CONV_WEIGHT;
                if constexpr (WGMMA) {
                    convolve_wgmma<ROWS>(block, index(i - 1), middle(i - 1), weights, conv_bias, warp, lane);
                } else {
                    convolve<ROWS>(block, index(i - 1), middle(i - 1), weights, conv_bias, warp, lane);
                }
            }
        } else if (i < count) {
            if (i + 1 < count) {
                copy_input<ROWS>(block, tile(i + 1), input(i + 1), preparing);
                copy_async_commit();
                values.load(block, tile(i + 1).sample, preparing);
            }
            filter<ROWS>(block, input(i), sample(i), middle(i), first_row, lane);
            if (i + 1 < count) values.store(sample(i + 1), preparing);
            __syncwarp();
            multiply<ROWS>(block, tile(i), input(i), shared + P::WEIGHT, bias, sample(i) + TAPS * CHANNELS, middle(i),
                           first_row, lane);
        }
        copy_async_wait<0>();
        if constexpr (WGMMA) wgmma_fence_shared();
        __syncthreads();
    }
}

// Tiles of ROWS x 16 pixels.
template <int ROWS, bool WGMMA, typename T>
void launch_with(const HalfBlock<T>& block, Stream stream) {
    if (WGMMA && most_threads(run<ROWS, WGMMA, T>) < Plan<ROWS>::THREADS) {
        throw std::runtime_error("da_half_block: wgmma needs compute capability 9.0, and to be compiled for 9.0a.");
    }
    const std::int64_t tiles =
        block.batch * ceil_divide(block.height, ROWS) * ceil_divide(block.width, COLUMNS);
    const auto blocks = unsigned(minimum<std::int64_t>(tiles, sm_count()));
    launch(run<ROWS, WGMMA, T>, dim3(blocks), Plan<ROWS>::THREADS, Plan<ROWS>::BYTES, stream, block, int(tiles));
}

template <int ROWS, typename T>
void launch_either(const HalfBlock<T>& block, Stream stream, bool wgmma) {
    wgmma ? launch_with<ROWS, true>(block, stream) : launch_with<ROWS, false>(block, stream);
}

// The rows of a tile with which the busiest block has least to do.
inline int best_rows(std::int64_t batch, int height, int width) {
    constexpr int ROWS[] = {12, 10, 6, 4};
    constexpr int BYTES[] = {Plan<12>::BYTES, Plan<10>::BYTES, Plan<6>::BYTES, Plan<4>::BYTES};
    const std::size_t most = max_shared_memory();
    int best = 0;
    std::int64_t least = 0;
    for (int i = 0; i < 4; ++i) {
        if (std::size_t(BYTES[i]) > most) continue;
        const std::int64_t tiles = batch * ceil_divide(height, ROWS[i]) * ceil_divide(width, COLUMNS);
        // Beside its rows a tile costs as much as six; the first is prepared while nothing is convolved.
        const std::int64_t cost = (ceil_divide<std::int64_t>(tiles, sm_count()) * 5 + 3) * (ROWS[i] + 6);
        if (best == 0 || cost < least) best = ROWS[i], least = cost;
    }
    return best;
}

}  // namespace half_block

// `rows` is 12, 10, 6 or 4 for tiles of so many rows, or 0 for the best. Throws std::runtime_error if the device has
// too little shared memory, or `wgmma` is asked for and can't be had.
template <typename T>
void da_half_block(const HalfBlock<T>& block, Stream stream, bool wgmma = false, int rows = 0) {
    if (block.batch == 0 || block.height == 0 || block.width == 0) return;
    if (rows == 0) rows = half_block::best_rows(block.batch, block.height, block.width);
    switch (rows) {
    case 12: return half_block::launch_either<12>(block, stream, wgmma);
    case 10: return half_block::launch_either<10>(block, stream, wgmma);
    case 6: return half_block::launch_either<6>(block, stream, wgmma);
    case 4: return half_block::launch_either<4>(block, stream, wgmma);
    default: throw std::runtime_error("da_half_block: the GPU has too little shared memory.");
    }
}

}  // namespace dasr_fast
