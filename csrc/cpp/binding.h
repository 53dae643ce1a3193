// From tensors of LibTorch's stable ABI to the plain numbers and pointers that kernels take.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>

#include "instruction_set.h"
#include "types.h"

namespace dasr_fast {

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
