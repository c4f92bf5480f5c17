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

template <int R, int K, class F>
NNQFT_HD void add_lane_sums(const F (&s)[R][K], double* const (&out)[R]) {
    for (int r = 0; r < R; ++r)
        for (int k = 0; k < K; ++k) out[r][k] += sum_lanes(s[r][k]);
}

// Four steps whose tails end at one slot: below `common` each for itself, from there together, so that every slot of the
// tail is read from the second-level cache once and not four times (528 pairs of fields: 540 KiB). The chains are the same.
template <int R, int K, class F>
NNQFT_HD void moment_tile(const MomentStep* steps, const typename Types<F>::Real* slots, ptrdiff_t slot, int tiles, double* sums) {
    using Real = typename Types<F>::Real;
    const ptrdiff_t width = tiles * kTile;
    F s[R][K];
    for (int r = 0; r < R; ++r)
        for (int k = 0; k < K; ++k) s[r][k] = F(Real(0));
    for (int t = 0; t < tiles; ++t) {
        F y[K];
        for (int k = 0; k < K; ++k) y[k] = F::load(slots + (slot + k) * width + t * kTile);
        for (int r = 0; r < R; ++r) {
            const F x = F::load(slots + steps[r].a * width + t * kTile);
            for (int k = 0; k < K; ++k) s[r][k] = madd(x, y[k], s[r][k]);
        }
    }
    double* out[R];
    for (int r = 0; r < R; ++r) out[r] = sums + steps[r].sum + (slot - steps[r].b);
    add_lane_sums(s, out);
}

template <class F>
static void moment_steps_together(const MomentStep* steps, typename Types<F>::Real* slots, int tiles, double* sums) {
    constexpr int R = 4, K = 2;
    const ptrdiff_t end = steps[0].b + steps[0].count;
    ptrdiff_t common = 0;
    for (int r = 0; r < R; ++r) common = steps[r].b > common ? steps[r].b : common;
    for (int r = 0; r < R; ++r) {
        MomentStep head = steps[r];
        head.count = static_cast<int32_t>(common - head.b);
        moment_step<true, false, F>(head, slots, tiles, sums);
    }
    for (; common + K <= end; common += K) moment_tile<R, K, F>(steps, slots, common, tiles, sums);
    for (; common < end; ++common) moment_tile<R, 1, F>(steps, slots, common, tiles, sums);
}

// May four steps from here go together? Sums of plain products, long tails with one end.
static inline bool share_a_tail(const MomentStep* steps, int64_t left) {
    if (left < 4 || steps[0].count < 32) return false;
    for (int r = 0; r < 4; ++r)
        if (steps[r].a < 0 || steps[r].store >= 0 || steps[r].sum < 0 || steps[r].b + steps[r].count != steps[0].b + steps[0].count) return false;
    return true;
}

// Adds the sums over tiles * 16 nets to `sums`. slots: (n_slots, tiles * 16), the fields first.
template <class F>
static void moment_sums(const MomentProgram& program, typename Types<F>::Real* slots, int tiles, double* sums) {
    for (int64_t i = 0; i < program.n_steps; ++i) {
        const MomentStep& step = program.steps[i];
        if (share_a_tail(&step, program.n_steps - i)) {
            moment_steps_together<F>(&step, slots, tiles, sums);
            i += 3;
        } else if (step.a < 0) {
            moment_step<false, false, F>(step, slots, tiles, sums);
        } else if (step.store >= 0) {
            moment_step<true, true, F>(step, slots, tiles, sums);
        } else {
            moment_step<true, false, F>(step, slots, tiles, sums);
        }
    }
}

}  // namespace
}  // namespace nnqft
