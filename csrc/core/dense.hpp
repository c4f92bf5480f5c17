// Small dense linear algebra in double: Cholesky of semidefinite matrices, Gram-Schmidt. Sums run in one fixed order, so
// the bits depend on the input alone. The caller owns all memory and checks sizes.
#pragma once

#include <cstddef>

namespace nnqft {

// Cholesky factor of a positive semidefinite matrix: a = L L^T, L lower triangular, zeros above its diagonal. a and l are
// n x n, row by row; only the lower triangle of `a` is read, and l == a is allowed. n^3 / 3 operations.
//
// A pivot  p_j = a_jj - sum_{k < j} L_jk^2  with |p_j| <= tolerance * a_jj counts as zero, and column j of L becomes zero:
// repeated and linearly dependent rows are welcome. Rounding leaves |p_j| < n eps a_jj there: take tolerance >= 4 n eps.
// Returns the rank (the number of columns that are not zero), or -(i + 1) where row i shows that `a` is not semidefinite
// or not finite: p_i < -tolerance * a_ii, or row i couples to a zero pivot j by more than sqrt(tolerance a_ii a_jj).
std::ptrdiff_t cholesky_semidefinite(std::size_t n, const double* a, double tolerance, double* l) noexcept;

// `count` vectors of n elements: element i of vector j is data[j * vector_stride + i * element_stride].
template <class T>
struct VectorSet {
    T* data;
    std::size_t n, count;
    std::ptrdiff_t vector_stride, element_stride;
};

// Removes from v (element stride v_stride) its projection on orthonormal vectors:  v -> v - sum_j h_j q_j, with h_j in
// coefficients[j]. Vectors q_j that are zero are passed over. Returns the norm of what is left.
//
// Modified Gram-Schmidt, repeated if it shortened v by 1 / sqrt(2) or more. Twice is enough (Kahan; Parlett, The Symmetric
// Eigenvalue Problem, section 6.9): then |q_j . v| is a few eps |v|. If the second pass shortens v as much again, v was
// rounding noise: v = 0, and 0 is returned. 4 n count operations a pass; |v| from 1e-150 to 1e150, so that squares fit.
double orthogonalise(const VectorSet<const double>& q, double* v, std::ptrdiff_t v_stride, double* coefficients) noexcept;

// Orthonormalises vectors a_j in place, first to last:  a_j = sum_{i <= j} q_i r_ij.
// One that keeps at most `tolerance` of its norm depends on those before it: q_j = 0, r_jj = 0. Returns the rank.
// r is count x count, row by row, zero below the diagonal; it also serves as the workspace.
std::size_t gram_schmidt(const VectorSet<double>& a, double tolerance, double* r) noexcept;

}  // namespace nnqft
