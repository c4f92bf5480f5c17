// Products with a sparse matrix in CSR form on a device. cuSPARSE does not promise the same bits for its default algorithm;
// here a row is summed by `lanes` threads, entries 0, lanes, ... in the first, then by halves: one order, for any number of vectors.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace nnqft::cuda {

// The entries of row i lie at [start[i], start[i + 1]). Pointers to device memory; indices are the caller's to check.
template <class T, class I>  // float or double; int32_t or int64_t
struct CsrMatrix {
    std::int64_t n;
    const I* start;
    const I* column;
    const T* value;
};

// Threads for a row that has `entries` on average: a power of two up to 32.
int csr_lanes(double entries);

// Y = A X for vectors (vectors, n); sums in float64. Takes n < 2^31 lanes^-1 2^8 and vectors < 2^18.
template <class T, class I>
cudaError_t csr_apply(const CsrMatrix<T, I>& A, int lanes, std::int64_t vectors, const T* X, T* Y, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
