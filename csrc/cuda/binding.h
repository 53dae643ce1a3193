// From tensors of LibTorch's stable ABI to the plain numbers and pointers that launching functions take.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <stdexcept>

#include "dense_features.h"
#include "device.h"

namespace dasr_fast {

using torch::stable::Tensor;

// PyTorch's current stream on the device of a tensor, which is the current device as long as this lives.
class CurrentStream {
public:
    explicit CurrentStream(const Tensor& x) : guard(x.get_device_index()) {
        void* current = nullptr;
        TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &current));
        stream = static_cast<Stream>(current);
    }

    operator Stream() const { return stream; }

private:
    torch::stable::accelerator::DeviceGuard guard;
    Stream stream;
};

// Sizes of dense features [B, C, H, W].
inline Features features(const Tensor& x) {
    return {x.size(0), int(x.size(1)), int(x.size(2)), int(x.size(3)), x.size(1) > 1 && x.stride(1) == 1};
}

template <typename T>
const T* input(const Tensor& tensor) {
    return static_cast<const T*>(tensor.const_data_ptr());
}

// Null if the tensor was left out.
template <typename T>
const T* input(const std::optional<Tensor>& tensor) {
    return tensor.has_value() ? static_cast<const T*>(tensor->const_data_ptr()) : nullptr;
}

template <typename T>
T* output(const Tensor& tensor) {
    return static_cast<T*>(tensor.mutable_data_ptr());
}

// Calls `function` with a value of the tensor's type: for_type(x, [&](auto zero) { using T = decltype(zero); ... }).
template <typename Function>
void for_type(const Tensor& tensor, Function function) {
    using torch::headeronly::ScalarType;
    switch (tensor.scalar_type()) {
    case ScalarType::Float: return function(float());
    case ScalarType::Half: return function(half_t());
    case ScalarType::BFloat16: return function(bfloat16_t());
    default: throw std::runtime_error("dasr_fast_cuda: the type of a tensor is none that kernels know.");
    }
}

}  // namespace dasr_fast
