// channel_modulation: x * gate + residual, and its gradients, in one pass over the features.
//
// Every thread keeps its factors in registers. Channels-last, a block takes some pixels of a sample, its threads N
// neighbouring channels each; contiguous, a warp takes a part of a plane, N neighbouring pixels a thread at a time.
#pragma once

#include "dense_features.h"
#include "device.h"
#include "packed.h"
#include "sum_parts.cuh"

namespace dasr_fast {
namespace modulation {

constexpr int THREADS = 256;
constexpr int UNROLL = 4;

// What a kernel reads and writes; without `grad` it is the forward pass.
template <typename T>
struct Tensors {
    const T *x, *gate, *residual, *grad;
    T* result;     // y, or the gradient for x.
    float* parts;  // [B, parts, C]: sums of grad * x.
};

// Computes `count` vectors, `step` elements apart, and adds grad * x to `sums` in the backward pass.
template <typename T, int N, bool BACKWARD>
__device__ __forceinline__ void modulate(const Tensors<T>& tensors, std::int64_t first, int step, int count,
                                         const float (&gate)[N], float (&sums)[N]) {
    using Values = Packed<T, N>;
    const T* scaled = BACKWARD ? tensors.grad : tensors.x;
    const T* other = BACKWARD ? tensors.x : tensors.residual;
    Values a[UNROLL], b[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        if (u < count) a[u] = *reinterpret_cast<const Values*>(scaled + first + u * step);
        if (u < count && other != nullptr) b[u] = *reinterpret_cast<const Values*>(other + first + u * step);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        if (u >= count) continue;
        Vector<T, N> result;
#pragma unroll
        for (int n = 0; n < N; ++n) {
            float value = a[u].value(n) * gate[n];
            if (BACKWARD) {
                sums[n] += a[u].value(n) * b[u].value(n);
            } else if (other != nullptr) {
                value += b[u].value(n);
            }
            result.values[n] = from_float<T>(value);
        }
        *reinterpret_cast<Vector<T, N>*>(tensors.result + first + u * step) = result;
    }
}

// A block: `groups` threads side by side, N channels each, and `lanes` such rows of threads.
template <typename T, int N, bool BACKWARD>
__global__ void __launch_bounds__(THREADS)
    modulate_pixels(Tensors<T> tensors, std::int64_t pixels, int channels, int parts, int groups, int lanes) {
    const int blocks = ceil_divide(channels, groups * N);
    const int part = blockIdx.x % parts, block = blockIdx.x / parts % blocks;
    const std::int64_t sample = blockIdx.x / parts / blocks;
    const int group = threadIdx.x % groups, lane = threadIdx.x / groups;
    const int channel = (block * groups + group) * N;
    const std::int64_t size = ceil_divide<std::int64_t>(pixels, parts);
    const std::int64_t first = part * size + lane, last = minimum(pixels, (part + 1) * size);
    float gate[N], sums[N] = {};
    if (lane < lanes && channel < channels) {
#pragma unroll
        for (int n = 0; n < N; ++n) gate[n] = to_float(tensors.gate[sample * channels + channel + n]);
        for (std::int64_t pixel = first; pixel < last; pixel += UNROLL * lanes) {
            const std::int64_t left = ceil_divide<std::int64_t>(last - pixel, lanes);
            modulate<T, N, BACKWARD>(tensors, (sample * pixels + pixel) * channels + channel,
                                     lanes * channels, int(minimum<std::int64_t>(left, UNROLL)), gate, sums);
        }
    }
    if (!BACKWARD) return;
    float* shared = reinterpret_cast<float*>(shared_memory());
    const int columns = groups * N;
    if (lane < lanes) {
#pragma unroll
        for (int n = 0; n < N; ++n) shared[lane * columns + group * N + n] = sums[n];
    }
    __syncthreads();
    for (int column = threadIdx.x; column < minimum(columns, channels - block * columns); column += blockDim.x) {
        float sum = 0;
        for (int row = 0; row < lanes; ++row) sum += shared[row * columns + column];
        tensors.parts[(sample * parts + part) * channels + block * columns + column] = sum;
    }
}

// A warp: a part of a plane.
template <typename T, int N, bool BACKWARD>
__global__ void __launch_bounds__(THREADS)
    modulate_planes(Tensors<T> tensors, std::int64_t planes, std::int64_t pixels, int channels, int parts) {
    const std::int64_t warp = blockIdx.x * std::int64_t(THREADS / WARP) + threadIdx.x / WARP;
    const std::int64_t plane = warp / parts;
    if (plane >= planes) return;
    const int part = int(warp % parts), lane = threadIdx.x % WARP;
    const std::int64_t vectors = pixels / N, size = ceil_divide<std::int64_t>(vectors, parts);
    const std::int64_t last = minimum(vectors, (part + 1) * size);
    const float factor = to_float(tensors.gate[plane]);
    float gate[N], sums[N] = {};
#pragma unroll
    for (int n = 0; n < N; ++n) gate[n] = factor;
    for (std::int64_t vector = part * size + lane; vector < last; vector += UNROLL * WARP) {
        const std::int64_t left = ceil_divide<std::int64_t>(last - vector, WARP);
        modulate<T, N, BACKWARD>(tensors, plane * pixels + vector * N, WARP * N,
                                 int(minimum<std::int64_t>(left, UNROLL)), gate, sums);
    }
    if (!BACKWARD) return;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < N; ++n) sum += sums[n];
#pragma unroll
    for (int mask = WARP / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    if (lane == 0) tensors.parts[(plane / channels * parts + part) * channels + plane % channels] = sum;
}

template <typename T, int N, bool BACKWARD>
void run(const Tensors<T>& tensors, const Features& features, int parts, Stream stream) {
    const std::int64_t pixels = std::int64_t(features.height) * features.width;
    if (features.channels_last) {
        const int groups = minimum(features.channels / N, THREADS), lanes = THREADS / groups;
        const std::int64_t blocks = features.batch * ceil_divide(features.channels, groups * N) * parts;
        launch(modulate_pixels<T, N, BACKWARD>, dim3(unsigned(blocks)), THREADS,
               BACKWARD ? lanes * groups * N * sizeof(float) : 0, stream, tensors, pixels, features.channels, parts,
               groups, lanes);
    } else {
        const std::int64_t planes = features.batch * features.channels;
        const std::int64_t blocks = ceil_divide<std::int64_t>(planes * parts, THREADS / WARP);
        launch(modulate_planes<T, N, BACKWARD>, dim3(unsigned(blocks)), THREADS, 0, stream, tensors, planes, pixels,
               features.channels, parts);
    }
}

// With accesses as wide as sizes and addresses allow.
template <typename T, bool BACKWARD>
void run(const Tensors<T>& tensors, const Features& features, int parts, Stream stream) {
    constexpr int WIDEST = 16 / sizeof(T);
    const std::int64_t side_by_side =
        features.channels_last ? features.channels : std::int64_t(features.height) * features.width;
    const auto fits = [&](int n) {
        return side_by_side % n == 0 &&
               aligned_to(n * sizeof(T), tensors.x, tensors.residual, tensors.grad, tensors.result);
    };
    if (fits(WIDEST)) return run<T, WIDEST, BACKWARD>(tensors, features, parts, stream);
    if (WIDEST > 4 && fits(4)) return run<T, 4, BACKWARD>(tensors, features, parts, stream);
    run<T, 1, BACKWARD>(tensors, features, parts, stream);
}

}  // namespace modulation

// y = x * gate + residual (which may be null).
template <typename T>
void channel_modulation(const T* x, const T* gate, const T* residual, T* y, const Features& features, Stream stream) {
    const std::int64_t pixels = std::int64_t(features.height) * features.width;
    if (features.batch == 0 || features.channels == 0 || pixels == 0) return;
    const std::int64_t elements = features.channels_last ? pixels * features.channels : pixels;
    const int threads = features.channels_last ? modulation::THREADS : WARP;
    const std::int64_t share = threads * modulation::UNROLL * 16 / sizeof(T);
    modulation::run<T, false>({x, gate, residual, nullptr, y, nullptr}, features, int(ceil_divide(elements, share)),
                              stream);
}

// Gradients for x and gate; `workspace` is [B, parts, C] for any number of parts.
template <typename T>
void channel_modulation_backward(const T* grad, const T* x, const T* gate, T* grad_x, T* grad_gate, float* workspace,
                                 int parts, const Features& features, Stream stream) {
    if (features.batch == 0 || features.channels == 0) return;
    modulation::run<T, true>({x, gate, nullptr, grad, grad_x, workspace}, features, parts, stream);
    sum_parts(workspace, grad_gate, features.batch, parts, features.channels, stream);
}

}  // namespace dasr_fast
