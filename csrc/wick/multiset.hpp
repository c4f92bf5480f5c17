// Sorted multi-indices i1 <= i2 <= ... <= in over m values, the coordinates of packed symmetric tensors.
//
// There are N(m, n) = C(m+n-1, n) of them. In lexicographic order (itertools.combinations_with_replacement)
//     rank(i1..in) = N(m, n) - 1 - sum_k N(m-1-i_k, n-k+1),   k = 1..n:
// the sum counts the multi-indices that follow, grouped by the place k at which they first exceed (i1..in).
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "../core/error.hpp"

namespace nnqft {

using Index = std::int32_t;

constexpr std::int64_t kMaxValues = std::int64_t{1} << 20;  // bounds the rank table, order * m words
constexpr int kMaxLegs = 64;

// N(m, n) = C(m+n-1, n), the number of multisets of n values out of m.
inline std::int64_t multiset_count(std::int64_t m, std::int64_t n) {
    if (m < 0 || n < 0) {
        throw ArgumentError("multiset_count(m=" + std::to_string(m) + ", order=" + std::to_string(n) +
                            "): both must be non-negative");
    }
    if (n == 0) return 1;
    if (m == 0) return 0;
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    const auto overflow = [&]() -> ArgumentError {
        return ArgumentError("C(m+n-1, n) with m=" + std::to_string(m) + ", n=" + std::to_string(n) +
                             " exceeds the 64-bit range: list the multi-indices that are wanted instead");
    };
    const std::int64_t steps = std::min(n, m - 1);  // C(a, n) = C(a, m-1): take the shorter product
    const std::int64_t base = std::max(n, m - 1);
    if (base > kMax - steps) throw overflow();
    std::int64_t count = 1;
    for (std::int64_t k = 1; k <= steps; ++k) {  // count <- count (base + k) / k, an integer at every step
        const std::int64_t common = std::gcd(count, k);
        const std::int64_t factor = (base + k) / (k / common);
        count /= common;
        if (count > kMax / factor) throw overflow();
        count *= factor;
    }
    return count;
}

// Advances a sorted multi-index to its successor; false (and unchanged) at the last one.
inline bool next_multiset(Index* row, int order, Index m) noexcept {
    int k = order - 1;
    while (k >= 0 && row[k] == m - 1) --k;
    if (k < 0) return false;
    std::fill(row + k, row + order, row[k] + 1);
    return true;
}

// The multi-indices on which one packed tensor is stored: all of them (dense) or a listed subset. Either way an
// entry is found through its rank: dense storage puts it at that place, a list keeps its ranks sorted.
class IndexSet {
public:
    static IndexSet dense(std::int64_t m, int order) { return IndexSet(m, order); }

    // `rows` holds count x order values: every row sorted, rows strictly increasing.
    static IndexSet listed(std::int64_t m, int order, const Index* rows, std::int64_t count) {
        IndexSet set(m, order);
        set.is_dense_ = false;
        set.ranks_.reserve(static_cast<std::size_t>(count));
        for (std::int64_t e = 0; e < count; ++e) {
            set.check_row(rows + e * order, e);
            const std::int64_t rank = set.rank(rows + e * order);
            if (e > 0 && rank <= set.ranks_.back()) {
                throw ArgumentError("multi-index " + std::to_string(e) + " of the list, " +
                                    text(rows + e * order, order) +
                                    ", does not follow its predecessor: sort the list and drop duplicates");
            }
            set.ranks_.push_back(rank);
        }
        return set;
    }

    // Ranks in any order, duplicates allowed, each in [0, N(m, order)).
    static IndexSet from_ranks(std::int64_t m, int order, std::vector<std::int64_t> ranks) {
        IndexSet set(m, order);
        set.is_dense_ = false;
        std::sort(ranks.begin(), ranks.end());
        ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
        if (!ranks.empty() && (ranks.front() < 0 || ranks.back() >= set.total_)) {
            throw ArgumentError("rank " + std::to_string(ranks.front() < 0 ? ranks.front() : ranks.back()) +
                                " is outside 0.." + std::to_string(set.total_ - 1) + " (m=" + std::to_string(m) +
                                ", order=" + std::to_string(order) + ")");
        }
        set.ranks_ = std::move(ranks);
        return set;
    }

