// Sums and maxima over the kSumThreads threads of a block and over blocks, in an order that depends on their number alone:
// lanes by halves, then warps; numbers in memory: every 32nd or kSumThreads-th in one thread, then the same.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace nnqft::cuda {
namespace {

constexpr int kSumThreads = 256;
constexpr unsigned kAllLanes = 0xffffffffu;

// The larger, or NaN if one of them is.
__device__ __forceinline__ double larger(double a, double b) { return b > a || b != b ? b : a; }

struct Add {
    __device__ double operator()(double a, double b) const { return a + b; }
};
struct Larger {
    __device__ double operator()(double a, double b) const { return larger(a, b); }
};

// In lane 0.
template <class Op>
__device__ __forceinline__ double over_warp(double x, Op op) {
    for (unsigned half = 16; half > 0; half /= 2) x = op(x, __shfl_down_sync(kAllLanes, x, half));
    return x;
}
// In all threads. Everybody may use the shared memory of the caller afterwards: this is a barrier.
template <class Op>
__device__ __forceinline__ double over_block(double x, Op op) {
    __shared__ double warps[kSumThreads / 32];
    x = over_warp(x, op);
    __syncthreads();  // from the call before
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    double all = warps[0];
    for (int i = 1; i < kSumThreads / 32; ++i) all = op(all, warps[i]);
    return all;
}
template <class Op>
__device__ __forceinline__ double over_memory(const volatile double* x, std::int64_t count, Op op) {
    double all = 0.0;
    for (std::int64_t i = threadIdx.x; i < count; i += kSumThreads) all = op(all, x[i]);
    return over_block(all, op);
}

[[maybe_unused]] __device__ double warp_sum(double x) { return over_warp(x, Add()); }
[[maybe_unused]] __device__ double block_sum(double x) { return over_block(x, Add()); }
[[maybe_unused]] __device__ double block_largest(double x) { return over_block(x, Larger()); }

// In all threads of the block.
[[maybe_unused]] __device__ double sum_of(const volatile double* x, std::int64_t count) { return over_memory(x, count, Add()); }
[[maybe_unused]] __device__ double largest_of(const volatile double* x, std::int64_t count) { return over_memory(x, count, Larger()); }
// In lane 0 of the warp.
[[maybe_unused]] __device__ double warp_sum_of(const volatile double* x, std::int64_t count) {
    double sum = 0.0;
    for (std::int64_t i = threadIdx.x % 32; i < count; i += 32) sum += x[i];
    return warp_sum(sum);
}

[[maybe_unused]] __device__ void store_block_sum(double x, double* blocks) {
    x = block_sum(x);
    if (threadIdx.x == 0) blocks[blockIdx.x] = x;
}
[[maybe_unused]] __device__ void store_block_largest(double x, double* blocks) {
    x = block_largest(x);
    if (threadIdx.x == 0) blocks[blockIdx.x] = x;
}

// True in all threads of the last of `blocks` blocks that come here; what the others wrote to memory before is visible to it.
[[maybe_unused]] __device__ bool last_ticket(std::uint32_t* ticket, unsigned blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(ticket, 1u) == blocks - 1;
        if (last) *ticket = 0;
    }
    __syncthreads();
    if (last) __threadfence();
    return last;
}

}  // namespace
}  // namespace nnqft::cuda
