// Three planted races for the thread sanitizer, which must find the one that the argument names; "none" has no race.
#include <cstdio>
#include <string>
#include <vector>

#include "cuda/core/launch.hpp"

namespace {

// Neighbours exchange values through shared memory. What keeps write and read apart?
template <bool block_barrier, bool warp_barrier, bool shuffle>
__global__ void exchange_kernel(double* x) {
    __shared__ double copy[64];
    copy[threadIdx.x] = x[threadIdx.x];
    if (block_barrier) __syncthreads();
    if (warp_barrier) __syncwarp();
    if (shuffle) x[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);  // moves values, orders no memory
    x[threadIdx.x] = copy[threadIdx.x ^ 1];
}

// Both threads of a pair write the same element.
__global__ void clash_kernel(double* x) { x[threadIdx.x / 2] = 1.0; }

}  // namespace

int main(int, char** argument) {
    const std::string race = argument[1];
    std::vector<double> x(64);
    using nnqft::cuda::launch;
    const cudaError_t status = race == "nothing"   ? launch({2, 1, 64}, exchange_kernel<false, false, false>, x.data())
                               : race == "shuffle" ? launch({2, 1, 64}, exchange_kernel<false, false, true>, x.data())
                               : race == "clash"   ? launch({2, 1, 64}, clash_kernel, x.data())
                               : race == "none"    ? launch({2, 1, 64}, exchange_kernel<false, true, true>, x.data())
                                                   : launch({2, 1, 64}, exchange_kernel<true, false, false>, x.data());
    std::printf("%s: %s\n", race.c_str(), cudaGetErrorName(status));
    return status != cudaSuccess;
}
