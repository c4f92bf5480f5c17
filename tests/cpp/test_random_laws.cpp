// Do the random numbers follow their laws? One fixed seed and |z| < 4: a correct generator fails one of about 40
// checks with probability 0.003, once and for all. Standard errors come from the law's exact moments, not from the
// sample. Kolmogorov-Smirnov: sqrt(n) D < 1.95, exceeded with probability 0.001.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "check.hpp"
#include "core/normal.hpp"
#include "random_tools.hpp"

namespace {

using random_unit::units;
using random_unit::Words;

constexpr double kZ = 4.0;
constexpr uint64_t kSeed = 7;

// Tile i holds the words of 16 nets and 4 rows. Consecutive tiles walk through nets, rows and columns.
void tile_words(uint64_t i, uint32_t tensor, uint32_t out[4][16]) {
    units().back()->words(kSeed, tensor, 16 * (i & 1023), (i >> 10) & 31, static_cast<uint32_t>(i >> 15), out[0]);
}

// Sum of f over n values whose law gives f this mean and variance, as a z-score.
struct Score {
    double mean, variance, sum = 0.0;
    uint64_t n = 0;
    void add(double f) {
        sum += f;
        ++n;
    }
    double z() const { return (sum / static_cast<double>(n) - mean) / std::sqrt(variance / static_cast<double>(n)); }
};

template <class Cdf>
double kolmogorov_smirnov(std::vector<double> x, const Cdf& cdf) {
    std::sort(x.begin(), x.end());
    const double n = static_cast<double>(x.size());
    double d = 0.0;
    for (size_t i = 0; i < x.size(); ++i) {
        const double p = cdf(x[i]), below = static_cast<double>(i) / n;
        d = std::max({d, p - below, below + 1.0 / n - p});
    }
    return std::sqrt(n) * d;
}

std::vector<double> student_sample(float nu, float sigma, int n) {
    Words word;
    std::vector<double> x(static_cast<size_t>(n));
    for (double& value : x) {
        const uint32_t k0 = word();
        value = nnqft::student_t(k0, word(), nu, sigma);
    }
    return x;
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x * M_SQRT1_2); }

}  // namespace

// 2^26 normals of standard deviation 1: moments, tails, and products of the normals of one block, of neighbouring nets.
TEST(normals_have_the_moments_tails_and_independence_of_their_law) {
    Score moments[6] = {{0, 1}, {1, 2}, {0, 15}, {3, 96}, {0, 945}, {15, 10170}};
    Score products[6] = {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {1, 8}, {1, 8}};
    const double edges[] = {1, 2, 3, 4, 5};
    double counts[5] = {}, largest = 0.0;
    const uint64_t tiles = 1u << 20;
    for (uint64_t i = 0; i < tiles; ++i) {
        uint32_t w[4][16];
        tile_words(i, 3, w);
        float z[4][16], laws[random_unit::n_laws][16];
        for (int pair = 0; pair < 2; ++pair) {
            units().back()->laws(w[2 * pair], w[2 * pair + 1], 1.0f, 5.0f, laws[0]);
            std::copy_n(laws[random_unit::normal_0], 32, z[2 * pair]);
        }
        for (int l = 0; l < 16; ++l) {
            for (int r = 0; r < 4; ++r) {
                const double x = z[r][l];
                double power = 1.0;
                for (Score& m : moments) m.add(power *= x);
                for (int e = 0; e < 5; ++e) counts[e] += std::fabs(x) > edges[e];
                largest = std::max(largest, std::fabs(x));
            }
            const double a = z[0][l], b = z[1][l], c = z[2][l], next = z[0][(l + 1) & 15];
            products[0].add(a * b);
            products[1].add(a * c);
            products[2].add(b * c);
            products[3].add(a * next);
            products[4].add(a * a * b * b);  // Box-Muller pairs share the radius: only exact maths makes them independent
            products[5].add(a * a * c * c);
        }
    }
    const double n = 64.0 * static_cast<double>(tiles);
    for (const Score& m : moments) CHECK_NEAR(m.z(), 0.0, kZ);
    for (const Score& p : products) CHECK_NEAR(p.z(), 0.0, kZ);
    for (int e = 0; e < 5; ++e) {
        const double expected = n * std::erfc(edges[e] * M_SQRT1_2);
        CHECK_NEAR((counts[e] - expected) / std::sqrt(expected), 0.0, kZ);
    }
    CHECK(largest > 5.0 && largest < 6.7638);
}

TEST(largest_normal_is_the_documented_bound) {
    float z0, z1;
    nnqft::normal_pair(0u, 0u, 1.0f, z0, z1);
    CHECK_NEAR(z0, std::sqrt(-2.0 * std::log(0x1p-33)), 1e-6);
    CHECK(z1 > 0.0f && z1 < 1e-8f);
    nnqft::normal_pair(0xffffffffu, 0x20000000u, 1.0f, z0, z1);  // the smallest radius; a quarter turn, less half a step
    CHECK(z0 > 0.0f && z0 < 1e-13f);
    CHECK_NEAR(z1, std::sqrt(-2.0 * std::log1p(-0x1p-33)), 1e-11);
}

