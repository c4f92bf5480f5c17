// One hidden layer of normal weights in float32, one net per thread, nothing stored but the outputs: the shape of most runs.
//
// Per four neurons three Philox blocks (D + 2 for D inputs) give 12 normals, and every point 4 activations and 8 multiply-adds.
// Erf, D = 1, 100 neurons, 6 points: 301 normals of 32 to 35 instructions and 600 activations of 20, so 22,000 to 23,000
// instructions per net. An H200 issues 132 x 128 x 1.98 GHz = 3.3e13 of them per second: at most 1.5e9 nets/s.
#pragma once

#include "core/activation.hpp"
#include "cuda/ensemble/forward.hpp"

namespace nnqft::cuda {

constexpr int kShallowInputs = 3;
constexpr int kShallowPoints = 64;  // their outputs lie in shared memory: 32 KiB per 128 nets

struct Shallow {
    Activation activation;
    ActivationParams<float> params;
    float gain;
    int32_t dim_in, width;
    float weight_scale, bias_scale, out_scale, out_bias_scale;  // standard deviations; 0 for the law "zero" of a bias
    bool has_bias, has_out_bias;
    const float* points;  // (n_points, pitch)
    int32_t pitch;
    const float* shift;   // (n_points) of a gauss-net, or null
};

// points, shift: on the device.
Shallow shallow_net(const EnsembleSpec& spec, const float* points, int pitch, const float* shift) noexcept;

// Do these kernels serve the ensemble? Else the layers of forward.hpp do.
bool is_shallow(const EnsembleSpec& spec, bool float64) noexcept;

// Outputs of one-output nets as samples, and the hidden neurons as samples.
cudaError_t shallow_fields(const Wave& wave, const Shallow& net, const Samples& to, float* y, cudaStream_t stream) noexcept;
cudaError_t shallow_neurons(const Wave& wave, const Shallow& net, const Samples& to, float* y, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
