// Products with the Hessian of a net's risk on a device: the R-passes of csrc/nets/passes.hpp for a batch of vectors in lockstep.
//
//     Rz_l = V_l h_l + W_l Rh_l + v_l        Rh_{l+1} = g_l * Rz_l + skip_l Rh_l         g = a phi'(z)
//     Re_l = V^T d + W^T Rd (layer l + 1)    Rd_l = g_l * Re_l + c_l * Rz_l              c = a phi''(z) e,  d = dL/dz,  e = dL/dh
//     Hv in layer l: sum over samples of Rd_l h_l^T + d_l Rh_l^T
//
// B. A. Pearlmutter, Neural Computation 6 (1994) 147; folded (fold.hpp) where the net allows it. For each layer one launch on the way up and one on the way down, whatever the
// number of vectors; the sums over samples of all layers are one launch (cut into slabs, so that a small net fills the device), and
// adding up slabs is another.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "cuda/nets/passes.hpp"

namespace nnqft::cuda {

// Which parts of L'' follow the activities: diagonal (samples, dim_out), rank_one the same, matrix (samples, dim_out, dim_out).
struct LossParts {
    bool diagonal = false, rank_one = false, matrix = false;
    double sign = 1.0;  // of the rank-one part
    std::int64_t width(std::int64_t dim) const { return (diagonal ? dim : 0) + (rank_one ? dim : 0) + (matrix ? dim * dim : 0); }
};

using LayerMask = std::vector<char>;  // one per layer; empty: all

template <class T>
class NetHessian {
public:
    // theta: parameters; cache: Network::rows() + loss.width(dim_out) rows of `samples` numbers, net_fold() done; constant: K of fold.hpp, as
    // net_fold() makes it (null: the net does not fold, or gauss_newton). All stay the caller's.
    NetHessian(Network net, std::int64_t samples, const LossParts& loss, bool gauss_newton, double decay, const T* theta, const T* cache, const T* constant,
               int multiprocessors);

    const Network& net() const { return net_; }
    std::int64_t size(const LayerMask& mask) const;

    // Y = (H + decay) X for the rows and columns of the layers named; vector c is X[c * size(columns)] and on. `together` of them at
    // a time, with workspace_size(together, rows) numbers of room.
    cudaError_t apply(const T* X, T* Y, std::int64_t vectors, const LayerMask& rows, const LayerMask& columns, std::int64_t together, T* workspace,
                      cudaStream_t stream) const;
    std::int64_t workspace_size(std::int64_t together, const LayerMask& rows) const;

private:
    struct Places;
    struct Batch;
    bool top() const { return loss_.diagonal || loss_.rank_one || loss_.matrix; }

    Network net_;
    LossParts loss_;
    bool gauss_newton_;
    double decay_;
    const T* theta_;
    Activities<const T> cache_;
    const T* constant_;
    int multiprocessors_;
};

}  // namespace nnqft::cuda
