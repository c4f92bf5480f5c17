#include "cuda/lanczos/lanczos.hpp"

#include "core/normal.hpp"
#include "core/philox.hpp"
#include "cuda/core/launch.hpp"
#include "cuda/lanczos/sums.hpp"

namespace nnqft::cuda {
namespace {

constexpr double kBreakdown = 32.0;  // times eps: rounding leaves |w| of a few eps |A| where the Krylov space is complete
constexpr double kShortened = 0.7;   // Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30 (1976) 772
constexpr int kChunk = 256;          // coefficients of a projection that lie in shared memory at a time

// e with |x| < 2^e, such that 2^-e and 2^e are normal numbers.
__device__ int exponent(double x) {
    int e = 0;
    frexp(x, &e);
    return e < -1000 ? -1000 : e > 1000 ? 1000 : e;
}

// A block's place: kRows elements of one probe.
template <class T>
struct Here {
    std::int64_t probe, first, rows;
    __device__ explicit Here(const LanczosRun<T>& run)
        : probe(blockIdx.y), first(static_cast<std::int64_t>(blockIdx.x) * kRows), rows(run.n - first < kRows ? run.n - first : kRows) {}
    __device__ T* of(T* vectors, const LanczosRun<T>& run) const { return vectors + probe * run.n + first; }
};

template <class T>
__device__ bool idle(const LanczosRun<T>& run) {
    return run.control->halted != 0 || run.control->step >= run.capacity;
}

// body(i) for this thread's elements of the block.
template <class Body>
__device__ __forceinline__ void over_rows(std::int64_t rows, const Body& body) {
#pragma unroll
    for (int i = 0; i < kRows / kSumThreads; ++i) {
        const int at = i * kSumThreads + static_cast<int>(threadIdx.x);
        if (at < rows) body(at);
    }
}

template <class T>
__device__ double* partials(const LanczosRun<T>& run, std::int64_t probe, std::int64_t vector) {
    const std::int64_t vectors = run.reorth == Reorth::none ? 1 : run.capacity + 1;
    return run.workspace + (probe * vectors + vector) * gridDim.x;
}
template <class T>
__device__ double* coefficients(const LanczosRun<T>& run, std::int64_t probe) {
    return run.workspace + run.probes * (run.capacity + 1) * gridDim.x + probe * (run.capacity + 1);
}

// True in all threads of the block that finishes last for this probe: then every block's partial sums are in memory.
__device__ bool last_block(Probe& probe) { return last_ticket(&probe.ticket, gridDim.x); }

template <class T>
__device__ void not_finite(const LanczosRun<T>& run, Probe& probe) {
    probe.bad = 1;
    run.control->halted = 1;
}

// Four elements of a start vector: csrc's draw_start.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    draw_kernel(const LanczosRun<T> run, const __grid_constant__ PhiloxKey key, StartLaw law, std::uint64_t first_probe) {
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    const std::uint64_t address = first_probe + static_cast<std::uint64_t>(here.probe);
    T* const v = here.of(run.q, run);
    double sum = 0.0;
    for (int i = 4 * static_cast<int>(threadIdx.x); i < here.rows; i += 4 * kSumThreads) {
        const auto group = static_cast<std::uint64_t>(here.first + i) / 4;
        std::uint32_t word[4] = {static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32), static_cast<std::uint32_t>(address),
                                 static_cast<std::uint32_t>(address >> 32)};
        philox_rounds(word[0], word[1], word[2], word[3], key, 0);
        float z[4];
        if (law == StartLaw::rademacher) {
            for (int l = 0; l < 4; ++l) z[l] = word[l] >> 31 ? -1.0f : 1.0f;
        } else {
            normal_pair(word[0], word[1], 1.0f, z[0], z[1]);
            normal_pair(word[2], word[3], 1.0f, z[2], z[3]);
        }
        for (int l = 0; l < 4 && i + l < here.rows; ++l) {
            v[i + l] = static_cast<T>(z[l]);
            sum = fma(static_cast<double>(z[l]), static_cast<double>(z[l]), sum);
        }
    }
    double* const sums = partials(run, here.probe, 0);
    store_block_sum(sum, sums);
    if (!last_block(probe)) return;
    const double norm2 = sum_of(sums, gridDim.x);
    if (threadIdx.x == 0) probe.norm2 = law == StartLaw::gaussian ? norm2 : static_cast<double>(run.n);
}

