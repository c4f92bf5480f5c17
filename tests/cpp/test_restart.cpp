// The basis of eigsh: its projection, restarts, closed spaces, products that fail; and dense products for one vector.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "core/dense.hpp"
#include "core/error.hpp"
#include "core/team.hpp"
#include "lanczos/operators.hpp"
#include "lanczos/restart.hpp"

using namespace nnqft;

namespace {

std::vector<double> symmetric(std::int64_t n, unsigned seed, double scale = 1.0) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    std::vector<double> a(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j <= i; ++j) a[static_cast<std::size_t>(i * n + j)] = a[static_cast<std::size_t>(j * n + i)] = scale * normal(engine);
    return a;
}

std::vector<double> identity(std::int64_t n) {
    std::vector<double> s(static_cast<std::size_t>(n * n), 0.0);
    for (std::int64_t i = 0; i < n; ++i) s[static_cast<std::size_t>(i * n + i)] = 1.0;
    return s;
}

// Largest |V^T V - 1| and |V^T A V - T|, T in units of A. One vector at a time: together they would come out orthonormal whatever they are.
template <class T>
std::vector<double> defects(const ThickRestart<T>& basis, Operator<T>& A, Team& team) {
    const std::int64_t n = basis.n(), k = basis.used();
    const std::vector<double> columns = identity(k);
    std::vector<double> V(static_cast<std::size_t>(n * k)), worst(2, 0.0);
    for (std::int64_t j = 0; j < k; ++j) basis.combine(columns.data() + j * k, 1, V.data() + j * n, team);
    for (std::int64_t j = 0; j < k; ++j) {
        const std::vector<T> x(V.begin() + j * n, V.begin() + (j + 1) * n);
        std::vector<T> y(x.size());
        A.apply(x.data(), y.data(), 1, team);
        for (std::int64_t i = 0; i < k; ++i) {
            double dot = 0.0, image = 0.0;
            for (std::int64_t r = 0; r < n; ++r) {
                dot += V[static_cast<std::size_t>(i * n + r)] * V[static_cast<std::size_t>(j * n + r)];
                image += V[static_cast<std::size_t>(i * n + r)] * static_cast<double>(y[static_cast<std::size_t>(r)]);
            }
            worst[0] = std::max(worst[0], std::abs(dot - (i == j)));
            worst[1] = std::max(worst[1], std::abs(image - std::ldexp(basis.projection()[i * basis.size() + j], -basis.exponent())));
        }
    }
    return worst;
}

class Failing : public Operator<double> {
public:
    int calls = 0, last;
    explicit Failing(int after) : last(after) {}
    std::int64_t size() const override { return 40; }
    void apply(const double* x, double* y, int, Team&) override {
        if (++calls > last) throw std::runtime_error("mine");
        for (int i = 0; i < 40; ++i) y[i] = i * x[i];
    }
};

template <class T>
void measured_projection(const std::vector<double>& scales) {
    constexpr double eps = std::numeric_limits<T>::epsilon();
    for (const std::int64_t n : {1, 2, 7, 60, 1100}) {
        for (const double scale : scales) {
            const std::vector<double> wide = symmetric(n, 1, scale);
            const std::vector<T> a(wide.begin(), wide.end());
            DenseOperator<T> A(n, a.data(), n);
            Team team(2);
            const std::int64_t size = std::min<std::int64_t>(n, 12);
            ThickRestart<T> basis(n, size, 3);
            basis.start(nullptr, team);
            for (int cycle = 0; cycle < 3; ++cycle) {
                basis.extend(A, size, team);
                const std::vector<double> worst = defects(basis, A, team);
                CHECK_NEAR(worst[0], 0.0, 32 * eps);
                CHECK_NEAR(worst[1] / scale, 0.0, 64 * eps * std::sqrt(static_cast<double>(n)));
                if (cycle == 2) break;
                // One vector is kept as it is: its Ritz value is the diagonal element.
                const double theta = basis.projection()[0];
                basis.restart(identity(size).data(), &theta, 1, cycle == 1, team);
            }
        }
    }
}
TEST(the_projection_is_measured_and_the_basis_orthonormal_through_restarts) {
    measured_projection<double>({1e-200, 1.0, 1e200});
    measured_projection<float>({1e-30, 1.0, 1e30});
}

// u is kept, and A takes the random vector beside it to u but for a part of 2^-shift: one pass of Gram-Schmidt leaves u in that part,
// 2^shift eps of it.
template <class T>
double left_after_cancellation(int shift) {
    const std::int64_t n = 50;
    const auto at = [n](std::int64_t i, std::int64_t j) { return static_cast<std::size_t>(i * n + j); };
    std::vector<double> u(static_cast<std::size_t>(n)), z(u);
    for (std::int64_t i = 0; i < n; ++i) {
        u[static_cast<std::size_t>(i)] = std::cos(1.0 + static_cast<double>(i)) / 5.0;
        z[static_cast<std::size_t>(i)] = std::sin(3.0 * static_cast<double>(i));
    }
    std::vector<T> a(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
            const auto r = static_cast<std::size_t>(i), c = static_cast<std::size_t>(j);
            a[at(i, j)] = static_cast<T>(u[r] * z[c] + u[c] * z[r] + (i == j ? std::ldexp(static_cast<double>(i), -shift) : 0.0));
        }
    DenseOperator<T> A(n, a.data(), n);
    Team team(1);
    ThickRestart<T> basis(n, 4, 1);
    basis.start(u.data(), team);
    basis.extend(A, 1, team);
    const double one = 1.0, theta = 0.0;
    basis.restart(&one, &theta, 1, true, team);
    basis.extend(A, 3, team);
    return defects(basis, A, team)[0];
}
TEST(what_is_nearly_all_taken_away_is_made_orthogonal_twice) {
    CHECK_NEAR(left_after_cancellation<double>(36), 0.0, 8 * 0x1p-52);
    CHECK_NEAR(left_after_cancellation<float>(16), 0.0, 8 * 0x1p-23);
}

