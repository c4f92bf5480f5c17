#include "cuda/ensemble/shallow.hpp"

#include "cuda/ensemble/draw.cuh"

namespace nnqft::cuda {
namespace {

constexpr unsigned kThreads = 128;

// Any activation, chosen at run time, with shift and gain; the two commonest have kernels of their own.
struct AnyActivation {
    static constexpr bool plain = false;
};
template <Activation A>
struct OneActivation {
    static constexpr bool plain = true;
    static constexpr Activation value = A;
};

// Four neurons: input weights, biases, and output weights where they are wanted.
template <int D>
struct Neurons {
    float w[D][4], b[4], v[4];

    template <bool kOut>
    __device__ __forceinline__ void draw(const PhiloxKey& key, const Net& net, const Shallow& s, uint32_t quad) {
        uint32_t tensor[D + 2] = {}, column[D + 2] = {};
        float scale[D + 2] = {}, (*out[D + 2])[4] = {};
#pragma unroll
        for (int k = 0; k < D; ++k) {
            tensor[k] = tensor_id(0, kWeight);
            column[k] = static_cast<uint32_t>(k);
            scale[k] = s.weight_scale;
            out[k] = &w[k];
        }
        const auto more = [&](int at, uint32_t id, float sigma, float(&to)[4]) {
            tensor[at] = id;
            scale[at] = sigma;
            out[at] = &to;
        };
        if (kOut) more(D, tensor_id(1, kWeight), s.out_scale, v);
        if (s.has_bias) {
            more(D + kOut, tensor_id(0, kBias), s.bias_scale, b);
            draw_first<D + kOut + 1>(key, net, tensor, quad, column, scale, out);
        } else {
            draw_first<D + kOut>(key, net, tensor, quad, column, scale, out);
            for (int n = 0; n < 4; ++n) b[n] = 0.0f;
        }
    }
    template <int B>
    __device__ __forceinline__ static void draw_first(const PhiloxKey& key, const Net& net, const uint32_t (&tensor)[D + 2], uint32_t quad,
                                                      const uint32_t (&column)[D + 2], const float (&scale)[D + 2], float (*const (&out)[D + 2])[4]) {
        uint32_t t[B], c[B];
        float sigma[B], (*to[B])[4];
#pragma unroll
        for (int i = 0; i < B; ++i) t[i] = tensor[i], c[i] = column[i], sigma[i] = scale[i], to[i] = out[i];
        draw_blocks<B>(key, net, t, quad, c, sigma, to);
    }

