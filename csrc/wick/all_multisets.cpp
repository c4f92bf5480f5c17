#include "all_multisets.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "../core/isa.hpp"
#include "../core/parallel.hpp"
#include "all_multisets_kernels.hpp"
#include "multiset.hpp"

namespace nnqft {
namespace {

using Long = std::int64_t;

constexpr Long kChunk = Long{1} << 17;         // entries between two polls: below 1 ms
constexpr Long kThreadedWork = Long{1} << 23;  // multiply-adds; below a millisecond a thread costs more than it saves

struct Kernels {
    void (*fill_multisets)(const MultisetSweep&);
    void (*fill_triples)(const TripleSweep&);
};

Kernels kernels() {
    switch (resolve_isa("")) {
#if defined(NNQFT_X86)
        case Isa::avx512: return {avx512::fill_multisets, avx512::fill_triples};
        case Isa::avx2: return {avx2::fill_multisets, avx2::fill_triples};
#endif
        default: return {scalar::fill_multisets, scalar::fill_triples};
    }
}

// Rows with zeros in front, so that every row ends where a register ends.
class PaddedRows {
public:
    PaddedRows(Long rows, Long m)
        : m_(m), stride_((m + kMultisetLanes - 1) / kMultisetLanes * kMultisetLanes),
          values_(static_cast<std::size_t>(rows * stride_ + kMultisetLanes), 0.0) {
        void* start = values_.data();  // on a cache line, and so no register is loaded from two
        std::size_t space = values_.size() * sizeof(double);
        first_ = static_cast<double*>(std::align(kMultisetLanes * sizeof(double), sizeof(double), start, space));
    }
    PaddedRows(const PaddedRows&) = delete;
    PaddedRows& operator=(const PaddedRows&) = delete;

    double* row(Long i) noexcept { return first_ + i * stride_; }
    double* values(Long i) noexcept { return row(i) + stride_ - m_; }  // the m entries
    Long stride() const noexcept { return stride_; }

private:
    Long m_, stride_;
    std::vector<double> values_;
    double* first_;
};

// A packed tensor under construction, with room in front for registers that spill over.
class Tensor {
public:
    Tensor() = default;
    explicit Tensor(Long count) : values_(new double[static_cast<std::size_t>(count + kMultisetLanes)]), count_(count) {}
    double* end() noexcept { return values_ ? values_.get() + kMultisetLanes + count_ : nullptr; }
    double* floor() noexcept { return values_.get(); }

private:
    std::unique_ptr<double[]> values_;
    Long count_ = 0;
};

// N(x, k) for x <= m, k <= order.
class Counts {
public:
    Counts(Long m, int order) : width_(m + 1), table_(static_cast<std::size_t>(width_ * (order + 1))) {
        for (Long x = 0; x <= m; ++x) table_[static_cast<std::size_t>(x)] = 1;
        for (int k = 1; k <= order; ++k) {
            for (Long x = 1; x <= m; ++x) at(x, k) = at(x - 1, k) + at(x, k - 1);
        }
    }
    Long operator()(Long x, int k) const noexcept { return table_[static_cast<std::size_t>(k * width_ + x)]; }

    // The largest x with N(x, k) <= distance.
    Long unrank(Long distance, int k) const noexcept {
        const auto begin = table_.begin() + k * width_, end = begin + width_;
        return std::upper_bound(begin, end, distance) - begin - 1;
    }

private:
    Long& at(Long x, int k) noexcept { return table_[static_cast<std::size_t>(k * width_ + x)]; }

    Long width_;
    std::vector<Long> table_;
};

// One of the m values, as distance x from the last, and how often it occurs.
struct Run {
    Long x;
    int count;
};

// The leading legs (t, z) of a tensor of order >= 4. t is a run of legs for each of its values, ascending: x falls.
struct Prefix {
    std::vector<Run> t;
    Long z = 0;
    Long distance = 0;  // of the blocks (t, ..) from the end of the tensor
};

class Recursion {
public:
    Recursion(Long m, int order, const double* K, const double* mu, unsigned threads, const std::function<void()>& poll)
        : m_(m), mean_at_(m * std::max(1, order - 4)), with_mean_(mu != nullptr), counts_(m, order), rows_(mean_at_ + with_mean_, m), kernels_(kernels()), threads_(threads), poll_(poll) {
        for (Long i = 0; i < m; ++i) {
            for (Long j = i; j < m; ++j) rows_.values(i)[j] = rows_.values(j)[i] = K[i * m + j];
        }
        for (Long i = m; i < mean_at_; ++i) {
            const auto times = static_cast<double>(i / m + 1);
            for (Long j = 0; j < m; ++j) rows_.values(i)[j] = times * rows_.values(i % m)[j];
        }
        if (mu) std::copy(mu, mu + m, rows_.values(mean_at_));
    }

