#include "nets/hessian.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "nets/fold.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kPart = 1 << 16;  // numbers of a direction that one worker packs by itself
constexpr double kCancels = 10.0;        // times the activities: terms of float32 whose roundings would show in their sum

}  // namespace

template <class T>
NetHessian<T>::NetHessian(Network net, const double* theta, const Samples& x, const LossDerivatives& loss, bool gauss_newton, double decay,
                          Team& team)
    : net_(std::move(net)), theta_(theta, theta + net_.size()), gauss_newton_(gauss_newton), diagonal_(loss.diagonal), rank_one_(loss.rank_one),
      matrix_(loss.matrix), sign_(loss.sign), decay_(decay), cut_(x.count, net_), panels_(net_, cut_, more_rows()) {
    pack(net_, theta_.data(), {}, 1, net_.depth(), true, weights_);
    if (cut_.count > 0) keep_panels(theta, x, loss, team);
    else panels_.clear();
    folded_ = net_.folded() >= 0 && cancels() ? -1 : net_.folded();
    if (folded_ >= 0 && !gauss_newton_) sum_constant(team);
    const double once = net_.layer(0).products() + (folded_ > 0 ? net_.layer(folded_).products() : 0.0);  // 2 products, not 6
    flops_ = (12.0 * net_.products() - 8.0 * once) * static_cast<double>(cut_.count);
    slots_ = net_.has_conv() ? slots_of(cut_.panels, net_.size(), flops_) : cut_.panels;
}

// With curvature of the loss, folding adds up g (W h + b) anew from numbers of type T: whether those are so much larger than their sum, the
// activities behind the folded layer, that its digits are lost (inputs far from their mean do that).
template <class T>
bool NetHessian<T>::cancels() const {
    if (sizeof(T) == 8 || !curved()) return false;
    const int m = net_.folded();
    const NetLayer& layer = net_.layer(m);
    std::vector<double> inputs(static_cast<std::size_t>(layer.in), 0.0);
    double outputs = 0.0, terms = 0.0;
    for (std::int64_t index = 0; index < cut_.panels; ++index) {
        const Panel<T> p = panels_.panel(index);
        const auto square = [&](std::int64_t row) {
            double sum = 0.0;
            for (std::int64_t s = 0; s < cut_.used(index); ++s) sum += static_cast<double>(p.row(row)[s]) * p.row(row)[s];
            return sum;
        };
        for (std::int64_t k = 0; k < layer.in; ++k) inputs[static_cast<std::size_t>(k)] += square(net_.place(m).input + k);
        for (std::int64_t n = 0; n < layer.out; ++n) outputs += square(net_.place(m + 1).input + n);
    }
    const auto i = static_cast<std::size_t>(m);
    for (std::int64_t n = 0; n < layer.out; ++n) {
        const T* const w = weights_.source[i] + n * layer.in;
        for (std::int64_t k = 0; k < layer.in; ++k) terms += static_cast<double>(w[k]) * w[k] * inputs[static_cast<std::size_t>(k)];
        if (layer.bias) terms += static_cast<double>(weights_.bias[i][n]) * weights_.bias[i][n] * static_cast<double>(cut_.count);
    }
    return terms > kCancels * kCancels * outputs;
}

// Of L'' in a panel.
template <class T>
std::int64_t NetHessian<T>::more_rows() const {
    return net_.dim_out() * ((diagonal_ ? 1 : 0) + (rank_one_ ? 1 : 0) + (matrix_ ? net_.dim_out() : 0));
}

// Forward and backward passes in float64, kept as T with L''.
template <class T>
void NetHessian<T>::keep_panels(const double* theta, const Samples& x, const LossDerivatives& loss, Team& team) {
    const std::int64_t dim = net_.dim_out();
    Weights<double> w;
    pack(net_, theta, {}, 1, net_.depth(), true, w);
    over_panels(net_, cut_, more_rows(), team, [&](std::int64_t index, PanelWork& work) {
        const std::int64_t first = cut_.begin(index), used = cut_.used(index);
        load_activities(net_, 0, x.inputs, first, used, work.panel, work.panel.row(net_.place(0).input));
        work.passes.forward(w, work.panel, work.outputs.data());
        double* const delta = work.panel.row(net_.place(net_.depth() - 1).delta);
        if (loss.first) load_columns(loss.first, dim, first, used, cut_.ld, delta);
        else std::fill(delta, delta + dim * cut_.ld, 0.0);
        if (!gauss_newton_) work.passes.backward(w, work.panel);
        if (net_.folded() >= 0) work.passes.fold(w, work.panel);
        double* top = work.panel.row(net_.rows());
        const auto keep = [&](const double* from, std::int64_t width) {
            if (!from) return;
            load_columns(from, width, first, used, cut_.ld, top);
            top += width * cut_.ld;
        };
        keep(loss.diagonal, dim);
        keep(loss.rank_one, dim);
        keep(loss.matrix, dim * dim);
        panels_.keep(index, work);
    });
}

