// The hafnian of few points of high multiplicity on a device: the recursion of csrc/wick/hafnian_multisets.hpp, with its bits.
//
// haf of all r' <= r lie in one table, the last point's multiplicity fastest. A row depends on rows with one or two points less of the others: a launch
// for each number of points, a thread for each row that has so many. These are small problems, and a device is no faster at them than a CPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nnqft::cuda {

constexpr int kMostRecursionPoints = 32;

struct RecursionShape {
    // ArgumentError if a multiplicity is below 1, they fall, there are too many points, or the table has more than 2^40 numbers.
    explicit RecursionShape(const std::vector<std::int32_t>& repeats);

    int points, others = 0;                          // others: points besides copies of the last one
    std::int32_t repeats[kMostRecursionPoints];
    std::int64_t stride[kMostRecursionPoints + 1];   // stride[i + 1]: of point i; stride[0]: numbers in the table
};

// table: stride[0] numbers, of which the last is the result; K (m, m), mu (m), zeros without a mean; (re, im) where complex.
cudaError_t hafnian_multisets(const RecursionShape& shape, bool complex, bool mean, const double* K, const double* mu, double* table, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
