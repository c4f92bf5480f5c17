// Ensemble kernels: float64 reference path (libm).

#include "core/vec_scalar.hpp"

namespace nnqft {
namespace {
using VF = Lanes<float>;
}  // namespace
}  // namespace nnqft

#include "core/activation_f64.hpp"
#include "ensemble/arrays.hpp"
#include "ensemble/evaluate.hpp"
#include "ensemble/kernels.hpp"

namespace nnqft {

EnsembleKernels<double> ensemble_kernels_float64() {
    return {block_sums<Lanes<double>>, outputs<Lanes<double>>, draw_tensor<Lanes<double>>, normals, words, activate_array<Lanes<double>>};
}

}  // namespace nnqft
