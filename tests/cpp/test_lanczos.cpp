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

// An operator whose product number `left` fails.
struct Failing : Operator<double> {
    Operator<double>& op;
    int left;
    Failing(Operator<double>& o, int products) : op(o), left(products) {}
    std::int64_t size() const override { return op.size(); }
    void apply(const double* X, double* Y, int columns, Team& team) override {
        if (left-- == 0) throw std::runtime_error("failed");
        op.apply(X, Y, columns, team);
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

TEST(dense_products_follow_their_definition_at_every_size_and_width) {
    for (const std::int64_t n : {1, 2, 7, 8, 9, 263, 700}) {
        const std::int64_t stride = n + 3;
        const auto numbers = random_numbers(5, static_cast<std::size_t>(n * stride)), x = random_numbers(6, static_cast<std::size_t>(n * 64));
        const std::vector<float> narrow(numbers.begin(), numbers.end()), x_narrow(x.begin(), x.end());
        DenseOperator<double> op(n, numbers.data(), stride);
        DenseOperator<float> op_narrow(n, narrow.data(), stride);
        Team team(2);
        for (int columns = 1; columns <= kMaxColumns; ++columns) {
            std::vector<double> y(static_cast<std::size_t>(n * columns));
            std::vector<float> y_narrow(y.size());
            op.apply(x.data(), y.data(), columns, team);
            op_narrow.apply(x_narrow.data(), y_narrow.data(), columns, team);
            for (std::int64_t i = 0; i < n; i += 1 + n / 9) {
                double sum = 0, size = 0;
                for (std::int64_t j = 0; j < n; ++j) {
                    const double term = numbers[static_cast<std::size_t>(std::min(i, j) * stride + std::max(i, j))] * x[static_cast<std::size_t>(j * columns)];
                    sum += term;
                    size += std::abs(term);
                }
                CHECK_NEAR(y[static_cast<std::size_t>(i * columns)], sum, static_cast<double>(n) * kEps * size);
                CHECK_NEAR(static_cast<double>(y_narrow[static_cast<std::size_t>(i * columns)]), sum, 0x1p-21 * size);
            }
        }
    }
}

template <class T>
double largest_product(Lanczos<T>& run, Team& team, std::int64_t n, std::int64_t steps) {
    run.settle(team);
    std::vector<T> a(static_cast<std::size_t>(n)), b(a.size());
    double largest = 0;
    for (std::int64_t i = 0; i <= steps; ++i) {
        run.basis(1, i, a.data());
        for (std::int64_t j = 0; j <= i; ++j) {
            run.basis(1, j, b.data());
            long double sum = 0;  // the test must not round
            for (std::size_t f = 0; f < a.size(); ++f) sum += static_cast<long double>(a[f]) * static_cast<long double>(b[f]);
            largest = std::max(largest, static_cast<double>(std::abs(sum - (i == j))));
        }
    }
    return largest;
}

TEST(panels_are_orthonormal_wherever_a_run_pauses) {
    const std::int64_t n = 2500;  // three blocks of rows, the last one short
    Path path(n, 1.0);
    std::vector<float> value(path.value.begin(), path.value.end());
    CsrOperator<float, std::int32_t> narrow(n, path.start.back(), path.start.data(), path.column.data(), value.data());
    Team team(2);
    Lanczos<double> run(n, Reorth::full, true);
    Lanczos<float> run_narrow(n, Reorth::full, true);
    run.draw(3, StartLaw::gaussian, 1);
    run_narrow.draw(3, StartLaw::gaussian, 1);
    for (const std::int64_t steps : {1, 7, 8, 13, 40}) {
        run.advance(path.op, steps, team, {});
        run_narrow.advance(narrow, steps, team, {});
        CHECK(largest_product(run, team, n, steps) < 16 * kEps);
        CHECK(largest_product(run_narrow, team, n, steps) < 8 * 0x1p-23);
    }
}

TEST(a_product_that_fails_costs_one_step_and_no_bit) {
    // A spectrum with outliers: orthogonality is lost quickly, and vectors that wait are corrected.
    const std::int64_t n = 3000;
    std::vector<std::int32_t> start{0}, column;
    std::vector<double> value;
    for (std::int64_t i = 0; i < n; ++i) {
        column.push_back(static_cast<std::int32_t>(i));
        value.push_back(i % 600 == 0 ? 50.0 + static_cast<double>(i) : 1e-4 * static_cast<double>(i));
        start.push_back(static_cast<std::int32_t>(i + 1));
    }
    CsrOperator<double, std::int32_t> op(n, n, start.data(), column.data(), value.data());
    Team calm(1);
    Lanczos<double> straight(n, Reorth::full, true), broken(n, Reorth::full, true);
    straight.draw(2, StartLaw::gaussian, 3);
    broken.draw(2, StartLaw::gaussian, 3);
    Failing sound(op, 1000);
    straight.advance(sound, 40, calm, {});
    for (int products = 0; broken.probe(1).steps() < 40; ++products) {
        Failing failing(op, products % 4);
        try {
            broken.advance(failing, 40, calm, {});
        } catch (const std::runtime_error&) {
        }
    }
    for (int probe = 0; probe < 2; ++probe) {
        CHECK(straight.probe(probe).alpha == broken.probe(probe).alpha);
        CHECK(straight.probe(probe).beta == broken.probe(probe).beta);
    }
    CHECK(largest_product(broken, calm, n, 40) < 16 * kEps);
}

TEST(restarts_go_on_to_the_last_dimension) {
    const std::int64_t n = 40;
    std::vector<double> a(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i) a[static_cast<std::size_t>(i * n + i)] = i < 10 ? 1.0 : -2.0;
    DenseOperator<double> op(n, a.data(), n);
    Team team(2);
    Lanczos<double> run(n, Reorth::full, true, true);
    run.draw(2, StartLaw::rademacher, 7);
    run.advance(op, n, team, {});
    for (int probe = 0; probe < 2; ++probe) {
        CHECK(run.probe(probe).steps() == n);
        CHECK(run.probe(probe).restarts >= 20);
        double trace = 0;
        for (double x : run.probe(probe).alpha) trace += x;
        CHECK_NEAR(trace, 10.0 - 60.0, 1e-12);
    }
    CHECK_THROWS(ArgumentError, "full", Lanczos<double>(n, Reorth::none, false, true));
}

TEST(indices_outside_a_sparse_matrix_are_refused) {
    const std::int32_t start[] = {0, 1, 2}, column[] = {0, 2};
    const double value[] = {1.0, 1.0};
    using Csr = CsrOperator<double, std::int32_t>;
    CHECK_THROWS(ArgumentError, "", Csr(2, 2, start, column, value));
}

}  // namespace

CHECK_MAIN()