// K of fold.hpp.
template <class T>
void NetHessian<T>::sum_constant(Team& team) {
    const int m = folded_;
    const LayerPlace& place = net_.place(m);
    constant_ = Array<T>(static_cast<std::size_t>(place.end - place.begin));
    std::vector<RSums<T>> found(static_cast<std::size_t>(cut_.panels * net_.depth()));
    for (std::int64_t index = 0; index < cut_.panels; ++index) {
        const Panel<T> p = panels_.panel(index);
        const Pair<T> pair = {p.row(place.gated), p.row(place.input), p.row(place.turned)};
        found[static_cast<std::size_t>(index * net_.depth() + m)] = {{pair}, 1, pair.left};
    }
    std::vector<NetBlock> blocks;
    cut_layer(m, net_.layer(m), 0, blocks);
    by_stretches(cut_, static_cast<std::int64_t>(blocks.size()), team, [&](std::int64_t block, std::int64_t first, std::int64_t last) {
        sum_over_panels(net_, cut_, blocks[static_cast<std::size_t>(block)], first, last, found.data(), constant_.data());
    });
}

template <class T>
int NetHessian<T>::layer_of(std::int64_t parameter) const {
    int l = 0;
    while (parameter >= net_.place(l).end) ++l;
    return l;
}

// L'' times R of the outputs. False: zero.
template <class T>
bool NetHessian<T>::r_top(const Passes<T>& passes, const Panel<T>& p, T* out) const {
    if (!curved()) return false;
    const std::int64_t dim = net_.dim_out();
    const T *const rf = passes.r_outputs(), *top = p.row(net_.rows());
    std::fill(out, out + dim * cut_.ld, T(0));
    if (diagonal_) {
        for (std::int64_t i = 0; i < dim * cut_.ld; ++i) out[i] = top[i] * rf[i];
        top += dim * cut_.ld;
    }
    if (rank_one_) {
        for (std::int64_t s = 0; s < p.samples; ++s) {
            T sum = 0;
            for (std::int64_t n = 0; n < dim; ++n) sum += top[n * cut_.ld + s] * rf[n * cut_.ld + s];
            sum *= static_cast<T>(sign_);
            for (std::int64_t n = 0; n < dim; ++n) out[n * cut_.ld + s] += sum * top[n * cut_.ld + s];
        }
        top += dim * cut_.ld;
    }
    if (matrix_)
        for (std::int64_t n = 0; n < dim; ++n)
            for (std::int64_t m = 0; m < dim; ++m)
                for (std::int64_t s = 0; s < p.samples; ++s) out[n * cut_.ld + s] += top[(n * dim + m) * cut_.ld + s] * rf[m * cut_.ld + s];
    return true;
}

// Biases of the folded layer from q, and the weights of the last layer (null: not asked for).
template <class T>
void NetHessian<T>::unfold_last(const Weights<T>& v, std::int64_t slices, const T* dots, T* q, T* last) const {
    const auto m = static_cast<std::size_t>(folded_);
    const NetLayer& layer = net_.layer(folded_);
    const T *const w_last = weights_.forward[m + 1], *const v_last = v.forward[m + 1], *const b = weights_.bias[m], *const r_b = v.bias[m];
    const T* const k = gauss_newton_ ? nullptr : constant_.data() + layer.weights();
    for (std::int64_t n = 0; n < layer.out; ++n) {
        T sum = 0;
        for (std::int64_t slice = 0; slice < slices; ++slice) sum += dots[slice * layer.out + n];
        if (layer.bias) {
            sum += b[n] * q[n] + (r_b && k ? r_b[n] * k[n] : T(0));
            q[n] = w_last[n] * q[n] + (v_last && k ? v_last[n] * k[n] : T(0));
        }
        if (last) last[n] = sum;
    }
}

// Blocks of the folded layer are needed for the last layer, too.
template <class T>
typename NetHessian<T>::Plan NetHessian<T>::plan(const LayerMask& rows, const LayerMask& columns, std::int64_t n_vectors) const {
    Plan plan(net_, rows);
    plan.in = size(columns);
    const int m = folded_;
    if (m >= 0 && plan.at(m) < 0 && plan.begin.back() >= 0) {
        plan.apart = net_.place(m).end - net_.place(m).begin;
        plan.lowest = std::min(plan.lowest, m);
        cut_layer(m, net_.layer(m), 0, plan.blocks);
    }
    for (const NetBlock& block : plan.blocks)
        if (block.layer == m) plan.slices = std::max(plan.slices, block.slice + 1);
    plan.together = vectors_together(net_, cut_, slots_ * plan.summed, n_vectors);
    return plan;
}

