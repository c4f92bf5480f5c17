// Kernels of nets in every instruction set against plain loops, and Hessian products against differences of gradients.
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "nets/jacobian.hpp"
#include "nets_tools.hpp"

using namespace nnqft;

namespace {

template <class T>
std::vector<T> packed(const std::vector<T>& w, std::int64_t inner, std::int64_t n_out) {  // w[n * inner + k], as by_columns() reads it
    std::vector<T> to(static_cast<std::size_t>((n_out + kTile - 1) / kTile * kTile * inner), T(0));
    for (std::int64_t n = 0; n < n_out; ++n)
        for (std::int64_t k = 0; k < inner; ++k)
            to[static_cast<std::size_t>((n / kTile * inner + k) * kTile + n % kTile)] = w[static_cast<std::size_t>(n * inner + k)];
    return to;
}

// Panels of samples with everything that products can do to them at once, against the definition in float64.
template <class T>
void check_shape(const NetKernels<T>& kernels, std::int64_t samples, std::int64_t n_out, std::int64_t inner) {
    const double eps = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
    const std::int64_t ld = samples + 16, step = inner + 3;
    const auto x = numbers<T>(inner * ld, 0), w = numbers<T>(n_out * inner, 7), y = numbers<T>(2 * ld, 3), v = numbers<T>(n_out * 2, 5);
    const auto bias = numbers<T>(n_out, 1), panel = numbers<T>(n_out * ld, 9);
    const auto w_pack = packed(w, inner, n_out);
    const Term<T> terms[2] = {by_columns(x.data(), w_pack.data(), inner), by_rows(y.data(), v.data(), 2, 2)};
    std::vector<T> raw(static_cast<std::size_t>(n_out * ld)), out(raw.size(), T(99));
    Finish<T> f;
    f.bias = bias.data();
    f.before = f.gate = f.curve = f.other = f.after = panel.data();
    f.before_scale = T(0.5), f.after_scale = T(2);
    f.raw = raw.data();
    kernels.product(samples, ld, n_out, terms, 2, f, out.data());

    std::vector<T> turned(static_cast<std::size_t>(turned_rows(inner) * samples), T(99));
    kernels.turn(samples, ld, inner, x.data(), turned.data());
    bool turns = true;
    for (std::int64_t k = 0; k < turned_rows(inner); ++k)
        for (std::int64_t s = 0; s < samples; ++s) {
            const T expected = k < inner ? x[static_cast<std::size_t>(k * ld + s)] : T(0);
            turns = turns && turned[static_cast<std::size_t>((k / kTurn * samples + s) * kTurn + k % kTurn)] == expected;
        }
    CHECK(turns);

    // Both ways to sum over samples, on top of ones and from nothing; numbers between the rows stay.
    const Pair<T> pairs[2] = {{panel.data(), x.data()}, {out.data(), nullptr, turned.data()}};
    std::vector<T> sums(static_cast<std::size_t>(n_out * step), T(1)), fresh[2] = {sums, sums}, rows(static_cast<std::size_t>(n_out), T(1));
    kernels.outer(samples, ld, n_out, inner, pairs, 2, true, sums.data(), step);
    for (int i = 0; i < 2; ++i) kernels.outer(samples, ld, n_out, inner, pairs + i, 1, false, fresh[i].data(), step);
    kernels.row_sums(samples, ld, n_out, panel.data(), rows.data());

    std::vector<T> dots(static_cast<std::size_t>(ld), T(2)), mixed(raw.size(), T(99)), mixed_raw(raw.size());
    kernels.column_dots(samples, ld, n_out, panel.data(), out.data(), true, dots.data());
    Finish<T> bent;
    bent.gate = bent.curve = bent.other = panel.data();
    bent.raw = mixed_raw.data();
    kernels.combine(samples, ld, n_out, y.data(), panel.data(), y.data() + ld, out.data(), bent, mixed.data());
    bool dotted = true, mixes = true;
    for (std::int64_t s = 0; s < ld; ++s) {
        double sum = 2.0;
        for (std::int64_t n = 0; n < n_out; ++n) {
            const auto at = static_cast<std::size_t>(n * ld + s);
            const double a = y[static_cast<std::size_t>(s)], b = y[static_cast<std::size_t>(ld + s)], p = panel[at], x = a * p + b * out[at];
            sum += p * out[at];
            const double bound = eps * (8.0 + 8.0 * std::fabs(static_cast<double>(out[at])));
            mixes = mixes && (s < samples ? std::fabs(mixed_raw[at] - x) < bound && std::fabs(mixed[at] - (p * x + p * p)) < bound : mixed[at] == T(99));
        }
        dotted = dotted && (s < samples ? std::fabs(dots[static_cast<std::size_t>(s)] - sum) < eps * 100.0 * static_cast<double>(n_out * inner) : dots[static_cast<std::size_t>(s)] == T(2));
    }
    CHECK(dotted);
    CHECK(mixes);
    for (int null = 0; null < 3; ++null) {  // everything there, no a, no k
        std::vector<T> to = numbers<T>(inner, 60);
        const T* const k = null == 2 ? nullptr : w.data();
        double sum = 0.0;
        for (std::int64_t i = 0; i < inner; ++i)
            sum += static_cast<double>(x[static_cast<std::size_t>(i)]) * to[static_cast<std::size_t>(i)] +
                   (null > 0 ? 0.0 : static_cast<double>(panel[static_cast<std::size_t>(i % ld)]) * w[static_cast<std::size_t>(i)]);
        std::vector<T> a;
        for (std::int64_t i = 0; i < inner; ++i) a.push_back(panel[static_cast<std::size_t>(i % ld)]);
        const std::vector<T> old = to;
        CHECK(std::fabs(kernels.blend(inner, T(0.5), k, T(2), to.data(), null == 1 ? nullptr : a.data(), x.data()) - sum) < eps * 4.0 * static_cast<double>(inner));
        bool blended = true;
        for (std::size_t i = 0; i < to.size(); ++i) blended = blended && std::fabs(to[i] - (2.0 * old[i] + (k ? 0.5 * k[i] : 0.0))) < 4.0 * eps;
        CHECK(blended);
    }

    bool products = true, outers = true, totals = true, padding = true;
    for (std::int64_t n = 0; n < n_out; ++n) {
        double total = 1.0;
        for (std::int64_t s = 0; s < ld; ++s) {
            const auto at = static_cast<std::size_t>(n * ld + s);
            if (s >= samples) {
                padding = padding && out[at] == T(99);
                continue;
            }
            const double p = panel[at];
            double sum = bias[static_cast<std::size_t>(n)] + 0.5 * p;
            for (std::int64_t k = 0; k < inner; ++k)
                sum += static_cast<double>(x[static_cast<std::size_t>(k * ld + s)]) * w[static_cast<std::size_t>(n * inner + k)];
            for (std::int64_t k = 0; k < 2; ++k)
                sum += static_cast<double>(y[static_cast<std::size_t>(k * ld + s)]) * v[static_cast<std::size_t>(n * 2 + k)];
            const double bound = 4.0 * eps * static_cast<double>(inner + 8);  // a rounding per term, each below 4
            products = products && std::fabs(raw[at] - sum) < bound && std::fabs(out[at] - (p * sum + p * p + 2.0 * p)) < bound;
            total += p;
        }
        totals = totals && std::fabs(rows[static_cast<std::size_t>(n)] - total) < eps * 100.0;
        for (std::int64_t k = 0; k < step; ++k) {
            const auto to = static_cast<std::size_t>(n * step + k);
            if (k >= inner) {
                padding = padding && sums[to] == T(1) && fresh[0][to] == T(1) && fresh[1][to] == T(1);
                continue;
            }
            double with[2] = {0.0, 0.0};
            for (std::int64_t s = 0; s < samples; ++s) {
                const auto at = static_cast<std::size_t>(n * ld + s);
                const double right = x[static_cast<std::size_t>(k * ld + s)];
                with[0] += static_cast<double>(panel[at]) * right, with[1] += static_cast<double>(out[at]) * right;
            }
            const double bound = eps * 50.0 * static_cast<double>(samples);
            outers = outers && std::fabs(sums[to] - (1.0 + with[0] + with[1])) < bound;
            for (int i = 0; i < 2; ++i) outers = outers && std::fabs(fresh[i][to] - with[i]) < bound;
        }
    }
    CHECK(products);
    CHECK(outers);
    CHECK(totals);
    CHECK(padding);
}

template <class T>
void check_kernels(const NetKernels<T>& kernels) {
    for (std::int64_t samples : {16, 48, 144})
        for (std::int64_t n_out : {1, 2, 5, 6, 7, 13})
            for (std::int64_t inner : {1, 3, 4, 9, 17, 40, 60, 127, 300}) check_shape(kernels, samples, n_out, inner);
}

NetLayer layer(std::int64_t in, std::int64_t out, Activation activation, bool bias = true) {
    NetLayer l;
    l.in = in, l.out = out, l.activation = activation, l.bias = bias;
    return l;
}

bool near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
    double worst = 0.0, largest = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) worst = std::fmax(worst, std::fabs(a[i] - b[i])), largest = std::fmax(largest, std::fabs(b[i]));
    return largest > 0.0 && worst < tolerance * largest;
}

