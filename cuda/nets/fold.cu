#include "cuda/nets/fold.hpp"

#include <algorithm>

#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 4;  // 64 registers: ptxas, left to itself, spills for less
constexpr std::int64_t kMaxBlocks = 1 << 16;  // kernels go round

Launch grid_of(std::int64_t rows, std::int64_t vectors, cudaStream_t stream) {
    Launch grid;
    grid.blocks = static_cast<unsigned>(std::min((32 * rows + kThreads - 1) / kThreads, kMaxBlocks));
    grid.blocks_y = static_cast<unsigned>(vectors);
    grid.threads = kThreads;
    grid.stream = stream;
    return grid;
}

// Every kernel has a warp for each row of a matrix: no index is divided.
__device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ std::int64_t first_row() { return (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32; }
__device__ std::int64_t row_step() { return static_cast<std::int64_t>(gridDim.x) * (kThreads / 32); }

template <class T>
__device__ T warp_sum(T sum) {
    for (unsigned half = 16; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half);
    return sum;
}

// gated = g l', weighted = g w.
__global__ void __launch_bounds__(kThreads, kBlocks) gates_kernel(std::int64_t samples, std::int64_t rows, const double* gate, const double* first, const double* last,
                                                         double* gated, double* weighted) {
    for (std::int64_t s = first_row(); s < samples; s += row_step())
        for (std::int64_t n = lane(); n < rows; n += 32) {
            gated[s * rows + n] = gate[s * rows + n] * first[s];
            weighted[s * rows + n] = gate[s * rows + n] * last[n];
        }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) directions_kernel(const LastShape shape, const __grid_constant__ LastLayers<T> w, const __grid_constant__ LastLayers<T> v,
                                                              T* out) {
    const std::int64_t vector = blockIdx.y, direction = vector * v.batch;
    for (std::int64_t n = first_row(); n < shape.rows; n += row_step())
        for (std::int64_t k = lane(); k < shape.columns; k += 32) {
            const std::int64_t i = n * shape.columns + k;
            T x = 0;
            if (v.matrix) x = w.last[n] * v.matrix[direction + i];
            if (v.last) x = fma(v.last[direction + n], w.matrix[i], x);
            out[vector * shape.rows * shape.columns + i] = x;
        }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) outputs_kernel(const LastShape shape, const __grid_constant__ LastLayers<T> w, const __grid_constant__ LastLayers<T> v,
                                                           std::int64_t samples, const T* product, const T* input, const T* slope, const T* r_input, const T* gate,
                                                           T* out) {
    const std::int64_t vector = blockIdx.y, direction = vector * v.batch;
    const bool moved = v.last && w.biases, biased = moved || v.biases;
    for (std::int64_t s = first_row(); s < samples; s += row_step()) {
        const std::int64_t shared = s * shape.columns, own = (vector * samples + s) * shape.columns;
        T sum = 0;
        for (std::int64_t k = lane(); k < shape.columns; k += 32) {
            if (product) sum = fma(product[own + k], input[shared + k], sum);
            if (r_input) sum = fma(slope[shared + k], r_input[own + k], sum);
        }
        for (std::int64_t n = lane(); biased && n < shape.rows; n += 32) {
            T x = moved ? v.last[direction + n] * w.biases[n] : T(0);
            if (v.biases) x = fma(w.last[n], v.biases[direction + n], x);
            sum = fma(gate[s * shape.rows + n], x, sum);
        }
        sum = warp_sum(sum);
        if (lane() == 0) out[vector * samples + s] = v.offset ? sum + v.offset[direction] : sum;
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) combine_kernel(const __grid_constant__ Combination<T> c) {
    const std::int64_t vector = blockIdx.y;
    for (std::int64_t s = first_row(); s < c.samples; s += row_step()) {
        const T line = c.own ? c.line[s] : T(0), r = c.r ? c.r[vector * c.samples + s] : T(0);
        for (std::int64_t k = lane(); k < c.width; k += 32) {
            const std::int64_t i = s * c.width + k, own = (vector * c.samples + s) * c.width + k;
            T x = c.own ? line * c.own[own] : T(0);
            if (c.r) x = fma(r, c.shared[i], x);
            if (c.raw) c.raw[own] = x;
            if (c.gate) x *= c.gate[i];
            if (c.curve) x = fma(c.curve[i], c.other[own], x);
            c.out[own] = x;
        }
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) unfold_kernel(const __grid_constant__ Unfolding<T> u) {
    const std::int64_t vector = blockIdx.y, direction = vector * u.v.batch, columns = u.shape.columns, weights = u.shape.rows * columns;
    const T *const slabs = u.slabs ? u.slabs + vector * u.batch : nullptr, *const V = u.v.matrix ? u.v.matrix + direction : nullptr,
            *const v_last = u.v.last ? u.v.last + direction : nullptr;
    T *const matrix = u.matrix ? u.matrix + vector * u.out_batch : nullptr, *const last = u.last ? u.last + vector * u.out_batch : nullptr;
    const auto summed = [&](std::int64_t at) {
        T sum = slabs[at];
        for (std::int64_t slab = 1; slab < u.n_slabs; ++slab) sum += slabs[slab * u.slab_stride + at];
        return sum;
    };
    for (std::int64_t n = first_row(); n < u.shape.rows; n += row_step()) {
        const T w = u.w.last[n], v = v_last ? v_last[n] : T(0);
        T dot = 0;
        for (std::int64_t k = lane(); k < columns; k += 32) {
            const std::int64_t at = n * columns + k;
            const T q = slabs ? summed(at) : T(0), constant = u.constant ? u.constant[at] : T(0), direct = V ? V[at] : T(0);
            dot = fma(u.w.matrix[at], q, dot);
            dot = fma(direct, constant, dot);
            if (matrix) matrix[at] = fma(u.decay, direct, fma(v, constant, w * q));
        }
        dot = warp_sum(dot);
        if (lane() != 0) continue;
        if (u.w.biases) {
            const T q = slabs && u.biased ? summed(weights + n) : T(0), constant = u.constant ? u.constant[weights + n] : T(0),
                    direct = u.v.biases ? u.v.biases[direction + n] : T(0);
            dot = fma(u.w.biases[n], q, dot);
            dot = fma(direct, constant, dot);
            if (matrix) matrix[weights + n] = fma(u.decay, direct, fma(v, constant, w * q));
        }
        if (last) last[n] = fma(u.decay, v, dot);
    }
}

}  // namespace

std::int64_t net_fold_workspace_size(const Network& net, std::int64_t samples) {
    const int m = net.folded();
    if (m < 0) return 0;
    const LayerPlace& place = net.place(m);
    const std::int64_t size = place.end - place.begin;
    return std::max(samples * net.layers()[static_cast<std::size_t>(m)].out, net_slabs(size, samples) * size);
}

cudaError_t net_fold(const Network& net, const double* theta, const Activities<double>& a, double* constant, double* workspace, int multiprocessors,
                     cudaStream_t stream) noexcept {
    const int m = net.folded();
    if (m < 0) return cudaSuccess;
    const NetLayer& layer = net.layers()[static_cast<std::size_t>(m)];
    const LayerPlace &place = net.place(m), &last = net.place(m + 1);
    const std::int64_t size = place.end - place.begin, slabs = net_slabs(size, a.samples);
    double* const gated = a.at(place.gated);
    cudaError_t status = launch(grid_of(a.samples, 1, stream), gates_kernel, a.samples, layer.out, a.at(place.gate), a.at(last.delta), theta + last.begin, gated, workspace);
    if (m > 0 && status == cudaSuccess) {
        Product<double> p;
        p.samples = a.samples;
        p.width = layer.in;
        p.turned = true;
        p.term[0] = {{workspace, layer.out, 0}, {theta + place.begin, layer.in, 0}, layer.out};
        p.out = a.at(place.slope);
        status = multiply(p, multiprocessors, stream);
    }
    if (!constant || status != cudaSuccess) return status;
    const Outer<double> sums = {layer.out, layer.in, layer.bias, {{{gated, layer.out, 0}, {a.at(place.input), layer.in, 0}, a.samples, true}, {}}, workspace};
    const Segment all = {0, -1, size, true};
    status = outer(&sums, 1, a.samples, slabs, 1, 0, size, multiprocessors, stream);
    return status == cudaSuccess ? add_slabs<double>(&all, 1, 1, size, size, 0, slabs, 0.0, workspace, nullptr, constant, stream) : status;
}

template <class T>
cudaError_t fold_directions(const LastShape& shape, const LastLayers<T>& w, const LastLayers<T>& v, std::int64_t vectors, T* out, cudaStream_t stream) noexcept {
    return launch(grid_of(shape.rows, vectors, stream), directions_kernel<T>, shape, w, v, out);
}

template <class T>
cudaError_t fold_outputs(const LastShape& shape, const LastLayers<T>& w, const LastLayers<T>& v, std::int64_t vectors, std::int64_t samples, const T* product,
                         const T* input, const T* slope, const T* r_input, const T* gate, T* out, cudaStream_t stream) noexcept {
    return launch(grid_of(samples, vectors, stream), outputs_kernel<T>, shape, w, v, samples, product, input, slope, r_input, gate, out);
}

template <class T>
cudaError_t combine(const Combination<T>& c, cudaStream_t stream) noexcept {
    return launch(grid_of(c.samples, c.vectors, stream), combine_kernel<T>, c);
}

template <class T>
cudaError_t unfold(const Unfolding<T>& u, cudaStream_t stream) noexcept {
    return launch(grid_of(u.shape.rows, u.vectors, stream), unfold_kernel<T>, u);
}

#define NNQFT_FOLD(T)                                                                                                                              \
    template cudaError_t fold_directions(const LastShape&, const LastLayers<T>&, const LastLayers<T>&, std::int64_t, T*, cudaStream_t) noexcept;     \
    template cudaError_t fold_outputs(const LastShape&, const LastLayers<T>&, const LastLayers<T>&, std::int64_t, std::int64_t, const T*, const T*, \
                                      const T*, const T*, const T*, T*, cudaStream_t) noexcept;                                                      \
    template cudaError_t combine(const Combination<T>&, cudaStream_t) noexcept;                                                                      \
    template cudaError_t unfold(const Unfolding<T>&, cudaStream_t) noexcept;
NNQFT_FOLD(float)
NNQFT_FOLD(double)
#undef NNQFT_FOLD

}  // namespace nnqft::cuda
