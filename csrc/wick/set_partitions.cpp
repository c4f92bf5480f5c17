// Moments <-> joint cumulants: the recursion over the block that holds the first leg, for tiles of eight tensors at a time.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "partition_kernels.hpp"
#include "partition_sums.hpp"
#include "partition_tools.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kEntries = 32;  // entries per block: the positions of their sub-multi-indices, 32 KiB, stay near
constexpr std::int64_t kThreadedProducts = std::int64_t{1} << 20;  // a millisecond: fewer are not worth a thread
constexpr int kHalf = 1 << (kMaxPartitionOrder / 2);

constexpr int kLegs[kHalf] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};  // of a mask: the portable popcount is a call
constexpr int legs_of(int mask) { return kLegs[mask % kHalf] + kLegs[mask / kHalf]; }

// M(S) = sum over blocks B that hold the first leg of kappa(B) M(S \ B): 3, 15, 63 products for n = 4, 6, 8 with even
// blocks, where the sum over all partitions has 4, 31, 379 terms. It also rounds better: the cumulants of a vector
// with a large mean c come out within 4 ulp of c^4, against 13 from the binomial formula for central moments.
// The blocks are masks of legs; leg 0 is the lowest bit.
std::vector<std::int32_t> splits(int order, int step) {
    std::vector<std::int32_t> masks;
    const std::int32_t full = (1 << order) - 1;
    for (std::int32_t mask = 1; mask < full; mask += 2) {
        if (legs_of(mask) % step == 0) masks.push_back(mask);
    }
    return masks;
}

// Positions of all sub-multi-indices of sorted rows in dense storage, by mask. With N(m, n) = C(m+n-1, n)
//     rank = N(m, n) - 1 - sum_k N(m-1-i_k, n-k+1),    k = 1 .. n over the legs of the mask:
// what a lower leg adds depends on the upper ones by their number only, so sums over the lower half of the legs, which
// rarely changes from row to row, are kept for every such number.
class SubsetRanks {
public:
    // Without `tables` it knows the columns only.
    SubsetRanks(std::int64_t m, int order, bool tables) : m_(m), order_(order), low_(order / 2), high_(order - order / 2) {
        for (int s = 0; s < order && tables; ++s) {
            totals_[s] = narrow(multiset_count(m, s));
            for (std::int64_t i = 0; i < m; ++i) after_.push_back(narrow(multiset_count(m - 1 - i, s)));
        }
    }

    // Positions have a row of kHalf columns for every set of upper legs, so that the loop over lower sets has a fixed length.
    int columns() const noexcept { return kHalf << high_; }
    std::int32_t column(std::int32_t mask) const noexcept { return (mask >> low_) * kHalf + (mask & ((1 << low_) - 1)); }

    // at[column(mask)] for all masks but 0 and the full one.
    void fill(const Index* row, std::int32_t* __restrict at) noexcept {
        bool same = true;
        for (int k = 0; k < low_; ++k) same = same && row[k] == seen_[k];
        if (!same) start(row);
        std::uint32_t following[kHalf];
        following[0] = 0;
        for (unsigned upper = 0; upper < 1u << high_; ++upper) {
            if (upper > 0) following[upper] = following[upper & (upper - 1)] + after(kLegs[upper], row[low_ + __builtin_ctz(upper)]);
            const std::uint32_t *preceding = preceding_[kLegs[upper]], less = following[upper];
            for (unsigned lower = 0; lower < kHalf; ++lower) at[upper * kHalf + lower] = static_cast<std::int32_t>(preceding[lower] - less);
        }
    }

private:
    // Modulo 2^32, which spoils only masks that nobody asks for: check_sizes() has seen the others.
    static std::uint32_t narrow(std::int64_t count) noexcept { return static_cast<std::uint32_t>(count); }
    std::uint32_t after(int legs, Index i) const noexcept { return after_[static_cast<std::size_t>(legs * m_ + i)]; }

    void start(const Index* row) noexcept {
        std::copy(row, row + low_, seen_);
        for (int upper = 0; upper <= high_; ++upper) {
            for (unsigned lower = 0; lower < 1u << low_; ++lower) {
                int legs = upper + kLegs[lower];
                if (legs == order_) continue;
                std::uint32_t rank = totals_[legs] - 1;
                for (unsigned bits = lower; bits; bits &= bits - 1) rank -= after(legs--, row[__builtin_ctz(bits)]);
                preceding_[upper][lower] = rank;
            }
        }
    }

    std::int64_t m_;
    int order_, low_, high_;
    std::uint32_t totals_[kMaxPartitionOrder] = {};  // N(m, s)
    std::vector<std::uint32_t> after_;               // after_[s m + i] = N(m-1-i, s)
    Index seen_[kMaxPartitionOrder / 2] = {-1};      // the lower half that preceding_ is for
    std::uint32_t preceding_[kMaxPartitionOrder / 2 + 1][kHalf] = {};  // rank minus what the upper legs take off, by their number
};