    // Pre-activations at P points; x: (point, k).
    template <int P>
    __device__ __forceinline__ void at(const float* x, float z[P][4]) const {
#pragma unroll
        for (int i = 0; i < P; ++i) {
            for (int n = 0; n < 4; ++n) z[i][n] = b[n];
#pragma unroll
            for (int k = 0; k < D; ++k)
                for (int n = 0; n < 4; ++n) z[i][n] = madd(w[k][n], x[i * D + k], z[i][n]);
        }
    }
};

template <class Phi, int P>
__device__ __forceinline__ void apply(const Shallow& s, int point, float z[P][4]) {
    if constexpr (Phi::plain) {
#pragma unroll
        for (int i = 0; i < P; ++i)
            for (int n = 0; n < 4; ++n) z[i][n] = activate<Phi::value>(z[i][n], s.params);
    } else {
        if (s.shift != nullptr)
            for (int i = 0; i < P; ++i)
                for (int n = 0; n < 4; ++n) z[i][n] = z[i][n] + s.shift[point + i];
        with_activation(s.activation, [&](auto kind) {
#pragma unroll
            for (int i = 0; i < P; ++i)
                for (int n = 0; n < 4; ++n) z[i][n] = activate<decltype(kind)::value>(z[i][n], s.params);
        });
        if (s.gain != 1.0f)
            for (int i = 0; i < P; ++i)
                for (int n = 0; n < 4; ++n) z[i][n] = z[i][n] * s.gain;
    }
}

// f += sum_n v_n h_n at P points for the first N of the neurons, in order. f: one word per point, kThreads apart.
template <class Phi, int D, int P, int N>
__device__ __forceinline__ void add_points(const Shallow& s, const Neurons<D>& neurons, int i, const float* x, float* f) {
    float z[P][4], sum[P];
    neurons.template at<P>(x + i * D, z);
    apply<Phi, P>(s, i, z);
#pragma unroll
    for (int p = 0; p < P; ++p) {
        sum[p] = f[static_cast<unsigned>(i + p) * kThreads];
        for (int n = 0; n < N; ++n) sum[p] = madd(neurons.v[n], z[p][n], sum[p]);
    }
#pragma unroll
    for (int p = 0; p < P; ++p) f[static_cast<unsigned>(i + p) * kThreads] = sum[p];
}

template <class Phi, int D>
__global__ void __launch_bounds__(kThreads)
    field_kernel(const __grid_constant__ Wave wave, const __grid_constant__ PhiloxKey key, const __grid_constant__ Shallow s, Samples to, float* __restrict__ y) {
    constexpr int P = Phi::plain ? 2 : 1;  // points at a time
    NNQFT_DYNAMIC_SHARED(float, shared);   // outputs (n_points, kThreads), points (n_points, D)
    const int m = wave.n_points, width = s.width;
    float* const x = shared + static_cast<unsigned>(m) * kThreads;
    for (unsigned i = threadIdx.x; i < static_cast<unsigned>(m * D); i += kThreads) x[i] = s.points[static_cast<int>(i) / D * s.pitch + static_cast<int>(i) % D];
    __syncthreads();
    const uint32_t n = blockIdx.x * kThreads + threadIdx.x;
    if (n >= to.padded) return;

    float* const f = shared + threadIdx.x;
    const Net net = net_at(wave.first + n);
    float b[4] = {};
    if (s.has_out_bias) draw_normal(net.lanes, key, s.out_bias_scale, tensor_id(1, kBias), 0u, 0u, b);
    for (int i = 0; i < m; ++i) f[static_cast<unsigned>(i) * kThreads] = b[0];
    Neurons<D> neurons;
    int j = 0;
    for (; j + 4 <= width; j += 4) {
        neurons.template draw<true>(key, net, s, static_cast<uint32_t>(j) / 4);
        int i = 0;
        for (; i + P <= m; i += P) add_points<Phi, D, P, 4>(s, neurons, i, x, f);
        if (P > 1 && i < m) add_points<Phi, D, 1, 4>(s, neurons, i, x, f);
    }
    if (j < width) {
        neurons.template draw<true>(key, net, s, static_cast<uint32_t>(j) / 4);
        for (int i = 0; i < m; ++i) {
            if (width - j == 1) add_points<Phi, D, 1, 1>(s, neurons, i, x, f);
            else if (width - j == 2) add_points<Phi, D, 1, 2>(s, neurons, i, x, f);
            else add_points<Phi, D, 1, 3>(s, neurons, i, x, f);
        }
    }
    const float scale = static_cast<float>(to.scale);
    for (int i = 0; i < m; ++i) y[static_cast<uint64_t>(i) * to.pitch + n] = n < wave.count ? f[static_cast<unsigned>(i) * kThreads] * scale : 0.0f;
}

// Threads run over nets, then over groups of four neurons.
template <class Phi, int D>
__global__ void __launch_bounds__(kThreads)
    neuron_kernel(const __grid_constant__ Wave wave, const __grid_constant__ PhiloxKey key, const __grid_constant__ Shallow s, Samples to, float* __restrict__ y) {
    const int m = wave.n_points, width = s.width;
    const uint64_t index = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const uint32_t quad = static_cast<uint32_t>(index / to.padded), n = static_cast<uint32_t>(index - static_cast<uint64_t>(quad) * to.padded);
    if (4 * static_cast<uint64_t>(quad) >= static_cast<uint64_t>(width)) return;
    const Net net = net_at(wave.first + n);
    Neurons<D> neurons;
    neurons.template draw<false>(key, net, s, quad);
    const float scale = static_cast<float>(to.scale);
    float* const out = y + (static_cast<uint64_t>(n / kTile) * static_cast<uint64_t>(width) + 4 * static_cast<uint64_t>(quad)) * kTile + n % kTile;
    for (int i = 0; i < m; ++i) {
        float x[D], z[1][4];
#pragma unroll
        for (int k = 0; k < D; ++k) x[k] = __ldg(s.points + i * s.pitch + k);
        neurons.template at<1>(x, z);
        apply<Phi, 1>(s, i, z);
        float* const row = out + static_cast<uint64_t>(i) * to.pitch;
#pragma unroll
        for (int q = 0; q < 4; ++q)
            if (4 * static_cast<int>(quad) + q < width) row[q * kTile] = n < wave.count ? z[0][q] * scale : 0.0f;
    }
}

// body(Phi, D) for the net's activation and number of inputs.
template <class Phi, class Body>
cudaError_t with_inputs(int dim_in, const Body& body) noexcept {
    switch (dim_in) {
        case 1: return body(Phi{}, std::integral_constant<int, 1>{});
        case 2: return body(Phi{}, std::integral_constant<int, 2>{});
        default: return body(Phi{}, std::integral_constant<int, 3>{});
    }
}
template <class Body>
cudaError_t with_net(const Shallow& net, const Body& body) noexcept {
    const bool plain = net.shift == nullptr && net.gain == 1.0f;
    if (plain && net.activation == Activation::erf) return with_inputs<OneActivation<Activation::erf>>(net.dim_in, body);
    if (plain && net.activation == Activation::relu) return with_inputs<OneActivation<Activation::relu>>(net.dim_in, body);
    return with_inputs<AnyActivation>(net.dim_in, body);
}

unsigned blocks_for(uint64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

}  // namespace

bool is_shallow(const EnsembleSpec& spec, bool float64) noexcept {
    const auto normal = [](const TensorLaw& law) { return law.law == Law::normal; };
    const auto simple = [](const TensorLaw& law) { return law.law == Law::normal || law.law == Law::zero; };
    const Layer &hidden = spec.layers[0], &out = spec.layers[spec.n_hidden];
    if (float64 || spec.n_hidden != 1 || spec.sampler != Sampler::weights || spec.amplitude.count > 0 || spec.dim_in > kShallowInputs) return false;
    if (!normal(hidden.weight) || !simple(hidden.bias)) return false;
    if (spec.estimator == Estimator::neuron) return true;
    return spec.estimator == Estimator::direct && spec.dim_out == 1 && spec.n_points <= kShallowPoints && normal(out.weight) && simple(out.bias);
}

Shallow shallow_net(const EnsembleSpec& spec, const float* points, int pitch, const float* shift) noexcept {
    const Layer &hidden = spec.layers[0], &out = spec.layers[1];
    const auto scale = [](const TensorLaw& law) { return static_cast<float>(law.scale); };
    return {hidden.activation, activation_params<float>(hidden.params, hidden.n_params), static_cast<float>(hidden.gain), spec.dim_in, hidden.fan_out,
            scale(hidden.weight), scale(hidden.bias), scale(out.weight), scale(out.bias), hidden.bias.law == Law::normal, out.bias.law == Law::normal,
            points, pitch, hidden.normalised ? shift : nullptr};
}

cudaError_t shallow_fields(const Wave& wave, const Shallow& net, const Samples& to, float* y, cudaStream_t stream) noexcept {
    return with_net(net, [&](auto phi, auto d) {
        constexpr int D = decltype(d)::value;
        const size_t shared = static_cast<size_t>(wave.n_points) * (kThreads + D) * sizeof(float);
        return launch({blocks_for(to.padded), 1, kThreads, shared, stream}, field_kernel<decltype(phi), D>, wave, philox_key(wave.seed), net, to, y);
    });
}

cudaError_t shallow_neurons(const Wave& wave, const Shallow& net, const Samples& to, float* y, cudaStream_t stream) noexcept {
    const uint64_t threads = static_cast<uint64_t>(to.padded) * static_cast<uint64_t>((net.width + 3) / 4);
    return with_net(net, [&](auto phi, auto d) {
        return launch({blocks_for(threads), 1, kThreads, 0, stream}, neuron_kernel<decltype(phi), decltype(d)::value>, wave, philox_key(wave.seed), net, to, y);
    });
}

}  // namespace nnqft::cuda
