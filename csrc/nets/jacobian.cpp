#include "nets/jacobian.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace nnqft {

template <class T>
NetJacobian<T>::NetJacobian(Network net, const double* theta, const Samples& x, Team& team)
    : net_(std::move(net)), theta_(theta, theta + net_.size()), cut_(x.count, net_), panels_(net_, cut_, 0),
      slots_(net_.has_conv() ? slots_of(cut_.panels, net_.size(), flops()) : cut_.panels) {
    pack(net_, theta_.data(), {}, 0, net_.depth(), true, weights_);
    pack(net_, theta_.data(), LayerMask(static_cast<std::size_t>(net_.depth()), 0), 0, 0, false, none_);
    keep_panels(theta, x, team);
}

// Of activities and gates alone; the rest of a panel stays untouched memory.
template <class T>
void NetJacobian<T>::keep_panels(const double* theta, const Samples& x, Team& team) {
    Weights<double> w;
    pack(net_, theta, {}, 1, net_.depth(), true, w);
    const std::int64_t depth = net_.depth();
    std::vector<std::int64_t> bad(static_cast<std::size_t>(depth * cut_.panels), -1);  // first sample
    over_panels(net_, cut_, 0, team, [&](std::int64_t index, PanelWork& work) {
        const std::int64_t first = cut_.begin(index), used = cut_.used(index);
        load_activities(net_, 0, x.inputs, first, used, work.panel, work.panel.row(net_.place(0).input));
        work.passes.forward(w, work.panel, work.outputs.data());
        panels_.keep_indices(index, work);
        for (int l = 0; l < depth; ++l) {
            const LayerPlace& place = net_.place(l);
            panels_.keep_rows(index, work, place.input, net_.input_rows(l));
            if (place.turned >= 0) panels_.keep_rows(index, work, place.turned, turned_rows(net_.input_rows(l)));
            if (place.gate >= 0) panels_.keep_rows(index, work, place.gate, net_.delta_rows(l));
        }
        for (int l = 0; l + 1 < depth; ++l) {
            const std::int64_t s = first_bad(panels_.panel(index), l, used);
            if (s >= 0) bad[static_cast<std::size_t>(l * cut_.panels + index)] = first + s;
        }
    });
    const auto found = std::find_if(bad.begin(), bad.end(), [](std::int64_t s) { return s >= 0; });
    if (found != bad.end())
        throw ArgumentError("layer " + std::to_string((found - bad.begin()) / cut_.panels) + " has an activity or a slope that is not finite at sample " +
                            std::to_string(*found) + (sizeof(T) == 4 ? ", in float32" : ""));
}

// The first of `used` samples whose activities behind a hidden layer, or slopes of a dense one, are not finite; -1: none. Where a slope of
// a convolution is not finite, its activity is not either.
template <class T>
std::int64_t NetJacobian<T>::first_bad(const Panel<T>& p, int layer, std::int64_t used) const {
    std::int64_t bad = used;
    const T* const out = p.row(net_.place(layer + 1).input);
    const auto look = [&](const T* rows, std::int64_t n) {
        for (std::int64_t k = 0; k < n; ++k)
            for (std::int64_t s = 0; s < bad; ++s)
                if (!std::isfinite(rows[k * p.ld + s])) bad = s;
    };
    const std::int64_t n = net_.input_rows(layer + 1);
    if (layer + 1 < net_.n_conv()) bad = (std::find_if(out, out + used * n, [](T x) { return !std::isfinite(x); }) - out) / n;
    else look(out, n);
    if (net_.place(layer).gate >= 0 && layer >= net_.n_conv()) look(p.row(net_.place(layer).gate), net_.delta_rows(layer));
    return bad < used ? bad : -1;
}

template <class T>
void NetJacobian<T>::apply(const T* v, T* out, std::int64_t n_vectors, const LayerMask& layers, Team& team) const {
    constexpr std::int64_t kTogether = 32;
    const std::int64_t size = size_of(net_, layers), dim = net_.dim_out();
    auto space = workspaces_.borrow(net_, cut_, team.threads(), std::min(kTogether, n_vectors), 0);
    for (std::int64_t first = 0; first < n_vectors; first += kTogether) {
        const std::int64_t n = std::min(kTogether, n_vectors - first);
        team.run(n, [&](std::int64_t c, unsigned) {
            pack(net_, v + (first + c) * size, layers, net_.depth(), net_.depth(), false, space->directions[static_cast<std::size_t>(c)]);
        });
        team.run(n * cut_.panels, [&](std::int64_t task, unsigned worker) {
            Passes<T>& pass = space->of(net_, worker);
            const std::int64_t c = task / cut_.panels, index = task % cut_.panels;
            const std::int64_t begin = cut_.begin(index), used = cut_.used(index);
            T* const to = out + (first + c) * cut_.count * dim;
            if (pass.r_forward(weights_, space->directions[static_cast<std::size_t>(c)], panels_.panel(index), true))
                unload_columns(pass.r_outputs(), dim, begin, used, cut_.ld, to);
            else std::fill(to + begin * dim, to + (begin + used) * dim, T(0));
        });
    }
    workspaces_.give_back(std::move(space));
}

