// Lanczos on a device, emulated, against the driver of csrc: start vectors to the bit, T to the rounding of its sums.
#include "cuda/lanczos/lanczos.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "core/team.hpp"
#include "cuda/lanczos/csr.hpp"
#include "emulation.hpp"
#include "lanczos/lanczos.hpp"
#include "lanczos/operators.hpp"

namespace {

using nnqft::emulation::Order;
namespace device = nnqft::cuda;
using device::LanczosRun;

constexpr double kNan = __builtin_nan("");

// A path of n sites, 2 on the diagonal, -1 beside it, and a long first row and column; times `scale`.
template <class T, class I>
struct Matrix {
    std::int64_t n;
    std::vector<I> start{0}, column;
    std::vector<T> value;
    Matrix(std::int64_t n, double scale) : n(n) {
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
                const bool far = (i == 0 || j == 0) && std::max(i, j) < 70;
                if (std::abs(i - j) > 1 && !far) {
                    if (i > 0 && j > i + 1) break;
                    if (i > 0 && j > 0 && j < i - 1) j = i - 2;  // the loop goes on at i - 1
                    if (i == 0 && j >= 70) break;
                    continue;
                }
                column.push_back(static_cast<I>(j));
                value.push_back(static_cast<T>(scale * (i == j ? 2.0 + 0.001 * static_cast<double>(i % 97) : -1.0 / (1.0 + static_cast<double>(std::abs(i - j))))));
            }
            start.push_back(static_cast<I>(column.size()));
        }
    }
    device::CsrMatrix<T, I> on_device() const { return {n, start.data(), column.data(), value.data()}; }
};

// A run's memory; "device" memory is host memory here.
template <class T>
struct Memory {
    LanczosRun<T> run;
    std::vector<T> vectors, Q;
    std::vector<double> alpha, beta, omega, workspace;
    std::vector<device::Probe> probes;
    device::Control control{};

    Memory(std::int64_t n, std::int64_t count, std::int64_t steps, device::Reorth reorth) {
        const auto size = [](std::int64_t i) { return static_cast<std::size_t>(i); };
        vectors.assign(size(3 * n * count), T(kNan));
        Q.assign(size(reorth == device::Reorth::none ? 0 : (steps + 1) * n * count), T(kNan));
        alpha.assign(size(steps * count), 0.0);
        beta = alpha;
        omega.assign(size(3 * (steps + 2) * count), kNan);
        workspace.assign(size(device::lanczos_workspace_size(n, count, steps, reorth)), kNan);
        probes.assign(size(count), device::Probe{});
        run.n = n;
        run.probes = count;
        run.capacity = steps;
        run.reorth = reorth;
        run.epsilon = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
        run.q = vectors.data();
        run.previous = run.q + n * count;
        run.w = run.previous + n * count;
        run.Q = Q.empty() ? nullptr : Q.data();
        run.alpha = alpha.data();
        run.beta = beta.data();
        run.omega = omega.data();
        run.probe = probes.data();
        run.control = &control;
        run.workspace = workspace.data();
    }
    Memory(const Memory&) = delete;

    template <class I>
    void steps(const Matrix<T, I>& A, std::int64_t count) {
        const int lanes = device::csr_lanes(static_cast<double>(A.column.size()) / static_cast<double>(A.n));
        for (std::int64_t i = 0; i < count; ++i) {
            CHECK(device::csr_apply(A.on_device(), lanes, run.probes, run.q, run.w, nullptr) == cudaSuccess);
            CHECK(device::lanczos_step(run, control.step == 0, nullptr) == cudaSuccess);
        }
    }
    void draw(device::StartLaw law, std::uint64_t seed) {
        CHECK(device::lanczos_draw(run, law, seed, 0, nullptr) == cudaSuccess);
        CHECK(device::lanczos_start(run, true, nullptr) == cudaSuccess);
    }
};