// The exponent of the largest element of v: of a start vector, or of A q_0 where nothing else is known of |A|.
template <class T>
__global__ void __launch_bounds__(kSumThreads) largest_kernel(const LanczosRun<T> run, bool start) {
    if (!start && idle(run)) return;
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    const T* const v = here.of(start ? run.q : run.w, run);
    double largest = 0.0;
    over_rows(here.rows, [&](int i) { largest = larger(largest, fabs(static_cast<double>(v[i]))); });
    double* const all = partials(run, here.probe, 0);
    store_block_largest(largest, all);
    if (!last_block(probe)) return;
    largest = largest_of(all, gridDim.x);
    if (threadIdx.x != 0) return;
    const bool finite = largest <= 1.7976931348623157e308;  // false for NaN
    probe.e = finite ? exponent(largest) : 0;
    probe.bad = start ? (largest == 0.0 ? 1 : finite ? 0 : 2) : 0;
    if (!start && !finite) return not_finite(run, probe);
    probe.c_product = ldexp(1.0, -probe.e);
    probe.c_previous = 0.0;
}

template <class T>
__global__ void __launch_bounds__(kSumThreads) start_norm_kernel(const LanczosRun<T> run, bool drawn) {
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    const T* const v = here.of(run.q, run);
    const int e = probe.e;
    double sum = 0.0;
    over_rows(here.rows, [&](int i) {
        const double x = ldexp(static_cast<double>(v[i]), -e);
        sum = fma(x, x, sum);
    });
    double* const sums = partials(run, here.probe, 0);
    store_block_sum(sum, sums);
    if (!last_block(probe)) return;
    sum = sum_of(sums, gridDim.x);
    if (threadIdx.x != 0) return;
    if (!drawn) probe.norm2 = ldexp(sum, 2 * e);
    int power = 0;
    probe.mantissa = frexp(ldexp(sqrt(sum), e), &power);
    probe.e = power;
}

template <class T>
__global__ void __launch_bounds__(kSumThreads) start_scale_kernel(const LanczosRun<T> run) {
    const Here<T> here(run);
    const Probe& probe = run.probe[here.probe];
    T *const q = here.of(run.q, run), *const previous = here.of(run.previous, run), *const kept = run.Q ? here.of(run.Q, run) : nullptr;
    const int e = probe.e;
    const double mantissa = probe.mantissa;
    const bool good = probe.bad == 0;
    over_rows(here.rows, [&](int i) {
        const T x = good ? static_cast<T>(ldexp(static_cast<double>(q[i]), -e) / mantissa) : T(0);
        q[i] = x;
        previous[i] = T(0);
        if (kept) kept[i] = x;
    });
}

// w = c_product u + c_previous q_{j-1};  alpha = q_j . w.
template <class T>
__global__ void __launch_bounds__(kSumThreads) recur_kernel(const LanczosRun<T> run) {
    if (idle(run)) return;
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    const double c = probe.c_product, d = probe.c_previous;
    const T *const q = here.of(run.q, run), *const previous = here.of(run.previous, run);
    T* const w = here.of(run.w, run);
    double sum = 0.0;
    over_rows(here.rows, [&](int i) {
        const T x = static_cast<T>(c * static_cast<double>(w[i]) + d * static_cast<double>(previous[i]));
        w[i] = x;
        sum = fma(static_cast<double>(q[i]), static_cast<double>(x), sum);
    });
    double* const sums = partials(run, here.probe, 0);
    store_block_sum(sum, sums);
    if (!last_block(probe)) return;
    sum = sum_of(sums, gridDim.x);
    if (threadIdx.x != 0) return;
    probe.reduced = sum;
    if (!isfinite(ldexp(sum, probe.e))) not_finite(run, probe);
}

