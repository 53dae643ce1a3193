// Vectors of floats as wide as the instruction set has them, and the types that tensors are stored in.
//
// Everything has internal linkage: the linker must not share a function between instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

#include "types.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace dasr_fast {

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

constexpr int REGISTERS = LANES == 16 ? 32 : 16;

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));

struct float16 {
    uint16_t bits;
};
struct bfloat16 {
    uint16_t bits;
};

template <int K>
struct Size {
    static constexpr int value = K;
};

template <class To, class From>
inline To bit_cast(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

inline Vector splat(float value) { return value - Vector{}; }

// Lanes of two vectors by their numbers, those of the second after those of the first.
inline Vector shuffle(Vector first, Vector second, Bits lanes) {
#if defined(__clang__) // It has no shuffle by numbers that aren't constants.
    Vector result = first;
    for (int i = 0; i < LANES; ++i) result[i] = lanes[i] < LANES ? first[lanes[i]] : second[lanes[i] - LANES];
    return result;
#else
    return __builtin_shuffle(first, second, lanes);
#endif
}

inline Vector load(const float* pointer) {
    Vector value;
    std::memcpy(&value, pointer, sizeof(value));
    return value;
}

inline Vector load(const bfloat16* pointer) {
#if defined(__AVX512F__) // Compilers make two halves of the conversion.
    return (Vector)((Bits)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i*)pointer)) << 16);
#else
    Halves halves;
    std::memcpy(&halves, pointer, sizeof(halves));
    return bit_cast<Vector>(__builtin_convertvector(halves, Bits) << 16);
#endif
}

inline Vector load(const uint8_t* pointer) {
    Bytes bytes;
    std::memcpy(&bytes, pointer, sizeof(bytes));
    return __builtin_convertvector(bytes, Vector);
}

inline Vector load(const float16* pointer) {
#if defined(__AVX512F__)
    return (Vector)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i*)pointer));
#elif defined(__F16C__)
    return (Vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)pointer));
#else
    Halves halves;
    std::memcpy(&halves, pointer, sizeof(halves));
    const Bits bits = __builtin_convertvector(halves, Bits);
    const Bits sign = (bits & 0x8000u) << 16;
    const Bits magnitude = (bits & 0x7fffu) << 13;
    const Bits finite = bit_cast<Bits>(bit_cast<Vector>(magnitude) * 0x1p112f); // Moves the exponent's bias, subnormals too.
    const Bits special = magnitude | 0x7f800000u;
    return bit_cast<Vector>(sign | (magnitude >= 0x0f800000u ? special : finite));
#endif
}

// `value`, loaded once: compilers prefer to load it anew for every use, and across cache lines that is what takes time.
inline Vector in_register(Vector value) {
#if defined(__AVX512F__)
    asm("" : "+v"(value));
#elif defined(__SSE__)
    asm("" : "+x"(value));
#endif
    return value;
}

inline void store(float* pointer, Vector value) { std::memcpy(pointer, &value, sizeof(value)); }

inline void store(bfloat16* pointer, Vector value) {
#if defined(__AVX512BF16__)
    const __m256bh halves = _mm512_cvtneps_pbh((__m512)value);
    std::memcpy((void*)pointer, &halves, sizeof(halves));
#else
    const Bits bits = bit_cast<Bits>(value);
    const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Bits quiet = (bits >> 16) | 0x40u; // NaN
    const Halves halves = __builtin_convertvector((Bits)(value == value ? rounded : quiet), Halves);
    std::memcpy((void*)pointer, &halves, sizeof(halves));
#endif
}

