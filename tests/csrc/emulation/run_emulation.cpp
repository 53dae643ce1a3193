// Small kernels, right and wrong, that test the emulation itself.
#include <cstring>

#include "driver.h"

namespace dasr_fast {
namespace {

using emulation::Arguments;

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

// Copies two groups of 16 bytes a thread, and reads the first before it waits for it.
__global__ void copy(const float* x, float* y, int count) {
    float* shared = reinterpret_cast<float*>(shared_memory());
    for (int group = 0; group < 2; ++group) {
        const int at = (group * blockDim.x + threadIdx.x) * 4;
        copy_async_16(shared + at, x + at, at < count);
        copy_async_commit();
    }
    copy_async_wait<2>();
    for (int i = 0; i < 4; ++i) y[threadIdx.x * 4 + i] = shared[threadIdx.x * 4 + i];
    copy_async_wait<0>();
    const int second = (blockDim.x + threadIdx.x) * 4;
    for (int i = 0; i < 4; ++i) y[second + i] = shared[second + i];
}

const emulation::Op reverse_op("emulation_reverse", [](const Arguments& arguments) {
    const int count = int(arguments["x"].size(0));
    launch(reverse, 1, count, count * sizeof(float), Stream(), arguments["x"].data<const float>(),
           arguments["y"].data<float>(), arguments.text("mistake").c_str());
});

const emulation::Op copy_op("emulation_copy", [](const Arguments& arguments) {
    const int threads = int(arguments["y"].size(0)) / 8;
    launch(copy, 1, threads, threads * 32, Stream(), arguments["x"].data<const float>(), arguments["y"].data<float>(),
           arguments["x"].size(0));
});

}  // namespace
}  // namespace dasr_fast
