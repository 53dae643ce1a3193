// 16-bit floating-point numbers as their bits; PyTorch converts them.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace dasr_fast {

struct half_t {
    std::uint16_t bits;
};

struct bfloat16_t {
    std::uint16_t bits;
};

template <typename To, typename From>
To same_bits(const From& value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof(To));
    return result;
}

inline float to_float(float value) { return value; }

inline float to_float(bfloat16_t value) { return same_bits<float>(std::uint32_t(value.bits) << 16); }

inline float to_float(half_t value) { return c10::detail::fp16_ieee_to_fp32_value(value.bits); }

template <typename T>
T from_float(float value) {
    if constexpr (std::is_same_v<T, half_t>) return {c10::detail::fp16_ieee_from_fp32_value(value)};
    if constexpr (std::is_same_v<T, bfloat16_t>) return {c10::detail::round_to_nearest_even(value)};
    if constexpr (std::is_same_v<T, float>) return value;
}

template <typename T>
std::uint32_t pack(float low, float high) {
    return from_float<T>(low).bits | std::uint32_t(from_float<T>(high).bits) << 16;
}

template <typename T>
float unpack(std::uint32_t pair, bool high) {
    return to_float(T{std::uint16_t(high ? pair >> 16 : pair)});
}

inline float float_of(std::uint32_t bits) { return same_bits<float>(bits); }

}  // namespace dasr_fast
