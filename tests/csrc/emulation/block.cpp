#include "block.h"

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace dasr_fast {
namespace emulation {

int seed = 0;
int multiprocessors = 4;
std::size_t most_shared_memory = 227 * 1024;

namespace {

constexpr int LANES = 32;
constexpr std::size_t STACK_BYTES = 256 * 1024;

struct Copy {
    void* destination;
    const void* source;  // Null for zeros.
};

enum class State { ready, at_block, at_warp, ended };

struct Fiber {
    ucontext_t start;
    void* jump[5];
    bool started = false;
    void* stack = nullptr;
    void* sanitizer_stack = nullptr;
    State state = State::ready;
    Place place{};
    void* mine = nullptr;
    void (*perform)(void* const*) = nullptr;
    std::vector<Copy> open_group;
    std::deque<std::vector<Copy>> groups;
};

std::vector<std::unique_ptr<Fiber>> fibers;
int current = 0;
const std::function<void()>* thread_function = nullptr;
unsigned char* shared = nullptr;

void* scheduler_jump[5];
const void* scheduler_stack = nullptr;
std::size_t scheduler_stack_bytes = 0;

// Compilers' own setjmp and longjmp: ten times as fast as swapcontext, which asks the system about signals.
__attribute__((noinline, no_sanitize("address", "undefined"))) void jump(void** to) { __builtin_longjmp(to, 1); }

__attribute__((noinline, no_sanitize("address", "undefined"))) void switch_to_scheduler(Fiber& fiber) {
    if (__builtin_setjmp(fiber.jump) == 0) jump(scheduler_jump);
}

__attribute__((noinline, no_sanitize("address", "undefined"))) void switch_to_fiber(Fiber& fiber) {
    if (__builtin_setjmp(scheduler_jump) != 0) return;
    if (fiber.started) jump(fiber.jump);
    fiber.started = true;
    setcontext(&fiber.start);
}

bool same(const Place& a, const Place& b) { return a.line == b.line && std::strcmp(a.file, b.file) == 0; }

void fiber_main() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
    (*thread_function)();
    Fiber& fiber = *fibers[current];
    fiber.state = State::ended;
    __sanitizer_start_switch_fiber(nullptr, scheduler_stack, scheduler_stack_bytes);
    jump(scheduler_jump);
}

void prepare(Fiber& fiber) {
    if (fiber.stack == nullptr) {
        fiber.stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fiber.stack == MAP_FAILED) fail("no memory is left for the stack of a thread");
    }
    __asan_unpoison_memory_region(fiber.stack, STACK_BYTES);
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack;
    fiber.start.uc_stack.ss_size = STACK_BYTES;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
    fiber.started = false;
    fiber.state = State::ready;
    fiber.open_group.clear();
    fiber.groups.clear();
}

void resume(int thread) {
    Fiber& fiber = *fibers[thread];
    current = thread;
    threadIdx = dim3(thread, 0, 0);
    void* own = nullptr;
    __sanitizer_start_switch_fiber(&own, fiber.stack, STACK_BYTES);
    switch_to_fiber(fiber);
    __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
}

void wait(State state, Place place) {
    Fiber& fiber = *fibers[current];
    fiber.state = state;
    fiber.place = place;
    __sanitizer_start_switch_fiber(&fiber.sanitizer_stack, scheduler_stack, scheduler_stack_bytes);
    switch_to_scheduler(fiber);
    __sanitizer_finish_switch_fiber(fiber.sanitizer_stack, &scheduler_stack, &scheduler_stack_bytes);
}

// All threads in [first, last) wait at the same place; false if none waits for its warp.
bool warp_is_complete(int first, int last) {
    const auto waits = [](int thread) { return fibers[thread]->state == State::at_warp; };
    int waiting = 0;
    for (int thread = first; thread < last; ++thread) waiting += waits(thread);
    if (waiting == 0) return false;
    if (waiting < last - first) fail("some threads of a warp don't come to where the others wait for them");
    for (int thread = first; thread < last; ++thread) {
        if (!same(fibers[thread]->place, fibers[first]->place)) fail("threads of a warp wait at different places");
    }
    return true;
}

// Runs a warp until its threads have ended or wait for the block.
void run_warp(int first, std::mt19937& random) {
    int order[LANES];
    for (int lane = 0; lane < LANES; ++lane) order[lane] = first + lane;
    do {
        std::shuffle(order, order + LANES, random);
        for (int thread : order) {
            Fiber& fiber = *fibers[thread];
            if (fiber.state == State::at_warp) fiber.state = State::ready;
            if (fiber.state == State::ready) resume(thread);
        }
        if (!warp_is_complete(first, first + LANES)) return;
        void* mine[LANES];
        for (int lane = 0; lane < LANES; ++lane) mine[lane] = fibers[first + lane]->mine;
        fibers[first]->perform(mine);
    } while (true);
}

void run_block(int threads, std::mt19937& random) {
    std::vector<int> warps;
    for (int first = 0; first < threads; first += LANES) warps.push_back(first);
    for (int thread = 0; thread < threads; ++thread) prepare(*fibers[thread]);
    while (true) {
        std::shuffle(warps.begin(), warps.end(), random);
        for (int first : warps) run_warp(first, random);
        const auto ended = std::count_if(fibers.begin(), fibers.begin() + threads,
                                         [](const auto& fiber) { return fiber->state == State::ended; });
        if (ended == threads) return;
        if (ended > 0) fail("some threads have ended where others wait for the block");
        for (int thread = 0; thread < threads; ++thread) {
            if (!same(fibers[thread]->place, fibers[0]->place)) fail("threads wait for the block at different places");
            fibers[thread]->state = State::ready;
        }
    }
}

}  // namespace

