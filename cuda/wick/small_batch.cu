#include "cuda/wick/small_batch.hpp"

#include <algorithm>
#include <utility>

#include "core/vec_double.hpp"
#include "cuda/core/launch.hpp"
#include "wick/small_recursion.hpp"
#include "wick/wide.hpp"

namespace nnqft::cuda {
namespace {

constexpr int kStraight = 8;             // points up to which a thread has a hafnian
constexpr unsigned kThreads = 128, kWarp = 32;
constexpr int64_t kMostBlocks = 16384;
constexpr unsigned kWideThreads = 1024;  // in all: each has tables for every subset
constexpr int kMostInputs = pair_count(kSmallPoints) + kSmallPoints;

// Magnitudes inside which the plain recursion neither overflows nor loses bits to underflow: SmallWindow of csrc/wick/small.hpp.
struct Window {
    double least_K, most_K, least_mu, most_mu;
};
Window window_of(int n, bool mean) {
    const double mu = ldexp(1.0, 900 / n);
    return {1.0 / mu / mu, mu * mu, mean ? 1.0 / mu : 1.0, mean ? mu : 0.0};
}

// The smallest magnitude but for zeros, at most 1, and the largest.
struct Range {
    double least = 1.0, most = 0.0;
    __device__ void add(double x) {
        const double size = fabs(x);
        least = size > 0.0 && size < least ? size : least;
        most = size > most ? size : most;
    }
};
__device__ __forceinline__ bool holds(const Window& window, const Range& K, const Range& mu) {
    return K.least >= window.least_K && K.most <= window.most_K && mu.least >= window.least_mu && mu.most <= window.most_mu;
}

// ---------------------------------------------------------------- where the inputs come from

// put(slot, x) with all inputs of hafnian b, for N points and a mean or none, or for what there is if N is 0. False if they are not what they should be.

struct Tuples {
    const double *K, *mu;
    int32_t m;
    const void* index;
    bool wide;
    int64_t count;

    // Point i of tuple b; 0 for one that is out of range, and that shows in `sound`.
    __device__ __forceinline__ int32_t point(int n, int64_t b, int i, bool& sound) const {
        const int64_t at = b * n + i, value = wide ? static_cast<const int64_t*>(index)[at] : static_cast<const int32_t*>(index)[at];
        const bool inside = value >= 0 && value < m;
        sound &= inside;
        return inside ? static_cast<int32_t>(value) : 0;
    }
    __device__ __forceinline__ double covariance(int32_t p, int32_t q) const {
        return __ldg(K + static_cast<int64_t>(p < q ? p : q) * m + (p < q ? q : p));
    }
    __device__ double pair(int n, int64_t b, int i, int j, bool& sound) const { return covariance(point(n, b, i, sound), point(n, b, j, sound)); }
    __device__ double mean(int n, int64_t b, int i, bool& sound) const { return __ldg(mu + point(n, b, i, sound)); }
    __device__ bool settle(int, int64_t, bool sound) const { return sound; }

    template <int N, bool Mean, class Put>
    __device__ __forceinline__ bool read(int points, int64_t b, const Put& put) const {
        const int n = N ? N : points;
        int32_t column[N ? N : kSmallPoints];
        bool sound = true;
#pragma unroll
        for (int i = 0; i < n; ++i) {
            column[i] = point(n, b, i, sound);
        }
#pragma unroll
        for (int i = 0; i < n; ++i) {
#pragma unroll
            for (int j = i + 1; j < n; ++j) {
                put(pair_place(n, i, j), covariance(column[i], column[j]));
            }
            if (N ? Mean : mu != nullptr) put(pair_count(n) + i, __ldg(mu + column[i]));
        }
        return sound;
    }
};

struct Matrices {
    const double *K, *mu;
    bool packed;
    int64_t count;

    // `sound` of an entry: finite, and equal to its mirror image; settle() has a closer look at matrices of which some are not.
    __device__ double pair(int n, int64_t b, int i, int j, bool& sound) const {
        const double* const matrix = K + b * (packed ? pair_count(n) : n * n);
        const double x = matrix[packed ? pair_place(n, i, j) : i * n + j];
        sound &= x - (packed ? x : matrix[j * n + i]) == 0.0;
        return x;
    }
    __device__ double mean(int n, int64_t b, int i, bool& sound) const {
        const double x = mu[b * n + i];
        sound &= x - x == 0.0;
        return x;
    }
    __device__ bool settle(int n, int64_t b, bool sound) const {
        return sound || read<0, false>(n, b, [](int, double) {});
    }

