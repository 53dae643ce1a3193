#include "channel_modulation.cuh"

#include "binding.h"

namespace dasr_fast {
namespace {

void forward(Tensor x, Tensor gate, std::optional<Tensor> residual, Tensor y) {
    const CurrentStream stream(x);
    for_type(x, [&](auto zero) {
        using T = decltype(zero);
        channel_modulation(input<T>(x), input<T>(gate), input<T>(residual), output<T>(y), features(x), stream);
    });
}

void backward(Tensor grad, Tensor x, Tensor gate, Tensor grad_x, Tensor grad_gate, std::optional<Tensor> workspace) {
    const CurrentStream stream(x);
    for_type(x, [&](auto zero) {
        using T = decltype(zero);
        channel_modulation_backward(input<T>(grad), input<T>(x), input<T>(gate), output<T>(grad_x),
                                    output<T>(grad_gate), output<float>(*workspace), int(workspace->size(1)),
                                    features(x), stream);
    });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cuda, CUDA, m) {
    m.impl("channel_modulation", TORCH_BOX(&forward));
    m.impl("channel_modulation_backward", TORCH_BOX(&backward));
}

}  // namespace dasr_fast