inline void store(float16* pointer, Vector value) {
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i*)pointer, _mm512_maskz_cvtps_ph(0xffff, (__m512)value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    _mm_storeu_si128((__m128i*)pointer, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
#else
    const Bits bits = bit_cast<Bits>(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    const Bits normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    // Adding 0.5 leaves the subnormal's bits, rounded by the addition, at the end.
    const Bits subnormal = bit_cast<Bits>(bit_cast<Vector>(magnitude) + 0.5f) - 0x3f000000u;
    const Bits special = magnitude > 0x7f800000u ? (Bits{} + 0x7e00u) : (Bits{} + 0x7c00u);
    const Bits finite = magnitude < 0x38800000u ? subnormal : normal;
    const Bits result = sign | (magnitude >= 0x477ff000u ? special : finite);
    const Halves halves = __builtin_convertvector(result, Halves);
    std::memcpy((void*)pointer, &halves, sizeof(halves));
#endif
}

// The first `count` lanes; the others are 0.
template <class T>
inline Vector load(const T* pointer, int64_t count) {
    if (count >= LANES) return load(pointer);
    T values[LANES] = {};
    std::memcpy((void*)values, pointer, count * sizeof(T));
    return load(values);
}

template <class T>
inline void store(T* pointer, Vector value, int64_t count) {
    if (count >= LANES) return store(pointer, value);
    T values[LANES];
    store(values, value);
    std::memcpy((void*)pointer, values, count * sizeof(T));
}

#if defined(__AVX512F__)
inline __mmask16 lanes_below(int64_t count) { return (__mmask16)((1 << count) - 1); }

inline Vector load(const float* pointer, int64_t count) {
    if (count >= LANES) return load(pointer);
    return (Vector)_mm512_maskz_loadu_ps(lanes_below(count), pointer);
}

inline void store(float* pointer, Vector value, int64_t count) {
    if (count >= LANES) return store(pointer, value);
    _mm512_mask_storeu_ps(pointer, lanes_below(count), (__m512)value);
}

template <class T>
inline Vector load_halves(const T* pointer, int64_t count) {
    if (count >= LANES) return load(pointer);
    const __m256i halves = _mm256_maskz_loadu_epi16(lanes_below(count), pointer);
    return load((const T*)&halves);
}

template <class T>
inline void store_halves(T* pointer, Vector value, int64_t count) {
    if (count >= LANES) return store(pointer, value);
    __m256i halves;
    store((T*)&halves, value);
    _mm256_mask_storeu_epi16(pointer, lanes_below(count), halves);
}

inline Vector load(const float16* pointer, int64_t count) { return load_halves(pointer, count); }
inline Vector load(const bfloat16* pointer, int64_t count) { return load_halves(pointer, count); }
inline void store(float16* pointer, Vector value, int64_t count) { store_halves(pointer, value, count); }
inline void store(bfloat16* pointer, Vector value, int64_t count) { store_halves(pointer, value, count); }
#endif

// One element as a float.
inline float number(const float* pointer) { return *pointer; }
inline float number(const bfloat16* pointer) { return bit_cast<float>((uint32_t)pointer->bits << 16); }
inline float number(const float16* pointer) {
#if defined(__F16C__)
    return _cvtsh_ss(pointer->bits);
#else
    return load(pointer, 1)[0];
#endif
}

inline float sum(Vector value) {
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int lane = 0; lane < width; ++lane) value[lane] += value[lane + width];
    return value[0];
}

// Slope 1 is no activation.
inline Vector leaky_relu(Vector value, float slope) { return value > 0 ? value : value * slope; }

// Calls `function` with a condition as a type, to take it out of the loops in there.
template <class Function>
inline void with_condition(bool condition, const Function& function) {
    if (condition)
        function(Size<1>());
    else
        function(Size<0>());
}

// Gradient before a LeakyReLU with output (or input) `y`.
inline Vector leaky_relu_backward(Vector grad, Vector y, float slope) { return y > 0 ? grad : grad * slope; }

// The first `count` lanes of a gradient before a LeakyReLU with output `sign`, or before nothing where that is null.
template <class T>
inline Vector load_gradient(const void* grad, const void* sign, float slope, int64_t offset, int64_t count) {
    const Vector value = load((const T*)grad + offset, count);
    return sign ? leaky_relu_backward(value, load((const T*)sign + offset, count), slope) : value;
}

// `value` rounded up to whole vectors.
constexpr int64_t whole_vectors(int64_t value) { return (value + LANES - 1) / LANES * LANES; }

template <class T>
struct Element {
    using type = T;
};

// Calls `function` with the `Element` of a floating-point type.
template <class Function>
inline void with_type(Type type, const Function& function) {
    switch (type) {
    case Type::float16: return function(Element<float16>());
    case Type::bfloat16: return function(Element<bfloat16>());
    default: return function(Element<float>());
    }
}

// Asks for an element that will be read soon; it may lie beyond the end.
template <class T>
inline void prefetch(const T* start, int64_t offset) {
    __builtin_prefetch((const void*)((uintptr_t)start + offset * sizeof(T)));
}

// The same for `count` elements that follow each other.
template <class T>
inline void prefetch_range(const T* start, int64_t offset, int64_t count) {
    for (int64_t i = 0; i < count; i += 64 / sizeof(T)) prefetch(start, offset + i);
}

// Calls `function` with the size of a filter as a type.
template <class Function>
inline void with_size(int64_t size, const Function& function) {
    switch (size) {
    case 1: return function(Size<1>());
    case 3: return function(Size<3>());
    case 5: return function(Size<5>());
    default: return function(Size<7>());
    }
}

// Memory that a thread needs for a while, aligned to vectors and of as many floats as asked for. Where there is none it
// throws the number of bytes: a class would be a weak symbol, which instruction sets would share.
class Scratch {
public:
    explicit Scratch(int64_t floats) : memory_(__builtin_malloc((floats + 16) * sizeof(float))) {
        if (memory_ == nullptr) throw (int64_t)((floats + 16) * sizeof(float));
    }
    ~Scratch() { __builtin_free(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    float* data() const { return (float*)(((uintptr_t)memory_ + 63) & ~(uintptr_t)63); }

private:
    void* memory_;
};

} // namespace
} // namespace dasr_fast
