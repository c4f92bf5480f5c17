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
    std::vector<const T*> source;                   // matrices as they came
    std::vector<std::int64_t> step;                 // between rows of `forward`
    Array<T> storage;
    // Of directions along which the net is folded (fold.hpp): A, packed by columns, and v b + w Rb; null: zero.
    bool folded = false;
    const T *folded_back = nullptr, *folded_bias = nullptr;
    Array<T> folded_storage;

    // W_l h and W_l^T d.
    Term<T> ahead(int l, const T* h, std::int64_t in) const {
        return by_rows(h, forward[static_cast<std::size_t>(l)], in, step[static_cast<std::size_t>(l)]);
    }
    Term<T> back(int l, const T* d, std::int64_t out) const { return by_columns(d, backward[static_cast<std::size_t>(l)], out); }
};

// One part of something that several workers do together.
struct Share {
    std::int64_t part = 0, parts = 1;
    std::int64_t begin(std::int64_t n) const { return n * part / parts; }
    std::int64_t end(std::int64_t n) const { return n * (part + 1) / parts; }
};

// The columns of a matrix, value(row, column), as by_columns() reads them: tile by tile, zero past the last column.
template <class T, class Value>
void pack_columns(std::int64_t rows, std::int64_t columns, const Value& value, T* to, const Share& share) {
    constexpr std::int64_t kRows = 64;  // whose lines stay in the first-level cache
    const std::int64_t tiles = (columns + kTile - 1) / kTile;
    for (std::int64_t first = 0; first < rows; first += kRows)
        for (std::int64_t n = share.begin(tiles) * kTile; n < share.end(tiles) * kTile; n += kTile) {
            const std::int64_t end = first + kRows < rows ? first + kRows : rows, used = columns - n < kTile ? columns - n : kTile;
            T* tile = to + n * rows + first * kTile;
            for (std::int64_t k = first; k < end; ++k, tile += kTile) {
                if (used == kTile)
                    for (int j = 0; j < kTile; ++j) tile[j] = value(k, n + j);
                else
                    for (int j = 0; j < kTile; ++j) tile[j] = j < used ? value(k, n + j) : T(0);
            }
        }
}
inline std::int64_t packed_size(const NetLayer& layer) { return layer.out * ((layer.in + kTile - 1) / kTile * kTile); }

// From parameters of the layers in `mask` (empty: all), to which much still points. Packs for the way back are made of the layers
// [backward_from, backward_to). Offsets of the layers belong to parameters, not to directions. First the pointers, then what they point to.
template <class T>
void lay_out(const Network& net, const T* theta, const std::vector<char>& mask, int backward_from, int backward_to, bool offsets, Weights<T>& to);
template <class T>
void fill(const Network& net, const Weights<T>& to, const Share& share);
template <class T>
void pack(const Network& net, const T* theta, const std::vector<char>& mask, int backward_from, int backward_to, bool offsets, Weights<T>& to);

// What Hv is in a layer, or Q in a folded one: the sum over samples of the pairs, and for biases of `rd` (null: zero), times the row `along`
// if there is one. Those of a convolution are summed by Passes::add(), before these passes go on to another panel.
template <class T>
struct RSums {
    Pair<T> pairs[2];
    int count = 0;
    const T *rd = nullptr, *along = nullptr;
};

template <class T>
class Passes {
public:
    explicit Passes(const Network& net);

    // From h_0 in its place to all h_l, gates and curves (but for outputs_alone); the outputs go to `outputs`, dim_out rows.
    void forward(const Weights<T>& w, const Panel<T>& p, T* outputs, bool outputs_alone = false);
    // From the deltas of the last layer to all others; curves take in dL/dh.
    void backward(const Weights<T>& w, const Panel<T>& p);
    // After both, D and E of a net that folds (fold.hpp).
    void fold(const Weights<T>& w, const Panel<T>& p);
    // Adds the sum over samples of d h^T, in the order of the parameters.
    void gradient(const Panel<T>& p, T* out);

    // R of the activities along v, and of the outputs (in r_outputs()) if they are asked for. False if all of it is zero.
    bool r_forward(const Weights<T>& w, const Weights<T>& v, const Panel<T>& p, bool outputs);
    const T* r_outputs() const { return r_outputs_; }

    // R-backward from R of the last deltas, in their place in `kept` or zero. `kept`, Network::r_rows() rows, holds what sums over samples
    // will need: found[l] says what of it Hv is in the layers l of [lowest, depth).
    void r_backward(const Weights<T>& w, const Weights<T>& v, const Panel<T>& p, bool top, bool gauss_newton, int lowest, T* kept,
                    RSums<T>* found);

    // Chains of layers [start, stop) along activities instead of parameters: R of h_stop from R of h_start, and dL/dh_start from dL/dh_stop,
    // images in front of convolutions as everywhere.
    void chain(const Weights<T>& w, const Panel<T>& p, int start, int stop, const T* r_h, T* out);
    void chain_back(const Weights<T>& w, const Panel<T>& p, int start, int stop, const T* e, T* out);

    // Adds a convolution's part of Hv to that layer's parameters at `out`.
    void add(int l, const Panel<T>& p, const RSums<T>& sums, T* out) const;
    // One sample's share of an entry of Hv, by the number of the parameter in its layer.
    double entry(int l, const Panel<T>& p, const RSums<T>& sums, std::int64_t parameter, std::int64_t sample) const;

    const NetKernels<T>& kernels() const { return kernels_; }

private:
    void reserve(const Panel<T>& p);
    void multiply(const Panel<T>& p, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& finish, T* out);
    bool r_layer(int l, const Weights<T>& w, const Weights<T>* v, const Panel<T>& p, const T* r_h, T* out);
    bool folded_outputs(const Weights<T>& v, const Panel<T>& p);
    RSums<T> folded_sums(const Panel<T>& p, const T* r, bool gauss_newton, T* kept);
    RSums<T> sums_of(int l, const Panel<T>& p, const T* rd, bool gauss_newton, T* kept);
    Pair<T> kept_pair(int l, const Panel<T>& p, const T* left, const T* right, T* kept);
    T* folded_product() const { return re_[(net_.folded() + 1) % 2]; }  // A^T g
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
