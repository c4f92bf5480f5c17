#include "cuda/core/random.hpp"

#include "core/normal.hpp"
#include "core/philox.hpp"
#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr uint64_t kMaxBlocks = 16384;  // enough to fill any device several times; the stride does the rest

struct Words {
    using Value = uint32_t;
    __device__ void operator()(const uint32_t words[4], uint32_t values[4]) const {
        for (int i = 0; i < 4; ++i) values[i] = words[i];
    }
};

struct Normals {
    using Value = float;
    float sigma;
    __device__ void operator()(const uint32_t words[4], float values[4]) const {
        normal_pair(words[0], words[1], sigma, values[0], values[1]);
        normal_pair(words[2], words[3], sigma, values[2], values[3]);
    }
};

// One thread, one Philox block: four rows of one column. Neighbouring threads write neighbouring columns.
// The round keys are a kernel parameter: constant memory feeds them to the xor for nothing.
template <class Law>
__global__ void __launch_bounds__(kThreads)
    fill_kernel(const __grid_constant__ PhiloxKey key, Law law, uint32_t tensor, uint64_t first_net, uint64_t n_blocks, uint64_t groups,
                uint64_t rows, uint64_t columns, typename Law::Value* __restrict__ out) {
    const uint64_t stride = static_cast<uint64_t>(gridDim.x) * kThreads;
    for (uint64_t block = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x; block < n_blocks; block += stride) {
        const uint64_t line = block / columns, column = block - line * columns;
        const uint64_t net = line / groups, group = line - net * groups;
        const uint64_t address = first_net + net;
        uint32_t words[4];
        philox_nets<float>(net_lanes<float>(static_cast<uint32_t>(address), address), key, tensor, static_cast<uint32_t>(group),
                           static_cast<uint32_t>(column), words);
        typename Law::Value values[4];
        law(words, values);
        const uint64_t row = 4 * group;
        typename Law::Value* const first = out + (net * rows + row) * columns + column;
        for (unsigned i = 0; i < 4; ++i)
            if (row + i < rows) first[i * columns] = values[i];
    }
}

template <class Law>
cudaError_t fill(Law law, uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns,
                 typename Law::Value* out, cudaStream_t stream) noexcept {
    const uint64_t groups = (rows + 3) / 4, n_blocks = n_nets * groups * columns;
    const uint64_t wanted = (n_blocks + kThreads - 1) / kThreads;
    const unsigned grid = static_cast<unsigned>(wanted < kMaxBlocks ? wanted : kMaxBlocks);
    return launch({grid, 1, kThreads, 0, stream}, fill_kernel<Law>, philox_key(seed), law, tensor, first_net, n_blocks, groups, rows, columns,
                  out);
}

}  // namespace

cudaError_t philox_words(uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns,
                         uint32_t* out, cudaStream_t stream) noexcept {
    return fill(Words{}, seed, tensor, first_net, n_nets, rows, columns, out, stream);
}

cudaError_t normals(uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns, float sigma,
                    float* out, cudaStream_t stream) noexcept {
    return fill(Normals{sigma}, seed, tensor, first_net, n_nets, rows, columns, out, stream);
}

}  // namespace nnqft::cuda
