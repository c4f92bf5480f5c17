#include "nets/hessian.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kPanel = 256, kMaxSlots = 16;  // samples: the activities of a panel stay in the second-level cache
constexpr double kFlopsPerBlock = 2e9;  // a worker looks for Ctrl-C after some 0.05 s

// How samples are cut: by the size of the problem alone.
struct Cut {
    std::int64_t panels, samples, ld;
    Cut(std::int64_t count, const Network& net) {
        const std::int64_t target = net.width_sum() <= 128 ? 2 * kPanel : kPanel;  // small nets: fewer sums over lanes
        panels = std::max<std::int64_t>(1, (count + target - 1) / target);
        samples = std::max(kPanelUnit, ((count + panels - 1) / panels + kPanelUnit - 1) / kPanelUnit * kPanelUnit);
        ld = samples + kPanelUnit;  // rows a power of two apart would share sets of the cache
    }
};

// rows of `from` (row-major, `width` each) number first and on, as columns of a panel; zero beyond `count`.
void load_columns(const double* from, std::int64_t count, std::int64_t width, std::int64_t first, const Cut& cut, double* to) {
    for (std::int64_t k = 0; k < width; ++k) std::fill(to + k * cut.ld, to + (k + 1) * cut.ld, 0.0);
    for (std::int64_t s = 0; s < std::min(cut.samples, count - first); ++s)
        for (std::int64_t k = 0; k < width; ++k) to[k * cut.ld + s] = from[(first + s) * width + k];
}

// One worker's panel in float64, with its passes.
struct Work {
    Passes<double> passes;
    std::vector<double> data, outputs;
    Panel<double> panel;
    Work(const Network& net, const Cut& cut, std::int64_t more_rows = 0)
        : passes(net), data(static_cast<std::size_t>((net.rows() + more_rows) * cut.ld)), outputs(static_cast<std::size_t>(net.dim_out() * cut.ld)),
          panel{data.data(), cut.samples, cut.ld} {}
};

template <class Body>  // body(panel, Work&)
void over_panels(const Network& net, const Cut& cut, std::int64_t more_rows, Team& team, const Body& body) {
    std::vector<std::unique_ptr<Work>> works(team.threads());
    team.run(cut.panels, [&](std::int64_t panel, unsigned worker) {
        if (!works[worker]) works[worker] = std::make_unique<Work>(net, cut, more_rows);
        body(panel, *works[worker]);
    });
}

}  // namespace

void net_outputs(const Network& net, const double* theta, const Samples& x, double* outputs, Team& team) {
    const Cut cut(x.count, net);
    Weights<double> w;
    pack(net, theta, {}, 0, true, w);
    over_panels(net, cut, 0, team, [&](std::int64_t index, Work& work) {
        const std::int64_t first = index * cut.samples, dim = net.dim_out();
        load_columns(x.inputs, x.count, net.dim_in(), first, cut, work.panel.row(net.place(0).input));
        work.passes.forward(w, work.panel, work.outputs.data());
        for (std::int64_t s = 0; s < std::min(cut.samples, x.count - first); ++s)
            for (std::int64_t n = 0; n < dim; ++n) outputs[(first + s) * dim + n] = work.outputs[static_cast<std::size_t>(n * cut.ld + s)];
    });
}

void net_gradient(const Network& net, const double* theta, const Samples& x, const double* first, double* gradient, Team& team) {
    const Cut cut(x.count, net);
    Weights<double> w;
    pack(net, theta, {}, 0, true, w);
    const std::int64_t slots = std::min(cut.panels, kMaxSlots), size = net.size();
    std::vector<double> sums(static_cast<std::size_t>(slots * size), 0.0);
    std::vector<std::unique_ptr<Work>> works(team.threads());
    team.run(slots, [&](std::int64_t slot, unsigned worker) {
        if (!works[worker]) works[worker] = std::make_unique<Work>(net, cut);
        Work& work = *works[worker];
        for (std::int64_t index = cut.panels * slot / slots; index < cut.panels * (slot + 1) / slots; ++index) {
            const std::int64_t begin = index * cut.samples;
            load_columns(x.inputs, x.count, net.dim_in(), begin, cut, work.panel.row(net.place(0).input));
            work.passes.forward(w, work.panel, work.outputs.data());
            load_columns(first, x.count, net.dim_out(), begin, cut, work.panel.row(net.place(net.depth() - 1).delta));
            work.passes.backward(w, work.panel);
            work.passes.gradient(work.panel, sums.data() + slot * size);
        }
    });
    std::copy(sums.begin(), sums.begin() + size, gradient);
    for (std::int64_t slot = 1; slot < slots; ++slot)
        for (std::int64_t i = 0; i < size; ++i) gradient[i] += sums[static_cast<std::size_t>(slot * size + i)];
}

