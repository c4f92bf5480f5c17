#include "core/dense.hpp"

#include <cmath>

namespace nnqft {
namespace {

// Four partial sums hide the latency of addition: the compiler may not reorder floating-point sums by itself.
double dot(std::size_t n, const double* x, std::ptrdiff_t x_stride, const double* y, std::ptrdiff_t y_stride) noexcept {
    double sum[4] = {};
    const auto size = static_cast<std::ptrdiff_t>(n);
    std::ptrdiff_t i = 0;
    for (; i + 4 <= size; i += 4)
        for (std::ptrdiff_t j = 0; j < 4; ++j) sum[j] += x[(i + j) * x_stride] * y[(i + j) * y_stride];
    for (; i < size; ++i) sum[0] += x[i * x_stride] * y[i * y_stride];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

double norm(std::size_t n, const double* x, std::ptrdiff_t stride) noexcept {
    return std::sqrt(dot(n, x, stride, x, stride));
}

}  // namespace

std::ptrdiff_t cholesky_semidefinite(std::size_t n, const double* a, double tolerance, double* l) noexcept {
    std::ptrdiff_t rank = 0;
    for (std::size_t i = 0; i < n; ++i) {
        double* row = l + i * n;
        const std::ptrdiff_t not_semidefinite = -static_cast<std::ptrdiff_t>(i) - 1;
        const double diagonal = a[i * n + i];
        for (std::size_t j = 0; j < i; ++j) {
            const double* above = l + j * n;
            const double rest = a[i * n + j] - dot(j, row, 1, above, 1);
            if (above[j] > 0) {
                row[j] = rest / above[j];
            } else {
                // Schwarz, rest^2 <= p_i p_j, with the bounds of both pivots: p_i <= a_ii, p_j <= tolerance a_jj.
                if (!(rest * rest <= tolerance * diagonal * dot(j, above, 1, above, 1))) return not_semidefinite;
                row[j] = 0;
            }
        }
        const double pivot = diagonal - dot(i, row, 1, row, 1), noise = tolerance * diagonal;
        if (!std::isfinite(pivot) || !(pivot >= -noise)) return not_semidefinite;
        row[i] = pivot > noise ? std::sqrt(pivot) : 0;
        rank += pivot > noise;
        for (std::size_t j = i + 1; j < n; ++j) row[j] = 0;
    }
    return rank;
}

double orthogonalise(const VectorSet<const double>& q, double* v, std::ptrdiff_t v_stride, double* coefficients) noexcept {
    const auto n = static_cast<std::ptrdiff_t>(q.n);
    for (std::size_t j = 0; j < q.count; ++j) coefficients[j] = 0;
    double before = norm(q.n, v, v_stride);
    for (int pass = 0; pass < 2; ++pass) {
        for (std::size_t j = 0; j < q.count; ++j) {
            const double* u = q.data + static_cast<std::ptrdiff_t>(j) * q.vector_stride;
            const double h = dot(q.n, u, q.element_stride, v, v_stride);
            for (std::ptrdiff_t i = 0; i < n; ++i) v[i * v_stride] -= h * u[i * q.element_stride];
            coefficients[j] += h;
        }
        const double after = norm(q.n, v, v_stride);
        if (!(after <= before / std::sqrt(2.0))) return after;  // NaN leaves here, too
        before = after;
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) v[i * v_stride] = 0;
    return 0;
}

std::size_t gram_schmidt(const VectorSet<double>& a, double tolerance, double* r) noexcept {
    const auto n = static_cast<std::ptrdiff_t>(a.n);
    std::size_t rank = 0;
    for (std::size_t j = 0; j < a.count; ++j) {
        double* v = a.data + static_cast<std::ptrdiff_t>(j) * a.vector_stride;
        double* row = r + j * a.count;
        const double length = norm(a.n, v, a.element_stride);
        const VectorSet<const double> q{a.data, a.n, j, a.vector_stride, a.element_stride};
        const double left = orthogonalise(q, v, a.element_stride, row);
        for (std::size_t i = 0; i < j; ++i) {  // the coefficients move from row j, which is to be zero, to column j
            r[i * a.count + j] = row[i];
            row[i] = 0;
        }
        const bool dependent = left <= tolerance * length;
        row[j] = dependent ? 0 : left;
        rank += !dependent;
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            double& x = v[i * a.element_stride];
            x = dependent ? 0 : x / left;
        }
    }
    return rank;
}

}  // namespace nnqft
