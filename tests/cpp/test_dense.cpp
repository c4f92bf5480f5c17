// Cholesky of semidefinite matrices and Gram-Schmidt: what they promise, on matrices with dependent rows, too.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "core/dense.hpp"

using nnqft::cholesky_semidefinite;
using nnqft::gram_schmidt;
using nnqft::orthogonalise;
using nnqft::VectorSet;

namespace {

using Matrix = std::vector<double>;  // row by row
constexpr double kEps = std::numeric_limits<double>::epsilon();

Matrix random_matrix(unsigned seed, std::size_t rows, std::size_t columns) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    Matrix m(rows * columns);
    for (double& x : m) x = normal(engine);
    return m;
}

// b b^T for b of n rows.
Matrix gram(const Matrix& b, std::size_t n) {
    const std::size_t k = b.size() / n;
    Matrix g(n * n);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t c = 0; c < k; ++c) g[i * n + j] += b[i * k + c] * b[j * k + c];
    return g;
}

double largest_difference(const Matrix& a, const Matrix& b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
    return largest;
}

double tolerance(std::size_t n) { return 4 * static_cast<double>(n) * kEps; }

TEST(cholesky_of_a_definite_matrix_multiplies_back) {
    for (std::size_t n : {1u, 2u, 7u, 60u}) {
        const Matrix a = gram(random_matrix(1, n, n + 5), n);
        Matrix l(n * n, NAN);
        CHECK(cholesky_semidefinite(n, a.data(), tolerance(n), l.data()) == static_cast<std::ptrdiff_t>(n));
        // |a - L L^T|_ij <= (n + 1) eps sqrt(a_ii a_jj) (Higham, Accuracy and Stability, theorem 10.3), a_ii < 3 (n + 5).
        CHECK(largest_difference(gram(l, n), a) <= 3 * static_cast<double>((n + 1) * (n + 5)) * kEps);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = i + 1; j < n; ++j) CHECK(l[i * n + j] == 0.0);
    }
}

TEST(cholesky_of_a_small_matrix_is_the_one_by_hand) {
    const Matrix a = {4, 99, 99, 2, 5, 99, -2, 3, 14};  // the upper triangle is not read
    Matrix l(9);
    CHECK(cholesky_semidefinite(3, a.data(), 1e-14, l.data()) == 3);
    CHECK(l == Matrix({2, 0, 0, 1, 2, 0, -1, 2, 3}));
}

TEST(repeated_and_dependent_rows_give_zero_columns_and_the_rank) {
    const std::size_t n = 8, k = 3;
    Matrix b = random_matrix(2, n, k);
    for (std::size_t c = 0; c < k; ++c) {
        b[1 * k + c] = b[0 * k + c];                          // row 1 repeats row 0
        b[3 * k + c] = 2 * b[0 * k + c] - 0.5 * b[2 * k + c];  // row 3 depends on rows 0 and 2
        b[5 * k + c] = 0;
    }
    const Matrix a = gram(b, n);
    Matrix l(n * n);
    CHECK(cholesky_semidefinite(n, a.data(), tolerance(n), l.data()) == 3);
    CHECK(largest_difference(gram(l, n), a) <= 100 * kEps);
    for (std::size_t j : {1u, 3u, 5u, 6u, 7u})
        for (std::size_t i = 0; i < n; ++i) CHECK(l[i * n + j] == 0.0);
    for (std::size_t j = 0; j < n; ++j) CHECK_NEAR(l[1 * n + j], l[0 * n + j], 4 * kEps);  // a / sqrt(a) = sqrt(a)
}

TEST(cholesky_works_in_place_to_the_same_bits) {
    const std::size_t n = 9;
    Matrix a = gram(random_matrix(3, n, 4), n), l(n * n);
    const std::ptrdiff_t rank = cholesky_semidefinite(n, a.data(), tolerance(n), l.data());
    CHECK(rank == 4 && cholesky_semidefinite(n, a.data(), tolerance(n), a.data()) == rank);
    CHECK(a == l);
}

TEST(the_scale_of_single_rows_does_not_change_the_rank) {
    Matrix a = gram(random_matrix(4, 5, 3), 5), l(25);
    for (std::size_t i = 0; i < 5; ++i)
        for (std::size_t j = 0; j < 5; ++j) a[i * 5 + j] = std::ldexp(a[i * 5 + j], -60 * static_cast<int>(i + j));
    CHECK(cholesky_semidefinite(5, a.data(), tolerance(5), l.data()) == 3);
}

TEST(matrices_that_are_not_semidefinite_are_told_by_their_row) {
    Matrix l(9);
    const auto code = [&](const Matrix& a) {
        return cholesky_semidefinite(a.size() == 4 ? 2 : 3, a.data(), 1e-14, l.data());
    };
    CHECK(code({1, 0, 2, 1}) == -2);                        // eigenvalues 3 and -1
    CHECK(code({0, 0, 1, 0}) == -2);                        // a zero pivot that the next row couples to
    CHECK(code({-1, 0, 0, 1}) == -1);
    CHECK(code({1, 0, 0, 1, 1, 0, 0, 1e-3, 1}) == -3);      // rows 0 and 1 agree, but not on row 2
    CHECK(code({1, 0, 1, 1 - 1e-12}) == -2);                // beyond the tolerance
    CHECK(code({1, 0, 1, 1 - 1e-15}) == 1);                 // within it
    CHECK(code({NAN, 0, 0, 1}) == -1);
    CHECK(code({1, 0, 0, INFINITY}) == -2);
    CHECK(code({0, 0, NAN, 1}) == -2);
    CHECK(code({0, 0, 0, 0}) == 0);
}

