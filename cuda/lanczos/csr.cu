#include "cuda/lanczos/csr.hpp"

#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTogether = 4;  // vectors that share the loads of A
constexpr std::int64_t kMostGroups = 65535;  // in the y of a grid

// Vectors from the first-th on, kVectors of them for each block in y.
template <class T, class I, int kLanes, int kVectors>
__global__ void __launch_bounds__(kThreads) csr_kernel(const CsrMatrix<T, I> A, std::int64_t first, const T* __restrict__ X, T* __restrict__ Y) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
    const int lane = static_cast<int>(threadIdx.x % kLanes);
    const std::int64_t shift = (first + static_cast<std::int64_t>(blockIdx.y) * kVectors) * A.n;
    double sum[kVectors] = {};
    const std::int64_t begin = row < A.n ? A.start[row] + lane : 0, end = row < A.n ? A.start[row + 1] : 0;
    for (std::int64_t e = begin; e < end; e += kLanes) {
        const T* x = X + shift + A.column[e];
        const double a = static_cast<double>(A.value[e]);
#pragma unroll
        for (int c = 0; c < kVectors; ++c, x += A.n) sum[c] = fma(a, static_cast<double>(*x), sum[c]);
    }
#pragma unroll
    for (int c = 0; c < kVectors; ++c) {
#pragma unroll
        for (unsigned half = kLanes / 2; half > 0; half /= 2) sum[c] += __shfl_down_sync(0xffffffffu, sum[c], half);
        if (lane == 0 && row < A.n) Y[shift + c * A.n + row] = static_cast<T>(sum[c]);
    }
}

template <class T, class I, int kLanes>
cudaError_t apply(const CsrMatrix<T, I>& A, std::int64_t vectors, const T* X, T* Y, cudaStream_t stream) {
    constexpr std::int64_t rows = kThreads / kLanes;
    const std::int64_t groups = vectors / kTogether, rest = vectors % kTogether;
    Launch grid;
    grid.blocks = static_cast<unsigned>((A.n + rows - 1) / rows);
    grid.threads = kThreads;
    grid.stream = stream;
    cudaError_t status = cudaSuccess;
    for (std::int64_t first = 0; first < groups && status == cudaSuccess; first += kMostGroups) {
        grid.blocks_y = static_cast<unsigned>(groups - first < kMostGroups ? groups - first : kMostGroups);
        status = launch(grid, csr_kernel<T, I, kLanes, kTogether>, A, first * kTogether, X, Y);
    }
    grid.blocks_y = static_cast<unsigned>(rest);
    return status == cudaSuccess ? launch(grid, csr_kernel<T, I, kLanes, 1>, A, groups * kTogether, X, Y) : status;
}

}  // namespace

int csr_lanes(double entries) {
    int lanes = 1;
    while (lanes < 32 && entries > 2.0 * lanes) lanes *= 2;
    return lanes;
}

template <class T, class I>
cudaError_t csr_apply(const CsrMatrix<T, I>& A, int lanes, std::int64_t vectors, const T* X, T* Y, cudaStream_t stream) noexcept {
    switch (lanes) {
        case 1: return apply<T, I, 1>(A, vectors, X, Y, stream);
        case 2: return apply<T, I, 2>(A, vectors, X, Y, stream);
        case 4: return apply<T, I, 4>(A, vectors, X, Y, stream);
        case 8: return apply<T, I, 8>(A, vectors, X, Y, stream);
        case 16: return apply<T, I, 16>(A, vectors, X, Y, stream);
        default: return apply<T, I, 32>(A, vectors, X, Y, stream);
    }
}

#define NNQFT_CSR(T, I) template cudaError_t csr_apply(const CsrMatrix<T, I>&, int, std::int64_t, const T*, T*, cudaStream_t) noexcept;
NNQFT_CSR(float, std::int32_t)
NNQFT_CSR(float, std::int64_t)
NNQFT_CSR(double, std::int32_t)
NNQFT_CSR(double, std::int64_t)
#undef NNQFT_CSR

}  // namespace nnqft::cuda