    std::int64_t m() const noexcept { return m_; }
    int order() const noexcept { return order_; }
    bool is_dense() const noexcept { return is_dense_; }
    std::int64_t size() const noexcept {
        return is_dense_ ? total_ : static_cast<std::int64_t>(ranks_.size());
    }

    // Place of a sorted row among all N(m, order) multi-indices.
    std::int64_t rank(const Index* row) const noexcept {
        std::int64_t following = 0;
        for (int k = 0; k < order_; ++k) following += after(k, row[k]);
        return total_ - 1 - following;
    }

    // Position of a sorted row in storage, -1 where a listed set lacks it.
    std::int64_t find(const Index* row) const noexcept { return find_rank(rank(row)); }

    std::int64_t find_rank(std::int64_t rank) const noexcept {
        if (is_dense_) return rank;
        const auto it = std::lower_bound(ranks_.begin(), ranks_.end(), rank);
        return it != ranks_.end() && *it == rank ? it - ranks_.begin() : -1;
    }

    // Multi-indices at positions first .. first+count-1, as count x order values.
    void rows(std::int64_t first, std::int64_t count, Index* out) const noexcept {
        for (std::int64_t e = 0; e < count; ++e, out += order_) {
            if (is_dense_ && e > 0) {
                std::copy(out - order_, out, out);
                next_multiset(out, order_, static_cast<Index>(m_));
            } else {
                unrank(is_dense_ ? first + e : ranks_[static_cast<std::size_t>(first + e)], out);
            }
        }
    }

    // Inverse of rank(): greedy, because after(k, i) falls with i.
    void unrank(std::int64_t rank, Index* out) const noexcept {
        std::int64_t following = total_ - 1 - rank;
        for (int k = 0; k < order_; ++k) {
            const auto begin = after_.begin() + k * m_, end = begin + m_;
            const auto it = std::lower_bound(begin, end, following,
                                             [](std::int64_t entry, std::int64_t value) { return entry > value; });
            out[k] = static_cast<Index>(it - begin);
            following -= *it;
        }
    }

    // Throws unless `row` is sorted with values in [0, m); `e` is its number in the caller's list.
    void check_row(const Index* row, std::int64_t e) const {
        for (int k = 0; k < order_; ++k) {
            if (row[k] < 0 || row[k] >= m_) {
                throw ArgumentError("multi-index " + std::to_string(e) + ", " + text(row, order_) +
                                    ", has a value outside 0.." + std::to_string(m_ - 1));
            }
            if (k > 0 && row[k] < row[k - 1]) {
                throw ArgumentError("multi-index " + std::to_string(e) + ", " + text(row, order_) +
                                    ", is not sorted: sort the values within each multi-index");
            }
        }
    }

    static std::string text(const Index* row, int order) {
        std::string s = "(";
        for (int k = 0; k < order; ++k) s += (k ? ", " : "") + std::to_string(row[k]);
        return s + ")";
    }

private:
    IndexSet(std::int64_t m, int order) : m_(m), order_(order) {
        if (m < 1 || m > kMaxValues || order < 1 || order > kMaxLegs) {
            throw ArgumentError("multi-indices take 1.." + std::to_string(kMaxLegs) + " legs over 1.." +
                                std::to_string(kMaxValues) + " values, got order " + std::to_string(order) +
                                " over m=" + std::to_string(m));
        }
        total_ = multiset_count(m, order);
        after_.resize(static_cast<std::size_t>(m) * static_cast<std::size_t>(order));
        for (int k = 0; k < order; ++k) {
            for (std::int64_t i = 0; i < m; ++i) {
                after_[static_cast<std::size_t>(k * m + i)] = multiset_count(m - 1 - i, order - k);
            }
        }
    }

    std::int64_t after(int k, Index i) const noexcept { return after_[static_cast<std::size_t>(k * m_ + i)]; }

    std::int64_t m_ = 0, total_ = 0;
    int order_ = 0;
    bool is_dense_ = true;
    std::vector<std::int64_t> after_;  // after_[k m + i] = N(m-1-i, order-k)
    std::vector<std::int64_t> ranks_;  // of a listed set, increasing
};

}  // namespace nnqft
