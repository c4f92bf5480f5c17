#include "nets/passes.hpp"

#include <algorithm>
#include <utility>

#include "core/activation_f64.hpp"
#include "core/activations.hpp"
#include "nets/conv.hpp"

namespace nnqft {

template <>
const NetKernels<float>& net_kernels<float>() {
    static const NetKernels<float> kernels = [] {
        switch (resolve_isa("")) {
#if defined(NNQFT_X86)
            case Isa::avx512: return avx512::net_kernels_f32();
            case Isa::avx2: return avx2::net_kernels_f32();
#endif
            default: return scalar::net_kernels_f32();
        }
    }();
    return kernels;
}
template <>
const NetKernels<double>& net_kernels<double>() {
    static const NetKernels<double> kernels = [] {
        switch (resolve_isa("")) {
#if defined(NNQFT_X86)
            case Isa::avx512: return avx512::net_kernels_f64();
            case Isa::avx2: return avx2::net_kernels_f64();
#endif
            default: return scalar::net_kernels_f64();
        }
    }();
    return kernels;
}

namespace {

template <class T>
void column_sums(const Panel<T>& p, std::int64_t rows, const T* a, T* y) {
    std::fill(y, y + p.samples, T(0));
    for (std::int64_t n = 0; n < rows; ++n)
        for (std::int64_t s = 0; s < p.samples; ++s) y[s] += a[n * p.ld + s];
}

}  // namespace

template <class T>
void lay_out(const Network& net, const T* theta, const std::vector<char>& mask, int backward_from, int backward_to, bool offsets, Weights<T>& to) {
    const auto& layers = net.layers();
    const std::size_t depth = layers.size();
    for (auto* pointers : {&to.forward, &to.backward, &to.bias, &to.source}) pointers->assign(depth, nullptr);
    to.step.assign(depth, 0);
    const auto back = [&](std::size_t l) { return static_cast<int>(l) >= backward_from && static_cast<int>(l) < backward_to; };
    // Rows a kilobyte or more apart, by powers of two, share sets of the first-level cache: they move apart.
    const auto crowded = [](const NetLayer& layer) { return layer.in * static_cast<std::int64_t>(sizeof(T)) % 2048 == 0 && layer.out > kTile; };
    const auto filters = [&](std::size_t l) { return layers[l].conv.filters * net.plan(static_cast<int>(l)).window.size; };
    std::int64_t need = 0;
    for (std::size_t l = 0; l < depth; ++l)
        if (mask.empty() || mask[l])
            need += layers[l].is_conv() ? filters(l)
                                        : (crowded(layers[l]) ? layers[l].out * (layers[l].in + kTurn) : 0) + (back(l) ? packed_size(layers[l]) : 0) +
                                              (offsets ? layers[l].out : 0);
    T* next = room(to.storage, static_cast<std::size_t>(need));
    for (std::size_t l = 0; l < depth; ++l) {
        const NetLayer& layer = layers[l];
        if (!mask.empty() && !mask[l]) continue;
        to.source[l] = std::exchange(theta, theta + layer.weights());
        if (layer.bias) to.bias[l] = std::exchange(theta, theta + layer.biases());
        if (layer.is_conv()) {
            to.forward[l] = std::exchange(next, next + filters(l));
            if (back(l)) to.backward[l] = to.forward[l];
            continue;
        }
        to.step[l] = layer.in + (crowded(layer) ? kTurn : 0);
        to.forward[l] = crowded(layer) ? std::exchange(next, next + layer.out * to.step[l]) : to.source[l];
        if (back(l)) to.backward[l] = std::exchange(next, next + packed_size(layer));
        if (offsets && layer.offset != 0.0) {
            for (std::int64_t n = 0; n < layer.out; ++n) next[n] = (layer.bias ? to.bias[l][n] : T(0)) - static_cast<T>(layer.offset);
            to.bias[l] = std::exchange(next, next + layer.out);
        }
    }
}

template <class T>
void fill(const Network& net, const Weights<T>& to, const Share& share) {
    for (int l = 0; l < net.depth(); ++l) {
        const auto i = static_cast<std::size_t>(l);
        const NetLayer& layer = net.layer(l);
        const T* const from = to.source[i];
        if (!from) continue;
        // What is not the source lies in to.storage.
        T *const forward = const_cast<T*>(to.forward[i]), *const backward = const_cast<T*>(to.backward[i]);
        if (layer.is_conv()) {
            if (share.part == 0) pack_filters(layer.conv, net.plan(l).window, from, forward);
            continue;
        }
        for (std::int64_t n = share.begin(layer.out); forward != from && n < share.end(layer.out); ++n)
            std::copy(from + n * layer.in, from + (n + 1) * layer.in, forward + n * to.step[i]);
        const auto value = [&](std::int64_t n, std::int64_t k) { return from[n * layer.in + k]; };
        if (backward) pack_columns(layer.out, layer.in, value, backward, share);
    }
}

template <class T>
void pack(const Network& net, const T* theta, const std::vector<char>& mask, int backward_from, int backward_to, bool offsets, Weights<T>& to) {
    lay_out(net, theta, mask, backward_from, backward_to, offsets, to);
    fill(net, to, {});
}

template <class T>
Passes<T>::Passes(const Network& net) : net_(net), kernels_(net_kernels<T>()), ones_(static_cast<std::size_t>(net.width_max() + kTile), T(1)) {}

// Places for one panel of this size: R of everything on the way up, two dL/dh on the way down, each in front of the other in turn.
template <class T>
void Passes<T>::reserve(const Panel<T>& p) {
    if (reserved_ == p.ld) return;
    const auto depth = static_cast<std::size_t>(net_.depth());
    std::int64_t rows = 0;
    std::vector<std::int64_t> z(depth, -1), h(depth, -1), d(depth, -1);
    for (std::size_t l = 0; l < depth; ++l) {
        const auto layer = static_cast<int>(l);
        if (net_.place(layer).curve >= 0) z[l] = std::exchange(rows, rows + net_.delta_rows(layer));
        if (l > 0) h[l] = std::exchange(rows, rows + net_.input_rows(layer));
        if (layer < net_.n_conv()) d[l] = std::exchange(rows, rows + net_.delta_rows(layer));
    }
    const std::int64_t first = rows, wide = net_.width_max();
    memory_ = Array<T>(static_cast<std::size_t>((rows + 3 * wide + net_.dim_out() + 1) * p.ld));
    std::fill(memory_.data(), memory_.data() + memory_.size(), T(0));
    const auto at = [&](std::int64_t row) { return row < 0 ? nullptr : memory_.data() + row * p.ld; };
    rz_.resize(depth);
    rh_.resize(depth);
    rd_.resize(depth);
    moves_.assign(depth, 0);
    std::transform(z.begin(), z.end(), rz_.begin(), at);
    std::transform(h.begin(), h.end(), rh_.begin(), at);
    std::transform(d.begin(), d.end(), rd_.begin(), at);
    re_[0] = at(first);
    re_[1] = at(first + wide);
    extra_ = at(first + 2 * wide);
    r_outputs_ = at(first + 3 * wide);
    line_ = at(first + 3 * wide + net_.dim_out());
    reserved_ = p.ld;
}

template <class T>
void Passes<T>::multiply(const Panel<T>& p, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& finish, T* out) {
    kernels_.product(p.samples, p.ld, n_out, terms, n_terms, finish, out);
}

template <class T>
void Passes<T>::forward(const Weights<T>& w, const Panel<T>& p, T* outputs, bool outputs_alone) {
    reserve(p);
    const int depth = net_.depth();
    for (int l = 0; l < depth; ++l) {
        const NetLayer& layer = net_.layer(l);
        const LayerPlace& place = net_.place(l);
        const T* h = p.row(place.input);
        T* const out = l + 1 < depth ? p.row(net_.place(l + 1).input) : outputs;
        if (layer.is_conv()) {
            scratch_.resize(4 * net_.plan(l).all.size());
            ConvPass<T>(net_, l, p).forward(w.forward[static_cast<std::size_t>(l)], w.bias[static_cast<std::size_t>(l)], out, scratch_.data());
            continue;
        }
        if (place.turned >= 0 && !outputs_alone) kernels_.turn(p.samples, p.ld, layer.in, h, p.row(place.turned));
        Term<T> terms[2] = {w.ahead(l, h, layer.in)};
        int n_terms = 1;
        if (layer.normaliser != 0.0) {
            kernels_.column_dots(p.samples, p.ld, layer.in, h, h, false, line_);
            for (std::int64_t s = 0; s < p.samples; ++s) line_[s] *= static_cast<T>(-layer.normaliser);
            terms[n_terms++] = by_rows<T>(line_, ones_.data(), 1, 1);
        }
        Finish<T> finish;
        finish.bias = w.bias[static_cast<std::size_t>(l)];
        multiply(p, layer.out, terms, n_terms, finish, out);
        if (l + 1 == depth) break;
        const auto params = activation_params<T>(layer.activation_params.data(), static_cast<int>(layer.activation_params.size()));
        with_activation(layer.activation, [&](auto tag) {
            constexpr Activation A = decltype(tag)::value;
            const bool skips = layer.skip != 0.0;
            for (std::int64_t n = 0; n < layer.out; ++n) {
                const T a = layer.amplitude.empty() ? T(1) : static_cast<T>(layer.amplitude[static_cast<std::size_t>(n)]);
                const auto kept = [&](std::int64_t row) { return row < 0 || outputs_alone ? nullptr : p.row(row + n); };
                T *const y = out + n * p.ld, *const gate = kept(place.gate), *const curve = kept(place.curve);
                for (std::int64_t s = 0; s < p.samples; s += kPanelUnit) {
                    T value[kPanelUnit], first[kPanelUnit], second[kPanelUnit];
                    for (int i = 0; i < kPanelUnit; ++i) activate_derivatives<A>(y[s + i], params, value[i], first[i], second[i]);
                    for (int i = 0; i < kPanelUnit; ++i) y[s + i] = a * value[i];
                    for (int i = 0; gate && i < kPanelUnit; ++i) gate[s + i] = a * first[i];
                    for (int i = 0; curve && i < kPanelUnit; ++i) curve[s + i] = a * second[i];
                    for (int i = 0; skips && i < kPanelUnit; ++i) y[s + i] += static_cast<T>(layer.skip) * h[n * p.ld + s + i];
                }
            }
        });
    }
}

// What dL/dh_l has besides W^T d:  skip e - 2 normaliser h sum(d), the second for each of the pairs (d, h). False: nothing.
template <class T>
bool Passes<T>::back_extra(int l, const Panel<T>& p, const T* e, const Pair<T>* pairs, int n_pairs) {
    const NetLayer& layer = net_.layer(l);
    const bool skip = layer.skip != 0.0 && e != nullptr, normalise = layer.normaliser != 0.0 && n_pairs > 0;
    if (!skip && !normalise) return false;
    const auto size = static_cast<std::size_t>(layer.in * p.ld);
    for (std::size_t i = 0; i < size; ++i) extra_[i] = skip ? static_cast<T>(layer.skip) * e[i] : T(0);
    for (int pair = 0; normalise && pair < n_pairs; ++pair) {
        column_sums(p, layer.out, pairs[pair].left, line_);
        for (std::int64_t s = 0; s < p.samples; ++s) line_[s] *= static_cast<T>(-2.0 * layer.normaliser);
        for (std::int64_t k = 0; k < layer.in; ++k)
            for (std::int64_t s = 0; s < p.samples; ++s) extra_[k * p.ld + s] += pairs[pair].right[k * p.ld + s] * line_[s];
    }
    return true;
}

template <class T>
void Passes<T>::backward(const Weights<T>& w, const Panel<T>& p) {
    reserve(p);
    const T* e = nullptr;
    for (int l = net_.depth() - 2; l >= 0; --l) {
        const NetLayer &layer = net_.layer(l), &above = net_.layer(l + 1);
        const LayerPlace &place = net_.place(l), &place_above = net_.place(l + 1);
        const Term<T> term = w.back(l + 1, p.row(place_above.delta), above.out);
        T* const raw = re_[l % 2];
        if (above.is_conv()) {
            ConvPass<T>(net_, l + 1, p).back(&term, 1, raw);
        } else {
            const Pair<T> pair = {term.rows, p.row(place_above.input)};
            Finish<T> finish;
            if (back_extra(l + 1, p, e, &pair, 1)) finish.before = extra_, finish.before_scale = T(1);
            if (!layer.is_conv()) finish.gate = p.row(place.gate), finish.raw = raw;
            multiply(p, above.in, &term, 1, finish, layer.is_conv() ? raw : p.row(place.delta));
        }
        e = raw;
        if (layer.is_conv()) {
            ConvPass<T>(net_, l, p).deltas(e);
            continue;
        }
        T* const curve = p.row(place.curve);
        for (std::int64_t i = 0; curve && i < above.in * p.ld; ++i) curve[i] *= raw[i];
    }
}

template <class T>
void Passes<T>::gradient(const Panel<T>& p, T* out) {
    for (int l = 0; l < net_.depth(); ++l) {
        const NetLayer& layer = net_.layer(l);
        const LayerPlace& place = net_.place(l);
        const Pair<T> pair = {p.row(place.delta), p.row(place.input), p.row(place.turned)};
        if (layer.is_conv()) {
            ConvPass<T>(net_, l, p).add(&pair, 1, pair.left, out + place.begin);
            continue;
        }
        kernels_.outer(p.samples, p.ld, layer.out, layer.in, &pair, 1, true, out + place.begin, layer.in);
        if (layer.bias) kernels_.row_sums(p.samples, p.ld, layer.out, pair.left, out + place.begin + layer.weights());
    }
}

template <class T>
void Passes<T>::add(int l, const Panel<T>& p, const RSums<T>& sums, T* out) const {
    if (sums.count > 0) ConvPass<T>(net_, l, p).add(sums.pairs, sums.count, sums.rd, out);
}

template <class T>
double Passes<T>::entry(int l, const Panel<T>& p, const RSums<T>& sums, std::int64_t parameter, std::int64_t sample) const {
    const NetLayer& layer = net_.layer(l);
    if (layer.is_conv()) return ConvPass<T>(net_, l, p).entry(sums.pairs, sums.count, sums.rd, parameter, sample);
    if (parameter >= layer.weights()) return sums.rd ? static_cast<double>(sums.rd[(parameter - layer.weights()) * p.ld + sample]) : 0.0;
    double value = 0.0;
    for (int i = 0; i < sums.count; ++i)
        value += static_cast<double>(sums.pairs[i].left[parameter / layer.in * p.ld + sample]) *
                 static_cast<double>(sums.pairs[i].right_at(parameter % layer.in, sample, p.samples, p.ld));
    return value;
}

// Rh_{l+1}, into `out`, from Rh_l (null: zero) and the layer's part of v (null: none). False if it is zero.
template <class T>
bool Passes<T>::r_layer(int l, const Weights<T>& w, const Weights<T>* v, const Panel<T>& p, const T* r_h, T* out) {
    const auto i = static_cast<std::size_t>(l);
    const NetLayer& layer = net_.layer(l);
    const LayerPlace& place = net_.place(l);
    const T *const V = v ? v->forward[i] : nullptr, *const bias = v ? v->bias[i] : nullptr;
    if (!r_h && !V) return false;
    if (layer.is_conv()) {
        ConvPass<T>(net_, l, p).r_forward(w.forward[i], r_h, V, bias, rz_[i] ? rz_[i] : extra_, out);
        return true;
    }
    Term<T> terms[3];
    int n_terms = 0;
    if (V) terms[n_terms++] = v->ahead(l, p.row(place.input), layer.in);
    if (r_h) terms[n_terms++] = w.ahead(l, r_h, layer.in);
    if (r_h && layer.normaliser != 0.0) {
        kernels_.column_dots(p.samples, p.ld, layer.in, p.row(place.input), r_h, false, line_);
        for (std::int64_t s = 0; s < p.samples; ++s) line_[s] *= static_cast<T>(-2.0 * layer.normaliser);
        terms[n_terms++] = by_rows<T>(line_, ones_.data(), 1, 1);
    }
    Finish<T> finish;
    finish.bias = bias;
    finish.gate = p.row(place.gate);
    finish.raw = rz_[i];
    if (r_h && layer.skip != 0.0) finish.after = r_h, finish.after_scale = static_cast<T>(layer.skip);
    multiply(p, layer.out, terms, n_terms, finish, out);
    return true;
}

template <class T>
bool Passes<T>::r_forward(const Weights<T>& w, const Weights<T>& v, const Panel<T>& p, bool outputs) {
    reserve(p);
    const int depth = net_.depth(), last = v.folded ? net_.folded() : outputs ? depth : depth - 1;
    bool moves = false;
    for (int l = 0; l < last; ++l) {
        const auto i = static_cast<std::size_t>(l);
        moves_[i] = moves;
        moves = r_layer(l, w, &v, p, moves ? rh_[i] : nullptr, l + 1 < depth ? rh_[i + 1] : r_outputs_);
    }
    if (last < depth) moves_[static_cast<std::size_t>(last)] = moves;
    return v.folded && outputs ? folded_outputs(v, p) : moves;
}

template <class T>
void Passes<T>::chain(const Weights<T>& w, const Panel<T>& p, int start, int stop, const T* r_h, T* out) {
    reserve(p);
    for (int l = start; l < stop; ++l) {
        T* const to = l + 1 < stop ? rh_[static_cast<std::size_t>(l) + 1] : out;
        r_layer(l, w, nullptr, p, r_h, to);
        r_h = to;
    }
}

template <class T>
void Passes<T>::chain_back(const Weights<T>& w, const Panel<T>& p, int start, int stop, const T* e, T* out) {
    reserve(p);
    for (int l = stop - 1; l >= start; --l) {
        const auto i = static_cast<std::size_t>(l);
        const NetLayer& layer = net_.layer(l);
        const LayerPlace& place = net_.place(l);
        T* const to = l > start ? re_[l % 2] : out;
        if (layer.is_conv()) {
            const ConvPass<T> pass(net_, l, p);
            pass.r_deltas(e, nullptr, rd_[i]);
            const Term<T> term = w.back(l, rd_[i], layer.out);
            pass.back(&term, 1, to);
        } else {
            const T* d = e;
            if (const T* const gate = p.row(place.gate)) {
                T* const gated = rh_[i + 1];
                for (std::int64_t k = 0; k < layer.out * p.ld; ++k) gated[k] = gate[k] * e[k];
                d = gated;
            }
            const Term<T> term = w.back(l, d, layer.out);
            const Pair<T> pair = {d, p.row(place.input)};
            Finish<T> finish;
            if (back_extra(l, p, e, &pair, 1)) finish.before = extra_, finish.before_scale = T(1);
            multiply(p, layer.in, &term, 1, finish, to);
        }
        e = to;
    }
}

// What Hv in layer l is made of, from Rd there (null: zero) and what r_forward() has left.
template <class T>
RSums<T> Passes<T>::sums_of(int l, const Panel<T>& p, const T* rd, bool gauss_newton, T* kept) {
    const LayerPlace& place = net_.place(l);
    const T* const r_input = rh_[static_cast<std::size_t>(l)];
    RSums<T> sums;
    sums.rd = rd;
    if (rd) sums.pairs[sums.count++] = {rd, p.row(place.input), p.row(place.turned)};
    if (gauss_newton || !moves_[static_cast<std::size_t>(l)]) return sums;
    sums.pairs[sums.count++] = l < net_.n_conv() ? Pair<T>{p.row(place.delta), r_input} : kept_pair(l, p, p.row(place.delta), r_input, kept);
    return sums;
}

// `left` and numbers of the inputs of layer l, which may be overwritten once they are kept.
template <class T>
Pair<T> Passes<T>::kept_pair(int l, const Panel<T>& p, const T* left, const T* right, T* kept) {
    const LayerPlace& place = net_.place(l);
    const std::int64_t in = net_.layer(l).in;
    T* const to = kept + place.r_input * p.ld;
    if (place.turned >= 0) {
        kernels_.turn(p.samples, p.ld, in, right, to);
        return {left, nullptr, to};
    }
    std::copy(right, right + in * p.ld, to);
    return {left, to};
}

template <class T>
void Passes<T>::r_backward(const Weights<T>& w, const Weights<T>& v, const Panel<T>& p, bool top, bool gauss_newton, int lowest, T* kept,
                           RSums<T>* found) {
    reserve(p);
    const auto kept_row = [&](std::int64_t row) { return kept + row * p.ld; };
    const T *rd = top ? kept_row(net_.place(net_.depth() - 1).r_delta) : nullptr, *re = nullptr;
    int l = net_.depth() - 1;
    if (v.folded) {
        found[l] = {{}, 0, rd};
        found[--l] = folded_sums(p, rd, gauss_newton, kept);
    }
    for (;; --l) {
        const auto i = static_cast<std::size_t>(l);
        const NetLayer& layer = net_.layer(l);
        const LayerPlace& place = net_.place(l);
        const bool folded = v.folded && l == net_.folded();
        if (!folded) found[l] = sums_of(l, p, rd, gauss_newton, kept);
        if (l == lowest) return;

        const NetLayer& under = net_.layer(l - 1);
        const LayerPlace& below = net_.place(l - 1);
        Term<T> terms[2];
        int n_terms = 0;
        if (folded && v.folded_back && !gauss_newton) terms[n_terms++] = by_columns<T>(p.row(place.gated), v.folded_back, layer.out);
        if (!folded && v.backward[i] && !gauss_newton) terms[n_terms++] = v.back(l, p.row(place.delta), layer.out);
        if (!folded && rd) terms[n_terms++] = w.back(l, rd, layer.out);
        Finish<T> finish;
        const Pair<T> moved[2] = {{rd, p.row(place.input)}, {p.row(place.delta), rh_[i]}};
        if (back_extra(l, p, re, moved + (rd ? 0 : 1), found[l].count)) finish.before = extra_, finish.before_scale = T(1);
        const bool comes = n_terms > 0 || finish.before || rd, bends = !gauss_newton && below.curve >= 0 && moves_[i];
        const auto finished = [&](T* to) {
            if (folded && rd)
                kernels_.combine(p.samples, p.ld, layer.in, p.row(net_.place(l + 1).delta), n_terms > 0 ? folded_product() : nullptr, rd,
                                 p.row(place.slope), finish, to);
            else multiply(p, layer.in, terms, n_terms, finish, to);
        };
        if (!comes && !bends) {
            rd = re = nullptr;
            continue;
        }
        if (under.is_conv()) {
            T *const e = re_[l % 2], *const next = rd_[i - 1];
            if (comes && layer.is_conv()) ConvPass<T>(net_, l, p).back(terms, n_terms, e);
            else if (comes) finished(e);
            ConvPass<T>(net_, l - 1, p).r_deltas(comes ? e : nullptr, bends ? rz_[i - 1] : nullptr, next);
            rd = next;
            re = nullptr;
            continue;
        }
        if (bends) finish.curve = p.row(below.curve), finish.other = rz_[i - 1];
        finish.gate = p.row(below.gate);
        finish.raw = under.skip != 0.0 ? re_[l % 2] : nullptr;
        T* const next = kept_row(below.r_delta);
        finished(next);
        re = finish.raw;
        rd = next;
    }
}

#define NNQFT_PACK(T)                                                                                 \
    template void lay_out(const Network&, const T*, const std::vector<char>&, int, int, bool, Weights<T>&); \
    template void fill(const Network&, const Weights<T>&, const Share&);                                  \
    template void pack(const Network&, const T*, const std::vector<char>&, int, int, bool, Weights<T>&);
NNQFT_PACK(float)
NNQFT_PACK(double)
#undef NNQFT_PACK
template class Passes<float>;
template class Passes<double>;

}  // namespace nnqft
