// Random words and normals by address, on a device: the bits of csrc/core/philox.hpp and csrc/core/normal.hpp.
//
// out[(net * rows + row) * columns + column] is element (row, column) of `tensor` of net first_net + net. Rows 4g .. 4g+3
// come from one Philox block; for normals, words (0, 1) give rows 4g, 4g+1 and words (2, 3) rows 4g+2, 4g+3.
// Needs tensor < 2^16, first_net + n_nets <= 2^48, rows <= 2^34, columns <= 2^32. The launches return its status.
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

namespace nnqft::cuda {

// How a fill is cut up: a thread takes `chunk` groups of four rows in one column, a net has `chunks` of these per column.
struct FillPlan {
    uint64_t items, chunk, chunks;  // items = nets * chunks * columns
    unsigned blocks;
};
constexpr unsigned kFillThreads = 256, kFillMaxBlocks = 16384;  // fills any device several times; a stride does the rest
constexpr uint64_t kFillEnough = uint64_t{1} << 20;              // threads that fill a device several times over: then chunks grow
FillPlan fill_plan(uint64_t n_nets, uint64_t rows, uint64_t columns) noexcept;

cudaError_t philox_words(uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns,
                         uint32_t* out, cudaStream_t stream) noexcept;

cudaError_t normals(uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns, float sigma,
                    float* out, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