TEST(uniforms_and_signs_have_the_moments_of_their_laws) {
    Score uniform[3] = {{0, 1.0 / 3.0}, {1.0 / 3.0, 4.0 / 45.0}, {0, 1.0 / 7.0}}, sign{0, 1};
    Words word;
    for (int i = 0; i < 1 << 22; ++i) {
        const uint32_t k = word();
        const double u = nnqft::uniform_symmetric(k, 1.0f);
        uniform[0].add(u);
        uniform[1].add(u * u);
        uniform[2].add(u * u * u);
        sign.add(nnqft::random_sign(k, 1.0f));
    }
    for (const Score& m : uniform) CHECK_NEAR(m.z(), 0.0, kZ);
    CHECK_NEAR(sign.z(), 0.0, kZ);
}

// Closed forms of Student's distribution function for nu = 1, 2, 3, 4.
TEST(student_t_follows_its_distribution_function) {
    const int n = 1 << 18;
    const auto nu1 = [](double t) { return 0.5 + std::atan(t) / M_PI; };
    const auto nu2 = [](double t) { return 0.5 + 0.5 * t / std::sqrt(2.0 + t * t); };
    const auto nu3 = [](double t) { return 0.5 + (t / std::sqrt(3.0) / (1.0 + t * t / 3.0) + std::atan(t / std::sqrt(3.0))) / M_PI; };
    const auto nu4 = [](double t) {
        const double r = t * t / (1.0 + t * t / 4.0);
        return 0.5 + 0.375 * std::copysign(std::sqrt(r), t) * (1.0 - r / 12.0);
    };
    CHECK(kolmogorov_smirnov(student_sample(1.0f, 1.0f, n), nu1) < 1.95);
    CHECK(kolmogorov_smirnov(student_sample(2.0f, 1.0f, n), nu2) < 1.95);
    // Standard deviation 1 asked for: t itself is sqrt(nu / (nu - 2)) wider.
    CHECK(kolmogorov_smirnov(student_sample(3.0f, 1.0f, n), [&](double x) { return nu3(x * std::sqrt(3.0)); }) < 1.95);
    CHECK(kolmogorov_smirnov(student_sample(4.0f, 1.0f, n), [&](double x) { return nu4(x * std::sqrt(2.0)); }) < 1.95);
    CHECK(kolmogorov_smirnov(student_sample(1e30f, 1.0f, n), normal_cdf) < 1.95);
}

// Unit variance: <x^4> = 3 (nu - 2) / (nu - 4), <x^8> = 105 (nu - 2)^3 / ((nu - 4) (nu - 6) (nu - 8)).
TEST(student_t_has_the_standard_deviation_asked_for_and_its_fourth_moment) {
    const double fourth = 3.0 * 18.0 / 16.0, eighth = 105.0 * 18.0 * 18.0 * 18.0 / (16.0 * 14.0 * 12.0);
    Score second{1, fourth - 1}, quartic{fourth, eighth - fourth * fourth};
    for (const double x : student_sample(20.0f, 0.25f, 1 << 22)) {
        const double y = x / 0.25;
        second.add(y * y);
        quartic.add(y * y * y * y);
    }
    CHECK_NEAR(second.z(), 0.0, kZ);
    CHECK_NEAR(quartic.z(), 0.0, kZ);
}

// t / z = sqrt(expm1(y) / y) = 1 + y / 4 + O(y^2), y = -2 log(u) / nu, times sqrt(1 - 2 / nu) = 1 - 1 / nu + ...
TEST(student_t_tends_to_the_normal_without_cancellation) {
    const float infinity = std::numeric_limits<float>::infinity();
    Words word;
    for (int i = 0; i < 200000; ++i) {
        const uint32_t k0 = i & 1 ? word() : word() | 0xffff0000u, k1 = word();  // the latter next to u = 1
        float z, other;
        nnqft::normal_pair(k0, k1, 0.7f, z, other);
        CHECK(nnqft::bits(nnqft::student_t(k0, k1, infinity, 0.7f)) == nnqft::bits(z));
        CHECK_NEAR(nnqft::student_t(k0, k1, 1e30f, 0.7f), z, 0x1p-23 * std::fabs(z));
        const double nu = 1e6, slope = -0.5 * std::log((k0 + 0.5) * 0x1p-32) / nu - 1.0 / nu;
        const double rounding = 6 * 0x1p-24;  // z has two roundings that t has not, t four that z has not
        CHECK_NEAR(nnqft::student_t(k0, k1, 1e6f, 0.7f), z * (1.0 + slope), rounding * std::fabs(z));
    }
}

// Relative error of t: a few ulp for the bulk, plus y / 2 times that of y, one ulp, in the tail, where t = sqrt(nu) e^(y/2).
TEST(student_t_of_few_degrees_of_freedom_is_accurate_far_into_the_tail) {
    double worst = 0.0;
    Words word;
    for (const float nu : {0.13f, 0.25f, 0.5f, 1.0f, 2.5f, 7.0f})
        for (int i = 0; i < 40000; ++i) {
            const uint32_t k0 = word() >> (i & 31), k1 = word() & 0x7fffffffu;
            float c, s;
            nnqft::circle_point(k1, c, s);
            const long double y = -2.0L * logl((k0 + 0.5L) * 0x1p-32L) / nu;
            const long double want = sqrtl(nu * expm1l(y)) * c * (nu > 2 ? sqrtl(1.0L - 2.0L / nu) : 1.0L);
            const float got = nnqft::student_t(k0, k1, nu, 1.0f);
            if (fabsl(want) > std::numeric_limits<float>::max())
                CHECK(std::isinf(got) && (got > 0) == (want > 0));
            else
                worst = std::max(worst, std::fabs(static_cast<double>((got - want) / want)) / (1.0 + 0.5 * static_cast<double>(y)));
        }
    CHECK(worst < 4 * 0x1p-24);
}

CHECK_MAIN()