    template <int N, bool Mean, class Put>
    __device__ __forceinline__ bool read(int points, int64_t b, const Put& put) const {
        const int n = N ? N : points;
        const double* const matrix = K + b * (packed ? pair_count(n) : n * n);
        bool finite = true, same = true;
#pragma unroll
        for (int i = 0; i < n; ++i) {
#pragma unroll
            for (int j = i + 1; j < n; ++j) {
                const double x = matrix[packed ? pair_place(n, i, j) : i * n + j];
                finite &= x - x == 0.0;
                if (!packed) same &= x == matrix[j * n + i];
                put(pair_place(n, i, j), x);
            }
            if (N ? Mean : mu != nullptr) {
                const double x = mu[b * n + i];
                finite &= x - x == 0.0;
                put(pair_count(n) + i, x);
            }
        }
        return finite && (same || symmetric(n, matrix));
    }

    // |K_ij - K_ji| within 1e-12 of the smaller of the two rows' largest entries (csrc/core/checks.hpp), off the diagonal.
    static __device__ bool symmetric(int n, const double* matrix) {
        for (int i = 0; i < n; ++i) {
            for (int j = i + 1; j < n; ++j) {
                double most_i = 0.0, most_j = 0.0;
                for (int k = 0; k < n; ++k) {
                    if (k != i) most_i = fmax(most_i, fabs(matrix[i * n + k]));
                    if (k != j) most_j = fmax(most_j, fabs(matrix[j * n + k]));
                }
                if (!(fabs(matrix[i * n + j] - matrix[j * n + i]) <= 1e-12 * fmin(most_i, most_j))) return false;
            }
        }
        return true;
    }
};

// What is left of a result that was not computed.
__device__ __forceinline__ double refused(bool sound, int64_t b, BatchStatus* status) {
    if (!sound) atomicMin(&status->first_bad, static_cast<long long>(b));
    else atomicAdd(&status->out_of_window, 1ull);
    return nan("");
}

// ---------------------------------------------------------------- kernels

struct FromRegisters {
    const VD* at;
    NNQFT_HD_MEMBER VD operator()(int slot) const { return at[slot]; }
};

// A thread, a hafnian.
template <int N, bool Mean, bool Look, class Source>
__global__ void __launch_bounds__(kThreads)
    straight_kernel(const Source source, const Window window, BatchStatus* __restrict__ status, double* __restrict__ out) {
    const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t b = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; b < source.count; b += stride) {
        VD in[SmallPlan<N, Mean>::kInputs];
        Range K, mu;
        bool sound = source.template read<N, Mean>(N, b, [&](int slot, double x) {
            in[slot] = VD(x);
            if (Look) (slot < pair_count(N) ? K : mu).add(x);
        });
        const bool plain = !Look || holds(window, K, mu);
        out[b] = sound && plain ? straight_value<N, Mean, VD>(FromRegisters{in}).v : refused(sound, b, status);
    }
}

// A warp, a hafnian: the subsets of one size side by side. Shared memory holds 1 for the empty set, the inputs, the subsets.
struct WarpTable {
    int n, inputs, slots, root;
    int first[14];
};
template <bool Look, class Source>
__global__ void __launch_bounds__(kThreads)
    warp_kernel(const __grid_constant__ WarpTable table, const Source source, const Window window, const uint32_t* __restrict__ terms,
                BatchStatus* __restrict__ status, double* __restrict__ out) {
    NNQFT_DYNAMIC_SHARED(double, shared);
    const int lane = static_cast<int>(threadIdx.x % kWarp), n = table.n, pairs = pair_count(n), mean = table.inputs > pairs;
    double* const value = shared + static_cast<int>(threadIdx.x / kWarp) * (table.slots + 1);
    const int64_t stride = static_cast<int64_t>(gridDim.x) * (kThreads / kWarp);
    for (int64_t b = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp; b < source.count; b += stride) {
        Range K, mu;
        bool sound = true;
        for (int slot = lane; slot < table.inputs; slot += static_cast<int>(kWarp)) {
            const int i = static_cast<int>(terms[slot] & 0xffff), j = static_cast<int>(terms[slot] >> 16);
            const double x = slot < pairs ? source.pair(n, b, i, j, sound) : source.mean(n, b, i, sound);
            if (Look) (slot < pairs ? K : mu).add(x);
            value[slot + 1] = x;
        }
        if (lane == 0) value[0] = 1.0;
        sound = source.settle(n, b, __all_sync(0xffffffffu, sound) != 0);  // orders no memory: that is for __syncwarp() below
        const bool plain = !Look || __all_sync(0xffffffffu, holds(window, K, mu)) != 0;
        __syncwarp();
        if (!sound || !plain) {
            if (lane == 0) out[b] = refused(sound, b, status);
            continue;
        }
        const uint32_t* term = terms + table.inputs;
        for (int size = 2; size <= n; ++size) {
            const int count = mean ? size : size - 1, subsets = table.first[size + 1] - table.first[size];
            for (int k = lane; k < subsets; k += static_cast<int>(kWarp)) {
                const uint32_t* t = term + k * count;
                double sum = value[t[0] & 0xffff] * value[t[0] >> 16];
                for (int i = 1; i < count; ++i) sum = madd(VD(value[t[i] & 0xffff]), VD(value[t[i] >> 16]), VD(sum)).v;
                value[1 + table.inputs + table.first[size] + k] = sum;
            }
            term += subsets * count;
            __syncwarp();
        }
        if (lane == 0) out[b] = value[table.root + 1];
        __syncwarp();
    }
}

// A thread, a hafnian of numbers of any size: plain after scaling by a power of two, or with exponents carried in integers where even that
// loses it. `plain` and `wide` have room for all subsets of every thread.
template <class Source>
__global__ void wide_kernel(int n, bool mean, const Source source, const Window window, double* plain, Wide* exponents, double* out) {
    const int sets = 1 << n, pairs = pair_count(n);
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    double* const value = plain + thread * sets;
    Wide* const exact = exponents + thread * sets;
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t b = thread; b < source.count; b += stride) {
        double in[kMostInputs];
        Range K, mu;
        const bool sound = source.template read<0, false>(n, b, [&](int slot, double x) {
            in[slot] = x;
            (slot < pairs ? K : mu).add(x);
        });
        if (!sound || holds(window, K, mu)) continue;
        const int s = scale_exponent(K.most, mu.most);
        const double step = ldexp(1.0, -s);
        for (int pass = 0; pass < 2; ++pass) {
            value[0] = 1.0;
            exact[0] = wide(1.0);
            for (int whole = 1; whole < sets; ++whole) {
                int low = 0;
                while (!(whole >> low & 1)) ++low;
                const int rest = whole & (whole - 1);
                bool first = true;
                double sum = 0.0;
                Wide total = wide(0.0);
                const auto add = [&](int slot, int left) {
                    if (pass == 0) {
                        const double x = in[slot] * step * (slot < pairs ? step : 1.0);
                        sum = first ? x * value[left] : madd(VD(x), VD(value[left]), VD(sum)).v;
                    } else {
                        total = madd(wide(in[slot]), exact[left], total);
                    }
                    first = false;
                };
                for (int j = low + 1; j < n; ++j) {
                    if (rest >> j & 1) add(pair_place(n, low, j), rest ^ 1 << j);
                }
                if (mean) add(pairs + low, rest);
                (pass == 0 ? value[whole] : exact[whole].fraction) = pass == 0 ? sum : total.fraction;
                if (pass == 1) exact[whole] = total;
            }
            if (pass == 0 && fabs(value[sets - 1]) >= kTinyHafnian) {
                out[b] = ldexp(value[sets - 1], n * s);
                break;
            }
            if (pass == 1) out[b] = narrow(exact[sets - 1]);
        }
    }
}

