// Ensembles on a device: block sums and outputs with the CPU's bits. Nothing here allocates, waits or keeps state.
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "cuda/ensemble/plan.hpp"

namespace nnqft::cuda {

// Moments of nets first ... first + count - 1 in blocks of plan.block(), the last of which may be shorter. sums: (blocks, n_sums)
// float64. first: a multiple of the block. constants: what plan.write_constants() wrote, on the device; workspace:
// plan.block_scratch(count).total bytes.
cudaError_t block_sums(const EnsemblePlan& plan, uint64_t first, uint64_t count, const void* constants, double* sums, void* workspace,
                       cudaStream_t stream) noexcept;

// Fields of the nets in out: (count, n_points, dim_out), float or double as plan.float64() says. workspace:
// plan.output_scratch(count).total bytes.
cudaError_t outputs(const EnsemblePlan& plan, uint64_t first, uint64_t count, const void* constants, void* out, void* workspace, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
