#include "cuda/nets/passes.hpp"

#include <algorithm>
#include <string>

#include "core/activation_f64.hpp"
#include "core/activations.hpp"
#include "core/error.hpp"
#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMaxBlocks = 1 << 16;  // elementwise kernels go round

Launch grid_of(std::int64_t threads, std::int64_t vectors, cudaStream_t stream) {
    Launch grid;
    grid.blocks = static_cast<unsigned>(std::min((threads + kThreads - 1) / kThreads, kMaxBlocks));
    grid.blocks_y = static_cast<unsigned>(vectors);
    grid.threads = kThreads;
    grid.stream = stream;
    return grid;
}

__device__ std::int64_t first_thread() { return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; }
__device__ std::int64_t all_threads() { return static_cast<std::int64_t>(gridDim.x) * kThreads; }

// z in y becomes a phi(z) + skip h; gate and curve, if they are kept, a phi'(z) and a phi''(z).
template <Activation A>
__global__ void __launch_bounds__(kThreads) activation_kernel(std::int64_t count, std::int64_t width, const __grid_constant__ ActivationParams<double> params,
                                                              const double* amplitude, double skip, const double* h, double* y, double* gate, double* curve) {
    for (std::int64_t i = first_thread(); i < count; i += all_threads()) {
        const double a = amplitude ? amplitude[i % width] : 1.0;
        double value, first, second;
        activate_derivatives<A>(y[i], params, value, first, second);
        if (gate) gate[i] = a * first;
        if (curve) curve[i] = a * second;
        y[i] = skip != 0.0 ? a * value + skip * h[i] : a * value;
    }
}

__global__ void __launch_bounds__(kThreads) times_kernel(std::int64_t count, const double* x, double* y) {
    for (std::int64_t i = first_thread(); i < count; i += all_threads()) y[i] *= x[i];
}

__global__ void __launch_bounds__(kThreads) narrow_kernel(std::int64_t count, const double* from, float* to) {
    for (std::int64_t i = first_thread(); i < count; i += all_threads()) to[i] = static_cast<float>(from[i]);
}

// A warp per line.
template <class T>
__global__ void __launch_bounds__(kThreads) row_dots_kernel(std::int64_t samples, std::int64_t width, const T* a, std::int64_t a_batch, const T* b,
                                                            std::int64_t b_batch, T scale, T* line) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const std::int64_t vector = blockIdx.y;
    for (std::int64_t s = first_thread() / 32; s < samples; s += all_threads() / 32) {
        const T *x = a + vector * a_batch + s * width, *y = b ? b + vector * b_batch + s * width : nullptr;
        T sum = 0;
        for (std::int64_t k = lane; k < width; k += 32) sum = y ? fma(x[k], y[k], sum) : sum + x[k];
        for (unsigned half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
        if (lane == 0) line[vector * samples + s] = scale * sum;
    }
}

struct Segments {
    Segment segment[kOuters];
    int count;
};
template <class T>
__global__ void __launch_bounds__(kThreads) add_slabs_kernel(const __grid_constant__ Segments all, std::int64_t n, std::int64_t stride, std::int64_t n_x,
                                                             std::int64_t n_slabs, T decay, const T* slabs, const T* x, T* y) {
    const std::int64_t vector = blockIdx.y;
    for (int i = 0; i < all.count; ++i) {
        const Segment& s = all.segment[i];
        for (std::int64_t at = first_thread(); at < s.length; at += all_threads()) {
            const T* const from = slabs + vector * n_slabs * stride + s.y + at;
            T sum = s.made ? from[0] : T(0);
            for (std::int64_t slab = 1; s.made && slab < n_slabs; ++slab) sum += from[slab * stride];
            if (s.x >= 0 && decay != T(0)) sum += decay * x[vector * n_x + s.x + at];
            y[vector * n + s.y + at] = sum;
        }
    }
}

}  // namespace

void check_limits(const Network& net, std::int64_t samples) {
    if (net.width_max() > kMaxWidth) throw ShapeError("a layer of " + std::to_string(net.width_max()) + " neurons; on a device at most " + std::to_string(kMaxWidth));
    if (samples > kMaxSamples) throw ShapeError(std::to_string(samples) + " samples; on a device at most " + std::to_string(kMaxSamples));
}

cudaError_t net_forward(const Network& net, const double* theta, const double* amplitudes, const Activities<double>& a, double* outputs,
                        double* workspace, int multiprocessors, cudaStream_t stream) noexcept {
    cudaError_t status = cudaSuccess;
    for (int l = 0; l < net.depth() && status == cudaSuccess; ++l) {
        const NetLayer& layer = net.layers()[static_cast<std::size_t>(l)];
        const LayerPlace& place = net.place(l);
        const double *const h = a.at(place.input), *const w = theta + place.begin;
        const bool last = l + 1 == net.depth();
        Product<double> p;
        p.samples = a.samples;
        p.width = layer.out;
        p.term[0] = {{h, layer.in, 0}, {w, layer.in, 0}, layer.in};
        p.finish.bias = layer.bias ? w + layer.in * layer.out : nullptr;
        p.finish.constant = -layer.offset;
        if (layer.normaliser != 0.0) {
            status = row_dots(1, a.samples, layer.in, h, 0, h, 0, -layer.normaliser, workspace, stream);
            p.finish.line = workspace;
        }
        p.out = last ? outputs : a.at(net.place(l + 1).input);
        if (status == cudaSuccess) status = multiply(p, multiprocessors, stream);
        if (last || status != cudaSuccess) break;
        const double* const amplitude = layer.amplitude.empty() ? nullptr : amplitudes;
        amplitudes += layer.amplitude.size();
        const auto params = activation_params<double>(layer.activation_params.data(), static_cast<int>(layer.activation_params.size()));
        const std::int64_t count = a.samples * layer.out;
        with_activation(layer.activation, [&](auto tag) {
            status = launch(grid_of(count, 1, stream), activation_kernel<decltype(tag)::value>, count, layer.out, params, amplitude, layer.skip, h, p.out,
                            a.at(place.gate), a.at(place.curve));
        });
    }
    return status;
}

