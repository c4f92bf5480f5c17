#include "cuda/ensemble/forward.hpp"

#include "cuda/ensemble/draw.cuh"

namespace nnqft::cuda {
namespace {

constexpr unsigned kThreads = 128;

// Blocks for `items` threads; the kernels drop the threads beyond.
unsigned blocks_for(uint64_t items) { return static_cast<unsigned>((items + kThreads - 1) / kThreads); }

__device__ __forceinline__ uint64_t thread_index() { return static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x; }

// index = outer * count + inner.
struct Split {
    uint64_t outer;
    uint32_t inner;
};
__device__ __forceinline__ Split split(uint64_t index, uint32_t count) {
    const uint64_t outer = index / count;
    return {outer, static_cast<uint32_t>(index - outer * count)};
}

// Four neurons at C points. Points past the last are computed again and dropped.
template <class Real, int C>
struct Group {
    int first;  // point
    Real z[C][4];

    __device__ __forceinline__ void fill(const Real v[4]) {
#pragma unroll
        for (int i = 0; i < C; ++i)
            for (int n = 0; n < 4; ++n) z[i][n] = v[n];
    }
    __device__ __forceinline__ void store(int n_points, int pitch, Real* out) const {
#pragma unroll
        for (int i = 0; i < C; ++i)
            if (first + i < n_points)
                *reinterpret_cast<Four<Real>*>(out + static_cast<int64_t>(first + i) * pitch) = {{z[i][0], z[i][1], z[i][2], z[i][3]}};
    }
};

// Per four weights 64 to 130 instructions to draw them, 4 C to use them and C loads of four inputs that the warp shares.
template <class Real, int C>
__global__ void __launch_bounds__(kThreads)
    preactivation_kernel(const __grid_constant__ Wave wave, const __grid_constant__ PhiloxKey key, const __grid_constant__ Layer layer, int l, Rows<Real> in, Real* __restrict__ out,
                         Real* __restrict__ norm2) {
    const uint32_t quads = static_cast<uint32_t>(layer.fan_out + 3) / 4, chunks = static_cast<uint32_t>(wave.n_points + C - 1) / C;
    const Split p = split(thread_index(), quads * chunks);
    if (p.outer >= wave.count) return;
    const uint32_t chunk = p.inner / quads, quad = p.inner - chunk * quads;
    const Net net = net_at(wave.first + p.outer);
    const int m = wave.n_points, pitch = row_pitch(layer.fan_out);
    const Real* __restrict__ x = in.x + static_cast<int64_t>(p.outer) * in.net_stride;

    Group<Real, C> g;
    g.first = static_cast<int>(chunk) * C;
    const float scale = static_cast<float>(layer.weight.scale);
    Real b[4], square[4] = {};
    draw(key, net, layer.bias, tensor_id(l, kBias), layer.fan_out, 1, quad, 0u, b);
    g.fill(b);
    const Real* const first_row = x + static_cast<int64_t>(g.first) * in.pitch;
    const auto next = [&](const Real* row, int i) { return row + (g.first + i + 1 < m ? in.pitch : 0); };  // the last row again past the end

    const uint32_t tensor = tensor_id(l, kWeight);
    const auto add_square = [&](const Real w[4]) {
        for (int n = 0; n < 4; ++n) square[n] = madd(w[n], w[n], square[n]);
    };
    int k = 0;
    for (; k + 4 <= layer.fan_in; k += 4) {
        Real w[4][4] = {};
        if (layer.weight.law == Law::normal) {
            const uint32_t c = static_cast<uint32_t>(k), tensors[4] = {tensor, tensor, tensor, tensor}, columns[4] = {c, c + 1, c + 2, c + 3};
            draw_blocks<4>(key, net, tensors, quad, columns, {scale, scale, scale, scale}, {&w[0], &w[1], &w[2], &w[3]});
        } else {
#pragma unroll 1
            for (int q = 0; q < 4; ++q) {
                Real other[4];
                draw_apart(key.k0[0] | key.k1[0] << 32, net.number, layer.weight, tensor, layer.fan_out, layer.fan_in, quad, static_cast<uint32_t>(k + q), other);
#pragma unroll
                for (int at = 0; at < 4; ++at)
                    for (int n = 0; n < 4; ++n) w[at][n] = at == q ? other[n] : w[at][n];
            }
        }
        if (norm2 != nullptr)
            for (int q = 0; q < 4; ++q) add_square(w[q]);
        const Real* row = first_row + k;
#pragma unroll
        for (int i = 0; i < C; ++i, row = next(row, i - 1)) {
            const Four<Real> h = load_four(row);
#pragma unroll
            for (int q = 0; q < 4; ++q)
                for (int n = 0; n < 4; ++n) g.z[i][n] = madd(w[q][n], h.v[q], g.z[i][n]);
        }
    }
    for (; k < layer.fan_in; ++k) {
        Real w[4];
        draw(key, net, layer.weight, tensor, layer.fan_out, layer.fan_in, quad, static_cast<uint32_t>(k), w);
        if (norm2 != nullptr) add_square(w);
        const Real* row = first_row + k;
#pragma unroll
        for (int i = 0; i < C; ++i, row = next(row, i - 1)) {
            const Real h = *row;
            for (int n = 0; n < 4; ++n) g.z[i][n] = madd(w[n], h, g.z[i][n]);
        }
    }
    g.store(m, pitch, out + static_cast<int64_t>(p.outer) * m * pitch + 4 * quad);
    if (norm2 != nullptr && chunk == 0)
        *reinterpret_cast<Four<Real>*>(norm2 + static_cast<int64_t>(p.outer) * pitch + 4 * quad) = {{square[0], square[1], square[2], square[3]}};
}

// As the CPU's layer_group: point i takes the columns 0 .. i of a packed factor, and all of the first one. With one chunk
// of points (kWhole) the rows of a packed factor lie at constant distances.
template <class Real, int C, bool kFirst, bool kWhole>
__global__ void __launch_bounds__(kThreads)
    layer_law_kernel(const __grid_constant__ Wave wave, const __grid_constant__ PhiloxKey key, int l, int neurons, int rank, const Real* __restrict__ factor,
                     Real* __restrict__ out) {
    const uint32_t quads = static_cast<uint32_t>(neurons + 3) / 4, chunks = kWhole ? 1u : static_cast<uint32_t>(wave.n_points + C - 1) / C;
    const Split p = split(thread_index(), quads * chunks);
    if (p.outer >= wave.count) return;
    const uint32_t chunk = kWhole ? 0u : p.inner / quads, quad = p.inner - chunk * quads;
    const Net net = net_at(wave.first + p.outer);
    const int m = wave.n_points, pitch = row_pitch(neurons);

    Group<Real, C> g;
    g.first = static_cast<int>(chunk) * C;
    const Real zero[4] = {};
    g.fill(zero);
    const int last = kFirst ? rank : (g.first + C < m ? g.first + C : m);
    const int64_t i0 = g.first;
    const Real* __restrict__ packed = factor + (kFirst ? i0 * rank : static_cast<int64_t>(p.outer) * (static_cast<int64_t>(m) * (m + 1) / 2) + i0 * (i0 + 1) / 2);
    for (int a = 0; a < last; ++a) {
        Real xi[4];
        draw_normal(net.lanes, key, 1.0f, tensor_id(l, kLayerSample), quad, static_cast<uint32_t>(a), xi);
        const Real* row = packed + a;
#pragma unroll
        for (int i = 0; i < C; ++i) {
            const int point = g.first + i;
            if (point < m && (kFirst || a <= point)) {
                const Real entry = kFirst || !kWhole ? *row : packed[a + i * (i + 1) / 2];
                for (int n = 0; n < 4; ++n) g.z[i][n] = madd(entry, xi[n], g.z[i][n]);
            }
            row += kFirst ? rank : point + 1;
        }
    }
    g.store(m, pitch, out + static_cast<int64_t>(p.outer) * m * pitch + 4 * quad);
}

template <class Real>
struct Epilogue {
    ActivationParams<Real> params;
    Activation activation;
    Real gain;
    bool has_gain;
    const Real* shift;
    int64_t shift_stride;
    const double* table;  // amplitudes
    int32_t nodes;
    Real per_step;
    const Real* norm2;
};

// A(|w|), linear in the table; NaN goes to the first node.
template <class Real>
__device__ Real amplitude_at(const Epilogue<Real>& e, Real norm2) {
    const Real t = root(norm2) * e.per_step, end = static_cast<Real>(e.nodes - 1);
    const Real u = t > Real(0) ? (t < end ? t : end) : Real(0);
    int32_t i = static_cast<int32_t>(u);
    if (i > e.nodes - 2) i = e.nodes - 2;
    const Real low = static_cast<Real>(e.table[i]), high = static_cast<Real>(e.table[i + 1]);
    return madd(u - static_cast<Real>(i), high - low, low);
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    activation_kernel(uint32_t n_nets, int n_points, int neurons, const __grid_constant__ Epilogue<Real> e, Real* __restrict__ z) {
    const uint32_t quads = static_cast<uint32_t>(neurons + 3) / 4;
    const Split row = split(thread_index(), quads);
    const Split p = split(row.outer, static_cast<uint32_t>(n_points));
    if (p.outer >= n_nets) return;
    const int pitch = row_pitch(neurons);
    Four<Real>* const at = reinterpret_cast<Four<Real>*>(z + static_cast<int64_t>(row.outer) * pitch) + row.inner;
    Four<Real> v = *at;
    if (e.shift != nullptr) {
        const Real shift = e.shift[static_cast<int64_t>(p.outer) * e.shift_stride + p.inner];
        for (int n = 0; n < 4; ++n) v.v[n] = v.v[n] + shift;
    }
    with_activation(e.activation, [&](auto kind) {
#pragma unroll
        for (int n = 0; n < 4; ++n) v.v[n] = activate<decltype(kind)::value>(v.v[n], e.params);
    });
    if (e.has_gain)
        for (int n = 0; n < 4; ++n) v.v[n] = v.v[n] * e.gain;
    if (e.table != nullptr)
        for (int n = 0; n < 4; ++n) v.v[n] = v.v[n] * amplitude_at(e, e.norm2[static_cast<int64_t>(p.outer) * pitch + 4 * row.inner + n]);
    *at = v;
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    shift_kernel(uint32_t n_nets, int n_points, int fan_in, Real w2, Real b2, Rows<Real> h, Real* __restrict__ shift) {
    const uint64_t index = thread_index();
    const Split p = split(index, static_cast<uint32_t>(n_points));
    if (p.outer >= n_nets) return;
    const Real* __restrict__ row = h.x + static_cast<int64_t>(p.outer) * h.net_stride + static_cast<int64_t>(p.inner) * h.pitch;
    Real norm2(0);
    for (int k = 0; k < fan_in; ++k) norm2 = madd(row[k], row[k], norm2);
    shift[index] = -madd(w2, norm2, b2);
}

template <class Real>
__global__ void __launch_bounds__(kThreads) diagonal_shift_kernel(uint32_t n_nets, int n_points, const Real* __restrict__ gram, Real* __restrict__ shift) {
    const uint64_t index = thread_index();
    const Split p = split(index, static_cast<uint32_t>(n_points));
    if (p.outer >= n_nets) return;
    const int64_t i = p.inner, pairs = static_cast<int64_t>(n_points) * (n_points + 1) / 2;
    shift[index] = -gram[static_cast<int64_t>(p.outer) * pairs + i * (i + 1) / 2 + i];
}

// 4 x 4 pairs of points per thread, neuron by neuron.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    gram_kernel(uint32_t n_nets, int n_points, int neurons, Real w2, Real b2, const Real* __restrict__ h, Real* __restrict__ gram) {
    const int m = n_points, side = (m + 3) / 4, pitch = row_pitch(neurons);
    const Split p = split(thread_index(), static_cast<uint32_t>(side) * static_cast<uint32_t>(side + 1) / 2);
    if (p.outer >= n_nets) return;
    int ti = 0;
    uint32_t tj = p.inner;
    while (tj > static_cast<uint32_t>(ti)) tj -= static_cast<uint32_t>(++ti);
    const Real* base = h + static_cast<int64_t>(p.outer) * m * pitch;
    const Real *a[4], *b[4];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
        const int i = 4 * ti + q, j = 4 * static_cast<int>(tj) + q;
        a[q] = base + static_cast<int64_t>(i < m ? i : m - 1) * pitch;
        b[q] = base + static_cast<int64_t>(j < m ? j : m - 1) * pitch;
    }
    Real s[4][4] = {};
    int n = 0;
    for (; n + 4 <= neurons; n += 4) {
        Four<Real> x[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) x[q] = load_four(a[q] + n);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            const Four<Real> y = load_four(b[r] + n);
#pragma unroll
            for (int q = 0; q < 4; ++q)
                for (int c = 0; c < 4; ++c) s[q][r] = madd(x[q].v[c], y.v[c], s[q][r]);
        }
    }
    for (; n < neurons; ++n)
#pragma unroll
        for (int r = 0; r < 4; ++r)
            for (int q = 0; q < 4; ++q) s[q][r] = madd(a[q][n], b[r][n], s[q][r]);
    Real* const out = gram + static_cast<int64_t>(p.outer) * (static_cast<int64_t>(m) * (m + 1) / 2);
#pragma unroll
    for (int q = 0; q < 4; ++q)
        for (int r = 0; r < 4; ++r) {
            const int64_t i = 4 * ti + q, j = 4 * static_cast<int64_t>(tj) + r;
            if (i < m && j <= i) out[i * (i + 1) / 2 + j] = madd(s[q][r], w2, b2);
        }
}

// One warp per net, one row per lane, column by column; the thresholds of the CPU's factor_gram.
template <class Real>
__global__ void __launch_bounds__(kThreads) factor_kernel(uint32_t n_nets, int n_points, const Real* __restrict__ gram, Real* factor) {
    const uint64_t net = thread_index() / 32;
    if (net >= n_nets) return;
    const int m = n_points, lane = static_cast<int>(threadIdx.x % 32);
    const int64_t pairs = static_cast<int64_t>(m) * (m + 1) / 2;
    const Real* __restrict__ k = gram + static_cast<int64_t>(net) * pairs;
    Real* const l = factor + static_cast<int64_t>(net) * pairs;
    const Real zero(0), epsilon = sizeof(Real) == 4 ? Real(0x1p-23) : Real(0x1p-52);
    const Real tolerance = static_cast<Real>(2 * (m + 8)) * epsilon;
    for (int64_t j = 0; j < m; ++j) {
        const Real* const lj = l + j * (j + 1) / 2;
        Real inverse(0);
        for (int64_t i0 = j - j % 32; i0 < m; i0 += 32) {  // row j is of the first 32
            const int64_t i = i0 + lane;
            Real* const li = l + i * (i + 1) / 2;
            Real s(0);
            if (i >= j && i < m) {
                s = k[i * (i + 1) / 2 + j];
                for (int64_t a = 0; a < j; ++a) s = madd(-li[a], lj[a], s);
            }
            if (i0 <= j) {
                const Real diagonal = select(lt(s, k[j * (j + 1) / 2 + j] * tolerance), zero, root(s));
                const Real mine = select(lt(zero, diagonal), Real(1) / diagonal, zero);
                inverse = __shfl_sync(0xffffffffu, mine, static_cast<int>(j % 32));
                if (i == j) li[j] = diagonal;
            }
            if (i > j && i < m) li[j] = s * inverse;
        }
        __syncwarp();
    }
}

// One warp per net and output: lanes are points; the output weights of 128 neurons are drawn by the 32 lanes and passed on.
// kRare: laws other than normal and zero.
template <class Real, bool kRare>
__global__ void __launch_bounds__(kThreads)
    readout_kernel(const __grid_constant__ Wave wave, const __grid_constant__ PhiloxKey key, const __grid_constant__ Layer out, int l,
                   const Real* __restrict__ h, Real* __restrict__ fields) {
    const uint32_t d_out = static_cast<uint32_t>(out.fan_out);
    const Split p = split(thread_index() / 32, d_out);
    if (p.outer >= wave.count) return;
    const int lane = static_cast<int>(threadIdx.x % 32), m = wave.n_points, quads = (out.fan_in + 3) / 4, pitch = row_pitch(out.fan_in);
    const Net net = net_at(wave.first + p.outer);
    Real b[4];
    draw<kRare>(key, net, out.bias, tensor_id(l, kBias), out.fan_out, 1, p.inner / 4, 0u, b);
    const Real start = p.inner % 4 < 2 ? (p.inner % 4 == 0 ? b[0] : b[1]) : (p.inner % 4 == 2 ? b[2] : b[3]);
    for (int i0 = 0; i0 < m; i0 += 32) {
        const int i = i0 + lane < m ? i0 + lane : m - 1;
        const Real* __restrict__ row = h + (static_cast<int64_t>(p.outer) * m + i) * pitch;
        Real f = start;
        for (int q0 = 0; q0 < quads; q0 += 32) {
            Real v[4] = {};
            if (q0 + lane < quads)
                draw<kRare>(key, net, out.weight, tensor_id(l, kWeight), out.fan_in, out.fan_out, static_cast<uint32_t>(q0 + lane), p.inner, v);
            const int here = quads - q0 < 32 ? quads - q0 : 32;
            for (int q = 0; q < here; ++q) {
                const Four<Real> x = load_four(row + 4 * (q0 + q));
                const int valid = out.fan_in - 4 * (q0 + q);
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    const Real vn = __shfl_sync(0xffffffffu, v[n], q);
                    if (n < valid) f = madd(vn, x.v[n], f);
                }
            }
        }
        if (i0 + lane < m) fields[(static_cast<int64_t>(p.outer) * m + i) * row_pitch(out.fan_out) + p.inner] = f;
    }
}

