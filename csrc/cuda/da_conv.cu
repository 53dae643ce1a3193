#include "da_conv.cuh"

#include "binding.h"

namespace dasr_fast {
namespace {

template <typename T>
T* output(const std::optional<Tensor>& tensor) {
    return tensor.has_value() ? dasr_fast::output<T>(*tensor) : nullptr;
}

void forward(Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> gate,
             double negative_slope, bool activate, Tensor y) {
    const CurrentStream stream(x);
    for_type(x, [&](auto zero) {
        using T = decltype(zero);
        da_conv(input<T>(x), input<T>(kernel), int(kernel.size(3)), input<T>(weight), input<T>(bias), input<T>(gate),
                float(negative_slope), activate, output<T>(y), features(x), int(weight.size(0)), stream);
    });
}

void pointwise_backward(Tensor grad, Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> y,
                        double negative_slope, Tensor grad_filtered, std::optional<Tensor> grad_activated,
                        Tensor grad_weight, Tensor grad_bias, std::optional<Tensor> grad_gate, Tensor weight_parts,
                        Tensor bias_parts, std::optional<Tensor> gate_parts) {
    const CurrentStream stream(x);
    for_type(x, [&](auto zero) {
        using T = decltype(zero);
        da_conv_pointwise_backward(
            input<T>(grad), input<T>(x), input<T>(kernel), int(kernel.size(3)), input<T>(weight), input<T>(y),
            float(negative_slope), output<T>(grad_filtered), output<T>(grad_activated), output<T>(grad_weight),
            output<T>(grad_bias), output<T>(grad_gate), output<float>(weight_parts), output<float>(bias_parts),
            output<float>(gate_parts), int(weight_parts.size(1)), features(x), int(weight.size(0)), stream);
    });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cuda, CUDA, m) {
    m.impl("da_conv", TORCH_BOX(&forward));
    m.impl("da_conv_pointwise_backward", TORCH_BOX(&pointwise_backward));
}

}  // namespace dasr_fast