void check_products(std::vector<NetLayer> layers) {
    Problem p(std::move(layers), 37);
    check_differences(p, 1e-7);  // derivatives of a few hundred
}

}  // namespace

TEST(kernels_equal_plain_loops_in_every_instruction_set) {
    for (Isa isa : available_isas()) {
#if defined(NNQFT_X86)
        if (isa == Isa::avx512) check_kernels(avx512::net_kernels_f32()), check_kernels(avx512::net_kernels_f64());
        if (isa == Isa::avx2) check_kernels(avx2::net_kernels_f32()), check_kernels(avx2::net_kernels_f64());
#endif
        if (isa == Isa::scalar) check_kernels(scalar::net_kernels_f32()), check_kernels(scalar::net_kernels_f64());
    }
}

TEST(products_are_differences_of_gradients) {
    check_products({layer(3, 5, Activation::tanh), layer(5, 4, Activation::sigmoid, false), layer(4, 2, Activation::identity)});
    std::vector<NetLayer> residual = {layer(4, 4, Activation::erf), layer(4, 4, Activation::swish), layer(4, 1, Activation::identity)};
    residual[0].skip = 0.5, residual[1].skip = -1.0;
    residual[1].amplitude = {0.5, 1.0, 2.0, 3.0};
    check_products(residual);
    std::vector<NetLayer> gauss = {layer(3, 4, Activation::exp), layer(4, 4, Activation::exp), layer(4, 2, Activation::identity)};
    gauss[0].normaliser = 0.2, gauss[1].normaliser = 0.1, gauss[1].offset = 0.3, gauss[1].skip = 0.25;
    check_products(gauss);
}

