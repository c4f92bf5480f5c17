#include "wick/hafnian.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"

using namespace nnqft;

namespace {

// Distinct points with small integer covariances and means: every hafnian is an integer.
struct Theory {
    std::int64_t m;
    std::vector<double> K, mu;

    explicit Theory(std::int64_t points, bool complex = false) : m(points) {
        for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < m; ++j) {
                K.push_back(static_cast<double>((7919 * std::min(i, j) + 104729 * std::max(i, j) + 31 * i * j * (i + j)) % 7 - 3));
                if (complex) K.push_back(0.0);
            }
            mu.push_back(static_cast<double>(i * i % 3 - 1));
            if (complex) mu.push_back(0.0);
        }
    }
    HafnianProblem problem(bool mean, const std::int32_t* repeats, bool complex = false) const {
        return {m, complex, K.data(), mean ? mu.data() : nullptr, repeats};
    }
};

double value(const HafnianProblem& problem, unsigned threads = 1) { return hafnian(problem, resolve_isa(""), threads, {}).value.real(); }

// First point first, over the multiplicities left.
double enumerated(const Theory& theory, std::vector<std::int32_t>& left, bool mean) {
    const auto m = static_cast<std::size_t>(theory.m);
    std::size_t i = 0;
    while (i < m && left[i] == 0) ++i;
    if (i == m) return 1.0;
    --left[i];
    double sum = mean ? theory.mu[i] * enumerated(theory, left, mean) : 0.0;
    for (std::size_t j = i; j < m; ++j) {
        if (left[j] == 0) continue;
        const double ways = left[j];
        --left[j];
        sum += ways * theory.K[i * m + j] * enumerated(theory, left, mean);
        ++left[j];
    }
    ++left[i];
    return sum;
}

}  // namespace

TEST(hafnians_of_integers_are_the_sums_over_pairings) {
    for (const std::vector<std::int32_t>& repeats : std::vector<std::vector<std::int32_t>>{
             {1, 1}, {2}, {1, 1, 1}, {2, 2, 1, 1}, {3, 2, 1, 2}, {1, 1, 1, 1, 1, 1, 1, 1}, {2, 2, 2, 2, 1}, {2, 2, 2, 2, 2}, {4, 4, 2}, {0, 3, 0, 3}}) {
        const auto m = static_cast<std::int64_t>(repeats.size());
        const Theory theory(m), wide(m, true);
        for (bool mean : {false, true}) {
            std::vector<std::int32_t> left = repeats;
            const double exact = enumerated(theory, left, mean);
            CHECK(value(theory.problem(mean, repeats.data())) == exact);
            CHECK(value(wide.problem(mean, repeats.data(), true)) == exact);
        }
    }
}

TEST(derivatives_are_the_hafnians_without_those_points) {
    for (std::int64_t m : {2, 5, 9, 14, 17}) {
        for (std::int32_t twice : {0, 1, 4}) {
            const Theory theory(m);
            std::vector<std::int32_t> repeats(static_cast<std::size_t>(m), 1);
            for (std::int32_t i = 0; i < twice && i < m; ++i) repeats[static_cast<std::size_t>(m - 1 - i)] = 2;
            std::vector<double> K_bar(static_cast<std::size_t>(m * m)), mu_bar(static_cast<std::size_t>(m));
            CHECK(hafnian_derivative(theory.problem(true, repeats.data()), resolve_isa(""), 1, {}, K_bar.data(), mu_bar.data()));
            for (std::size_t i = 0; i < static_cast<std::size_t>(m); ++i) {
                const double r = repeats[i];
                --repeats[i];
                const double exact = r * value(theory.problem(true, repeats.data()));
                CHECK(std::abs(mu_bar[i] - exact) <= 1e-9 * (1.0 + std::abs(exact)));
                const std::size_t j = (i + 1) % static_cast<std::size_t>(m);
                const double s = repeats[j];
                --repeats[j];
                const double pair = 0.5 * r * s * value(theory.problem(true, repeats.data()));
                CHECK(std::abs(K_bar[i * static_cast<std::size_t>(m) + j] - pair) <= 1e-9 * (1.0 + std::abs(pair)));
                ++repeats[j];
                ++repeats[i];
            }
        }
    }
}

// Points of which no two coincide: those would be merged, and the work with them.
Theory irregular(std::int64_t points) {
    Theory theory(points);
    for (std::int64_t i = 0; i < points; ++i)
        for (std::int64_t j = 0; j < points; ++j) theory.K[static_cast<std::size_t>(i * points + j)] = std::sin(static_cast<double>(1 + i * j + i + j));
    return theory;
}

TEST(long_work_is_shared_reports_and_can_be_given_up) {
    const Theory theory = irregular(36), longer = irregular(60);
    const HafnianProblem problem = theory.problem(true, nullptr);
    const double alone = value(problem), shared = value(problem, 3);
    CHECK(alone == shared);
    const HafnianResult result = hafnian(longer.problem(false, nullptr), resolve_isa(""), 2, [](double) { return false; });
    CHECK(!result.finished);
}

TEST(what_no_machine_can_do_is_an_error) {
    const Theory theory = irregular(700);
    CHECK_THROWS(ArgumentError, "out of reach", value(theory.problem(true, nullptr)));
    CHECK(!std::isfinite(hafnian_work(theory.problem(true, nullptr)).multiply_adds));
}

CHECK_MAIN()
