// normal_numbers: the counter-based generator Philox4x32-10, and Box and Muller's transform. An item is PAIRS pairs of
// numbers of a seed.
#include <algorithm>
#include <cstdint>

#include "instruction_set.h"

namespace dasr_fast {

constexpr int64_t PAIRS = 8192;

struct NormalNumbers {
    int64_t count, pairs, items; // Of a seed.
    const int64_t* seed;
    float* y; // [B, count]: the cosines of all pairs, then the sines.
};

} // namespace dasr_fast

#ifdef DASR_FAST_KERNELS

#include "functions.h"

namespace dasr_fast {
namespace {

constexpr int ROUNDS = 10;

typedef uint64_t Words __attribute__((vector_size(4 * LANES))); // In their lower halves, 32 bits each.

inline Words product(Words a, uint64_t factor) {
#if defined(__AVX512F__)
    return (Words)_mm512_maskz_mul_epu32(0xff, (__m512i)a, _mm512_set1_epi64((int64_t)factor));
#elif defined(__AVX2__)
    return (Words)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x((int64_t)factor));
#else
    return (a & 0xffffffff) * factor;
#endif
}

typedef Words Keys[ROUNDS][2];

inline void make_keys(uint64_t seed, Keys& keys) {
    for (uint64_t round = 0; round < ROUNDS; ++round) {
        keys[round][0] = Words{} + ((seed & 0xffffffff) + round * 0x9E3779B9);
        keys[round][1] = Words{} + ((seed >> 32) + round * 0xBB67AE85);
    }
}

// Four words of each counter. Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
inline void philox(const Keys& keys, Words (&c)[4]) {
    for (int round = 0; round < ROUNDS; ++round) {
        const Words first = product(c[0], 0xD2511F53), second = product(c[2], 0xCD9E8D57);
        c[0] = (second >> 32) ^ c[1] ^ keys[round][0], c[2] = (first >> 32) ^ c[3] ^ keys[round][1];
        c[1] = second, c[3] = first;
    }
}

// Lower halves of both, in turns.
inline Bits in_turns(Words even, Words odd) { return (Bits)((even & 0xffffffff) | (odd << 32)); }

// sqrt(-2 log(u)) of u = (floor(bits / 256) + 1) / 2^24, with the logarithm of Cephes' logf.
inline Vector radius(Bits bits) {
    const Bits number = (Bits)__builtin_convertvector((Wholes)(bits >> 8) + 1, Vector);
    const Bits from_root = number - 0x3f3504f3u; // Mantissas from the root of 1/2 to that of 2.
    const Vector exponent = __builtin_convertvector(((Wholes)from_root >> 23) - 24, Vector);
    const Vector x = (Vector)((from_root & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
    Vector log = splat(7.0376836292e-2f);
    for (const float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                          2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
        log = log * x + c;
    const Vector square = x * x;
    log = log * x * square + exponent * -2.12194440e-4f - 0.5f * square + x + exponent * 0.693359375f;
    return square_root(-2.0f * log);
}

// Cosine and sine of `bits` in parts of 2^32 of a turn: the polynomials of Cephes' sinf and cosf around whole quarters.
inline void turned(Bits bits, Vector& cosine, Vector& sine) {
    const Bits quarter = (bits + 0x20000000u) >> 30;
    const Vector angle = __builtin_convertvector((Wholes)(bits - (quarter << 30)), Vector) * 0x1.921fb6p-30f;
    const Vector square = angle * angle;
    const Vector s = ((-1.9515295891e-4f * square + 8.3321608736e-3f) * square - 1.6666654611e-1f) * square * angle + angle;
    const Vector c = ((2.443315711809948e-5f * square - 1.388731625493765e-3f) * square + 4.166664568298827e-2f) * square *
            square - 0.5f * square + 1.0f;
    const Wholes odd = (Wholes)(quarter << 31) >> 31;
    cosine = (Vector)((Bits)(odd ? s : c) ^ ((quarter + 1) << 30 & 0x80000000u));
    sine = (Vector)((Bits)(odd ? c : s) ^ (quarter << 30 & 0x80000000u));
}

} // namespace

namespace DASR_FAST_KERNELS {

void normal_numbers(const NormalNumbers& p, int64_t begin, int64_t end) {
    Words lane;
    for (int i = 0; i < LANES / 2; ++i) lane[i] = i;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t sample = item / p.items, first = item % p.items * PAIRS;
        const int64_t last = std::min(first + PAIRS, p.pairs), sine_count = p.count - p.pairs;
        Keys keys;
        make_keys((uint64_t)p.seed[sample], keys);
        float *cosines = p.y + sample * p.count, *sines = cosines + p.pairs;
        for (int64_t pair = first; pair < last; pair += LANES) {
            const Words counter = lane + (uint64_t)pair / 2; // Two pairs each.
            Words c[4] = {counter, counter >> 32, Words{}, Words{}};
            philox(keys, c);
            Vector cosine, sine;
            turned(in_turns(c[1], c[3]), cosine, sine);
            const Vector r = radius(in_turns(c[0], c[2]));
            store(cosines + pair, r * cosine, last - pair);
            if (pair < sine_count) store(sines + pair, r * sine, sine_count - pair);
        }
    }
}

} // namespace DASR_FAST_KERNELS
} // namespace dasr_fast

#else

#include "binding.h"

namespace dasr_fast {

DASR_FAST_BEST(normal_numbers, NormalNumbers)

Tensor normal_numbers(Tensor seed, int64_t count) {
    seed = torch::stable::contiguous(seed);
    const Tensor y = new_sums({seed.size(0), count});
    NormalNumbers p{count, (count + 1) / 2, 0, static_cast<const int64_t*>(seed.const_data_ptr()), floats(y)};
    p.items = (p.pairs + PAIRS - 1) / PAIRS;
    run(best_normal_numbers(), p, seed.size(0) * p.items);
    return y;
}

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CPU, m) { m.impl("normal_numbers", TORCH_BOX(&normal_numbers)); }

} // namespace dasr_fast

#endif
