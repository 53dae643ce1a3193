// Types that tensors are stored in.
#pragma once

#include <cstdint>

namespace dasr_fast {

enum class Type : int64_t { float32, float16, bfloat16, uint8 };

} // namespace dasr_fast