    // Order n >= 3 from `below` = order n-1 (unused without a mean) and `second` = order n-2. All point to ends of tensors.
    void fill(int n, double* below, double* second, double* out, double* floor) {
        if (n == 3) return fill_triples(below, out, floor);
        const Long total = counts_(m_, n);
        in_chunks(n, total, [=](Long from, Long to) {
            const Prefix stop = first_block(n, to);
            // Blocks that end below `to` reach into the next chunk: the floor is where its first block begins.
            const double* bottom = to >= total ? floor : out - block_distance(stop);
            fill_range(n, from, to, below, second, out, bottom);
        });
    }

    Long count(int n) const noexcept { return counts_(m_, n); }

private:
    PaddedKernel kernel() noexcept { return {rows_.row(m_ - 1), rows_.stride()}; }
    double* mean_row() noexcept { return rows_.row(mean_at_); }

    void fill_triples(double* below, double* out, double* floor) {
        in_chunks(3, counts_(m_, 3), [=](Long from, Long to) {
            const auto first = [this](Long distance) {  // the first x whose rows begin no nearer to the end
                const Long x = counts_.unrank(distance, 3);
                return x + (counts_(x, 3) < distance);
            };
            const Long begin = first(from), end = std::min(first(to), m_);
            if (begin >= end) return;
            kernels_.fill_triples({below, mean_row(), kernel(), begin, end - 1, out, end == m_ ? floor : out - counts_(end, 3)});
        });
    }

    // work(from, to) for all ranges of distances; on threads where that pays.
    template <class Work>
    void in_chunks(int n, Long total, const Work& work) {
        const Long chunks = (total + kChunk - 1) / kChunk;
        const unsigned threads = total > kThreadedWork / n ? (threads_ ? threads_ : default_threads()) : 1;
        if (threads == 1) {
            for (Long c = 0; c < chunks; ++c) {
                work(c * kChunk, std::min(total, (c + 1) * kChunk));
                if (poll_ && chunks > 1) poll_();
            }
            return;
        }
        const auto block = [&](std::uint64_t c, unsigned, const StopFlag&) {
            const Long from = static_cast<Long>(c) * kChunk;
            work(from, std::min(total, from + kChunk));
        };
        run_blocks(0, static_cast<std::uint64_t>(chunks), threads, block, [this] {
            if (poll_) poll_();
            return true;
        });
    }

    Long block_distance(const Prefix& p) const noexcept { return p.distance + counts_(p.z, 4); }

    // The first block (t, z) that begins at this distance or farther from the end of the tensor of order n.
    Prefix first_block(int n, Long distance) const {
        Prefix p;
        Long left = distance;
        for (int k = n; k > 4; --k) {
            const Long x = std::min(counts_.unrank(left, k), m_ - 1);
            left -= counts_(x, k);
            append(p, x, 1);
        }
        p.distance = distance - left;
        p.z = counts_.unrank(left, 4);
        p.z += counts_(p.z, 4) < left;
        if (p.z >= side(p)) next(p);
        return p;
    }

    Long side(const Prefix& p) const noexcept { return p.t.empty() ? m_ : p.t.back().x + 1; }

    static void append(Prefix& p, Long x, int count) {
        if (p.t.empty() || p.t.back().x != x) p.t.push_back({x, 0});
        p.t.back().count += count;
    }

    // To the first block of the next t; false behind the last.
    bool next(Prefix& p) const {
        p.distance += counts_(side(p), 4);
        p.z = 0;
        if (side(p) == m_) return false;
        const Run last = p.t.back();
        p.t.pop_back();
        append(p, last.x + 1, 1);
        if (last.count > 1) append(p, 0, last.count - 1);
        return true;
    }