// result(S) = given(S) +- sum over splits of kappa(B) E(S \ B), lowest order first; the result is kappa (-) or E itself (+).
class Recursion {
public:
    Recursion(Blocks blocks, const std::vector<IndexSet>& sets, bool subtract, const Poll& poll)
        : step_(static_cast<int>(blocks)), subtract_(subtract), poll_(poll), meter_(poll) {
        check_sizes(sets);
        dense_ = std::all_of(sets.begin(), sets.end(), [](const IndexSet& set) { return set.is_dense(); });
        switch (resolve_isa("")) {
#if defined(NNQFT_X86)
            case Isa::avx512: kernel_ = avx512::add_partitions; break;
            case Isa::avx2: kernel_ = avx2::add_partitions; break;
#endif
            default: kernel_ = scalar::add_partitions;
        }
        levels_.reserve(sets.size());
        for (const IndexSet& set : sets) add_level(set, levels_.size() + 1 < sets.size());
    }

    // Rows b .. b + lanes - 1 of every order.
    void run(std::int64_t b, int lanes, const std::vector<Rows<const double>>& given, const std::vector<Rows<double>>& result) {
        for (std::size_t k = 0; k < levels_.size(); ++k) {
            Level& level = levels_[k];
            const auto n_blocks = static_cast<std::uint64_t>((level.set->size() + kEntries - 1) / kEntries);
            const auto work = [&](std::uint64_t block, unsigned worker) {
                work_block(level, static_cast<std::int64_t>(block) * kEntries, b, lanes, given[k], result[k], level.scratch[worker]);
            };
            const std::int64_t cost = kEntries * kTile * static_cast<std::int64_t>(level.terms.size() + 1);
            if (level.scratch.size() == 1) {
                for (std::uint64_t block = 0; block < n_blocks; ++block) {
                    work(block, 0);
                    meter_.spend(cost);
                }
                continue;
            }
            const auto poll = [&] {
                if (poll_) poll_();
                return true;
            };
            if (!run_blocks(0, n_blocks, static_cast<unsigned>(level.scratch.size()),
                            [&](std::uint64_t block, unsigned worker, const StopFlag&) { work(block, worker); }, poll)) {
                throw StateError("the sum over set partitions was stopped: the process is ending");
            }
            meter_.spend(cost * static_cast<std::int64_t>(n_blocks));  // run_blocks() polls every 50 ms, and many a run is shorter
        }
    }

private:
    struct Scratch {  // of one worker
        SubsetRanks ranks;
        std::vector<Index> rows;
        std::vector<std::int32_t> at;
        std::vector<double> sum;
    };
    struct Level {  // one order
        const IndexSet* set;
        std::vector<double> given, result;  // tiles; empty at the highest order, to which nothing refers
        std::vector<std::int32_t> masks;
        std::vector<PartitionTerm> terms;
        std::vector<Scratch> scratch;
    };

    void check_sizes(const std::vector<IndexSet>& sets) const {
        for (std::size_t k = 0; k < sets.size(); ++k) {
            const int expected = static_cast<int>(k + 1) * step_;
            if (sets[k].order() != expected || expected > kMaxPartitionOrder || sets[k].m() != sets[0].m()) {
                throw ArgumentError("tensor " + std::to_string(k) + " has order " + std::to_string(sets[k].order()) +
                                    " over " + std::to_string(sets[k].m()) + " values; expected order " +
                                    std::to_string(expected) + " (at most 8) over " + std::to_string(sets[0].m()));
            }
            if (k + 1 < sets.size() && sets[k].size() > std::numeric_limits<std::int32_t>::max()) {
                throw ArgumentError("order " + std::to_string(expected) + " over " + std::to_string(sets[0].m()) + " values has " +
                                    std::to_string(sets[k].size()) + " entries, too many for a higher order on top: list those that are wanted");
            }
        }
    }

    Level& level_of(int order) noexcept { return levels_[static_cast<std::size_t>(order / step_ - 1)]; }

    void add_level(const IndexSet& set, bool lower) {
        const auto tile = static_cast<std::size_t>(lower ? set.size() * kTile : 0);
        levels_.push_back({&set, std::vector<double>(tile), std::vector<double>(tile), splits(set.order(), step_), {}, {}});
        Level& level = levels_.back();
        const SubsetRanks ranks(set.m(), set.order(), dense_ && !level.masks.empty());
        for (const std::int32_t mask : level.masks) {
            const std::int32_t others = (1 << set.order()) - 1 - mask;
            Level &block = level_of(legs_of(mask)), &rest = level_of(legs_of(others));
            level.terms.push_back({(subtract_ ? block.result : block.given).data(), (subtract_ ? rest.given : rest.result).data(),
                                   ranks.column(mask), ranks.column(others)});
        }
        const bool threaded = static_cast<double>(set.size()) * static_cast<double>(level.terms.size()) > kThreadedProducts;
        const auto entries = static_cast<std::size_t>(kEntries);
        level.scratch.assign(threaded ? default_threads() : 1,
                             {ranks, std::vector<Index>(entries * static_cast<std::size_t>(set.order())),
                              std::vector<std::int32_t>(entries * static_cast<std::size_t>(ranks.columns())), std::vector<double>(entries * kTile)});
    }

