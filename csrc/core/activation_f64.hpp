// Activation functions with their first two derivatives in float64, through libm: the reference path. Same meaning as
// activation.hpp; kept apart so that no instruction-set unit ever compiles a libm template.
#pragma once

#include <cmath>

#include "core/activation.hpp"
#include "core/vec_scalar.hpp"

namespace nnqft {
namespace {

template <Activation A>
NNQFT_BOTH double value_f64(double x, const ActivationParams<double>& p) {
    if constexpr (A == Activation::relu) {
        return x < 0.0 ? 0.0 : x;
    } else if constexpr (A == Activation::leaky_relu) {
        return x < 0.0 ? p.values[0] * x : x;
    } else if constexpr (A == Activation::erf) {
        return std::erf(x);
    } else if constexpr (A == Activation::tanh) {
        return std::tanh(x);
    } else if constexpr (A == Activation::sigmoid) {
        const double z = std::exp(-std::fabs(x));
        return (x < 0.0 ? z : 1.0) / (1.0 + z);
    } else if constexpr (A == Activation::softplus) {
        return (x < 0.0 ? 0.0 : x) + std::log1p(std::exp(-std::fabs(x)));
    } else if constexpr (A == Activation::swish) {
        return x < -800.0 ? -0.0 : x * value_f64<Activation::sigmoid>(x, p);
    } else if constexpr (A == Activation::gelu) {
        return x < -40.0 ? -0.0 : 0.5 * x * std::erfc(-0.70710678118654752 * x);
    } else if constexpr (A == Activation::sin) {
        return std::sin(x);
    } else if constexpr (A == Activation::cos) {
        return std::cos(x);
    } else if constexpr (A == Activation::exp) {
        return std::exp(x);
    } else if constexpr (A == Activation::polynomial) {
        double y = p.values[p.count - 1];
        for (int i = p.count - 2; i >= 0; --i) y = y * x + p.values[i];
        return y;
    } else {
        return x;
    }
}

template <Activation A>
NNQFT_BOTH void derivatives_f64(double x, const ActivationParams<double>& p, double& dy, double& d2y) {
    if constexpr (A == Activation::relu || A == Activation::leaky_relu) {
        const double slope = A == Activation::relu ? 0.0 : p.values[0];
        dy = x > 0.0 ? 1.0 : x < 1.0 ? slope : x;  // the last case is NaN
        d2y = dy - dy;
    } else if constexpr (A == Activation::erf) {
        const double x0 = std::fabs(x) > 40.0 ? 40.0 : x;  // infinity * 0 is NaN
        dy = 1.1283791670955126 * std::exp(-x0 * x0);      // 2 / sqrt(pi)
        d2y = -2.0 * x0 * dy;
    } else if constexpr (A == Activation::tanh) {
        const double z = std::exp(-2.0 * std::fabs(x));
        dy = 4.0 * z / ((1.0 + z) * (1.0 + z));
        d2y = -2.0 * std::tanh(x) * dy;
    } else if constexpr (A == Activation::sigmoid) {
        const double z = std::exp(-std::fabs(x)), s = 1.0 + z;
        dy = z / (s * s);
        d2y = dy * (x < 0.0 ? 1.0 - z : z - 1.0) / s;
    } else if constexpr (A == Activation::softplus) {
        double unused;
        dy = value_f64<Activation::sigmoid>(x, p);
        derivatives_f64<Activation::sigmoid>(x, p, d2y, unused);
    } else if constexpr (A == Activation::swish) {
        double first, second;
        const double x0 = x > 800.0 ? 800.0 : x < -800.0 ? -800.0 : x;
        derivatives_f64<Activation::sigmoid>(x0, p, first, second);
        dy = value_f64<Activation::sigmoid>(x, p) + x0 * first;
        d2y = 2.0 * first + x0 * second;
    } else if constexpr (A == Activation::gelu) {
        const double x0 = x > 40.0 ? 40.0 : x < -40.0 ? -40.0 : x;
        const double density = 0.39894228040143268 * std::exp(-0.5 * x0 * x0);  // 1 / sqrt(2 pi)
        dy = 0.5 * std::erfc(-0.70710678118654752 * x0) + x0 * density;
        d2y = density * (2.0 - x0 * x0);
    } else if constexpr (A == Activation::sin) {
        dy = std::cos(x);
        d2y = -std::sin(x);
    } else if constexpr (A == Activation::cos) {
        dy = -std::sin(x);
        d2y = -std::cos(x);
    } else if constexpr (A == Activation::exp) {
        dy = d2y = std::exp(x);
    } else if constexpr (A == Activation::polynomial) {
        double y = p.values[p.count - 1];
        dy = d2y = 0.0;
        for (int i = p.count - 2; i >= 0; --i) {
            d2y = d2y * x + 2.0 * dy;
            dy = dy * x + y;
            y = y * x + p.values[i];
        }
    } else {
        dy = 1.0;
        d2y = 0.0;
    }
}

// F is double or Lanes<double>.
template <Activation A, class F>
NNQFT_HD F activate(F x, const ActivationParams<double>& p) {
    if constexpr (sizeof(F) == sizeof(double)) {
        return value_f64<A>(x, p);
    } else {
        for (int l = 0; l < F::width; ++l) x.v[l] = value_f64<A>(x.v[l], p);
        return x;
    }
}
template <Activation A, class F>
NNQFT_HD void activate_derivatives(F x, const ActivationParams<double>& p, F& y, F& dy, F& d2y) {
    y = activate<A>(x, p);
    if constexpr (sizeof(F) == sizeof(double)) {
        derivatives_f64<A>(x, p, dy, d2y);
    } else {
        for (int l = 0; l < F::width; ++l) derivatives_f64<A>(x.v[l], p, dy.v[l], d2y.v[l]);
    }
}

}  // namespace
}  // namespace nnqft
