// Many small hafnians on a device, n <= 12: of index tuples over one kernel, or of many matrices, with the bits of csrc/wick/small_batch.cpp.
//
// Up to 8 points a thread has a hafnian, straight-line in its registers; from 9 on a warp does, the subsets of one size in its lanes and
// all that are known in shared memory. An H200 does 1.7e13 multiply-adds per second: 2e11 hafnians of 8 points. But a tuple of n = 6 has
// 32 bytes of index and result, of which memory moves 4.8e12 per second, and 15 gathers from K: both stop at about 1e11.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nnqft::cuda {

// K (m, m) of one value for K_ij and K_ji, of which the part above the diagonal is read, and mu (m) or null: finite. Tuples of n numbers.
struct DeviceTuples {
    const double *K, *mu;
    std::int32_t m;
    const void* index;
    bool wide;  // int64, else int32
    std::int64_t count;
};

// (n, n), or n (n-1) / 2 entries above the diagonal; mu (count, n) or null. The diagonal is not read.
struct DeviceMatrices {
    const double *K, *mu;
    bool packed;
    std::int64_t count;
};

// On the device; the caller sets {INT64_MAX, 0}. What goes by `first_bad` or `wide` has NaN for a result.
struct BatchStatus {
    long long first_bad;             // the first tuple with a number out of range, or matrix with one that is not finite or not symmetric
    unsigned long long out_of_window;  // entries beyond which the plain recursion loses bits (SmallWindow): for wide_hafnians()
};

struct SmallTable {
    int inputs = 0, slots = 0, root = 0;  // slots: inputs, then subsets, by size
    int first[14] = {};                   // subset of each size, counted from the first one
    std::vector<std::uint32_t> terms;     // of each input i | j << 16; then of each term factor | rest << 16, as slots + 1, 0 being the empty set
};
SmallTable small_table(int n, bool mean);  // 9 <= n <= 12

// 1 <= n <= 12, n even without a mean. `terms`: small_table(n, mean).terms on the device, from 9 points on. `window_holds`: the numbers of all
// tuples are inside of the window, and need not be looked at.
cudaError_t tuple_hafnians(int n, const DeviceTuples& tuples, bool window_holds, const std::uint32_t* terms, BatchStatus* status, double* out, cudaStream_t stream) noexcept;
cudaError_t matrix_hafnians(int n, const DeviceMatrices& matrices, const std::uint32_t* terms, BatchStatus* status, double* out, cudaStream_t stream) noexcept;

// Those that are out of the window, whatever their size; slow.
std::size_t wide_workspace_size(int n) noexcept;
cudaError_t wide_tuple_hafnians(int n, const DeviceTuples& tuples, double* out, void* workspace, cudaStream_t stream) noexcept;
cudaError_t wide_matrix_hafnians(int n, const DeviceMatrices& matrices, double* out, void* workspace, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
