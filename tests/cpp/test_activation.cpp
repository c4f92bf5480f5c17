// Activations: float64 against long double and against difference quotients, float32 against float64, and the bits of
// every instruction set against the one-lane code. Built without -mfma: madd is then the emulation.
// Floats are sampled evenly by their bits, in scrambled order, so that one vector mixes all magnitudes; `--all` takes
// all 2^32.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "activation_unit.hpp"
#include "check.hpp"
#include "core/activation_f64.hpp"

namespace {

using activation_unit::Unit;
using nnqft::Activation;
using Real = long double;

bool sweep_all = false;
constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int kChunk = 4096;

// Bounds on the errors: of phi in ulp; of phi' and phi'' in 2^-24 of the sum of their terms' magnitudes. The worst
// values of phi found are erf 2.85, tanh 3.33, sigmoid 2.40, softplus 1.88, swish 3.34, gelu 3.57, sin 1.83, cos 2.07,
// exp 0.89.
struct Kind {
    Activation kind;
    const char* name;
    double value, first, second;
};
const std::vector<Kind> kKinds = {
    {Activation::relu, "relu", 0, 0, 0},
    {Activation::leaky_relu, "leaky_relu", 0.5, 0, 0},
    {Activation::erf, "erf", 2.9, 2.6, 3.3},
    {Activation::tanh, "tanh", 3.4, 5.2, 6.2},
    {Activation::sigmoid, "sigmoid", 2.5, 5.2, 6.5},
    {Activation::softplus, "softplus", 2, 3.1, 5.2},
    {Activation::swish, "swish", 3.4, 4.4, 4.8},
    {Activation::gelu, "gelu", 3.7, 4.6, 3.5},
    {Activation::sin, "sin", 2, 2.5, 2.4},
    {Activation::cos, "cos", 2.1, 2.4, 2.5},
    {Activation::exp, "exp", 0.9, 1.3, 1.3},
    {Activation::identity, "identity", 0, 0, 0},
};

std::vector<const Unit*> units() {
    std::vector<const Unit*> list = {&activation_unit::kScalar};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back(&activation_unit::kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        list.push_back(&activation_unit::kAvx512);
#endif
    return list;
}

// Calls f(x) for chunks of floats: all bit patterns scrambled (or one in 4096), then every float within 2^12 of the
// places where branches, clamps and number formats end.
template <class Body>
void for_floats(const Body& f) {
    std::vector<float> x(kChunk);
    const uint64_t count = sweep_all ? uint64_t{1} << 32 : uint64_t{1} << 20;
    for (uint64_t i = 0; i < count; i += kChunk) {
        for (int j = 0; j < kChunk; ++j) x[j] = nnqft::as_float(static_cast<uint32_t>((i + j) * 0x9E3779B1u));
        f(x);
    }
    const float edges[] = {0.0f,   1.1754944e-38f, 2e-4f, 0.17328679f, 0.34657359f, 0.41421356f, 0.78539819f, 0.88137359f,
                           1.0f,   1.5707964f,     2.0f,  3.1415927f,  3.925f,      9.02f,       11.0f,       14.2f,
                           15.0f,  40.0f,          87.3f, 88.72284f,   89.0f,       100.0f,      103.97f,     104.0f,
                           108.7f, 120.0f,         131072.0f, 8388608.0f, 2147483648.0f, 1e30f,  3.4028235e38f};
    for (const float edge : edges)
        for (const float sign : {1.0f, -1.0f})
            for (int half = 0; half < 2; ++half) {
                const uint32_t first = nnqft::bits(sign * edge) + static_cast<uint32_t>((half - 1) * kChunk);
                for (int j = 0; j < kChunk; ++j) x[j] = nnqft::as_float(first + static_cast<uint32_t>(j));
                f(x);
            }
}

template <class Body>
void with_float64(Activation kind, const Body& f) {
    switch (kind) {
#define CASE(name) \
    case Activation::name: return f(std::integral_constant<Activation, Activation::name>{})
        CASE(relu);
        CASE(leaky_relu);
        CASE(erf);
        CASE(tanh);
        CASE(sigmoid);
        CASE(softplus);
        CASE(swish);
        CASE(gelu);
        CASE(sin);
        CASE(cos);
        CASE(exp);
        CASE(identity);
        CASE(polynomial);
#undef CASE
    }
}

const nnqft::ActivationParams<double> kLeaky = {{0.01f}, 1}, kCubic = {{0.5, -2.0, 0.0, 3.0}, 4};

// phi from long double libm, in its textbook form.
Real textbook(Activation kind, Real x) {
    switch (kind) {
        case Activation::relu: return x > 0 ? x : 0;
        case Activation::leaky_relu: return x > 0 ? x : Real{0.01f} * x;
        case Activation::erf: return std::erf(x);
        case Activation::tanh: return std::tanh(x);
        case Activation::sigmoid: return 1 / (1 + std::exp(-x));
        case Activation::softplus: return x > 50 ? x + std::exp(-x) : std::log1p(std::exp(x));
        case Activation::swish: return x / (1 + std::exp(-x));
        case Activation::gelu: return x * std::erfc(-x * std::sqrt(Real{0.5})) / 2;
        case Activation::sin: return std::sin(x);
        case Activation::cos: return std::cos(x);
        case Activation::exp: return std::exp(x);
        case Activation::identity: return x;
        case Activation::polynomial: return 0.5L - 2 * x + 3 * x * x * x;
    }
    return 0;
}

// Sums of the magnitudes of the terms that phi' and phi'' consist of: what rounding errors are relative to.
void term_magnitudes(Activation kind, double x, double dy, double d2y, double& first, double& second) {
    first = std::fabs(dy);
    second = std::fabs(d2y);
    const double size = std::min(std::fabs(x), 800.0), z = std::exp(-size), slope = z / ((1 + z) * (1 + z));
    if (kind == Activation::sigmoid) second = slope;
    if (kind == Activation::swish) {
        first = 1 / (1 + std::exp(-std::max(x, -700.0))) + size * slope;
        second = (2 + size) * slope;
    }
    if (kind == Activation::gelu) {
        const double density = 0.3989422804 * std::exp(-0.5 * size * size);
        first = 0.5 * std::erfc(-0.7071067811865476 * x) + size * density;
        second = (2 + size * size) * density;
    }
}

double unit_in_last_place(double want) {
    int exponent;
    std::frexp(want, &exponent);
    return std::ldexp(1.0, std::max(exponent, -125) - 24);
}

bool same(float a, float b) { return nnqft::bits(a) == nnqft::bits(b) || (std::isnan(a) && std::isnan(b)); }

// phi of one float by the widest set; the other lanes hold something else.
float value(Activation kind, float x) {
    float in[16], out[16];
    std::fill(in, in + 16, 0.25f);
    in[11] = x;
    units().back()->values(kind, in, 16, out);
    return out[11];
}

struct Special {
    float at_zero, at_infinity, at_minus_infinity;
};
Special special(Activation kind) {
    switch (kind) {
        case Activation::erf: case Activation::tanh: return {0.0f, 1.0f, -1.0f};
        case Activation::sigmoid: return {0.5f, 1.0f, 0.0f};
        case Activation::softplus: return {0.69314718f, kInfinity, 0.0f};
        case Activation::relu: case Activation::swish: case Activation::gelu: return {0.0f, kInfinity, 0.0f};
        case Activation::sin: return {0.0f, kNan, kNan};
        case Activation::cos: return {1.0f, kNan, kNan};
        case Activation::exp: return {1.0f, kInfinity, 0.0f};
        case Activation::polynomial: return {0.5f, kInfinity, -kInfinity};
        default: return {0.0f, kInfinity, -kInfinity};
    }
}

}  // namespace

TEST(float64_values_agree_with_long_double) {
    for (const Kind& k : kKinds)
        with_float64(k.kind, [&](auto kind) {
            for (int i = -400000; i <= 400000; i += 7) {
                const double x = i * 1e-4 + 3e-7, got = nnqft::activate<kind()>(x, kLeaky);
                const double want = static_cast<double>(textbook(k.kind, x));
                // 4 ulp; gelu's argument x / sqrt 2 is rounded, and its tail falls like exp(-x^2 / 2).
                const double ulps = kind() == Activation::gelu && x < 0 ? 4 + x * x : 4;
                CHECK(std::fabs(got - want) <= ulps * 2.3e-16 * std::fabs(want) + 1e-300);
            }
        });
}

TEST(float64_derivatives_are_slopes_of_the_values) {
    const Real h = 1e-4L;
    const double eps = std::numeric_limits<Real>::epsilon();
    for (const Kind& k : kKinds)
        with_float64(k.kind, [&](auto kind) {
            for (double x = -12.003; x < 12; x += 0.0117) {
                Real f[5];
                for (int i = 0; i < 5; ++i) f[i] = textbook(k.kind, x + (i - 2) * h);
                const double slope = static_cast<double>((8 * (f[3] - f[1]) - (f[4] - f[0])) / (12 * h));
                const double curvature = static_cast<double>((16 * (f[3] + f[1]) - f[4] - f[0] - 30 * f[2]) / (12 * h * h));
                double y, dy, d2y;
                nnqft::activate_derivatives<kind()>(x, kLeaky, y, dy, d2y);
                // Truncation h^4 times the next derivative, rounding eps / h and eps / h^2, both relative to |f| + 1.
                const double scale = static_cast<double>(std::fabs(f[2])) + 1;
                CHECK_NEAR(dy, slope, scale * (1e-14 + 10 * eps / 1e-4));
                CHECK_NEAR(d2y, curvature, scale * (1e-13 + 20 * eps / 1e-8));
            }
        });
}

TEST(float64_lanes_repeat_the_scalar_values) {
    const volatile double first = -4.0;  // or the compiler would fold some of the calls, with its own rounding
    nnqft::Lanes<double> x, y, dy, d2y;
    for (int l = 0; l < 16; ++l) x.v[l] = first + 0.53 * l;
    nnqft::activate_derivatives<Activation::gelu>(x, kLeaky, y, dy, d2y);
    for (int l = 0; l < 16; ++l) {
        double a, b, c;
        nnqft::activate_derivatives<Activation::gelu>(x.v[l], kLeaky, a, b, c);
        CHECK(y.v[l] == a && dy.v[l] == b && d2y.v[l] == c && nnqft::activate<Activation::gelu>(x, kLeaky).v[l] == a);
    }
}

TEST(values_stay_within_their_ulp_bounds) {
    const Unit& unit = *units().back();
    for (const Kind& k : kKinds)
        with_float64(k.kind, [&](auto kind) {
            double worst = 0;
            float at = 0;
            std::vector<float> y(kChunk);
            for_floats([&](const std::vector<float>& x) {
                unit.values(k.kind, x.data(), kChunk, y.data());
                for (int i = 0; i < kChunk; ++i) {
                    const double want = nnqft::activate<kind()>(static_cast<double>(x[i]), kLeaky);
                    double error = std::fabs(y[i] - want) / unit_in_last_place(want);
                    // Overflow: infinity is right where the exact value rounds to it.
                    if (std::isinf(y[i])) error = static_cast<float>(want) == y[i] ? 0 : 1e9;
                    if (std::isnan(want)) error = std::isnan(y[i]) ? 0 : 1e9;
                    if (error <= worst) continue;
                    worst = error;
                    at = x[i];
                }
            });
            std::printf("%-10s %.3f ulp at %.9g\n", k.name, worst, at);
            CHECK(worst <= k.value);
        });
}

TEST(derivatives_stay_within_their_bounds) {
    const Unit& unit = *units().back();
    for (const Kind& k : kKinds)
        with_float64(k.kind, [&](auto kind) {
            double worst[2] = {};
            float at[2] = {};
            std::vector<float> y(kChunk), v(kChunk), got[2] = {y, y};
            for_floats([&](const std::vector<float>& x) {
                unit.derivatives(k.kind, x.data(), kChunk, y.data(), got[0].data(), got[1].data());
                unit.values(k.kind, x.data(), kChunk, v.data());
                for (int i = 0; i < kChunk; ++i) {
                    if (!same(y[i], v[i])) worst[0] = 1e9;
                    double value, want[2], magnitude[2];
                    nnqft::activate_derivatives<kind()>(static_cast<double>(x[i]), kLeaky, value, want[0], want[1]);
                    term_magnitudes(k.kind, x[i], want[0], want[1], magnitude[0], magnitude[1]);
                    for (int n = 0; n < 2; ++n) {
                        // A subnormal factor is off by 2^-150, times at most x^2 = 225 behind it.
                        const double error = std::max(0.0, std::fabs(got[n][i] - want[n]) - 225 * 0x1p-149);
                        double relative = error == 0 ? 0 : error / (0x1p-24 * magnitude[n]);
                        if (std::isinf(got[n][i])) relative = static_cast<float>(want[n]) == got[n][i] ? 0 : 1e9;
                        if (std::isnan(want[n])) relative = std::isnan(got[n][i]) ? 0 : 1e9;
                        if (relative <= worst[n]) continue;
                        worst[n] = relative;
                        at[n] = x[i];
                    }
                }
            });
            std::printf("%-10s phi' %.3f at %.9g, phi'' %.3f at %.9g\n", k.name, worst[0], at[0], worst[1], at[1]);
            CHECK(worst[0] <= k.first);
            CHECK(worst[1] <= k.second);
        });
}

TEST(polynomial_and_its_derivatives_round_once_per_step) {
    std::vector<float> y(kChunk), dy(kChunk), d2y(kChunk);
    for_floats([&](const std::vector<float>& x) {
        units().back()->derivatives(Activation::polynomial, x.data(), kChunk, y.data(), dy.data(), d2y.data());
        for (int i = 0; i < kChunk; ++i) {
            const double a = x[i], size = std::fabs(a);
            if (!(size < 1e12)) continue;
            double want[3];
            nnqft::activate_derivatives<Activation::polynomial>(a, kCubic, want[0], want[1], want[2]);
            CHECK_NEAR(y[i], want[0], 0x1p-22 * (0.5 + 2 * size + 3 * size * size * size));
            CHECK_NEAR(dy[i], want[1], 0x1p-22 * (2 + 9 * size * size));
            CHECK_NEAR(d2y[i], want[2], 0x1p-22 * 18 * size);
        }
    });
    CHECK(value(Activation::polynomial, 2.0f) == 20.5f);
}

TEST(every_instruction_set_returns_the_bits_of_one_lane) {
    std::vector<Activation> kinds = {Activation::polynomial};
    for (const Kind& k : kKinds) kinds.push_back(k.kind);
    std::vector<float> want[3], got[3];
    for (int n = 0; n < 3; ++n) want[n] = got[n] = std::vector<float>(kChunk);
    for (const Activation kind : kinds)
        for_floats([&](const std::vector<float>& x) {
            activation_unit::kOneLane.derivatives(kind, x.data(), kChunk, want[0].data(), want[1].data(), want[2].data());
            for (const Unit* unit : units()) {
                unit->derivatives(kind, x.data(), kChunk, got[0].data(), got[1].data(), got[2].data());
                int different = 0;
                for (int n = 0; n < 3; ++n)
                    for (int i = 0; i < kChunk; ++i) different += !same(want[n][i], got[n][i]);
                unit->values(kind, x.data(), kChunk, got[0].data());
                for (int i = 0; i < kChunk; ++i) different += !same(want[0][i], got[0][i]);
                CHECK(different == 0);
            }
        });
}

TEST(zeros_infinities_and_nan_give_the_limits) {
    std::vector<Activation> kinds = {Activation::polynomial};
    for (const Kind& k : kKinds) kinds.push_back(k.kind);
    for (const Activation kind : kinds) {
        const Special s = special(kind);
        CHECK(value(kind, 0.0f) == s.at_zero && value(kind, -0.0f) == s.at_zero);
        CHECK(same(value(kind, kInfinity), s.at_infinity));
        CHECK(value(kind, -kInfinity) == s.at_minus_infinity || std::isnan(s.at_minus_infinity));
        CHECK(std::isnan(value(kind, kNan)));
    }
}

TEST(odd_functions_are_odd_and_even_ones_even_bit_by_bit) {
    std::vector<float> minus(kChunk), a(kChunk), b(kChunk);
    for_floats([&](const std::vector<float>& x) {
        for (int i = 0; i < kChunk; ++i) minus[i] = -x[i];
        for (const Activation kind : {Activation::erf, Activation::tanh, Activation::sin, Activation::cos}) {
            units().back()->values(kind, x.data(), kChunk, a.data());
            units().back()->values(kind, minus.data(), kChunk, b.data());
            int different = 0;
            for (int i = 0; i < kChunk; ++i) different += !same(a[i], kind == Activation::cos ? b[i] : -b[i]);
            CHECK(different == 0);
        }
    });
}

TEST(saturating_functions_never_leave_their_range) {
    std::vector<float> y(kChunk);
    for_floats([&](const std::vector<float>& x) {
        for (const Activation kind : {Activation::erf, Activation::tanh, Activation::sigmoid, Activation::sin, Activation::cos}) {
            units().back()->values(kind, x.data(), kChunk, y.data());
            int outside = 0;
            for (int i = 0; i < kChunk; ++i) outside += std::fabs(y[i]) > 1 || (kind == Activation::sigmoid && y[i] < 0);
            CHECK(outside == 0);
        }
    });
    CHECK(value(Activation::erf, 3.925f) == 1 && value(Activation::erf, 3e38f) == 1 && value(Activation::tanh, -9.02f) == -1);
    CHECK(value(Activation::exp, 88.72283f) < kInfinity && value(Activation::exp, 88.72284f) == kInfinity);
    CHECK(value(Activation::exp, -103.97f) == 0x1p-149f && value(Activation::exp, -103.98f) == 0);
}

// 4 ulp of error could step back by 8.
TEST(monotone_functions_step_back_by_rounding_errors_only) {
    const std::pair<Activation, int> kinds[] = {{Activation::exp, 1},      {Activation::erf, 4},      {Activation::tanh, 4},
                                                {Activation::sigmoid, 3}, {Activation::softplus, 3}, {Activation::relu, 0}};
    std::vector<float> x(kChunk), y(kChunk);
    for (const auto& [kind, bound] : kinds) {
        int worst = 0;
        for (const float start : {-100.0f, -20.0f, -6.0f, -1.0f, -1e-3f, 1e-3f, 0.3465f, 1.0f, 3.0f, 8.0f, 80.0f})
            for (int block = 0; block < 64; ++block) {
                const int direction = start < 0 ? -1 : 1;  // towards larger numbers
                for (int i = 0; i < kChunk; ++i)
                    x[i] = nnqft::as_float(nnqft::bits(start) + static_cast<uint32_t>(direction * (block * kChunk + i)));
                units().back()->values(kind, x.data(), kChunk, y.data());
                for (int i = 1; i < kChunk; ++i)
                    if (y[i] < y[i - 1])
                        worst = std::max(worst, static_cast<int>((y[i - 1] - y[i]) / unit_in_last_place(y[i])));
            }
        CHECK(worst <= bound);
    }
}

// The float nearest to a multiple of pi/2 (Muller, "Elementary Functions", ch. 11): cos x = 1.6e-9; and the multiples
// of pi/2 themselves, where most of the argument cancels.
TEST(sin_and_cos_are_accurate_next_to_their_zeros) {
    std::vector<float> points = {16367173.0f * 0x1p72f, -16367173.0f * 0x1p72f, 3.4028235e38f, 131072.0f, 131073.0f};
    for (int k = 1; k < 200000; ++k) points.push_back(static_cast<float>(k * 1.5707963267948966));
    for (int e = 1; e < 127; ++e) points.push_back(std::ldexp(1.5707964f, e));
    points.resize((points.size() + 15) / 16 * 16, 1.0f);
    std::vector<float> s(points.size()), c(points.size());
    units().back()->values(Activation::sin, points.data(), static_cast<int>(points.size()), s.data());
    units().back()->values(Activation::cos, points.data(), static_cast<int>(points.size()), c.data());
    for (size_t i = 0; i < points.size(); ++i) {
        const double want_s = std::sin(static_cast<double>(points[i])), want_c = std::cos(static_cast<double>(points[i]));
        CHECK_NEAR(s[i], want_s, 2.0 * unit_in_last_place(want_s));
        CHECK_NEAR(c[i], want_c, 2.1 * unit_in_last_place(want_c));
    }
    CHECK(std::fabs(c[0]) < 2e-9);
}

int main(int argc, char** argv) {
    std::vector<char*> names;
    for (int i = 0; i < argc; ++i)
        if (std::strcmp(argv[i], "--all") == 0)
            sweep_all = true;
        else
            names.push_back(argv[i]);
    return check::run(static_cast<int>(names.size()), names.data());
}
