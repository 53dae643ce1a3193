#include "dynamic_depthwise_conv.cuh"

#include "binding.h"

namespace dasr_fast {
namespace {

void forward(Tensor x, Tensor kernel, std::optional<double> negative_slope, Tensor y) {
    const CurrentStream stream(x);
    for_type(x, [&](auto zero) {
        using T = decltype(zero);
        dynamic_depthwise_conv(input<T>(x), input<T>(kernel), int(kernel.size(3)), float(negative_slope.value_or(1)),
                               output<T>(y), features(x), stream);
    });
}

void backward(Tensor grad, Tensor x, Tensor kernel, std::optional<Tensor> y, std::optional<double> negative_slope,
              std::optional<Tensor> extra, std::optional<Tensor> gate, Tensor grad_x, Tensor grad_kernel,
              std::optional<Tensor> workspace) {
    const CurrentStream stream(x);
    for_type(x, [&](auto zero) {
        using T = decltype(zero);
        dynamic_depthwise_conv_backward(input<T>(grad), input<T>(x), input<T>(kernel), int(kernel.size(3)),
                                        input<T>(y), float(negative_slope.value_or(1)), input<T>(extra),
                                        input<T>(gate), output<T>(grad_x), output<T>(grad_kernel),
                                        output<float>(*workspace), int(workspace->size(1)), features(x), stream);
    });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cuda, CUDA, m) {
    m.impl("dynamic_depthwise_conv", TORCH_BOX(&forward));
    m.impl("dynamic_depthwise_conv_backward", TORCH_BOX(&backward));
}

}  // namespace dasr_fast
