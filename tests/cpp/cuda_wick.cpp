// The Wick engine's device kernels, run on the CPU by the emulator, against csrc: the same bits.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "cuda/wick/all_multisets.hpp"
#include "cuda/wick/hafnian_sieve.hpp"
#include "cuda/wick/moments.hpp"
#include "cuda/wick/small_batch.hpp"
#include "wick/all_multisets.hpp"
#include "wick/hafnian.hpp"
#include "wick/moments.hpp"
#include "wick/multiset.hpp"
#include "wick/small_batch.hpp"

using namespace nnqft;

namespace {

// The sum over signs on the (emulated) device, in steps of `step` multiply-adds, by a block that may have `shared` bytes.
struct DeviceSum {
    std::size_t shared = 227 << 10;
    double step = 1e7;
    int calls = 0, cut = 0;

    bool operator()(const SievePlan& plan, SieveNumbers numbers, const std::vector<double>& input, std::vector<double>& sum) {
        cuda::SieveWalk walk({plan.level[0].vertices, plan.level[0].squares, plan.mean, plan.levels}, numbers, shared);
        const std::size_t element = walk.element();
        CHECK(input.size() == walk.inputs() * element);
        std::vector<double> workspace(walk.workspace_size() / sizeof(double)), sums(walk.n_sums() * element);
        const cuda::SieveMemory memory{walk.tables().tasks.data(), workspace.data(), sums.data()};
        while (!walk.finished()) CHECK(walk.advance(memory, input.data(), step, nullptr) == cudaSuccess);
        CHECK(walk.done() == walk.multiply_adds());
        walk.fold(sums.data());
        sum.assign(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(element));
        ++calls;
        cut = walk.cut();
        return true;
    }
};

struct Points {
    std::int64_t m;
    bool complex;
    std::vector<double> K, mu;

    Points(std::int64_t points, bool is_complex, bool integer = false) : m(points), complex(is_complex) {
        const std::int64_t parts = complex ? 2 : 1;
        K.resize(static_cast<std::size_t>(m * m * parts));
        std::uint32_t state = 12345;
        const auto next = [&] {
            state = state * 1664525u + 1013904223u;
            const double x = static_cast<double>(state >> 8) / 0x1p23 - 1.0;
            return integer ? std::rint(8.0 * x) : x;
        };
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = i; j < m; ++j)
                for (std::int64_t part = 0; part < parts; ++part)
                    K[static_cast<std::size_t>((i * m + j) * parts + part)] = K[static_cast<std::size_t>((j * m + i) * parts + part)] = next();
        for (std::int64_t i = 0; i < m * parts; ++i) mu.push_back(next());
    }
    HafnianProblem problem(bool mean, const std::int32_t* repeats = nullptr) const { return {m, complex, K.data(), mean ? mu.data() : nullptr, repeats}; }
};

bool same(std::complex<double> a, std::complex<double> b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void check_twin(const HafnianProblem& problem, DeviceSum sum = {}) {
    const HafnianResult host = hafnian(problem, resolve_isa(""), 1, {});
    const HafnianResult device = hafnian(problem, SignSum(std::ref(sum)));
    CHECK(same(host.value, device.value));
    CHECK(host.value != 0.0);
}

}  // namespace

TEST(hafnians_have_the_bits_of_the_cpu) {
    for (std::int64_t n : {14, 16, 18, 22, 26}) check_twin(Points(n, false).problem(false));
}

TEST(complex_and_loop_hafnians_have_the_bits_of_the_cpu) {
    for (std::int64_t n : {14, 17, 20}) {
        check_twin(Points(n, false).problem(true));
        check_twin(Points(n, true).problem(true));
        if (n % 2 == 0) check_twin(Points(n, true).problem(false));
    }
}