// Simon's recurrence: csrc/lanczos/omega.hpp, by the threads of one block. True in all if q_{j+1} is to be made orthogonal.
template <class T>
__device__ bool advance_omega(const LanczosRun<T>& run, std::int64_t index, double square) {
    Probe& probe = run.probe[index];
    const int j = run.control->step;
    const std::int64_t row = run.capacity + 2;
    double* const omega = run.omega + index * 3 * row;
    double *const before = omega + (j + 2) % 3 * row, *const now = omega + j % 3 * row, *const next = omega + (j + 1) % 3 * row;
    const double *const alpha = run.alpha + index * run.capacity, *const beta = run.beta + index * run.capacity;
    const double eps = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52, noise = 0.5 * eps * sqrt(static_cast<double>(run.n));
    const double alpha_j = ldexp(probe.reduced, probe.e), beta_j = ldexp(sqrt(square), probe.e);
    const double size = larger(probe.omega_size, fabs(alpha_j) + beta_j);
    const bool again = probe.omega_again != 0;
    if (j == 0 && threadIdx.x == 0) now[0] = 1.0;
    __syncthreads();
    double largest = 0.0;
    for (int i = static_cast<int>(threadIdx.x); i < j; i += kSumThreads) {
        double x = noise;
        if (beta_j > 0.0) {
            x = beta[i] * now[i + 1] + (alpha[i] - alpha_j) * now[i] - beta[j - 1] * before[i];
            if (i > 0) x += beta[i - 1] * now[i - 1];
            x = (x + copysign(2.0 * noise * size, x)) / beta_j;
            largest = larger(largest, fabs(x));
        }
        next[i] = x;
    }
    largest = block_largest(largest);
    const bool needed = again || largest > sqrt(eps);
    if (needed)
        for (int i = static_cast<int>(threadIdx.x); i < j; i += kSumThreads) next[i] = noise;
    if (threadIdx.x == 0) {
        next[j] = noise;
        next[j + 1] = 1.0;
        probe.next_omega_size = size;
        probe.next_omega_again = needed && !again;
    }
    return needed;
}

// w -= alpha q_j, and |w|^2.
template <class T>
__global__ void __launch_bounds__(kSumThreads) update_kernel(const LanczosRun<T> run) {
    if (idle(run)) return;
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    const double c = -probe.reduced;
    const T* const q = here.of(run.q, run);
    T* const w = here.of(run.w, run);
    double sum = 0.0;
    over_rows(here.rows, [&](int i) {
        const T x = static_cast<T>(fma(c, static_cast<double>(q[i]), static_cast<double>(w[i])));
        w[i] = x;
        sum = fma(static_cast<double>(x), static_cast<double>(x), sum);
    });
    double* const sums = partials(run, here.probe, 0);
    store_block_sum(sum, sums);
    if (!last_block(probe)) return;
    sum = sum_of(sums, gridDim.x);
    bool chosen = false;
    if (run.reorth == Reorth::partial && isfinite(sum) && !probe.breakdown) chosen = advance_omega(run, here.probe, sum);
    if (threadIdx.x != 0) return;
    probe.square = sum;
    probe.chosen = chosen;
    if (!isfinite(sum)) not_finite(run, probe);
}

// h_i = Q_i . w for i <= j: a warp takes a vector, and w waits in shared memory. `update`: w -= alpha q_j before, and |w|^2.
template <class T>
__global__ void __launch_bounds__(kSumThreads) dots_kernel(const LanczosRun<T> run, bool update) {
    if (idle(run)) return;
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    if (!update && !probe.chosen) return;
    __shared__ double part[kRows];
    T* const w = here.of(run.w, run);
    double square = 0.0;
    if (update) {
        const double c = -probe.reduced;
        const T* const q = here.of(run.q, run);
        over_rows(here.rows, [&](int i) {
            const T x = static_cast<T>(fma(c, static_cast<double>(q[i]), static_cast<double>(w[i])));
            w[i] = x;
            part[i] = static_cast<double>(x);
            square = fma(static_cast<double>(x), static_cast<double>(x), square);
        });
        square = block_sum(square);
    } else {
        over_rows(here.rows, [&](int i) { part[i] = static_cast<double>(w[i]); });
        __syncthreads();
    }
    const int count = run.control->step + 1, warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const std::int64_t stride = run.probes * run.n;
    for (int i = warp; i < count; i += kSumThreads / 32) {
        const T* const Q = here.of(run.Q, run) + i * stride;
        double sum[4] = {};  // lanes apart by 128: four loads under way
        if (here.rows == kRows) {
#pragma unroll 4
            for (int r = lane; r < kRows; r += 128)
#pragma unroll
                for (int s = 0; s < 4; ++s) sum[s] = fma(static_cast<double>(Q[r + 32 * s]), part[r + 32 * s], sum[s]);
        } else {
            for (int r = lane; r < here.rows; r += 128)
                for (int s = 0; s < 4 && r + 32 * s < here.rows; ++s) sum[s] = fma(static_cast<double>(Q[r + 32 * s]), part[r + 32 * s], sum[s]);
        }
        const double total = warp_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
        if (lane == 0) partials(run, here.probe, i)[blockIdx.x] = total;
    }
    double* const squares = partials(run, here.probe, run.capacity);  // h needs no more than `capacity` vectors
    if (update && threadIdx.x == 0) squares[blockIdx.x] = square;
    if (!last_block(probe)) return;
    double* const h = coefficients(run, here.probe);
    for (int i = warp; i < count; i += kSumThreads / 32) {
        const double sum = warp_sum_of(partials(run, here.probe, i), gridDim.x);
        if (lane == 0) h[i] = sum;
    }
    if (!update) return;
    square = sum_of(squares, gridDim.x);
    if (threadIdx.x != 0) return;
    probe.square = square;
    probe.chosen = 1;
    if (!isfinite(square)) not_finite(run, probe);
}

