// Names of the activations, in the order that kernels, bindings and files use.
#pragma once

#include <stdint.h>

namespace nnqft {

enum class Activation : int32_t {
    relu, leaky_relu, erf, tanh, sigmoid, softplus, swish, gelu, sin, cos, exp, identity, polynomial
};
constexpr int kMaxActivationParams = 16;  // leaky_relu: slope; polynomial: c0, c1, ...

}  // namespace nnqft
