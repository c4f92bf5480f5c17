#include "cuda/ensemble/moments.hpp"

#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

constexpr unsigned kSubBlock = 256, kThreads = kSubBlock, kHalves = kThreads / 16;
// Slots lie 4 banks apart: the halves of a warp, whose units mostly are neighbours 4 slots apart, read different banks.
constexpr uint32_t kPitch = kSubBlock + 4;
constexpr size_t kShared = 96 * 1024;  // two blocks per multiprocessor of an H200, and within reach of every device from sm_80 on

// Sums s[0 .. 15] of the 16 lanes in float64 by halves, (l, l + 8), (l, l + 4), (l, l + 2), (l, l + 1): lane l returns sum l.
// A lane passes on what its partner keeps: 15 exchanges for 16 sums. Both halves of a warp come here together.
template <int H>
__device__ __forceinline__ void halve(bool upper, double* s) {
#pragma unroll
    for (int q = 0; q < H; ++q) {
        const double keep = upper ? s[q + H] : s[q], send = upper ? s[q] : s[q + H];
        s[q] = keep + __shfl_xor_sync(0xffffffffu, send, H);
    }
}
template <class Real>
__device__ __forceinline__ double sum_lanes(unsigned lane, const Real s[16]) {
    double d[8];
#pragma unroll
    for (int q = 0; q < 8; ++q) {
        const Real keep = lane & 8u ? s[q + 8] : s[q], send = lane & 8u ? s[q] : s[q + 8];
        d[q] = static_cast<double>(keep) + static_cast<double>(__shfl_xor_sync(0xffffffffu, send, 8));
    }
    halve<4>(lane & 4u, d);
    halve<2>(lane & 2u, d);
    halve<1>(lane & 1u, d);
    return d[0];
}

__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return a * b + c; }  // as on the CPU's float64 path

// The 16 chains of a unit over `samples` samples, a multiple of 16; this thread is lane `lane`.
template <class Real>
__device__ __forceinline__ void unit_chains(const MomentUnit& unit, const Real* slots, uint64_t pitch, uint32_t samples, unsigned lane, Real s[16]) {
#pragma unroll
    for (int q = 0; q < 16; ++q) s[q] = Real(0);
    if (unit.kind == UnitKind::tile) {
        const Real *x[4], *y[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            x[r] = slots + static_cast<uint64_t>(unit.a[r]) * pitch + lane;
            y[r] = slots + static_cast<uint64_t>(unit.b + (r < unit.count ? r : 0)) * pitch + lane;
        }
        for (uint32_t t = 0; t < samples; t += 16) {
            Real u[4];
#pragma unroll
            for (int c = 0; c < 4; ++c) u[c] = y[c][t];
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const Real v = x[r][t];
#pragma unroll
                for (int c = 0; c < 4; ++c) s[4 * r + c] = fused(v, u[c], s[4 * r + c]);
            }
        }
        return;
    }
    const bool product = unit.kind == UnitKind::row;
    const Real* const x = slots + static_cast<uint64_t>(unit.a[0]) * pitch + lane;
    const Real* const y = slots + static_cast<uint64_t>(unit.b) * pitch + lane;
    for (uint32_t t = 0; t < samples; t += 16) {
        const Real v = product ? x[t] : Real(1);
#pragma unroll
        for (int q = 0; q < 16; ++q) {
            const Real u = y[static_cast<uint64_t>(q < unit.count ? q : 0) * pitch + t];
            s[q] = fused(v, u, s[q]);  // 1 * u + s is rounded as u + s is
        }
    }
}

