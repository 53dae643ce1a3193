// One source, several instruction sets: every <op>.cpp is compiled once for each set, with DASR_FAST_KERNELS naming
// it, and once more without for the binding, which takes the best set that this processor has.
#pragma once

#include <cstdint>

#define DASR_FAST_JOIN_(a, b) a##b
#define DASR_FAST_JOIN(a, b) DASR_FAST_JOIN_(a, b)

namespace dasr_fast {

enum class InstructionSet : int64_t { baseline, avx2, avx512, amx };

// The best of this processor, or less where the environment variable ATEN_CPU_CAPABILITY, which is PyTorch's own, says
// so.
InstructionSet instruction_set();

// Work of the items [begin, end) of a problem.
template <class Problem>
using Work = void (*)(const Problem&, int64_t begin, int64_t end);

} // namespace dasr_fast

#ifdef DASR_FAST_HAS_amx
#define DASR_FAST_IF_AMX(...) __VA_ARGS__
#else
#define DASR_FAST_IF_AMX(...)
#endif
#ifdef DASR_FAST_HAS_avx512
#define DASR_FAST_IF_AVX512(...) __VA_ARGS__
#else
#define DASR_FAST_IF_AVX512(...)
#endif
#ifdef DASR_FAST_HAS_avx2
#define DASR_FAST_IF_AVX2(...) __VA_ARGS__
#else
#define DASR_FAST_IF_AVX2(...)
#endif

// Defines `best_<name>()`: the function `name` of the best instruction set.
#define DASR_FAST_BEST(name, Problem)                                                                   \
    namespace baseline {                                                                                \
    void name(const Problem&, int64_t, int64_t);                                                        \
    }                                                                                                   \
    DASR_FAST_IF_AVX2(namespace avx2 { void name(const Problem&, int64_t, int64_t); })                  \
    DASR_FAST_IF_AVX512(namespace avx512 { void name(const Problem&, int64_t, int64_t); })              \
    DASR_FAST_IF_AMX(namespace amx { void name(const Problem&, int64_t, int64_t); })                    \
    static Work<Problem> best_##name() {                                                                \
        switch (instruction_set()) {                                                                    \
        case InstructionSet::amx: DASR_FAST_IF_AMX(return amx::name;) [[fallthrough]];                  \
        case InstructionSet::avx512: DASR_FAST_IF_AVX512(return avx512::name;) [[fallthrough]];         \
        case InstructionSet::avx2: DASR_FAST_IF_AVX2(return avx2::name;) [[fallthrough]];               \
        default: return baseline::name;                                                                 \
        }                                                                                               \
    }
