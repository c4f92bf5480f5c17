// Hafnians of one matrix with all repeats of its rows below a cutoff, real or complex: the multidimensional Hermite recursion
//
//     H[k + e_i] = mu_i H[k] + sum_j A_ij k_j H[k - e_j],   H[k] = haf(A, mu; k);     h[k] = H[k] / sqrt(prod_j k_j!) if `norm`.
//
// Nothing is subtracted but what A and mu subtract, so the error is below n cutoff ulp of the same sum over |A| and |mu|.
#pragma once

#include <cstdint>
#include <functional>

namespace nnqft {

struct BoxProblem {
    std::int64_t n, cutoff;  // cutoff >= 1
    const double* A;         // (n, n), of which the part on and above the diagonal is read; (re, im) pairs if complex
    const double* mu;        // (n), or null
    bool complex;
    bool norm;
};

// out (cutoff, .., cutoff), n axes. `poll` is called every 50 ms or oftener and throws to give up.
void hafnian_box(const BoxProblem& problem, double* out, const std::function<void()>& poll);

}  // namespace nnqft
