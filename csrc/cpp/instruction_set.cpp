#include "instruction_set.h"

#ifndef DASR_FAST_KERNELS

#include <torch/csrc/stable/library.h>

#include <cstdlib>
#include <cstring>

#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef __GLIBC__
// libstdc++ asks glibc 2.32 and newer whether a process has one thread alone. Here the answer is no, and the library
// loads with an older glibc too.
extern "C" {
[[gnu::visibility("hidden")]] char __libc_single_threaded = 0;
}
#endif

namespace dasr_fast {

// Whether the processor has tiles and vectors of bfloat16, and the system lets this process use the tiles' registers.
[[maybe_unused]] static bool may_use_amx() {
#if defined(__linux__) && defined(__x86_64__)
    constexpr unsigned tiles = 1u << 24, tiles_of_bfloat16 = 1u << 22, vectors_of_bfloat16 = 1u << 5;
    constexpr long request = 0x1023, registers = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & tiles) || !(d & tiles_of_bfloat16)) return false;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & vectors_of_bfloat16)) return false;
    return syscall(SYS_arch_prctl, request, registers) == 0;
#else
    return false;
#endif
}

static InstructionSet detect() {
    const char* wanted = std::getenv("ATEN_CPU_CAPABILITY");
    if (wanted != nullptr && std::strcmp(wanted, "default") == 0) return InstructionSet::baseline;
#ifdef __x86_64__
#ifdef DASR_FAST_HAS_avx512
    const bool narrow = wanted != nullptr && std::strcmp(wanted, "avx2") == 0;
    if (!narrow && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
#ifdef DASR_FAST_HAS_amx
        if (wanted == nullptr && may_use_amx()) return InstructionSet::amx;
#endif
        return InstructionSet::avx512;
    }
#endif
#ifdef DASR_FAST_HAS_avx2
    // Every processor with AVX2 has F16C too, which clang can't be asked about.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::avx2;
#endif
#endif
    return InstructionSet::baseline;
}

InstructionSet instruction_set() {
    static const InstructionSet best = detect();
    return best;
}

static int64_t number_of_instruction_set() { return static_cast<int64_t>(instruction_set()); }

STABLE_TORCH_LIBRARY_IMPL(dasr_fast_cpp, CompositeExplicitAutograd, m) {
    m.impl("instruction_set", TORCH_BOX(&number_of_instruction_set));
}

} // namespace dasr_fast

#endif
