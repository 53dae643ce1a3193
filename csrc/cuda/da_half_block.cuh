// da_half_block: DA convolution, LeakyReLU, 3x3 convolution, then LeakyReLU or a sum, in one kernel.
//
// For 64 channels in 16 bits, channels-last, with 3x3 filters. A block stays on its multiprocessor with all weights in
// shared memory and takes tiles of ROWS x 16 pixels. Some warps prepare a tile: they start to copy the next tile's
// input, filter this one's in float32 and multiply by the 1x1 weights on the tensor cores; what they leave, the tile
// and a pixel around it, is the middle. Meanwhile four warps convolve the middle of the tile before. Input and middle
// are there twice, so that one barrier a tile suffices.
#pragma once

#include "da_half_block_convolve.cuh"
#include "da_half_block_prepare.cuh"

namespace dasr_fast {
namespace half_block {

template <int ROWS, typename T>
__global__ void __launch_bounds__(Plan<ROWS>::THREADS, 1) run(const HalfBlock<T> block, int tiles) {
    using P = Plan<ROWS>;
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
                convolve<ROWS>(block, index(i - 1), middle(i - 1), weights, conv_bias, warp, lane);
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
        __syncthreads();
    }
}

// Tiles of ROWS x 16 pixels.
template <int ROWS, typename T>
void launch_tiles(const HalfBlock<T>& block, Stream stream) {
    const std::int64_t tiles =
        block.batch * ceil_divide(block.height, ROWS) * ceil_divide(block.width, COLUMNS);
    const auto blocks = unsigned(minimum<std::int64_t>(tiles, sm_count()));
    launch(run<ROWS, T>, dim3(blocks), Plan<ROWS>::THREADS, Plan<ROWS>::BYTES, stream, block, int(tiles));
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
// too little shared memory.
template <typename T>
void da_half_block(const HalfBlock<T>& block, Stream stream, int rows = 0) {
    if (block.batch == 0 || block.height == 0 || block.width == 0) return;
    if (rows == 0) rows = half_block::best_rows(block.batch, block.height, block.width);
    switch (rows) {
    case 12: return half_block::launch_tiles<12>(block, stream);
    case 10: return half_block::launch_tiles<10>(block, stream);
    case 6: return half_block::launch_tiles<6>(block, stream);
    case 4: return half_block::launch_tiles<4>(block, stream);
    default: throw std::runtime_error("da_half_block: the GPU has too little shared memory.");
    }
}

}  // namespace dasr_fast
