#include "da_half_block.cuh"

#include "binding.h"

namespace dasr_fast {
namespace {

template <typename T>
void run(const Tensor& x, const Tensor& kernel, const Tensor& weight, const std::optional<Tensor>& bias,
         const std::optional<Tensor>& gate, const Tensor& conv_weight, const std::optional<Tensor>& conv_bias,
         const std::optional<Tensor>& residual, double negative_slope, bool activate, const Tensor& y) {
    const CurrentStream stream(x);
    HalfBlock<T> block{};
    block.x = input<T>(x), block.kernel = input<T>(kernel), block.weight = input<T>(weight);
    block.bias = input<T>(bias), block.gate = input<T>(gate);
    block.conv_weight = input<T>(conv_weight), block.conv_bias = input<T>(conv_bias);
    block.residual = input<T>(residual), block.y = output<T>(y);
    block.batch = x.size(0), block.height = int(x.size(2)), block.width = int(x.size(3));
    block.negative_slope = float(negative_slope), block.activate = activate;
    da_half_block(block, stream);
}

void forward(Tensor x, Tensor kernel, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> gate,
             Tensor conv_weight, std::optional<Tensor> conv_bias, std::optional<Tensor> residual,
             double negative_slope, bool activate, Tensor y) {
    const bool half = x.scalar_type() == torch::headeronly::ScalarType::Half;
    (half ? run<half_t> : run<bfloat16_t>)(x, kernel, weight, bias, gate, conv_weight, conv_bias, residual,
                                           negative_slope, activate, y);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cuda, CUDA, m) { m.impl("da_half_block", TORCH_BOX(&forward)); }

}  // namespace dasr_fast
