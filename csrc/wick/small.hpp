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

// Magnitudes, zero apart, within which the plain recursion neither overflows nor loses bits to underflow.
struct SmallWindow {
    double K_least, K_most, mu_least, mu_most;

    SmallWindow(int n, bool mean);  // n >= 1
    bool holds(double K_smallest, double K_largest, double mu_smallest, double mu_largest) const;
};

// kLanes hafnians of a panel with entries of any finite size, or the panel of their derivatives; 1 <= n <= 12, n even without mean.
void panel_hafnians(const SmallKernels& kernels, int n, bool mean, const double* panel, double* out);
void panel_derivatives(const SmallKernels& kernels, int n, bool mean, const double* panel, double* out);

}  // namespace nnqft
