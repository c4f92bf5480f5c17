// Activation functions phi with their first two derivatives in float32, one source for all back ends: F is float,
// Lanes<float> or VF. The float64 reference path is activation_f64.hpp.
#pragma once

#include "core/activation_kind.hpp"
#include "core/elementary.hpp"

namespace nnqft {

// leaky_relu: values[0] is the slope for x <= 0. polynomial: values[i] multiplies x^i for i < count, count >= 1.
template <class Real>
struct ActivationParams {
    Real values[kMaxActivationParams];
    int count;
};

namespace {

template <class F>
NNQFT_HD F polynomial_of(F x, const ActivationParams<float>& p) {
    F y(p.values[p.count - 1]);
    for (int i = p.count - 2; i >= 0; --i) y = madd(y, x, F(p.values[i]));
    return y;
}

// 1 / (1 + e^-x) in terms of z = e^-|x|: z / (1 + z) for x < 0. Worst 2.5 ulp.
template <class F>
NNQFT_HD F sigmoid_of(F x) {
    const F z = exp_of_negative(minus_absolute(x));
    return select(lt(x, F(0.0f)), z, F(1.0f)) / (F(1.0f) + z);
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). Worst 1.9 ulp.
template <class F>
NNQFT_HD F softplus_of(F x) {
    return greater(F(0.0f), x) + log1p_of(exp_of_negative(minus_absolute(x)));
}

// x / (1 + e^-x). For x < 0 it is x m 2^k / (1 + z), z = m 2^k: the scale comes last, since x can lift a product out of
// the subnormal numbers that z alone would have been rounded to. Worst 3.4 ulp.
template <class F>
NNQFT_HD F swish_of(F x) {
    const auto negative = lt(x, F(0.0f));
    F k;
    const F r = reduce_exp(greater(F(-120.0f), minus_absolute(x)), k);
    const F m = exp_reduced(r);
    const F numerator = greater(F(-120.0f), x) * select(negative, m, F(1.0f));
    return scale2(numerator / (F(1.0f) + scale2(m, k)), select(negative, k, F(0.0f)));
}

// x P(Z < x) = x - x P(Z > x) for x >= 0, x P(Z > |x|) for x < 0. Worst 3.6 ulp.
template <class F>
NNQFT_HD F gelu_of(F x) {
    const F a = lesser(F(15.0f), absolute(x));
    const F v = a / (a + F(2.5f));
    F k;
    const F m = gauss_parts(mills_polynomial(v) * v, a, F(-0.5f), k);
    const F tail = scale2(m, k);
    return select(lt(x, F(0.0f)), -tail, x - tail);
}

// phi(x).
template <Activation A, class F>
NNQFT_HD F activate(F x, const ActivationParams<float>& p) {
    (void)p;
    if constexpr (A == Activation::relu) return greater(F(0.0f), x);
    else if constexpr (A == Activation::leaky_relu) return select(lt(x, F(0.0f)), F(p.values[0]) * x, x);
    else if constexpr (A == Activation::erf) return erf_of(x);
    else if constexpr (A == Activation::tanh) return tanh_of(x);
    else if constexpr (A == Activation::sigmoid) return sigmoid_of(x);
    else if constexpr (A == Activation::softplus) return softplus_of(x);
    else if constexpr (A == Activation::swish) return swish_of(x);
    else if constexpr (A == Activation::gelu) return gelu_of(x);
    else if constexpr (A == Activation::sin) return sin_of(x);
    else if constexpr (A == Activation::cos) return cos_of(x);
    else if constexpr (A == Activation::exp) return exp_of(x);
    else if constexpr (A == Activation::polynomial) return polynomial_of(x, p);
    else return x;
}

// phi'' for phi' = sigmoid(x) in terms of z = e^-|x|: z / (1 + z)^2 times (1 - z) / (1 + z) with the sign of -x.
template <class F>
NNQFT_HD F sigmoid_second(F x, F z, F first) {
    const F r = first * ((F(1.0f) - z) / (F(1.0f) + z));
    return select(lt(x, F(0.0f)), r, -r);
}

// phi(x), phi'(x), phi''(x). relu'(0) = 0, leaky_relu'(0) = slope, and both second derivatives are 0 everywhere.
// Where a derivative has zeros, its error is bounded relative to its largest value (tests/cpp/test_activation.cpp).
template <Activation A, class F>
NNQFT_HD void activate_derivatives(F x, const ActivationParams<float>& p, F& y, F& dy, F& d2y) {
    const F zero(0.0f), one(1.0f), two(2.0f);
    if constexpr (A == Activation::polynomial) {
        y = F(p.values[p.count - 1]);
        dy = d2y = zero;
        for (int i = p.count - 2; i >= 0; --i) {
            d2y = madd(d2y, x, dy);
            dy = madd(dy, x, y);
            y = madd(y, x, F(p.values[i]));
        }
        d2y = two * d2y;
        return;
    } else if constexpr (A == Activation::swish) {
        const F z = exp_of_negative(minus_absolute(x)), s = one + z;
        const F first = z / (s * s), x0 = clamp(x, F(-120.0f), F(120.0f));  // infinity * 0 is NaN
        y = swish_of(x);
        dy = madd(x0, first, select(lt(x, zero), z, one) / s);
        d2y = madd(x0, sigmoid_second(x, z, first), two * first);
        return;
    } else if constexpr (A == Activation::gelu) {
        const F x0 = clamp(x, F(-15.0f), F(15.0f)), a = absolute(x0), d = a + F(2.5f);
        F k;
        const F m = gauss_parts(mills_polynomial(a / d) / d, a, F(-0.5f), k);
        const F tail = scale2(m, k);
        const F n = gauss_parts(F(0.398942292f), a, F(-0.5f), k);  // 1 / sqrt(2 pi)
        const F density = scale2(n, k);
        y = gelu_of(x);
        dy = madd(x0, density, select(lt(x, zero), tail, one - tail));
        d2y = density * madd(-x0, x0, two);
        return;
    }
    y = activate<A>(x, p);
    if constexpr (A == Activation::relu || A == Activation::leaky_relu) {
        const F slope(A == Activation::relu ? 0.0f : p.values[0]);
        dy = select(lt(zero, x), one, select(lt(x, one), slope, x));  // the last case is NaN
        d2y = dy - dy;
    } else if constexpr (A == Activation::erf) {
        const F x0 = clamp(x, F(-11.0f), F(11.0f));
        F k;
        const F m = gauss_parts(F(1.12837917f), x0, F(-1.0f), k);  // 2 / sqrt(pi)
        dy = scale2(m, k);
        d2y = F(-2.0f) * x0 * dy;
    } else if constexpr (A == Activation::tanh) {
        const F z = exp_of_negative(two * minus_absolute(x)), s = one + z;
        dy = F(4.0f) * z / (s * s);
        d2y = F(-2.0f) * y * dy;
    } else if constexpr (A == Activation::sigmoid) {
        const F z = exp_of_negative(minus_absolute(x)), s = one + z;
        dy = z / (s * s);
        d2y = sigmoid_second(x, z, dy);
    } else if constexpr (A == Activation::softplus) {
        const F z = exp_of_negative(minus_absolute(x)), s = one + z;
        dy = select(lt(x, zero), z, one) / s;
        d2y = z / (s * s);
    } else if constexpr (A == Activation::sin) {
        dy = cos_of(x);
        d2y = -y;
    } else if constexpr (A == Activation::cos) {
        dy = -sin_of(x);
        d2y = -y;
    } else if constexpr (A == Activation::exp) {
        dy = d2y = y;
    } else {
        dy = one;
        d2y = zero;
    }
}

}  // namespace
}  // namespace nnqft
