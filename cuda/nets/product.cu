// A block of threads makes a tile of the result, a thread 8 x 8 or 4 x 4 elements of it. Slices of kDepth values of k wait in shared
// memory, two at a time: while one is summed, the next comes from global memory through registers.
//
// An H200 issues 132 x 128 fused multiply-adds a clock: 67 TFlop/s float32, half of that float64. For a value of k a thread of the
// 8 x 8 tile issues 64 of them and 4 loads of 16 bytes from shared memory, and for 8 values 8 loads and 8 stores of the next slice: 0.9
// of what is issued is arithmetic; 0.8 for 4 x 4. The 8 x 8 tile takes some 150 registers: a block on each multiprocessor.
#include "cuda/nets/product.hpp"

#include <limits.h>

#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

template <class T>
struct alignas(16) Pack {
    static constexpr int size = 16 / sizeof(T);
    T v[size];
};

// kEdge x kEdge tiles by threads that have kMine x kMine elements each, in packs: rows (or columns) g * kEdge / kGroups + thread * size + i.
template <class T, int kEdge_, int kMine_, int kDepth_>
struct Tile {
    static constexpr int kEdge = kEdge_, kMine = kMine_, kDepth = kDepth_, kPack = Pack<T>::size;
    static constexpr int kAcross = kEdge / kMine, kThreads = kAcross * kAcross, kGroups = kMine / kPack;
    static constexpr int kLoads = kEdge * kDepth / kThreads;
    static constexpr int kBlocks = kMine == 8 ? 1 : 512 / kThreads;  // on a multiprocessor: 128 registers for a thread, but for the wide tile
    static_assert(kEdge * kDepth % kThreads == 0 && kMine % kPack == 0, "every thread loads and makes as much");
    static_assert(kThreads % kDepth == 0 && kThreads % kEdge == 0, "all that a thread loads is of one k, or of one row");
    using Slice = Pack<T>[kDepth][kEdge / kPack + 1];  // a pack of padding: fewer conflicts of banks
    __device__ static int place(int thread, int i) { return i / kPack * (kEdge / kGroups) + thread * kPack + i % kPack; }
};

// Elements (row of the tile, k) of a slice that this thread brings: along k where k is the fast index in memory, else along rows.
template <class L, bool kFastInner>
struct Share {
    __device__ static int row(int i) {
        const int at = i * L::kThreads + static_cast<int>(threadIdx.x);
        return kFastInner ? at / L::kDepth : at % L::kEdge;
    }
    __device__ static int inner(int i) {
        const int at = i * L::kThreads + static_cast<int>(threadIdx.x);
        return kFastInner ? at % L::kDepth : at / L::kEdge;
    }
};

// `from` is the slice's first element; `rows` and `inner` are how far it reaches, ld < kMaxWidth.
template <class L, bool kFastInner, class T>
__device__ __forceinline__ void fetch(const T* from, int ld, int rows, int inner, T (&to)[L::kLoads]) {
    using S = Share<L, kFastInner>;
    const T* at = from + (kFastInner ? S::row(0) * ld + S::inner(0) : S::inner(0) * ld + S::row(0));
    const int step = (kFastInner ? L::kThreads / L::kDepth : L::kThreads / L::kEdge) * ld;  // from one element to the next
#pragma unroll
    for (int i = 0; i < L::kLoads; ++i, at += step) to[i] = S::row(i) < rows && S::inner(i) < inner ? *at : T(0);
}
template <class L, bool kFastInner, class T>
__device__ __forceinline__ void keep(const T (&from)[L::kLoads], typename L::Slice& to) {
    using S = Share<L, kFastInner>;
#pragma unroll
    for (int i = 0; i < L::kLoads; ++i) to[S::inner(i)][S::row(i) / L::kPack].v[S::row(i) % L::kPack] = from[i];
}

__device__ __forceinline__ int at_most(std::int64_t x, int limit) { return x < limit ? static_cast<int>(x) : limit; }