// ---------------------------------------------------------------- launches

unsigned blocks_for(int64_t items) { return static_cast<unsigned>(std::min(items, kMostBlocks)); }

template <bool Look, class Source, int... I>
cudaError_t launch_straight(int n, const Source& source, BatchStatus* status, double* out, cudaStream_t stream, std::integer_sequence<int, I...>) noexcept {
    cudaError_t result = cudaSuccess;
    const Launch grid{blocks_for((source.count + kThreads - 1) / kThreads), 1, kThreads, 0, stream};
    const bool mean = source.mu != nullptr;
    const Window window = window_of(n, mean);
    ((n == I + 1 && mean ? void(result = launch(grid, straight_kernel<I + 1, true, Look, Source>, source, window, status, out)) : void()), ...);
    ((n == I + 1 && I % 2 && !mean ? void(result = launch(grid, straight_kernel<I - I % 2 + 2, false, Look, Source>, source, window, status, out)) : void()),
     ...);
    return result;
}

template <bool Look, class Source>
cudaError_t launch_warps(int n, const Source& source, const uint32_t* terms, BatchStatus* status, double* out, cudaStream_t stream) noexcept {
    const SmallTable small = small_table(n, source.mu != nullptr);
    WarpTable table{n, small.inputs, small.slots, small.root, {}};
    std::copy(std::begin(small.first), std::end(small.first), table.first);
    constexpr unsigned kWarps = kThreads / kWarp;
    const size_t bytes = kWarps * static_cast<size_t>(small.slots + 1) * sizeof(double);
    return launch({blocks_for((source.count + kWarps - 1) / kWarps), 1, kThreads, bytes, stream}, warp_kernel<Look, Source>, table, source,
                  window_of(n, source.mu != nullptr), terms, status, out);
}

