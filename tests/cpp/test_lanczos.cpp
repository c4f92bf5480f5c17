// BLAS pointers, teams of threads, Lanczos on native operators: what the Python tests do not see, and all of it under sanitizers.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/team.hpp"
#include "lanczos/lanczos.hpp"
#include "lanczos/operators.hpp"

using namespace nnqft;

namespace {

constexpr double kEps = 0x1p-52;

std::vector<double> random_numbers(unsigned seed, std::size_t count) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    std::vector<double> x(count);
    for (double& v : x) v = normal(engine);
    return x;
}

// A path of n sites in CSR: 2 on the diagonal, -1 beside it, times `scale`.
struct Path {
    std::vector<std::int32_t> start{0}, column;
    std::vector<double> value;
    CsrOperator<double, std::int32_t> op;

    Path(std::int64_t n, double scale) : op(fill(n, scale)) {}

private:
    CsrOperator<double, std::int32_t> fill(std::int64_t n, double scale) {
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t j = std::max<std::int64_t>(i - 1, 0); j <= std::min(i + 1, n - 1); ++j) {
                column.push_back(static_cast<std::int32_t>(j));
                value.push_back(i == j ? 2 * scale : -scale);
            }
            start.push_back(static_cast<std::int32_t>(column.size()));
        }
        return {n, start.back(), start.data(), column.data(), value.data()};
    }
};

// (T^p)_00 for p = 0 .. count - 1.
std::vector<double> moments(const Tridiagonal& t, int count) {
    const std::size_t k = t.alpha.size();
    std::vector<double> x(k), result;
    x[0] = 1.0;
    for (int p = 0; p < count; ++p) {
        result.push_back(x[0]);
        std::vector<double> y(k);
        for (std::size_t i = 0; i < k; ++i) {
            y[i] = t.alpha[i] * x[i];
            if (i > 0) y[i] += t.beta[i - 1] * x[i - 1];
            if (i + 1 < k) y[i] += t.beta[i] * x[i + 1];
        }
        x = y;
    }
    return result;
}

TEST(products_follow_their_definition_for_every_transposition) {
    const std::int64_t m = 3, n = 4, k = 5;
    const auto a = random_numbers(1, m * k), b = random_numbers(2, k * n);
    for (const char ta : {'N', 'T'}) {
        for (const char tb : {'N', 'T'}) {
            std::vector<double> c(m * n, 7.0);
            gemm(ta, tb, m, n, k, 2.0, a.data(), ta == 'N' ? m : k, b.data(), tb == 'N' ? k : n, 0.5, c.data(), m);
            for (std::int64_t i = 0; i < m; ++i) {
                for (std::int64_t j = 0; j < n; ++j) {
                    double sum = 0;
                    for (std::int64_t l = 0; l < k; ++l) {
                        sum += (ta == 'N' ? a[i + l * m] : a[l + i * k]) * (tb == 'N' ? b[l + j * k] : b[j + l * n]);
                    }
                    CHECK_NEAR(c[i + j * m], 2 * sum + 3.5, 64 * kEps);
                }
            }
        }
    }
}

TEST(sizes_beyond_32_bits_are_refused_before_memory_is_touched) {
    double x = 0;
    CHECK_THROWS(ArgumentError, "", gemm('N', 'N', std::int64_t{1} << 31, 1, 1, 1.0, &x, std::int64_t{1} << 31, &x, 1, 0.0, &x, std::int64_t{1} << 31));
}

TEST(a_team_runs_every_block_once_again_and_again) {
    for (const unsigned threads : {1u, 2u, 5u}) {
        Team team(threads);
        for (const std::int64_t blocks : {0, 1, 3, 100}) {
            std::vector<std::atomic<int>> seen(static_cast<std::size_t>(blocks));
            team.run(blocks, [&](std::int64_t block, unsigned worker) {
                CHECK(worker < team.threads());
                ++seen[static_cast<std::size_t>(block)];
            });
            for (const auto& count : seen) CHECK(count == 1);
        }
        CHECK_THROWS(std::runtime_error, "seven", team.run(50, [](std::int64_t block, unsigned) {
            if (block == 7) throw std::runtime_error("seven");
        }));
        std::atomic<int> after{0};
        team.run(9, [&](std::int64_t, unsigned) { ++after; });
        CHECK(after == 9);
    }
}

