// Lanczos tridiagonalisation on a device: the steps of csrc/lanczos/lanczos.hpp for probes that march in lockstep.
//
//   w = A q_j - beta_{j-1} q_{j-1};   alpha_j = q_j . w;   w -= alpha_j q_j;   [w made orthogonal to q_0 ... q_j];
//   beta_j = |w|;   q_{j+1} = w / beta_j.
//
// alpha, beta and every decision (second passes, breakdowns, Simon's recurrence) stay on the device: no launch depends on
// a number that the host would have to wait for, and the launches of all steps after the first are the same. Sums run over
// blocks of kRows elements and then over blocks, both in one order: the same bits on every device, for any number of probes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace nnqft::cuda {

enum class Reorth { none, full, partial };
enum class StartLaw { rademacher, gaussian, sphere };

constexpr int kRows = 2048;  // elements of one block of a sum

// One probe, in device memory. Vectors carry a factor 2^-e with |A| < 2^e about, so that squares neither overflow nor vanish.
struct Probe {
    double c_product, c_previous;  // w = c_product A q_j + c_previous q_{j-1}
    double reduced;                // 2^-e alpha_j
    double square;                 // 2^-2e |w|^2
    double size;                   // max |alpha| + beta
    double omega_size;             // the same for Simon's recurrence
    double next_omega_size;        // with the step under way
    double norm2;                  // of the start vector
    double mantissa;               // the start vector is 2^-e v / mantissa
    std::int32_t e;
    std::int32_t chosen;       // w takes part in this pass of Gram-Schmidt
    std::int32_t omega_again;  // and in that of the next step
    std::int32_t steps;
    std::int32_t breakdown;
    std::int32_t bad;          // 1: a NaN or an infinity came from the operator at this step; start vectors: 1 zero, 2 not finite
    std::uint32_t ticket;      // blocks of a launch that have finished
    std::int32_t next_omega_again;
};

struct Control {
    std::int32_t step;    // finished
    std::int32_t halted;  // a probe is bad: nothing changes until the host clears this
    std::uint32_t ticket;
    std::int32_t unused;
};

// A run's memory on the device; vectors are (probes, n), one after the other.
template <class T>  // float or double
struct LanczosRun {
    std::int64_t n = 0, probes = 0, capacity = 0;  // steps that alpha, beta, Q and omega have room for
    Reorth reorth = Reorth::full;
    double epsilon = 0.0;                   // unit roundoff of the operator's products
    T *q = nullptr, *previous = nullptr;    // q_j and q_{j-1}
    T* w = nullptr;                         // A q_j, from the operator; then w
    T* Q = nullptr;                         // (capacity + 1, probes, n), or null where nothing needs the basis
    double *alpha = nullptr, *beta = nullptr;  // (probes, capacity)
    double* omega = nullptr;                // (probes, 3, capacity + 2) for Reorth::partial, else null
    Probe* probe = nullptr;                 // (probes)
    Control* control = nullptr;
    double* workspace = nullptr;            // lanczos_workspace_size() doubles
};

constexpr std::int64_t lanczos_blocks(std::int64_t n) { return (n + kRows - 1) / kRows; }
constexpr std::int64_t lanczos_workspace_size(std::int64_t n, std::int64_t probes, std::int64_t capacity, Reorth reorth) {
    const std::int64_t vectors = reorth == Reorth::none ? 1 : capacity + 1;
    return probes * (lanczos_blocks(n) * vectors + vectors);
}
// Whether the launches of a run fit the limits of a grid.
constexpr bool lanczos_fits(std::int64_t n, std::int64_t probes) { return n >= 1 && lanczos_blocks(n) <= 0x7fffffff && probes >= 1 && probes <= 65535; }

// All functions enqueue launches on `stream` and return the first launch's error.

// q = v: the start vector of probe first + c under `seed`, element i a function of (seed, probe, i) alone; sets norm2.
template <class T>
cudaError_t lanczos_draw(const LanczosRun<T>& run, StartLaw law, std::uint64_t seed, std::uint64_t first, cudaStream_t stream) noexcept;
// From the vectors in q: q = v / |v|; Probe::bad tells those that are zero or not finite. `drawn`: norm2 stands already.
template <class T>
cudaError_t lanczos_start(const LanczosRun<T>& run, bool drawn, cudaStream_t stream) noexcept;
// One step, after w = A q. `first`: the run is at step 0.
template <class T>
cudaError_t lanczos_step(const LanczosRun<T>& run, bool first, cudaStream_t stream) noexcept;
// After a halt: the run may go on, from the step that failed.
template <class T>
cudaError_t lanczos_clear(const LanczosRun<T>& run, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