// The sums of one tile: a(row, k) b(column, k) for k in [begin, end) of each term.
// Column `extra` of b is 1 in terms with `ones`, else 0; -1: there is none.
template <class L, bool kFastA, bool kFastB, class T>
__device__ __forceinline__ void accumulate(const Term<T> (&terms)[kTerms], unsigned vector, int row, int rows, int column, int columns, int begin, int end,
                                           int extra, T (&sum)[L::kMine][L::kMine]) {
    __shared__ typename L::Slice a[2], b[2];
    T next_a[L::kLoads], next_b[L::kLoads];
    const int ty = static_cast<int>(threadIdx.x) / L::kAcross, tx = static_cast<int>(threadIdx.x) % L::kAcross;
    int t = 0;
    int k = begin;
    const auto last = [&] { return at_most(terms[t].inner, end); };
    const auto skip_empty = [&] {  // false: all is done
        while (t < kTerms && (terms[t].a.data == nullptr || k >= last())) ++t, k = begin;
        return t < kTerms;
    };
    const auto load = [&] {
        const Term<T>& term = terms[t];
        const int inner = min(last() - k, L::kDepth);
        const auto slice = [&](const Matrix<T>& m, bool fast, int first) { return m.data + vector * m.batch + (fast ? first * m.ld + k : k * m.ld + first); };
        fetch<L, kFastA>(slice(term.a, kFastA, row), static_cast<int>(term.a.ld), rows - row, inner, next_a);
        fetch<L, kFastB>(slice(term.b, kFastB, column), static_cast<int>(term.b.ld), columns - column, inner, next_b);
        if (extra >= column && term.ones) {
            using S = Share<L, kFastB>;
#pragma unroll
            for (int i = 0; i < L::kLoads; ++i)
                if (S::row(i) == extra - column && S::inner(i) < inner) next_b[i] = T(1);
        }
        k += L::kDepth;
    };
    bool more = skip_empty();
    if (more) load();
    for (int now = 0; more; now ^= 1) {
        keep<L, kFastA>(next_a, a[now]);
        keep<L, kFastB>(next_b, b[now]);
        __syncthreads();  // the other slices were last read before the barrier of the round before
        more = skip_empty();
        if (more) load();
#pragma unroll
        for (int i = 0; i < L::kDepth; ++i) {
            Pack<T> x[L::kGroups], y[L::kGroups];
#pragma unroll
            for (int g = 0; g < L::kGroups; ++g) {
                x[g] = a[now][i][g * (L::kEdge / L::kGroups / L::kPack) + ty];
                y[g] = b[now][i][g * (L::kEdge / L::kGroups / L::kPack) + tx];
            }
#pragma unroll
            for (int m = 0; m < L::kMine; ++m)
#pragma unroll
                for (int n = 0; n < L::kMine; ++n) sum[m][n] = fma(x[m / L::kPack].v[m % L::kPack], y[n / L::kPack].v[n % L::kPack], sum[m][n]);
        }
    }
}

