// Kernels on the CPU. A block at a time, one fibre per thread that has to wait; every thread runs until it meets a barrier,
// a warp operation or its end. A kernel that no device could finish, or whose result would depend on luck, fails the launch
// with a message: a barrier that some threads of the block never reach, a warp operation that a lane of its mask never
// reaches, a shuffle from a lane outside the mask.
//
// Two ways to find races: run the threads in another order (set_order, or NNQFT_EMULATION_ORDER=reverse|shuffled) and compare
// the results; or build with NNQFT_RACES=ON, which then sees every CUDA thread as a thread of its own, ordered with
// the rest of its block by __syncthreads and __syncwarp only.
#pragma once

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

namespace nnqft::emulation {

struct Grid {
    unsigned blocks, blocks_y, threads;
    size_t shared;  // bytes of dynamic shared memory; each block finds them (and static shared arrays) full of NaN
};

// Calls body(arguments) once for every thread of the grid. Launches from several host threads take turns.
cudaError_t run(const Grid& grid, const void* kernel, void (*body)(void*), void* arguments) noexcept;

enum class Order { forward, reverse, shuffled };
void set_order(Order order, uint64_t seed = 0) noexcept;  // of threads and of blocks, from the next launch on

struct Site {  // where a thread waits
    const char* function;
    const char* file;
    int line;
    // As a default argument: the place of the call.
    static constexpr Site here(const char* function = __builtin_FUNCTION(), const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return {function, file, line};
    }
};

void* dynamic_shared() noexcept;

struct Votes {
    int count, all;  // threads of the block with a predicate, and whether these are all
};
Votes block_barrier(bool predicate, Site site) noexcept;

// `value` of lane `source`, or the reduction of `value` over the lanes of `mask`; all of them must call it alike.
enum class WarpOperation { sync, shuffle, ballot, add, least, greatest, conjunction, disjunction, parity, match };
uint64_t warp_exchange(WarpOperation operation, unsigned mask, uint64_t value, unsigned source, Site site) noexcept;

unsigned lane() noexcept;

[[noreturn]] void trap(const char* what, Site site) noexcept;  // ends the launch

}  // namespace nnqft::emulation
