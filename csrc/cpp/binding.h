// From tensors of LibTorch's stable ABI to the plain numbers and pointers that kernels take.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <atomic>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

using torch::headeronly::MemoryFormat;
using torch::stable::Tensor;

inline Type type_of(const Tensor& tensor) {
    using torch::headeronly::ScalarType;
    switch (tensor.scalar_type()) {
    case ScalarType::Float: return Type::float32;
    case ScalarType::Half: return Type::float16;
    case ScalarType::BFloat16: return Type::bfloat16;
    case ScalarType::Byte: return Type::uint8;
    default: throw std::runtime_error("dasr_fast_cpp: the type of a tensor is none that kernels know.");
    }
}

// The memory format that results have: channels-last if features [B, C, H, W] are laid out so, contiguous in every other
// case, and where both are the same; `dasr_fast/reference/layout.py` has the rule.
inline MemoryFormat memory_format(const Tensor& x) {
    if (x.dim() != 4 || x.is_contiguous()) return MemoryFormat::Contiguous;
    int64_t step = 1;
    for (const int dim : {1, 3, 2, 0}) {
        if (x.size(dim) == 1) continue;
        if (x.stride(dim) != step) return MemoryFormat::Contiguous;
        step *= x.size(dim);
    }
    return MemoryFormat::ChannelsLast;
}

// Features in dense memory, copied unless they are there already.
inline Tensor dense(const Tensor& x) { return torch::stable::contiguous(x, memory_format(x)); }

// Features in another memory format, copied unless they have it.
Tensor in_memory_format(const Tensor& x, MemoryFormat format);

// A tensor in another memory format, or contiguous; none for none.
inline std::optional<Tensor> in_format(const std::optional<Tensor>& tensor, MemoryFormat format = MemoryFormat::Contiguous) {
    if (!tensor.has_value()) return std::nullopt;
    return in_memory_format(*tensor, format);
}

// Memory for features [B, channels, H, W] of the type of `x`.
inline Tensor new_features(const Tensor& x, int64_t channels, MemoryFormat format) {
    return torch::stable::empty(
        {x.size(0), channels, x.size(2), x.size(3)}, x.scalar_type(), std::nullopt, std::nullopt, std::nullopt, format
    );
}

// Memory for sums in float32.
inline Tensor new_sums(std::initializer_list<int64_t> shape) {
    return torch::stable::empty(shape, torch::headeronly::ScalarType::Float);
}

inline Tensor sum(const Tensor& tensor, int64_t dimension) {
    return torch::stable::sum(tensor, torch::headeronly::IntHeaderOnlyArrayRef(&dimension, 1));
}

// Parts added, in the type of `tensor`.
inline Tensor added(const Tensor& parts, int64_t dimension, const Tensor& tensor) {
    return torch::stable::to(sum(parts, dimension), tensor.scalar_type());
}

inline float* floats(const Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

// Whether dense features [B, C, H, W] are channels-last; false where both memory formats are the same.
inline bool channels_last(const Tensor& x) {
    return x.size(1) > 1 && x.size(2) * x.size(3) > 1 && x.stride(1) == 1;
}

inline const void* pointer(const std::optional<Tensor>& tensor) {
    return tensor.has_value() ? tensor->const_data_ptr() : nullptr;
}

// Into how many parts the rows of a sample are cut where nothing is summed over them: enough for all threads, and not so
// many that what a part prepares would show.
inline int64_t parts_of(int64_t samples, int64_t height, int64_t width) {
    const int64_t wanted = samples > 0 ? (64 + samples - 1) / samples : 1, worthwhile = (height * width + 1023) / 1024;
    const int64_t parts = wanted < worthwhile ? wanted : worthwhile;
    return parts < 1 || height < 1 ? 1 : parts < height ? parts : height;
}

// Memory for the gradient for filters [B, C, k, k] of dense features, or channels-last for the parts of it.
inline Tensor new_kernel_sums(const Tensor& x, const Tensor& kernel, int64_t parts) {
    const int64_t size = kernel.size(3);
    if (channels_last(x)) return new_sums({x.size(0), parts, size * size, x.size(1)});
    return new_sums({x.size(0), x.size(1), size, size});
}

// The gradient for filters from what was written to `new_kernel_sums`.
inline Tensor kernel_gradient(Tensor sums, const Tensor& x, const Tensor& kernel) {
    if (channels_last(x))
        sums = torch::stable::contiguous(torch::stable::transpose(sum(sums, 1), 1, 2));
    return torch::stable::to(torch::stable::view(sums, kernel.sizes()), kernel.scalar_type());
}

// The work of all items, shared among PyTorch's threads. An exception must not leave a thread: what `Scratch` throws is
// carried out.
template <class Problem>
void run(Work<Problem> work, const Problem& problem, int64_t items) {
    std::atomic<int64_t> missing{0};
    torch::stable::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
        try {
            work(problem, begin, end);
        } catch (int64_t bytes) {
            missing = bytes;
        }
    });
    if (missing) throw std::runtime_error("dasr_fast_cpp: out of memory: " + std::to_string(missing) + " bytes can't be had.");
}

} // namespace dasr_fast
