// Products and passes of nets on a device, emulated: matrices against plain loops, Hessians against csrc/nets.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/team.hpp"
#include "cuda/nets/fold.hpp"
#include "cuda/nets/hessian.hpp"
#include "emulation.hpp"
#include "nets_tools.hpp"

namespace {

namespace device = nnqft::cuda;
using nnqft::numbers;
using nnqft::emulation::Order;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// One device of a single multiprocessor takes wide tiles, one of many narrow ones.
constexpr int kDevices[] = {1, 12, 100000};

template <class T>
void check_product(std::int64_t samples, std::int64_t width, std::int64_t inner, std::int64_t second, std::int64_t vectors, bool turned) {
    const auto a = numbers<T>(samples * inner, 1), b = numbers<T>(vectors * width * inner, 2), c = numbers<T>(vectors * samples * second, 3),
               d = numbers<T>(width * second, 4), own = numbers<T>(vectors * samples * width, 5), shared = numbers<T>(samples * width, 6),
               bias = numbers<T>(vectors * width, 7), line = numbers<T>(vectors * samples, 8);
    std::vector<T> raw(own.size()), out(own.size()), before;
    device::Product<T> p;
    p.samples = samples, p.width = width, p.vectors = vectors, p.turned = turned;
    p.term[0] = {{a.data(), inner, 0}, {b.data(), turned ? width : inner, width * inner}, inner};
    p.term[1] = {{c.data(), second, samples * second}, {d.data(), turned ? width : second, 0}, second};
    device::Finish<T>& f = p.finish;
    f.bias = bias.data(), f.bias_batch = width, f.constant = T(0.25), f.line = line.data();
    f.before = f.after = f.other = f.of[1] = own.data(), f.gate = f.curve = f.of[0] = shared.data();
    f.line_of[0] = f.line_of[1] = line.data(), f.before_scale = T(0.5), f.after_scale = T(2), f.raw = raw.data();
    p.out = out.data();
    for (const int multiprocessors : kDevices) {
        std::fill(out.begin(), out.end(), T(__builtin_nan("")));
        CHECK(device::multiply(p, multiprocessors, nullptr) == cudaSuccess);
        if (before.empty()) before = out;
        CHECK(out == before);  // no tile changes a bit
    }
    double worst = 0.0;
    for (std::int64_t v = 0; v < vectors; ++v)
        for (std::int64_t s = 0; s < samples; ++s)
            for (std::int64_t n = 0; n < width; ++n) {
                const double o = own[size((v * samples + s) * width + n)], g = shared[size(s * width + n)], l = line[size(v * samples + s)], l0 = line[size(s)];
                double x = 0.25 + bias[size(v * width + n)] + l + 0.5 * o + l * g + l0 * o;
                for (std::int64_t k = 0; k < inner; ++k)
                    x += static_cast<double>(a[size(s * inner + k)]) * b[size(v * width * inner + (turned ? k * width + n : n * inner + k))];
                for (std::int64_t k = 0; k < second; ++k)
                    x += static_cast<double>(c[size((v * samples + s) * second + k)]) * d[size(turned ? k * width + n : n * second + k)];
                worst = std::max({worst, std::fabs(raw[size((v * samples + s) * width + n)] - x), std::fabs(out[size((v * samples + s) * width + n)] - (g * x + g * o + 2.0 * o))});
            }
    CHECK_NEAR(worst, 0.0, 4.0 * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * static_cast<double>(inner + second + 8));  // a rounding per term, each below 4
}

TEST(products_follow_their_formula_for_all_shapes_and_tiles) {
    for (const bool turned : {false, true}) {
        check_product<float>(5, 3, 1, 2, 2, turned);
        check_product<float>(130, 70, 33, 0, 1, turned);
        check_product<float>(1, 1, 1, 1, 1, turned);
        check_product<double>(67, 65, 9, 20, 2, turned);
        check_product<double>(33, 1, 40, 1, 3, turned);
    }
}

template <class T>
void check_outer(std::int64_t samples, std::int64_t slabs, std::int64_t vectors) {
    const std::int64_t widths[2] = {70, 3}, ins[2] = {35, 130};
    const std::int64_t lengths[2] = {70 * 36, 3 * 130}, all = lengths[0] + lengths[1];
    device::Outer<T> outers[2];
    std::vector<T> out(size(vectors * slabs * all)), before;
    std::vector<std::vector<T>> left, right, more, less;
    for (int i = 0; i < 2; ++i) {
        left.push_back(numbers<T>(vectors * samples * widths[i], 1)), right.push_back(numbers<T>(samples * ins[i], 2));
        more.push_back(numbers<T>(samples * widths[i], 3)), less.push_back(numbers<T>(vectors * samples * ins[i], 4));
    }
    for (int i = 0; i < 2; ++i) {
        outers[i].width = widths[i], outers[i].in = ins[i], outers[i].bias = i == 0, outers[i].out = out.data() + (i == 0 ? 0 : lengths[0]);
        outers[i].term[0] = {{left[size(i)].data(), widths[i], samples * widths[i]}, {right[size(i)].data(), ins[i], 0}, samples, true};
        outers[i].term[1] = {{more[size(i)].data(), widths[i], 0}, {less[size(i)].data(), ins[i], samples * ins[i]}, samples, false};
    }
    for (const int multiprocessors : kDevices) {
        std::fill(out.begin(), out.end(), T(__builtin_nan("")));
        CHECK(device::outer(outers, 2, samples, slabs, vectors, slabs * all, all, multiprocessors, nullptr) == cudaSuccess);
        if (before.empty()) before = out;
        CHECK(out == before);
    }
    double worst = 0.0;
    for (std::int64_t v = 0; v < vectors; ++v)
        for (std::int64_t slab = 0; slab < slabs; ++slab)
            for (int i = 0; i < 2; ++i)
                for (std::int64_t n = 0; n < widths[i]; ++n)
                    for (std::int64_t k = 0; k < ins[i] + (i == 0); ++k) {
                        double sum = 0.0;
                        for (std::int64_t s = samples * slab / slabs; s < samples * (slab + 1) / slabs; ++s) {
                            const double a = left[size(i)][size((v * samples + s) * widths[i] + n)];
                            sum += k == ins[i] ? a
                                               : a * right[size(i)][size(s * ins[i] + k)] +
                                                     static_cast<double>(more[size(i)][size(s * widths[i] + n)]) * less[size(i)][size((v * samples + s) * ins[i] + k)];
                        }
                        const std::int64_t at = (i == 0 ? 0 : lengths[0]) + (k == ins[i] ? widths[i] * ins[i] + n : n * ins[i] + k);
                        worst = std::max(worst, std::fabs(out[size((v * slabs + slab) * all + at)] - sum));
                    }
    CHECK_NEAR(worst, 0.0, 4.0 * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * static_cast<double>(samples));
}

TEST(sums_over_samples_follow_their_formula_slab_by_slab) {
    check_outer<float>(37, 3, 2);
    check_outer<double>(9, 1, 1);
    check_outer<double>(2, 5, 1);  // some slabs hold nothing
}

using Layers = std::vector<nnqft::NetLayer>;
nnqft::NetLayer layer(std::int64_t in, std::int64_t out, bool bias, nnqft::Activation a = nnqft::Activation::identity) {
    nnqft::NetLayer l;
    l.in = in, l.out = out, l.bias = bias, l.activation = a;
    return l;
}

// The same Hessian on both sides; `top`: L'' has all its parts.
template <class T>
void check_hessian(const Layers& layers, std::int64_t samples, bool gauss_newton, bool top, const nnqft::LayerMask& rows, const nnqft::LayerMask& columns,
                   double activity_bound, bool may_vanish = false) {
    const nnqft::Network net{Layers(layers)};
    nnqft::Team team(1, [] {});
    const std::int64_t n = net.size(), dim = net.dim_out(), vectors = 3;
    const auto theta = numbers<double>(n, 3), x = numbers<double>(samples * net.dim_in(), 100), first = numbers<double>(samples * dim, 5),
               diagonal = numbers<double>(samples * dim, 50), rank_one = numbers<double>(samples * dim, 60), matrix = numbers<double>(samples * dim * dim, 70);
    nnqft::LossDerivatives loss;
    loss.first = first.data();
    if (top) loss.diagonal = diagonal.data(), loss.rank_one = rank_one.data(), loss.sign = -1.0, loss.matrix = matrix.data();
    const nnqft::NetHessian<T> want(nnqft::Network{Layers(layers)}, theta.data(), {x.data(), samples}, loss, gauss_newton, 0.125, team);

    // Forward and backward in float64, then the cache of T.
    std::vector<double> amplitudes, outputs(size(samples * dim)), outputs_cpu(outputs.size());
    for (const auto& l : layers) amplitudes.insert(amplitudes.end(), l.amplitude.begin(), l.amplitude.end());
    device::LossParts parts;
    parts.diagonal = parts.rank_one = parts.matrix = top, parts.sign = -1.0;
    std::vector<double> cache(size((net.rows() + parts.width(dim)) * samples), 0.0), room(size(device::net_backward_workspace_size(net, samples)));
    const device::Activities<double> a{cache.data(), samples};
    std::copy(x.begin(), x.end(), a.at(net.place(0).input));
    CHECK(device::net_forward(net, theta.data(), amplitudes.data(), a, outputs.data(), room.data(), 10, nullptr) == cudaSuccess);
    nnqft::net_outputs(net, theta.data(), {x.data(), samples}, outputs_cpu.data(), team);
    for (std::size_t i = 0; i < outputs.size(); ++i) CHECK_NEAR(outputs[i], outputs_cpu[i], activity_bound * 1e-13);
    std::copy(first.begin(), first.end(), a.at(net.place(net.depth() - 1).delta));
    CHECK(device::net_backward(net, theta.data(), a, room.data(), 10, nullptr) == cudaSuccess);
    std::vector<double> gradient(size(n)), gradient_cpu(size(n)), slabs(size(n * device::net_slabs(n, samples)));
    CHECK(device::net_gradient(net, a, gradient.data(), slabs.data(), 10, nullptr) == cudaSuccess);
    nnqft::net_gradient(net, theta.data(), {x.data(), samples}, first.data(), gradient_cpu.data(), team);
    for (std::size_t i = 0; i < gradient.size(); ++i) CHECK_NEAR(gradient[i], gradient_cpu[i], activity_bound * 1e-13 * static_cast<double>(samples));
    if (top) {
        std::copy(diagonal.begin(), diagonal.end(), a.at(net.rows()));
        std::copy(rank_one.begin(), rank_one.end(), a.at(net.rows() + dim));
        std::copy(matrix.begin(), matrix.end(), a.at(net.rows() + 2 * dim));
    }

    // K of a net that folds: the gradient of its layer, summed with D for the deltas.
    std::vector<double> constant(size(net.folded() < 0 ? 0 : net.place(net.folded()).end - net.place(net.folded()).begin)),
        space(size(device::net_fold_workspace_size(net, samples)));
    CHECK(device::net_fold(net, theta.data(), a, gauss_newton ? nullptr : constant.data(), space.data(), 10, nullptr) == cudaSuccess);

    const std::vector<T> theta_t(theta.begin(), theta.end()), cache_t(cache.begin(), cache.end()), constant_t(constant.begin(), constant.end());
    const device::NetHessian<T> got(nnqft::Network{Layers(layers)}, samples, parts, gauss_newton, 0.125, theta_t.data(), cache_t.data(), constant_t.data(), 10);
    CHECK(got.size(rows) == want.size(rows) && got.size(columns) == want.size(columns));
    const auto X = numbers<T>(vectors * want.size(columns), 17);
    std::vector<T> y(size(vectors * want.size(rows))), expected(y.size()), before;
    want.apply(X.data(), expected.data(), vectors, rows, columns, team);
    double largest = 0.0, worst = 0.0;
    for (const std::int64_t together : {1, 2, 3}) {
        std::vector<T> work(size(got.workspace_size(together, rows)), T(__builtin_nan("")));
        std::fill(y.begin(), y.end(), T(__builtin_nan("")));
        CHECK(got.apply(X.data(), y.data(), vectors, rows, columns, together, work.data(), nullptr) == cudaSuccess);
        if (before.empty()) before = y;
        CHECK(y == before);  // lockstep changes no bit
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
        largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
        worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - static_cast<double>(expected[i])));
    }
    CHECK(largest > 0.0 || may_vanish);
    CHECK_NEAR(worst, 0.0, (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * 64.0 * activity_bound * std::sqrt(static_cast<double>(samples)) * (1.0 + largest));
}

