// Many hafnians at once: of index tuples over one kernel, or of many small matrices; and the vector-Jacobian products of both.
//
// Every result has the bits that it has alone (small.hpp), for any number of threads. Derivatives are summed over blocks of tuples whose
// sizes depend on the work alone. Errors name the first bad entry of a block.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace nnqft {

// Called every 50 ms of long work; throws to abandon it.
using BatchPoll = std::function<void()>;

struct BatchRun {
    unsigned threads = 0;  // 0: as many as this process may use
    double max_seconds = 3600.0;
    BatchPoll poll;
};

// `count` tuples of n indices into K (m, m), C-contiguous, each index int32 or int64.
struct IndexBatch {
    const double* K;
    const double* mu;  // (m), or null
    std::int64_t m;
    const void* index;
    bool wide;  // int64
    std::int64_t count, n;
};

// `count` matrices (n, n), or their n (n-1) / 2 entries above the diagonal, row by row; C-contiguous. The diagonal is not read.
struct MatrixBatch {
    const double* K;
    const double* mu;  // (count, n), or null
    bool packed;
    std::int64_t count, n;
};

// out (count). ArgumentError if a number is not finite, a matrix not symmetric (up to 1e-12 of the smaller of the two rows' largest
// entries), an index out of range, or, for n > 12, the work longer than max_seconds.
void index_hafnians(const IndexBatch& batch, const BatchRun& run, double* out);
void matrix_hafnians(const MatrixBatch& batch, const BatchRun& run, double* out);

// Of sum_b g_b haf_b. K_bar like K, zeroed by the caller; off the diagonal K_ij and K_ji are one variable, and each of the two slots takes
// half of its derivative; packed entries take all. mu_bar like mu, or null.
void index_hafnians_vjp(const IndexBatch& batch, const double* g, const BatchRun& run, double* K_bar, double* mu_bar);
void matrix_hafnians_vjp(const MatrixBatch& batch, const double* g, const BatchRun& run, double* K_bar, double* mu_bar);

}  // namespace nnqft
