// da_conv: depthwise filters, LeakyReLU and the 1x1 product, plus bias and gated input, then LeakyReLU; its gradients.
//
// A block takes a tile of pixels. Forward, all channels of the filtered tile stay in shared memory, from where the
// product reads them. Backward, a first kernel computes them anew, CHUNK channels a block, takes the gradient back
// through the product, and sums the gradients of weights, bias and gate over the tiles of a part of a sample; the
// depthwise convolution's backward pass does the rest.
#pragma once

#include <initializer_list>

#include "da_conv_products.cuh"
#include "da_conv_tile.cuh"
#include "sum_parts.cuh"

namespace dasr_fast {
namespace da {

// What both passes read. Features are dense; `in` has x's sizes and `out` the result's.
template <typename T>
struct Inputs {
    const T *x, *kernel, *weight;
    Features in, out;
    float slope;
    bool vectors, wide_in, wide_out;  // Whether 16 bytes at a time are aligned: everywhere, or in contiguous features.
};

template <typename T, int K>
struct ForwardPlan {
    using S = Sizes<T, K>;
    int chunks, pitch;  // Of the filtered pixels.
    int taps, bias, gate, weights, filtered, result, elements;  // Where they are in shared memory.

    __host__ __device__ explicit ForwardPlan(int channels) {
        chunks = ceil_divide(channels, S::CHUNK);
        pitch = chunks * S::CHUNK + S::VECTOR;
        taps = S::INPUT_PIXELS * S::PITCH;
        bias = taps + S::TAPS;
        gate = bias + S::CHUNK;
        weights = gate + S::CHUNK;
        filtered = weights + S::CHUNK * S::PITCH;
        result = filtered + S::PIXELS * pitch;
        elements = result + S::PIXELS * S::PITCH;
    }
};

template <bool VECTORS, typename T, int K>
__global__ void __launch_bounds__(THREADS, 2)
    forward(const Inputs<T> inputs, const T* bias, const T* gate, T* y, bool activate) {
    using S = Sizes<T, K>;
    using P = Products<T, K>;
    const ForwardPlan<T, K> plan(inputs.in.channels);
    T* input = reinterpret_cast<T*>(shared_memory());
    T *taps = input + plan.taps, *weights = input + plan.weights, *filtered = input + plan.filtered;
    T* result = input + plan.result;
    const int tiles = tiles_of<T, K>(inputs.in);
    const Tile tile = tile_of<T, K>(inputs.in, blockIdx.x / tiles, blockIdx.x % tiles);
    const auto load_weights_of = [&](int out, int chunk) {
        load_weights<VECTORS, T, K>(inputs.weight, inputs.out.channels, inputs.in.channels, out * S::CHUNK,
                                    chunk * S::CHUNK, weights);
    };
    for (int chunk = 0; chunk < plan.chunks; ++chunk) {
        if (chunk > 0) __syncthreads();
        load_input<VECTORS, T, K>(inputs.x, inputs.in, tile, chunk * S::CHUNK, input);
        load_taps<T, K>(inputs.kernel, inputs.in, tile.sample, chunk * S::CHUNK, taps);
        if (chunk == 0) load_weights_of(0, 0);
        copy_async_commit();
        copy_async_wait<0>();
        __syncthreads();
        filter<T, K>(input, taps, inputs.slope, filtered + chunk * S::CHUNK, plan.pitch);
    }
    for (int out = 0; out < ceil_divide(inputs.out.channels, S::CHUNK); ++out) {
        typename P::Sums sums;
        for (int chunk = 0; chunk < plan.chunks; ++chunk) {
            __syncthreads();
            if (chunk == 0) {
                // The gate's input is that of the same channels.
                if (gate != nullptr && plan.chunks > 1) {
                    load_input<VECTORS, T, K>(inputs.x, inputs.in, tile, out * S::CHUNK, input);
                }
                const std::int64_t first_gate = tile.sample * inputs.out.channels;
                load_channels<T, K>(bias, inputs.out.channels, out * S::CHUNK, input + plan.bias);
                load_channels<T, K>(gate == nullptr ? gate : gate + first_gate, inputs.out.channels, out * S::CHUNK,
                                    input + plan.gate);
            }
            if (out + chunk > 0) load_weights_of(out, chunk);
            copy_async_commit();
            copy_async_wait<0>();
            __syncthreads();
            P::template add<false>(sums, filtered + chunk * S::CHUNK, plan.pitch, weights);
        }
        P::visit(sums, [&](int pixel, int channel, float first, float second) {
            using Pair = Vector<T, 2>;
            const int place = (pixel / S::COLUMNS + K / 2) * S::INPUT_COLUMNS + pixel % S::COLUMNS + K / 2;
            const Pair x = *reinterpret_cast<const Pair*>(input + place * S::PITCH + channel);
            const Pair biases = *reinterpret_cast<const Pair*>(input + plan.bias + channel);
            const Pair gates = *reinterpret_cast<const Pair*>(input + plan.gate + channel);
            const float sums[2] = {first, second};
            Pair values;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float sum = sums[i] + to_float(biases.values[i]);
                const float value = sum + to_float(x.values[i]) * to_float(gates.values[i]);
                values.values[i] = from_float<T>(activate ? leaky_relu(value, inputs.slope) : value);
            }
            *reinterpret_cast<Pair*>(result + pixel * S::PITCH + channel) = values;
        });
        __syncthreads();
        store_tile<VECTORS, T, K>(result, y, inputs.out, inputs.wide_out, tile, out * S::CHUNK);
    }
}

// What the first kernel of the backward pass reads besides, and what it writes.
template <typename T>
struct Gradients {
    const T* grad;
    const T* y;  // The output, if a LeakyReLU ended the forward pass, else null.
    T* grad_filtered;  // As x: for the input of the first LeakyReLU.
    T* grad_activated;  // As grad: for the input of the last LeakyReLU; null if nobody wants it.
    float *weight_parts, *bias_parts;  // [B, parts, C_out, C] and [B, parts, C_out].
    float* gate_parts;  // [B, parts, C], or null without a gate.
    int parts;
};

template <typename T, int K>
struct BackwardPlan {
    using S = Sizes<T, K>;
    using P = Products<T, K>;
    int chunks, outs;  // Of input and output channels.
    int taps, weights, filtered, grads, elements;  // Where they are in shared memory.
    int weight_sums, bias_sums, gate_sums, bytes;  // In bytes, behind the others.

