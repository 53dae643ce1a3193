// Sizes of dense features.
#pragma once

#include <cstdint>

namespace dasr_fast {

// Features [B, C, H, W], contiguous, or channels-last: [B, H, W, C] in memory.
struct Features {
    std::int64_t batch;
    int channels, height, width;
    bool channels_last;
};

}  // namespace dasr_fast
