// 16-bit floating-point numbers as their bits, and their conversions.
#pragma once

#include <cstdint>
#include <cstring>

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

inline float to_float(half_t value) {
    const std::uint32_t sign = std::uint32_t(value.bits & 0x8000) << 16;
    const std::uint32_t exponent = (value.bits >> 10) & 31, fraction = value.bits & 1023;
    if (exponent == 31) return same_bits<float>(sign | 0x7F800000 | fraction << 13);
    if (exponent > 0) return same_bits<float>(sign | (exponent + 112) << 23 | fraction << 13);
    const float magnitude = float(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
}

template <typename T>
T from_float(float value);

template <>
inline float from_float<float>(float value) {
    return value;
}

template <>
inline bfloat16_t from_float<bfloat16_t>(float value) {
    const auto bits = same_bits<std::uint32_t>(value);
    if (value != value) return {0x7FFF};
    return {std::uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

template <>
inline half_t from_float<half_t>(float value) {
    const auto bits = same_bits<std::uint32_t>(value);
    const auto sign = std::uint16_t(bits >> 16 & 0x8000);
    const std::uint32_t magnitude = bits & 0x7FFFFFFF;
    if (value != value) return {0x7FFF};
    if (magnitude >= 0x477FF000) return {std::uint16_t(sign | 0x7C00)};  // Rounds to 65536 or more.
    if (magnitude < 0x38800000) {
        // Below the smallest normal number: adding 0.5 rounds to a multiple of 2^-24 in the last bits of the sum.
        const float sum = same_bits<float>(magnitude) + 0.5f;
        return {std::uint16_t(sign | (same_bits<std::uint32_t>(sum) - 0x3F000000))};
    }
    return {std::uint16_t(sign | ((magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13))};
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