// Block blockIdx.x; the units are dealt to the half-warps of the blocks along y.
template <class Real, bool kStaged>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const __grid_constant__ DeviceMoments moments, SampleBlocks blocks, const Real* __restrict__ slots, double* __restrict__ sums) {
    NNQFT_DYNAMIC_SHARED(Real, staged);
    const uint64_t size = blocks.run * blocks.runs, begin = blockIdx.x * size;
    const uint64_t end = begin + size < blocks.total ? begin + size : blocks.total;
    double* const out = sums + static_cast<uint64_t>(blockIdx.x) * static_cast<uint64_t>(moments.n_sums);
    const unsigned lane = threadIdx.x % 16, half = threadIdx.x / 16;
    const int32_t n_products = moments.n_levels > 0 ? moments.level_ends[moments.n_levels - 1] : 0;
    bool more = blocks.resume && blockIdx.x == 0;  // there is something to add to
    for (uint64_t first = begin; first < end;) {
        const uint64_t run_end = begin + ((first - begin) / blocks.run + 1) * blocks.run, stop = run_end < end ? run_end : end;
        const uint32_t samples = static_cast<uint32_t>(stop - first < kSubBlock ? stop - first : kSubBlock);
        const Real* at = slots + first;
        uint64_t pitch = blocks.pitch;
        if (kStaged) {
            __syncthreads();  // the units of the last sub-block are done
            const uint32_t sample = threadIdx.x;  // a thread's own column of slots, until the units read them
            if (sample < samples) {
                for (uint32_t f = 0; f < static_cast<uint32_t>(moments.n_fields); ++f) staged[f * kPitch + sample] = at[f * pitch + sample];
                for (int32_t p = 0; p < n_products; ++p) {
                    const StoredProduct product = moments.products[p];
                    staged[static_cast<uint32_t>(product.store) * kPitch + sample] =
                        staged[static_cast<uint32_t>(product.a) * kPitch + sample] * staged[static_cast<uint32_t>(product.b) * kPitch + sample];
                }
            }
            __syncthreads();
            at = staged;
            pitch = kPitch;
        }
        const int32_t stride = static_cast<int32_t>(gridDim.y * kHalves);
        for (int32_t u = static_cast<int32_t>(blockIdx.y * kHalves + half); u - static_cast<int32_t>(half & 1u) < moments.n_units; u += stride) {
            const bool mine = u < moments.n_units;  // the last unit may be one half's only
            const MomentUnit unit = moments.units[mine ? u : u - 1];
            Real s[16];
            unit_chains(unit, at, pitch, samples, lane, s);
            const double sum = sum_lanes(lane, s);
            const bool tile = unit.kind == UnitKind::tile;
            const int column = static_cast<int>(tile ? lane % 4 : lane);
            int32_t to = unit.sum[0];
            if (tile && lane >= 4) to = lane < 8 ? unit.sum[1] : lane < 12 ? unit.sum[2] : unit.sum[3];
            if (mine && to >= 0 && column < unit.count) out[to + column] = (more ? out[to + column] : 0.0) + sum;
        }
        more = true;
        first = first + samples;
    }
}

// The stored products of one level where the slots do not fit into shared memory.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    product_kernel(const StoredProduct* __restrict__ products, int32_t count, uint64_t samples, uint64_t pitch, Real* slots) {
    const uint64_t stride = static_cast<uint64_t>(gridDim.x) * kThreads;
    for (int32_t p = static_cast<int32_t>(blockIdx.y); p < count; p += static_cast<int32_t>(gridDim.y)) {
        const StoredProduct product = products[p];
        const Real* const a = slots + static_cast<uint64_t>(product.a) * pitch;
        const Real* const b = slots + static_cast<uint64_t>(product.b) * pitch;
        Real* const to = slots + static_cast<uint64_t>(product.store) * pitch;
        for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x; i < samples; i += stride) to[i] = a[i] * b[i];
    }
}

}  // namespace

template <class Real>
bool slots_are_staged(int32_t n_slots) noexcept {
    return static_cast<size_t>(n_slots) * kPitch * sizeof(Real) <= kShared;
}

template <class Real>
cudaError_t moment_sums(const DeviceMoments& moments, const SampleBlocks& blocks, Real* slots, double* sums, cudaStream_t stream) noexcept {
    const uint64_t size = blocks.run * blocks.runs;
    const unsigned n_blocks = static_cast<unsigned>((blocks.total + size - 1) / size);
    const unsigned passes = (static_cast<unsigned>(moments.n_units) + kHalves - 1) / kHalves;
    if (slots_are_staged<Real>(moments.n_slots)) {
        const size_t shared = static_cast<size_t>(moments.n_slots) * kPitch * sizeof(Real);
        const cudaError_t status = allow_shared(sum_kernel<Real, true>, shared);
        if (status != cudaSuccess) return status;
        const unsigned parts = passes < 4 || n_blocks >= 1024 ? 1 : passes / 2;  // few blocks: each stages for a part of the units
        return launch({n_blocks, parts < 64 ? parts : 64, kThreads, shared, stream}, sum_kernel<Real, true>, moments, blocks, slots, sums);
    }
    int32_t p = 0;
    for (int32_t level = 0; level < moments.n_levels; ++level) {
        const int32_t count = moments.level_ends[level] - p;
        const uint64_t wanted = (blocks.total + kThreads - 1) / kThreads;
        const cudaError_t status = launch({static_cast<unsigned>(wanted < 4096 ? wanted : 4096), static_cast<unsigned>(count < 4096 ? count : 4096), kThreads, 0, stream},
                                          product_kernel<Real>, moments.products + p, count, blocks.total, blocks.pitch, slots);
        if (status != cudaSuccess) return status;
        p = moments.level_ends[level];
    }
    return launch({n_blocks, passes < 4096 ? passes : 4096, kThreads, 0, stream}, sum_kernel<Real, false>, moments, blocks, slots, sums);
}

template bool slots_are_staged<float>(int32_t) noexcept;
template bool slots_are_staged<double>(int32_t) noexcept;
template cudaError_t moment_sums(const DeviceMoments&, const SampleBlocks&, float*, double*, cudaStream_t) noexcept;
template cudaError_t moment_sums(const DeviceMoments&, const SampleBlocks&, double*, double*, cudaStream_t) noexcept;

}  // namespace nnqft::cuda
