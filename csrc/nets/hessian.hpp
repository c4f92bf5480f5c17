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
#include <vector>

#include "nets/sums.hpp"
#include "nets/workspace.hpp"

namespace nnqft {

// L' (count, dim_out), and L'' = diagonal + sign u u^T + matrix for each sample; null: zero.
struct LossDerivatives {
    const double* first = nullptr;
    const double* diagonal = nullptr;
    const double* rank_one = nullptr;
    double sign = 1.0;
    const double* matrix = nullptr;  // (count, dim_out, dim_out)
};

template <class T>
class NetHessian {
public:
    // gauss_newton: without the residual part, and `first` may be null.
    NetHessian(Network net, const double* theta, const Samples& x, const LossDerivatives& loss, bool gauss_newton, double decay, Team& team);

    const Network& net() const { return net_; }
    std::int64_t size(const LayerMask& layers) const { return size_of(net_, layers); }
    std::int64_t count() const { return cut_.count; }  // samples
    double flops() const { return flops_; }  // of one product, about

    // Y = (H + decay) X for the rows and columns of the layers named: vector c is X[c * size(columns)] and on. Thread-safe.
    void apply(const T* X, T* Y, std::int64_t n_vectors, const LayerMask& rows, const LayerMask& columns, Team& team) const;

    // Entries (row, column) of H without decay, sorted by column: out[m], or for each sample out[i * n + m].
    void entries(const std::int64_t* row, const std::int64_t* column, std::int64_t n, bool per_sample, double* out, Team& team) const;

private:
    bool r_top(const Passes<T>& passes, const Panel<T>& p, T* out) const;
    // A call of apply(): `lowest` is the first layer that R-passes come down to.
    struct Plan : NetSums {
        using NetSums::NetSums;
        std::int64_t in = 0;        // size of a vector
        std::int64_t slices = 0;    // of the folded layer's columns
        std::int64_t apart = 0;     // its numbers, if it is not asked for but the last layer is
        std::int64_t together = 1;  // vectors
    };
    Plan plan(const LayerMask& rows, const LayerMask& columns, std::int64_t n_vectors) const;
    void r_passes(const Plan& plan, std::int64_t n, NetWorkspace<T>& space, Team& team) const;
    void sum_blocks(const Plan& plan, std::int64_t n, NetWorkspace<T>& space, T* Y, Team& team) const;
    std::int64_t more_rows() const;
    void keep_panels(const double* theta, const Samples& x, const LossDerivatives& loss, Team& team);
    void sum_constant(Team& team);
    void unfold_last(const Weights<T>& v, std::int64_t slices, const T* dots, T* q_biases, T* last) const;
    bool cancels() const;
    bool curved() const { return diagonal_ || rank_one_ || matrix_; }
    int layer_of(std::int64_t parameter) const;

    Network net_;
    std::vector<T> theta_;
    Weights<T> weights_;
    bool gauss_newton_, diagonal_ = false, rank_one_ = false, matrix_ = false;
    double sign_, decay_, flops_ = 0.0;
    int folded_ = -1;  // layer m of fold.hpp, unless that would cost digits
    Cut cut_;
    KeptPanels<T> panels_;
    std::int64_t slots_;
    Array<T> constant_;  // K of fold.hpp, then the sums of D, as the layer's parameters lie
    NetWorkspaces<T> workspaces_;
};

}  // namespace nnqft
