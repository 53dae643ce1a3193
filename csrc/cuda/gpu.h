// The constructs of `device.h` on an NVIDIA GPU of compute capability 8.0 or later.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace dasr_fast {

using half_t = __half;
using bfloat16_t = __nv_bfloat16;
using Stream = cudaStream_t;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(half_t value) { return __half2float(value); }
__device__ __forceinline__ float to_float(bfloat16_t value) {
    return __uint_as_float(std::uint32_t(__bfloat16_as_ushort(value)) << 16);
}

// Rounds to the nearest, ties to even.
template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) { return value; }
template <>
__device__ __forceinline__ half_t from_float<half_t>(float value) { return __float2half_rn(value); }
template <>
__device__ __forceinline__ bfloat16_t from_float<bfloat16_t>(float value) { return __float2bfloat16_rn(value); }

// Two 16-bit numbers in a register, `low` first in memory.
template <typename T>
__device__ __forceinline__ std::uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ std::uint32_t pack<half_t>(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ std::uint32_t pack<bfloat16_t>(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// One of the two 16-bit numbers in a register.
template <typename T>
__device__ __forceinline__ float unpack(std::uint32_t pair, bool high);
template <>
__device__ __forceinline__ float unpack<half_t>(std::uint32_t pair, bool high) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(high ? pair >> 16 : pair)));
}
template <>
__device__ __forceinline__ float unpack<bfloat16_t>(std::uint32_t pair, bool high) {
    return __uint_as_float(high ? pair & 0xFFFF0000u : pair << 16);
}

// The number with these bits.
__device__ __forceinline__ float float_of(std::uint32_t bits) { return __uint_as_float(bits); }

// The block's dynamic shared memory, aligned to 128 bytes.
__device__ __forceinline__ unsigned char* shared_memory() {
    extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
    return dynamic_shared_memory;
}

// All 32 threads of the warp must take part.
__device__ __forceinline__ float shuffle_xor(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
__device__ __forceinline__ float shuffle_down(float value, int delta) { return __shfl_down_sync(~0u, value, delta); }

// Starts to copy 16 bytes; writes zeros, and reads nothing, unless `valid`.
__device__ __forceinline__ void copy_async_16(void* shared_destination, const void* global_source, bool valid) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_destination));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global_source),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

// Ends a group of copies.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's groups but the last N; other threads' copies need a barrier after it.
template <int N>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Loads four 8x8 matrices of 16-bit numbers; thread i gives row i % 8 of matrix i / 8, of 16 bytes, and gets elements
// 2 (i % 4) and the next of row i / 4 of each.
__device__ __forceinline__ void load_matrix_x4(std::uint32_t (&r)[4], const void* row) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// The same of the transposed matrices.
__device__ __forceinline__ void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// d += a b on the tensor cores, in fragments as PTX lays out m16n8k16; T is half_t or bfloat16_t.
template <typename T>
__device__ __forceinline__ void multiply_16x8x16(float (&d)[4], const std::uint32_t (&a)[4],
                                                 const std::uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void multiply_16x8x16<half_t>(float (&d)[4], const std::uint32_t (&a)[4],
                                                         const std::uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void multiply_16x8x16<bfloat16_t>(float (&d)[4], const std::uint32_t (&a)[4],
                                                             const std::uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

inline void check(cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // Or the next launch would report it again.
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

inline int device_attribute(cudaDeviceAttr attribute) {
    int device = 0, value = 0;
    check(cudaGetDevice(&device));
    check(cudaDeviceGetAttribute(&value, attribute, device));
    return value;
}

// Multiprocessors of the current device.
inline int sm_count() { return device_attribute(cudaDevAttrMultiProcessorCount); }

// Bytes of shared memory that a block can have on the current device.
inline std::size_t max_shared_memory() { return device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }

// Runs `kernel` on a grid of blocks (none if the grid is empty) of a whole number of warps.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes, Stream stream,
            Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared_bytes > 48 * 1024) {
        // The limit is the kernel's, whose other launches, in other threads, may have other sizes.
        const int most = int(max_shared_memory());
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
    }
    kernel<<<grid, threads, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
    check(cudaGetLastError());
}

}  // namespace dasr_fast
