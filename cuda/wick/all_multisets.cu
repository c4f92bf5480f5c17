#include "cuda/wick/all_multisets.hpp"

#include <algorithm>
#include <utility>

#include "core/vec_double.hpp"
#include "cuda/core/launch.hpp"
#include "wick/multiset.hpp"

namespace nnqft::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kUnrolled = 8;  // legs in registers
constexpr int64_t kMostBlocks = 1 << 16;

// A sum whose first product is rounded and whose others are added with one rounding each.
struct Sum {
    double value = 0.0;
    bool empty = true;
    __device__ __forceinline__ void add(double a, double b) {
        value = empty ? a * b : madd(VD(a), VD(b), VD(value)).v;
        empty = false;
    }
};

// Legs as distances z = m - 1 - i from the last value, z_0 >= z_1 >= ..; an entry of order k lies sum_j N(z_j, k - j) before the end of its tensor.
struct Tensors {
    MultisetTheory at;

    __device__ __forceinline__ int64_t count(int64_t x, int k) const { return __ldg(at.counts + static_cast<int64_t>(k) * (at.m + 1) + x); }
    __device__ __forceinline__ int64_t largest(int64_t distance, int k) const {  // x with N(x, k) <= distance
        int64_t low = 0, high = at.m - 1;
        while (low < high) {
            const int64_t middle = (low + high + 1) / 2;
            if (count(middle, k) <= distance) low = middle;
            else high = middle - 1;
        }
        return low;
    }
    __device__ __forceinline__ double entry(const double* tensor, int order, int64_t distance) const { return __ldg(tensor + count(at.m, order) - 1 - distance); }
    __device__ __forceinline__ double covariance(int64_t z, int64_t last) const { return __ldg(at.K + (at.m - 1 - z) * at.m + (at.m - 1 - last)); }
    __device__ __forceinline__ double mean(int64_t z) const { return __ldg(at.mu + (at.m - 1 - z)); }
};

template <class Legs>
__device__ __forceinline__ double value_of(const Tensors& G, const Legs& z, int n) {
    const int64_t last = z[n - 1];
    if (n == 1) return G.mean(last);
    if (n == 2) return G.at.mu ? G.mean(z[0]) * G.mean(last) + G.covariance(z[0], last) : G.covariance(z[0], last);
    Sum sum;
    if (n == 3) {
        sum.add(G.entry(G.at.below, 2, G.count(z[0], 2) + G.count(z[1], 1)), G.mean(last));
        sum.add(G.mean(z[1]), G.covariance(z[0], last));
        sum.add(G.mean(z[0]), G.covariance(z[1], last));
        return sum.value;
    }
    // Without leg p, those before it count as legs of order n - 2 and those behind it as legs of order n - 1.
    int64_t before = 0, behind = 0;
#pragma unroll
    for (int p = 0; p < n - 1; ++p) behind += G.count(z[p], n - 1 - p);
    const int64_t as_below = behind;
    int64_t run = 0;  // copies of a leg that were met; they share a product
#pragma unroll
    for (int p = 0; p < n - 1; ++p) {
        if (p == n - 4 && G.at.mu) sum.add(G.entry(G.at.below, n - 1, as_below), G.mean(last));
        behind -= G.count(z[p], n - 1 - p);
        const bool counted = p < n - 4;
        ++run;
        if (!counted || p + 1 == n - 4 || z[p + 1] != z[p]) {
            const double K = G.covariance(z[p], last), A = G.entry(G.at.second, n - 2, before + behind);
            sum.add(A, counted && run > 1 ? static_cast<double>(run) * K : K);
            run = 0;
        }
        before += G.count(z[p], n - 2 - p);
    }
    return sum.value;
}

template <int N>  // legs; 0: any number
__global__ void __launch_bounds__(kThreads, 2)
    multisets_kernel(int legs, const Tensors G, int64_t first, int64_t last, const int32_t* __restrict__ exponents, double* __restrict__ out) {
    const int n = N ? N : legs;
    const int64_t total = G.count(G.at.m, n), stride = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t e = first + static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; e < last; e += stride) {
        int64_t z[N ? N : kMaxLegs], distance = total - 1 - e;
#pragma unroll
        for (int k = 0; k < n; ++k) {
            z[k] = G.largest(distance, n - k);
            distance -= G.count(z[k], n - k);
        }
        double value = value_of(G, z, n);
        if (exponents) {
            int exponent = 0;
#pragma unroll
            for (int k = 0; k < n; ++k) exponent += exponents[G.at.m - 1 - z[k]];
            value = ldexp(value, exponent);
        }
        out[e] = value;
    }
}

template <int... I>
cudaError_t launch_order(int n, const Launch& grid, const Tensors& G, int64_t first, int64_t last, const int32_t* exponents, double* out,
                         std::integer_sequence<int, I...>) noexcept {
    if (n > kUnrolled) return launch(grid, multisets_kernel<0>, n, G, first, last, exponents, out);
    cudaError_t status = cudaSuccess;
    ((n == I + 1 ? void(status = launch(grid, multisets_kernel<I + 1>, n, G, first, last, exponents, out)) : void()), ...);
    return status;
}

}  // namespace

std::vector<int64_t> multiset_counts(int64_t m, int order) {
    std::vector<int64_t> counts;
    for (int k = 0; k <= order; ++k)
        for (int64_t x = 0; x <= m; ++x) counts.push_back(multiset_count(x, k));
    return counts;
}

cudaError_t all_multisets(int n, const MultisetTheory& theory, int64_t first, int64_t last, const int32_t* exponents, double* out, cudaStream_t stream) noexcept {
    if (first >= last) return cudaSuccess;
    const auto blocks = static_cast<unsigned>(std::min((last - first + kThreads - 1) / kThreads, kMostBlocks));
    return launch_order(n, {blocks, 1, kThreads, 0, stream}, Tensors{theory}, first, last, exponents, out, std::make_integer_sequence<int, kUnrolled>{});
}

}  // namespace nnqft::cuda
