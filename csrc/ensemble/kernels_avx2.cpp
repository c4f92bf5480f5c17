// Ensemble kernels: float32 with AVX2 and FMA.

#include "core/vec_avx2.hpp"

#include "ensemble/arrays.hpp"
#include "ensemble/evaluate.hpp"
#include "ensemble/kernels.hpp"

namespace nnqft {

EnsembleKernels<float> ensemble_kernels_avx2() {
    return {block_sums<VF>, outputs<VF>, draw_tensor<VF>, normals, words, activate_array<VF>};
}

}  // namespace nnqft
