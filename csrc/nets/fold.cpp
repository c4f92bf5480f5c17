#include "nets/fold.hpp"

#include <utility>

namespace nnqft {

template <class T>
void fold(const Network& net, const Weights<T>& w, bool ask, Weights<T>& v) {
    const auto m = static_cast<std::size_t>(net.folded());
    const NetLayer& layer = net.layer(net.folded());
    const T *const w_last = w.forward[m + 1], *const v_last = v.forward[m + 1], *const b = w.bias[m], *const r_b = v.bias[m];
    v.folded = true;
    v.folded_back = v.folded_bias = nullptr;
    if (!ask) return;
    T* const back = room(v.folded_storage, static_cast<std::size_t>(packed_size(layer) + layer.out));
    if (v.source[m] || v_last) v.folded_back = back;
    if (!(b && v_last) && !r_b) return;
    T* const bias = back + packed_size(layer);
    for (std::int64_t n = 0; n < layer.out; ++n) bias[n] = (b && v_last ? v_last[n] * b[n] : T(0)) + (r_b ? w_last[n] * r_b[n] : T(0));
    v.folded_bias = bias;
}

template <class T>
void fill_fold(const Network& net, const Weights<T>& w, const Weights<T>& v, const Share& share) {
    if (!v.folded_back) return;
    const auto m = static_cast<std::size_t>(net.folded());
    const NetLayer& layer = net.layer(net.folded());
    const T *const W = w.source[m], *const V = v.source[m], *const w_last = w.source[m + 1], *const v_last = v.source[m + 1];
    T* const back = const_cast<T*>(v.folded_back);
    const auto by_w = [&](std::int64_t n, std::int64_t k) { return w_last[n] * V[n * layer.in + k]; };
    const auto by_v = [&](std::int64_t n, std::int64_t k) { return v_last[n] * W[n * layer.in + k]; };
    if (V && v_last) pack_columns(layer.out, layer.in, [&](std::int64_t n, std::int64_t k) { return by_w(n, k) + by_v(n, k); }, back, share);
    else if (V) pack_columns(layer.out, layer.in, by_w, back, share);
    else pack_columns(layer.out, layer.in, by_v, back, share);
}

template <class T>
void unfold(const Network& net, const Weights<T>& w, const Weights<T>& v, std::int64_t first, std::int64_t rows, std::int64_t column,
            std::int64_t columns, const T* k, T* q, T* dots) {
    const NetKernels<T>& kernels = net_kernels<T>();
    const auto m = static_cast<std::size_t>(net.folded());
    const std::int64_t in = net.layer(net.folded()).in;
    const T *const V = v.forward[m], *const v_last = v.forward[m + 1];
    for (std::int64_t n = first; n < first + rows; ++n, q += in)
        dots[n] = kernels.blend(columns, v_last ? v_last[n] : T(0), k ? std::exchange(k, k + in) : nullptr, w.forward[m + 1][n], q,
                                V ? V + n * v.step[m] + column : nullptr, w.forward[m] + n * w.step[m] + column);
}

template <class T>
void Passes<T>::fold(const Weights<T>& w, const Panel<T>& p) {
    const int m = net_.folded();
    const NetLayer& layer = net_.layer(m);
    const LayerPlace& place = net_.place(m);
    const T *const first = p.row(net_.place(m + 1).delta), *const last = w.forward[static_cast<std::size_t>(m + 1)];
    T* const weighted = re_[0];
    for (std::int64_t n = 0; n < layer.out; ++n)
        for (std::int64_t s = 0; s < p.samples; ++s) {
            const T gate = p.row(place.gate + n)[s];
            p.row(place.gated + n)[s] = gate * first[s];
            weighted[n * p.ld + s] = gate * last[n];
        }
    if (m == 0) return;
    const Term<T> term = w.back(m, weighted, layer.out);
    multiply(p, layer.in, &term, 1, {}, p.row(place.slope));
}

// R of the outputs; false if it is zero.
template <class T>
bool Passes<T>::folded_outputs(const Weights<T>& v, const Panel<T>& p) {
    const int m = net_.folded();
    const auto i = static_cast<std::size_t>(m);
    const NetLayer& layer = net_.layer(m);
    const LayerPlace& place = net_.place(m);
    Finish<T> finish;  // on top of what is there
    const auto dots = [&](const T* a, const T* b) {
        kernels_.column_dots(p.samples, p.ld, layer.in, a, b, std::exchange(finish.add_to_out, true), r_outputs_);
    };
    if (v.folded_back) {
        const Term<T> term = by_columns<T>(p.row(place.gate), v.folded_back, layer.out);
        multiply(p, layer.in, &term, 1, {}, folded_product());
        dots(folded_product(), p.row(place.input));
    }
    if (moves_[i]) dots(p.row(place.slope), rh_[i]);
    if (v.folded_bias) {
        const Term<T> term = by_rows<T>(p.row(place.gate), v.folded_bias, layer.out, layer.out);
        multiply(p, 1, &term, 1, finish, r_outputs_);
        finish.add_to_out = true;
    }
    if (const T* const bias = v.bias[i + 1])  // with weights, so A is there
        for (std::int64_t s = 0; s < p.samples; ++s) r_outputs_[s] += *bias;
    return finish.add_to_out;
}

// What Q and q of a folded layer are made of, with r (null: zero).
template <class T>
RSums<T> Passes<T>::folded_sums(const Panel<T>& p, const T* r, bool gauss_newton, T* kept) {
    const int m = net_.folded();
    const LayerPlace& place = net_.place(m);
    const T* const r_input = !gauss_newton && moves_[static_cast<std::size_t>(m)] ? rh_[static_cast<std::size_t>(m)] : nullptr;
    RSums<T> sums;
    if (!r && !r_input) return sums;
    sums.count = 1;
    if (!r) {
        sums.pairs[0] = kept_pair(m, p, p.row(place.gated), r_input, kept);
        return sums;
    }
    kernels_.combine(p.samples, p.ld, net_.layer(m).in, p.row(net_.place(m + 1).delta), r_input, r, p.row(place.input),
                     {}, extra_);
    sums.pairs[0] = kept_pair(m, p, p.row(place.gate), extra_, kept);
    sums.rd = p.row(place.gate);
    sums.along = r;
    return sums;
}

#define NNQFT_FOLD(T)                                                                                                                 \
    template void fold(const Network&, const Weights<T>&, bool, Weights<T>&);                                                         \
    template void fill_fold(const Network&, const Weights<T>&, const Weights<T>&, const Share&);                                      \
    template void unfold(const Network&, const Weights<T>&, const Weights<T>&, std::int64_t, std::int64_t, std::int64_t, std::int64_t, \
                         const T*, T*, T*);                                                                                           \
    template void Passes<T>::fold(const Weights<T>&, const Panel<T>&);                                                                \
    template bool Passes<T>::folded_outputs(const Weights<T>&, const Panel<T>&);                                                      \
    template RSums<T> Passes<T>::folded_sums(const Panel<T>&, const T*, bool, T*);
NNQFT_FOLD(float)
NNQFT_FOLD(double)
#undef NNQFT_FOLD

}  // namespace nnqft
