// csrc/nets/fold.hpp on a device: what R-passes of a net with one output need of its last hidden layer m, for a batch of vectors.
//
//     A = diag(w) V + diag(v) W        D = g l'        E = (diag(w) W)^T g        K = sum over samples of D h_m^T
//     Rf = (A^T g) . h_m + E . Rh_m + sum_n g_n (v_n b_n + w_n Rb_n) + Rc          Re_m = l' A^T g + r E
//     Q = sum over samples of g (l' Rh_m + r h_m)^T        Hv: diag(v) K + diag(w) Q, and row sums of V * K + W * Q
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/nets/passes.hpp"

namespace nnqft::cuda {

// After forward and backward passes, D and E; and K, then the sums of D if there are biases, as the layer's parameters lie (constant null:
// not asked for). workspace: net_fold_workspace_size() doubles.
cudaError_t net_fold(const Network& net, const double* theta, const Activities<double>& a, double* constant, double* workspace, int multiprocessors,
                     cudaStream_t stream) noexcept;
std::int64_t net_fold_workspace_size(const Network& net, std::int64_t samples);

// Parameters of the last two layers; vectors have theirs `batch` numbers apart. Null: not there.
template <class T>
struct LastLayers {
    const T *matrix = nullptr, *biases = nullptr;  // of layer m: (rows, columns), (rows)
    const T *last = nullptr, *offset = nullptr;    // of the layer behind: (rows), (1)
    std::int64_t batch = 0;
};
struct LastShape {
    std::int64_t rows, columns;  // of layer m
};

// A, (vectors, rows, columns).
template <class T>
cudaError_t fold_directions(const LastShape& shape, const LastLayers<T>& w, const LastLayers<T>& v, std::int64_t vectors, T* out, cudaStream_t stream) noexcept;

// Rf, (vectors, samples). product: A^T g, (vectors, samples, columns); r_input: Rh_m, the same shape; null: zero.
template <class T>
cudaError_t fold_outputs(const LastShape& shape, const LastLayers<T>& w, const LastLayers<T>& v, std::int64_t vectors, std::int64_t samples, const T* product,
                         const T* input, const T* slope, const T* r_input, const T* gate, T* out, cudaStream_t stream) noexcept;

// out = gate * x + curve * other, x = line[s] own + r[v, s] shared, raw = x; as in Finish. Null pointers: not there.
template <class T>
struct Combination {
    std::int64_t samples = 0, width = 0, vectors = 1;
    const T *line = nullptr, *own = nullptr;
    const T *r = nullptr, *shared = nullptr;
    const T *gate = nullptr, *curve = nullptr, *other = nullptr;
    T *raw = nullptr, *out = nullptr;
};
template <class T>
cudaError_t combine(const Combination<T>& c, cudaStream_t stream) noexcept;

// Hv in layers m and m + 1, without the offset of the latter.
template <class T>
struct Unfolding {
    LastShape shape;
    LastLayers<T> w, v;
    std::int64_t vectors = 1;
    const T* slabs = nullptr;  // Q, then q if `biased`: sums of slabs, slab_stride apart, batch for each vector; null: zero
    bool biased = false;
    std::int64_t n_slabs = 1, slab_stride = 0, batch = 0;
    const T* constant = nullptr;  // K, then the sums of D
    T decay = 0;
    T *matrix = nullptr, *last = nullptr;  // where Hv goes in the first vector; null: not asked for
    std::int64_t out_batch = 0;
};
template <class T>
cudaError_t unfold(const Unfolding<T>& u, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
