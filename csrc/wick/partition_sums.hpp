// Sums over pairings and set partitions for packed symmetric tensors, in float64, for a batch of tensors at once.
//
//   G_n(S)  = sum over pairings of S of prod K                       (Gaussian theory; (n-1)!! terms)
//   M(S)    = sum over set partitions of S of prod kappa(block)      (moments from joint cumulants)
//   G_n(S)  = sum over pairings of S of E[C_p1 ... C_p(n/2)]         (fields Gaussian given their covariance C)
//
// Every tensor is stored on an IndexSet, dense or listed, and `batch` independent tensors (jackknife replicas) lie
// in rows. Positions are looked up once per entry and serve the whole batch.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "multiset.hpp"

namespace nnqft {

// Row b of a batch starts at data + b * stride; a stride may be negative or, for input, zero.
template <class T>
struct Rows {
    T* data = nullptr;
    std::int64_t stride = 0;

    T* operator()(std::int64_t b) const noexcept { return data + b * stride; }
};

// Called every few million operations; throws to abandon the sum.
using Poll = std::function<void()>;

// Which blocks a set partition may have: an even theory (odd moments vanish) needs only the even ones.
enum class Blocks { kAll = 1, kEven = 2 };

// The (n-1)!! perfect matchings of 0..n-1, n numbers each: (0, a)(b, c).., the first free leg is paired first, with
// its partners in increasing order. n even, 0 <= n <= 16.
std::vector<Index> pairings(int n);

// Throws unless the order is 2, 4, 6 or 8; `who` opens the message.
void check_even_order(int order, const char* who);

// Gaussian n-point functions of kernels K, rows of m*m values of which the upper triangle is read; order 2, 4, 6, 8.
void pairing_sums(const IndexSet& set, std::int64_t batch, Rows<const double> K, Rows<double> out,
                  const Poll& poll = {});

// Joint cumulants from raw moments and back. sets[k] holds order (k+1) * step with step = 1 (kAll) or 2 (kEven),
// at most order 8, and every sub-multi-index that the recursion visits (see closure()).
void cumulants_from_moments(Blocks blocks, const std::vector<IndexSet>& sets, std::int64_t batch,
                            const std::vector<Rows<const double>>& moments, const std::vector<Rows<double>>& cumulants,
                            const Poll& poll = {});
void moments_from_cumulants(Blocks blocks, const std::vector<IndexSet>& sets, std::int64_t batch,
                            const std::vector<Rows<const double>>& cumulants, const std::vector<Rows<double>>& moments,
                            const Poll& poll = {});

// n-point functions over the fields point*d_out + out of a theory that is Gaussian, with the same covariance C for
// every output, once C is given. `pairs` has order n/2 over the pair variables C_p, p = rank of the pair of points.
// Raw moments of C give the full G_n, cumulants kappa_(n/2) of C the connected one.
void gram_correlators(const IndexSet& fields, int d_out, const IndexSet& pairs, std::int64_t batch,
                      Rows<const double> moments, Rows<double> out, const Poll& poll = {});

// The smallest sets, orders step, 2 step, .., that hold the given ones and all sub-multi-indices of such sizes.
std::vector<IndexSet> closure(Blocks blocks, const std::vector<IndexSet>& sets);

// The multi-indices over pair variables that gram_correlators() looks up for these fields.
IndexSet gram_closure(const IndexSet& fields, int d_out);

}  // namespace nnqft
