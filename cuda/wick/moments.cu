#include "cuda/wick/moments.hpp"

#include "core/vec_double.hpp"
#include "cuda/core/launch.hpp"

namespace nnqft::cuda {
namespace {

constexpr int kLanes = 8, kPanel = 256, kTile = kMomentTile;
constexpr unsigned kThreads = kLanes * kMomentGroup;

constexpr unsigned long long power_bits(int exponent) { return static_cast<unsigned long long>(exponent + 1023) << 52; }  // of 2
constexpr unsigned long long kSmall = power_bits(-100), kLarge = power_bits(100), kInfinite = power_bits(1024);

// Columns 0 .. m - 1 are the fields, m is the weight.
struct Samples {
    DeviceSamples s;
    int m;
    __device__ __forceinline__ double operator()(int64_t row, int column) const {
        if (column == m) return *reinterpret_cast<const double*>(s.weights + row * s.weight_step);
        const unsigned char* const at = s.rows + row * s.row_step + column * s.column_step;
        return s.float32 ? static_cast<double>(*reinterpret_cast<const float*>(at)) : *reinterpret_cast<const double*>(at);
    }
    __device__ int columns() const { return m + (s.weights ? 1 : 0); }
};

// The panels of one block of samples, whose last may be short.
struct Panels {
    int64_t block, count;
    NNQFT_HD_MEMBER int64_t per_block() const { return (block + kPanel - 1) / kPanel; }
    NNQFT_HD_MEMBER int64_t first(int64_t b, int64_t p) const { return b * block + p * kPanel; }
    NNQFT_HD_MEMBER int64_t size(int64_t b, int64_t p) const {
        const int64_t end = (b + 1) * block < count ? (b + 1) * block : count, from = first(b, p);
        return end <= from ? 0 : end - from < kPanel ? end - from : kPanel;
    }
};

// Of each panel: whether some column leaves 2^-100 .. 2^100, and then the exponents that bring all of them to [1/2, 1). Of a block, the
// first sample that is not finite.
__global__ void __launch_bounds__(kThreads) measure_kernel(const __grid_constant__ Samples samples, const Panels panels, int* __restrict__ exponents, long long* bad) {
    NNQFT_DYNAMIC_SHARED(unsigned long long, largest);
    __shared__ int flags[2];  // not finite, extreme
    const int64_t b = blockIdx.x, p = blockIdx.y, first = panels.first(b, p);
    const int size = static_cast<int>(panels.size(b, p)), columns = samples.columns();
    int* const out = exponents + (b * panels.per_block() + p) * (columns + 1);
    for (int c = static_cast<int>(threadIdx.x); c < columns; c += static_cast<int>(kThreads)) largest[c] = 0;
    if (threadIdx.x < 2) flags[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < static_cast<int64_t>(size) * columns; i += kThreads) {
        const double x = samples(first + i / columns, static_cast<int>(i % columns));
        unsigned long long bits;
        memcpy(&bits, &x, sizeof bits);
        atomicMax(&largest[i % columns], bits & (~0ull >> 1));  // magnitudes are ordered as their bits are
    }
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < columns; c += static_cast<int>(kThreads)) {
        const unsigned long long top = largest[c];
        if (top >= kInfinite) atomicOr(&flags[0], 1);
        if (top != 0 && (top < kSmall || top >= kLarge)) atomicOr(&flags[1], 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) out[columns] = flags[1];
    for (int c = static_cast<int>(threadIdx.x); c < columns; c += static_cast<int>(kThreads)) {
        double top;
        memcpy(&top, &largest[c], sizeof top);
        int exponent = 0;
        if (largest[c] < kInfinite) frexp(top, &exponent);
        out[c] = exponent;
    }
    if (!flags[0]) return;
    for (int64_t i = threadIdx.x; i < static_cast<int64_t>(size) * columns; i += kThreads) {
        const double x = samples(first + i / columns, static_cast<int>(i % columns));
        if (!(x - x == 0.0)) atomicMin(&bad[b], static_cast<long long>(p * kPanel + i / columns));
    }
}

struct Stripes {
    double* at;
    int stride, samples;
};

// f f of a bracket; its field numbers may be -1.
__device__ __forceinline__ double bracket(const Stripes& fields, const int16_t (&field)[2], int s) {
    const double f = field[0] < 0 ? 1.0 : fields.at[field[0] * fields.stride + s];
    return field[1] < 0 ? f : f * fields.at[field[1] * fields.stride + s];
}
__device__ int exponent_of(const MomentHalf& half, const int* exponents, int m, bool weighted) {
    int sum = half.row && weighted ? exponents[m] : 0;
    for (int i = 0; i < 2; ++i) sum += (half.one[i] < 0 ? 0 : exponents[half.one[i]]) + (half.two[i] < 0 ? 0 : exponents[half.two[i]]);
    return sum;
}

// Adds 16 numbers over the 8 lanes by halves, ((0+4)+(2+6)) + ((1+5)+(3+7)). A lane goes on with the half of the numbers that its bit says, and
// is left with two of them: 2 lane and 2 lane + 1.
template <int Step>
__device__ __forceinline__ void add_lanes(double (&v)[kTile * kTile], int lane) {
    const bool upper = lane & Step;
#pragma unroll
    for (int k = 0; k < 2 * Step; ++k) {
        const double give = upper ? v[k] : v[k + 2 * Step], keep = upper ? v[k + 2 * Step] : v[k];
        v[k] = keep + __shfl_xor_sync(0xffffffffu, give, Step);
    }
    if constexpr (Step > 1) add_lanes<Step / 2>(v, lane);
}

// Block blockIdx.x of samples, group blockIdx.y of tiles.
__global__ void __launch_bounds__(kThreads, 2)
    sums_kernel(const __grid_constant__ Samples samples, const Panels panels, const MomentMemory memory, int chunk, int stride, int64_t n_sums, int64_t count_at,
                double* __restrict__ sums) {
    NNQFT_DYNAMIC_SHARED(double, shared);
    const MomentGroup group = memory.groups[blockIdx.y];
    const MomentHalf* const halves = memory.halves + group.first_half;
    const int columns = samples.columns(), threads = static_cast<int>(blockDim.x), lane = static_cast<int>(threadIdx.x) % kLanes;
    const int own = static_cast<int>(threadIdx.x) / kLanes;
    const bool weighted = columns > samples.m, idle = own >= group.cells;
    const MomentCell* const cell = memory.cells + group.first_cell + (idle ? 0 : own);
    const Stripes fields{shared, stride, chunk};
    double* const products = shared + columns * stride;
    int row[kTile], column[kTile];
#pragma unroll
    for (int i = 0; i < kTile; ++i) {
        row[i] = cell->row[i] * stride + lane;
        column[i] = cell->column[i] * stride + lane;
    }
    double total[2] = {0.0, 0.0};
    const int64_t b = blockIdx.x;
    for (int64_t p = 0; p < panels.per_block(); ++p) {
        const int size = static_cast<int>(panels.size(b, p));
        if (size == 0) break;
        const int* const exponents = memory.workspace + (b * panels.per_block() + p) * (columns + 1);
        const bool extreme = exponents[columns] != 0;
        double v[kTile * kTile];
#pragma unroll
        for (int k = 0; k < kTile * kTile; ++k) v[k] = 0.0;
        for (int from = 0; from < size; from += chunk) {
            __syncthreads();
            for (int i = static_cast<int>(threadIdx.x); i < chunk * columns; i += threads) {
                const int s = i / columns, c = i % columns;
                double x = from + s < size ? samples(panels.first(b, p) + from + s, c) : 0.0;
                if (extreme) x = ldexp(x, -exponents[c]);
                shared[c * stride + s] = x;
            }
            __syncthreads();
            for (int i = static_cast<int>(threadIdx.x); i < chunk * group.halves; i += threads) {
                const int h = i / chunk, s = i % chunk;
                const MomentHalf half = halves[h];
                double one = bracket(fields, half.one, s);
                if (half.row && weighted) one = shared[samples.m * stride + s] * one;
                products[h * stride + s] = one * bracket(fields, half.two, s);
            }
            __syncthreads();
            const int end = size - from < chunk ? (size - from + kLanes - 1) / kLanes * kLanes : chunk;
#pragma unroll 2
            for (int s = 0; s < end; s += kLanes) {
                VD x[kTile], y[kTile];
#pragma unroll
                for (int i = 0; i < kTile; ++i) x[i] = VD(products[row[i] + s]);
#pragma unroll
                for (int j = 0; j < kTile; ++j) y[j] = VD(products[column[j] + s]);
#pragma unroll
                for (int i = 0; i < kTile; ++i) {
#pragma unroll
                    for (int j = 0; j < kTile; ++j) v[kTile * i + j] = madd(x[i], y[j], VD(v[kTile * i + j])).v;
                }
            }
        }
        add_lanes<kLanes / 2>(v, lane);
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            double sum = v[k];
            if (extreme) {
                const int number = 2 * lane + k;
                sum = ldexp(sum, exponent_of(halves[cell->row[number / kTile]], exponents, samples.m, weighted) +
                                     exponent_of(halves[cell->column[number % kTile]], exponents, samples.m, weighted));
            }
            total[k] += sum;
        }
    }
    double* const out = sums + b * n_sums;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        const int number = 2 * lane + k;
        if (!idle && (cell->mask >> number & 1u)) out[cell->out[number / kTile] + number % kTile] = total[k];
    }
    if (count_at >= 0 && blockIdx.y == 0 && threadIdx.x == 0) {
        const int64_t end = (b + 1) * panels.block < panels.count ? (b + 1) * panels.block : panels.count;
        out[count_at] = static_cast<double>(end - b * panels.block);
    }
}

