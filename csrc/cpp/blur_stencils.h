// Classes of a blur's stencils.
#pragma once

#include <cstdint>

namespace dasr_fast {

constexpr int64_t EDGE = 2; // Outputs at either end of an axis whose taps may reach beyond the image.
constexpr int64_t CLASSES = 2 * EDGE + 1; // The first and the last EDGE outputs have their own, all others share one.

} // namespace dasr_fast