template <class T>
void NetHessian<T>::apply(const T* X, T* Y, std::int64_t n_vectors, const LayerMask& rows, const LayerMask& columns, Team& team) const {
    if (n_vectors == 0) return;
    const Plan plan = this->plan(rows, columns, n_vectors);
    if (plan.in == 0) std::fill(Y, Y + plan.out * n_vectors, T(0));
    if (plan.in == 0 || plan.out == 0) return;
    std::unique_ptr<NetWorkspace<T>> space = workspaces_.borrow(net_, cut_, team.threads(), plan.together, plan.together);
    const int folded = folded_, backward_from = gauss_newton_ ? net_.depth() : plan.lowest + 1;
    for (std::int64_t first = 0; first < n_vectors; first += plan.together) {
        const std::int64_t n = std::min(plan.together, n_vectors - first);
        for (std::int64_t c = 0; c < n; ++c) {
            Weights<T>& v = space->directions[static_cast<std::size_t>(c)];
            lay_out(net_, X + (first + c) * plan.in, columns, backward_from, folded < 0 ? net_.depth() : folded, false, v);
            if (folded >= 0) fold(net_, weights_, curved() || plan.lowest < folded, v);
        }
        const std::int64_t parts = plan.in < kPart ? 1 : team.threads();
        team.run(n * parts, [&](std::int64_t task, unsigned) {
            const Weights<T>& v = space->directions[static_cast<std::size_t>(task / parts)];
            const Share share = {task % parts, parts};
            fill(net_, v, share);
            if (folded >= 0) fill_fold(net_, weights_, v, share);
        });
        r_passes(plan, n, *space, team);
        for (std::int64_t c = 0; c < n; ++c) plan.add_slots(space->sums.data() + c * slots_ * plan.summed, slots_, Y + (first + c) * plan.out);
        sum_blocks(plan, n, *space, Y + first * plan.out, team);
    }
    workspaces_.give_back(std::move(space));
    if (decay_ == 0.0) return;
    for (std::int64_t l = 0, at = 0; l < net_.depth(); ++l) {
        const auto i = static_cast<std::size_t>(l);
        if (!columns.empty() && !columns[i]) continue;
        const std::int64_t width = net_.place(static_cast<int>(l)).end - net_.place(static_cast<int>(l)).begin, begin = plan.begin[i];
        for (std::int64_t c = 0; begin >= 0 && c < n_vectors; ++c)
            for (std::int64_t k = 0; k < width; ++k) Y[c * plan.out + begin + k] += static_cast<T>(decay_) * X[c * plan.in + at + k];
        at += width;
    }
}

// Of n directions, panel by panel: what sums over samples need, and the sums of convolutions themselves.
template <class T>
void NetHessian<T>::r_passes(const Plan& plan, std::int64_t n, NetWorkspace<T>& space, Team& team) const {
    const std::int64_t depth = net_.depth(), r_size = net_.r_rows() * cut_.ld;
    T* const all_sums = room(space.sums, static_cast<std::size_t>(n * slots_ * plan.summed));
    team.run(n * slots_, [&](std::int64_t task, unsigned worker) {
        Passes<T>& pass = space.of(net_, worker);
        const std::int64_t c = task / slots_, slot = task % slots_;
        const Weights<T>& v = space.directions[static_cast<std::size_t>(c)];
        T* const sums = all_sums + task * plan.summed;
        if (plan.summed > 0) std::fill(sums, sums + plan.summed, T(0));
        for (std::int64_t index = cut_.panels * slot / slots_; index < cut_.panels * (slot + 1) / slots_; ++index) {
            const Panel<T> p = panels_.panel(index);
            T* const kept = space.kept.data() + (c * cut_.panels + index) * r_size;
            RSums<T>* const found = space.found.data() + (c * cut_.panels + index) * depth;
            const bool moves = pass.r_forward(weights_, v, p, curved());
            const bool top = moves && r_top(pass, p, kept + net_.place(net_.depth() - 1).r_delta * cut_.ld);
            pass.r_backward(weights_, v, p, top, gauss_newton_, plan.lowest, kept, found);
            plan.add_convolutions(pass, net_, p, found, sums);
        }
    });
}

