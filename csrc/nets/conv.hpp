// A convolutional layer, its activation and its pools, forward and backward on a panel of samples. With the places k of sample s, each with
// its window of the input and the pixel o(k) of the output that it becomes:
//
//     z_k = W . h[window k] + b            h'_o = sum_{k: o(k) = o} phi(z_k) / n          g_k = phi'(z_k) / n,  c_k = phi''(z_k) e_o(k) / n
//     d_k = g_k e_o(k)                     e = dL/dh' comes from above,  dL/dh[window k] += W d_k goes below
//     R:  Rz_k = V . h + W . Rh + v        Rh'_o = sum g_k Rz_k       Rd_k = g_k Re_o(k) + c_k Rz_k       Re[window k] += V d_k + W Rd_k
//
// n is the window of the average pool; of a max pool's window one place is left, the first of the largest.
#pragma once

#include <cstdint>

#include "nets/conv_kernels.hpp"
#include "nets/kernels.hpp"
#include "nets/network.hpp"
#include "nets/panel.hpp"

namespace nnqft {

template <class T>
class ConvPass {
public:
    ConvPass(const Network& net, int l, const Panel<T>& panel);

    // From h in its place to gates, curves and the lists of places; `output` is h' as the next layer reads it. scratch: 4 maps.
    void forward(const T* weights, const T* bias, T* output, T* scratch) const;
    // d from e; the curves, phi'' until now, become c.
    void deltas(const T* e) const;
    // Rh' from Rh (null: zero) along V (null: zero) and v; Rz goes to r_z.
    void r_forward(const T* W, const T* r_h, const T* V, const T* v, T* r_z, T* r_output) const;
    // Rd from Re and Rz, either of them null.
    void r_deltas(const T* r_e, const T* r_z, T* r_d) const;
    // The sum over one or two terms of weights times numbers of places (Term::rows).
    void back(const Term<T>* terms, int n_terms, T* e) const;
    // Adds the sum over pairs of numbers times images, and the sum of `r_d` (or null) to biases, to the layer's parameters at `out`.
    void add(const Pair<T>* pairs, int n_pairs, const T* r_d, T* out) const;
    // One sample's share of that for one parameter.
    double entry(const Pair<T>* pairs, int n_pairs, const T* r_d, std::int64_t parameter, std::int64_t sample) const;

private:
    ConvPlaces places(std::int64_t sample) const;
    template <class Body>
    void each_place(const Body& body) const;
    void clear(T* output) const;

    const NetLayer& layer_;
    const ConvPlan& plan_;
    const LayerPlace& place_;
    const ConvKernels<T>& kernels_;
    const Panel<T>& panel_;
    std::int64_t per_sample_, sample_step_, pixel_step_, filter_step_;  // numbers of places; of the output in memory
    T scale_;
};

// The weights of a convolution as its kernels read them, plan.window.size for each filter, and back.
template <class T>
void pack_filters(const ConvShape& shape, const ConvWindow& window, const T* from, T* to);

// `count` row-major samples, number `first` and on, as padded images, those of `samples` beyond zero; and back.
template <class T>
void load_images(const ConvShape& shape, const ConvPlan& plan, const T* from, std::int64_t first, std::int64_t count, std::int64_t samples, T* to);
template <class T>
void unload_images(const ConvShape& shape, const ConvPlan& plan, const T* from, std::int64_t first, std::int64_t count, T* to);

}  // namespace nnqft