TEST(k_steps_know_the_moments_to_degree_2k_less_1) {
    const std::int64_t n = 60;
    Path path(n, 1.0);
    for (const Reorth reorth : {Reorth::none, Reorth::full, Reorth::partial}) {
        Team team(2);
        Lanczos<double> run(n, reorth, false);
        const auto v = random_numbers(3, static_cast<std::size_t>(2 * n));
        run.add(2, v.data());
        run.advance(path.op, 6, team, {});
        for (int probe = 0; probe < 2; ++probe) {
            const auto got = moments(run.probe(probe), 12);
            std::vector<double> x(v.begin() + probe * n, v.begin() + (probe + 1) * n), y(x.size());
            double norm2 = 0;
            for (double e : x) norm2 += e * e;
            const std::vector<double> first = x;
            for (int p = 0; p < 12; ++p) {
                double sum = 0;
                for (std::size_t i = 0; i < x.size(); ++i) sum += first[i] * x[i];
                CHECK_NEAR(got[static_cast<std::size_t>(p)] / (sum / norm2), 1.0, 1e-12);
                path.op.apply(x.data(), y.data(), 1, team);
                x.swap(y);
            }
        }
    }
}

TEST(two_eigenvalues_end_after_two_steps) {
    const std::int64_t n = 20;
    std::vector<double> a(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i) a[static_cast<std::size_t>(i * n + i)] = i < 5 ? 1.0 : 50.0;
    DenseOperator<double> op(n, a.data(), n);
    Team team(1);
    Lanczos<double> run(n, Reorth::full, true);
    run.draw(3, StartLaw::gaussian, 7);
    run.advance(op, 10, team, {});
    for (int probe = 0; probe < 3; ++probe) {
        CHECK(run.probe(probe).breakdown);
        CHECK(run.probe(probe).steps() == 2);
        CHECK_NEAR(run.probe(probe).alpha[0] + run.probe(probe).alpha[1], 51.0, 1e-12);
    }
}

TEST(powers_of_two_threads_and_pauses_change_no_bit) {
    const std::int64_t n = 5000;
    Path path(n, 1.0), tiny(n, 0x1p-400);
    Team one(1), three(3);
    Lanczos<double> straight(n, Reorth::full, false), paused(n, Reorth::full, false), scaled(n, Reorth::full, false);
    for (Lanczos<double>* run : {&straight, &paused, &scaled}) run->draw(2, StartLaw::rademacher, 11);
    straight.advance(path.op, 12, one, {});
    paused.advance(path.op, 5, three, {});
    paused.advance(path.op, 12, three, [](std::int64_t) { return false; });
    scaled.advance(tiny.op, 12, one, {});
    for (int probe = 0; probe < 2; ++probe) {
        const Tridiagonal &a = straight.probe(probe), &b = paused.probe(probe), &c = scaled.probe(probe);
        CHECK(a.alpha == b.alpha);
        CHECK(a.beta == b.beta);
        for (std::size_t i = 0; i < a.alpha.size(); ++i) {
            CHECK(c.alpha[i] == std::ldexp(a.alpha[i], -400));
            CHECK(c.beta[i] == std::ldexp(a.beta[i], -400));
        }
    }
}

TEST(indices_outside_a_sparse_matrix_are_refused) {
    const std::int32_t start[] = {0, 1, 2}, column[] = {0, 2};
    const double value[] = {1.0, 1.0};
    using Csr = CsrOperator<double, std::int32_t>;
    CHECK_THROWS(ArgumentError, "", Csr(2, 2, start, column, value));
}

}  // namespace

CHECK_MAIN()