// w -= sum_i h_i Q_i, and what is left of |w|^2: another pass if it is short.
template <class T>
__global__ void __launch_bounds__(kSumThreads) project_kernel(const LanczosRun<T> run) {
    if (idle(run)) return;
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    if (!probe.chosen) return;
    __shared__ double h[kChunk];
    T* const w = here.of(run.w, run);
    const T* const Q = here.of(run.Q, run);
    const double* const all = coefficients(run, here.probe);
    const int count = run.control->step + 1;
    const std::int64_t stride = run.probes * run.n;
    constexpr int kMine = kRows / kSumThreads;
    double x[kMine];
#pragma unroll
    for (int r = 0; r < kMine; ++r) {
        const int at = r * kSumThreads + static_cast<int>(threadIdx.x);
        x[r] = at < here.rows ? static_cast<double>(w[at]) : 0.0;
    }
    for (int begin = 0; begin < count; begin += kChunk) {
        const int some = count - begin < kChunk ? count - begin : kChunk;
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < some) h[threadIdx.x] = all[begin + static_cast<int>(threadIdx.x)];
        __syncthreads();
#pragma unroll 2
        for (int i = 0; i < some; ++i) {
            const T* const q = Q + (begin + i) * stride;
#pragma unroll
            for (int r = 0; r < kMine; ++r) {
                const int at = r * kSumThreads + static_cast<int>(threadIdx.x);
                if (at < here.rows) x[r] = fma(-h[i], static_cast<double>(q[at]), x[r]);
            }
        }
    }
    double sum = 0.0;
#pragma unroll
    for (int r = 0; r < kMine; ++r) {
        const int at = r * kSumThreads + static_cast<int>(threadIdx.x);
        const T rounded = static_cast<T>(x[r]);
        if (at < here.rows) w[at] = rounded;
        sum = fma(static_cast<double>(rounded), static_cast<double>(rounded), sum);
    }
    double* const sums = partials(run, here.probe, 0);
    store_block_sum(sum, sums);
    if (!last_block(probe)) return;
    sum = sum_of(sums, gridDim.x);
    if (threadIdx.x != 0) return;
    probe.chosen = sum < kShortened * kShortened * probe.square;
    probe.square = sum;
}

// q_{j+1} = w / beta_j, unless beta_j cannot be told from rounding; then the step is done.
template <class T>
__global__ void __launch_bounds__(kSumThreads) scale_kernel(const LanczosRun<T> run) {
    if (idle(run)) return;
    const Here<T> here(run);
    Probe& probe = run.probe[here.probe];
    const int step = run.control->step;
    const double alpha = ldexp(probe.reduced, probe.e), root = sqrt(probe.square), beta = ldexp(root, probe.e);
    const double size = larger(probe.size, fabs(alpha) + beta);
    const bool breakdown = beta <= kBreakdown * run.epsilon * size * sqrt(static_cast<double>(step) + 1.0);
    const double scale = breakdown || probe.breakdown ? 0.0 : 1.0 / root;
    T *const q = here.of(run.q, run), *const previous = here.of(run.previous, run);
    T* const kept = run.Q ? here.of(run.Q, run) + (step + 1) * run.probes * run.n : nullptr;
    const T* const w = here.of(run.w, run);
    over_rows(here.rows, [&](int i) {
        const T x = static_cast<T>(scale * static_cast<double>(w[i]));
        previous[i] = q[i];
        q[i] = x;
        if (kept) kept[i] = x;
    });
    if (!last_block(probe)) return;
    if (threadIdx.x == 0) {
        if (!probe.breakdown) {
            run.alpha[here.probe * run.capacity + step] = alpha;
            run.beta[here.probe * run.capacity + step] = beta;
            probe.steps = step + 1;
            probe.breakdown = breakdown;
        }
        probe.omega_size = probe.next_omega_size;
        probe.omega_again = probe.next_omega_again;
        probe.size = size;
        probe.e = exponent(size);
        probe.c_product = ldexp(1.0, -probe.e);
        probe.c_previous = probe.breakdown ? 0.0 : -ldexp(beta, -probe.e);
    }
    if (!last_ticket(&run.control->ticket, gridDim.y)) return;
    if (threadIdx.x == 0) run.control->step = step + 1;
}

