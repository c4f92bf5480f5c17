// Kernels of random networks without Python: every instruction set against one net at a time in double. Shapes are small
// and odd, so that sanitizers see every edge.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <new>
#include <utility>
#include <vector>

#include "check.hpp"
#include "ensemble/ensemble.hpp"
#include "ensemble/workspace.hpp"
#include "ensemble_tools.hpp"

using namespace nnqft;

namespace {

double phi(const Layer& layer, double z) {
    switch (layer.activation) {
        case Activation::relu: return std::max(z, 0.0);
        case Activation::erf: return std::erf(z);
        case Activation::tanh: return std::tanh(z);
        case Activation::sin: return std::sin(z);
        case Activation::cos: return std::cos(z);
        case Activation::exp: return std::exp(z);
        case Activation::polynomial: {
            double y = 0.0;
            for (int i = layer.n_params - 1; i >= 0; --i) y = y * z + layer.params[i];
            return y;
        }
        default: return z;
    }
}

// Values of one net, drawn tensor by tensor: layer by layer, (points, neurons); the last are the fields.
std::vector<Doubles> forward(const Ensemble& e, const Description& d, std::uint64_t net) {
    std::vector<Doubles> values;
    Doubles h = d.points;
    const std::size_t m = static_cast<std::size_t>(d.n_points);
    for (std::size_t l = 0; l < d.layers.size(); ++l) {
        const Layer& layer = d.layers[l];
        const std::size_t n = static_cast<std::size_t>(layer.fan_in), n_out = static_cast<std::size_t>(layer.fan_out);
        const bool output = l + 1 == d.layers.size();
        Doubles w(n * n_out), b(n_out), next(m * n_out);
        e.draw_tensor(net, static_cast<int>(l), false, w.data());
        e.draw_tensor(net, static_cast<int>(l), true, b.data());
        for (std::size_t i = 0; i < m; ++i)
            for (std::size_t j = 0; j < n_out; ++j) {
                double z = b[j], norm2 = 0.0, momentum2 = 0.0;
                for (std::size_t k = 0; k < n; ++k) {
                    const double weight = output ? w[k * n_out + j] : w[j * n + k];
                    z += weight * h[i * n + k];
                    norm2 += h[i * n + k] * h[i * n + k];
                    momentum2 += weight * weight;
                }
                if (layer.normalised) z -= layer.weight_variance * norm2 + layer.bias_variance;
                double y = layer.gain * phi(layer, z);
                if (l == 0 && !d.amplitude.empty()) {
                    const double t = std::sqrt(momentum2) / d.amplitude_max * static_cast<double>(d.amplitude.size() - 1);
                    const std::size_t node = std::min(static_cast<std::size_t>(t), d.amplitude.size() - 2);
                    y *= d.amplitude[node] + (t - static_cast<double>(node)) * (d.amplitude[node + 1] - d.amplitude[node]);
                }
                next[i * n_out + j] = y;
            }
        values.push_back(next);
        h = std::move(next);
    }
    return values;
}

double largest(const Doubles& values) {
    double most = 1.0;
    for (double v : values) most = std::max(most, std::fabs(v));
    return most;
}

template <class T>
std::vector<T> outputs(const Ensemble& e, std::uint64_t first, std::uint64_t last, unsigned threads = 1) {
    const EnsembleSpec& spec = e.spec();
    std::vector<T> out((last - first) * static_cast<std::uint64_t>(spec.n_points * spec.dim_out));
    CHECK(e.outputs(first, last, threads, out.data(), [](std::uint64_t) { return true; }));
    return out;
}

// ---- kernels -----------------------------------------------------------------------------------------------------------

TEST(outputs_are_those_of_the_drawn_nets_on_every_instruction_set) {
    constexpr std::uint64_t first = 30, last = 36;  // the end of one vector of 16 nets, the beginning of the next
    for (const Description& d : networks()) {
        const Ensemble wide = bound(d, Isa::scalar, true);
        Doubles want;
        for (std::uint64_t net = first; net < last; ++net) {
            const Doubles fields = forward(wide, d, net).back();
            want.insert(want.end(), fields.begin(), fields.end());
        }
        double width = 1.0;
        for (const Layer& layer : d.layers) width = std::max({width, 1.0 * layer.fan_in, 1.0 * layer.fan_out});
        const double scale = largest(want) * std::sqrt(width);
        const Doubles got = outputs<double>(wide, first, last);
        for (std::size_t i = 0; i < want.size(); ++i) CHECK_NEAR(got[i], want[i], 1e-13 * scale);
        const std::vector<float> scalar = outputs<float>(bound(d, Isa::scalar), first, last);
        // A few roundings per term of each sum.
        for (std::size_t i = 0; i < want.size(); ++i) CHECK_NEAR(scalar[i], want[i], 40 * 0x1p-24 * scale);
        for (Isa isa : available_isas()) CHECK(outputs<float>(bound(d, isa), first, last, 3) == scalar);
    }
}

// The values whose products an estimator sums, sample by sample.
std::vector<Doubles> samples(const Ensemble& e, const Description& d, std::uint64_t first, std::uint64_t last) {
    std::vector<Doubles> all;
    const std::size_t m = static_cast<std::size_t>(d.n_points), n = static_cast<std::size_t>(d.layers.back().fan_in);
    for (std::uint64_t net = first; net < last; ++net) {
        const auto values = forward(e, d, net);
        if (d.estimator == Estimator::direct) {
            all.push_back(values.back());
            continue;
        }
        const Doubles& h = values[values.size() - 2];  // (m, n)
        if (d.estimator == Estimator::neuron) {
            for (std::size_t j = 0; j < n; ++j) {
                Doubles neuron;
                for (std::size_t i = 0; i < m; ++i) neuron.push_back(h[i * n + j]);
                all.push_back(neuron);
            }
            continue;
        }
        Doubles gram;
        for (std::size_t i = 0; i < m; ++i)
            for (std::size_t j = i; j < m; ++j) {
                double dot = 0.0;
                for (std::size_t k = 0; k < n; ++k) dot += h[i * n + k] * h[j * n + k];
                gram.push_back(d.layers.back().bias_variance + d.layers.back().weight_variance * dot);
            }
        all.push_back(gram);
    }
    return all;
}

TEST(block_sums_are_sums_of_products_on_every_instruction_set) {
    const std::vector<int> orders{1, 2, 4};
    for (const auto& sizes : std::vector<std::vector<int>>{{1, 5, 1}, {2, 37, 1}, {9, 18, 1}, {3, 4, 6, 1}, {2, 5, 2}})
        for (Estimator estimator : {Estimator::direct, Estimator::gram, Estimator::neuron}) {
            if (estimator == Estimator::neuron && sizes.size() != 3) continue;
            Description d = network(sizes, 3, Activation::erf);
            d.estimator = estimator;
            d.field_scale = 0.5;
            const Ensemble wide = bound(d, Isa::scalar, true);
            const Program program = dense_program(static_cast<int>(field_count(wide.spec())), orders);
            Doubles want(static_cast<std::size_t>(program.n_sums)), size(want.size());
            for (Doubles& y : samples(wide, d, 32, 32 + 41)) {
                for (double& v : y) v *= d.field_scale;
                const Doubles one = products(y, orders);
                for (std::size_t i = 0; i < want.size(); ++i) want[i] += one[i], size[i] += std::fabs(one[i]);
            }
            const Doubles exact = totals(wide, program, 32, 32 + 41, 32);  // a block of 32 and one of 9
            for (std::size_t i = 0; i < want.size(); ++i) CHECK_NEAR(exact[i], want[i], 1e-12 * size[i] + 1e-13);
            const Doubles scalar = totals(bound(d, Isa::scalar), program, 32, 32 + 41, 32);
            // Fields and products in float32: relative errors of a few 2^-24 per factor and per term of a field.
            for (std::size_t i = 0; i < want.size(); ++i) CHECK_NEAR(scalar[i], want[i], 200 * 0x1p-24 * (size[i] + 1.0));
            for (Isa isa : available_isas()) CHECK(totals(bound(d, isa), program, 32, 32 + 41, 32, 2) == scalar);
        }
}

TEST(blocks_longer_than_a_sub_block_are_summed_whole) {
    const Description d = network({1, 3, 1}, 2, Activation::erf);
    const Ensemble e = bound(d, available_isas().back());
    const Program program = dense_program(2, {2});
    const Doubles one = totals(e, program, 0, 1000, 4096), many = totals(e, program, 0, 1000, 16);
    for (std::size_t i = 0; i < one.size(); ++i) CHECK_NEAR(one[i], many[i], 1e-5 * std::fabs(many[i]));
}

TEST(the_layer_law_has_the_same_bits_everywhere_and_agrees_with_float64) {
    for (Description d : {network({2, 6, 1}, 5, Activation::erf), network({3, 7, 9, 2}, 4, Activation::relu), gauss_network({2, 6, 5, 1})}) {
        d.sampler = Sampler::layer;
        for (int repeat : {0, 1}) {
            if (repeat) std::copy_n(d.points.begin(), d.dim_in, d.points.end() - d.dim_in);  // the last point is the first
            for (Estimator estimator : {Estimator::direct, Estimator::gram}) {
                d.estimator = estimator;
                const Ensemble wide = bound(d, Isa::scalar, true), scalar = bound(d, Isa::scalar);
                const Doubles want = outputs<double>(wide, 5, 40);
                const std::vector<float> got = outputs<float>(scalar, 5, 40);
                // Rounding of covariances, 2^-24 of them, becomes its square root in fields.
                for (std::size_t i = 0; i < want.size(); ++i) CHECK_NEAR(got[i], want[i], 0.02 * largest(want));
                const std::size_t fields = static_cast<std::size_t>(d.n_points * d.dim_out), last = fields - static_cast<std::size_t>(d.dim_out);
                if (repeat)
                    for (std::size_t net = 0; net < 35; ++net) CHECK_NEAR(want[net * fields + last], want[net * fields], 1e-6 * largest(want));
                const Program program = dense_program(static_cast<int>(field_count(wide.spec())), {1, 2});
                const Doubles sums = totals(scalar, program, 32, 87, 32);
                for (Isa isa : available_isas()) {
                    CHECK(outputs<float>(bound(d, isa), 5, 40) == got);
                    CHECK(totals(bound(d, isa), program, 32, 87, 32) == sums);
                }
            }
        }
    }
}

TEST(close_points_keep_their_covariances_in_the_layer_law) {
    // Hidden covariances of points that differ by 1e-3 are singular in float32; the fields must still differ by what
    // the weights make of it. Mean products with a third point, over the same nets in float32 and float64.
    Description d = network({1, 30, 30, 1}, 4, Activation::erf);
    d.points = {0.5, 0.501, 1.0, -0.3};
    d.sampler = Sampler::layer;
    d.estimator = Estimator::gram;
    const Program program = dense_program(10, {1});
    const Doubles wide = totals(bound(d, Isa::scalar, true), program, 0, 2000, 16), narrow = totals(bound(d, available_isas().back()), program, 0, 2000, 16);
    for (int third : {2, 3}) {  // pairs (0, j) and (1, j) of 4 points
        const std::size_t a = static_cast<std::size_t>(third), b = 3 + static_cast<std::size_t>(third);
        CHECK_NEAR((narrow[a] - narrow[b]) / (wide[a] - wide[b]), 1.0, 0.05);
    }
}

struct Patience {
    mutable std::atomic<int> left;
    static bool spent(const void* self) { return static_cast<const Patience*>(self)->left.fetch_sub(1) <= 0; }
};

template <class Real>
void check_stop(const EnsembleKernels<Real>& kernels, const EnsembleSpec& spec) {
    const Program program = dense_program(static_cast<int>(field_count(spec)), {2});
    const std::size_t count = workspace_layout(spec, program.n_slots).total;
    Real* workspace = static_cast<Real*>(::operator new(count * sizeof(Real), std::align_val_t{64}));
    Doubles sums(static_cast<std::size_t>(program.n_sums));
    std::vector<Real> out(static_cast<std::size_t>(40 * spec.n_points * spec.dim_out));
    for (int asks = 0; asks < 60; ++asks) {  // up to more than a kernel needs for two vectors of nets
        const Patience first{{asks}}, second{{asks}};
        const bool summed = kernels.block_sums(spec, program.view(), 0, 32, workspace, sums.data(), {Patience::spent, &first});
        const bool computed = kernels.outputs(spec, 3, 29, workspace, out.data(), {Patience::spent, &second});
        CHECK(summed == (first.left >= 0) && computed == (second.left >= 0));
        if (asks == 0) CHECK(!summed && !computed);
        if (asks == 59) CHECK(summed && computed);
    }
    ::operator delete(workspace, std::align_val_t{64});
}

TEST(kernels_stop_where_they_are_asked_to) {
    const Ensemble e(network({2, 20, 9, 1}, 3, Activation::erf));
    for (Isa isa : available_isas()) check_stop(float32_kernels(isa), e.spec());
    check_stop(ensemble_kernels_float64(), e.spec());
}

}  // namespace

CHECK_MAIN()
