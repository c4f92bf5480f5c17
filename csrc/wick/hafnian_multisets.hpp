// The hafnian of few points of high multiplicity, by recursion over sub-multisets:
//
//     haf(r) = mu_i haf(r - e_i) + K_ii (r_i - 1) haf(r - 2 e_i) + sum_j>i K_ij r_j haf(r - e_i - e_j),   i the first point left
//
// prod (r_i + 1) numbers, and nothing is subtracted.
#pragma once

#include <complex>

#include "wick/hafnian_request.hpp"

namespace nnqft {

// In multiply-adds of the sieve: a scalar one costs as much as eight lanes.
double multisets_work(const Request& request);
double multisets_bytes(const Request& request);

std::complex<double> multisets_value(const Request& request);
HafnianResult multisets_value(const Request& request, const MultisetSum& sum);  // the recursion itself is left to `sum`
void multisets_slopes(const Request& request, const Slopes& out);

}  // namespace nnqft
