// Forward, backward, and Pearlmutter's R-operator through a net, for one panel of samples. R is the derivative along v in parameter
// space (V_l where the parameters have W_l):
//
//     Rz_l = V_l h_l + W_l Rh_l + v_l        Rh_{l+1} = g_l * Rz_l + skip_l Rh_l         g = a phi'(z)
//     Re_l = V^T d + W^T Rd (layer l + 1)    Rd_l = g_l * Re_l + c_l * Rz_l              c = a phi''(z) e,  d = dL/dz,  e = dL/dh
//     Hv in layer l: sum over samples of Rd_l h_l^T + d_l Rh_l^T
//
// B. A. Pearlmutter, Neural Computation 6 (1994) 147. Without the terms in V^T d, c and d Rh it is the Gauss-Newton product.
#pragma once

#include <cstdint>
#include <vector>

#include "core/array.hpp"
#include "nets/kernels.hpp"
#include "nets/network.hpp"
#include "nets/panel.hpp"

namespace nnqft {

// Parameters or a direction as the products read them: matrices by rows (forward), packed by columns (backward).
template <class T>
struct Weights {
    std::vector<const T*> forward, backward, bias;  // null: all zero, or not asked for
    std::vector<std::int64_t> step;                 // between rows of `forward`
    Array<T> storage;

    // W_l h and W_l^T d.
    Term<T> ahead(int l, const T* h, std::int64_t in) const {
        return by_rows(h, forward[static_cast<std::size_t>(l)], in, step[static_cast<std::size_t>(l)]);
    }
    Term<T> back(int l, const T* d, std::int64_t out) const { return by_columns(d, backward[static_cast<std::size_t>(l)], out); }
};

// From parameters of the layers in `mask` (empty: all), to which much still points. Packs for the way back are made from layer
// `backward_from` on. Offsets of the layers belong to parameters, not to directions.
template <class T>
void pack(const Network& net, const T* theta, const std::vector<char>& mask, int backward_from, bool offsets, Weights<T>& to);

// What Hv is in a layer: the sum over samples of the pairs, and of `rd` for biases (null: zero). Those of a convolution are summed by
// Passes::add(), before these passes go on to another panel.
template <class T>
struct RSums {
    Pair<T> pairs[2];
    int count = 0;
    const T* rd = nullptr;
};

template <class T>
class Passes {
public:
    explicit Passes(const Network& net);

    // From h_0 in its place to all h_l, gates and curves; the outputs go to `outputs`, dim_out rows.
    void forward(const Weights<T>& w, const Panel<T>& p, T* outputs);
    // From the deltas of the last layer to all others; curves take in dL/dh.
    void backward(const Weights<T>& w, const Panel<T>& p);
    // Adds the sum over samples of d h^T, in the order of the parameters.
    void gradient(const Panel<T>& p, T* out);

    // R of the activities along v, and of the outputs (in r_outputs()) if they are asked for. False if all of it is zero.
    bool r_forward(const Weights<T>& w, const Weights<T>& v, const Panel<T>& p, bool outputs);
    const T* r_outputs() const { return r_outputs_; }

    // R-backward from R of the last deltas, in their place in `kept` or zero. `kept`, Network::r_rows() rows, holds what sums over samples
    // will need: found[l] says what of it Hv is in the layers l of [lowest, depth).
    void r_backward(const Weights<T>& w, const Weights<T>& v, const Panel<T>& p, bool top, bool gauss_newton, int lowest, T* kept,
                    RSums<T>* found);

    // Adds a convolution's part of Hv to that layer's parameters at `out`.
    void add(int l, const Panel<T>& p, const RSums<T>& sums, T* out) const;
    // One sample's share of an entry of Hv, by the number of the parameter in its layer.
    double entry(int l, const Panel<T>& p, const RSums<T>& sums, std::int64_t parameter, std::int64_t sample) const;

    const NetKernels<T>& kernels() const { return kernels_; }

private:
    void reserve(const Panel<T>& p);
    void multiply(const Panel<T>& p, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& finish, T* out);
    bool back_extra(int l, const Panel<T>& p, const T* e, const Pair<T>* pairs, int n_pairs);

    const Network& net_;
    const NetKernels<T>& kernels_;
    std::int64_t reserved_ = 0;
    Array<T> memory_;
    std::vector<T> ones_, scratch_;
    std::vector<T*> rz_, rh_, rd_;   // per layer: R of its pre-activation where it has curvature, R of its input; Rd of a convolution
    std::vector<char> moves_;        // Rh of the input of layer l is not zero
    T *r_outputs_, *re_[2], *extra_, *line_;
};

}  // namespace nnqft
