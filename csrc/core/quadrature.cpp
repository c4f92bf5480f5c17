#include "core/quadrature.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.hpp"

namespace nnqft {
namespace {

constexpr double kPi = 3.14159265358979323846;

void check(const char* rule, std::size_t n) {
    if (n == 0) throw ArgumentError(std::string(rule) + ": n is 0, expected at least 1 node");
}

// Newton's method; step(x) = f(x) / f'(x). It converges quadratically, so after a step of 1e-11 only rounding is left.
template <class Step>
double root_near(double x, const Step& step) {
    for (int i = 0; i < 12; ++i) {
        const double change = step(x);
        x -= change;
        if (std::fabs(change) <= 1e-11 * std::fabs(x)) break;
    }
    return x;
}

// P_n at x = 1 - y, with slope = (1 - x^2) dP_n/dx = n (P_{n-1} - x P_n).
// Differences instead of the three-term recurrence: near y = 0, where the nodes crowd, they keep all digits of y.
//   (k + 1) (P_{k+1} - P_k) = k (P_k - P_{k-1}) - (2k + 1) y P_k
struct Legendre {
    double value = 1.0, slope;

    Legendre(std::size_t n, double y) {
        double difference = 0.0;
        for (std::size_t i = 0; i < n; ++i) {
            const double k = static_cast<double>(i);
            difference = (k * difference - (2 * k + 1) * y * value) / (k + 1);
            value += difference;
        }
        slope = static_cast<double>(n) * (y * value - difference);
    }
};

// h_n = He_n / sqrt(n!), orthonormal under N(0, 1), and h_{n-1}: both are (value, previous) * 2^exponent.
//   sqrt(k + 1) h_{k+1} = x h_k - sqrt(k) h_{k-1},   h_n' = sqrt(n) h_{n-1}
struct Hermite {
    double value = 1.0, previous = 0.0;
    int exponent = 0;

    Hermite(std::size_t n, double x) {
        for (std::size_t k = 0; k < n; ++k) {
            const double next = (x * value - std::sqrt(static_cast<double>(k)) * previous) /
                                std::sqrt(static_cast<double>(k + 1));
            previous = value;
            value = next;
            if (std::fabs(value) > 0x1p500) {  // h_n reaches e^n at x = 2 sqrt(n), where the nodes end
                value *= 0x1p-500;
                previous *= 0x1p-500;
                exponent += 500;
            }
        }
    }
};

}  // namespace

void gauss_legendre(std::size_t n, double* nodes, double* weights) {
    check("gauss_legendre", n);
    const double size = static_cast<double>(n);
    for (std::size_t i = 0; 2 * i < n; ++i) {  // from x = 1 inwards; the other half is the mirror image
        // Tricomi: x_i = cos((i + 3/4) pi / (n + 1/2)) + O(1/n^2), and 1 - cos a = 2 sin^2(a / 2).
        const double s = std::sin(kPi / 2 * (static_cast<double>(i) + 0.75) / (size + 0.5));
        const bool middle = 2 * i + 1 == n;
        const double y = middle ? 1.0 : root_near(2 * s * s, [n](double at) {
            const Legendre p(n, at);
            return -p.value * at * (2 - at) / p.slope;  // d/dy = -d/dx
        });
        const double slope = Legendre(n, y).slope;
        nodes[i] = y - 1;
        nodes[n - 1 - i] = 1 - y;
        weights[i] = weights[n - 1 - i] = 2 * y * (2 - y) / (slope * slope);  // 2 / ((1 - x^2) P_n'^2)
    }
}

void gauss_hermite(std::size_t n, double* nodes, double* weights) {
    check("gauss_hermite", n);
    const double size = static_cast<double>(n);
    for (std::size_t i = 0; 2 * i < n; ++i) {  // from the largest root inwards
        // WKB: x_i = sqrt(4n + 2) cos a,  a - sin a cos a = (i + 3/4) 2 pi / (2n + 1); within 5 % of the spacing.
        const double area = (static_cast<double>(i) + 0.75) * 2 * kPi / (2 * size + 1);
        const double a = root_near(std::min(std::cbrt(1.5 * area), kPi / 2), [area](double at) {
            const double s = std::sin(at);
            return (at - s * std::cos(at) - area) / (2 * s * s);
        });
        const bool middle = 2 * i + 1 == n;
        const double x = middle ? 0.0 : root_near(std::sqrt(4 * size + 2) * std::cos(a), [n, size](double at) {
            const Hermite h(n, at);
            return h.value / (std::sqrt(size) * h.previous);
        });
        const Hermite h(n, x);
        nodes[i] = -x;
        nodes[n - 1 - i] = x;
        // 1 / (n h_{n-1}^2)
        weights[i] = weights[n - 1 - i] = std::ldexp(1 / h.previous / h.previous / size, -2 * h.exponent);
    }
}

}  // namespace nnqft
