// Ensemble kernels: float32 with AVX-512.

#include "core/vec_avx512.hpp"

#include "ensemble/arrays.hpp"
#include "ensemble/evaluate.hpp"
#include "ensemble/kernels.hpp"

namespace nnqft {

EnsembleKernels<float> ensemble_kernels_avx512() {
    return {block_sums<VF>, outputs<VF>, draw_tensor<VF>, normals, words, activate_array<VF>};
}

}  // namespace nnqft
