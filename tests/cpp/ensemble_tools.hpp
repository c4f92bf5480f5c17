// Small networks, and sums that a run makes of them: what the tests of ensembles share.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "check.hpp"
#include "ensemble/ensemble.hpp"
#include "wick/multiset.hpp"

namespace nnqft {

using Description = Ensemble::Description;
using Doubles = std::vector<double>;

// Layers of sizes[0] inputs, sizes[1] .. neurons, sizes.back() outputs, at points that no symmetry relates.
inline Description network(const std::vector<int>& sizes, int n_points, Activation activation, Law law = Law::normal) {
    Description d;
    d.n_points = n_points;
    d.dim_in = sizes.front();
    d.dim_out = sizes.back();
    d.seed = 77;
    for (int i = 0; i < n_points * d.dim_in; ++i) d.points.push_back(std::sin(1.0 + 0.7 * i));
    for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
        Layer layer;
        layer.fan_in = sizes[l];
        layer.fan_out = sizes[l + 1];
        const bool output = l + 2 == sizes.size();
        layer.activation = output ? Activation::identity : activation;
        layer.weight_variance = 1.0 / sizes[l];
        layer.bias_variance = 0.25;
        layer.weight.law = output ? Law::normal : law;
        layer.weight.scale = std::sqrt(layer.weight_variance);
        layer.weight.nu = 5.0;
        layer.bias.law = Law::normal;
        layer.bias.scale = 0.5;
        d.layers.push_back(layer);
    }
    d.arrays.resize(2 * d.layers.size());
    return d;
}

inline Ensemble bound(Description d, Isa isa, bool float64 = false) {
    d.isa = isa_name(isa);
    d.float64 = float64;
    return Ensemble(std::move(d));
}

inline bool go_on(std::uint64_t) { return true; }

inline Doubles totals(const Ensemble& e, const Program& program, std::uint64_t first, std::uint64_t last, std::uint64_t block, unsigned threads = 1) {
    Accumulator sums(program.n_sums, block);
    CHECK(e.run(program, first, last, threads, sums, go_on));
    Doubles total(static_cast<std::size_t>(program.n_sums));
    sums.total(total.data());
    return total;
}

// Products of fields over all multi-indices of each order.
inline Doubles products(const Doubles& fields, const std::vector<int>& orders) {
    Doubles all;
    for (int n : orders) {
        std::vector<Index> index(static_cast<std::size_t>(n), 0);
        do {
            double product = 1.0;
            for (Index i : index) product *= fields[static_cast<std::size_t>(i)];
            all.push_back(product);
        } while (next_multiset(index.data(), n, static_cast<Index>(fields.size())));
    }
    return all;
}

}  // namespace nnqft