template <class T>
NetHessian<T>::NetHessian(Network net, const double* theta, const Samples& x, const LossDerivatives& loss, bool gauss_newton, double decay, Team& team)
    : net_(std::move(net)), theta_(theta, theta + net_.size()), gauss_newton_(gauss_newton), diagonal_(loss.diagonal), rank_one_(loss.rank_one),
      matrix_(loss.matrix), sign_(loss.sign), decay_(decay), count_(x.count) {
    const Cut cut(count_, net_);
    panels_ = cut.panels;
    panel_samples_ = cut.samples;
    ld_ = cut.ld;
    const std::int64_t dim = net_.dim_out(), more = dim * ((diagonal_ ? 1 : 0) + (rank_one_ ? 1 : 0) + (matrix_ ? dim : 0));
    stride_ = (net_.rows() + more) * ld_;
    if (static_cast<double>(stride_) * static_cast<double>(panels_) > 0x1p44) throw ArgumentError("activities of so many samples do not fit into memory");
    slots_ = std::min(panels_, std::clamp<std::int64_t>((std::int64_t{1} << 26) / net_.size(), 1, kMaxSlots));
    pack(net_, theta_.data(), {}, 0, true, weights_);
    for (const NetLayer& layer : net_.layers()) flops_ += 12.0 * static_cast<double>(layer.in) * static_cast<double>(layer.out) * static_cast<double>(count_);
    cache_.reset(new T[static_cast<std::size_t>(stride_ * panels_)]);
    if (count_ == 0) {
        std::fill(cache_.get(), cache_.get() + stride_ * panels_, T(0));
        return;
    }

    Weights<double> w;
    pack(net_, theta, {}, 0, true, w);
    over_panels(net_, cut, more, team, [&](std::int64_t index, Work& work) {
        const std::int64_t first = index * cut.samples;
        load_columns(x.inputs, count_, net_.dim_in(), first, cut, work.panel.row(net_.place(0).input));
        work.passes.forward(w, work.panel, work.outputs.data());
        double* const delta = work.panel.row(net_.place(net_.depth() - 1).delta);
        if (loss.first) load_columns(loss.first, count_, dim, first, cut, delta);
        else std::fill(delta, delta + dim * ld_, 0.0);
        if (!gauss_newton_) work.passes.backward(w, work.panel);
        double* top = work.panel.row(net_.rows());
        const auto keep = [&](const double* from, std::int64_t width) {
            if (!from) return;
            load_columns(from, count_, width, first, cut, top);
            top += width * ld_;
        };
        keep(loss.diagonal, dim);
        keep(loss.rank_one, dim);
        keep(loss.matrix, dim * dim);
        T* const to = cache_.get() + index * stride_;
        for (std::int64_t i = 0; i < stride_; ++i) to[i] = static_cast<T>(work.data[static_cast<std::size_t>(i)]);
    });
}

template <class T>
std::int64_t NetHessian<T>::size(const LayerMask& mask) const {
    std::int64_t size = 0;
    for (int l = 0; l < net_.depth(); ++l)
        if (mask.empty() || mask[static_cast<std::size_t>(l)]) size += net_.place(l).end - net_.place(l).begin;
    return size;
}

template <class T>
int NetHessian<T>::layer_of(std::int64_t parameter) const {
    int l = 0;
    while (parameter >= net_.place(l).end) ++l;
    return l;
}

// L'' times R of the outputs.
template <class T>
const T* NetHessian<T>::r_top(Passes<T>& passes, const Panel<T>& p) const {
    const std::int64_t dim = net_.dim_out();
    const T *const rf = passes.r_outputs(), *top = p.row(net_.rows());
    T* const out = passes.r_top();
    std::fill(out, out + dim * ld_, T(0));
    if (diagonal_) {
        for (std::int64_t i = 0; i < dim * ld_; ++i) out[i] = top[i] * rf[i];
        top += dim * ld_;
    }
    if (rank_one_) {
        for (std::int64_t s = 0; s < p.samples; ++s) {
            T sum = 0;
            for (std::int64_t n = 0; n < dim; ++n) sum += top[n * ld_ + s] * rf[n * ld_ + s];
            sum *= static_cast<T>(sign_);
            for (std::int64_t n = 0; n < dim; ++n) out[n * ld_ + s] += sum * top[n * ld_ + s];
        }
        top += dim * ld_;
    }
    if (matrix_)
        for (std::int64_t n = 0; n < dim; ++n)
            for (std::int64_t m = 0; m < dim; ++m)
                for (std::int64_t s = 0; s < p.samples; ++s) out[n * ld_ + s] += top[(n * dim + m) * ld_ + s] * rf[m * ld_ + s];
    return out;
}