// Dense layers of n products, from what the R-passes have left.
template <class T>
void NetHessian<T>::sum_blocks(const Plan& plan, std::int64_t n, NetWorkspace<T>& space, T* Y, Team& team) const {
    const int m = folded_;
    const std::int64_t in = m < 0 ? 0 : net_.layer(m).in, width = m < 0 ? 0 : net_.layer(m).out;
    const auto n_blocks = static_cast<std::int64_t>(plan.blocks.size());
    T* const dots = room(space.dots, static_cast<std::size_t>(n * plan.slices * width));
    T* const apart = room(space.apart, static_cast<std::size_t>(n * plan.apart));
    by_stretches(cut_, n * n_blocks, team, [&](std::int64_t task, std::int64_t first, std::int64_t last) {
        const std::int64_t c = task / n_blocks;
        const NetBlock& block = plan.blocks[static_cast<std::size_t>(task % n_blocks)];
        T* const y = plan.apart > 0 && block.layer == m ? apart + c * plan.apart : Y + c * plan.out;
        sum_over_panels(net_, cut_, block, first, last, space.found.data() + c * cut_.panels * net_.depth(), y);
        if (block.layer != m || last < cut_.panels) return;
        const std::int64_t at = block.row * in + block.column;
        unfold(net_, weights_, space.directions[static_cast<std::size_t>(c)], block.row, block.rows, block.column, block.columns,
               gauss_newton_ ? nullptr : constant_.data() + at, y + block.begin + at, dots + (c * plan.slices + block.slice) * width);
    });
    for (std::int64_t c = 0; c < n && plan.slices > 0; ++c) {
        T* const q = plan.apart > 0 ? apart + c * plan.apart : Y + c * plan.out + plan.at(m);
        T* const last = plan.begin.back() < 0 ? nullptr : Y + c * plan.out + plan.begin.back();
        unfold_last(space.directions[static_cast<std::size_t>(c)], plan.slices, dots + c * plan.slices * width, q + in * width, last);
    }
}

template <class T>
void NetHessian<T>::entries(const std::int64_t* row, const std::int64_t* column, std::int64_t n, bool per_sample, double* out, Team& team) const {
    std::vector<std::int64_t> group;  // where a new column begins
    for (std::int64_t m = 0; m < n; ++m)
        if (m == 0 || column[m] != column[m - 1]) group.push_back(m);
    group.push_back(n);
    std::fill(out, out + (per_sample ? cut_.count * n : n), 0.0);
    std::unique_ptr<NetWorkspace<T>> space = workspaces_.borrow(net_, cut_, team.threads(), 0, 0);
    team.run(static_cast<std::int64_t>(group.size()) - 1, [&](std::int64_t g, unsigned worker) {
        Passes<T>& pass = space->of(net_, worker);
        Array<T> kept(static_cast<std::size_t>(net_.r_rows() * cut_.ld));
        std::vector<RSums<T>> found(static_cast<std::size_t>(net_.depth()));
        const std::int64_t first = group[static_cast<std::size_t>(g)], last = group[static_cast<std::size_t>(g) + 1];
        const int layer = layer_of(column[first]);
        LayerMask mask(static_cast<std::size_t>(net_.depth()), 0);
        mask[static_cast<std::size_t>(layer)] = 1;
        std::vector<T> unit(static_cast<std::size_t>(size(mask)), T(0));
        unit[static_cast<std::size_t>(column[first] - net_.place(layer).begin)] = T(1);
        Weights<T> direction;
        pack(net_, unit.data(), mask, gauss_newton_ ? net_.depth() : 1, net_.depth(), false, direction);
        for (std::int64_t index = 0; index < cut_.panels; ++index) {
            const Panel<T> p = panels_.panel(index);
            const std::int64_t begin = cut_.begin(index), used = cut_.used(index);
            const bool moves = pass.r_forward(weights_, direction, p, curved());
            const bool top = moves && r_top(pass, p, kept.data() + net_.place(net_.depth() - 1).r_delta * cut_.ld);
            pass.r_backward(weights_, direction, p, top, gauss_newton_, 0, kept.data(), found.data());
            for (std::int64_t m = first; m < last; ++m) {
                const int l = layer_of(row[m]);
                const RSums<T>& sums = found[static_cast<std::size_t>(l)];
                double total = 0.0;
                for (std::int64_t s = 0; s < used; ++s) {
                    const double value = pass.entry(l, p, sums, row[m] - net_.place(l).begin, s);
                    if (per_sample) out[(begin + s) * n + m] = value;
                    total += value;
                }
                if (!per_sample) out[m] += total;
            }
        }
    });
    workspaces_.give_back(std::move(space));
}

template class NetHessian<float>;
template class NetHessian<double>;

}  // namespace nnqft
