// From a network law to fields, and from fields to sums of their products: what each instruction set compiles.
#pragma once

#include "ensemble/forward.hpp"
#include "ensemble/moments.hpp"

namespace nnqft {
namespace {

// Runs hidden layer l group by group on input h (null for the first layer); consume(group size, first neuron, valid
// neurons) finds the group's activations in p.group().
template <class F, class Consume>
NNQFT_HD void hidden_layer(const Pass<F>& p, int l, const F* h, Consume&& consume) {
    const Layer& layer = p.spec.layers[l];
    const int m = p.spec.n_points, n = layer.fan_out;
    auto finish = [&](auto group, int j0) {
        constexpr int G = decltype(group)::value;
        if (layer.normalised) add_shift(p, G);
        apply_activation(p.group(), m * G, layer);
        if (l == 0 && p.spec.amplitude.count > 0) apply_amplitude(p, p.weights(), layer.fan_in, G, p.group());
        consume(group, j0, n - j0 < G ? n - j0 : G);
    };
    if (p.spec.sampler == Sampler::layer || (l == 0 && layer.fan_in <= kFusedFanIn)) {
        for (int j0 = 0, g = 0; j0 < n && !p.stop.raised(); j0 += kFusedGroup, ++g) {
            if (p.spec.sampler == Sampler::layer)
                layer_group(p, l, g, n);
            else
                fused_group(p, layer, g);
            finish(GroupSize<kFusedGroup>{}, j0);
        }
        return;
    }
    for (int j0 = 0, g = 0; j0 < n && !p.stop.raised(); j0 += kDenseGroup, ++g) {
        if (l == 0)
            dense_group<true>(p, layer, l, g, h);
        else
            dense_group<false>(p, layer, l, g, h);
        finish(GroupSize<kDenseGroup>{}, j0);
    }
}

// The covariance of layer l + 1's pre-activations given layer l, and its factor: one step of the layer law.
template <class F>
static void next_factor(const Pass<F>& p, int l) {
    finish_gram(p, p.spec.layers[l + 1]);
    factor_gram(p.gram(), p.spec.n_points, p.factor());
}

// The gauss-net's shift of layer l, whose input is h.
template <class F>
static void set_shift(const Pass<F>& p, int l, const F* h) {
    using Real = typename Types<F>::Real;
    if (!p.spec.layers[l].normalised) return;
    if (p.spec.sampler == Sampler::weights) return load_shift(p, p.spec.layers[l], h);
    for (int i = 0; i < p.spec.n_points; ++i)
        p.shift()[i] = l == 0 ? F(static_cast<Real>(-p.spec.first_variance[i])) : -p.gram()[i * (i + 1) / 2 + i];
}

// All hidden layers but the last. Weights: returns the activations (neuron, point) of the last of them, null if there is
// none. Layer law: leaves the factor of the last layer's covariance.
template <class F>
static const F* early_layers(const Pass<F>& p) {
    const F* h = nullptr;
    set_shift(p, 0, h);
    for (int l = 0; l + 1 < p.spec.n_hidden; ++l) {
        if (p.spec.sampler == Sampler::weights) {
            F* out = p.hidden(l & 1);
            hidden_layer(p, l, h, [&](auto g, int j0, int valid) { store_hidden<decltype(g)::value>(p, j0, valid, out); });
            h = out;
        } else {
            clear(p.gram(), pair_count(p.spec.n_points));
            hidden_layer(p, l, h, [&](auto g, int, int valid) { add_gram<decltype(g)::value>(p, valid); });
            next_factor(p, l);
        }
        set_shift(p, l + 1, h);
    }
    return h;
}

// f of 16 nets into p.fields(), (point, out).
template <class F>
static void outputs_tile(const Pass<F>& p) {
    const int m = p.spec.n_points, d_out = p.spec.dim_out, last = p.spec.n_hidden;
    const Layer& out = p.spec.layers[last];
    const F* h = early_layers(p);
    if (p.spec.sampler == Sampler::layer) {
        clear(p.gram(), pair_count(m));
        hidden_layer(p, p.spec.n_hidden - 1, h, [&](auto g, int, int valid) { add_gram<decltype(g)::value>(p, valid); });
        next_factor(p, last - 1);
        for (int a0 = 0, g = 0; a0 < d_out; a0 += kFusedGroup, ++g) {
            layer_group(p, last, g, d_out);
            for (int i = 0; i < m; ++i)
                for (int n = 0; n < kFusedGroup && a0 + n < d_out; ++n) p.fields()[i * d_out + a0 + n] = p.group()[i * kFusedGroup + n];
        }
        return;
    }
    for (int a0 = 0; a0 < d_out; a0 += 4) {
        F b[4];
        draw_block(p.stream, out.bias, tensor_id(last, kBias), d_out, 1, static_cast<uint32_t>(a0 / 4), 0u, b);
        for (int i = 0; i < m; ++i)
            for (int n = 0; n < 4 && a0 + n < d_out; ++n) p.fields()[i * d_out + a0 + n] = b[n];
    }
    hidden_layer(p, p.spec.n_hidden - 1, h, [&](auto g, int j0, int valid) { add_outputs<decltype(g)::value>(p, out, last, j0, valid); });
}

// The output covariance given the hidden layers, C = sigma_b^2 + sigma_w^2 / N sum_j h_j h_j^T, into p.gram().
template <class F>
static void gram_tile(const Pass<F>& p) {
    const F* h = early_layers(p);
    clear(p.gram(), pair_count(p.spec.n_points));
    hidden_layer(p, p.spec.n_hidden - 1, h, [&](auto g, int, int valid) { add_gram<decltype(g)::value>(p, valid); });
    finish_gram(p, p.spec.layers[p.spec.n_hidden]);
}

template <class F>
static Pass<F> open_pass(const EnsembleSpec& spec, int32_t n_slots, uint64_t first_net, typename Types<F>::Real* workspace, const Stop& stop) {
    return {spec, stop, open_stream<F>(spec.seed, first_net), workspace, workspace_layout(spec, n_slots)};
}

// Where the caller's field point * dim_out + out lies in p.fields(), and his pair of points in p.gram().
NNQFT_HD int field_place(const EnsembleSpec& spec, int i) { return spec.place[i / spec.dim_out] * spec.dim_out + i % spec.dim_out; }
NNQFT_HD int pair_place(const EnsembleSpec& spec, int i, int j) {
    const int a = spec.place[i], b = spec.place[j];
    return a < b ? b * (b + 1) / 2 + a : a * (a + 1) / 2 + b;
}

// Lanes past the last net of a partial block contribute nothing.
template <class Real>
static void mask_lanes(Real* row, int valid) {
    for (int l = valid; l < kTile; ++l) row[l] = Real(0);
}

// Adds to sums the moments of nets first_net ... first_net + count - 1 (first_net a multiple of 16).
// Returns false, with sums unusable, once *stop is raised.
template <class F>
static bool block_sums(const EnsembleSpec& spec, const MomentProgram& program, uint64_t first_net, uint32_t count,
                       typename Types<F>::Real* workspace, double* sums, const Stop& stop) {
    const int m = spec.n_points;
    const F scale(static_cast<typename Types<F>::Real>(spec.field_scale));
    load_points<F>(spec, workspace + workspace_layout(spec, program.n_slots).points);
    for (uint32_t n0 = 0; n0 < count;) {
        const uint32_t here = count - n0 < kMaxTiles * kTile ? count - n0 : kMaxTiles * kTile;
        const int tiles = static_cast<int>((here + kTile - 1) / kTile);
        for (int t = 0; t < tiles; ++t) {
            if (stop.raised()) return false;
            const int valid = here - static_cast<uint32_t>(t * kTile) < kTile ? static_cast<int>(here) - t * kTile : kTile;
            const Pass<F> p = open_pass<F>(spec, program.n_slots, first_net + n0 + static_cast<uint32_t>(t * kTile), workspace, stop);
            auto* y = workspace + p.at.y;
            const ptrdiff_t row = static_cast<ptrdiff_t>(tiles) * kTile;
            if (spec.estimator == Estimator::direct) {
                outputs_tile(p);
                for (int i = 0; i < m * spec.dim_out; ++i) {
                    (p.fields()[field_place(spec, i)] * scale).store(y + i * row + t * kTile);
                    mask_lanes(y + i * row + t * kTile, valid);
                }
            } else if (spec.estimator == Estimator::gram) {
                gram_tile(p);
                for (int i = 0, q = 0; i < m; ++i)
                    for (int j = i; j < m; ++j, ++q) {
                        (p.gram()[pair_place(spec, i, j)] * scale).store(y + q * row + t * kTile);
                        mask_lanes(y + q * row + t * kTile, valid);
                    }
            } else {
                // Each neuron of each net is a sample: 16 neurons of the tile make one sub-block.
                const F* h = early_layers(p);
                const int n = spec.layers[spec.n_hidden - 1].fan_out;
                hidden_layer(p, p.spec.n_hidden - 1, h, [&](auto g, int j0, int group_valid) {
                    constexpr int G = decltype(g)::value;
                    const int first = j0 - j0 % kMaxTiles;
                    const int columns = n - first < kMaxTiles ? n - first : kMaxTiles;
                    for (int q = 0; q < group_valid; ++q)
                        for (int i = 0; i < m; ++i) {
                            auto* out = y + (i * columns + (j0 + q - first)) * kTile;
                            (p.group()[spec.place[i] * G + q] * scale).store(out);
                            mask_lanes(out, valid);
                        }
                    if (j0 + group_valid == first + columns) moment_sums<F>(program, y, columns, sums);
                });
            }
        }
        if (spec.estimator != Estimator::neuron) moment_sums<F>(program, workspace + workspace_layout(spec, program.n_slots).y, tiles, sums);
        n0 += here;
    }
    return !stop.raised();
}

// Fields of nets first_net ... + count - 1 in out: (count, n_points, dim_out).
template <class F>
static bool outputs(const EnsembleSpec& spec, uint64_t first_net, uint32_t count, typename Types<F>::Real* workspace,
                    typename Types<F>::Real* out, const Stop& stop) {
    const int fields = spec.n_points * spec.dim_out;
    const uint64_t aligned = first_net - first_net % kTile;
    load_points<F>(spec, workspace + workspace_layout(spec, 0).points);
    for (uint64_t tile = aligned; tile < first_net + count; tile += kTile) {
        if (stop.raised()) return false;
        const Pass<F> p = open_pass<F>(spec, 0, tile, workspace, stop);
        outputs_tile(p);
        for (int i = 0; i < fields; ++i) {
            typename Types<F>::Real lane[kTile];
            p.fields()[field_place(spec, i)].store(lane);
            for (int l = 0; l < kTile; ++l) {
                const uint64_t net = tile + static_cast<uint64_t>(l);
                if (net >= first_net && net < first_net + count) out[(net - first_net) * static_cast<uint64_t>(fields) + static_cast<uint64_t>(i)] = lane[l];
            }
        }
    }
    return !stop.raised();
}

// One tensor of one net, (rows, columns) row-major, float64 holding the kernel's float32 draws exactly.
template <class F>
static void draw_tensor(const EnsembleSpec& spec, uint64_t net, int layer, bool bias, double* out) {
    const Layer& l = spec.layers[layer];
    const bool output = layer == spec.n_hidden && !bias;
    const TensorLaw& law = bias ? l.bias : l.weight;
    const int rows = output ? l.fan_in : l.fan_out, columns = bias ? 1 : (output ? l.fan_out : l.fan_in);
    const uint64_t aligned = net - net % kTile;
    const Stream<F> s = open_stream<F>(spec.seed, aligned);
    const int lane = static_cast<int>(net - aligned);
    auto put = [&](int row, int column, const F& value) {
        typename Types<F>::Real v[kTile];
        value.store(v);
        if (row < rows) out[static_cast<ptrdiff_t>(row) * columns + column] = static_cast<double>(v[lane]);
    };
    for (int group = 0; 4 * group < rows; ++group) {
        F four[12];
        if (law.law == Law::ball) {
            draw_ball(s, law, tensor_id(layer, kWeight), columns, static_cast<uint32_t>(group), four);
            for (int k = 0; k < columns; ++k)
                for (int n = 0; n < 4; ++n) put(4 * group + n, k, four[4 * k + n]);
            continue;
        }
        for (int k = 0; k < columns; ++k) {
            draw_block(s, law, tensor_id(layer, bias ? kBias : kWeight), rows, columns, static_cast<uint32_t>(group), static_cast<uint32_t>(k), four);
            for (int n = 0; n < 4; ++n) put(4 * group + n, k, four[n]);
        }
    }
}

}  // namespace
}  // namespace nnqft
