#include "partition_sums.hpp"

#include <array>

#include "partition_tools.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kEntries = 64;  // entries per block: their position tables stay in the L2 cache
constexpr int kMaxOrder = kMaxPartitionOrder;

// Collects ranks; duplicates are dropped as it goes, so that memory follows the number of distinct ones.
class UniqueRanks {
public:
    void add(std::int64_t rank) {
        ranks_.push_back(rank);
        if (ranks_.size() < limit_) return;
        std::sort(ranks_.begin(), ranks_.end());
        ranks_.erase(std::unique(ranks_.begin(), ranks_.end()), ranks_.end());
        limit_ = std::max(limit_, 2 * ranks_.size());
    }
    std::vector<std::int64_t> take() { return std::move(ranks_); }

private:
    std::vector<std::int64_t> ranks_;
    std::size_t limit_ = std::size_t{1} << 20;
};

// ---------------------------------------------------------------- pairings of K

// haf(legs) = sum_j K(first, j) haf(legs without first and j).
template <int N>
double hafnian(const double (&k)[kMaxOrder][kMaxOrder], const int* legs) noexcept {
    if constexpr (N == 2) {
        return k[legs[0]][legs[1]];
    } else {
        int rest[N - 2];
        for (int i = 2; i < N; ++i) rest[i - 2] = legs[i];
        double sum = 0.0;
        for (int j = 1; j < N; ++j) {
            sum += k[legs[0]][legs[j]] * hafnian<N - 2>(k, rest);
            if (j < N - 1) rest[j - 1] = legs[j];  // j returns, j + 1 leaves
        }
        return sum;
    }
}

template <int N>
void pairing_block(const Index* rows, std::int64_t count, std::int64_t m, const double* K, double* out) noexcept {
    static constexpr int kLegs[kMaxOrder] = {0, 1, 2, 3, 4, 5, 6, 7};
    double k[kMaxOrder][kMaxOrder];
    for (std::int64_t e = 0; e < count; ++e, rows += N) {
        for (int a = 0; a < N; ++a) {
            for (int b = a + 1; b < N; ++b) k[a][b] = K[rows[a] * m + rows[b]];
        }
        out[e] = hafnian<N>(k, kLegs);
    }
}

// ---------------------------------------------------------------- pairings of the Gram matrix

// Calls visit(row of sorted pair variables) for every pairing of `fields` that joins equal outputs only.
class GramPairings {
public:
    GramPairings(const IndexSet& fields, int d_out)
        : order_(fields.order()), d_out_(d_out), points_(d_out >= 1 ? fields.m() / d_out : 0) {
        check_even_order(order_, "gram_correlators()");
        if (d_out < 1 || points_ * d_out != fields.m()) {
            throw ArgumentError("the fields are point*d_out + out: " + std::to_string(fields.m()) +
                                " fields are no multiple of d_out=" + std::to_string(d_out));
        }
        n_variables_ = multiset_count(points_, 2);
        pairings_ = pairings(order_);
    }

    std::int64_t n_variables() const noexcept { return n_variables_; }
    std::int64_t n_pairings() const noexcept { return static_cast<std::int64_t>(pairings_.size()) / order_; }

    template <class Visit>
    void visit(const Index* row, Visit&& use) const {
        for (std::size_t at = 0; at < pairings_.size(); at += static_cast<std::size_t>(order_)) {
            Index variables[kMaxOrder / 2];
            bool joined = true;
            for (int p = 0; p < order_ / 2; ++p) {
                const Index a = row[pairings_[at + static_cast<std::size_t>(2 * p)]];
                const Index b = row[pairings_[at + static_cast<std::size_t>(2 * p + 1)]];
                joined = joined && a % d_out_ == b % d_out_;
                variables[p] = variable(a / d_out_, b / d_out_);
            }
            if (!joined) continue;
            for (int p = 1; p < order_ / 2; ++p) {  // insertion sort of at most four
                for (Index* v = variables + p; v > variables && *v < v[-1]; --v) std::swap(*v, v[-1]);
            }
            use(variables);
        }
    }

private:
    // Lexicographic rank of the pair of points a <= b.
    Index variable(std::int64_t a, std::int64_t b) const noexcept {
        return static_cast<Index>(a * points_ - a * (a - 1) / 2 + (b - a));
    }

    int order_, d_out_;
    std::int64_t points_, n_variables_ = 0;
    std::vector<Index> pairings_;
};

}  // namespace

void check_even_order(int order, const char* who) {
    if (order < 2 || order > kMaxOrder || order % 2 != 0) {
        throw ArgumentError(std::string(who) + " knows the orders 2, 4, 6 and 8, got order " + std::to_string(order));
    }
}

std::vector<Index> pairings(int n) {
    if (n < 0 || n > 16 || n % 2 != 0) {
        throw ArgumentError("pairings(n) lists the perfect matchings of an even number of legs, 0 <= n <= 16, got n=" +
                            std::to_string(n));
    }
    std::vector<Index> out, open(static_cast<std::size_t>(n)), prefix;
    std::iota(open.begin(), open.end(), 0);
    const auto extend = [&](const auto& self, const std::vector<Index>& legs) -> void {
        if (legs.empty()) {
            out.insert(out.end(), prefix.begin(), prefix.end());
            return;
        }
        for (std::size_t j = 1; j < legs.size(); ++j) {
            std::vector<Index> rest(legs.begin() + 1, legs.end());
            rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(j) - 1);
            prefix.insert(prefix.end(), {legs[0], legs[j]});
            self(self, rest);
            prefix.resize(prefix.size() - 2);
        }
    };
    extend(extend, open);
    return out;
}