    __host__ __device__ BackwardPlan(int channels, int out_channels) {
        chunks = ceil_divide(channels, S::CHUNK);
        outs = ceil_divide(out_channels, S::CHUNK);
        taps = S::INPUT_PIXELS * S::PITCH;
        weights = taps + S::TAPS;
        filtered = weights + S::CHUNK * S::PITCH;
        grads = filtered + S::PIXELS * S::PITCH;
        elements = grads + S::PIXELS * S::PITCH;
        weight_sums = elements * int(sizeof(T));
        bias_sums = weight_sums + outs * P::WEIGHT_SUMS * THREADS * int(sizeof(float));
        gate_sums = bias_sums + outs * THREADS * int(sizeof(float));
        bytes = gate_sums + THREADS * int(sizeof(float));
    }
};

// Puts the gradient before the last LeakyReLU, channels from `first` of a tile, into shared memory, zeros outside the
// image, and, if `keep`, into grad_activated.
template <bool VECTORS, typename T, int K>
__device__ __forceinline__ void load_gradient(const Gradients<T>& tensors, const Inputs<T>& inputs, const Tile& tile,
                                              int first, bool keep, T* grads) {
    using S = Sizes<T, K>;
    constexpr int V = S::VECTOR;
    const Features& out = inputs.out;
    constexpr int SIDE = VECTORS ? 8 : S::CHUNK;
#pragma unroll 1
    for (int i = threadIdx.x; i < S::PIXELS * SIDE; i += THREADS) {
        const int pixel = out.channels_last ? i / SIDE : i % S::PIXELS;
        const int channel = (out.channels_last ? i % SIDE : i / S::PIXELS) * (VECTORS ? V : 1);
        const int h = tile.row + pixel / S::COLUMNS, w = tile.column + pixel % S::COLUMNS;
        const bool valid = inside(out, h, w) && first + channel < out.channels;
        const std::int64_t index = valid ? index_of(out, tile.sample, first + channel, h, w) : 0;
        if constexpr (VECTORS) {
            Vector<T, V> values{};
            if (valid) {
                values = load_16(tensors.grad + index);
                if (tensors.y != nullptr) {
                    const auto signs = load_16(tensors.y + index);
#pragma unroll
                    for (int n = 0; n < V; ++n) {
                        const float value = to_float(values.values[n]);
                        const float kept = to_float(signs.values[n]) > 0 ? value : value * inputs.slope;
                        values.values[n] = from_float<T>(kept);
                    }
                    if (keep) store_16(tensors.grad_activated + index, values);
                }
            }
            store_16(grads + pixel * S::PITCH + channel, values);
        } else {
            float value = 0;
            if (valid) {
                value = to_float(tensors.grad[index]);
                if (tensors.y != nullptr) {
                    if (!(to_float(tensors.y[index]) > 0)) value *= inputs.slope;
                    if (keep) tensors.grad_activated[index] = from_float<T>(value);
                }
            }
            grads[pixel * S::PITCH + channel] = from_float<T>(value);
        }
    }
}

// Sums of a channel that THREADS / CHUNK threads have in `sums`.
template <typename T, int K>
__device__ __forceinline__ float sum_of_channel(const float* sums, int channel) {
    using S = Sizes<T, K>;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < THREADS; i += S::CHUNK) sum += sums[i + channel];
    return sum;
}

