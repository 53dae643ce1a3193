// Small kernels, right and wrong, that test the emulation itself.
#include <cstring>

#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

// d = a b of 16x16 and 16x8 numbers, each from shared memory; b is stored transposed if `transposed`.
template <typename T>
__global__ void product(const T* a, const T* b, float* d, bool transposed) {
    T* shared_a = reinterpret_cast<T*>(shared_memory());
    T* shared_b = shared_a + 16 * 16;
    const int lane = threadIdx.x;
    copy_async_16(shared_a + lane * 8, a + lane * 8, true);
    if (lane < 16) copy_async_16(shared_b + lane * 8, b + lane * 8, true);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    std::uint32_t fragment_a[4], loaded_b[4];
    load_matrix_x4(fragment_a, shared_a + lane % 16 * 16 + lane / 16 * 8);
    const int row = lane % 16;  // Threads 16 to 31 give addresses of matrices that are not used.
    if (transposed) {
        load_matrix_x4(loaded_b, shared_b + row % 8 * 16 + row / 8 * 8);
    } else {
        load_matrix_x4_transposed(loaded_b, shared_b + row * 8);
    }
    const std::uint32_t fragment_b[2] = {loaded_b[0], loaded_b[1]};
    float sums[4] = {};
    multiply_16x8x16<T>(sums, fragment_a, fragment_b);
    for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

// The sum of each warp, twice.
__global__ void sum_warps(const float* x, float* y) {
    const float value = x[blockIdx.x * blockDim.x + threadIdx.x];
    float everywhere = value, first = value;
    for (int mask = 16; mask > 0; mask /= 2) everywhere += shuffle_xor(everywhere, mask);
    for (int delta = 16; delta > 0; delta /= 2) first += shuffle_down(first, delta);
    float* warp = y + (blockIdx.x * blockDim.x + threadIdx.x) / 32 * 2;
    if (threadIdx.x % 32 == 0) warp[0] = first;
    if (threadIdx.x % 32 == 31) warp[1] = everywhere;
}

// Reverses the order of x in a block, with one of several mistakes.
__global__ void reverse(const float* x, float* y, const char* mistake) {
    const auto has = [=](const char* name) { return std::strcmp(mistake, name) == 0; };
    float* shared = reinterpret_cast<float*>(shared_memory());
    const int thread = threadIdx.x, last = blockDim.x - 1;
    if (!(has("unwritten") && thread == 5)) shared[thread + has("outside")] = x[thread];
    if (has("early end") && thread == 7) return;
    if (has("diverging barrier") && thread < 32) {
        __syncthreads();
    } else if (!has("no barrier")) {
        __syncthreads();
    }
    if (has("diverging warp") && thread < 40) __syncwarp();
    if (has("misaligned")) y[thread] = load_16(shared + 1).values[0];
    y[thread + has("too far")] = shared[last - thread];
}

// Copies two groups of 16 bytes a thread; `wait` is how many groups may be under way at the first read.
template <int WAIT>
__global__ void copy(const float* x, float* y, int count) {
    float* shared = reinterpret_cast<float*>(shared_memory());
    for (int group = 0; group < 2; ++group) {
        const int at = (group * blockDim.x + threadIdx.x) * 4;
        copy_async_16(shared + at, x + at, at < count);
        copy_async_commit();
    }
    copy_async_wait<WAIT>();
    for (int i = 0; i < 4; ++i) y[threadIdx.x * 4 + i] = shared[threadIdx.x * 4 + i];
    copy_async_wait<0>();
    const int second = (blockDim.x + threadIdx.x) * 4;
    for (int i = 0; i < 4; ++i) y[second + i] = shared[second + i];
}

const emulation::Op product_op("emulation_product", [](const Arguments& arguments) {
    emulation::for_type(arguments["a"].type, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (sizeof(T) == 2) {
            launch(product<T>, 1, 32, (16 * 16 + 16 * 8) * sizeof(T), Stream(), arguments["a"].data<const T>(),
                   arguments["b"].data<const T>(), arguments["d"].data<float>(), arguments.integer("transposed"));
        }
    });
});

const emulation::Op sum_op("emulation_sum_warps", [](const Arguments& arguments) {
    launch(sum_warps, dim3(arguments["x"].size(0)), int(arguments["x"].size(1)), 0, Stream(),
           arguments["x"].data<const float>(), arguments["y"].data<float>());
});

const emulation::Op reverse_op("emulation_reverse", [](const Arguments& arguments) {
    const int count = int(arguments["x"].size(0));
    launch(reverse, 1, count, count * sizeof(float), Stream(), arguments["x"].data<const float>(),
           arguments["y"].data<float>(), arguments.text("mistake").c_str());
});

const emulation::Op copy_op("emulation_copy", [](const Arguments& arguments) {
    const int threads = int(arguments["y"].size(0)) / 8;
    launch(arguments.integer("wait") == 1 ? copy<1> : copy<2>, 1, threads, threads * 32, Stream(),
           arguments["x"].data<const float>(), arguments["y"].data<float>(), arguments["x"].size(0));
});

}  // namespace
}  // namespace dasr_fast
