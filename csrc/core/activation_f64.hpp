// Activation functions with their first two derivatives in float64, through libm: the reference path. Same meaning as
// activation.hpp; kept apart so that no instruction-set unit ever compiles a libm template.
#pragma once

#include <cmath>

#include "core/activation.hpp"
#include "core/vec_scalar.hpp"

namespace nnqft {
namespace {

struct ActivationValue {
    double y, dy, d2y;
};

template <Activation A>
[[maybe_unused]] static ActivationValue activation_f64(double x, const ActivationParams<double>& p) {
    const double z = std::exp(-std::fabs(x)), s = 1.0 + z;
    // sigmoid and its derivatives
    const double g = (x < 0.0 ? z : 1.0) / s, dg = z / (s * s), d2g = dg * (x < 0.0 ? 1.0 - z : z - 1.0) / s;
    if constexpr (A == Activation::relu) return {x < 0.0 ? 0.0 : x, x > 0.0 ? 1.0 : x < 1.0 ? 0.0 : x, 0.0};
    else if constexpr (A == Activation::leaky_relu) {
        return {x < 0.0 ? p.values[0] * x : x, x > 0.0 ? 1.0 : x < 1.0 ? p.values[0] : x, 0.0};
    } else if constexpr (A == Activation::erf) {
        const double dy = 1.1283791670955126 * std::exp(-x * x);
        return {std::erf(x), dy, dy == 0.0 ? 0.0 : -2.0 * x * dy};
    } else if constexpr (A == Activation::tanh) {
        const double y = std::tanh(x), z2 = z * z, dy = 4.0 * z2 / ((1.0 + z2) * (1.0 + z2));
        return {y, dy, -2.0 * y * dy};
    } else if constexpr (A == Activation::sigmoid) {
        return {g, dg, d2g};
    } else if constexpr (A == Activation::softplus) {
        return {(x < 0.0 ? 0.0 : x) + std::log1p(z), g, dg};
    } else if constexpr (A == Activation::swish) {
        if (std::isinf(x)) return {x < 0.0 ? -0.0 : x, x < 0.0 ? 0.0 : 1.0, 0.0};
        return {x * g, g + x * dg, 2.0 * dg + x * d2g};
    } else if constexpr (A == Activation::gelu) {
        if (std::isinf(x)) return {x < 0.0 ? -0.0 : x, x < 0.0 ? 0.0 : 1.0, 0.0};
        const double cdf = 0.5 * std::erfc(-0.70710678118654752 * x), density = 0.39894228040143268 * std::exp(-0.5 * x * x);
        return {x * cdf, cdf + x * density, density == 0.0 ? 0.0 : density * (2.0 - x * x)};
    } else if constexpr (A == Activation::sin) {
        return {std::sin(x), std::cos(x), -std::sin(x)};
    } else if constexpr (A == Activation::cos) {
        return {std::cos(x), -std::sin(x), -std::cos(x)};
    } else if constexpr (A == Activation::exp) {
        const double y = std::exp(x);
        return {y, y, y};
    } else if constexpr (A == Activation::polynomial) {
        double y = p.values[p.count - 1], dy = 0.0, half = 0.0;
        for (int i = p.count - 2; i >= 0; --i) {
            half = half * x + dy;
            dy = dy * x + y;
            y = y * x + p.values[i];
        }
        return {y, dy, 2.0 * half};
    } else {
        return {x, 1.0, 0.0};
    }
}

template <Activation A, class F>
NNQFT_HD F activate(F x, const ActivationParams<double>& p) {
    if constexpr (sizeof(F) == sizeof(double)) {
        return activation_f64<A>(x, p).y;
    } else {
        for (int l = 0; l < F::width; ++l) x.v[l] = activation_f64<A>(x.v[l], p).y;
        return x;
    }
}

template <Activation A, class F>
NNQFT_HD void activate_derivatives(F x, const ActivationParams<double>& p, F& y, F& dy, F& d2y) {
    if constexpr (sizeof(F) == sizeof(double)) {
        const ActivationValue r = activation_f64<A>(x, p);
        y = r.y;
        dy = r.dy;
        d2y = r.d2y;
    } else {
        for (int l = 0; l < F::width; ++l) {
            const ActivationValue r = activation_f64<A>(x.v[l], p);
            y.v[l] = r.y;
            dy.v[l] = r.dy;
            d2y.v[l] = r.d2y;
        }
    }
}

}  // namespace
}  // namespace nnqft
