// From an activation's name at run time to its kernel.
#pragma once

#include "core/activation.hpp"

namespace nnqft {
namespace {

template <Activation A>
struct ActivationTag {
    static constexpr Activation value = A;
};

// body(ActivationTag<A>) for the activation that `kind` names.
template <class Body>
NNQFT_BOTH void with_activation(Activation kind, Body&& body) {
    switch (kind) {
        case Activation::relu: return body(ActivationTag<Activation::relu>{});
        case Activation::leaky_relu: return body(ActivationTag<Activation::leaky_relu>{});
        case Activation::erf: return body(ActivationTag<Activation::erf>{});
        case Activation::tanh: return body(ActivationTag<Activation::tanh>{});
        case Activation::sigmoid: return body(ActivationTag<Activation::sigmoid>{});
        case Activation::softplus: return body(ActivationTag<Activation::softplus>{});
        case Activation::swish: return body(ActivationTag<Activation::swish>{});
        case Activation::gelu: return body(ActivationTag<Activation::gelu>{});
        case Activation::sin: return body(ActivationTag<Activation::sin>{});
        case Activation::cos: return body(ActivationTag<Activation::cos>{});
        case Activation::exp: return body(ActivationTag<Activation::exp>{});
        case Activation::identity: return body(ActivationTag<Activation::identity>{});
        case Activation::polynomial: return body(ActivationTag<Activation::polynomial>{});
    }
}

template <class Real>
NNQFT_BOTH ActivationParams<Real> activation_params(const double* values, int count) {
    ActivationParams<Real> params{};
    params.count = count;
    for (int i = 0; i < count; ++i) params.values[i] = static_cast<Real>(values[i]);
    return params;
}

}  // namespace
}  // namespace nnqft