template <bool VECTORS, typename T, int K>
__global__ void __launch_bounds__(THREADS, 2) pointwise_backward(const Inputs<T> inputs, const Gradients<T> tensors) {
    using S = Sizes<T, K>;
    using P = Products<T, K>;
    const BackwardPlan<T, K> plan(inputs.in.channels, inputs.out.channels);
    T* input = reinterpret_cast<T*>(shared_memory());
    T *taps = input + plan.taps, *weights = input + plan.weights, *filtered = input + plan.filtered;
    T* grads = input + plan.grads;
    float* weight_sums = reinterpret_cast<float*>(shared_memory() + plan.weight_sums) + threadIdx.x;
    float* bias_sums = reinterpret_cast<float*>(shared_memory() + plan.bias_sums);
    float* gate_sums = reinterpret_cast<float*>(shared_memory() + plan.gate_sums);
    const int chunk = blockIdx.x % plan.chunks, part = blockIdx.x / plan.chunks % tensors.parts;
    const std::int64_t sample = blockIdx.x / plan.chunks / tensors.parts;
    const int channels = inputs.in.channels, out_channels = inputs.out.channels;

    load_taps<T, K>(inputs.kernel, inputs.in, sample, chunk * S::CHUNK, taps);
    for (int i = 0; i < plan.outs * P::WEIGHT_SUMS; ++i) weight_sums[i * THREADS] = 0;
    for (int out = 0; out < plan.outs; ++out) bias_sums[out * THREADS + threadIdx.x] = 0;
    gate_sums[threadIdx.x] = 0;
    const bool keep = chunk == 0 && tensors.grad_activated != nullptr;
    for (int index = part; index < tiles_of<T, K>(inputs.in); index += tensors.parts) {
        const Tile tile = tile_of<T, K>(inputs.in, sample, index);
        load_input<VECTORS, T, K>(inputs.x, inputs.in, tile, chunk * S::CHUNK, input);
        copy_async_commit();
        copy_async_wait<0>();
        __syncthreads();
        filter<T, K>(input, taps, inputs.slope, filtered, S::PITCH);
        typename P::Sums sums;
        for (int out = 0; out < plan.outs; ++out) {
            if (out > 0) __syncthreads();
            load_gradient<VECTORS, T, K>(tensors, inputs, tile, out * S::CHUNK, keep, grads);
            if (plan.outs > 1 || index == part) {
                load_weights<VECTORS, T, K>(inputs.weight, out_channels, channels, out * S::CHUNK, chunk * S::CHUNK,
                                            weights);
            }
            copy_async_commit();
            copy_async_wait<0>();
            __syncthreads();
            P::template add<true>(sums, grads, S::PITCH, weights);
            P::add_weights(weight_sums + out * P::WEIGHT_SUMS * THREADS, grads, filtered);
            // Sums over pixels: a thread takes one channel.
            const int channel = threadIdx.x % S::CHUNK;
            const bool gated = out == chunk && tensors.gate_parts != nullptr;
            float bias_sum = 0, gate_sum = 0;
#pragma unroll 4
            for (int pixel = threadIdx.x / S::CHUNK; pixel < S::PIXELS; pixel += THREADS / S::CHUNK) {
                const float value = to_float(grads[pixel * S::PITCH + channel]);
                bias_sum += value;
                if (!gated) continue;
                const int row = pixel / S::COLUMNS + K / 2, column = pixel % S::COLUMNS + K / 2;
                gate_sum += value * to_float(input[(row * S::INPUT_COLUMNS + column) * S::PITCH + channel]);
            }
            bias_sums[out * THREADS + threadIdx.x] += bias_sum;
            gate_sums[threadIdx.x] += gate_sum;
        }
        __syncthreads();
        P::visit(sums, [&](int pixel, int channel, float first, float second) {
            const int offset = pixel * S::PITCH + channel;
            grads[offset] = from_float<T>(to_float(filtered[offset]) > 0 ? first : first * inputs.slope);
            grads[offset + 1] = from_float<T>(to_float(filtered[offset + 1]) > 0 ? second : second * inputs.slope);
        });
        __syncthreads();
        store_tile<VECTORS, T, K>(grads, tensors.grad_filtered, inputs.in, inputs.wide_in, tile, chunk * S::CHUNK);
    }
    __syncthreads();
    const std::int64_t place = sample * tensors.parts + part;
    for (int out = 0; out < plan.outs; ++out) {
#pragma unroll
        for (int i = 0; i < P::WEIGHT_SUMS; ++i) {
            const int row = out * S::CHUNK + P::weight_row(i), column = chunk * S::CHUNK + P::weight_column(i);
            if (row >= out_channels || column >= channels) continue;
            tensors.weight_parts[(place * out_channels + row) * channels + column] =
                weight_sums[(out * P::WEIGHT_SUMS + i) * THREADS];
        }
        const int row = out * S::CHUNK + int(threadIdx.x);
        if (chunk == 0 && threadIdx.x < S::CHUNK && row < out_channels) {
            const float sum = sum_of_channel<T, K>(bias_sums + out * THREADS, threadIdx.x);
            tensors.bias_parts[place * out_channels + row] = sum;
        }
    }
    const int channel = chunk * S::CHUNK + int(threadIdx.x);
    if (tensors.gate_parts != nullptr && threadIdx.x < S::CHUNK && channel < channels) {
        tensors.gate_parts[place * channels + channel] = sum_of_channel<T, K>(gate_sums, threadIdx.x);
    }
}