// count vectors side by side, or interleaved: element i of vector j.
struct Layout {
    std::ptrdiff_t vector_stride, element_stride;
};
std::vector<Layout> layouts(std::size_t n, std::size_t count) {
    const auto rows = static_cast<std::ptrdiff_t>(count), columns = static_cast<std::ptrdiff_t>(n);
    return {{columns, 1}, {1, rows}, {2 * columns, 2}};
}
double& at(Matrix& m, const Layout& s, std::size_t j, std::size_t i) {
    return m[j * static_cast<std::size_t>(s.vector_stride) + i * static_cast<std::size_t>(s.element_stride)];
}

// Checks q r = original and that q's vectors are orthonormal, or zero where r_jj = 0.
void check_factors(Matrix& original, Matrix& q, const Matrix& r, const Layout& s, std::size_t n, std::size_t count) {
    for (std::size_t j = 0; j < count; ++j) {
        for (std::size_t i = 0; i < n; ++i) {
            double sum = 0;
            for (std::size_t k = 0; k <= j; ++k) sum += at(q, s, k, i) * r[k * count + j];
            CHECK_NEAR(sum, at(original, s, j, i), 20 * static_cast<double>(count) * kEps);
        }
        for (std::size_t k = 0; k <= j; ++k) {
            double overlap = 0;
            for (std::size_t i = 0; i < n; ++i) overlap += at(q, s, j, i) * at(q, s, k, i);
            CHECK_NEAR(overlap, j == k && r[j * count + j] > 0 ? 1.0 : 0.0, 10 * kEps);
            if (k < j) CHECK(r[j * count + k] == 0.0);
        }
    }
}

TEST(gram_schmidt_factorises_vectors_of_any_stride) {
    const std::size_t n = 50, count = 12;
    for (const Layout& s : layouts(n, count)) {
        Matrix a = random_matrix(5, 2 * count, n), q = a, r(count * count, NAN);
        CHECK(gram_schmidt({q.data(), n, count, s.vector_stride, s.element_stride}, 1e-13, r.data()) == count);
        check_factors(a, q, r, s, n, count);
    }
}

TEST(gram_schmidt_keeps_nearly_dependent_vectors_orthogonal) {
    // Lauchli: (1, d, 0, ..), (1, 0, d, ..): one pass leaves overlaps of eps / d, two leave eps.
    const std::size_t n = 9, count = 8;
    const Layout s{static_cast<std::ptrdiff_t>(n), 1};
    Matrix a(n * count), r(count * count);
    for (std::size_t j = 0; j < count; ++j) {
        at(a, s, j, 0) = 1;
        at(a, s, j, j + 1) = 1e-9;
    }
    Matrix q = a;
    CHECK(gram_schmidt({q.data(), n, count, s.vector_stride, s.element_stride}, 1e-13, r.data()) == count);
    check_factors(a, q, r, s, n, count);
}

TEST(gram_schmidt_turns_dependent_vectors_into_zeros) {
    const std::size_t n = 20, count = 6;
    const Layout s{static_cast<std::ptrdiff_t>(n), 1};
    Matrix a = random_matrix(6, count, n), r(count * count);
    for (std::size_t i = 0; i < n; ++i) {
        at(a, s, 2, i) = 3 * at(a, s, 0, i) - at(a, s, 1, i);
        at(a, s, 4, i) = 0;
        at(a, s, 5, i) = at(a, s, 3, i);
    }
    Matrix q = a;
    CHECK(gram_schmidt({q.data(), n, count, s.vector_stride, s.element_stride}, 1e-13, r.data()) == 3);
    check_factors(a, q, r, s, n, count);
    for (std::size_t j : {2u, 4u, 5u}) {
        CHECK(r[j * count + j] == 0.0);
        for (std::size_t i = 0; i < n; ++i) CHECK(at(q, s, j, i) == 0.0);
    }
}

TEST(orthogonalise_returns_coefficients_and_the_norm_left) {
    const double q[] = {1, 0, 0, 0, 0.6, 0.8};
    double v[] = {7, 3, 4}, h[2];
    CHECK_NEAR(orthogonalise({q, 3, 2, 3, 1}, v, 1, h), 0, 0);  // (3, 4) is 5 (0.6, 0.8): nothing is left
    CHECK_NEAR(h[0], 7, 0);
    CHECK_NEAR(h[1], 5, 4 * kEps);
    CHECK(v[0] == 0 && v[1] == 0 && v[2] == 0);

    double w[] = {7, -8, 6};
    CHECK_NEAR(orthogonalise({q, 3, 2, 3, 1}, w, 1, h), 10, 4 * kEps * 10);
    CHECK_NEAR(h[1], 0, 4 * kEps);
    double none[] = {3, 4};
    CHECK(orthogonalise({q, 2, 0, 2, 1}, none, 1, h) == 5.0 && none[0] == 3);
}

TEST(vectors_that_are_not_finite_are_not_taken_for_zero) {
    const double q[] = {1, 0};
    double v[] = {NAN, 1}, h[1];
    CHECK(std::isnan(orthogonalise({q, 2, 1, 2, 1}, v, 1, h)));
}

}  // namespace

CHECK_MAIN()