// Every restart turns the kept vectors among themselves, as converged ones are: T is of no use here, the vectors are.
template <class T>
double drift(int restarts) {
    constexpr std::int64_t n = 300, size = 6, keep = 4;
    const std::vector<double> wide = symmetric(n, 2);
    const std::vector<T> a(wide.begin(), wide.end());
    DenseOperator<T> A(n, a.data(), n);
    Team team(1);
    ThickRestart<T> basis(n, size, 1);
    basis.start(nullptr, team);
    std::vector<double> turn = symmetric(keep, 3), r(keep * keep), S(size * keep, 0.0), theta(keep, 1.0);
    gram_schmidt({turn.data(), keep, keep, keep, 1}, 0.0, r.data());
    for (int c = 0; c < keep; ++c) std::copy_n(turn.data() + c * keep, keep, S.data() + c * size);
    for (int i = 0; i < restarts; ++i) {
        basis.extend(A, size, team);
        basis.restart(S.data(), theta.data(), keep, false, team);
    }
    return defects(basis, A, team)[0];
}
TEST(kept_vectors_stay_orthonormal_through_a_thousand_restarts) {
    CHECK_NEAR(drift<double>(1000), 0.0, 16 * 0x1p-52);
    CHECK_NEAR(drift<float>(1000), 0.0, 16 * 0x1p-23);
}

TEST(a_closed_space_goes_on_from_a_random_vector) {
    std::vector<double> a = identity(50);
    DenseOperator<double> A(50, a.data(), 50);
    Team team(1);
    ThickRestart<double> basis(50, 6, 1);
    basis.start(nullptr, team);
    basis.extend(A, 6, team);
    CHECK(basis.beta() == 0.0 && basis.used() == 6);
    CHECK_NEAR(defects(basis, A, team)[0], 0.0, 1e-14);
    std::fill(a.begin(), a.end(), 0.0);
    ThickRestart<double> nothing(50, 50, 1);
    nothing.start(nullptr, team);
    nothing.extend(A, 50, team);
    CHECK(nothing.used() == 50 && nothing.norm() == 0.0 && nothing.products() == 50);
    CHECK_NEAR(defects(nothing, A, team)[0], 0.0, 1e-14);
}

TEST(a_product_that_throws_costs_one_step) {
    Failing A(5);
    Team team(2);
    ThickRestart<double> basis(40, 10, 1), whole(40, 10, 1);
    basis.start(nullptr, team);
    whole.start(nullptr, team);
    CHECK_THROWS(std::runtime_error, "mine", basis.extend(A, 10, team));
    CHECK(basis.used() == 5);
    A.last = 1000;
    basis.extend(A, 10, team);
    whole.extend(A, 10, team);
    for (std::int64_t i = 0; i < 100; ++i) CHECK(basis.projection()[i] == whole.projection()[i]);
}

TEST(threads_change_no_bit_and_bad_sizes_are_refused) {
    const std::vector<double> a = symmetric(2500, 4);
    DenseOperator<double> A(2500, a.data(), 2500);
    std::vector<double> first;
    for (const unsigned threads : {1u, 2u, 7u}) {
        Team team(threads);
        ThickRestart<double> basis(2500, 6, 5);
        basis.start(nullptr, team);
        basis.extend(A, 6, team);
        const std::vector<double> T(basis.projection(), basis.projection() + 36);
        if (first.empty()) first = T;
        CHECK(T == first);
    }
    CHECK_THROWS(ArgumentError, "does not fit", ThickRestart<double>(0, 1, 0));
    CHECK_THROWS(ArgumentError, "does not fit", ThickRestart<double>(5, 6, 0));
    Team team(1);
    ThickRestart<double> basis(7, 3, 0);
    basis.start(nullptr, team);
    CHECK_THROWS(ShapeError, "the basis 7", basis.extend(A, 3, team));
    CHECK_THROWS(ArgumentError, "keeps 1 to 0", basis.restart(nullptr, nullptr, 1, false, team));
}

TEST(one_vector_and_several_give_one_product) {
    for (const std::int64_t n : {1, 3, 63, 64, 65, 513, 900}) {
        const std::vector<double> a = symmetric(n, 7);
        DenseOperator<double> A(n, a.data(), n);
        Team team(2);
        constexpr int kTogether = 3;
        std::vector<double> x(static_cast<std::size_t>(n)), y(x), three(static_cast<std::size_t>(n * kTogether)), z(three);
        for (std::int64_t i = 0; i < n; ++i) {
            x[static_cast<std::size_t>(i)] = std::cos(static_cast<double>(i));
            for (int c = 0; c < kTogether; ++c) three[static_cast<std::size_t>(i * kTogether + c)] = c == 1 ? x[static_cast<std::size_t>(i)] : 1.0;
        }
        A.apply(x.data(), y.data(), 1, team);
        A.apply(three.data(), z.data(), kTogether, team);
        for (std::int64_t i = 0; i < n; ++i)
            CHECK_NEAR(y[static_cast<std::size_t>(i)], z[static_cast<std::size_t>(i * kTogether + 1)], 1e-14 * static_cast<double>(n));
    }
}

}  // namespace

CHECK_MAIN()
