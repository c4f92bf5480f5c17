// Numbers by address, a least-squares problem on a net, and its Hessian against differences of gradients.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "check.hpp"
#include "nets/hessian.hpp"

namespace nnqft {

// Numbers in [-1, 1) that depend on i alone.
inline double number(std::int64_t i) {
    const std::uint64_t x = (static_cast<std::uint64_t>(i) + 1) * 0x9E3779B97F4A7C15u;
    return static_cast<double>((x ^ (x >> 29)) >> 11) * 0x1p-52 - 1.0;
}
template <class T>
std::vector<T> numbers(std::int64_t n, std::int64_t start) {
    std::vector<T> a(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) a[static_cast<std::size_t>(i)] = static_cast<T>(number(start + i));
    return a;
}

// L = sum of (f - y)^2 / 2 over samples and outputs: L' = f - y, L'' = 1.
struct Problem {
    Network net;
    std::vector<double> theta, x, y;
    std::int64_t count;
    Team team{2};

    Problem(std::vector<NetLayer> layers, std::int64_t n, double largest_weight = 1.0)
        : net(std::move(layers)), theta(numbers<double>(net.size(), 11)), x(numbers<double>(n * net.dim_in(), 5)),
          y(numbers<double>(n * net.dim_out(), 2)), count(n) {
        for (double& t : theta) t *= largest_weight;
    }
    std::vector<double> first(const std::vector<double>& at) {
        std::vector<double> f(y.size());
        net_outputs(net, at.data(), {x.data(), count}, f.data(), team);
        for (std::size_t i = 0; i < f.size(); ++i) f[i] -= y[i];
        return f;
    }
    std::vector<double> gradient(const std::vector<double>& at) {
        std::vector<double> g(theta.size());
        net_gradient(net, at.data(), {x.data(), count}, first(at).data(), g.data(), team);
        return g;
    }
};

// Central differences: `tolerance` is step^2 = 1e-10 and eps / step = 2e-11, times what the derivatives come to.
inline void check_differences(Problem& p, double tolerance) {
    const auto d = p.first(p.theta);
    const std::vector<double> ones(d.size(), 1.0);
    LossDerivatives loss;
    loss.first = d.data();
    loss.diagonal = ones.data();
    const NetHessian<double> h(p.net, p.theta.data(), {p.x.data(), p.count}, loss, false, 0.0, p.team);
    const auto v = numbers<double>(p.net.size(), 3);
    std::vector<double> hv(v.size()), up = p.theta, down = p.theta;
    h.apply(v.data(), hv.data(), 1, {}, {}, p.team);
    constexpr double kStep = 1e-5;
    for (std::size_t i = 0; i < v.size(); ++i) up[i] += kStep * v[i], down[i] -= kStep * v[i];
    const auto gu = p.gradient(up), gd = p.gradient(down);
    double worst = 0.0, scale = 0.0;
    for (std::size_t i = 0; i < v.size(); ++i) {
        worst = std::fmax(worst, std::fabs((gu[i] - gd[i]) / (2.0 * kStep) - hv[i]));
        scale = std::fmax(scale, std::fabs(hv[i]));
    }
    CHECK(worst < tolerance * scale);
}

// Products by blocks of layers, all pairs of sets of layers, against single entries, which are never folded (fold.hpp): residual part,
// with curvature of the loss, with it alone.
inline void check_blocks(Problem& p) {
    const auto d = numbers<double>(p.count * p.net.dim_out(), 40), curvature = numbers<double>(p.count * p.net.dim_out(), 41);
    const std::int64_t size = p.net.size();
    const auto n = static_cast<std::size_t>(size);
    std::vector<std::int64_t> row, column;
    for (std::int64_t j = 0; j < size; ++j)
        for (std::int64_t i = 0; i < size; ++i) row.push_back(i), column.push_back(j);
    const auto v = numbers<double>(2 * size, 3);
    for (int part = 0; part < 3; ++part) {
        LossDerivatives loss;
        loss.first = d.data();
        loss.diagonal = part > 0 ? curvature.data() : nullptr;
        const NetHessian<double> h(p.net, p.theta.data(), {p.x.data(), p.count}, loss, part == 2, 0.0, p.team);
        std::vector<double> dense(n * n);  // by columns
        h.entries(row.data(), column.data(), size * size, false, dense.data(), p.team);
        double largest = 0.0, worst = 0.0;
        for (double x : dense) largest = std::fmax(largest, std::fabs(x));
        for (int rows = 1; rows < 1 << p.net.depth(); ++rows)
            for (int columns = 1; columns < 1 << p.net.depth(); ++columns) {
                LayerMask masks[2];
                std::vector<std::int64_t> parameters[2];
                for (int l = 0; l < p.net.depth(); ++l)
                    for (int side = 0; side < 2; ++side) {
                        masks[side].push_back((side == 0 ? rows : columns) >> l & 1);
                        for (std::int64_t i = p.net.place(l).begin; masks[side].back() && i < p.net.place(l).end; ++i) parameters[side].push_back(i);
                    }
                const std::size_t out = parameters[0].size(), in = parameters[1].size();
                std::vector<double> y(2 * out, 99.0);
                h.apply(v.data(), y.data(), 2, masks[0], masks[1], p.team);
                for (std::size_t c = 0; c < 2; ++c)
                    for (std::size_t i = 0; i < out; ++i) {
                        double sum = 0.0;
                        for (std::size_t j = 0; j < in; ++j) sum += dense[static_cast<std::size_t>(parameters[1][j]) * n + static_cast<std::size_t>(parameters[0][i])] * v[c * in + j];
                        worst = std::fmax(worst, std::fabs(y[c * out + i] - sum));
                    }
            }
        CHECK(largest > 0.0 && worst < 1e-13 * largest * static_cast<double>(size));  // sums of `size` terms and of some hundred samples
    }
}

}  // namespace nnqft
