// Random tensors of one net, as csrc/ensemble/draw.hpp draws them: a thread is a vector of one lane.
#pragma once

#include "cuda/core/launch.hpp"

namespace nnqft {
namespace {
using VF = float;
}  // namespace
}  // namespace nnqft

#include "core/activation_f64.hpp"
#include "core/activations.hpp"
#include "ensemble/draw.hpp"

namespace nnqft::cuda {
namespace {

// Four neighbours in memory, read and written 16 bytes at a time.
template <class T>
struct alignas(16) Four {
    T v[4];
};
template <class T>
__device__ __forceinline__ Four<T> load_four(const T* p) {
    return *reinterpret_cast<const Four<T>*>(p);
}

struct Net {
    uint64_t number;
    NetLanes<float> lanes;
};
__device__ __forceinline__ Net net_at(uint64_t number) { return {number, net_lanes<float>(static_cast<uint32_t>(number), number)}; }

// All laws but the normal one, out of the way of the caller's registers. `column` counts components for a ball.
template <class Real>
__device__ NNQFT_APART void draw_apart(uint64_t seed, uint64_t net, const TensorLaw& law, uint32_t tensor, int rows, int columns, uint32_t group,
                                       uint32_t column, Real* out) {
    const Stream<Real> s{philox_key(seed), net_at(net).lanes, net};
    if (law.law == Law::ball) {
        Real all[12];
        draw_ball(s, law, tensor, columns, group, all);
        for (int n = 0; n < 4; ++n) out[n] = all[4 * column + n];
    } else {
        draw_block(s, law, tensor, rows, columns, group, column, out);
    }
}

// Elements (4 group + 0..3, column) of a tensor of one net. kRare: not only the laws "normal" and "zero" come.
template <bool kRare = true, class Real>
__device__ __forceinline__ void draw(const PhiloxKey& key, const Net& net, const TensorLaw& law, uint32_t tensor, int rows, int columns, uint32_t group,
                                     uint32_t column, Real out[4]) {
    if (law.law == Law::normal) {
        draw_normal(net.lanes, key, static_cast<float>(law.scale), tensor, group, column, out);
    } else if (law.law == Law::zero) {
        for (int n = 0; n < 4; ++n) out[n] = Real(0);
    } else if (kRare) {
        Real other[4];  // an array of its own: what a call sees cannot stay in registers
        draw_apart(key.k0[0] | key.k1[0] << 32, net.number, law, tensor, rows, columns, group, column, other);
        for (int n = 0; n < 4; ++n) out[n] = other[n];
    }
}

// Normals of several blocks (tensor, quad, column) at once: one load of a round key serves them all.
template <int B, class Real>
__device__ __forceinline__ void draw_blocks(const PhiloxKey& key, const Net& net, const uint32_t (&tensor)[B], uint32_t quad, const uint32_t (&column)[B],
                                            const float (&scale)[B], Real (*const (&out)[B])[4]) {
    uint32_t c[B][4];
#pragma unroll
    for (int b = 0; b < B; ++b) philox_open(net.lanes, key, tensor[b], quad, column[b], c[b]);
#pragma unroll
    for (int r = kPhiloxOpened; r < kPhiloxRounds; ++r)
#pragma unroll
        for (int b = 0; b < B; ++b) philox_round(c[b][0], c[b][1], c[b][2], c[b][3], key, r);
#pragma unroll
    for (int b = 0; b < B; ++b) {
        float z[4];
        normal_pair(c[b][0], c[b][1], scale[b], z[0], z[1]);
        normal_pair(c[b][2], c[b][3], scale[b], z[2], z[3]);
        for (int n = 0; n < 4; ++n) widen_draw(z[n], (*out[b])[n]);
    }
}

}  // namespace
}  // namespace nnqft::cuda
