// Products of matrices in shared memory by the four warps of a warpgroup: wgmma, which compute capability 9.0 alone
// has, and only code compiled for 9.0a may use. Part of `gpu.h`.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace dasr_fast {

using half_t = __half;
using bfloat16_t = __nv_bfloat16;

// Whether the code being compiled may use what follows. The kernel of another architecture must not be launched.
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool HAS_WGMMA = false;
#else
constexpr bool HAS_WGMMA = true;
#endif

// Address of shared memory in its own address space.
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Makes what this thread wrote to shared memory visible to wgmma; of other threads, after a barrier.
__device__ __forceinline__ void wgmma_fence_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

namespace wgmma {

// Nothing that computes with d is moved across.
template <int COUNT>
__device__ __forceinline__ void keep_in_place(float (&d)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

}  // namespace wgmma

// Before the first product that adds to d.
template <int COUNT>
__device__ __forceinline__ void wgmma_begin(float (&d)[COUNT]) {
    wgmma::keep_in_place(d);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// After the last product.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits for all products up to `wgmma_commit`; d must not be touched earlier, nor their matrices be overwritten.
template <int COUNT>
__device__ __forceinline__ void wgmma_wait(float (&d)[COUNT]) {
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    wgmma::keep_in_place(d);
}

#define DASR_FAST_TEN(tens) \
    "%" tens "0, %" tens "1, %" tens "2, %" tens "3, %" tens "4, %" tens "5, %" tens "6, %" tens "7, %" tens "8, %" \
    tens "9, "
#define DASR_FAST_FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define DASR_FAST_TWENTY(i) \
    DASR_FAST_FOUR(i), DASR_FAST_FOUR(i + 4), DASR_FAST_FOUR(i + 8), DASR_FAST_FOUR(i + 12), DASR_FAST_FOUR(i + 16)
#define DASR_FAST_WGMMA(TYPE, NAME, N, REGISTERS, A, B, ...)                                                          \
    template <>                                                                                                       \
    __device__ __forceinline__ void wgmma_64xNx16<N, TYPE>(float (&d)[N / 2], std::uint64_t a, std::uint64_t b) {     \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." NAME "." NAME " {" REGISTERS "}, " A ", " B    \
                     ", 1, 1, 1, 0, 0;"                                                                               \
                     : __VA_ARGS__                                                                                    \
                     : "l"(a), "l"(b));                                                                               \
    }
#define DASR_FAST_WGMMA_OF_BOTH_TYPES(...)         \
    DASR_FAST_WGMMA(half_t, "f16", __VA_ARGS__)    \
    DASR_FAST_WGMMA(bfloat16_t, "bf16", __VA_ARGS__)

// d += a b by four warps, of which the first has a number divisible by four; in fragments as PTX lays out m64nNk16.
// Matrices are given by `matrix_descriptor`, a's rows and b's columns of 16 numbers. T is half_t or bfloat16_t.
template <int N, typename T>
__device__ __forceinline__ void wgmma_64xNx16(float (&d)[N / 2], std::uint64_t a, std::uint64_t b);

DASR_FAST_WGMMA_OF_BOTH_TYPES(72, DASR_FAST_TEN("") DASR_FAST_TEN("1") DASR_FAST_TEN("2")
                              "%30, %31, %32, %33, %34, %35",
                              "%36", "%37", DASR_FAST_TWENTY(0), DASR_FAST_FOUR(20), DASR_FAST_FOUR(24),
                              DASR_FAST_FOUR(28), DASR_FAST_FOUR(32))

DASR_FAST_WGMMA_OF_BOTH_TYPES(112, DASR_FAST_TEN("") DASR_FAST_TEN("1") DASR_FAST_TEN("2") DASR_FAST_TEN("3")
                              DASR_FAST_TEN("4") "%50, %51, %52, %53, %54, %55",
                              "%56", "%57", DASR_FAST_TWENTY(0), DASR_FAST_TWENTY(20), DASR_FAST_FOUR(40),
                              DASR_FAST_FOUR(44), DASR_FAST_FOUR(48), DASR_FAST_FOUR(52))

DASR_FAST_WGMMA_OF_BOTH_TYPES(184, DASR_FAST_TEN("") DASR_FAST_TEN("1") DASR_FAST_TEN("2") DASR_FAST_TEN("3")
                              DASR_FAST_TEN("4") DASR_FAST_TEN("5") DASR_FAST_TEN("6") DASR_FAST_TEN("7")
                              DASR_FAST_TEN("8") "%90, %91",
                              "%92", "%93", DASR_FAST_TWENTY(0), DASR_FAST_TWENTY(20), DASR_FAST_TWENTY(40),
                              DASR_FAST_TWENTY(60), DASR_FAST_FOUR(80), DASR_FAST_FOUR(84), DASR_FAST_FOUR(88))

DASR_FAST_WGMMA_OF_BOTH_TYPES(216, DASR_FAST_TEN("") DASR_FAST_TEN("1") DASR_FAST_TEN("2") DASR_FAST_TEN("3")
                              DASR_FAST_TEN("4") DASR_FAST_TEN("5") DASR_FAST_TEN("6") DASR_FAST_TEN("7")
                              DASR_FAST_TEN("8") DASR_FAST_TEN("9")
                              "%100, %101, %102, %103, %104, %105, %106, %107",
                              "%108", "%109", DASR_FAST_TWENTY(0), DASR_FAST_TWENTY(20), DASR_FAST_TWENTY(40),
                              DASR_FAST_TWENTY(60), DASR_FAST_TWENTY(80), DASR_FAST_FOUR(100), DASR_FAST_FOUR(104))

#undef DASR_FAST_TEN
#undef DASR_FAST_FOUR
#undef DASR_FAST_TWENTY
#undef DASR_FAST_WGMMA
#undef DASR_FAST_WGMMA_OF_BOTH_TYPES

}  // namespace dasr_fast
