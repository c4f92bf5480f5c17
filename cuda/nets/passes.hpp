// Forward and backward passes of csrc/nets/passes.hpp on a device, in float64, and what the R-passes of hessian.hpp share with them.
//
// Activities of `samples` samples are one piece of memory of Network::rows() rows, a row of numbers for each sample: what
// LayerPlace calls row r begins at data + r * samples, and is a matrix (samples, width).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/nets/product.hpp"
#include "nets/network.hpp"

namespace nnqft::cuda {

template <class T>
struct Activities {
    T* data;
    std::int64_t samples;
    T* at(std::int64_t row) const { return row < 0 ? nullptr : data + row * samples; }
};

// ShapeError for sizes that the kernels do not count to.
void check_limits(const Network& net, std::int64_t samples);

// From h_0 in its place to all h_l, gates and curves, and to the outputs (samples, dim_out). amplitudes: those of the layers that
// have some, one after the other. workspace: `samples` doubles.
cudaError_t net_forward(const Network& net, const double* theta, const double* amplitudes, const Activities<double>& a, double* outputs,
                        double* workspace, int multiprocessors, cudaStream_t stream) noexcept;

// From the deltas of the last layer to all others; curves take in dL/dh. workspace: net_backward_workspace_size() doubles.
cudaError_t net_backward(const Network& net, const double* theta, const Activities<double>& a, double* workspace, int multiprocessors,
                         cudaStream_t stream) noexcept;
std::int64_t net_backward_workspace_size(const Network& net, std::int64_t samples);

// gradient = sum over samples of d h^T, in the order of the parameters. workspace: net_slabs() * size doubles.
cudaError_t net_gradient(const Network& net, const Activities<double>& a, double* gradient, double* workspace, int multiprocessors,
                         cudaStream_t stream) noexcept;

// Pieces that sums over samples are cut into: by the size of the problem alone.
std::int64_t net_slabs(std::int64_t parameters, std::int64_t samples);

// line[v, s] = scale sum over k < width of a[v, s, k] b[v, s, k]; b null: of a. Matrices begin a_batch numbers apart, 0: shared.
template <class T>
cudaError_t row_dots(std::int64_t vectors, std::int64_t samples, std::int64_t width, const T* a, std::int64_t a_batch, const T* b, std::int64_t b_batch,
                     T scale, T* line, cudaStream_t stream) noexcept;

// A layer's parameters in y and in x (-1: not there); `made`: the slabs hold something.
struct Segment {
    std::int64_t y, x, length;
    bool made;
};
// y[v * n + i] = sum over slabs of slabs[(v * n_slabs + slab) * stride + i] + decay x[v * n_x + i], segment by segment, count <= kOuters.
template <class T>
cudaError_t add_slabs(const Segment* segments, int count, std::int64_t vectors, std::int64_t n, std::int64_t stride, std::int64_t n_x,
                      std::int64_t n_slabs, T decay, const T* slabs, const T* x, T* y, cudaStream_t stream) noexcept;

// to[i] = from[i], rounded.
cudaError_t narrow(std::int64_t count, const double* from, float* to, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
