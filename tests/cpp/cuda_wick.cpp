// The Wick engine's device kernels, run on the CPU by the emulator, against csrc: the same bits.
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "cuda/wick/hafnian_sieve.hpp"
#include "random_tools.hpp"
#include "wick/hafnian.hpp"

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
    const HafnianResult device = hafnian(problem, std::ref(sum));
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
            const std::complex<double> device = hafnian(problem, std::ref(sum)).value;
            if (std::string(hafnian_work(problem).method) != "sieve") continue;  // other sums, other bits
            CHECK(same(device, hafnian(problem, resolve_isa(""), 1, {}).value));
        }
    }
}

TEST(integers_beyond_the_rounded_sum_are_exact_on_a_device_too) {
    const Points points(20, false, true);
    DeviceSum sum;
    const HafnianProblem problem = points.problem(false);
    CHECK(same(hafnian(problem, std::ref(sum)).value, hafnian(problem, resolve_isa(""), 1, {}).value));
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
    CHECK_THROWS(ArgumentError, "bytes of shared memory", hafnian(problem, std::ref(least)));
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

CHECK_MAIN()
