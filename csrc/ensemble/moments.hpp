// Sums over nets of products of fields: the moment program of spec.hpp, run on one sub-block.
//
// Order of summation (the same on every machine): lane l of 16 takes nets l, l + 16, l + 32, ... in order,
// in the kernel's real type; then the 16 lanes are summed in float64 by halves.
#pragma once

#include "ensemble/spec.hpp"

namespace nnqft {
namespace {

// K products slot[a] * slot[b + k] at once: K independent chains hide the latency of the additions.
template <int K, bool kProduct, bool kStore, class F>
NNQFT_HD void moment_chains(const typename Types<F>::Real* a, const typename Types<F>::Real* b, typename Types<F>::Real* out,
                            int tiles, double* sums) {
    using Real = typename Types<F>::Real;
    const int width = tiles * kTile;
    F s[K];
    for (int k = 0; k < K; ++k) s[k] = F(Real(0));
    for (int t = 0; t < tiles; ++t) {
        const F x = kProduct ? F::load(a + t * kTile) : F(Real(1));
        for (int k = 0; k < K; ++k) {
            const F y = F::load(b + k * width + t * kTile);
            if (kStore) {
                const F p = x * y;
                p.store(out + k * width + t * kTile);
                s[k] = s[k] + p;
            } else {
                s[k] = kProduct ? madd(x, y, s[k]) : s[k] + y;
            }
        }
    }
    if (sums != nullptr)
        for (int k = 0; k < K; ++k) sums[k] += sum_lanes(s[k]);
}

template <bool kProduct, bool kStore, class F>
static void moment_step(const MomentStep& step, typename Types<F>::Real* slots, int tiles, double* sums) {
    using Real = typename Types<F>::Real;
    const ptrdiff_t width = tiles * kTile;
    const Real* a = kProduct ? slots + step.a * width : nullptr;
    const Real* b = slots + step.b * width;
    Real* out = kStore ? slots + step.store * width : nullptr;
    double* total = step.sum >= 0 ? sums + step.sum : nullptr;
    constexpr int K = 8;
    int k = 0;
    for (; k + K <= step.count; k += K)
        moment_chains<K, kProduct, kStore, F>(a, b + k * width, kStore ? out + k * width : nullptr, tiles, total ? total + k : nullptr);
    for (; k < step.count; ++k)
        moment_chains<1, kProduct, kStore, F>(a, b + k * width, kStore ? out + k * width : nullptr, tiles, total ? total + k : nullptr);
}

// Adds the sums over tiles * 16 nets to `sums`. slots: (n_slots, tiles * 16), the fields first.
template <class F>
static void moment_sums(const MomentProgram& program, typename Types<F>::Real* slots, int tiles, double* sums) {
    for (int64_t i = 0; i < program.n_steps; ++i) {
        const MomentStep& step = program.steps[i];
        if (step.a < 0)
            moment_step<false, false, F>(step, slots, tiles, sums);
        else if (step.store >= 0)
            moment_step<true, true, F>(step, slots, tiles, sums);
        else
            moment_step<true, false, F>(step, slots, tiles, sums);
    }
}

}  // namespace
}  // namespace nnqft
