// Gaussian n-point functions of every multiset of legs at once:
//   G_n(i1 <= .. <= in) = mu(in) G_{n-1}(i1..i_{n-1}) + sum_{j<n} K(ij, in) G_{n-2}(i1..i_{n-1} without ij),
// the hafnian (with a mean, loop hafnian) of K on the legs, packed in lexicographic order (multiset.hpp).
//
// At most n-1 multiply-adds per entry (n with a mean): the legs i1..i_{n-4} that are equal share one. Nothing is
// subtracted, so the error is below 2 n ulp of the same sum over |K| and |mu|, and integers below 2^53 come out exact.
//
// Order of additions, the same whatever the instruction set and the number of threads: the distinct values among
// i1..i_{n-4} in ascending order, their K(i, in) times how often they occur; the mean; i_{n-3}; i_{n-2}, as K(i_{n-2}, in)
// G(.. i_{n-1}); i_{n-1}. The first product is rounded, the others are added with one rounding each. At order 3: the mean, i1, i2;
// at order 2 the product mu(i1) mu(i2) is rounded and K(i1, i2) added.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace nnqft {

// Bytes of G_n and of the lower orders that are held at the same time; ArgumentError beyond 64 bits.
std::int64_t all_multisets_bytes(std::int64_t m, int order, bool with_mean);

// order >= 1; K holds m*m finite values of which the upper triangle is read; mu holds m finite values or is null; out has room
// for C(m+order-1, order). Odd orders without a mean are zero. Where products could leave the range of a double, every point
// is rescaled by a power of two of its own, and G scaled back. threads = 0: default_threads(), where they pay. `poll` is
// called every 50 ms or oftener and throws to give up.
void all_multisets(std::int64_t m, int order, const double* K, const double* mu, double* out, unsigned threads,
                   const std::function<void()>& poll);

// The theory that the recursion itself runs on: K (m, m) with both triangles, mu, and the exponents of the points' powers of two, by whose sum over its
// legs an entry is to be scaled; none where no product can leave the range.
struct MultisetTheory {
    std::vector<double> K, mu;
    std::vector<int> exponents;
};
MultisetTheory multiset_theory(std::int64_t m, int order, const double* K, const double* mu);

// Derivatives of sum_I G_bar(I) G(I): K_bar (m, m), symmetric, with half of the derivative by the one variable K_ij = K_ji in each
// of its two places and all of it on the diagonal, and mu_bar (m) if mu is not null. One thread; bits depend on nothing else.
// Where G_(n-2) or G_(n-1) overflows, derivatives are infinite or NaN.
std::int64_t all_multisets_vjp_bytes(std::int64_t m, int order, bool with_mean);  // besides G_bar and the results
void all_multisets_vjp(std::int64_t m, int order, const double* K, const double* mu, const double* G_bar, double* K_bar, double* mu_bar,
                       const std::function<void()>& poll);

}  // namespace nnqft
