// Activation functions phi and their first two derivatives, one source for every back end (float32).
// The float64 reference path is activation_f64.hpp.
#pragma once

#include "core/activation_kind.hpp"  // enum Activation, without any vector code
#include "core/elementary.hpp"

namespace nnqft {

// leaky_relu: values[0] is the slope for x < 0. polynomial: values[i] multiplies x^i, i < count.
template <class Real>
struct ActivationParams {
    Real values[kMaxActivationParams];
    int count;
};

namespace {

template <class F>
NNQFT_HD F polynomial_of(F x, const ActivationParams<typename Types<F>::Real>& p) {
    F y(p.values[p.count - 1]);
    for (int i = p.count - 2; i >= 0; --i) y = madd(y, x, F(p.values[i]));
    return y;
}

template <Activation A, class F>
NNQFT_HD F activate(F x, const ActivationParams<typename Types<F>::Real>& p) {
    if constexpr (A == Activation::relu) return greater(F(0.0f), x);
    if constexpr (A == Activation::leaky_relu) return select(lt(x, F(0.0f)), x * F(p.values[0]), x);
    if constexpr (A == Activation::erf) return erf_of(x);
    if constexpr (A == Activation::tanh) return tanh_of(x);
    if constexpr (A == Activation::sin) return sin_of(x);
    if constexpr (A == Activation::cos) return cos_of(x);
    if constexpr (A == Activation::exp) return exp_of(x);
    if constexpr (A == Activation::polynomial) return polynomial_of(x, p);
    if constexpr (A == Activation::identity) return x;
}

}  // namespace
}  // namespace nnqft
