#include "all_multisets_vjp_kernels.hpp"

#include "../core/vec_double.hpp"

namespace nnqft {
namespace {

using Long = std::int64_t;

constexpr int W = VD::width;
constexpr int kGroup = 4;  // sources or terms at a time: as many independent sums hide the latency of a multiply-add

NNQFT_HD Long pairs(Long z) { return z * (z + 1) / 2; }
NNQFT_HD Long triples(Long z) { return z * (z + 1) * (z + 2) / 6; }

template <int S>
NNQFT_HD void dots(const double* a, Long count, const DotTerm* terms) {
    constexpr int kSlices = kParts / W;
    VD sum[S][kSlices];
    for (int s = 0; s < S; ++s) {
        for (int k = 0; k < kSlices; ++k) sum[s][k] = VD(0.0);
    }
    Long i = -kParts;
    for (; i >= -count; i -= kParts) {
        for (int k = 0; k < kSlices; ++k) {
            const VD at = VD::load(a + i + k * W);
            for (int s = 0; s < S; ++s) sum[s][k] = madd(at, VD::load(terms[s].b + i + k * W), sum[s][k]);
        }
    }
    const int left = static_cast<int>(count + kParts + i);  // of the slices that begin at i, the last `left` numbers
    for (int k = 0; k < kSlices; ++k) {
        const int lanes = left - (kSlices - 1 - k) * W < W ? left - (kSlices - 1 - k) * W : W;
        if (lanes <= 0) continue;
        const VD at = VD::load_last(a + i + k * W, lanes);
        for (int s = 0; s < S; ++s) sum[s][k] = madd(at, VD::load_last(terms[s].b + i + k * W, lanes), sum[s][k]);
    }
    for (int s = 0; s < S; ++s) {
        for (int k = 0; k < kSlices; ++k) {
            double* const part = terms[s].parts + k * W;
            madd(VD(terms[s].weight), sum[s][k], VD::load(part)).store(part);
        }
    }
}

// S sources at once; with Last, the pairs among x, y and b as well.
template <int S, bool Last>
NNQFT_HD void pull(const Pullback& block, const PullbackSource* sources) {
    constexpr int kArray = S > 0 ? S : 1;
    const Long z = block.last, m = block.sums.m, stride = block.sums.stride;
    const double* lower[kArray];
    double weights[kArray];
    for (int s = 0; s < S; ++s) {
        lower[s] = sources[s].lower;
        weights[s] = sources[s].weight;
    }
    if constexpr (S > 0) {
        for (Long x = block.first; x <= z; ++x) {  // rows (x, 0), (x, 1) .. of G_bar and the triangle y, b <= x of `lower` lie alike
            DotTerm terms[S];
            for (int s = 0; s < S; ++s) terms[s] = {lower[s], weights[s], sources[s].parts + x * kParts};
            dots<S>(block.G_bar - triples(x), pairs(x + 1), terms);
        }
    }
    for (Long first = z / W * W; first >= 0; first -= W) {
        const Long column = stride - W - first, part = column % kParts;
        const double* rows[kArray];  // of `lower`, these columns
        VD by_last[kArray];
        for (int s = 0; s < S; ++s) {
            rows[s] = lower[s] - first - W;
            by_last[s] = VD(0.0);
        }
        for (Long y = first; y <= z; ++y) {
            // Columns before that of y belong to other rows: read as zero in G_bar, they contribute nothing.
            const int lanes = y - first + 1 < W ? static_cast<int>(y - first + 1) : W;
            const Long from = y > block.first ? y : block.first;
            const double* G_bar = block.G_bar - triples(from) - pairs(y) - first - W;
            Long row = -pairs(from);                     // where row x of `lower` ends
            const Long entry_y = first + W - 1 - y;      // and its entry (x, y) lies, from `rows`
            VD by_middle[kArray];
            for (int s = 0; s < S; ++s) by_middle[s] = VD(0.0);
            [[maybe_unused]] VD middle_last(0.0), tail_b(0.0), tail_y(0.0);
            [[maybe_unused]] double* x_y = block.sums.parts + (from * m + y) * kParts + part;
            [[maybe_unused]] double* x_b = block.sums.rows + from * stride + column;
            if constexpr (Last) {
                tail_b = VD::load_last(block.tail - first - W, lanes);
                tail_y = VD(block.tail[-1 - y]);
            }
            for (Long x = from; x <= z; ++x) {
                const VD g = VD::load_last(G_bar, lanes);
                for (int s = 0; s < S; ++s) {
                    by_middle[s] = madd(g, VD::load(rows[s] + row), by_middle[s]);
                    by_last[s] = madd(VD(rows[s][row + entry_y]), g, by_last[s]);
                }
                if constexpr (Last) {
                    madd(g, tail_b, VD::load(x_y)).store(x_y);
                    madd(tail_y, g, VD::load(x_b)).store(x_b);
                    middle_last = madd(VD(block.tail[-1 - x]), g, middle_last);
                    x_y += m * kParts;
                    x_b += stride;
                }
                row -= x + 1;
                G_bar += row;  // triples(x+1) - triples(x) = pairs(x+1)
            }
            for (int s = 0; s < S; ++s) {
                double* const q_y = sources[s].parts + y * kParts + part;
                madd(VD(weights[s]), by_middle[s], VD::load(q_y)).store(q_y);
            }
            if constexpr (Last) {
                double* const y_b = block.sums.rows + y * stride + column;
                (VD::load(y_b) + middle_last).store(y_b);
            }
        }
        for (int s = 0; s < S; ++s) {
            double* const q_b = sources[s].row + column;
            madd(VD(weights[s]), by_last[s], VD::load(q_b)).store(q_b);
        }
    }
}

}  // namespace

namespace NNQFT_UNIT {

void pull_back(const Pullback& block) {
    const PullbackSource* sources = block.sources;
    int left = block.n_sources;
    for (; left > kGroup; left -= kGroup, sources += kGroup) pull<kGroup, false>(block, sources);
    switch (left) {
        case 1: return pull<1, true>(block, sources);
        case 2: return pull<2, true>(block, sources);
        case 3: return pull<3, true>(block, sources);
        case 4: return pull<4, true>(block, sources);
    }
}

void add_dots(const WeightedDots& all) {
    const DotTerm* terms = all.terms;
    int left = all.n_terms;
    for (; left >= kGroup; left -= kGroup, terms += kGroup) dots<kGroup>(all.a, all.count, terms);
    switch (left) {
        case 1: return dots<1>(all.a, all.count, terms);
        case 2: return dots<2>(all.a, all.count, terms);
        case 3: return dots<3>(all.a, all.count, terms);
    }
}

}  // namespace NNQFT_UNIT
}  // namespace nnqft
