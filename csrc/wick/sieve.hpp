// Hafnians and loop hafnians of one matrix by the signed pair sieve, with repeated points (real or complex, any size).
//
// Let f be Gaussian with mean v and covariance b. For pair types e = (p, q), of multiplicity r_e, N = sum r_e,
//     E prod_e (f_p f_q)^r_e = prod_e r_e! [x^r] E exp(sum_e x_e f_p f_q)
//                            = 2^-N sum_k prod_e (-1)^k_e C(r_e, k_e) [z^N] E exp(z sum_e w_e f_p f_q),   w_e = r_e - 2 k_e,
// since in that sum every power of x_e but the r_e-th cancels or has more than N factors z (Glynn's trick, for pairs). The sum is a
// tree: each level chooses one w and integrates one pair out, which leaves Gaussian averages whose mean, covariance and weight
// g are polynomials in z,
//     r = 1:          b_jk += w z (b_jp b_kq + b_jq b_kp),  v_j += w z (b_jp v_q + b_jq v_p),  g *= 1 + w z (b_pq + v_p v_q);
//     p = q, any r:   u = 1 / (1 - 2 w z b_pp),  b_jk += 2 w z u b_jp b_kp,  v_j += 2 w z u b_jp v_p,  g *= sqrt(u) exp(w z u v_p^2).
// Degrees above the sum of the r_e so far would only meet terms that cancel: they are dropped, so polynomials grow by r_e a
// level. (w, z) -> (-w, -z) halves the first level; the last two single pairs are summed in closed form. Cost O(n^2 2^(n/2)).
// Signs: Bjorklund (2012) in Glynn's form; repeats: Kan (2008), J. Multivariate Anal. 99, 542.
#pragma once

#include <cstdint>

namespace nnqft {

constexpr int kSieveLanes = 8;  // choices of the first levels that run side by side
constexpr int kMaxSieveLevels = 128;

// One level of the tree: what is left when it is reached, and the pair that it integrates out.
struct SieveLevel {
    std::int32_t vertices;   // singles first, then squares
    std::int32_t squares;    // vertices (the last ones) whose pair is the vertex with itself
    std::int32_t length;     // coefficients of each polynomial
    std::int32_t repeats;    // r of the pair type integrated out here: 1 for a pair of singles
    std::int64_t offset;     // of this level's first state in a worker's workspace, in elements of the kernel
    std::int64_t size;       // of one state, in elements; a level has room for two
};

struct SievePlan {
    std::int32_t levels;     // that choose; level[levels] is the closed form: 4, 2 or 0 singles
    std::int32_t top;        // levels whose choices fill the lanes
    std::int32_t total;      // N
    bool mean;
    bool complex;
    SieveLevel level[kMaxSieveLevels + 1];
    std::int64_t scratch;    // where the kernel's scratch begins in the workspace, in elements
    std::int64_t workspace;  // elements of kSieveLanes numbers
};

struct SieveStop {
    bool (*raised)(const void*);
    const void* context;
};

// The subtree below a choice of weights: `lane_weights` (top x 8) for the first `top` levels, then `path_weights` (depth), the
// same in all lanes. `input`: the squares' b_pp, then v (if mean), then the rows b_0k .. b_k-1,k; (re, im) where complex. Writes
// the 8 lanes' sums over all choices below as (8), or as (2, 8) if complex; false once stop is raised.
using SieveSubtree = bool (*)(const SievePlan& plan, const double* input, const double* lane_weights, const double* path_weights, int depth,
                              double* workspace, double* out, const SieveStop& stop);

namespace scalar {
SieveSubtree sieve_subtree(bool complex);
}
namespace avx2 {
SieveSubtree sieve_subtree(bool complex);
}
namespace avx512 {
SieveSubtree sieve_subtree(bool complex);
}

}  // namespace nnqft
