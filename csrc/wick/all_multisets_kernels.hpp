// Rows of G_n(i1..in), contiguous in the last index: the inner loops of all_multisets.cpp, once per instruction set.
//
// A value i is written as its distance from the last one, z = m-1-i, and an entry by its distance from the end of the
// tensor, sum_k N(z_k, n-k+1) with N(m, n) = C(m+n-1, n) (multiset.hpp). Tensors are filled from their ends, so that a
// register which holds a row's last values may spill over its front: what lies there is written later.
#pragma once

#include <cstdint>

namespace nnqft {

// Kernel rows are padded in front to whole registers of the widest set: `stride` is a multiple of kMultisetLanes, and the
// last m entries of a row are K(i, 0..m-1). `K` is the row of the last value, so that the row of distance x is K - x stride.
constexpr int kMultisetLanes = 8;
constexpr int kMaxStreams = 64;

struct PaddedKernel {
    const double* K;
    std::int64_t stride;
};

// One term c(b) A(pair) of the recursion, for the pairs that come before the last index b: `lower` is where A ends, and
// `row` holds c.
struct MultisetStream {
    const double* lower;
    const double* row;
};

// All entries (t, z, x, y, b) with first <= z <= last, x, y, b behind z, for fixed leading indices t:
//   out(b) = sum_s stream_s(x, y) row_s(b) + tail(z; x, y) K(z, b) + tail(z; y) K(x, b) + tail(z; x) K(y, b),
// where tail = G_{n-2}(t, ..). Pointers are those of z = 0. Streams move on with z, as the blocks of `out` do.
struct MultisetSweep {
    int n_streams;
    const MultisetStream* streams;
    const double* tail;
    PaddedKernel kernel;
    std::int64_t first, last;
    double* out;
    const double* floor;  // nothing below may be touched
};

// The entries (x, y, b) with first <= x <= last of order 3: mu(b) G2(x, y) + mu(y) K(x, b) + mu(x) K(y, b). `mu` is padded
// like a row of the kernel; G2 and `out` point to the ends of whole tensors.
struct TripleSweep {
    const double* G2;
    const double* mu;
    PaddedKernel kernel;
    std::int64_t first, last;
    double* out;
    const double* floor;
};

// avx2 and avx512 exist where the build has them.
namespace scalar {
void fill_multisets(const MultisetSweep& sweep);
void fill_triples(const TripleSweep& sweep);
}  // namespace scalar
namespace avx2 {
void fill_multisets(const MultisetSweep& sweep);
void fill_triples(const TripleSweep& sweep);
}  // namespace avx2
namespace avx512 {
void fill_multisets(const MultisetSweep& sweep);
void fill_triples(const TripleSweep& sweep);
}  // namespace avx512

}  // namespace nnqft
