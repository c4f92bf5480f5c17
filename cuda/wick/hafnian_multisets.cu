#include "cuda/wick/hafnian_multisets.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"
#include "core/hd.hpp"
#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

constexpr unsigned kThreads = 128;

// Every operation rounded, as std::complex has them.
struct Complex {
    double re, im;
};
NNQFT_HD double times(double a, double b) { return a * b; }
NNQFT_HD double plus(double a, double b) { return a + b; }
NNQFT_HD Complex times(Complex a, double b) { return {a.re * b, a.im * b}; }
NNQFT_HD Complex times(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
NNQFT_HD Complex plus(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
NNQFT_HD void set(double& to, double x) { to = x; }
NNQFT_HD void set(Complex& to, double x) { to = {x, 0.0}; }

// The row without other points.
template <class T>
__global__ void first_row_kernel(const __grid_constant__ RecursionShape shape, const T* __restrict__ K, const T* __restrict__ mu, T* haf) {
    const int last = shape.points - 1;
    set(haf[0], 1.0);
    for (int64_t t = 1; t <= shape.repeats[last]; ++t) {
        T value = times(mu[last], haf[t - 1]);
        if (t > 1) value = plus(value, times(times(K[last * shape.points + last], static_cast<double>(t - 1)), haf[t - 2]));
        haf[t] = value;
    }
}

// Rows with `degree` other points.
template <class T>
__global__ void __launch_bounds__(kThreads)
    rows_kernel(const __grid_constant__ RecursionShape shape, int degree, bool mean, const T* __restrict__ K, const T* __restrict__ mu, T* haf) {
    const int m = shape.points, last = m - 1;
    const int64_t row = shape.repeats[last] + 1, rows = shape.stride[0] / row, step = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t number = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; number < rows; number += step) {
        int32_t at[kMostRecursionPoints];
        int sum = 0, i = last;
        int64_t rest = number;
        for (int j = last - 1; j >= 0; --j) {
            at[j] = static_cast<int32_t>(rest % (shape.repeats[j] + 1));
            rest /= shape.repeats[j] + 1;
            sum += at[j];
            if (at[j] > 0) i = j;
        }
        if (sum != degree) continue;
        T* const out = haf + number * row;
        const T *const less = out - shape.stride[i + 1], *const coupling = K + static_cast<int64_t>(i) * m;
        for (int64_t t = 0; t < row; ++t) {
            T value;
            set(value, 0.0);
            if (mean) value = times(mu[i], less[t]);
            if (at[i] > 1) value = plus(value, times(times(coupling[i], static_cast<double>(at[i] - 1)), (less - shape.stride[i + 1])[t]));
            for (int j = i + 1; j < last; ++j) {
                if (at[j] > 0) value = plus(value, times(times(coupling[j], static_cast<double>(at[j])), (less - shape.stride[j + 1])[t]));
            }
            if (t > 0) value = plus(value, times(times(coupling[last], static_cast<double>(t)), less[t - 1]));
            out[t] = value;
        }
    }
}

template <class T>
cudaError_t run(const RecursionShape& shape, bool mean, const double* K, const double* mu, double* table, cudaStream_t stream) noexcept {
    const auto* const k = reinterpret_cast<const T*>(K);
    const auto* const means = reinterpret_cast<const T*>(mu);
    auto* const haf = reinterpret_cast<T*>(table);
    const int64_t rows = shape.stride[0] / (shape.repeats[shape.points - 1] + 1);
    const auto blocks = static_cast<unsigned>(std::min<int64_t>((rows + kThreads - 1) / kThreads, 1 << 14));
    cudaError_t status = launch({1, 1, 1, 0, stream}, first_row_kernel<T>, shape, k, means, haf);
    for (int degree = 1; degree <= shape.others && status == cudaSuccess; ++degree)
        status = launch({blocks, 1, kThreads, 0, stream}, rows_kernel<T>, shape, degree, mean, k, means, haf);
    return status;
}

}  // namespace

RecursionShape::RecursionShape(const std::vector<int32_t>& given) : points(static_cast<int>(given.size())) {
    if (given.empty() || given.size() > kMostRecursionPoints)
        throw ArgumentError("the recursion takes 1 to " + std::to_string(kMostRecursionPoints) + " points, got " + std::to_string(given.size()));
    stride[points] = 1;
    for (int i = points - 1; i >= 0; --i) {
        repeats[i] = given[static_cast<size_t>(i)];
        if (repeats[i] < 1 || (i + 1 < points && repeats[i] > repeats[i + 1])) throw ArgumentError("multiplicities are positive and rise");
        if (stride[i + 1] > (int64_t{1} << 40) / (repeats[i] + 1)) throw ArgumentError("the recursion would need more than 2^40 numbers");
        stride[i] = stride[i + 1] * (repeats[i] + 1);
        if (i + 1 < points) others += repeats[i];
    }
}

cudaError_t hafnian_multisets(const RecursionShape& shape, bool complex, bool mean, const double* K, const double* mu, double* table, cudaStream_t stream) noexcept {
    return complex ? run<Complex>(shape, mean, K, mu, table, stream) : run<double>(shape, mean, K, mu, table, stream);
}

}  // namespace nnqft::cuda
