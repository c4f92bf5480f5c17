// Gauss rules: the moments they must integrate exactly, and nodes computed with 40 digits.
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/quadrature.hpp"

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

struct Rule {
    std::vector<double> nodes, weights;
    Rule(void (*gauss)(std::size_t, double*, double*), std::size_t n) : nodes(n), weights(n) {
        gauss(n, nodes.data(), weights.data());
    }
    template <class F>
    double integrate(const F& f) const {  // pairs of mirrored nodes from the outside in: small terms first
        double sum = 0;
        const std::size_t n = nodes.size();
        for (std::size_t i = 0; i < n / 2; ++i) sum += weights[i] * (f(nodes[i]) + f(nodes[n - 1 - i]));
        return n % 2 ? sum + weights[n / 2] * f(nodes[n / 2]) : sum;
    }
};
Rule legendre(std::size_t n) { return {nnqft::gauss_legendre, n}; }
Rule hermite(std::size_t n) { return {nnqft::gauss_hermite, n}; }

constexpr std::size_t kSizes[] = {1, 2, 3, 4, 5, 8, 13, 32, 63, 64, 100, 201, 512};

TEST(nodes_ascend_and_mirror_and_weights_are_positive) {
    for (std::size_t n = 1; n <= 300; ++n)
        for (const Rule& rule : {legendre(n), hermite(n)})
            for (std::size_t i = 0; i < n; ++i) {
                CHECK(i == 0 || rule.nodes[i - 1] < rule.nodes[i]);
                CHECK(rule.nodes[i] == -rule.nodes[n - 1 - i]);
                CHECK(rule.weights[i] > 0 && rule.weights[i] == rule.weights[n - 1 - i]);
            }
}

TEST(gauss_legendre_integrates_even_powers_below_2n_exactly) {
    // 40 eps from the weights, and for a power p up to p eps / 2 from the nodes.
    for (std::size_t n : kSizes) {
        const Rule rule = legendre(n);
        for (std::size_t p = 0; p < 2 * n; p += 2) {
            const double power = static_cast<double>(p), exact = 2 / (power + 1);
            const double got = rule.integrate([&](double x) { return std::pow(x, power); });
            CHECK_NEAR(got, exact, (40 + power / 2) * kEps * exact);
        }
    }
}

TEST(gauss_hermite_gives_the_moments_of_the_normal_law) {
    // E z^p = (p - 1)!!; its terms peak at z^2 = p, where weights are (30 + 2 p) eps off, and nodes 3 eps each.
    for (std::size_t n : kSizes) {
        const Rule rule = hermite(n);
        double exact = 1;
        for (std::size_t p = 0; p < 2 * n && p <= 100; p += 2) {
            const double power = static_cast<double>(p);
            if (p > 0) exact *= power - 1;
            const double got = rule.integrate([&](double z) { return std::pow(z, power); });
            CHECK_NEAR(got / exact, 1.0, (30 + 5 * power) * kEps);
        }
    }
}

TEST(one_degree_more_than_promised_is_not_exact) {
    // The error at degree 2n is n! for the monic Hermite polynomial, and (2^n n!^2 / (2n)!)^2 2 / (2n + 1) for Legendre.
    const double hermite_6 = hermite(3).integrate([](double z) { return std::pow(z, 6); });
    CHECK_NEAR(15 - hermite_6, 6.0, 1e-13);
    const double legendre_4 = legendre(2).integrate([](double x) { return std::pow(x, 4); });
    CHECK_NEAR(2.0 / 5 - legendre_4, 8.0 / 45, 1e-15);
}

TEST(rules_of_few_nodes_have_their_closed_forms) {
    const Rule l = legendre(3), h = hermite(3);
    CHECK_NEAR(l.nodes[2], std::sqrt(0.6), kEps);
    CHECK_NEAR(l.weights[2], 5.0 / 9, 2 * kEps);
    CHECK_NEAR(l.weights[1], 8.0 / 9, 2 * kEps);
    CHECK_NEAR(h.nodes[2], std::sqrt(3.0), 2 * kEps);
    CHECK_NEAR(h.weights[2], 1.0 / 6, kEps);
    CHECK_NEAR(h.weights[1], 2.0 / 3, 2 * kEps);
    CHECK(legendre(1).nodes[0] == 0.0 && legendre(1).weights[0] == 2.0);
    CHECK(hermite(1).nodes[0] == 0.0 && hermite(1).weights[0] == 1.0);
}

TEST(rules_of_512_nodes_agree_with_40_digit_arithmetic) {
    struct Value {
        std::size_t i;
        double node, weight;
    };
    // Newton's method on the three-term recurrences with 40 digits.
    const Value in_legendre[] = {
        {256, 3.0649621851593962e-3, 6.1299051754057858e-3},
        {257, 9.1947713864329108e-3, 6.1296748380364987e-3},
        {300, 0.2694116677712386, 5.9032800843924967e-3},
        {400, 0.77440574218203168, 3.8783408472885173e-3},
        {510, 0.99994199460684565, 6.5765731659240196e-5},
        {511, 0.99998899098438187, 2.8252637373934692e-5},
    };
    const Value in_hermite[] = {
        {256, 0.069386184856601049, 0.055229100155055644},
        {257, 0.20815920639380212, 0.054176188156693253},
        {280, 3.4031287178453688, 1.6966764409044339e-4},
        {300, 6.1947497050118343, 2.5960165276037823e-10},
        {350, 13.308170661281791, 2.0158058630122561e-40},
        {400, 20.810501059100599, 5.6660346839086589e-96},
        {490, 37.394835314439724, 2.1831902003908709e-305},  // beyond 2^-1000
    };
    const Rule l = legendre(512), h = hermite(512);
    for (const Value& v : in_legendre) {
        CHECK_NEAR(l.nodes[v.i], v.node, kEps);
        CHECK_NEAR(l.weights[v.i], v.weight, 40 * kEps * v.weight);
    }
    for (const Value& v : in_hermite) {
        CHECK_NEAR(h.nodes[v.i], v.node, 4 * kEps * v.node);
        CHECK_NEAR(h.weights[v.i], v.weight, (30 + 2 * v.node * v.node) * kEps * v.weight);
    }
}

TEST(hermite_weights_below_the_smallest_double_are_zero_and_the_sum_stays_one) {
    const Rule rule = hermite(2000);
    CHECK(rule.weights[0] == 0.0);
    CHECK_NEAR(rule.nodes[1999], std::sqrt(8002.0), 2.0);  // just inside the turning point of the WKB phase
    CHECK_NEAR(rule.integrate([](double) { return 1.0; }), 1.0, 40 * kEps);
}

TEST(smooth_functions_converge_to_their_integrals) {
    CHECK_NEAR(legendre(20).integrate([](double x) { return std::exp(x); }), std::exp(1.0) - std::exp(-1.0), 4 * kEps);
    CHECK_NEAR(hermite(40).integrate([](double z) { return std::cos(z); }), std::exp(-0.5), 4 * kEps);
}

TEST(rules_without_nodes_are_refused) {
    using nnqft::ArgumentError;
    CHECK_THROWS(ArgumentError, "gauss_legendre: n is 0, expected at least 1", nnqft::gauss_legendre(0, nullptr, nullptr));
    CHECK_THROWS(ArgumentError, "gauss_hermite: n is 0, expected at least 1", nnqft::gauss_hermite(0, nullptr, nullptr));
}

}  // namespace

CHECK_MAIN()
