// Products with the Hessian of a risk R(theta) = sum over samples of L_i(f(x_i)) in parameter space, by the R-operator of passes.hpp,
// folded (fold.hpp) where the net allows it.
//
//     H = sum_i J_i^T L_i'' J_i  +  sum_i L_i' d2f_i        (Gauss-Newton + residual)
//
// L_i' and L_i'' (weights of the samples included) come from outside. The forward and backward passes are made once, in float64, and
// kept as T: products in float32 use the gates of float64. Samples lie in panels, which workers take through the R-passes; then workers
// take blocks of Hv and sum over all panels in order. So no bit depends on the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "nets/panels.hpp"

namespace nnqft {

// L' (count, dim_out), and L'' = diagonal + sign u u^T + matrix for each sample; null: zero.
struct LossDerivatives {
    const double* first = nullptr;
    const double* diagonal = nullptr;
    const double* rank_one = nullptr;
    double sign = 1.0;
    const double* matrix = nullptr;  // (count, dim_out, dim_out)
};

// Part of the matrix of a layer that begins at `begin` in Hv.
struct NetBlock {
    int layer;
    std::int64_t begin, row, rows, column, columns;
    std::int64_t slice;  // number of its columns among those of the layer
};

using LayerMask = std::vector<char>;  // one per layer; empty: all

template <class T>
class NetHessian {
public:
    // gauss_newton: without the residual part, and `first` may be null.
    NetHessian(Network net, const double* theta, const Samples& x, const LossDerivatives& loss, bool gauss_newton, double decay, Team& team);

    const Network& net() const { return net_; }
    std::int64_t size(const LayerMask& mask) const;
    std::int64_t count() const { return cut_.count; }  // samples
    double flops() const { return flops_; }  // of one product, about

    // Y = (H + decay) X for the rows and columns of the layers named: vector c is X[c * size(columns)] and on. Thread-safe.
    void apply(const T* X, T* Y, std::int64_t n_vectors, const LayerMask& rows, const LayerMask& columns, Team& team) const;

    // Entries (row, column) of H without decay, sorted by column: out[m], or for each sample out[i * n + m].
    void entries(const std::int64_t* row, const std::int64_t* column, std::int64_t n, bool per_sample, double* out, Team& team) const;

private:
    // R-passes only read it.
    Panel<T> panel(std::int64_t index) const {
        return {const_cast<T*>(cache_.data()) + index * stride_, cut_.samples(index), cut_.ld,
                const_cast<std::int32_t*>(index_.data()) + index * net_.indices() * cut_.ld};
    }
    // What products need besides, kept from one to the next.
    struct Workspace {
        std::vector<std::unique_ptr<Passes<T>>> passes;  // one per worker
        std::vector<Weights<T>> directions;
        Array<T> kept, sums;
        Array<T> apart, dots;  // of the folded layer: Q where Hv has no room for it, and the sums of unfold() by slices
        std::vector<RSums<T>> found;
        Passes<T>& of(const Network& net, unsigned worker) {
            if (!passes[worker]) passes[worker] = std::make_unique<Passes<T>>(net);
            return *passes[worker];
        }
    };
    std::unique_ptr<Workspace> borrow(unsigned threads, std::int64_t vectors) const;
    void give_back(std::unique_ptr<Workspace> workspace) const;
    bool r_top(const Passes<T>& passes, const Panel<T>& p, T* out) const;
    // A call of apply(): sizes of its vectors, where layers begin in them (-1: not asked for), the first that R-passes come down to.
    struct Plan {
        std::int64_t in = 0, out = 0;
        std::vector<std::int64_t> begin;
        int lowest = 0;
        std::vector<NetBlock> blocks;
        std::int64_t slices = 0;    // of the folded layer's columns
        std::int64_t apart = 0;     // its numbers, if it is not asked for but the last layer is
        std::int64_t summed = 0;    // parameters of convolutions, summed by slots of panels while these are in the cache
        std::int64_t together = 1;  // vectors
        std::int64_t at(int l) const { return begin[static_cast<std::size_t>(l)]; }
    };
    Plan plan(const LayerMask& rows, const LayerMask& columns, std::int64_t n_vectors) const;
    void r_passes(const Plan& plan, std::int64_t n, Workspace& space, Team& team) const;
    void sum_blocks(const Plan& plan, std::int64_t n, Workspace& space, T* Y, Team& team) const;
    void sum_over_panels(const NetBlock& block, std::int64_t first, std::int64_t last, const RSums<T>* found, T* y) const;
    void keep_panels(const double* theta, const Samples& x, const LossDerivatives& loss, std::int64_t more, Team& team);
    void sum_constant(Team& team);
    void unfold_last(const Weights<T>& v, std::int64_t slices, const T* dots, T* q_biases, T* last) const;
    bool curved() const { return diagonal_ || rank_one_ || matrix_; }
    int layer_of(std::int64_t parameter) const;

    Network net_;
    std::vector<T> theta_;
    Weights<T> weights_;
    bool gauss_newton_, diagonal_ = false, rank_one_ = false, matrix_ = false;
    double sign_, decay_, flops_ = 0.0;
    Cut cut_;
    std::int64_t stride_, slots_;
    Array<T> cache_, constant_;  // constant_: K of fold.hpp, then the sums of D, as the layer's parameters lie
    Array<std::int32_t> index_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace nnqft