TEST(hessians_agree_with_the_cpu_for_all_layers_losses_and_blocks) {
    using nnqft::Activation;
    const Layers relu = {layer(7, 9, false, Activation::relu), layer(9, 6, false, Activation::relu), layer(6, 1, false)};
    Layers rich = {layer(4, 5, true, Activation::tanh), layer(5, 5, true, Activation::gelu), layer(5, 3, false, Activation::identity), layer(3, 2, true)};
    rich[0].amplitude = {0.5, 1.5, -1.0, 2.0, 0.25};
    rich[1].skip = 0.75;
    Layers gauss = {layer(3, 4, true, Activation::exp), layer(4, 4, true, Activation::exp), layer(4, 2, true)};
    gauss[0].normaliser = 0.3, gauss[0].offset = 0.1, gauss[1].normaliser = 0.2, gauss[1].skip = 0.5;
    Layers deep;
    for (int l = 0; l < 10; ++l) deep.push_back(layer(3, 3, l % 2 == 0, l < 9 ? Activation::softplus : Activation::identity));
    const nnqft::LayerMask all, first = {1, 0, 0, 0}, middle = {0, 1, 1, 0}, last = {0, 0, 0, 1};
    check_hessian<float>(relu, 300, false, false, all, all, 30.0);
    check_hessian<double>(relu, 513, false, true, all, all, 30.0);
    for (const bool gauss_newton : {false, true}) {
        check_hessian<double>(rich, 37, gauss_newton, true, all, all, 30.0);
        check_hessian<double>(gauss, 5, gauss_newton, true, all, all, 30.0);
        check_hessian<double>(deep, 3, gauss_newton, true, all, all, 30.0);
        for (const auto& rows : {first, middle, last})
            for (const auto& columns : {first, middle, last}) check_hessian<double>(rich, 6, gauss_newton, true, rows, columns, 30.0);
    }
    check_hessian<double>(rich, 9, false, false, middle, first, 30.0);
    check_hessian<float>({layer(2, 1, true)}, 4, false, true, all, all, 30.0);
}