template <class T>
void compare(std::int64_t n, std::int64_t probes, std::int64_t steps, nnqft::Reorth reorth, double scale) {
    const auto kind = reorth == nnqft::Reorth::none ? device::Reorth::none : reorth == nnqft::Reorth::full ? device::Reorth::full : device::Reorth::partial;
    const Matrix<T, std::int32_t> A(n, scale);
    nnqft::CsrOperator<T, std::int32_t> op(n, A.start.back(), A.start.data(), A.column.data(), A.value.data());
    nnqft::Lanczos<T> want(n, reorth, false);
    want.draw(probes, nnqft::StartLaw::gaussian, 11);
    nnqft::Team team(1, [] {});
    want.advance(op, steps, team, {});
    Memory<T> got(n, probes, steps, kind);
    got.draw(device::StartLaw::gaussian, 11);
    got.steps(A, steps);
    // Both sum n products in float64 and round vectors to T; without reorthogonalisation the difference grows with converged Ritz values.
    const double eps = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52, bound = (reorth == nnqft::Reorth::full ? 64.0 : 4096.0) * eps * 4.0 * scale;
    for (std::int64_t c = 0; c < probes; ++c) {
        const nnqft::Tridiagonal& t = want.probe(c);
        CHECK(got.probes[static_cast<std::size_t>(c)].steps == t.steps());
        CHECK((got.probes[static_cast<std::size_t>(c)].breakdown != 0) == t.breakdown);
        CHECK_NEAR(got.probes[static_cast<std::size_t>(c)].norm2, t.norm2, 1e-13 * t.norm2);
        for (std::int64_t j = 0; j < t.steps(); ++j) {
            CHECK_NEAR(got.alpha[static_cast<std::size_t>(c * steps + j)], t.alpha[static_cast<std::size_t>(j)], bound);
            if (j + 1 < t.steps()) CHECK_NEAR(got.beta[static_cast<std::size_t>(c * steps + j)], t.beta[static_cast<std::size_t>(j)], bound);
        }
    }
}

TEST(start_vectors_have_the_bits_of_the_cpu_and_unit_length) {
    for (const std::int64_t n : {1, 5, 2047, 2048, 4099}) {
        for (const int law : {0, 1, 2}) {
            Memory<double> m(n, 3, 1, device::Reorth::none);
            CHECK(device::lanczos_draw(m.run, static_cast<device::StartLaw>(law), 77, (1ull << 33) + 5, nullptr) == cudaSuccess);
            std::vector<double> want(static_cast<std::size_t>(n));
            bool same = true;
            for (std::uint64_t c = 0; c < 3; ++c) {
                const double norm2 = nnqft::draw_start(static_cast<nnqft::StartLaw>(law), 77, (1ull << 33) + 5 + c, n, want.data());
                same = same && std::equal(want.begin(), want.end(), m.run.q + static_cast<std::int64_t>(c) * n);
                CHECK_NEAR(m.probes[c].norm2, norm2, 1e-14 * norm2);
            }
            CHECK(same);
            CHECK(device::lanczos_start(m.run, true, nullptr) == cudaSuccess);
            for (std::int64_t c = 0; c < 3; ++c) {
                double sum = 0.0;
                for (std::int64_t i = 0; i < n; ++i) sum += m.run.q[c * n + i] * m.run.q[c * n + i];
                CHECK_NEAR(sum, 1.0, 1e-13);
            }
        }
    }
}

TEST(t_agrees_with_the_cpu_for_every_kind_of_reorthogonalisation) {
    for (const auto reorth : {nnqft::Reorth::none, nnqft::Reorth::full, nnqft::Reorth::partial}) {
        compare<double>(2500, 3, 24, reorth, 1.0);
        compare<double>(300, 1, 24, reorth, 0x1p-600);
        compare<float>(700, 2, 12, reorth, 1.0);
    }
    compare<double>(40, 2, 20, nnqft::Reorth::full, 1.0);  // the last steps of a complete space depend on every rounding
    compare<double>(3, 1, 3, nnqft::Reorth::full, 0x1p500);
    compare<double>(1, 1, 1, nnqft::Reorth::none, 1.0);
}