template <class T>
void NetJacobian<T>::apply_transposed(const T* u, T* out, std::int64_t n_vectors, const LayerMask& layers, Team& team) const {
    const NetSums plan(net_, layers);
    if (plan.out == 0 || n_vectors == 0) return;
    const std::int64_t dim = net_.dim_out(), depth = net_.depth(), top = net_.place(net_.depth() - 1).r_delta, r_size = net_.r_rows() * cut_.ld;
    const std::int64_t together = vectors_together(net_, cut_, slots_ * plan.summed, n_vectors), summed = plan.summed;
    const auto n_blocks = static_cast<std::int64_t>(plan.blocks.size());
    auto space = workspaces_.borrow(net_, cut_, team.threads(), 0, together);
    room(space->sums, static_cast<std::size_t>(together * slots_ * summed));
    for (std::int64_t first = 0; first < n_vectors; first += together) {
        const std::int64_t n = std::min(together, n_vectors - first);
        team.run(n * slots_, [&](std::int64_t task, unsigned worker) {
            Passes<T>& pass = space->of(net_, worker);
            const std::int64_t c = task / slots_, slot = task % slots_;
            T* const sums = space->sums.data() + task * summed;
            if (summed > 0) std::fill(sums, sums + summed, T(0));
            for (std::int64_t index = cut_.panels * slot / slots_; index < cut_.panels * (slot + 1) / slots_; ++index) {
                const Panel<T> p = panels_.panel(index);
                T* const kept = space->kept.data() + (c * cut_.panels + index) * r_size;
                RSums<T>* const found = space->found.data() + (c * cut_.panels + index) * depth;
                load_columns(u + (first + c) * cut_.count * dim, dim, cut_.begin(index), cut_.used(index), cut_.ld, kept + top * cut_.ld);
                pass.r_backward(weights_, none_, p, true, true, plan.lowest, kept, found);
                plan.add_convolutions(pass, net_, p, found, sums);
            }
        });
        for (std::int64_t c = 0; c < n && summed > 0; ++c)
            plan.add_slots(space->sums.data() + c * slots_ * summed, slots_, out + (first + c) * plan.out);
        by_stretches(cut_, n * n_blocks, team, [&](std::int64_t task, std::int64_t panel, std::int64_t last) {
            const std::int64_t c = task / n_blocks;
            sum_over_panels(net_, cut_, plan.blocks[static_cast<std::size_t>(task % n_blocks)], panel, last,
                            space->found.data() + c * cut_.panels * depth, out + (first + c) * plan.out);
        });
    }
    workspaces_.give_back(std::move(space));
}

template <class T>
void NetJacobian<T>::chain(const T* v, T* out, std::int64_t n_vectors, int start, int stop, bool transposed, Team& team) const {
    const int from = transposed ? stop : start, to = transposed ? start : stop;
    const std::int64_t in = net_.width(from) * cut_.count, size = net_.width(to) * cut_.count, ends = net_.width_max() * cut_.ld;
    auto space = workspaces_.borrow(net_, cut_, team.threads(), 0, 0);
    team.run(n_vectors * cut_.panels, [&](std::int64_t task, unsigned worker) {
        const std::int64_t c = task / cut_.panels, index = task % cut_.panels, begin = cut_.begin(index), used = cut_.used(index);
        const Panel<T> p = panels_.panel(index);
        space->ends[worker].resize(static_cast<std::size_t>(2 * ends), T(0));
        T *const given = space->ends[worker].data(), *const found = given + ends;
        load_activities(net_, from, v + c * in, begin, used, p, given);
        if (transposed) space->of(net_, worker).chain_back(weights_, p, start, stop, given, found);
        else space->of(net_, worker).chain(weights_, p, start, stop, given, found);
        unload_activities(net_, to, found, begin, used, p, out + c * size);
    });
    workspaces_.give_back(std::move(space));
}

template class NetJacobian<float>;
template class NetJacobian<double>;

}  // namespace nnqft