void pairing_sums(const IndexSet& set, std::int64_t batch, Rows<const double> K, Rows<double> out, const Poll& poll) {
    const int order = set.order();
    check_even_order(order, "pairing_sums()");
    Meter meter(poll);
    std::vector<Index> rows(static_cast<std::size_t>(kEntries * order));
    for (std::int64_t first = 0; first < set.size(); first += kEntries) {
        const std::int64_t count = std::min(kEntries, set.size() - first);
        set.rows(first, count, rows.data());
        for (std::int64_t b = 0; b < batch; ++b) {
            double* to = out(b) + first;
            switch (order) {
                case 2: pairing_block<2>(rows.data(), count, set.m(), K(b), to); break;
                case 4: pairing_block<4>(rows.data(), count, set.m(), K(b), to); break;
                case 6: pairing_block<6>(rows.data(), count, set.m(), K(b), to); break;
                default: pairing_block<8>(rows.data(), count, set.m(), K(b), to); break;
            }
            meter.spend(count * order * order * 2);
        }
    }
}

void gram_correlators(const IndexSet& fields, int d_out, const IndexSet& pairs, std::int64_t batch,
                      Rows<const double> moments, Rows<double> out, const Poll& poll) {
    const GramPairings pairing(fields, d_out);
    const int order = fields.order();
    if (pairs.order() != order / 2 || pairs.m() != pairing.n_variables()) {
        throw ArgumentError("gram_correlators() of order " + std::to_string(order) + " needs moments of order " +
                            std::to_string(order / 2) + " over " + std::to_string(pairing.n_variables()) +
                            " pair variables, got order " + std::to_string(pairs.order()) + " over " +
                            std::to_string(pairs.m()));
    }
    Meter meter(poll);
    std::vector<Index> rows(static_cast<std::size_t>(kEntries * order));
    std::vector<std::int64_t> at, end(kEntries);
    for (std::int64_t first = 0; first < fields.size(); first += kEntries) {
        const std::int64_t count = std::min(kEntries, fields.size() - first);
        fields.rows(first, count, rows.data());
        at.clear();
        for (std::int64_t e = 0; e < count; ++e) {
            const Index* row = rows.data() + e * order;
            pairing.visit(row, [&](const Index* variables) {
                at.push_back(pairs.find(variables));
                if (at.back() < 0) throw_missing(pairs, variables, row, order, "gram_closure()");
            });
            end[static_cast<std::size_t>(e)] = static_cast<std::int64_t>(at.size());
        }
        for (std::int64_t b = 0; b < batch; ++b) {
            const double* from = moments(b);
            double* to = out(b) + first;
            std::int64_t t = 0;
            for (std::int64_t e = 0; e < count; ++e) {
                double sum = 0.0;
                for (; t < end[static_cast<std::size_t>(e)]; ++t) sum += from[at[static_cast<std::size_t>(t)]];
                to[e] = sum;
            }
            meter.spend(t + count);
        }
        meter.spend(16 * pairing.n_pairings() * count);
    }
}

std::vector<IndexSet> closure(Blocks blocks, const std::vector<IndexSet>& sets) {
    const int step = static_cast<int>(blocks);
    int max_order = 0;
    for (const IndexSet& set : sets) {
        if (set.order() > kMaxOrder || set.order() % step != 0 || set.m() != sets[0].m()) {
            throw ArgumentError("closure() takes orders that are multiples of " + std::to_string(step) +
                                ", at most 8, over one number of values; got order " + std::to_string(set.order()) +
                                " over " + std::to_string(set.m()) + " values");
        }
        max_order = std::max(max_order, set.order());
    }
    std::vector<IndexSet> closed;
    for (int order = step; order <= max_order; order += step) {
        const IndexSet all = IndexSet::dense(sets[0].m(), order);
        UniqueRanks ranks;
        std::array<Index, kMaxOrder> row{}, sub{};
        for (const IndexSet& set : sets) {
            for (std::int64_t e = 0; e < set.size() && set.order() >= order; ++e) {
                set.rows(e, 1, row.data());
                for (unsigned mask = 0; mask < (1u << set.order()); ++mask) {
                    std::size_t size = 0;
                    for (std::size_t leg = 0; leg < row.size(); ++leg) {
                        if (mask >> leg & 1u) sub[size++] = row[leg];
                    }
                    if (size == static_cast<std::size_t>(order)) ranks.add(all.rank(sub.data()));
                }
            }
        }
        closed.push_back(IndexSet::from_ranks(sets[0].m(), order, ranks.take()));
    }
    return closed;
}

IndexSet gram_closure(const IndexSet& fields, int d_out) {
    const GramPairings pairing(fields, d_out);
    const int order = fields.order();
    const IndexSet all = IndexSet::dense(pairing.n_variables(), order / 2);
    UniqueRanks ranks;
    std::vector<Index> row(static_cast<std::size_t>(order));
    for (std::int64_t e = 0; e < fields.size(); ++e) {
        fields.rows(e, 1, row.data());
        pairing.visit(row.data(), [&](const Index* variables) { ranks.add(all.rank(variables)); });
    }
    return IndexSet::from_ranks(pairing.n_variables(), order / 2, ranks.take());
}

}  // namespace nnqft