// `in` and `out` are more features of the sizes of x and the result.
template <typename T>
Inputs<T> inputs_of(const T* x, const T* kernel, const T* weight, float slope, const Features& features,
                    int out_channels, std::initializer_list<const T*> in, std::initializer_list<const T*> out) {
    Inputs<T> inputs{x, kernel, weight, features, features, slope, false, false, false};
    inputs.out.channels = out_channels;
    inputs.wide_in = aligned_vectors<T>(features, x), inputs.wide_out = aligned_vectors<T>(inputs.out);
    for (const T* pointer : in) inputs.wide_in = inputs.wide_in && aligned_to(16, pointer);
    for (const T* pointer : out) inputs.wide_out = inputs.wide_out && aligned_to(16, pointer);
    inputs.vectors = features.channels_last && inputs.wide_in && inputs.wide_out && aligned_to(16, weight);
    return inputs;
}

}  // namespace da

// y [B, C_out, H, W] = weight lrelu(x (depthwise) kernel) + bias + x gate, then LeakyReLU if `activate`. `features` has
// x's sizes; bias and gate may be null.
template <typename T>
void da_conv(const T* x, const T* kernel, int k, const T* weight, const T* bias, const T* gate, float slope,
             bool activate, T* y, const Features& features, int out_channels, Stream stream) {
    const auto inputs = da::inputs_of<T>(x, kernel, weight, slope, features, out_channels, {}, {y});
    for_size(k, [&](auto size) {
        constexpr int K = size();
        const std::int64_t blocks = features.batch * da::tiles_of<T, K>(features);
        const std::size_t bytes = da::ForwardPlan<T, K>(features.channels).elements * sizeof(T);
        const auto kernel_of_tile = inputs.vectors ? da::forward<true, T, K> : da::forward<false, T, K>;
        launch(kernel_of_tile, dim3(unsigned(blocks)), da::THREADS, bytes, stream, inputs, bias, gate, y, activate);
    });
}

// All but the depthwise convolution's backward pass: the gradients of weight, bias and gate, and what
// dynamic_depthwise_conv_backward then needs: grad_filtered and, with y and a gate (else null), grad_activated. The
// parts are [B, parts, C_out, C], [B, parts, C_out] and [B, parts, C], for any number of parts; without a gate, its are
// null.
template <typename T>
void da_conv_pointwise_backward(const T* grad, const T* x, const T* kernel, int k, const T* weight, const T* y,
                                float slope, T* grad_filtered, T* grad_activated, T* grad_weight, T* grad_bias,
                                T* grad_gate, float* weight_parts, float* bias_parts, float* gate_parts, int parts,
                                const Features& features, int out_channels, Stream stream) {
    const auto inputs = da::inputs_of<T>(x, kernel, weight, slope, features, out_channels, {grad_filtered},
                                         {grad, y, grad_activated});
    const da::Gradients<T> tensors{grad,         y,          grad_filtered, grad_activated,
                                   weight_parts, bias_parts, gate_parts,    parts};
    for_size(k, [&](auto size) {
        constexpr int K = size();
        const da::BackwardPlan<T, K> plan(features.channels, out_channels);
        const std::int64_t blocks = features.batch * parts * plan.chunks;
        const auto kernel_of_part =
            inputs.vectors ? da::pointwise_backward<true, T, K> : da::pointwise_backward<false, T, K>;
        launch(kernel_of_part, dim3(unsigned(blocks)), da::THREADS, plan.bytes, stream, inputs, tensors);
    });
    const int count = int(features.batch) * parts;
    sum_parts(weight_parts, grad_weight, 1, count, std::int64_t(out_channels) * features.channels, stream);
    sum_parts(bias_parts, grad_bias, 1, count, out_channels, stream);
    if (gate_parts != nullptr) sum_parts(gate_parts, grad_gate, features.batch, parts, features.channels, stream);
}

}  // namespace dasr_fast