    void fill_range(int n, Long from, Long to, double* below, double* second, double* out, const double* floor) {
        Prefix p = first_block(n, from);
        MultisetStream streams[kMaxStreams];
        while (block_distance(p) < to) {
            // Without leg r, the legs of t lie behind sum_{q<r} N(t_q, n-2-q) + sum_{q>r} N(t_q, n-1-q) entries of G_{n-2}; all of
            // them behind the first sum there and behind the second in G_{n-1}. Within a run N(x, .) adds up to N(x+1, .).
            Long second_sum = 0, below_sum = 0;
            int n_streams = 0, q = 0;
            for (const Run& run : p.t) {
                // Those before count in the first sum, those after in the second: what is left of the latter follows below.
                const Long rest = counts_(run.x + 1, n - 1 - q) - counts_(run.x + 1, n - 1 - q - run.count);
                streams[n_streams++] = {second - second_sum + below_sum + counts_(run.x, n - 1 - q), rows_.row(run.count * m_ - 1 - run.x)};
                second_sum += counts_(run.x + 1, n - 2 - q) - counts_(run.x + 1, n - 2 - q - run.count);
                below_sum += rest;
                q += run.count;
            }
            for (int s = 0; s < n_streams; ++s) streams[s].lower -= below_sum;
            if (with_mean_) streams[n_streams++] = {below - below_sum, mean_row()};
            Long last = side(p) - 1;
            if (p.distance + counts_(last, 4) >= to) last = counts_.unrank(to - 1 - p.distance, 4);
            kernels_.fill_multisets({n_streams, streams, second - second_sum, kernel(), p.z, last, out - p.distance, floor});
            if (last + 1 < side(p) || !next(p)) return;
        }
    }