TEST(folded_products_equal_single_entries) {
    const auto relu = Activation::relu, leaky = Activation::leaky_relu, identity = Activation::identity;
    const auto check = [](std::vector<NetLayer> layers, bool folds, std::int64_t samples = 37) {
        layers.back().bias = layers.front().bias;
        Problem p(std::move(layers), samples);
        CHECK((p.net.folded() >= 0) == folds);
        check_blocks(p);
    };
    for (bool bias : {true, false}) {
        check({layer(3, 5, relu, bias), layer(5, 7, relu, bias), layer(7, 1, identity)}, true);
        check({layer(3, 5, Activation::tanh, !bias), layer(5, 3, relu, bias), layer(3, 1, identity)}, true);  // curves below
        check({layer(4, 9, relu, bias), layer(9, 1, identity)}, true);
        check({layer(2, 1, relu, bias), layer(1, 1, identity)}, true, 1);
    }
    std::vector<NetLayer> skips = {layer(4, 4, relu), layer(4, 4, Activation::erf), layer(4, 6, leaky), layer(6, 1, identity)};
    skips[1].skip = 0.5, skips[2].amplitude = {0.5, 1.0, 2.0, 3.0, 0.0, -1.0}, skips[2].activation_params = {0.1};
    check(skips, true);
    check({layer(3, 140, relu), layer(140, 3, relu), layer(3, 1, identity)}, true);  // two slices of columns
    std::vector<NetLayer> normalised = {layer(3, 4, relu), layer(4, 4, relu), layer(4, 1, identity)};
    normalised[2].normaliser = 0.1;
    check(normalised, false);
    check({layer(3, 5, relu), layer(5, 4, relu), layer(4, 2, identity)}, false);
    check({layer(3, 5, relu), layer(5, 4, Activation::tanh), layer(4, 1, identity)}, false);
}

