// A square of numbers in registers, turned.
#pragma once

#include "vector.h"

namespace dasr_fast {
namespace {

// Exchanges the upper right and the lower left quarter of all squares of 2 STEP x 2 STEP numbers.
template <int STEP>
inline void exchange(Vector (&v)[LANES]) {
    Bits upper, lower;
    for (int j = 0; j < LANES; ++j) upper[j] = j & STEP ? LANES + j - STEP : j, lower[j] = j & STEP ? LANES + j : j + STEP;
    for (int i = 0; i < LANES; ++i)
        if (!(i & STEP)) {
            const Vector first = v[i], second = v[i + STEP];
            v[i] = shuffle(first, second, upper), v[i + STEP] = shuffle(first, second, lower);
        }
}

// Turns a square of LANES x LANES numbers.
inline void turn(Vector (&v)[LANES]) {
    exchange<1>(v), exchange<2>(v);
    if constexpr (LANES > 4) exchange<4>(v);
    if constexpr (LANES > 8) exchange<8>(v);
}

} // namespace
} // namespace dasr_fast