template <class T>
std::unique_ptr<Passes<T>> NetHessian<T>::borrow() const {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!idle_.empty()) {
            auto passes = std::move(idle_.back());
            idle_.pop_back();
            return passes;
        }
    }
    return std::make_unique<Passes<T>>(net_);
}

template <class T>
void NetHessian<T>::give_back(std::unique_ptr<Passes<T>> passes) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(passes));
}

template <class T>
void NetHessian<T>::apply(const T* X, T* Y, std::int64_t n_vectors, const LayerMask& rows, const LayerMask& columns, Team& team) const {
    const std::int64_t in = size(columns), out = size(rows);
    std::vector<std::int64_t> begin(static_cast<std::size_t>(net_.depth()), -1);  // of a layer in a vector of Y
    int lowest = net_.depth();
    for (std::int64_t l = net_.depth() - 1, end = out; l >= 0; --l)
        if (rows.empty() || rows[static_cast<std::size_t>(l)]) {
            end -= net_.place(static_cast<int>(l)).end - net_.place(static_cast<int>(l)).begin;
            begin[static_cast<std::size_t>(l)] = end;
            lowest = static_cast<int>(l);
        }
    if (out == 0 || n_vectors == 0) return;
    std::fill(Y, Y + out * n_vectors, T(0));
    if (in == 0) return;

    // Vectors go through a panel together, while it is in the cache.
    const double per_slot = flops_ / static_cast<double>(slots_);
    const std::int64_t memory = std::max<std::int64_t>(1, (std::int64_t{1} << 24) / (slots_ * std::max(in, out)));
    const std::int64_t together = std::clamp<std::int64_t>(static_cast<std::int64_t>(kFlopsPerBlock / (per_slot + 1.0)), 1, std::min<std::int64_t>(memory, 32));
    std::vector<Weights<T>> v(static_cast<std::size_t>(std::min(together, n_vectors)));
    std::vector<T> sums;
    std::vector<std::unique_ptr<Passes<T>>> passes(team.threads());
    const bool top = diagonal_ || rank_one_ || matrix_;
    // A slot of one panel may as well add to Y when its turn comes: the same bits, without the sums.
    const bool direct = slots_ == panels_ && team.threads() == 1;
    for (std::int64_t first = 0; first < n_vectors; first += together) {
        const std::int64_t n = std::min(together, n_vectors - first);
        for (std::int64_t c = 0; c < n; ++c) pack(net_, X + (first + c) * in, columns, gauss_newton_ ? net_.depth() : lowest + 1, false, v[static_cast<std::size_t>(c)]);
        T* const y = Y + first * out;
        if (!direct) sums.assign(static_cast<std::size_t>((slots_ - 1) * n * out), T(0));  // the first slot adds to Y at once
        team.run(slots_, [&](std::int64_t slot, unsigned worker) {
            if (!passes[worker]) passes[worker] = borrow();
            Passes<T>& pass = *passes[worker];
            T* const sum = slot == 0 || direct ? y : sums.data() + (slot - 1) * n * out;
            for (std::int64_t index = panels_ * slot / slots_; index < panels_ * (slot + 1) / slots_; ++index) {
                const Panel<T> p = panel(index);
                for (std::int64_t c = 0; c < n; ++c) {
                    const Weights<T>& direction = v[static_cast<std::size_t>(c)];
                    const bool moves = pass.r_forward(weights_, direction, p, top);
                    pass.r_backward(weights_, direction, p, top && moves ? r_top(pass, p) : nullptr, gauss_newton_, lowest,
                                    [&](int l, const Pair<T>* pairs, int n_pairs, const T* rd) {
                                        const NetLayer& layer = net_.layers()[static_cast<std::size_t>(l)];
                                        if (begin[static_cast<std::size_t>(l)] < 0) return;
                                        T* const to = sum + c * out + begin[static_cast<std::size_t>(l)];
                                        pass.kernels().outer(p.samples, ld_, layer.out, layer.in, pairs, n_pairs, to);
                                        if (layer.bias && rd) pass.kernels().row_sums(p.samples, ld_, layer.out, rd, to + layer.in * layer.out);
                                    });
                }
            }
        });
        for (std::int64_t slot = 1; slot < slots_ && !direct; ++slot)
            for (std::int64_t i = 0; i < n * out; ++i) y[i] += sums[static_cast<std::size_t>((slot - 1) * n * out + i)];
    }
    for (auto& pass : passes)
        if (pass) give_back(std::move(pass));
    if (decay_ == 0.0) return;
    for (std::int64_t l = 0, at = 0; l < net_.depth(); ++l) {
        const auto i = static_cast<std::size_t>(l);
        if (!columns.empty() && !columns[i]) continue;
        const std::int64_t width = net_.place(static_cast<int>(l)).end - net_.place(static_cast<int>(l)).begin;
        for (std::int64_t c = 0; begin[i] >= 0 && c < n_vectors; ++c)
            for (std::int64_t k = 0; k < width; ++k) Y[c * out + begin[i] + k] += static_cast<T>(decay_) * X[c * in + at + k];
        at += width;
    }
}