// Where order 0 is all there is.
__global__ void count_kernel(const Panels panels, int64_t blocks, int64_t n_sums, int64_t count_at, double* sums) {
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t b = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; b < blocks; b += stride) {
        const int64_t end = (b + 1) * panels.block < panels.count ? (b + 1) * panels.block : panels.count;
        sums[b * n_sums + count_at] = static_cast<double>(end - b * panels.block);
    }
}

int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

}  // namespace

MomentCut moment_cut(int64_t m, int most_halves, size_t shared) noexcept {
    constexpr size_t kEnough = 56 << 10;  // for four blocks on a multiprocessor of compute capability 9.0
    MomentCut cut{0, 0, 0};
    for (int samples = 64; samples >= kLanes; samples /= 2) {
        const int stride = samples > kLanes ? samples + kLanes : samples;  // two stripes side by side lie in different banks
        const size_t bytes = (static_cast<size_t>(m) + 1 + static_cast<size_t>(most_halves)) * static_cast<size_t>(stride) * sizeof(double);
        if (bytes <= shared) {
            cut = {samples, stride, bytes};
            if (bytes <= kEnough) break;
        }
    }
    return cut;
}

size_t moment_workspace_size(int64_t m, int64_t count, int64_t block) noexcept {
    const Panels panels{block, count};
    return static_cast<size_t>(blocks_of(count, block) * panels.per_block() * (m + 2)) * sizeof(int);
}