void fail(const char* what) {
    std::fprintf(stderr, "emulation: %s (block %u, %u, %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z);
    for (std::size_t thread = 0; thread < fibers.size() && thread < blockDim.x; ++thread) {
        const Fiber& fiber = *fibers[thread];
        const bool waits = fiber.state == State::at_block || fiber.state == State::at_warp;
        if (thread > 0 && fiber.state == fibers[thread - 1]->state && same(fiber.place, fibers[thread - 1]->place)) {
            continue;
        }
        std::fprintf(stderr, "  from thread %zu: %s %s:%d\n", thread, waits ? "waits at" : "last waited at",
                     fiber.place.file, fiber.place.line);
    }
    std::abort();
}

void check_alignment(const void* pointer, std::size_t bytes, const char* what) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0) return;
    std::fprintf(stderr, "emulation: %s is not aligned to %zu bytes\n", what, bytes);
    std::abort();
}

void run_grid(dim3 grid, int threads, std::size_t shared_bytes, const std::function<void()>& thread) {
    if (threads <= 0 || threads > 1024 || threads % LANES != 0) fail("a block has 32 to 1024 threads in whole warps");
    if (shared_bytes > most_shared_memory) fail("a block asks for more shared memory than there is");
    if (grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535) fail("the grid is too large");
    std::mt19937 random(seed);
    while (fibers.size() < std::size_t(threads)) {
        fibers.push_back(std::make_unique<Fiber>());
        fibers.back()->place = {"", 0};
    }
    gridDim = grid;
    blockDim = dim3(threads);
    thread_function = &thread;
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                void* memory = nullptr;
                if (posix_memalign(&memory, 128, shared_bytes) != 0) fail("no memory is left for a block");
                if (shared_bytes > 0) std::memset(memory, 0xFF, shared_bytes);
                shared = static_cast<unsigned char*>(memory);
                run_block(threads, random);
                std::free(memory);
            }
        }
    }
}

void wait_for_block(Place place) { wait(State::at_block, place); }

void wait_for_warp(Place place, void* mine, void (*perform)(void* const*)) {
    fibers[current]->mine = mine;
    fibers[current]->perform = perform;
    wait(State::at_warp, place);
}

void start_copy(void* destination, const void* source) {
    std::memset(destination, 0xFF, 16);
    fibers[current]->open_group.push_back({destination, source});
}

void end_group_of_copies() {
    Fiber& fiber = *fibers[current];
    fiber.groups.push_back(std::move(fiber.open_group));
    fiber.open_group.clear();
}

void finish_copies(std::size_t groups_left) {
    Fiber& fiber = *fibers[current];
    for (; fiber.groups.size() > groups_left; fiber.groups.pop_front()) {
        for (const Copy& copy : fiber.groups.front()) {
            if (copy.source == nullptr) {
                std::memset(copy.destination, 0, 16);
            } else {
                std::memcpy(copy.destination, copy.source, 16);
            }
        }
    }
}

float shuffle(Place place, float value, int (*source)(int lane, int parameter), int parameter) {
    struct Exchange {
        float value, result;
        int (*source)(int, int);
        int parameter;
    } mine{value, value, source, parameter};
    wait_for_warp(place, &mine, [](void* const* lanes) {
        for (int lane = 0; lane < LANES; ++lane) {
            auto& exchange = *static_cast<Exchange*>(lanes[lane]);
            const int from = exchange.source(lane, exchange.parameter);
            if (0 <= from && from < LANES) exchange.result = static_cast<Exchange*>(lanes[from])->value;
        }
    });
    return mine.result;
}

}  // namespace emulation

unsigned char* shared_memory() { return emulation::shared; }

}  // namespace dasr_fast