// All pairs of sets of layers, with each part of the product there and missing.
TEST(folded_hessians_agree_with_the_cpu_for_all_blocks) {
    using nnqft::Activation;
    Layers deep = {layer(4, 5, true, Activation::tanh), layer(5, 5, true, Activation::gelu), layer(5, 6, true, Activation::relu), layer(6, 1, true)};
    deep[1].skip = 0.5;
    deep[2].amplitude = {0.5, 1.5, -1.0, 2.0, 0.25, 1.0};
    const Layers plain = {layer(4, 7, false, Activation::relu), layer(7, 5, false, Activation::relu), layer(5, 1, false)},
                 shallow = {layer(4, 6, true, Activation::relu), layer(6, 1, true)}, wide = {layer(3, 40, true, Activation::relu), layer(40, 67, true, Activation::relu), layer(67, 1, true)};
    for (const Layers& layers : {deep, plain, shallow}) {
        CHECK(nnqft::Network{Layers(layers)}.folded() == static_cast<int>(layers.size()) - 2);
        for (unsigned rows = 1; rows < 1u << layers.size(); ++rows)
            for (unsigned columns = 1; columns < 1u << layers.size(); ++columns) {
                nnqft::LayerMask masks[2];
                for (std::size_t l = 0; l < layers.size(); ++l) masks[0].push_back(rows >> l & 1), masks[1].push_back(columns >> l & 1);
                for (const bool gauss_newton : {false, true})
                    for (const bool top : {false, true}) check_hessian<double>(layers, 9, gauss_newton, top, masks[0], masks[1], 30.0, !top || rows != columns);
            }
    }
    for (const bool top : {false, true}) {
        check_hessian<float>(wide, 300, false, top, {}, {}, 100.0);
        check_hessian<double>(wide, 513, true, true, {}, {}, 100.0);
    }
}