TEST(bits_depend_on_neither_the_order_of_threads_nor_the_number_of_probes_nor_scales) {
    const Matrix<double, std::int64_t> A(2100, 1.0), small(2100, 0x1p-40);
    std::vector<double> first;
    for (const Order order : {Order::forward, Order::reverse, Order::shuffled}) {
        nnqft::emulation::set_order(order, 5);
        Memory<double> m(2100, 2, 6, device::Reorth::partial);
        m.draw(device::StartLaw::rademacher, 3);
        m.steps(A, 6);
        if (first.empty()) first = m.alpha;
        CHECK(m.alpha == first);
    }
    nnqft::emulation::set_order(Order::forward);
    Memory<double> alone(2100, 1, 6, device::Reorth::partial), scaled(2100, 1, 6, device::Reorth::partial);
    alone.draw(device::StartLaw::rademacher, 3);
    alone.steps(A, 6);
    CHECK(std::equal(alone.alpha.begin(), alone.alpha.end(), first.begin()));
    scaled.draw(device::StartLaw::rademacher, 3);
    scaled.steps(small, 6);
    for (std::size_t j = 0; j < 6; ++j) CHECK(scaled.alpha[j] == 0x1p-40 * alone.alpha[j] && scaled.beta[j] == 0x1p-40 * alone.beta[j]);
}

TEST(full_reorthogonalisation_keeps_the_basis_orthonormal) {
    const std::int64_t n = 90, steps = 90;
    Memory<double> m(n, 1, steps, device::Reorth::full);
    m.draw(device::StartLaw::sphere, 1);
    m.steps(Matrix<double, std::int32_t>(n, 1.0), steps);
    const std::int64_t k = m.probes[0].steps;
    double worst = 0.0;
    for (std::int64_t i = 0; i < k; ++i)
        for (std::int64_t j = 0; j <= i; ++j) {
            double sum = i == j ? -1.0 : 0.0;
            for (std::int64_t r = 0; r < n; ++r) sum += m.Q[static_cast<std::size_t>(i * n + r)] * m.Q[static_cast<std::size_t>(j * n + r)];
            worst = std::max(worst, std::fabs(sum));
        }
    CHECK_NEAR(worst, 0.0, 1e-13);
}

TEST(a_complete_krylov_space_stops_one_probe_and_not_the_others) {
    const std::int64_t n = 8;
    Memory<double> m(n, 2, 5, device::Reorth::none);
    for (std::int64_t i = 0; i < n; ++i) m.run.q[i] = i == 3 ? 1e-300 : 0.0, m.run.q[n + i] = 1.0 + static_cast<double>(i);
    CHECK(device::lanczos_start(m.run, false, nullptr) == cudaSuccess);
    CHECK_NEAR(m.probes[0].norm2, 0.0, 1e-300);
    for (int step = 0; step < 5; ++step) {
        for (std::int64_t i = 0; i < 2 * n; ++i) m.run.w[i] = static_cast<double>(i % n) * m.run.q[i];  // diag(0 ... 7)
        CHECK(device::lanczos_step(m.run, step == 0, nullptr) == cudaSuccess);
    }
    CHECK(m.probes[0].steps == 1 && m.probes[0].breakdown == 1 && m.alpha[0] == 3.0 && m.beta[0] == 0.0);
    CHECK(m.probes[1].steps == 5 && m.probes[1].breakdown == 0 && m.control.step == 5);
}