// ---- results to samples: threads run over nets, then over fields ------------------------------------------------------

// y(field, net) = value(field, net) for all nets below `padded`, 0 past the last of them.
template <class Real, class Value>
__device__ __forceinline__ void put_samples(uint32_t count, uint32_t padded, uint64_t pitch, Real* y, const Value& value) {
    const Split p = split(thread_index(), padded);
    y[p.outer * pitch + p.inner] = p.inner < count ? value(p.outer, p.inner) : Real(0);
}

__device__ __forceinline__ int64_t field_at(const int32_t* place, int n_points, int dim_out, uint64_t field, uint64_t net) {
    const int64_t i = static_cast<int64_t>(field) / dim_out, a = static_cast<int64_t>(field) - i * dim_out;
    return (static_cast<int64_t>(net) * n_points + place[i]) * row_pitch(dim_out) + a;
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    field_sample_kernel(uint32_t count, int n_points, int dim_out, Samples to, const Real* __restrict__ fields, Real* __restrict__ y) {
    if (thread_index() >= static_cast<uint64_t>(n_points) * static_cast<uint64_t>(dim_out) * to.padded) return;
    put_samples(count, to.padded, to.pitch, y, [&](uint64_t field, uint64_t net) {
        return fields[field_at(to.place, n_points, dim_out, field, net)] * static_cast<Real>(to.scale);
    });
}

template <class Real>
__global__ void __launch_bounds__(kThreads) gram_sample_kernel(uint32_t count, int n_points, Samples to, const Real* __restrict__ gram, Real* __restrict__ y) {
    const int64_t m = n_points, pairs = m * (m + 1) / 2;
    const Split p = split(thread_index(), to.padded);
    int64_t i = static_cast<int64_t>(p.outer) / m, j = static_cast<int64_t>(p.outer) - i * m;  // all (i, j): those with j >= i write
    if (i >= m || j < i) return;
    const int64_t q = i * m - i * (i - 1) / 2 + (j - i), a = to.place[i], b = to.place[j];
    const int64_t at = a < b ? b * (b + 1) / 2 + a : a * (a + 1) / 2 + b;
    y[static_cast<uint64_t>(q) * to.pitch + p.inner] = p.inner < count ? gram[static_cast<int64_t>(p.inner) * pairs + at] * static_cast<Real>(to.scale) : Real(0);
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    neuron_sample_kernel(uint32_t count, int n_points, int neurons, Samples to, const Real* __restrict__ h, Real* __restrict__ y) {
    // Threads run over the 16 nets of a tile, then over neurons, tiles and points.
    const Split lane = split(thread_index(), kTile);
    const Split neuron = split(lane.outer, static_cast<uint32_t>(neurons));
    const Split tile = split(neuron.outer, to.padded / kTile);
    if (tile.outer >= static_cast<uint64_t>(n_points)) return;
    const uint32_t net = tile.inner * kTile + lane.inner;
    const int64_t row = static_cast<int64_t>(net) * n_points + to.place[tile.outer];
    y[tile.outer * to.pitch + (static_cast<uint64_t>(tile.inner) * static_cast<uint64_t>(neurons) + neuron.inner) * kTile + lane.inner] =
        net < count ? h[row * row_pitch(neurons) + neuron.inner] * static_cast<Real>(to.scale) : Real(0);
}

template <class Real>
__global__ void __launch_bounds__(kThreads)
    output_row_kernel(uint32_t count, int n_points, int dim_out, const int32_t* __restrict__ place, const Real* __restrict__ fields, Real* __restrict__ out) {
    const uint64_t index = thread_index(), per_net = static_cast<uint64_t>(n_points) * static_cast<uint64_t>(dim_out), net = index / per_net;
    if (net >= count) return;
    out[index] = fields[field_at(place, n_points, dim_out, index - net * per_net, net)];
}

// body(C) with C points per thread: 4, 8 and, where registers allow, 16 or 32.
template <class Real, class Body>
cudaError_t with_points(int n_points, Body&& body) noexcept {
    constexpr bool narrow = sizeof(Real) == sizeof(float);
    if (n_points <= 4) return body(std::integral_constant<int, 4>{});
    if (n_points <= 8 || !narrow) return body(std::integral_constant<int, 8>{});
    if (n_points <= 16) return body(std::integral_constant<int, narrow ? 16 : 8>{});
    return body(std::integral_constant<int, narrow ? 32 : 8>{});
}

uint64_t group_threads(const Wave& wave, int neurons, int points_per_thread) {
    return static_cast<uint64_t>(wave.count) * static_cast<uint64_t>((neurons + 3) / 4) *
           static_cast<uint64_t>((wave.n_points + points_per_thread - 1) / points_per_thread);
}

}  // namespace

template <class Real>
cudaError_t preactivations(const Wave& wave, const Layer& layer, int l, Rows<Real> in, Real* z, Real* norm2, cudaStream_t stream) noexcept {
    return with_points<Real>(wave.n_points, [&](auto c) {
        constexpr int C = decltype(c)::value;
        return launch({blocks_for(group_threads(wave, layer.fan_out, C)), 1, kThreads, 0, stream}, preactivation_kernel<Real, C>, wave, philox_key(wave.seed), layer, l, in, z, norm2);
    });
}

template <class Real>
cudaError_t layer_law(const Wave& wave, int l, int neurons, bool first, int rank, const Real* factor, Real* z, cudaStream_t stream) noexcept {
    return with_points<Real>(wave.n_points, [&](auto c) {
        constexpr int C = decltype(c)::value;
        const auto kernel = first                ? layer_law_kernel<Real, C, true, false>
                            : wave.n_points <= C ? layer_law_kernel<Real, C, false, true>
                                                 : layer_law_kernel<Real, C, false, false>;
        return launch({blocks_for(group_threads(wave, neurons, C)), 1, kThreads, 0, stream}, kernel, wave, philox_key(wave.seed), l, neurons, rank, factor, z);
    });
}

template <class Real>
cudaError_t activations(const Wave& wave, const Layer& layer, const Real* shift, int64_t shift_stride, const Amplitude& amplitude, const Real* norm2, Real* z,
                        cudaStream_t stream) noexcept {
    Epilogue<Real> e{activation_params<Real>(layer.params, layer.n_params), layer.activation, static_cast<Real>(layer.gain), layer.gain != 1.0, shift, shift_stride,
                     nullptr, amplitude.count, Real(0), norm2};
    if (amplitude.count > 0) {
        e.table = amplitude.values;
        e.per_step = static_cast<Real>((amplitude.count - 1) / amplitude.max);
    }
    const uint64_t threads = static_cast<uint64_t>(wave.count) * static_cast<uint64_t>(wave.n_points) * static_cast<uint64_t>((layer.fan_out + 3) / 4);
    return launch({blocks_for(threads), 1, kThreads, 0, stream}, activation_kernel<Real>, wave.count, wave.n_points, layer.fan_out, e, z);
}

template <class Real>
cudaError_t shifts(const Wave& wave, const Layer& layer, Rows<Real> h, Real* shift, cudaStream_t stream) noexcept {
    return launch({blocks_for(static_cast<uint64_t>(wave.count) * static_cast<uint64_t>(wave.n_points)), 1, kThreads, 0, stream}, shift_kernel<Real>, wave.count,
                  wave.n_points, layer.fan_in, static_cast<Real>(layer.weight_variance), static_cast<Real>(layer.bias_variance), h, shift);
}

template <class Real>
cudaError_t diagonal_shifts(const Wave& wave, const Real* gram, Real* shift, cudaStream_t stream) noexcept {
    return launch({blocks_for(static_cast<uint64_t>(wave.count) * static_cast<uint64_t>(wave.n_points)), 1, kThreads, 0, stream}, diagonal_shift_kernel<Real>,
                  wave.count, wave.n_points, gram, shift);
}

template <class Real>
cudaError_t grams(const Wave& wave, int neurons, const Layer& next, const Real* h, Real* gram, cudaStream_t stream) noexcept {
    const uint64_t side = static_cast<uint64_t>((wave.n_points + 3) / 4);
    return launch({blocks_for(wave.count * (side * (side + 1) / 2)), 1, kThreads, 0, stream}, gram_kernel<Real>, wave.count, wave.n_points, neurons,
                  static_cast<Real>(next.weight_variance), static_cast<Real>(next.bias_variance), h, gram);
}

template <class Real>
cudaError_t factors(const Wave& wave, const Real* gram, Real* factor, cudaStream_t stream) noexcept {
    return launch({blocks_for(uint64_t{32} * wave.count), 1, kThreads, 0, stream}, factor_kernel<Real>, wave.count, wave.n_points, gram, factor);
}

template <class Real>
cudaError_t readouts(const Wave& wave, const Layer& out, int l, const Real* h, Real* fields, cudaStream_t stream) noexcept {
    const auto rare = [](const TensorLaw& law) { return law.law != Law::normal && law.law != Law::zero; };
    const auto kernel = rare(out.weight) || rare(out.bias) ? readout_kernel<Real, true> : readout_kernel<Real, false>;
    return launch({blocks_for(uint64_t{32} * wave.count * static_cast<uint64_t>(out.fan_out)), 1, kThreads, 0, stream}, kernel, wave, philox_key(wave.seed), out, l, h,
                  fields);
}

template <class Real>
cudaError_t field_samples(const Wave& wave, const Samples& to, int dim_out, const Real* fields, Real* y, cudaStream_t stream) noexcept {
    return launch({blocks_for(static_cast<uint64_t>(wave.n_points) * static_cast<uint64_t>(dim_out) * to.padded), 1, kThreads, 0, stream},
                  field_sample_kernel<Real>, wave.count, wave.n_points, dim_out, to, fields, y);
}

template <class Real>
cudaError_t gram_samples(const Wave& wave, const Samples& to, const Real* gram, Real* y, cudaStream_t stream) noexcept {
    const uint64_t m = static_cast<uint64_t>(wave.n_points);
    return launch({blocks_for(m * m * to.padded), 1, kThreads, 0, stream}, gram_sample_kernel<Real>, wave.count, wave.n_points, to, gram, y);
}

template <class Real>
cudaError_t neuron_samples(const Wave& wave, const Samples& to, int neurons, const Real* h, Real* y, cudaStream_t stream) noexcept {
    const uint64_t threads = static_cast<uint64_t>(wave.n_points) * static_cast<uint64_t>(neurons) * to.padded;
    return launch({blocks_for(threads), 1, kThreads, 0, stream}, neuron_sample_kernel<Real>, wave.count, wave.n_points, neurons, to, h, y);
}

template <class Real>
cudaError_t output_rows(const Wave& wave, const int32_t* place, int dim_out, const Real* fields, Real* out, cudaStream_t stream) noexcept {
    return launch({blocks_for(static_cast<uint64_t>(wave.count) * static_cast<uint64_t>(wave.n_points) * static_cast<uint64_t>(dim_out)), 1, kThreads, 0, stream},
                  output_row_kernel<Real>, wave.count, wave.n_points, dim_out, place, fields, out);
}

#define NNQFT_INSTANTIATE(Real)                                                                                                                              \
    template cudaError_t preactivations(const Wave&, const Layer&, int, Rows<Real>, Real*, Real*, cudaStream_t) noexcept;                                    \
    template cudaError_t layer_law(const Wave&, int, int, bool, int, const Real*, Real*, cudaStream_t) noexcept;                                             \
    template cudaError_t activations(const Wave&, const Layer&, const Real*, int64_t, const Amplitude&, const Real*, Real*, cudaStream_t) noexcept;          \
    template cudaError_t shifts(const Wave&, const Layer&, Rows<Real>, Real*, cudaStream_t) noexcept;                                                        \
    template cudaError_t diagonal_shifts(const Wave&, const Real*, Real*, cudaStream_t) noexcept;                                                            \
    template cudaError_t grams(const Wave&, int, const Layer&, const Real*, Real*, cudaStream_t) noexcept;                                                   \
    template cudaError_t factors(const Wave&, const Real*, Real*, cudaStream_t) noexcept;                                                                    \
    template cudaError_t readouts(const Wave&, const Layer&, int, const Real*, Real*, cudaStream_t) noexcept;                                                \
    template cudaError_t field_samples(const Wave&, const Samples&, int, const Real*, Real*, cudaStream_t) noexcept;                                         \
    template cudaError_t gram_samples(const Wave&, const Samples&, const Real*, Real*, cudaStream_t) noexcept;                                               \
    template cudaError_t neuron_samples(const Wave&, const Samples&, int, const Real*, Real*, cudaStream_t) noexcept;                                        \
    template cudaError_t output_rows(const Wave&, const int32_t*, int, const Real*, Real*, cudaStream_t) noexcept;
NNQFT_INSTANTIATE(float)
NNQFT_INSTANTIATE(double)
#undef NNQFT_INSTANTIATE

}  // namespace nnqft::cuda
