// Scratch memory of one worker, laid out once for every instruction set. Sizes in elements of the
// kernel's real type; a "vector" is kTile of them.
#pragma once

#include <stddef.h>

#include "ensemble/spec.hpp"

namespace nnqft {

constexpr int kFusedFanIn = 8;   // up to here a neuron's input weights stay in registers
constexpr int kChunk = 32;       // weights generated ahead: kChunk x kDenseGroup vectors = 16 KiB in L1
constexpr int kFusedGroup = 4, kDenseGroup = 8;

struct Workspace {
    size_t points, bias_shift, group, weights, hidden_a, hidden_b, fields, gram, factor, noise, y, slots, total;
};

inline int64_t pair_count(int64_t m) { return m * (m + 1) / 2; }

// Fields that a net contributes to the moment program.
inline int64_t field_count(const EnsembleSpec& spec) {
    switch (spec.estimator) {
        case Estimator::gram: return pair_count(spec.n_points);
        case Estimator::neuron: return spec.n_points;
        default: return static_cast<int64_t>(spec.n_points) * spec.dim_out;
    }
}

inline Workspace workspace_layout(const EnsembleSpec& spec, int32_t n_slots) {
    const size_t m = static_cast<size_t>(spec.n_points), pairs = static_cast<size_t>(pair_count(spec.n_points));
    size_t widest = 0;
    for (int l = 0; l + 1 < spec.n_hidden; ++l)
        if (static_cast<size_t>(spec.layers[l].fan_out) > widest) widest = static_cast<size_t>(spec.layers[l].fan_out);
    const bool layer = spec.sampler == Sampler::layer, gram = spec.estimator == Estimator::gram || layer;
    if (layer) widest = 0;
    Workspace w{};
    size_t at = 0;
    auto take = [&at](size_t vectors) {
        const size_t here = at;
        at += vectors * kTile;
        return here;
    };
    w.points = take((m * static_cast<size_t>(spec.dim_in) + kTile - 1) / kTile + 1);
    w.bias_shift = take(m);
    w.group = take(m * kDenseGroup);
    w.weights = take(kChunk * kDenseGroup + kDenseGroup);
    w.hidden_a = take(widest * m);
    w.hidden_b = take(widest * m);
    w.fields = take(m * static_cast<size_t>(spec.dim_out));
    w.gram = take(gram ? pairs : 0);
    w.factor = take(layer ? pairs : 0);
    w.noise = take(layer ? m * kFusedGroup : 0);
    w.y = at;
    w.slots = take(static_cast<size_t>(n_slots) * kMaxTiles);
    w.total = at;
    return w;
}

}  // namespace nnqft