TEST(a_run_halts_where_the_operator_returns_no_number_and_goes_on_when_it_does) {
    const std::int64_t n = 5000;
    const Matrix<double, std::int32_t> A(n, 1.0);
    Memory<double> m(n, 3, 6, device::Reorth::full), whole(n, 3, 6, device::Reorth::full);
    for (Memory<double>* run : {&m, &whole}) run->draw(device::StartLaw::rademacher, 9);
    whole.steps(A, 6);
    for (const int broken_at : {0, 2}) {
        m.steps(A, broken_at - m.control.step);
        CHECK(device::csr_apply(A.on_device(), 2, 3, m.run.q, m.run.w, nullptr) == cudaSuccess);
        m.run.w[n + 4500] = broken_at == 0 ? kNan : HUGE_VAL;
        CHECK(device::lanczos_step(m.run, broken_at == 0, nullptr) == cudaSuccess);
        CHECK(m.control.halted == 1 && m.control.step == broken_at && m.probes[1].bad == 1 && m.probes[0].bad == 0 && m.probes[2].bad == 0);
        m.steps(A, 1);  // nothing moves
        CHECK(m.control.step == broken_at && m.probes[0].steps == broken_at);
        CHECK(device::lanczos_clear(m.run, nullptr) == cudaSuccess);
    }
    m.steps(A, 4);
    CHECK(m.alpha == whole.alpha && m.beta == whole.beta);
}

TEST(start_vectors_that_point_nowhere_are_reported) {
    Memory<float> m(3000, 3, 1, device::Reorth::none);
    std::fill(m.run.q, m.run.q + 9000, 0.0f);
    m.run.q[4000] = HUGE_VALF;
    m.run.q[8999] = 1e-40f;
    CHECK(device::lanczos_start(m.run, false, nullptr) == cudaSuccess);
    CHECK(m.probes[0].bad == 1 && m.probes[1].bad == 2 && m.probes[2].bad == 0 && m.run.q[8999] == 1.0f);
}

template <class T, class I>
void check_csr() {
    const Matrix<T, I> A(777, 1.0);
    for (const std::int64_t vectors : {1, 4, 7}) {
        std::vector<T> X(static_cast<std::size_t>(777 * vectors));
        for (std::size_t i = 0; i < X.size(); ++i) X[i] = static_cast<T>(std::sin(static_cast<double>(i)));
        for (int lanes = 1; lanes <= 32; lanes *= 2) {
            std::vector<T> Y(X.size(), T(kNan));
            CHECK(device::csr_apply(A.on_device(), lanes, vectors, X.data(), Y.data(), nullptr) == cudaSuccess);
            double worst = 0.0;
            for (std::int64_t c = 0; c < vectors; ++c)
                for (std::int64_t i = 0; i < 777; ++i) {
                    double sum = 0.0;
                    for (I e = A.start[static_cast<std::size_t>(i)]; e < A.start[static_cast<std::size_t>(i) + 1]; ++e)
                        sum += static_cast<double>(A.value[static_cast<std::size_t>(e)]) * X[static_cast<std::size_t>(c * 777 + A.column[static_cast<std::size_t>(e)])];
                    worst = std::max(worst, std::fabs(sum - Y[static_cast<std::size_t>(c * 777 + i)]));
                }
            CHECK_NEAR(worst, 0.0, sizeof(T) == 4 ? 4 * 0x1p-23 : 16 * 0x1p-52);
        }
    }
}

TEST(sparse_products_are_right_for_any_number_of_lanes_and_vectors) {
    check_csr<double, std::int32_t>();
    check_csr<double, std::int64_t>();
    check_csr<float, std::int32_t>();
    check_csr<float, std::int64_t>();
}

TEST(lanes_follow_the_length_of_rows) {
    CHECK(device::csr_lanes(0.0) == 1 && device::csr_lanes(2.0) == 1 && device::csr_lanes(5.0) == 4 && device::csr_lanes(1e9) == 32 && device::csr_lanes(kNan) == 1);
    CHECK(device::lanczos_fits(1, 1) && !device::lanczos_fits(0, 1) && !device::lanczos_fits(1, 65536));
}

}  // namespace

CHECK_MAIN()