TEST(wide_tiles_are_taken_where_they_fill_the_device) {
    CHECK(device::tile_kind(1000, 256, 10, 132, false) == 0);   // 160 tiles of 128
    CHECK(device::tile_kind(1000, 256, 10, 132, true) == 1);
    CHECK(device::tile_kind(1000, 256, 2, 132, false) == 1);    // 128 tiles of 64
    CHECK(device::tile_kind(1000, 10, 1, 132, false) == 2);
    CHECK(device::tile_kind(1 << 20, 64, 1, 132, false) == 1);  // half of a wide tile would be empty
}

TEST(slabs_follow_the_size_of_the_problem) {
    CHECK(device::net_slabs(100, 0) == 1 && device::net_slabs(100, 256) == 1 && device::net_slabs(100, 257) == 2);
    CHECK(device::net_slabs(266496, 1000) == 4 && device::net_slabs(266496, 1 << 20) == 16 && device::net_slabs(1 << 28, 1 << 20) == 1);
}

TEST(sizes_beyond_the_counters_are_refused) {
    const nnqft::Network net({layer(2, 1, false)});
    CHECK_THROWS(nnqft::ShapeError, "samples", device::check_limits(net, device::kMaxSamples + 1));
    CHECK_THROWS(nnqft::ShapeError, "neurons", device::check_limits(nnqft::Network({layer(device::kMaxWidth + 1, 1, false)}), 1));
}

}  // namespace

CHECK_MAIN()