template <class L, bool kTurned, class T>
__global__ void __launch_bounds__(L::kThreads, L::kBlocks) product_kernel(const __grid_constant__ Product<T> p) {
    const auto across = static_cast<unsigned>((p.width + L::kEdge - 1) / L::kEdge);
    const int row = static_cast<int>(blockIdx.x / across) * L::kEdge, column = static_cast<int>(blockIdx.x % across) * L::kEdge;
    T sum[L::kMine][L::kMine] = {};
    accumulate<L, true, !kTurned>(p.term, blockIdx.y, row, static_cast<int>(p.samples), column, static_cast<int>(p.width), 0, INT_MAX, -1, sum);

    const Finish<T>& f = p.finish;
    const int ty = static_cast<int>(threadIdx.x) / L::kAcross, tx = static_cast<int>(threadIdx.x) % L::kAcross;
#pragma unroll
    for (int m = 0; m < L::kMine; ++m) {
        const std::int64_t s = row + L::place(ty, m);
        if (s >= p.samples) continue;
        const std::int64_t line = blockIdx.y * p.samples + s;
#pragma unroll
        for (int i = 0; i < L::kMine; ++i) {
            const std::int64_t n = column + L::place(tx, i);
            if (n >= p.width) continue;
            const std::int64_t shared = s * p.width + n, own = line * p.width + n;
            T x = sum[m][i];
            if (f.bias) x += f.bias[blockIdx.y * f.bias_batch + n];
            x += f.constant;
            if (f.line) x += f.line[line];
            if (f.before) x = fma(f.before_scale, f.before[own], x);
            if (f.of[0]) x = fma(f.line_of[0][line], f.of[0][shared], x);
            if (f.of[1]) x = fma(f.line_of[1][s], f.of[1][own], x);
            if (f.raw) f.raw[own] = x;
            if (f.gate) x *= f.gate[shared];
            if (f.curve) x = fma(f.curve[shared], f.other[own], x);
            if (f.after) x = fma(f.after_scale, f.after[own], x);
            p.out[own] = x;
        }
    }
}

template <class T>
struct Outers {
    Outer<T> outer[kOuters];
    unsigned end[kOuters];  // tiles up to the end of each
    unsigned slabs;
    std::int64_t samples, batch, slab_stride;
};

template <class L, class T>
__global__ void __launch_bounds__(L::kThreads, L::kBlocks) outer_kernel(const __grid_constant__ Outers<T> all) {
    const unsigned slab = blockIdx.x % all.slabs, tile = blockIdx.x / all.slabs;
    int i = 0;
    while (tile >= all.end[i]) ++i;
    const Outer<T>& o = all.outer[i];
    const unsigned here = tile - (i > 0 ? all.end[i - 1] : 0u);
    const int in = static_cast<int>(o.in), columns = in + (o.bias ? 1 : 0);
    const auto across = static_cast<unsigned>((columns + L::kEdge - 1) / L::kEdge);
    const int row = static_cast<int>(here / across) * L::kEdge, column = static_cast<int>(here % across) * L::kEdge;
    T sum[L::kMine][L::kMine] = {};
    accumulate<L, false, false>(o.term, blockIdx.y, row, static_cast<int>(o.width), column, in, static_cast<int>(all.samples * slab / all.slabs),
                                static_cast<int>(all.samples * (slab + 1) / all.slabs), o.bias ? in : -1, sum);
    T* const out = o.out + blockIdx.y * all.batch + slab * all.slab_stride;
    const int ty = static_cast<int>(threadIdx.x) / L::kAcross, tx = static_cast<int>(threadIdx.x) % L::kAcross;
#pragma unroll
    for (int m = 0; m < L::kMine; ++m) {
        const std::int64_t n = row + L::place(ty, m);
        if (n >= o.width) continue;
#pragma unroll
        for (int j = 0; j < L::kMine; ++j) {
            const std::int64_t k = column + L::place(tx, j);
            if (k < columns) out[k < o.in ? n * o.in + k : o.width * o.in + n] = sum[m][j];
        }
    }
}

template <class T, int kind>
struct TileOf;
template <>
struct TileOf<float, 0> : Tile<float, 128, 8, 8> {};
template <>
struct TileOf<float, 1> : Tile<float, 64, 4, 16> {};
template <>
struct TileOf<float, 2> : Tile<float, 32, 4, 16> {};
template <>
struct TileOf<double, 0> : Tile<double, 64, 4, 8> {};
template <>
struct TileOf<double, 1> : TileOf<double, 0> {};
template <>
struct TileOf<double, 2> : Tile<double, 32, 4, 8> {};

constexpr std::int64_t tiles(std::int64_t rows, std::int64_t columns, std::int64_t edge) {
    return ((rows + edge - 1) / edge) * ((columns + edge - 1) / edge);
}

