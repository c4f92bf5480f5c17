// Ensemble kernels: float32 without any instruction set.

#include "core/vec_scalar.hpp"

namespace nnqft {
namespace {
using VF = Lanes<float>;
}  // namespace
}  // namespace nnqft

#include "ensemble/arrays.hpp"
#include "ensemble/evaluate.hpp"
#include "ensemble/kernels.hpp"

namespace nnqft {

EnsembleKernels<float> ensemble_kernels_scalar() {
    return {block_sums<VF>, outputs<VF>, draw_tensor<VF>, normals, words, activate_array<VF>};
}

}  // namespace nnqft
