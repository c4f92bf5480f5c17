// The basis of a restarted search for extreme eigenpairs, and its projection T = V^T A V, which is measured.
//
//     A V = V T + beta v_next e_last^T,   V^T V = 1;     restart: V <- V S, T <- S^T T S, v_next stays
//
// A step is Paige's, w = A v_j - beta v_{j-1} - alpha v_j, followed by Gram-Schmidt against all that the basis holds, twice
// where once shortened w below 0.7 (Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30 (1976) 772). All of what was taken away
// enters T: no copy of a converged eigenvalue comes back. K. Wu, H. Simon, SIAM J. Matrix Anal. Appl. 22 (2000) 602.
//
// Vectors are T = float or double, coefficients and sums double. Where the operator rounds to float a basis of floats adds as much
// rounding again, a few 2^-24 |A|, and halves the bytes that each step reads.
#pragma once

#include <cstdint>
#include <vector>

#include "core/array.hpp"
#include "lanczos/lanczos.hpp"
#include "lanczos/operator.hpp"

namespace nnqft {

template <class T>
class ThickRestart {
public:
    // Room for `size` <= n vectors and the next one; random vectors are uniform, numbers 0, 1, ... under `seed`.
    ThickRestart(std::int64_t n, std::int64_t size, std::uint64_t seed);

    std::int64_t n() const { return n_; }
    std::int64_t size() const { return size_; }
    std::int64_t used() const { return used_; }
    double beta() const { return beta_; }            // 0: the space of the basis is closed, and v_next is a random vector
    double norm() const { return norm_; }            // largest |A v| so far
    double skewness() const { return skewness_; }    // largest |v_i . A v_j - v_j . A v_i| seen before the first restart
    int exponent() const { return exponent_; }       // the operator is 2^exponent A, near 1, once a product was not zero; extend() may lower it
    std::int64_t products() const { return products_; }
    const double* projection() const { return t_.data(); }  // T: size x size, symmetric; the first used() rows and columns count

    // The first vector: v (not zero, finite), or a random one.
    void start(const double* v, Team& team);
    // To `to` <= size vectors. An exception (from the operator, Ctrl-C) leaves every finished step.
    void extend(Operator<T>& A, std::int64_t to, Team& team);
    // V <- V S for S (used x keep, column by column) with orthonormal columns, T <- diag(theta). fresh: v_next becomes a
    // random vector, as it is anyway where beta is 0: for kept pairs that have converged, or their residuals are forgotten.
    void restart(const double* S, const double* theta, std::int64_t keep, bool fresh, Team& team);
    // Columns of V S for S (used x count) with orthonormal columns, into `out` (n x count, column by column): orthonormal to rounding in
    // double, whatever restarts and floats have left of the basis.
    void combine(const double* S, std::int64_t count, double* out, Team& team) const;
    // |A x - w x| / |x| for `count` vectors of length n, one after the other; w in units of the scaled operator.
    void residuals(Operator<T>& A, const double* x, const double* w, std::int64_t count, double* out, Team& team);

private:
    T* column(std::int64_t j) { return v_.data() + j * ld_; }
    const T* column(std::int64_t j) const { return v_.data() + j * ld_; }
    double apply(Operator<T>& A, const T* x, T* y, int columns, Team& team);
    void choose_exponent(double most);
    double scale(double factor, T* x, Team& team);
    double orthogonalise(T* w, double square, std::int64_t count, double* h, Team& team);
    void rotate(const T* S, std::int64_t keep, Team& team);
    void fresh(std::int64_t j, Team& team);

    std::int64_t n_, size_, ld_, used_ = 0, kept_ = 0, products_ = 0, restarts_ = 0;
    std::uint64_t seed_, drawn_ = 0;
    double beta_ = 0.0, norm_ = 0.0, skewness_ = 0.0;
    int exponent_ = 0;
    bool scaled_ = false;
    Array<T> v_;
    std::vector<double> t_, partial_;
};

extern template class ThickRestart<float>;
extern template class ThickRestart<double>;

}  // namespace nnqft
