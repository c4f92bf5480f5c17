#include "all_multisets_kernels.hpp"

#include "../core/vec_double.hpp"

namespace nnqft {
namespace {

using Long = std::int64_t;

constexpr int W = VD::width;
constexpr int kUnrolled = 8;  // more streams than this are read from memory again and again

// Numbers of pairs and triples behind a value: N(z, 2) and N(z, 3).
NNQFT_HD Long pairs(Long z) { return z * (z + 1) / 2; }
NNQFT_HD Long triples(Long z) { return z * (z + 1) * (z + 2) / 6; }

// One block (t, z), columns m - (v+1) W .. m - v W - 1: the rows v W <= y <= x <= z. v = 0 goes last: other rows spill over it.
template <int R>
NNQFT_HD void columns(const double* const (&lower)[R], const VD (&row)[R], const double* tail, PaddedKernel kernel, Long z, double* out, Long v) {
    const Long first = v * W;
    const double* const K = kernel.K + kernel.stride - W - first;
    const auto entries = [&](VD K_x, VD tail_x, Long y, Long pair) __attribute__((always_inline)) {
        VD sum = VD(lower[0][-1 - pair]) * row[0];
#pragma GCC unroll 8
        for (int r = 1; r < R; ++r) sum = madd(VD(lower[r][-1 - pair]), row[r], sum);
        sum = madd(VD(tail[-1 - y]), K_x, sum);
        return madd(tail_x, VD::load(K - y * kernel.stride), sum);
    };
    out -= W + first;
    Long x = first;
    if (v == 0) {  // written out, the short rows take 3/4 of the time: benches/bench_wick_all.py, order 6, m = 10
#pragma GCC unroll 8
        for (int near = 0; near < W; ++near) {
            if (near > z) return;
            const VD K_x = VD::load(K - near * kernel.stride), tail_x(tail[-1 - near]);
#pragma GCC unroll 8
            for (int y = 0; y <= near; ++y) entries(K_x, tail_x, y, pairs(near) + y).store(out - triples(near) - pairs(y));
        }
        x = W;
    }
    for (; x <= z; ++x) {
        const VD K_x = VD::load(K - x * kernel.stride), tail_x(tail[-1 - x]);
        double* to = out - triples(x) - pairs(first);
        Long pair = pairs(x) + first;
        for (Long y = first; y <= x; ++y, ++pair) {
            entries(K_x, tail_x, y, pair).store(to);
            to -= y + 1;
        }
    }
}

// The same sums in the same order for any number of streams and x >= from, never touching what lies below `floor`.
void columns_above(const double* floor, int n_streams, const MultisetStream* streams, const double* tail, PaddedKernel kernel, Long from,
                   Long z, double* out, Long v) {
    const Long first = v * W, shift = kernel.stride - W - first;
    const double* const K = kernel.K + shift;
    for (Long x = from > first ? from : first; x <= z; ++x) {
        const VD K_x = VD::load(K - x * kernel.stride), tail_x(tail[-1 - x]);
        for (Long y = first; y <= x; ++y) {
            const Long pair = pairs(x) + y;
            VD sum = VD(streams[0].lower[-1 - pair]) * VD::load(streams[0].row + shift);
            for (int r = 1; r < n_streams; ++r) sum = madd(VD(streams[r].lower[-1 - pair]), VD::load(streams[r].row + shift), sum);
            sum = madd(VD(tail[-1 - y]), K_x, sum);
            sum = madd(tail_x, VD::load(K - y * kernel.stride), sum);
            double* const to = out - triples(x) - pairs(y) - first - W;
            if (to >= floor) {
                sum.store(to);
            } else {
                double lanes[W];
                sum.store(lanes);
                for (int lane = 0; lane < W; ++lane) {
                    if (to + lane >= floor) to[lane] = lanes[lane];
                }
            }
        }
    }
}

// The blocks of z one after the other, with nothing left out; `streams` has room for that of z.
void fill_above(const MultisetSweep& sweep, MultisetStream* streams, Long first, Long last) {
    const int own = sweep.n_streams;
    for (Long z = first; z <= last; ++z) {
        for (int s = 0; s < own; ++s) streams[s] = {sweep.streams[s].lower - triples(z), sweep.streams[s].row};
        streams[own] = {sweep.tail, sweep.kernel.K - z * sweep.kernel.stride};
        double* const out = sweep.out - triples(z) * (z + 3) / 4;
        for (Long v = z / W; v >= 0; --v) {
            columns_above(sweep.floor, own + 1, streams, sweep.tail - pairs(z), sweep.kernel, 0, z, out, v);
        }
    }
}

template <int R>  // streams with that of z
void fill(const MultisetSweep& sweep) {
    const PaddedKernel kernel = sweep.kernel;
    const Long at_end = kernel.stride - W;
    Long z = sweep.first, n_triples = triples(z);
    const double* lower[R];
    const double* row[R];
    VD last_row[R];
#pragma GCC unroll 8
    for (int r = 0; r + 1 < R; ++r) {
        lower[r] = sweep.streams[r].lower - n_triples;
        row[r] = sweep.streams[r].row;
        last_row[r] = VD::load(row[r] + at_end);
    }
    lower[R - 1] = sweep.tail;
    const double* tail = sweep.tail - pairs(z);
    double* out = sweep.out - n_triples * (z + 3) / 4;
    for (; z <= sweep.last; ++z) {
        n_triples = triples(z + 1);
        if (out - n_triples - W < sweep.floor) break;
        row[R - 1] = kernel.K - z * kernel.stride;
        last_row[R - 1] = VD::load(row[R - 1] + at_end);
        for (Long v = z / W; v > 0; --v) {
            VD row_v[R];
            for (int r = 0; r < R; ++r) row_v[r] = VD::load(row[r] + at_end - v * W);
            columns<R>(lower, row_v, tail, kernel, z, out, v);
        }
        columns<R>(lower, last_row, tail, kernel, z, out, 0);
#pragma GCC unroll 8
        for (int r = 0; r + 1 < R; ++r) lower[r] -= pairs(z + 1);
        tail -= z + 1;
        out -= n_triples;
    }
    if (z <= sweep.last) {
        MultisetStream streams[R];
        fill_above(sweep, streams, z, sweep.last);
    }
}

template <>
void fill<0>(const MultisetSweep& sweep) {  // any number of streams
    MultisetStream streams[kMaxStreams];
    fill_above(sweep, streams, sweep.first, sweep.last);
}

constexpr void (*kFill[])(const MultisetSweep&) = {fill<0>, fill<1>, fill<2>, fill<3>, fill<4>, fill<5>, fill<6>, fill<7>, fill<8>};
static_assert(sizeof kFill / sizeof *kFill == kUnrolled + 1 && W <= kMultisetLanes);

}  // namespace

namespace NNQFT_UNIT {

void fill_multisets(const MultisetSweep& sweep) {
    const int streams = sweep.n_streams + 1;
    kFill[streams > kUnrolled ? 0 : streams](sweep);
}

void fill_triples(const TripleSweep& sweep) {
    const MultisetStream mean{sweep.G2, sweep.mu};
    for (Long v = sweep.last / W; v >= 0; --v) {
        columns_above(sweep.floor, 1, &mean, sweep.mu + sweep.kernel.stride, sweep.kernel, sweep.first, sweep.last, sweep.out, v);
    }
}

}  // namespace NNQFT_UNIT
}  // namespace nnqft