template <bool Look, class Source>
cudaError_t hafnians(int n, const Source& source, const uint32_t* terms, BatchStatus* status, double* out, cudaStream_t stream) noexcept {
    if (source.count == 0) return cudaSuccess;
    if (n > kStraight) return launch_warps<Look>(n, source, terms, status, out, stream);
    return launch_straight<Look>(n, source, status, out, stream, Numbers<kStraight>{});
}

template <class Source>
cudaError_t wide_hafnians(int n, const Source& source, double* out, void* workspace, cudaStream_t stream) noexcept {
    constexpr unsigned kBlock = 64;
    auto* const exponents = static_cast<Wide*>(workspace);
    auto* const plain = reinterpret_cast<double*>(exponents + (size_t{kWideThreads} << n));
    const bool mean = source.mu != nullptr;
    const auto blocks = static_cast<unsigned>(std::min<int64_t>((source.count + kBlock - 1) / kBlock, kWideThreads / kBlock));
    return launch({blocks, 1, kBlock, 0, stream}, wide_kernel<Source>, n, mean, source, window_of(n, mean), plain, exponents, out);
}

template <int N, bool Mean>
SmallTable table_of() {
    using Plan = LoopPlan<N, Mean>;
    SmallTable table;
    for (int i = 0; i < N; ++i)
        for (int j = i + 1; j < N; ++j) table.terms.push_back(static_cast<uint32_t>(i) | static_cast<uint32_t>(j) << 16);
    for (int i = 0; Mean && i < N; ++i) table.terms.push_back(static_cast<uint32_t>(i));
    table.inputs = Plan::kInputs;
    table.slots = Plan::kSlots;
    table.root = Plan::kRoot;
    for (int size = 0; size <= N; ++size) table.first[size + 1] = kSmallPlan<N, Mean>.up_to_size[size];
    for (int t = 0; t < Plan::kTerms; ++t) {
        const auto& term = kLoopPlan<N, Mean>.term[t];
        table.terms.push_back(static_cast<uint32_t>(term.factor + 1) | static_cast<uint32_t>(term.rest + 1) << 16);
    }
    return table;
}

Tuples source_of(const DeviceTuples& t) { return {t.K, t.mu, t.m, t.index, t.wide, t.count}; }
Matrices source_of(const DeviceMatrices& t) { return {t.K, t.mu, t.packed, t.count}; }

}  // namespace

SmallTable small_table(int n, bool mean) {
    switch (2 * n + mean) {
        case 19: return table_of<9, true>();
        case 20: return table_of<10, false>();
        case 21: return table_of<10, true>();
        case 23: return table_of<11, true>();
        case 24: return table_of<12, false>();
        case 25: return table_of<12, true>();
        default: return {};
    }
}

cudaError_t tuple_hafnians(int n, const DeviceTuples& tuples, bool window_holds, const uint32_t* terms, BatchStatus* status, double* out,
                           cudaStream_t stream) noexcept {
    return window_holds ? hafnians<false>(n, source_of(tuples), terms, status, out, stream)
                        : hafnians<true>(n, source_of(tuples), terms, status, out, stream);
}
cudaError_t matrix_hafnians(int n, const DeviceMatrices& matrices, const uint32_t* terms, BatchStatus* status, double* out, cudaStream_t stream) noexcept {
    return hafnians<true>(n, source_of(matrices), terms, status, out, stream);
}

size_t wide_workspace_size(int n) noexcept { return (sizeof(Wide) + sizeof(double)) * (size_t{kWideThreads} << n); }
cudaError_t wide_tuple_hafnians(int n, const DeviceTuples& tuples, double* out, void* workspace, cudaStream_t stream) noexcept {
    return wide_hafnians(n, source_of(tuples), out, workspace, stream);
}
cudaError_t wide_matrix_hafnians(int n, const DeviceMatrices& matrices, double* out, void* workspace, cudaStream_t stream) noexcept {
    return wide_hafnians(n, source_of(matrices), out, workspace, stream);
}

}  // namespace nnqft::cuda
