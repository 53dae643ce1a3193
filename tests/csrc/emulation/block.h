// The constructs of `csrc/cuda/device.h` on a CPU, made to notice mistakes.
//
// The threads of a block are fibers that take turns: each runs until it waits for its warp or its block. The order of
// turns is drawn anew at each wait, so that a missing barrier gives a wrong result with some seed. Shared memory has
// exactly the size asked for, and bytes that nobody wrote are NaN. What waits for others that never come, or is
// misaligned, aborts with a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "numbers.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace dasr_fast {

struct Stream {};

namespace emulation {

struct Place {
    const char* file;
    int line;
};

extern int seed;
extern int multiprocessors;
extern std::size_t most_shared_memory;

[[noreturn]] void fail(const char* what);
void check_alignment(const void* pointer, std::size_t bytes, const char* what);
void run_grid(dim3 grid, int threads, std::size_t shared_bytes, const std::function<void()>& thread);
void wait_for_block(Place place);
// Waits until all threads of the warp are at `place`; then `perform` gets what each of them gave as `mine`.
void wait_for_warp(Place place, void* mine, void (*perform)(void* const* lanes));
void start_copy(void* destination, const void* source);
void end_group_of_copies();
void finish_copies(std::size_t groups_left);
void load_matrices(Place place, std::uint32_t (&r)[4], const void* row, bool transposed);
void multiply(Place place, float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              float (*value)(std::uint16_t bits));
float shuffle(Place place, float value, int (*source)(int lane, int parameter), int parameter);

}  // namespace emulation

#define DASR_FAST_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

unsigned char* shared_memory();

inline float shuffle_xor(float value, int mask, DASR_FAST_PLACE) {
    return emulation::shuffle({file, line}, value, [](int lane, int mask) { return lane ^ mask; }, mask);
}

inline float shuffle_down(float value, int delta, DASR_FAST_PLACE) {
    return emulation::shuffle({file, line}, value, [](int lane, int delta) { return lane + delta; }, delta);
}

inline void copy_async_16(void* shared_destination, const void* global_source, bool valid) {
    emulation::check_alignment(shared_destination, 16, "the destination of an asynchronous copy");
    if (valid) emulation::check_alignment(global_source, 16, "the source of an asynchronous copy");
    emulation::start_copy(shared_destination, valid ? global_source : nullptr);
}

inline void copy_async_commit() { emulation::end_group_of_copies(); }

template <int N>
void copy_async_wait() {
    emulation::finish_copies(N);
}

inline void load_matrix_x4(std::uint32_t (&r)[4], const void* row, DASR_FAST_PLACE) {
    emulation::load_matrices({file, line}, r, row, false);
}

inline void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row, DASR_FAST_PLACE) {
    emulation::load_matrices({file, line}, r, row, true);
}

template <typename T>
void multiply_16x8x16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], DASR_FAST_PLACE) {
    emulation::multiply({file, line}, d, a, b, [](std::uint16_t bits) { return to_float(T{bits}); });
}

inline int sm_count() { return emulation::multiprocessors; }
inline std::size_t max_shared_memory() { return emulation::most_shared_memory; }

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes, Stream,
            Arguments... arguments) {
    emulation::run_grid(grid, threads, shared_bytes, [=] { kernel(static_cast<Parameters>(arguments)...); });
}

}  // namespace dasr_fast

inline void __syncthreads(DASR_FAST_PLACE) { dasr_fast::emulation::wait_for_block({file, line}); }
inline void __syncwarp(DASR_FAST_PLACE) {
    dasr_fast::emulation::wait_for_warp({file, line}, nullptr, [](void* const*) {});
}
