// Functions of vectors.
#pragma once

#include "vector.h"

namespace dasr_fast {

namespace {

typedef int32_t Wholes __attribute__((vector_size(4 * LANES)));

inline Vector square_root(Vector value) {
#if defined(__AVX512F__)
    return (Vector)_mm512_maskz_sqrt_ps(0xffff, (__m512)value);
#elif defined(__AVX__)
    return (Vector)_mm256_sqrt_ps((__m256)value);
#else
    for (int i = 0; i < LANES; ++i) value[i] = __builtin_sqrtf(value[i]);
    return value;
#endif
}

inline Vector clamped(Vector value, float low, float high) {
    value = value < low ? splat(low) : value;
    return value > high ? splat(high) : value;
}

// To whole numbers, halves to even ones, of numbers between -2^22 and 2^22.
inline Vector rounded(Vector value) { return (value + 0x1.8p23f) - 0x1.8p23f; }

// The largest whole number that isn't larger, of numbers between -2^31 and 2^31.
inline Vector floored(Vector value) {
    const Vector whole = __builtin_convertvector(__builtin_convertvector(value, Wholes), Vector);
    return whole > value ? whole - 1.0f : whole;
}

} // namespace

} // namespace dasr_fast
