// Hafnians of up to 12 points, alone and by the panel, for entries of any scale.
//
// The plain recursion serves while every product of n/2 entries stays far inside the range of doubles. Otherwise K is scaled by a power
// of two, and where even that loses the result, exponents are carried in integers. Which of the three gives a result depends on
// its own matrix alone, so a hafnian has the same bits by itself and in any batch.
#pragma once

#include <complex>
#include <cstdint>

#include "wick/small_kernels.hpp"

namespace nnqft {

// haf of K (n, n), rows `stride` apart, of which the part above the diagonal is read; with mu, the loop hafnian of K and mu. n <= 12.
double small_hafnian(int n, const double* K, std::int64_t stride, const double* mu);
std::complex<double> small_hafnian_complex(int n, const std::complex<double>* K, std::int64_t stride, const std::complex<double>* mu);

// d haf / d K_ij into K_bar (n, n), half of it at (i, j) and half at (j, i), zeros on the diagonal; d haf / d mu_i into mu_bar (n).
void small_hafnian_derivative(int n, const double* K, std::int64_t stride, const double* mu, double* K_bar, double* mu_bar);

// The kernels of the instruction set in use, chosen at the first call.
const SmallKernels& small_kernels();

// The largest entries, and the smallest but for zeros and at most 1, of K and mu.
struct Magnitudes {
    double least_K = 1.0, most_K = 0.0, least_mu = 1.0, most_mu = 0.0;
};

// Magnitudes within which the plain recursion neither overflows nor loses bits to underflow.
struct SmallWindow {
    Magnitudes bound;

    SmallWindow(int n, bool mean);  // n >= 1
    bool holds(const Magnitudes& x) const {
        return x.least_K >= bound.least_K && x.most_K <= bound.most_K && x.least_mu >= bound.least_mu && x.most_mu <= bound.most_mu;
    }
};

// Panels of n points, 1 <= n <= 12, n even without a mean.
class PanelWork {
public:
    PanelWork(int n, bool mean) : n(n), mean(mean), pairs(pair_count(n)), inputs(pairs + (mean ? n : 0)), window(n, mean) {}

    // The hafnians of a panel, or the panel of their derivatives, for entries of any finite size; false, and nothing, if one is not finite.
    bool hafnians(const double* panel, double* out) const;
    bool derivatives(const double* panel, double* out) const;

    const int n;
    const bool mean;
    const int pairs, inputs;  // slots of K; all slots
    const SmallWindow window;
    const SmallKernels& kernels = small_kernels();
};

}  // namespace nnqft