    void work_block(Level& level, std::int64_t first, std::int64_t b, int lanes, const Rows<const double>& given, const Rows<double>& result,
                    Scratch& scratch) {
        const std::int64_t count = std::min(kEntries, level.set->size() - first);
        double* sum = scratch.sum.data();
        for (int lane = 0; lane < lanes; ++lane) {
            const double* from = given(b + lane) + first;
            for (std::int64_t e = 0; e < count; ++e) sum[e * kTile + lane] = from[e];
        }
        if (!level.given.empty()) std::copy(sum, sum + count * kTile, level.given.data() + first * kTile);
        if (!level.terms.empty()) {
            locate(level, first, count, scratch);
            const std::int64_t padded = (count + kTileEntries - 1) / kTileEntries * kTileEntries;
            kernel_({level.terms.data(), static_cast<int>(level.terms.size()), subtract_, scratch.at.data(), scratch.ranks.columns(), padded, sum});
        }
        for (int lane = 0; lane < lanes; ++lane) {
            double* to = result(b + lane) + first;
            for (std::int64_t e = 0; e < count; ++e) to[e] = sum[e * kTile + lane];
        }
        if (!level.result.empty()) std::copy(sum, sum + count * kTile, level.result.data() + first * kTile);
    }

    // Positions of the blocks and of the rests. Entries beyond `count`, which only fill up a tile, keep positions that exist.
    void locate(const Level& level, std::int64_t first, std::int64_t count, Scratch& scratch) {
        const int order = level.set->order();
        level.set->rows(first, count, scratch.rows.data());
        for (std::int64_t e = 0; e < count; ++e) {
            const Index* row = scratch.rows.data() + e * order;
            std::int32_t* at = scratch.at.data() + e * scratch.ranks.columns();
            if (dense_) {
                scratch.ranks.fill(row, at);
                continue;
            }
            for (std::size_t t = 0; t < level.terms.size(); ++t) {
                at[level.terms[t].block_at] = find(level.masks[t], row, order);
                at[level.terms[t].rest_at] = find((1 << order) - 1 - level.masks[t], row, order);
            }
        }
    }

    std::int32_t find(std::int32_t mask, const Index* row, int order) {
        Index sub[kMaxPartitionOrder];
        int size = 0;
        for (int leg = 0; leg < order; ++leg) {
            if (mask >> leg & 1) sub[size++] = row[leg];
        }
        const IndexSet& of = *level_of(size).set;
        const std::int64_t at = of.find(sub);
        if (at < 0) throw_missing(of, sub, row, order, "closure()");
        return static_cast<std::int32_t>(at);
    }

    const int step_;
    const bool subtract_;
    const Poll& poll_;
    Meter meter_;
    void (*kernel_)(const PartitionSums&) noexcept = nullptr;
    bool dense_ = true;
    std::vector<Level> levels_;
};

void recurse(Blocks blocks, const std::vector<IndexSet>& sets, std::int64_t batch, const std::vector<Rows<const double>>& given,
             const std::vector<Rows<double>>& result, bool subtract, const Poll& poll) {
    if (given.size() != sets.size() || result.size() != sets.size()) {
        throw ArgumentError("one tensor per order is needed: " + std::to_string(sets.size()) + " index sets, " +
                            std::to_string(given.size()) + " inputs, " + std::to_string(result.size()) + " outputs");
    }
    Recursion recursion(blocks, sets, subtract, poll);
    for (std::int64_t b = 0; b < batch; b += kTile) {
        recursion.run(b, static_cast<int>(std::min<std::int64_t>(kTile, batch - b)), given, result);
    }
}

}  // namespace

void cumulants_from_moments(Blocks blocks, const std::vector<IndexSet>& sets, std::int64_t batch,
                            const std::vector<Rows<const double>>& moments, const std::vector<Rows<double>>& cumulants,
                            const Poll& poll) {
    recurse(blocks, sets, batch, moments, cumulants, true, poll);
}

void moments_from_cumulants(Blocks blocks, const std::vector<IndexSet>& sets, std::int64_t batch,
                            const std::vector<Rows<const double>>& cumulants, const std::vector<Rows<double>>& moments,
                            const Poll& poll) {
    recurse(blocks, sets, batch, cumulants, moments, false, poll);
}

}  // namespace nnqft
