// What device code is written in: the few constructs of CUDA that the kernels use, on a GPU, and, as plain C++, in the
// emulation of thread blocks that tests them on a CPU. Functions in a `.cuh` are templates or inline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <type_traits>

#ifdef __CUDACC__
#include "gpu.h"
#else
#include "block.h"
#endif

namespace dasr_fast {

constexpr int WARP = 32;

// N neighbours in memory, read and written in one access of up to 16 bytes.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
    T values[N];
};

template <typename T>
__device__ __forceinline__ Vector<T, 16 / sizeof(T)> load_16(const T* pointer) {
    return *reinterpret_cast<const Vector<T, 16 / sizeof(T)>*>(pointer);
}

template <typename T>
__device__ __forceinline__ void store_16(T* pointer, const Vector<T, 16 / sizeof(T)>& value) {
    *reinterpret_cast<Vector<T, 16 / sizeof(T)>*>(pointer) = value;
}

template <typename T>
__host__ __device__ constexpr T ceil_divide(T a, T b) {
    return (a + b - 1) / b;
}

template <typename T>
__host__ __device__ constexpr T minimum(T a, T b) {
    return a < b ? a : b;
}

template <typename T>
__host__ __device__ constexpr T maximum(T a, T b) {
    return a > b ? a : b;
}

// Whether every one of the pointers is a multiple of `bytes`; null is.
template <typename... Pointers>
bool aligned_to(std::size_t bytes, const Pointers*... pointers) {
    return ((reinterpret_cast<std::uintptr_t>(pointers) % bytes == 0) && ...);
}

}  // namespace dasr_fast
