// Forward passes of 16 nets side by side, one net per lane: draw, multiply, activate, never storing weights.
//
// Every pre-activation is one chain of fused multiply-adds: the bias first, then the inputs in order. The
// chain is the same however rows and points are tiled, so tiles differ between instruction sets, bits do not.
#pragma once

#include "core/activations.hpp"
#include "ensemble/draw.hpp"
#include "ensemble/workspace.hpp"

namespace nnqft {
namespace {

template <int N>
struct GroupSize {
    static constexpr int value = N;
};

template <class F>
NNQFT_HD Stream<F> open_stream(uint64_t seed, uint64_t first_net) {
    using U = typename Types<VF>::U;
    return {philox_key(seed), net_lanes<VF>(U::iota(static_cast<uint32_t>(first_net)), first_net), first_net};
}

template <class F>
struct Pass {
    using Real = typename Types<F>::Real;
    const EnsembleSpec& spec;
    const Stop& stop;  // looked at between groups of neurons; the caller throws a stopped tile away
    Stream<F> stream;
    Real* base;
    Workspace at;
    F* group() const { return reinterpret_cast<F*>(base + at.group); }
    F* weights() const { return reinterpret_cast<F*>(base + at.weights); }
    F* shift() const { return reinterpret_cast<F*>(base + at.bias_shift); }
    F* fields() const { return reinterpret_cast<F*>(base + at.fields); }
    F* gram() const { return reinterpret_cast<F*>(base + at.gram); }
    F* factor() const { return reinterpret_cast<F*>(base + at.factor); }
    F* noise() const { return reinterpret_cast<F*>(base + at.noise); }
    F* hidden(int which) const { return reinterpret_cast<F*>(base + (which ? at.hidden_b : at.hidden_a)); }
    Real* points() const { return base + at.points; }  // transposed: (dim_in, n_points)
};

template <class F>
static void load_points(const EnsembleSpec& spec, typename Types<F>::Real* out) {
    for (int i = 0; i < spec.n_points; ++i)
        for (int k = 0; k < spec.dim_in; ++k)
            out[k * spec.n_points + i] = static_cast<typename Types<F>::Real>(spec.points[i * spec.dim_in + k]);
}

// ---- activation of a whole group -------------------------------------------------------------------

template <class F>
static void apply_activation(F* z, int count, const Layer& layer) {
    using Real = typename Types<F>::Real;
    const auto params = activation_params<Real>(layer.params, layer.n_params);
    with_activation(layer.activation, [&](auto kind) {
        constexpr Activation A = decltype(kind)::value;
        if (A == Activation::identity) return;
        int i = 0;
        for (; i + 4 <= count; i += 4) {
            const F a = activate<A>(z[i], params), b = activate<A>(z[i + 1], params);
            const F c = activate<A>(z[i + 2], params), d = activate<A>(z[i + 3], params);
            z[i] = a;
            z[i + 1] = b;
            z[i + 2] = c;
            z[i + 3] = d;
        }
        for (; i < count; ++i) z[i] = activate<A>(z[i], params);
    });
    if (layer.gain != 1.0) {
        const F gain(static_cast<Real>(layer.gain));
        for (int i = 0; i < count; ++i) z[i] = z[i] * gain;
    }
}

// A(|w|) of the group's neurons, linear in a table; tables hold thousands of nodes.
template <class F>
static void apply_amplitude(const Pass<F>& p, const F* w, int d, int group, F* z) {
    using Real = typename Types<F>::Real;
    const Amplitude& table = p.spec.amplitude;
    const Real per_step = static_cast<Real>((table.count - 1) / table.max);
    for (int n = 0; n < group; ++n) {
        F norm2(Real(0));
        for (int k = 0; k < d; ++k) norm2 = madd(w[k * group + n], w[k * group + n], norm2);
        Real t[kTile], a[kTile];
        (root(norm2) * F(per_step)).store(t);
        for (int l = 0; l < kTile; ++l) {
            // Clamp before the conversion; NaN goes to the first node.
            const Real u = t[l] > Real(0) ? (t[l] < static_cast<Real>(table.count - 1) ? t[l] : static_cast<Real>(table.count - 1)) : Real(0);
            int32_t i = static_cast<int32_t>(u);
            if (i > table.count - 2) i = table.count - 2;
            const Real low = static_cast<Real>(table.values[i]), high = static_cast<Real>(table.values[i + 1]);
            a[l] = madd(u - static_cast<Real>(i), high - low, low);
        }
        const F amplitude = F::load(a);
        for (int i = 0; i < p.spec.n_points; ++i) z[i * group + n] = z[i * group + n] * amplitude;
    }
}

// ---- pre-activations of a group of neurons: z[i * G + n], point i, neuron n ------------------------

template <class F>
NNQFT_HD void fused_group(const Pass<F>& p, const Layer& layer, int group_index) {
    constexpr int G = kFusedGroup;
    const int m = p.spec.n_points, d = layer.fan_in;
    const auto* x = p.points();
    F *w = p.weights(), *z = p.group();
    F b[G];
    if (layer.weight.law == Law::ball)
        draw_ball(p.stream, layer.weight, tensor_id(0, kWeight), d, static_cast<uint32_t>(group_index), w);
    else
        for (int k = 0; k < d; ++k)
            draw_block(p.stream, layer.weight, tensor_id(0, kWeight), layer.fan_out, d, static_cast<uint32_t>(group_index),
                       static_cast<uint32_t>(k), w + k * G);
    draw_block(p.stream, layer.bias, tensor_id(0, kBias), layer.fan_out, 1, static_cast<uint32_t>(group_index), 0u, b);
    for (int i = 0; i < m; ++i) {
        F s[G];
        for (int n = 0; n < G; ++n) s[n] = b[n];
        for (int k = 0; k < d; ++k) {
            const F xik(x[k * m + i]);
            for (int n = 0; n < G; ++n) s[n] = madd(w[k * G + n], xik, s[n]);
        }
        for (int n = 0; n < G; ++n) z[i * G + n] = s[n];
    }
}

// R rows x C points in registers, for a chunk of weights in L1.
template <int R, int C, bool kShared, class F>
NNQFT_HD void dense_tile(const F* w, const typename Types<F>::Real* x, const F* h, int m, int count, int row, int point, F* z) {
    constexpr int G = kDenseGroup;
    F acc[C][R];
    for (int c = 0; c < C; ++c)
        for (int r = 0; r < R; ++r) acc[c][r] = z[(point + c) * G + row + r];
    for (int k = 0; k < count; ++k) {
        F in[C];
        for (int c = 0; c < C; ++c) in[c] = kShared ? F(x[k * m + point + c]) : h[k * m + point + c];
        for (int r = 0; r < R; ++r) {
            const F weight = w[k * G + row + r];
            for (int c = 0; c < C; ++c) acc[c][r] = madd(weight, in[c], acc[c][r]);
        }
    }
    for (int c = 0; c < C; ++c)
        for (int r = 0; r < R; ++r) z[(point + c) * G + row + r] = acc[c][r];
}

// All points of the first `rows` rows, a multiple of R.
template <int R, bool kShared, class F>
NNQFT_HD void dense_rows(const F* w, const typename Types<F>::Real* x, const F* h, int m, int count, int rows, F* z) {
    constexpr int C = kTileColumns;
    for (int row = 0; row < rows; row += R) {
        int i = 0;
        for (; i + C <= m; i += C) dense_tile<R, C, kShared>(w, x, h, m, count, row, i, z);
        for (; i + 4 <= m; i += 4) dense_tile<R, 4, kShared>(w, x, h, m, count, row, i, z);
        for (; i + 2 <= m; i += 2) dense_tile<R, 2, kShared>(w, x, h, m, count, row, i, z);
        for (; i < m; ++i) dense_tile<R, 1, kShared>(w, x, h, m, count, row, i, z);
    }
}

template <bool kShared, class F>
static void dense_group(const Pass<F>& p, const Layer& layer, int l, int group_index, const F* h) {
    constexpr int G = kDenseGroup;
    const int m = p.spec.n_points, row0 = group_index * G;
    const int halves = layer.fan_out - row0 > 4 ? 2 : 1;
    F *w = p.weights(), *z = p.group(), *b = w + kChunk * G;
    for (int half = 0; half < 2; ++half) {
        if (half < halves)
            draw_block(p.stream, layer.bias, tensor_id(l, kBias), layer.fan_out, 1, static_cast<uint32_t>(2 * group_index + half), 0u, b + 4 * half);
        else
            for (int n = 0; n < 4; ++n) b[4 + n] = F(typename Types<F>::Real(0));
    }
    for (int i = 0; i < m; ++i)
        for (int n = 0; n < G; ++n) z[i * G + n] = b[n];
    for (int k0 = 0; k0 < layer.fan_in; k0 += kChunk) {
        const int count = layer.fan_in - k0 < kChunk ? layer.fan_in - k0 : kChunk;
        for (int half = 0; half < halves; ++half)
            for (int k = 0; k < count; ++k)
                draw_block(p.stream, layer.weight, tensor_id(l, kWeight), layer.fan_out, layer.fan_in,
                           static_cast<uint32_t>(2 * group_index + half), static_cast<uint32_t>(k0 + k), w + k * G + 4 * half);
        const auto* x = kShared ? p.points() + static_cast<ptrdiff_t>(k0) * m : nullptr;
        const F* in = kShared ? nullptr : h + static_cast<ptrdiff_t>(k0) * m;
        dense_rows<kTileRows, kShared>(w, x, in, m, count, 4 * halves, z);
    }
}

// The gauss-net's shift -Var(z | input) of a layer whose input is h (deeper layers) or x (first layer).
template <class F>
static void load_shift(const Pass<F>& p, const Layer& layer, const F* h) {
    using Real = typename Types<F>::Real;
    const int m = p.spec.n_points;
    F* shift = p.shift();
    for (int i = 0; i < m; ++i) {
        F norm2(Real(0));
        for (int k = 0; k < layer.fan_in; ++k) {
            const F v = h ? h[k * m + i] : F(p.points()[k * m + i]);
            norm2 = madd(v, v, norm2);
        }
        shift[i] = -madd(F(static_cast<Real>(layer.weight_variance)), norm2, F(static_cast<Real>(layer.bias_variance)));
    }
}

template <class F>
NNQFT_HD void add_shift(const Pass<F>& p, int group) {
    F* z = p.group();
    for (int i = 0; i < p.spec.n_points; ++i)
        for (int n = 0; n < group; ++n) z[i * group + n] = z[i * group + n] + p.shift()[i];
}

// ---- the layer law: z = L xi with K = L L^T, instead of weights ------------------------------------

// Cholesky factor per lane. A pivot below the rounding of its diagonal makes a zero column (repeated, very close or
// linearly dependent points), NaN and infinity stay. packed: (i, j <= i) at i (i + 1) / 2 + j.
template <class F>
static void factor_gram(const F* k, int m, F* l) {
    using Real = typename Types<F>::Real;
    const F zero(Real(0));
    const Real epsilon = sizeof(Real) == 4 ? Real(0x1p-23) : Real(0x1p-52);
    const F tolerance(static_cast<Real>(2 * (m + 8)) * epsilon);
    for (int j = 0; j < m; ++j) {
        F* lj = l + j * (j + 1) / 2;
        F pivot = k[j * (j + 1) / 2 + j];
        const F floor = pivot * tolerance;
        for (int a = 0; a < j; ++a) pivot = madd(-lj[a], lj[a], pivot);
        const F diagonal = select(lt(pivot, floor), zero, root(pivot));
        const F inverse = select(lt(zero, diagonal), F(Real(1)) / diagonal, zero);
        lj[j] = diagonal;
        for (int i = j + 1; i < m; ++i) {
            F* li = l + i * (i + 1) / 2;
            F s = k[i * (i + 1) / 2 + j];
            for (int a = 0; a < j; ++a) s = madd(-li[a], lj[a], s);
            li[j] = s * inverse;
        }
    }
}

// z = L xi for four neurons (or outputs) of layer l. First layer: the factor is shared and has `rank` columns.
template <class F>
NNQFT_HD void layer_group(const Pass<F>& p, int l, int group_index, int rows) {
    using Real = typename Types<F>::Real;
    constexpr int G = kFusedGroup;
    const int m = p.spec.n_points, rank = l == 0 ? p.spec.first_rank : m;
    const TensorLaw unit{Law::normal, 1.0, 0.0, nullptr, 0, 0};
    F *xi = p.noise(), *z = p.group();
    for (int a = 0; a < rank; ++a)
        draw_block(p.stream, unit, tensor_id(l, kLayerSample), rows, rank, static_cast<uint32_t>(group_index), static_cast<uint32_t>(a), xi + a * G);
    for (int i = 0; i < m; ++i) {
        F s[G];
        for (int n = 0; n < G; ++n) s[n] = F(Real(0));
        const int last = l == 0 ? rank : i + 1;
        for (int a = 0; a < last; ++a) {
            const F lia = l == 0 ? F(static_cast<Real>(p.spec.first_factor[i * rank + a])) : p.factor()[i * (i + 1) / 2 + a];
            for (int n = 0; n < G; ++n) s[n] = madd(lia, xi[a * G + n], s[n]);
        }
        for (int n = 0; n < G; ++n) z[i * G + n] = s[n];
    }
}

// ---- what becomes of a group's activations ---------------------------------------------------------

template <int G, class F>
NNQFT_HD void store_hidden(const Pass<F>& p, int j0, int valid, F* out) {
    const int m = p.spec.n_points;
    for (int n = 0; n < valid; ++n)
        for (int i = 0; i < m; ++i) out[(j0 + n) * m + i] = p.group()[i * G + n];
}

// f[i, a] += sum_n v[a, j0 + n] h[i, n], neuron by neuron.
template <int G, class F>
static void add_outputs(const Pass<F>& p, const Layer& out, int l, int j0, int valid) {
    const int m = p.spec.n_points, d_out = p.spec.dim_out;
    const F* h = p.group();
    for (int a = 0; a < d_out; ++a) {
        F v[G];
        for (int q = 0; 4 * q < valid; ++q)
            draw_block(p.stream, out.weight, tensor_id(l, kWeight), out.fan_in, d_out, static_cast<uint32_t>(j0 / 4 + q), static_cast<uint32_t>(a), v + 4 * q);
        for (int i = 0; i < m; ++i) {
            F f = p.fields()[i * d_out + a];
            if (valid == G)
                for (int n = 0; n < G; ++n) f = madd(v[n], h[i * G + n], f);
            else
                for (int n = 0; n < valid; ++n) f = madd(v[n], h[i * G + n], f);
            p.fields()[i * d_out + a] = f;
        }
    }
}

// S[i, j <= i] += sum_n h[i, n] h[j, n].
template <int G, class F>
static void add_gram(const Pass<F>& p, int valid) {
    const int m = p.spec.n_points;
    const F* h = p.group();
    F* s = p.gram();
    for (int i = 0; i < m; ++i) {
        F hi[G];
        for (int n = 0; n < G; ++n) hi[n] = h[i * G + n];
        for (int j = 0; j <= i; ++j, ++s) {
            F t = *s;
            if (valid == G)
                for (int n = 0; n < G; ++n) t = madd(hi[n], h[j * G + n], t);
            else
                for (int n = 0; n < valid; ++n) t = madd(hi[n], h[j * G + n], t);
            *s = t;
        }
    }
}

// K = sigma_b^2 + sigma_w^2 / N * S, in place.
template <class F>
static void finish_gram(const Pass<F>& p, const Layer& next) {
    using Real = typename Types<F>::Real;
    const F w2(static_cast<Real>(next.weight_variance)), b2(static_cast<Real>(next.bias_variance));
    const int64_t pairs = pair_count(p.spec.n_points);
    for (int64_t q = 0; q < pairs; ++q) p.gram()[q] = madd(p.gram()[q], w2, b2);
}

template <class F>
NNQFT_HD void clear(F* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) x[i] = F(typename Types<F>::Real(0));
}

}  // namespace
}  // namespace nnqft
