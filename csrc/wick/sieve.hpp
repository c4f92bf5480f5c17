// Hafnians and loop hafnians of one matrix by the signed pair sieve, with repeated points.
//
// Let f be Gaussian with mean v and covariance b, and let (p_e, q_e), e = 1 .. N, pair the points off. Then
//
//     E prod_e f_p f_q = [x_1 .. x_N] E exp(sum_e x_e f_p f_q) = 2^-N sum_(t = +-1) t_1 .. t_N [z^N] E exp(z sum_e t_e f_p f_q),
//
// since terms in which some x_e is missing or squared cancel or have another power of z (Glynn's trick, for pairs). The sum is a tree:
// each level chooses one sign and integrates one pair out, which leaves Gaussian averages whose mean, covariance and weight g
// are polynomials in z. To first order in t, as squares cancel,
//
//     b_jk += t z (b_jp b_kq + b_jq b_kp),   v_j += t z (b_jp v_q + b_jq v_p),   g *= 1 + t z (b_pq + v_p v_q).
//
// After l pairs all degrees above l only meet terms that cancel: they are dropped. (t, z) -> (-t, -z) halves the first level and
// the last two pairs are summed in closed form. Two copies of one point are paired with each other, p = q, and need one vertex, a
// "square", that keeps its b_pp. Nothing is divided; about n^2 2^(n/2) multiply-adds. Signs: D. Glynn, Eur. J. Comb. 31 (2010)
// 1887; recursion over pairs: A. Bjorklund, SODA 2012.
//
// Finite differences of higher order, one level for all copies of a point, are cheaper still, but their terms are so much larger than
// the sum (10^5 times for five points of multiplicity 4) that the digits are lost: they are not used.
#pragma once

#include <cstdint>

namespace nnqft {

constexpr int kSieveLanes = 8;  // signs of levels 2, 3, 4 side by side
constexpr int kMaxSieveLevels = 128;

// What is left when a level of the tree is reached. A square is integrated out before any pair of singles.
struct SieveLevel {
    std::int32_t vertices;  // singles first, then squares
    std::int32_t squares;
    std::int32_t length;    // coefficients of each polynomial
    std::int64_t offset;    // of this level's first state in a worker's workspace, in elements of the kernel
    std::int64_t size;      // of one state, in elements; a level has room for two
};

struct SievePlan {
    std::int32_t levels;  // that choose a sign; level[levels] is summed in closed form
    bool mean;
    SieveLevel level[kMaxSieveLevels + 1];
    std::int64_t scratch;    // where the kernel's scratch begins in the workspace, in elements
    std::int64_t workspace;  // elements, of kSieveLanes numbers each
};

enum class SieveNumbers { real, complex, integer };  // integers modulo 2^64: exact where doubles round

struct SieveStop {
    bool (*raised)(const void*);
    const void* context;
};

// The subtree below a choice of signs, `top` of them per lane (top x 8) and then `path` (depth) alike in all lanes. `input`: the
// squares' b_pp, then v (if mean), then the rows b_0k .. b_k-1,k; (re, im) where complex, std::int64_t in the bits where integer.
// Writes the 8 lanes' sums over all signs below as (8), or as (2, 8) if complex; false once stop is raised.
using SieveSubtree = bool (*)(const SievePlan& plan, const double* input, const double* lane_signs, int top, const double* path, int depth,
                              double* workspace, double* out, const SieveStop& stop);

// The same, and the derivatives of the lanes' sums by every number of `input`, in its order, into `slopes` ((2 if complex) x 8 each). Its
// workspace is twice the plan's.
using SieveAdjoint = bool (*)(const SievePlan& plan, const double* input, const double* lane_signs, int top, const double* path, int depth,
                              double* workspace, double* out, double* slopes, const SieveStop& stop);

namespace scalar {
SieveSubtree sieve_subtree(SieveNumbers numbers);
SieveAdjoint sieve_adjoint(bool complex);
}  // namespace scalar
namespace avx2 {
SieveSubtree sieve_subtree(SieveNumbers numbers);
SieveAdjoint sieve_adjoint(bool complex);
}  // namespace avx2
namespace avx512 {
SieveSubtree sieve_subtree(SieveNumbers numbers);
SieveAdjoint sieve_adjoint(bool complex);
}  // namespace avx512

}  // namespace nnqft
