// Forward passes of a wave of nets, layer by layer, for every law, depth and sampler: what csrc/ensemble/forward.hpp does
// for 16 nets in one thread. A value is one chain of fused multiply-adds in the order of the CPU's, whichever thread it falls to.
//
// Activations lie as h[net][point][neuron], rows of `pitch` = neurons rounded up to 4: a thread makes four neurons (one
// Philox block) at up to 32 points, and its neighbours the next four. Covariances lie as K[net][i (i + 1) / 2 + j], j <= i.
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "ensemble/spec.hpp"

namespace nnqft::cuda {

// Nets first ... first + count - 1; the arrays begin with the first of them.
struct Wave {
    uint64_t first;
    uint32_t count;
    int32_t n_points;
    uint64_t seed;
};

NNQFT_HD constexpr int row_pitch(int neurons) { return (neurons + 3) / 4 * 4; }

// Rows of inputs: x[net * net_stride + point * pitch + k]. The points themselves are the same for all nets: net_stride 0.
template <class Real>
struct Rows {
    const Real* x;
    int64_t net_stride;
    int32_t pitch;
};

// z = b + W h of hidden layer l. norm2, if not null: |w|^2 of each neuron, (count, pitch).
template <class Real>
cudaError_t preactivations(const Wave& wave, const Layer& layer, int l, Rows<Real> in, Real* z, Real* norm2, cudaStream_t stream) noexcept;

// z = L xi of layer l under the layer law. factor: (n_points, rank) shared by all nets if `first`, else packed, one per net.
template <class Real>
cudaError_t layer_law(const Wave& wave, int l, int neurons, bool first, int rank, const Real* factor, Real* z, cudaStream_t stream) noexcept;

// h = gain phi(z + shift) amplitude, in place. shift (n_points), or (count, n_points) with shift_stride = n_points, or null.
template <class Real>
cudaError_t activations(const Wave& wave, const Layer& layer, const Real* shift, int64_t shift_stride, const Amplitude& amplitude, const Real* norm2, Real* z,
                        cudaStream_t stream) noexcept;

// -Var(z | h) of a layer whose input is h: (count, n_points). Under the layer law it is minus the diagonal of K.
template <class Real>
cudaError_t shifts(const Wave& wave, const Layer& layer, Rows<Real> h, Real* shift, cudaStream_t stream) noexcept;
template <class Real>
cudaError_t diagonal_shifts(const Wave& wave, const Real* gram, Real* shift, cudaStream_t stream) noexcept;

// K = sigma_b^2 + sigma_w^2 / N sum_j h_j h_j^T for the layer after h.
template <class Real>
cudaError_t grams(const Wave& wave, int neurons, const Layer& next, const Real* h, Real* gram, cudaStream_t stream) noexcept;

// Cholesky factors, packed as K.
template <class Real>
cudaError_t factors(const Wave& wave, const Real* gram, Real* factor, cudaStream_t stream) noexcept;

// f = b + W h of the output layer: (count, point, pitch of dim_out).
template <class Real>
cudaError_t readouts(const Wave& wave, const Layer& out, int l, const Real* h, Real* fields, cudaStream_t stream) noexcept;

// What becomes of the results: y[field * pitch + net] = scale * value in the caller's order of points, 0 for nets from
// `count` to `padded` (a multiple of 16).
struct Samples {
    const int32_t* place;
    double scale;
    uint32_t padded;
    uint64_t pitch;
};
template <class Real>
cudaError_t field_samples(const Wave& wave, const Samples& to, int dim_out, const Real* fields, Real* y, cudaStream_t stream) noexcept;
template <class Real>
cudaError_t gram_samples(const Wave& wave, const Samples& to, const Real* gram, Real* y, cudaStream_t stream) noexcept;
// Neurons are samples: y[point * pitch + (tile * neurons + j) * 16 + lane], net = 16 tile + lane.
template <class Real>
cudaError_t neuron_samples(const Wave& wave, const Samples& to, int neurons, const Real* h, Real* y, cudaStream_t stream) noexcept;
// out[net][point][output] in the caller's order.
template <class Real>
cudaError_t output_rows(const Wave& wave, const int32_t* place, int dim_out, const Real* fields, Real* out, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
