// Jacobians of a net's outputs by parameters, and of its activities by those of a layer below, sample by sample:
//
//     (J v)_(i, o) = df_o(x_i) / dtheta . v        J^T u = sum_i (df(x_i) / dtheta)^T u_i        dh_stop(x_i) / dh_start
//
// J v is Rf of an R-forward pass (passes.hpp); J^T u, an R-backward pass from Rd = u at the top, as if for a Gauss-Newton product. The
// forward pass is made once, in float64, and kept as T. No bit depends on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "nets/sums.hpp"
#include "nets/workspace.hpp"

namespace nnqft {

template <class T>
class NetJacobian {
public:
    // ArgumentError if activities or slopes of a hidden layer are not finite.
    NetJacobian(Network net, const double* theta, const Samples& x, Team& team);

    const Network& net() const { return net_; }
    std::int64_t count() const { return cut_.count; }  // samples
    double flops() const { return 4.0 * net_.products() * static_cast<double>(cut_.count); }  // of one product, about

    // J v (count, dim_out) and J^T u for each of n_vectors, by the parameters of the layers named. Thread-safe, like the rest.
    void apply(const T* v, T* out, std::int64_t n_vectors, const LayerMask& layers, Team& team) const;
    void apply_transposed(const T* u, T* out, std::int64_t n_vectors, const LayerMask& layers, Team& team) const;
    // From (count, width of h_start) to (count, width of h_stop) and, transposed, back; 0 <= start < stop <= depth.
    void chain(const T* v, T* out, std::int64_t n_vectors, int start, int stop, bool transposed, Team& team) const;

private:
    void keep_panels(const double* theta, const Samples& x, Team& team);
    std::int64_t first_bad(const Panel<T>& p, int layer, std::int64_t used) const;

    Network net_;
    std::vector<T> theta_;
    Weights<T> weights_, none_;  // no direction
    Cut cut_;
    KeptPanels<T> panels_;
    std::int64_t slots_;
    NetWorkspaces<T> workspaces_;
};

}  // namespace nnqft
