// Sizes of dense features, and of filters.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <type_traits>

namespace dasr_fast {

// Features [B, C, H, W], contiguous, or channels-last: [B, H, W, C] in memory.
struct Features {
    std::int64_t batch;
    int channels, height, width;
    bool channels_last;
};

// Calls `function` with the size of the filters as a constant: function(std::integral_constant<int, 3>()).
template <typename Function>
void for_size(int k, Function function) {
    switch (k) {
    case 1: return function(std::integral_constant<int, 1>());
    case 3: return function(std::integral_constant<int, 3>());
    case 5: return function(std::integral_constant<int, 5>());
    case 7: return function(std::integral_constant<int, 7>());
    default: throw std::runtime_error("dasr_fast_cuda: filters have size 1, 3, 5 or 7.");
    }
}

}  // namespace dasr_fast