cudaError_t moment_blocks(int64_t m, const MomentTables& tables, const DeviceSamples& samples, int64_t block, const MomentMemory& memory, const MomentCut& cut,
                          double* sums, long long* bad, cudaStream_t stream) noexcept {
    if (samples.count == 0) return cudaSuccess;
    const Panels panels{block, samples.count};
    const Samples source{samples, static_cast<int>(m)};
    const int64_t blocks = blocks_of(samples.count, block);
    const size_t columns = static_cast<size_t>(m) + (samples.weights ? 1 : 0);
    cudaError_t status = allow_shared(measure_kernel, columns * sizeof(double));
    if (status == cudaSuccess)
        status = launch({static_cast<unsigned>(blocks), static_cast<unsigned>(panels.per_block()), kThreads, columns * sizeof(double), stream}, measure_kernel, source,
                        panels, memory.workspace, bad);
    if (status != cudaSuccess) return status;
    if (tables.groups.empty())
        return launch({static_cast<unsigned>(blocks / 256 + 1), 1, 256, 0, stream}, count_kernel, panels, blocks, tables.n_sums, tables.count_at, sums);
    status = allow_shared(sums_kernel, cut.bytes);
    // Groups go by 65535, the most that a grid has in y.
    for (size_t first = 0; first < tables.groups.size() && status == cudaSuccess; first += 65535) {
        const auto groups = static_cast<unsigned>(tables.groups.size() - first < 65535 ? tables.groups.size() - first : 65535);
        const unsigned threads = groups > 1 ? kThreads : (static_cast<unsigned>(tables.groups[first].cells) * kLanes + 31) / 32 * 32;
        MomentMemory part = memory;
        part.groups += first;
        status = launch({static_cast<unsigned>(blocks), groups, threads, cut.bytes, stream}, sums_kernel, source, panels, part, cut.samples, cut.stride, tables.n_sums,
                        tables.count_at, sums);
    }
    return status;
}

}  // namespace nnqft::cuda
