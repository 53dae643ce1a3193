// Numbers that wait in registers.
#pragma once

#include "device.h"

namespace dasr_fast {

// N neighbours in memory as they were read: 16-bit numbers stay in pairs, in half the registers, until they are used.
template <typename T, int N>
struct Packed {
    using Word = std::conditional_t<sizeof(T) * N % 4 == 0, std::uint32_t, std::uint16_t>;
    static constexpr int WORDS = sizeof(T) * N / sizeof(Word);
    Vector<Word, WORDS> words;

    __device__ __forceinline__ float value(int n) const {
        if constexpr (sizeof(T) == 4) {
            return float_of(words.values[n]);
        } else {
            return unpack<T>(words.values[n / 2], n % 2 == 1);
        }
    }
};

}  // namespace dasr_fast