template <class T>
void NetHessian<T>::entries(const std::int64_t* row, const std::int64_t* column, std::int64_t n, bool per_sample, double* out, Team& team) const {
    std::vector<std::int64_t> group;  // where a new column begins
    for (std::int64_t m = 0; m < n; ++m)
        if (m == 0 || column[m] != column[m - 1]) group.push_back(m);
    group.push_back(n);
    const bool top = diagonal_ || rank_one_ || matrix_;
    std::fill(out, out + (per_sample ? count_ * n : n), 0.0);
    std::vector<std::unique_ptr<Passes<T>>> passes(team.threads());
    team.run(static_cast<std::int64_t>(group.size()) - 1, [&](std::int64_t g, unsigned worker) {
        if (!passes[worker]) passes[worker] = borrow();
        Passes<T>& pass = *passes[worker];
        const std::int64_t first = group[static_cast<std::size_t>(g)], last = group[static_cast<std::size_t>(g) + 1];
        const int layer = layer_of(column[first]);
        LayerMask mask(static_cast<std::size_t>(net_.depth()), 0);
        mask[static_cast<std::size_t>(layer)] = 1;
        std::vector<T> unit(static_cast<std::size_t>(size(mask)), T(0));
        unit[static_cast<std::size_t>(column[first] - net_.place(layer).begin)] = T(1);
        Weights<T> direction;
        pack(net_, unit.data(), mask, gauss_newton_ ? net_.depth() : 1, false, direction);
        for (std::int64_t index = 0; index < panels_; ++index) {
            const Panel<T> p = panel(index);
            const std::int64_t begin = index * panel_samples_, used = std::min(panel_samples_, count_ - begin);
            const bool moves = pass.r_forward(weights_, direction, p, top);
            pass.r_backward(weights_, direction, p, top && moves ? r_top(pass, p) : nullptr, gauss_newton_, 0,
                            [&](int l, const Pair<T>* pairs, int n_pairs, const T* rd) {
                                const NetLayer& here = net_.layers()[static_cast<std::size_t>(l)];
                                for (std::int64_t m = first; m < last; ++m) {
                                    const std::int64_t at = row[m] - net_.place(l).begin, weights = here.in * here.out;
                                    if (at < 0 || row[m] >= net_.place(l).end || (at >= weights && !rd)) continue;
                                    double sum = 0.0;
                                    for (std::int64_t s = 0; s < used; ++s) {
                                        double value = 0.0;
                                        if (at >= weights) value = static_cast<double>(rd[(at - weights) * ld_ + s]);
                                        for (int i = 0; at < weights && i < n_pairs; ++i)
                                            value += static_cast<double>(pairs[i].left[at / here.in * ld_ + s]) *
                                                     static_cast<double>(pairs[i].right[at % here.in * ld_ + s]);
                                        if (per_sample) out[(begin + s) * n + m] = value;
                                        sum += value;
                                    }
                                    if (!per_sample) out[m] += sum;
                                }
                            });
        }
    });
    for (auto& pass : passes)
        if (pass) give_back(std::move(pass));
}

template class NetHessian<float>;
template class NetHessian<double>;

}  // namespace nnqft
