// Gaussian n-point functions of every multiset of legs on a device, with the bits of csrc/wick/all_multisets.cpp: its order of additions.
//
// A thread has an entry: it finds the legs from the entry's number and adds n - 1 products, or n with a mean. Neighbours differ in the last leg, so
// that they read the same numbers of order n - 2 and neighbouring ones of K. About 40 n instructions an entry: some 1e11 entries per second
// on an H200 at n = 6, against 4.8e12 bytes per second of memory, which would do for 6e11.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace nnqft::cuda {

// N(x, k) = C(x+k-1, k) for x <= m, k <= order, row by row of k: what the functions below expect at `counts`, on the device.
std::vector<std::int64_t> multiset_counts(std::int64_t m, int order);

// What is there already, on the device: K (m, m), both triangles; mu (m) or null; G of orders n - 1 (with a mean) and n - 2.
struct MultisetTheory {
    std::int64_t m;
    const double *K, *mu;
    const std::int64_t* counts;
    const double *below, *second;
};

// Entries first .. last - 1 of order n, 1 <= n <= 64, even without a mean; out points to entry 0. If `exponents` (m) is not null, each is then scaled by
// the power of two of the sum of its legs' exponents.
cudaError_t all_multisets(int n, const MultisetTheory& theory, std::int64_t first, std::int64_t last, const std::int32_t* exponents, double* out,
                          cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
