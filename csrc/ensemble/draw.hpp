// Random tensors of consecutive nets, one per lane: four rows (neurons) of one column from one Philox block.
// The unit that includes this has defined VF, its lanes of float32: 16 on a CPU, a float on a device.
#pragma once

#include "core/activation.hpp"
#include "core/normal.hpp"
#include "core/philox.hpp"
#include "ensemble/spec.hpp"

namespace nnqft {
namespace {

// Draws are float32 on every path; the float64 path computes with the same weights, widened (vec_scalar.hpp).
template <class F>
NNQFT_HD void widen_draw(F x, F& out) {
    out = x;
}
NNQFT_HD void widen_draw(float x, double& out) { out = x; }

template <class F>
struct Stream {
    PhiloxKey key;
    NetLanes<VF> nets;  // VF: lanes of float32
    uint64_t first_net;
};

template <class F>
constexpr int lane_count = static_cast<int>(sizeof(F) / sizeof(typename Types<F>::Real));

template <class F>
NNQFT_HD F from_lanes(const typename Types<F>::Real* lane) {
    if constexpr (lane_count<F> == 1) return lane[0];
    else return F::load(lane);
}

template <class F>
NNQFT_BOTH void draw_array(const Stream<F>& s, const TensorLaw& law, int rows, int columns, uint32_t group, uint32_t column, F out[4]) {
    using Real = typename Types<F>::Real;
    const size_t per_net = static_cast<size_t>(rows) * static_cast<size_t>(columns);
    for (int n = 0; n < 4; ++n) {
        Real lane[lane_count<F>] = {};
        const size_t row = 4 * static_cast<size_t>(group) + static_cast<size_t>(n);
        if (row < static_cast<size_t>(rows))
            for (int l = 0; l < lane_count<F>; ++l) {
                const uint64_t net = s.first_net + static_cast<uint64_t>(l);
                if (net >= law.array_start && net - law.array_start < law.array_nets)
                    lane[l] = static_cast<Real>(law.values[(net - law.array_start) * per_net + row * static_cast<size_t>(columns) + column]);
            }
        out[n] = from_lanes<F>(lane);
    }
}

template <class F>
NNQFT_BOTH void draw_other(const Stream<F>& s, const TensorLaw& law, uint32_t tensor, int rows, int columns, uint32_t group, uint32_t column,
                       F out[4]) {
    using U = typename Types<VF>::U;
    const VF scale(static_cast<float>(law.scale));
    U w[4], v[4];
    if (law.law == Law::array) return draw_array(s, law, rows, columns, group, column, out);
    if (law.law == Law::zero) {
        for (int n = 0; n < 4; ++n) out[n] = F(typename Types<F>::Real(0));
        return;
    }
    philox_nets<VF>(s.nets, s.key, tensor, group, column, w);
    if (law.law == Law::student_t) {
        philox_nets<VF>(s.nets, s.key, tensor + kSecondWord, group, column, v);
        for (int n = 0; n < 4; ++n) widen_draw(student_t(w[n], v[n], static_cast<float>(law.nu), scale), out[n]);
        return;
    }
    for (int n = 0; n < 4; ++n)
        widen_draw(law.law == Law::uniform ? uniform_symmetric(w[n], scale) : random_sign(w[n], scale), out[n]);
}

// The commonest law: rows 4 group + 0..3 of a column, standard deviation `scale`.
template <class F>
NNQFT_HD void draw_normal(const NetLanes<VF>& nets, const PhiloxKey& key, VF scale, uint32_t tensor, uint32_t group, uint32_t column, F out[4]) {
    typename Types<VF>::U w[4];
    philox_nets<VF>(nets, key, tensor, group, column, w);
    VF z[4];
    normal_pair(w[0], w[1], scale, z[0], z[1]);
    normal_pair(w[2], w[3], scale, z[2], z[3]);
    for (int n = 0; n < 4; ++n) widen_draw(z[n], out[n]);
}

// Elements (4 group + 0..3, column) of a tensor for the stream's nets.
template <class F>
NNQFT_HD void draw_block(const Stream<F>& s, const TensorLaw& law, uint32_t tensor, int rows, int columns, uint32_t group, uint32_t column,
                         F out[4]) {
    if (law.law != Law::normal) return draw_other(s, law, tensor, rows, columns, group, column, out);
    draw_normal(s.nets, s.key, VF(static_cast<float>(law.scale)), tensor, group, column, out);
}

// Momenta uniform in the ball of radius `scale` in d = 1, 2, 3 dimensions: out[4 k + n], component k of neuron n.
template <class F>
NNQFT_BOTH void draw_ball(const Stream<F>& s, const TensorLaw& law, uint32_t tensor, int d, uint32_t group, F* out) {
    using U = typename Types<VF>::U;
    const VF radius(static_cast<float>(law.scale));
    U w[3][4];
    for (int k = 0; k < d; ++k) philox_nets<VF>(s.nets, s.key, tensor, group, static_cast<uint32_t>(k), w[k]);
    for (int n = 0; n < 4; ++n) {
        if (d == 1) {
            widen_draw(uniform_symmetric(w[0][n], radius), out[n]);
            continue;
        }
        VF c, sn;
        circle_point(w[1][n], c, sn);
        const VF exponent = minus_two_log<VF>(w[0][n]) * VF(d == 2 ? -0.25f : -1.0f / 6.0f);  // log(u) / d
        const VF r = radius * activate<Activation::exp>(exponent, ActivationParams<float>{});
        if (d == 2) {
            widen_draw(r * c, out[n]);
            widen_draw(r * sn, out[4 + n]);
        } else {
            const VF z = uniform_symmetric(w[2][n], VF(1.0f));
            const VF flat = r * root(madd(-z, z, VF(1.0f)));
            widen_draw(flat * c, out[n]);
            widen_draw(flat * sn, out[4 + n]);
            widen_draw(r * z, out[8 + n]);
        }
    }
}

}  // namespace
}  // namespace nnqft
