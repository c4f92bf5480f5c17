// What a kernel must know of an ensemble of fully connected networks. Plain data, no standard library:
// the header is read by the units of every instruction set and by device code.
//
//   h^0 = x,   z^l = W^l h^{l-1} + b^l,   h^l = gain * phi(z^l),   f = W^{L+1} h^L + b^{L+1}
#pragma once

#include <stdint.h>

#include "core/activation_kind.hpp"
#include "core/hd.hpp"

namespace nnqft {

constexpr int kTile = 16;           // nets side by side in one vector
constexpr int kMaxTiles = 16;       // tiles in a sub-block: 256 nets
constexpr int kReplicas = 64;       // jackknife groups: block b belongs to replica b mod 64

enum class Law : int32_t { zero, normal, uniform, sign, student_t, ball, array };
enum class Sampler : int32_t { weights, layer };
enum class Estimator : int32_t { direct, gram, neuron };

// Tensor ids of one layer are 8 * layer + kind; + kSecondWord where a draw needs two words (Student-t).
enum TensorKind : uint32_t { kWeight = 0, kBias = 1, kLayerSample = 2, kSecondWord = 4 };
NNQFT_HD constexpr uint32_t tensor_id(int layer, uint32_t kind) { return static_cast<uint32_t>(layer) * 8u + kind; }

// Law of one tensor, elements (row, column); rows are neurons (for the output layer: hidden neurons).
struct TensorLaw {
    Law law = Law::zero;
    double scale = 0.0;              // normal, sign, Student-t: standard deviation; uniform: half width; ball: radius
    double nu = 0.0;                 // Student-t: degrees of freedom
    const double* values = nullptr;  // array: (array_nets, rows, columns); net n reads n - array_start
    uint64_t array_start = 0, array_nets = 0;
};

// Radial amplitude A(|w|) of the first layer's neurons, tabulated on |w| = i * max / (count - 1).
struct Amplitude {
    const double* values = nullptr;
    int32_t count = 0;
    double max = 0.0;
};

struct Layer {
    int32_t fan_in = 0, fan_out = 0;
    TensorLaw weight, bias;
    Activation activation = Activation::identity;
    double params[kMaxActivationParams] = {};
    int32_t n_params = 0;
    bool normalised = false;         // gauss-net: phi(z) = exp(z - Var z), Var z given the layer's input
    double gain = 1.0;
    double weight_variance = 0.0;    // of one element; the layer law needs it
    double bias_variance = 0.0;
};

struct EnsembleSpec {
    int32_t n_hidden = 0;            // hidden layers; layers[n_hidden] is the output layer
    const Layer* layers = nullptr;
    int32_t n_points = 0, dim_in = 0, dim_out = 0;
    const double* points = nullptr;  // (n_points, dim_in), in the kernels' order
    const int32_t* place = nullptr;  // (n_points): where the kernels keep the caller's point i
    uint64_t seed = 0;
    Amplitude amplitude;
    Sampler sampler = Sampler::weights;
    Estimator estimator = Estimator::direct;
    double field_scale = 1.0;        // power of two on the values whose products are summed, against under- and overflow
    // Layer law: K_0 = L L^T, L (n_points, first_rank), and the diagonal of K_0.
    const double* first_factor = nullptr;
    int32_t first_rank = 0;
    const double* first_variance = nullptr;  // (n_points): sb^2 + sw^2 |x|^2 / d, also the gauss-net's shift
};

// Has the caller given up? Kernels ask between groups of neurons.
struct Stop {
    bool (*ask)(const void*) = nullptr;
    const void* flag = nullptr;
    bool raised() const { return ask != nullptr && ask(flag); }
};

// Products of field values, summed over nets. Slots hold one value per net of a sub-block; the first
// slots are the fields. Step: for k < count, product = slot[a] * slot[b + k] (or slot[b + k] where a < 0),
// kept in slot[store + k] if store >= 0 and summed into sums[sum + k] if sum >= 0.
struct MomentStep {
    int32_t a, b, count, store, sum;
};
struct MomentProgram {
    const MomentStep* steps = nullptr;
    int64_t n_steps = 0;
    int32_t n_fields = 0, n_slots = 0;
    int64_t n_sums = 0;
};

}  // namespace nnqft
