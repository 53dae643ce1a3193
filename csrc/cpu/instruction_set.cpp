#include "instruction_set.h"

#ifndef DASR_FAST_KERNELS

#include <torch/csrc/stable/library.h>

#include <cstdlib>
#include <cstring>

namespace dasr_fast {

static InstructionSet detect() {
    const char* wanted = std::getenv("ATEN_CPU_CAPABILITY");
    if (wanted != nullptr && std::strcmp(wanted, "default") == 0) return InstructionSet::baseline;
#ifdef __x86_64__
#ifdef DASR_FAST_HAS_avx512
    const bool narrow = wanted != nullptr && std::strcmp(wanted, "avx2") == 0;
    if (!narrow && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return InstructionSet::avx512;
#endif
#ifdef DASR_FAST_HAS_avx2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
        return InstructionSet::avx2;
#endif
#endif
    return InstructionSet::baseline;
}

InstructionSet instruction_set() {
    static const InstructionSet best = detect();
    return best;
}

static int64_t number_of_instruction_set() { return static_cast<int64_t>(instruction_set()); }

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpu, CompositeExplicitAutograd, m) {
    m.impl("instruction_set", TORCH_BOX(&number_of_instruction_set));
}

} // namespace dasr_fast

#endif
