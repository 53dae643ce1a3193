// Second phase of every sum over pixels: adds the sums of parts of a sample, in a fixed order.
#pragma once

#include "device.h"

namespace dasr_fast {

constexpr int PART_LANES = 32;

// sums[b, i] = the sum of parts[b, p, i] over p, for `columns` sums a sample; a block takes 32 of them.
template <typename T>
__global__ void __launch_bounds__(WARP* PART_LANES)
    sum_parts_kernel(const float* parts, T* sums, int count, std::int64_t columns) {
    float* shared = reinterpret_cast<float*>(shared_memory());
    const std::int64_t blocks = ceil_divide<std::int64_t>(columns, WARP);
    const std::int64_t sample = blockIdx.x / blocks;
    const std::int64_t column = blockIdx.x % blocks * WARP + threadIdx.x % WARP;
    const int lane = threadIdx.x / WARP;
    float sum = 0;
    if (column < columns) {
        const float* first = parts + sample * count * columns + column;
#pragma unroll 8
        for (int part = lane; part < count; part += PART_LANES) sum += first[part * columns];
    }
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (lane > 0 || column >= columns) return;
    for (int other = 1; other < PART_LANES; ++other) sum += shared[other * WARP + threadIdx.x];
    sums[sample * columns + column] = from_float<T>(sum);
}

template <typename T>
void sum_parts(const float* parts, T* sums, std::int64_t batch, int count, std::int64_t columns, Stream stream) {
    const std::int64_t blocks = batch * ceil_divide<std::int64_t>(columns, WARP);
    launch(sum_parts_kernel<T>, dim3(unsigned(blocks)), WARP * PART_LANES, WARP * PART_LANES * sizeof(float), stream,
           parts, sums, count, columns);
}

}  // namespace dasr_fast
