// Small networks, and sums that a run makes of them: what the tests of ensembles share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
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

inline Description polynomial_network() {
    Description d = network({2, 9, 8, 1}, 4, Activation::polynomial);
    for (Layer* layer : {&d.layers[0], &d.layers[1]}) {
        const double c[] = {0.1, 1.0, 0.0, -0.2};
        std::copy(std::begin(c), std::end(c), layer->params);
        layer->n_params = 4;
    }
    return d;
}

inline Description gauss_network(const std::vector<int>& sizes) {
    Description d = network(sizes, 3, Activation::exp);
    for (std::size_t l = 0; l + 1 < d.layers.size(); ++l) d.layers[l].normalised = true;
    return d;
}

inline Description ball_network(int dim_in) {
    Description d = network({dim_in, 7, 2}, 3, Activation::cos, Law::ball);
    d.layers[0].weight.scale = 3.0;
    d.layers[0].bias = {Law::uniform, 3.14159, 0.0, nullptr, 0, 0};
    d.layers[0].gain = 1.25;
    d.amplitude = {1.0, 0.5, 0.75, 0.25, 2.0};
    d.amplitude_max = 3.0;
    return d;
}

// Nets 32 .. 36 are given; the others have zero weights.
inline Description array_network() {
    Description d = network({2, 3, 2}, 3, Activation::tanh);
    for (std::size_t k : {0, 1, 2}) {
        TensorLaw& law = k == 1 ? d.layers[0].bias : d.layers[k / 2].weight;
        const std::size_t size = k == 1 ? 3 : 6;
        law = {Law::array, 1.0, 0.0, nullptr, 32, 5};
        for (std::size_t i = 0; i < 5 * size; ++i) d.arrays[k].push_back(std::cos(static_cast<double>(i + 7 * k)));
    }
    return d;
}

// Every kind of law, layer and activation.
inline std::vector<Description> networks() {
    std::vector<Description> all{
        network({1, 1, 1}, 1, Activation::erf),          network({1, 5, 1}, 4, Activation::relu),
        network({8, 6, 1}, 5, Activation::erf),          network({9, 6, 1}, 5, Activation::tanh),  // fused and dense layers
        network({33, 11, 3}, 7, Activation::relu),       network({2, 6, 5}, 3, Activation::erf),
        network({20, 17, 40, 9, 2}, 7, Activation::tanh), network({3, 6, 5, 1}, 3, Activation::relu, Law::sign),
        network({2, 6, 1}, 3, Activation::erf, Law::student_t), network({2, 6, 1}, 2, Activation::sin, Law::uniform),
        polynomial_network(), gauss_network({2, 6, 1}), gauss_network({2, 5, 6, 4, 1}),
        ball_network(1), ball_network(2), ball_network(3), array_network()};
    return all;
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