template <class T, int kind>
cudaError_t multiply_by(const Product<T>& p, cudaStream_t stream) {
    using L = TileOf<T, kind>;
    Launch grid;
    grid.blocks = static_cast<unsigned>(tiles(p.samples, p.width, L::kEdge));
    grid.blocks_y = static_cast<unsigned>(p.vectors);
    grid.threads = L::kThreads;
    grid.stream = stream;
    return p.turned ? launch(grid, product_kernel<L, true, T>, p) : launch(grid, product_kernel<L, false, T>, p);
}

template <class T, int kind>
cudaError_t outer_by(Outers<T>& all, int count, std::int64_t vectors, cudaStream_t stream) {
    using L = TileOf<T, kind>;
    std::int64_t sum = 0;
    for (int i = 0; i < count; ++i) {
        const Outer<T>& o = all.outer[i];
        all.end[i] = static_cast<unsigned>(sum += tiles(o.width, o.in + (o.bias ? 1 : 0), L::kEdge));
    }
    Launch grid;
    grid.blocks = static_cast<unsigned>(sum * all.slabs);
    grid.blocks_y = static_cast<unsigned>(vectors);
    grid.threads = L::kThreads;
    grid.stream = stream;
    return launch(grid, outer_kernel<L, T>, all);
}

}  // namespace

int tile_kind(std::int64_t rows, std::int64_t columns, std::int64_t times, int multiprocessors, bool wide_numbers) {
    // Half a wave of wide tiles beats two waves of narrow ones: a 64 x 64 tile issues 3/4 of what a 128 x 128 one does.
    const auto fills = [&](std::int64_t edge) { return 2 * tiles(rows, columns, edge) * times >= multiprocessors; };
    if (!wide_numbers && rows > 64 && columns > 64 && tiles(rows, columns, 128) * times >= multiprocessors) return 0;
    return fills(64) ? 1 : 2;
}

template <class T>
cudaError_t multiply(const Product<T>& p, int multiprocessors, cudaStream_t stream) noexcept {
    if (p.samples == 0 || p.width == 0 || p.vectors == 0) return cudaSuccess;
    switch (tile_kind(p.samples, p.width, p.vectors, multiprocessors, sizeof(T) == 8)) {
        case 0: return multiply_by<T, 0>(p, stream);
        case 1: return multiply_by<T, 1>(p, stream);
        default: return multiply_by<T, 2>(p, stream);
    }
}

template <class T>
cudaError_t outer(const Outer<T>* outers, int count, std::int64_t samples, std::int64_t slabs, std::int64_t vectors, std::int64_t batch,
                  std::int64_t slab_stride, int multiprocessors, cudaStream_t stream) noexcept {
    if (count == 0 || vectors == 0) return cudaSuccess;
    Outers<T> all{};
    std::int64_t rows = 0, columns = 0;
    for (int i = 0; i < count; ++i) {
        all.outer[i] = outers[i];
        rows = outers[i].width > rows ? outers[i].width : rows;
        columns = outers[i].in > columns ? outers[i].in : columns;
    }
    all.samples = samples;
    all.slabs = static_cast<unsigned>(slabs);
    all.batch = batch;
    all.slab_stride = slab_stride;
    switch (tile_kind(rows, columns, slabs * vectors, multiprocessors, sizeof(T) == 8)) {
        case 0: return outer_by<T, 0>(all, count, vectors, stream);
        case 1: return outer_by<T, 1>(all, count, vectors, stream);
        default: return outer_by<T, 2>(all, count, vectors, stream);
    }
}

#define NNQFT_PRODUCTS(T)                                                                                                        \
    template cudaError_t multiply(const Product<T>&, int, cudaStream_t) noexcept;                                                \
    template cudaError_t outer(const Outer<T>*, int, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, int,  \
                               cudaStream_t) noexcept;
NNQFT_PRODUCTS(float)
NNQFT_PRODUCTS(double)
#undef NNQFT_PRODUCTS

}  // namespace nnqft::cuda