TEST(repeated_points_have_the_bits_of_the_cpu) {
    // One square and many, more squares than levels, three and four points in all.
    const std::vector<std::int32_t> all[] = {{2, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {2, 2, 2, 2, 2, 2, 2}, {3, 2, 2, 1, 2, 2, 1, 1}, {4, 4, 4, 1, 1},
                                             {2, 1, 1}, {1, 1, 1, 1}, {2, 2}, {2, 1}};
    for (const std::vector<std::int32_t>& repeats : all) {
        for (const bool complex : {false, true}) {
            const Points points(static_cast<std::int64_t>(repeats.size()), complex);
            const HafnianProblem problem = points.problem(true, repeats.data());
            DeviceSum sum;
            const std::complex<double> device = hafnian(problem, SignSum(std::ref(sum))).value;
            if (std::string(hafnian_work(problem).method) != "sieve") continue;  // other sums, other bits
            CHECK(same(device, hafnian(problem, resolve_isa(""), 1, {}).value));
        }
    }
}

TEST(integers_beyond_the_rounded_sum_are_exact_on_a_device_too) {
    const Points points(20, false, true);
    DeviceSum sum;
    const HafnianProblem problem = points.problem(false);
    CHECK(same(hafnian(problem, SignSum(std::ref(sum))).value, hafnian(problem, resolve_isa(""), 1, {}).value));
    CHECK(sum.calls == 2);  // modulo 2^64 as well
}

TEST(neither_the_cut_nor_the_steps_change_a_bit) {
    const Points points(20, false);
    const HafnianProblem problem = points.problem(false);
    for (const std::size_t shared : {4 << 10, 9 << 10, 20 << 10, 227 << 10}) {
        for (const double step : {1.0, 1e4, 1e9}) {
            DeviceSum sum{shared, step};
            check_twin(problem, sum);
        }
    }
    DeviceSum least{512};
    CHECK_THROWS(ArgumentError, "bytes of shared memory", hafnian(problem, SignSum(std::ref(least))));
}

TEST(a_tree_that_cannot_be_is_refused) {
    CHECK_THROWS(ArgumentError, "no sieve has 7 vertices", cuda::SieveTables({7, 0, false, 2}));
    CHECK_THROWS(ArgumentError, "no sieve has", cuda::SieveTables({8, 0, false, 1}));
    CHECK_THROWS(ArgumentError, "no sieve has", cuda::SieveTables({-2, 0, false, 0}));
    CHECK_THROWS(ArgumentError, "out of the reach", cuda::SieveTables({200, 0, false, 98}));
}

TEST(the_tables_have_the_multiply_adds_of_the_formula) {
    const double formula = hafnian_work(Points(30, false).problem(false)).multiply_adds;  // whose first three levels are done eight times each
    const double tables = cuda::SieveWalk({30, 0, false, 13}, SieveNumbers::real, 227 << 10).multiply_adds();
    CHECK_NEAR(tables, formula, 0.01 * formula);
}

// ---- batches

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

TEST(batches_of_tuples_have_the_bits_of_the_cpu) {
    const Points points(7, false);
    for (int n : {1, 2, 5, 8, 9, 12}) {
        for (const bool mean : {false, true}) {
            if (n % 2 && !mean) continue;
            const std::int64_t count = 150;
            std::vector<std::int32_t> index;
            for (std::int64_t k = 0; k < count * n; ++k) index.push_back(static_cast<std::int32_t>((k * k + 3 * k / n) % 7));
            const double* mu = mean ? points.mu.data() : nullptr;
            std::vector<double> host(count), device(count);
            index_hafnians({points.K.data(), mu, 7, index.data(), false, count, n}, {1, 3600.0, {}}, host.data());
            const std::vector<std::uint32_t> terms = cuda::small_table(n, mean).terms;
            cuda::BatchStatus status{std::numeric_limits<long long>::max(), 0};
            CHECK(cuda::tuple_hafnians(n, {points.K.data(), mu, 7, index.data(), false, count}, true, terms.data(), &status, device.data(), nullptr) == cudaSuccess);
            CHECK(same(host, device) && status.first_bad == std::numeric_limits<long long>::max() && status.out_of_window == 0);

            index[static_cast<std::size_t>(70 * n)] = 7;
            index[static_cast<std::size_t>(n - 1 + 90 * n)] = -1;
            CHECK(cuda::tuple_hafnians(n, {points.K.data(), mu, 7, index.data(), false, count}, true, terms.data(), &status, device.data(), nullptr) == cudaSuccess);
            CHECK(status.first_bad == 70 && std::isnan(device[70]) && std::isnan(device[90]) && device[71] == host[71]);
        }
    }
}

TEST(matrices_of_any_scale_have_the_bits_of_the_cpu) {
    for (int n : {4, 8, 10}) {
        std::vector<double> K, mu;
        for (const double scale : {1.0, 1e-300, 1e300, 1e-170, 5e-324}) {
            const Points points(n, false);
            for (const double x : points.K) K.push_back(x * scale);
            for (const double x : points.mu) mu.push_back(x * std::sqrt(scale));
        }
        const std::int64_t count = 5;
        std::vector<double> host(count), device(count);
        matrix_hafnians({K.data(), mu.data(), false, count, n}, {1, 3600.0, {}}, host.data());
        const std::vector<std::uint32_t> terms = cuda::small_table(n, true).terms;
        cuda::BatchStatus status{std::numeric_limits<long long>::max(), 0};
        CHECK(cuda::matrix_hafnians(n, {K.data(), mu.data(), false, count}, terms.data(), &status, device.data(), nullptr) == cudaSuccess);
        CHECK(status.out_of_window > 0 && device[0] == host[0]);
        std::vector<unsigned char> workspace(cuda::wide_workspace_size(n));
        CHECK(cuda::wide_matrix_hafnians(n, {K.data(), mu.data(), false, count}, device.data(), workspace.data(), nullptr) == cudaSuccess);
        CHECK(same(host, device));
    }
}

// ---- moments and multisets

TEST(moments_of_blocks_have_the_bits_of_the_cpu) {
    const std::vector<int> orders{0, 1, 2, 4, 5};
    for (const std::int64_t block : {16, 300}) {
        for (const bool weighted : {false, true}) {
            const std::int64_t m = 5, count = 640;
            std::vector<double> F, weights;
            for (std::int64_t i = 0; i < m * count; ++i) F.push_back(std::sin(1.0 + static_cast<double>(i)) * (i > 2000 && i % m == 1 ? 1e50 : 1.0));
            for (std::int64_t i = 0; i < count; ++i) weights.push_back(std::cos(static_cast<double>(i)));
            F[static_cast<std::size_t>(400 * m + 2)] = std::numeric_limits<double>::infinity();
            const auto bytes = [](const std::vector<double>& x) { return reinterpret_cast<const unsigned char*>(x.data()); };
            const std::int64_t blocks = (count + block - 1) / block;
            MomentSamples samples{{bytes(F), 8 * m, 8, false}, {weighted ? bytes(weights) : nullptr, 8, 0, false}, count};
            const MomentBlocks twin(m, orders);
            const auto n_sums = static_cast<std::size_t>(twin.n_sums());
            std::vector<double> host(static_cast<std::size_t>(blocks) * n_sums), device(host.size());
            std::vector<std::int64_t> bad(static_cast<std::size_t>(blocks));
            CHECK(twin.run(samples, block, 1, host.data(), bad.data(), {}));

            const cuda::MomentTables tables(m, orders, weighted);
            std::vector<std::int32_t> workspace(cuda::moment_workspace_size(m, count, block) / sizeof(std::int32_t));
            std::vector<long long> found(bad.size(), std::numeric_limits<long long>::max());
            const cuda::DeviceSamples there{bytes(F), 8 * m, 8, count, false, weighted ? bytes(weights) : nullptr, 8};
            const cuda::MomentMemory memory{tables.halves.data(), tables.cells.data(), tables.groups.data(), workspace.data()};
            for (const std::size_t shared : {std::size_t{227} << 10, 11000 + 64 * static_cast<std::size_t>(tables.most_halves)}) {  // 64 samples at a time, or few
                const cuda::MomentCut cut = cuda::moment_cut(m, tables.most_halves, shared);
                CHECK(cut.samples > 0 && cut.bytes <= shared);
                CHECK(cuda::moment_blocks(m, tables, there, block, memory, cut, device.data(), found.data(), nullptr) == cudaSuccess);
                for (std::size_t b = 0; b < bad.size(); ++b) {
                    CHECK(bad[b] < 0 ? found[b] == std::numeric_limits<long long>::max() : found[b] == bad[b]);
                    if (bad[b] < 0) CHECK(std::memcmp(&host[b * n_sums], &device[b * n_sums], n_sums * sizeof(double)) == 0);
                }
            }
        }
    }
    CHECK(cuda::moment_cut(30000, 256, 227 << 10).samples == 0);
}

TEST(all_multisets_have_the_bits_of_the_cpu) {
    for (const std::int64_t m : {1, 4}) {
        const Points points(m, false);
        const auto counts = cuda::multiset_counts(m, 9);
        std::vector<double> below, second;
        for (int n = 1; n <= 9; ++n) {
            std::vector<double> host(static_cast<std::size_t>(multiset_count(m, n))), device(host.size());
            all_multisets(m, n, points.K.data(), points.mu.data(), host.data(), 1, {});
            const cuda::MultisetTheory theory{m, points.K.data(), points.mu.data(), counts.data(), below.data(), second.data()};
            CHECK(cuda::all_multisets(n, theory, 0, multiset_count(m, n), nullptr, device.data(), nullptr) == cudaSuccess);
            CHECK(same(host, device));
            second = std::move(below);
            below = std::move(device);
        }
    }
}

CHECK_MAIN()