    const Long m_, mean_at_;
    const bool with_mean_;
    const Counts counts_;
    PaddedRows rows_;  // K, 2 K, .. as often as a leg of t may occur, then mu
    const Kernels kernels_;
    const unsigned threads_;
    const std::function<void()>& poll_;
};

void check_order(Long m, int order) {
    if (order < 1 || order > kMaxLegs || m < 1) {
        throw ArgumentError("all multisets of " + std::to_string(order) + " legs over " + std::to_string(m) + " points: expected 1.." +
                            std::to_string(kMaxLegs) + " legs over at least one point");
    }
}

// Exponents e_i for which no 2^(-e_i - e_j) K_ij and no 2^(-e_i) mu_i exceeds 1 and every point has one of order 1: each
// takes half of the excess of its row, in turn, until nothing changes (Ruiz scaling).
std::vector<int> balance(Long m, const double* K, const double* mu) {
    std::vector<int> e(static_cast<std::size_t>(m), 0);
    const auto excess = [&](Long i) {
        int most = std::numeric_limits<int>::min(), exponent;
        for (Long j = 0; j < m; ++j) {
            const double k = K[std::min(i, j) * m + std::max(i, j)];
            if (k == 0.0) continue;
            std::frexp(k, &exponent);
            most = std::max(most, exponent - e[static_cast<std::size_t>(i)] - e[static_cast<std::size_t>(j)]);
        }
        if (mu && mu[i] != 0.0) {
            std::frexp(mu[i], &exponent);
            most = std::max(most, 2 * (exponent - e[static_cast<std::size_t>(i)]));
        }
        return most;
    };
    for (int round = 0; round < 64; ++round) {
        bool changed = false;
        for (Long i = 0; i < m; ++i) {
            const int most = excess(i);
            if (most == std::numeric_limits<int>::min() || most / 2 == 0) continue;
            e[static_cast<std::size_t>(i)] += most / 2;
            changed = true;
        }
        if (!changed) break;
    }
    int most = 0;
    for (Long i = 0; i < m; ++i) most = std::max(most, excess(i));
    for (int& x : e) x += (most + 1) / 2;
    return e;
}

// Could a product of K and mu with `order` legs, or a sum of such products, leave the range of normal doubles? 106 bits are
// left for the last digits of two factors.
bool may_overflow(Long m, int order, const double* K, const double* mu) {
    double least = std::numeric_limits<double>::infinity(), most = 0.0;
    for (Long i = 0; i < m; ++i) {
        for (Long j = i; j < m; ++j) {
            const double k = std::fabs(K[i * m + j]);
            most = std::max(most, k);
            if (k > 0.0) least = std::min(least, k);
        }
    }
    int high, low;
    std::frexp(most, &high);
    std::frexp(std::min(least, std::numeric_limits<double>::max()), &low);
    for (Long i = 0; mu && i < m; ++i) {
        int exponent;
        if (mu[i] == 0.0) continue;
        std::frexp(mu[i], &exponent);
        high = std::max(high, 2 * exponent);
        low = std::min(low, 2 * exponent - 2);
    }
    const double pairs = 0.5 * order;
    return pairs * (high + std::log2(order)) > 1022.0 || pairs * (low - 106) < -1022.0;
}

// Orders 1 and 2.
void fill_short(Long m, int order, const double* K, const double* mu, double* out, const std::function<void()>& poll) {
    if (order == 1) return void(std::copy(mu, mu + m, out));
    for (Long i = 0; i < m; ++i) {
        for (Long j = i; j < m; ++j) *out++ = mu ? mu[i] * mu[j] + K[i * m + j] : K[i * m + j];
        if (poll && i % 256 == 255) poll();
    }
}

void fill_orders(Long m, int order, const double* K, const double* mu, double* out, unsigned threads, const std::function<void()>& poll) {
    Recursion recursion(m, order, K, mu, threads, poll);
    Tensor below, second;  // orders n-1 and n-2; without a mean `below` holds order n-2
    for (int n = mu ? 1 : 2; n < order; n += mu ? 1 : 2) {
        Tensor next(recursion.count(n));
        if (n <= 2) fill_short(m, n, K, mu, next.end() - recursion.count(n), poll);
        else recursion.fill(n, below.end(), mu ? second.end() : below.end(), next.end(), next.floor());
        if (mu) second = std::move(below);
        below = std::move(next);
    }
    const Long count = recursion.count(order);
    recursion.fill(order, below.end(), mu ? second.end() : below.end(), out + count, out);
}

}  // namespace

std::int64_t all_multisets_bytes(std::int64_t m, int order, bool with_mean) {
    check_order(m, order);
    double bytes = 0.0;
    for (int n = order; n > 0 && n >= order - 2; n -= with_mean ? 1 : 2) bytes += 8.0 * static_cast<double>(multiset_count(m, n));
    bytes += 8.0 * static_cast<double>(m) * static_cast<double>(m + kMultisetLanes + order);
    if (bytes > 0x1p62) throw ArgumentError("all multisets of " + std::to_string(order) + " legs over " + std::to_string(m) + " points exceed 2^62 bytes");
    return static_cast<std::int64_t>(bytes);
}

void all_multisets(std::int64_t m, int order, const double* K, const double* mu, double* out, unsigned threads, const std::function<void()>& poll) {
    check_order(m, order);
    const Long count = multiset_count(m, order);
    if (order % 2 != 0 && !mu) return std::fill(out, out + count, 0.0);
    if (order <= 2) return fill_short(m, order, K, mu, out, poll);
    if (!may_overflow(m, order, K, mu)) return fill_orders(m, order, K, mu, out, threads, poll);

    const std::vector<int> e = balance(m, K, mu);
    std::vector<double> scaled(static_cast<std::size_t>(m * m)), shift;
    for (Long i = 0; i < m; ++i) {
        for (Long j = i; j < m; ++j) {
            const auto at = static_cast<std::size_t>(i * m + j);
            scaled[at] = std::ldexp(K[at], -e[static_cast<std::size_t>(i)] - e[static_cast<std::size_t>(j)]);
        }
        if (mu) shift.push_back(std::ldexp(mu[i], -e[static_cast<std::size_t>(i)]));
    }
    fill_orders(m, order, scaled.data(), mu ? shift.data() : nullptr, out, threads, poll);
    std::vector<Index> legs(static_cast<std::size_t>(order), 0);
    for (Long at = 0; at < count; ++at) {
        int exponent = 0;
        for (const Index leg : legs) exponent += e[static_cast<std::size_t>(leg)];
        out[at] = std::ldexp(out[at], exponent);
        next_multiset(legs.data(), order, static_cast<Index>(m));
        if (poll && at % kChunk == kChunk - 1) poll();
    }
}

}  // namespace nnqft
