#include "cuda/core/random.hpp"

#include "core/normal.hpp"
#include "core/philox.hpp"
#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

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

// One thread, `chunk` Philox blocks below one another: rows of one column, four to a block. Neighbouring threads write neighbouring
// columns. The address is taken apart once for all of them, and with it goes what rounds 1 and 2 make of net and column.
// The round keys are a kernel parameter: constant memory feeds them to the xor for nothing.
// sm_90: 200 instructions for four normals, 19 of them wide products, 2.6 normals a clock and multiprocessor: 6.7e11 a second on
// an H200 where every slot issues; its memory takes 1.2e12.
template <class Law>
__global__ void __launch_bounds__(kFillThreads)
    fill_kernel(const __grid_constant__ PhiloxKey key, Law law, uint32_t tensor, uint64_t first_net, FillPlan plan, uint64_t rows,
                uint64_t columns, typename Law::Value* __restrict__ out) {
    const uint64_t stride = static_cast<uint64_t>(gridDim.x) * kFillThreads;
    for (uint64_t item = static_cast<uint64_t>(blockIdx.x) * kFillThreads + threadIdx.x; item < plan.items; item += stride) {
        const uint64_t line = item / columns, column = item - line * columns;
        const uint64_t net = line / plan.chunks, address = first_net + net;
        uint64_t row = (line - net * plan.chunks) * plan.chunk * 4;
        const uint64_t last = row + plan.chunk * 4 < rows ? row + plan.chunk * 4 : rows;
        const NetLanes<float> lanes = net_lanes<float>(static_cast<uint32_t>(address), address);
        typename Law::Value* to = out + (net * rows + row) * columns + column;
#pragma unroll 1
        for (; row < last; row += 4, to += 4 * columns) {
            uint32_t words[4];
            philox_nets<float>(lanes, key, tensor, static_cast<uint32_t>(row / 4), static_cast<uint32_t>(column), words);
            typename Law::Value values[4];
            law(words, values);
            if (row + 4 <= last) {
                for (unsigned i = 0; i < 4; ++i) to[i * columns] = values[i];
            } else {
                for (unsigned i = 0; i < 3; ++i)
                    if (row + i < last) to[i * columns] = values[i];
            }
        }
    }
}

template <class Law>
cudaError_t fill(Law law, uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns,
                 typename Law::Value* out, cudaStream_t stream) noexcept {
    const FillPlan plan = fill_plan(n_nets, rows, columns);
    return launch({plan.blocks, 1, kFillThreads, 0, stream}, fill_kernel<Law>, philox_key(seed), law, tensor, first_net, plan, rows, columns, out);
}

}  // namespace

FillPlan fill_plan(uint64_t n_nets, uint64_t rows, uint64_t columns) noexcept {
    const uint64_t groups = (rows + 3) / 4, total = n_nets * groups * columns;
    if (total == 0) return {0, 1, 1, 0};
    uint64_t chunk = total / kFillEnough;
    chunk = chunk < 1 ? 1 : chunk > 16 ? 16 : chunk;
    if (chunk > groups) chunk = groups;
    const uint64_t chunks = (groups + chunk - 1) / chunk, items = n_nets * chunks * columns;
    const uint64_t wanted = (items + kFillThreads - 1) / kFillThreads;
    return {items, chunk, chunks, static_cast<unsigned>(wanted < kFillMaxBlocks ? wanted : kFillMaxBlocks)};
}

cudaError_t philox_words(uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns,
                         uint32_t* out, cudaStream_t stream) noexcept {
    return fill(Words{}, seed, tensor, first_net, n_nets, rows, columns, out, stream);
}

cudaError_t normals(uint64_t seed, uint32_t tensor, uint64_t first_net, uint64_t n_nets, uint64_t rows, uint64_t columns, float sigma,
                    float* out, cudaStream_t stream) noexcept {
    return fill(Normals{sigma}, seed, tensor, first_net, n_nets, rows, columns, out, stream);
}

}  // namespace nnqft::cuda