// After an error: tickets of blocks that saw it on their way are taken back.
template <class T>
__global__ void clear_kernel(const LanczosRun<T> run) {
    for (std::int64_t i = threadIdx.x; i < run.probes; i += blockDim.x) run.probe[i].bad = 0, run.probe[i].ticket = 0;
    if (threadIdx.x == 0) run.control->halted = 0, run.control->ticket = 0;
}

template <class T>
Launch over_blocks(const LanczosRun<T>& run, cudaStream_t stream) {
    Launch grid;
    grid.blocks = static_cast<unsigned>(lanczos_blocks(run.n));
    grid.blocks_y = static_cast<unsigned>(run.probes);
    grid.threads = kSumThreads;
    grid.stream = stream;
    return grid;
}

}  // namespace

template <class T>
cudaError_t lanczos_draw(const LanczosRun<T>& run, StartLaw law, std::uint64_t seed, std::uint64_t first, cudaStream_t stream) noexcept {
    return launch(over_blocks(run, stream), draw_kernel<T>, run, philox_key(seed), law, first);
}

template <class T>
cudaError_t lanczos_start(const LanczosRun<T>& run, bool drawn, cudaStream_t stream) noexcept {
    const Launch grid = over_blocks(run, stream);
    cudaError_t status = launch(grid, largest_kernel<T>, run, true);
    if (status == cudaSuccess) status = launch(grid, start_norm_kernel<T>, run, drawn);
    if (status == cudaSuccess) status = launch(grid, start_scale_kernel<T>, run);
    return status;
}

template <class T>
cudaError_t lanczos_step(const LanczosRun<T>& run, bool first, cudaStream_t stream) noexcept {
    const Launch grid = over_blocks(run, stream);
    cudaError_t status = cudaSuccess;
    const auto enqueue = [&](auto kernel, auto... arguments) {
        if (status == cudaSuccess) status = launch(grid, kernel, run, arguments...);
    };
    if (first) enqueue(largest_kernel<T>, false);
    enqueue(recur_kernel<T>);
    if (run.reorth == Reorth::full) enqueue(dots_kernel<T>, true);
    else enqueue(update_kernel<T>);
    if (run.reorth != Reorth::none) {
        if (run.reorth == Reorth::partial) enqueue(dots_kernel<T>, false);
        enqueue(project_kernel<T>);
        enqueue(dots_kernel<T>, false);  // the second pass: empty launches unless the first left w short
        enqueue(project_kernel<T>);
    }
    enqueue(scale_kernel<T>);
    return status;
}

template <class T>
cudaError_t lanczos_clear(const LanczosRun<T>& run, cudaStream_t stream) noexcept {
    Launch grid = over_blocks(run, stream);
    grid.blocks = grid.blocks_y = 1;
    return launch(grid, clear_kernel<T>, run);
}

template cudaError_t lanczos_draw(const LanczosRun<float>&, StartLaw, std::uint64_t, std::uint64_t, cudaStream_t) noexcept;
template cudaError_t lanczos_draw(const LanczosRun<double>&, StartLaw, std::uint64_t, std::uint64_t, cudaStream_t) noexcept;
template cudaError_t lanczos_start(const LanczosRun<float>&, bool, cudaStream_t) noexcept;
template cudaError_t lanczos_start(const LanczosRun<double>&, bool, cudaStream_t) noexcept;
template cudaError_t lanczos_step(const LanczosRun<float>&, bool, cudaStream_t) noexcept;
template cudaError_t lanczos_step(const LanczosRun<double>&, bool, cudaStream_t) noexcept;
template cudaError_t lanczos_clear(const LanczosRun<float>&, cudaStream_t) noexcept;
template cudaError_t lanczos_clear(const LanczosRun<double>&, cudaStream_t) noexcept;

}  // namespace nnqft::cuda