std::int64_t net_backward_workspace_size(const Network& net, std::int64_t samples) { return (2 * net.width_max() + 1) * samples; }

cudaError_t net_backward(const Network& net, const double* theta, const Activities<double>& a, double* workspace, int multiprocessors,
                         cudaStream_t stream) noexcept {
    cudaError_t status = cudaSuccess;
    double* const raw[2] = {workspace, workspace + net.width_max() * a.samples};
    double* const line = raw[1] + net.width_max() * a.samples;
    for (int l = net.depth() - 2; l >= 0 && status == cudaSuccess; --l) {
        const NetLayer& above = net.layers()[static_cast<std::size_t>(l + 1)];
        const LayerPlace &place = net.place(l), &place_above = net.place(l + 1);
        const double* const delta = a.at(place_above.delta);
        Product<double> p;
        p.samples = a.samples;
        p.width = above.in;
        p.turned = true;
        p.term[0] = {{delta, above.out, 0}, {theta + place_above.begin, above.in, 0}, above.out};
        if (above.skip != 0.0) p.finish.before = raw[(l + 1) % 2], p.finish.before_scale = above.skip;
        if (above.normaliser != 0.0) {
            status = row_dots<double>(1, a.samples, above.out, delta, 0, nullptr, 0, -2.0 * above.normaliser, line, stream);
            p.finish.line_of[0] = line;
            p.finish.of[0] = a.at(place_above.input);
        }
        p.finish.gate = a.at(place.gate);
        p.finish.raw = raw[l % 2];
        p.out = a.at(place.delta);
        if (status == cudaSuccess) status = multiply(p, multiprocessors, stream);
        if (place.curve < 0 || status != cudaSuccess) continue;
        const std::int64_t count = a.samples * above.in;
        status = launch(grid_of(count, 1, stream), times_kernel, count, static_cast<const double*>(raw[l % 2]), a.at(place.curve));
    }
    return status;
}

std::int64_t net_slabs(std::int64_t parameters, std::int64_t samples) {
    constexpr std::int64_t kSlab = 256, kMost = 16, kNumbers = std::int64_t{1} << 26;
    return std::max<std::int64_t>(1, std::min({(samples + kSlab - 1) / kSlab, kMost, kNumbers / std::max<std::int64_t>(1, parameters)}));
}

cudaError_t net_gradient(const Network& net, const Activities<double>& a, double* gradient, double* workspace, int multiprocessors,
                         cudaStream_t stream) noexcept {
    const std::int64_t slabs = net_slabs(net.size(), a.samples);
    cudaError_t status = cudaSuccess;
    for (int first = 0; first < net.depth() && status == cudaSuccess; first += kOuters) {
        Outer<double> outers[kOuters];
        Segment segments[kOuters];
        int count = 0;
        for (int l = first; l < std::min(net.depth(), first + kOuters); ++l, ++count) {
            const NetLayer& layer = net.layers()[static_cast<std::size_t>(l)];
            const LayerPlace& place = net.place(l);
            outers[count] = {layer.out, layer.in, layer.bias, {{{a.at(place.delta), layer.out, 0}, {a.at(place.input), layer.in, 0}, a.samples, true}, {}},
                             workspace + place.begin};
            segments[count] = {place.begin, -1, place.end - place.begin, true};
        }
        status = outer(outers, count, a.samples, slabs, 1, 0, net.size(), multiprocessors, stream);
        if (status == cudaSuccess)
            status = add_slabs<double>(segments, count, 1, net.size(), net.size(), 0, slabs, 0.0, workspace, nullptr, gradient, stream);
    }
    return status;
}

template <class T>
cudaError_t row_dots(std::int64_t vectors, std::int64_t samples, std::int64_t width, const T* a, std::int64_t a_batch, const T* b, std::int64_t b_batch,
                     T scale, T* line, cudaStream_t stream) noexcept {
    return launch(grid_of(32 * samples, vectors, stream), row_dots_kernel<T>, samples, width, a, a_batch, b, b_batch, scale, line);
}

template <class T>
cudaError_t add_slabs(const Segment* segments, int count, std::int64_t vectors, std::int64_t n, std::int64_t stride, std::int64_t n_x,
                      std::int64_t n_slabs, T decay, const T* slabs, const T* x, T* y, cudaStream_t stream) noexcept {
    Segments all{};
    std::int64_t longest = 0;
    all.count = count;
    for (int i = 0; i < count; ++i) {
        all.segment[i] = segments[i];
        longest = std::max(longest, segments[i].length);
    }
    return launch(grid_of(longest, vectors, stream), add_slabs_kernel<T>, all, n, stride, n_x, n_slabs, decay, slabs, x, y);
}

cudaError_t narrow(std::int64_t count, const double* from, float* to, cudaStream_t stream) noexcept {
    return launch(grid_of(count, 1, stream), narrow_kernel, count, from, to);
}

#define NNQFT_PASSES(T)                                                                                                                        \
    template cudaError_t row_dots(std::int64_t, std::int64_t, std::int64_t, const T*, std::int64_t, const T*, std::int64_t, T, T*, cudaStream_t) noexcept; \
    template cudaError_t add_slabs(const Segment*, int, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, T, const T*, const T*, T*, cudaStream_t) noexcept;
NNQFT_PASSES(float)
NNQFT_PASSES(double)
#undef NNQFT_PASSES

}  // namespace nnqft::cuda
