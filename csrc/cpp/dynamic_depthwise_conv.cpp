// dynamic_depthwise_conv: a filter for every sample and channel, then LeakyReLU, and the gradients.
#include <cstdint>

#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

// An item is a plane (contiguous) or one of the `parts` of a sample's rows (channels-last).
struct DynamicDepthwiseConv {
    int64_t channels, height, width, size, parts;
    bool channels_last;
    Type type;
    float slope; // 1: no activation.
    const void *x, *kernel, *grad;
    const void* sign; // The output, whose sign is the LeakyReLU's, or null.
    void *y, *grad_x;
    float* grad_kernel; // [B, C, K, K], or channels-last [B, parts, K * K, C].
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "depthwise.h"

namespace dasr_fast {
namespace {

template <int K, class T>
void forward_of_plane(const DynamicDepthwiseConv& p, int64_t plane) {
    const int64_t start = plane * p.height * p.width, ahead = rows_at_a_time(p.width) * p.width;
    float weights[K * K];
    read_weights<K>((const T*)p.kernel + plane * K * K, weights);
    filter_plane<K>(
        [&](int64_t offset, int64_t count) { return load((const T*)p.x + start + offset, count); }, p.height, p.width,
        weights, [&](int64_t offset, int64_t count, Vector value) {
            prefetch((const T*)p.x, start + offset + ahead);
            store((T*)p.y + start + offset, leaky_relu(value, p.slope), count);
        });
}

template <int K, class T>
void forward_of_part(const DynamicDepthwiseConv& p, int64_t item) {
    const int64_t sample = item / p.parts, part = item % p.parts;
    const int64_t start = sample * p.height * p.width * p.channels, ahead = (K / 2 + 1) * p.width * p.channels;
    const Scratch turned(K * K * whole_vectors(p.channels));
    turn_weights((const T*)p.kernel + sample * p.channels * K * K, p.channels, K * K, turned.data());
    filter_rows_channels_last<K>(
        [&](int64_t offset, int64_t count) { return load((const T*)p.x + start + offset, count); }, p.height, p.width,
        p.channels, p.height * part / p.parts, p.height * (part + 1) / p.parts, 0, p.width, turned.data(),
        [&](int64_t row, int64_t column, int64_t c, Vector value) {
            const int64_t offset = start + (row * p.width + column) * p.channels + c;
            prefetch((const T*)p.x, offset + ahead);
            store((T*)p.y + offset, leaky_relu(value, p.slope), p.channels - c);
        });
}

template <int K, class T>
void backward_of_plane(const DynamicDepthwiseConv& p, int64_t plane) {
    const int64_t start = plane * p.height * p.width, ahead = rows_at_a_time(p.width) * p.width;
    float weights[K * K];
    read_weights<K>((const T*)p.kernel + plane * K * K, weights);
    filter_plane_backward<K>(
        [&](int64_t offset, int64_t count) { return load_gradient<T>(p.grad, p.sign, p.slope, start + offset, count); },
        p.height, p.width,
        weights, [&](int64_t offset, int64_t count) { return load((const T*)p.x + start + offset, count); },
        [&](int64_t offset, int64_t count, Vector value) {
            prefetch((const T*)p.x, start + offset + ahead);
            prefetch((const T*)p.grad, start + offset + ahead);
            prefetch((const T*)p.sign, start + offset + ahead);
            store((T*)p.grad_x + start + offset, value, count);
        },
        p.grad_kernel + plane * K * K);
}

template <int K, class T>
void backward_of_part(const DynamicDepthwiseConv& p, int64_t item) {
    const int64_t sample = item / p.parts, part = item % p.parts;
    const int64_t start = sample * p.height * p.width * p.channels, ahead = (K / 2 + 1) * p.width * p.channels;
    const Scratch turned(K * K * whole_vectors(p.channels));
    turn_weights((const T*)p.kernel + sample * p.channels * K * K, p.channels, K * K, turned.data());
    float* grad_kernel = p.grad_kernel + item * K * K * p.channels;
    std::memset((void*)grad_kernel, 0, K * K * p.channels * sizeof(float));
    filter_rows_channels_last_backward<K>(
        [&](int64_t offset, int64_t count) { return load_gradient<T>(p.grad, p.sign, p.slope, start + offset, count); },
        p.height, p.width,
        p.channels, p.height * part / p.parts, p.height * (part + 1) / p.parts, turned.data(),
        [&](int64_t offset, int64_t count) { return load((const T*)p.x + start + offset, count); },
        [&](int64_t row, int64_t column, int64_t c, Vector value) {
            const int64_t offset = start + (row * p.width + column) * p.channels + c;
            prefetch((const T*)p.x, offset + ahead);
            prefetch((const T*)p.grad, offset + ahead);
            prefetch((const T*)p.sign, offset + ahead);
            store((T*)p.grad_x + offset, value, p.channels - c);
        },
        grad_kernel);
}

template <class Compute>
void for_items(const DynamicDepthwiseConv& p, int64_t begin, int64_t end, Compute compute) {
    with_type(p.type, [&](auto element) {
        with_size(p.size, [&](auto size) {
            for (int64_t item = begin; item < end; ++item) compute(element, size, item);
        });
    });
}

} // namespace

namespace DASR_FAST_KERNELS {

void dynamic_depthwise_conv(const DynamicDepthwiseConv& p, int64_t begin, int64_t end) {
    for_items(p, begin, end, [&](auto element, auto size, int64_t item) {
        using T = typename decltype(element)::type;
        p.channels_last ? forward_of_part<size.value, T>(p, item) : forward_of_plane<size.value, T>(p, item);
    });
}

void dynamic_depthwise_conv_backward(const DynamicDepthwiseConv& p, int64_t begin, int64_t end) {
    for_items(p, begin, end, [&](auto element, auto size, int64_t item) {
        using T = typename decltype(element)::type;
        p.channels_last ? backward_of_part<size.value, T>(p, item) : backward_of_plane<size.value, T>(p, item);
    });
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(dynamic_depthwise_conv, DynamicDepthwiseConv)
DASR_FAST_BEST(dynamic_depthwise_conv_backward, DynamicDepthwiseConv)

static DynamicDepthwiseConv problem(const Tensor& x, const Tensor& kernel, std::optional<double> negative_slope) {
    DynamicDepthwiseConv p{};
    p.channels = x.size(1), p.height = x.size(2), p.width = x.size(3), p.size = kernel.size(3);
    p.channels_last = channels_last(x);
    p.type = type_of(x);
    p.slope = static_cast<float>(negative_slope.value_or(1.0));
    p.x = x.const_data_ptr(), p.kernel = kernel.const_data_ptr();
    return p;
}

Tensor dynamic_depthwise_conv(Tensor x, Tensor kernel, std::optional<double> negative_slope) {
    const MemoryFormat format = memory_format(x);
    x = dense(x), kernel = torch::stable::contiguous(kernel);
    const Tensor y = new_features(x, x.size(1), format);
    DynamicDepthwiseConv p = problem(x, kernel, negative_slope);
    p.y = y.mutable_data_ptr();
    p.parts = parts_of(x.size(0), p.height, p.width);
    run(best_dynamic_depthwise_conv(), p, x.size(0) * (p.channels_last ? p.parts : p.channels));
    return y;
}

std::tuple<Tensor, Tensor> dynamic_depthwise_conv_backward(
    Tensor grad, Tensor x, Tensor kernel, std::optional<Tensor> y, std::optional<double> negative_slope
) {
    const MemoryFormat format = memory_format(x);
    grad = in_memory_format(grad, format), x = dense(x), kernel = torch::stable::contiguous(kernel);
    y = in_format(y, format);
    DynamicDepthwiseConv p = problem(x, kernel, negative_slope);
    p.parts = p.channels_last ? parts_of(x.size(0), p.height, p.width) : p.channels;
    const Tensor grad_x = new_features(x, p.channels, format), grad_kernel = new_kernel_sums(x, kernel, p.parts);
    p.grad = grad.const_data_ptr(), p.sign = pointer(y), p.grad_x = grad_x.mutable_data_ptr();
    p.grad_kernel = floats(grad_kernel);
    run(best_dynamic_depthwise_conv_backward(), p, x.size(0) * (p.channels_last ? p.parts : p.channels));
    return {grad_x, kernel_gradient(grad_kernel, x, kernel)};
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) {
    m.impl("dynamic_depthwise_conv", TORCH_BOX(&dynamic_depthwise_conv));
    m.impl("dynamic_depthwise_conv_backward", TORCH_BOX(&dynamic_depthwise_conv_backward));
}

} // namespace dasr_fast

#endif
