// The ensemble kernels of one instruction set, as plain function pointers.
#pragma once

#include "ensemble/spec.hpp"

namespace nnqft {

template <class Real>
struct EnsembleKernels {
    // Adds moments of nets [first, first + count) to sums; false once stop is raised. first: multiple of kTile.
    bool (*block_sums)(const EnsembleSpec&, const MomentProgram&, uint64_t first, uint32_t count, Real* workspace, double* sums,
                       const Stop& stop);
    // Fields (count, points, out) of nets [first, first + count).
    bool (*outputs)(const EnsembleSpec&, uint64_t first, uint32_t count, Real* workspace, Real* out, const Stop& stop);
    // One tensor of one net, (rows, columns); output weights as (hidden, out).
    void (*draw_tensor)(const EnsembleSpec&, uint64_t net, int layer, bool bias, double* out);
    // Normals and raw words at addresses (net, row, column): (n_nets, rows, columns).
    void (*normals)(uint64_t seed, uint32_t tensor, uint64_t first, uint64_t n_nets, uint64_t rows, uint64_t columns, float sigma, float* out);
    void (*words)(uint64_t seed, uint32_t tensor, uint64_t first, uint64_t n_nets, uint64_t rows, uint64_t columns, uint32_t* out);
    // y = phi(x), and with derivatives where dy is not null.
    void (*activate)(Activation, const double* params, int n_params, const Real* x, int64_t count, Real* y, Real* dy, Real* d2y);
};

EnsembleKernels<float> ensemble_kernels_scalar();
EnsembleKernels<float> ensemble_kernels_avx2();
EnsembleKernels<float> ensemble_kernels_avx512();
EnsembleKernels<double> ensemble_kernels_float64();

}  // namespace nnqft