// J^T (J v + y) is what Hv and the gradient at targets y are for least squares (nets_tools.hpp), and chains of layers multiply.
TEST(jacobians_are_halves_of_gauss_newton_products) {
    ConvShape shape = {2, 5, 4, 3, 3, 1, 1, {2, 1}, {1, 2}};
    NetLayer conv;
    conv.conv = shape, conv.activation = Activation::tanh, conv.bias = true;
    std::vector<NetLayer> plain = {layer(4, 4, Activation::erf), layer(4, 5, Activation::swish, false), layer(5, 3, Activation::identity)};
    plain[0].skip = 0.5, plain[0].normaliser = 0.1;
    for (const auto& layers : {plain, {conv, layer(12, 6, Activation::relu), layer(6, 2, Activation::identity)}}) {
        Problem p(layers, 301, 0.5);
        const NetJacobian<double> j(p.net, p.theta.data(), {p.x.data(), p.count}, p.team);
        const std::vector<double> ones(p.y.size(), 1.0), v = numbers<double>(2 * p.net.size(), 3), first = p.first(p.theta);
        LossDerivatives loss;
        loss.diagonal = ones.data();
        const NetHessian<double> h(p.net, p.theta.data(), {p.x.data(), p.count}, loss, true, 0.0, p.team);
        std::vector<double> hv(v.size()), jjv(v.size()), jv(2 * ones.size()), g(p.theta.size());
        h.apply(v.data(), hv.data(), 2, {}, {}, p.team);
        j.apply(v.data(), jv.data(), 2, {}, p.team);
        j.apply_transposed(jv.data(), jjv.data(), 2, {}, p.team);
        CHECK(near(jjv, hv, 1e-13));  // sums over 301 samples
        j.apply_transposed(first.data(), g.data(), 1, {}, p.team);
        CHECK(near(g, p.gradient(p.theta), 1e-13));
        const auto x = numbers<double>(p.count * p.net.dim_in(), 9);
        std::vector<double> middle(static_cast<std::size_t>(p.count * p.net.width(1))), up(ones.size()), whole(ones.size()), down(x.size());
        j.chain(x.data(), middle.data(), 1, 0, 1, false, p.team);
        j.chain(middle.data(), up.data(), 1, 1, 3, false, p.team);
        j.chain(x.data(), whole.data(), 1, 0, 3, false, p.team);
        CHECK(near(up, whole, 1e-14));
        j.chain(whole.data(), down.data(), 1, 0, 3, true, p.team);
        double left = 0.0, right = 0.0;  // |J x|^2 = x . J^T J x
        for (double a : whole) left += a * a;
        for (std::size_t i = 0; i < x.size(); ++i) right += x[i] * down[i];
        CHECK(left > 0.0 && std::fabs(left - right) < 1e-13 * left);
    }
}

TEST(workers_that_pack_a_long_direction_together_change_no_bit) {
    Problem p({layer(512, 160, Activation::relu), layer(160, 130, Activation::relu), layer(130, 1, Activation::identity)}, 40, 0.1);
    const auto d = numbers<double>(p.count, 40);
    LossDerivatives loss;
    loss.first = loss.diagonal = d.data();
    const NetHessian<float> h(p.net, p.theta.data(), {p.x.data(), p.count}, loss, false, 0.0, p.team);
    const auto v = numbers<float>(2 * p.net.size(), 3), other = numbers<float>(2 * p.net.size(), 7);
    std::vector<float> alone(v.size(), 99.0f), together(v.size(), -99.0f);
    Team one(1), three(3);
    h.apply(v.data(), alone.data(), 2, {}, {}, one);
    h.apply(other.data(), together.data(), 2, {}, {}, one);  // leaves its own directions in the workspace
    h.apply(v.data(), together.data(), 2, {}, {}, three);
    CHECK(alone == together && alone != std::vector<float>(v.size(), alone[0]));
}

TEST(layers_that_do_not_fit_are_refused) {
    const auto refused = [](std::vector<NetLayer> layers) {
        try {
            Network net(std::move(layers));
        } catch (const ShapeError&) {
            return true;
        }
        return false;
    };
    CHECK(refused({}));
    CHECK(refused({layer(0, 1, Activation::relu)}));
    CHECK(refused({layer(2, 3, Activation::relu), layer(4, 1, Activation::relu)}));
    auto skip = layer(2, 3, Activation::relu);
    skip.skip = 1.0;
    CHECK(refused({skip, layer(3, 1, Activation::relu)}));
    auto amplitude = layer(2, 3, Activation::relu);
    amplitude.amplitude = {1.0};
    CHECK(refused({amplitude, layer(3, 1, Activation::relu)}));
    CHECK(refused({layer(std::int64_t{1} << 30, std::int64_t{1} << 30, Activation::relu)}));
}

CHECK_MAIN()
