#include "all_multisets.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../core/isa.hpp"
#include "../core/parallel.hpp"
#include "all_multisets_kernels.hpp"
#include "all_multisets_walk.hpp"
#include "multiset.hpp"

namespace nnqft {
namespace {

using detail::PaddedRows;
using detail::Prefix;
using detail::Prefixes;
using detail::Run;
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

class Recursion {
public:
    Recursion(Long m, int order, const double* K, const double* mu, unsigned threads, const std::function<void()>& poll)
        : m_(m), mean_at_(m * std::max(1, order - 4)), with_mean_(mu != nullptr), counts_(m, order), rows_(mean_at_ + with_mean_, m),
          kernels_(kernels()), threads_(threads), poll_(poll) {
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
        const Prefixes prefixes(counts_, m_, n);
        in_chunks(n, total, [=, &prefixes](Long from, Long to) {
            // Blocks that begin before `to` are filled to their ends: the next chunk begins where its first block does.
            const double* bottom = to == total ? floor : out - prefixes.distance(prefixes.first(to));
            fill_range(n, prefixes, from, to, below, second, out, bottom);
        });
    }

    Long count(int n) const noexcept { return counts_(m_, n); }

private:
    PaddedKernel kernel() noexcept { return {rows_.row(m_ - 1), rows_.stride()}; }

    void fill_triples(double* below, double* out, double* floor) {
        in_chunks(3, counts_(m_, 3), [=](Long from, Long to) {
            const auto first = [this](Long distance) {  // the first x whose rows begin no nearer to the end
                const Long x = counts_.unrank(distance, 3);
                return x + (counts_(x, 3) < distance);
            };
            const Long begin = first(from), end = std::min(first(to), m_);
            if (begin >= end) return;
            kernels_.fill_triples({below, rows_.row(mean_at_), kernel(), begin, end - 1, out, end == m_ ? floor : out - counts_(end, 3)});
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

    void fill_range(int n, const Prefixes& prefixes, Long from, Long to, double* below, double* second, double* out, const double* floor) {
        Prefix p = prefixes.first(from);
        MultisetStream streams[kMaxStreams];
        while (prefixes.distance(p) < to) {
            // G_{n-2} without a leg of run r begins behind (the runs before r, as legs of order n-2) + (one leg of r less and the
            // runs after, as legs of order n-1); the tail behind the first of these sums and G_{n-1} behind the second, over all runs.
            Long as_second = 0, as_below = 0;
            int n_streams = 0;
            for (const Run& run : p.t) as_below += counts_.run(run.x, n - 1 - run.place, run.count);
            Long after = as_below;
            for (const Run& run : p.t) {
                const Long without_one = after - counts_(run.x, n - 1 - run.place);
                streams[n_streams++] = {second - as_second - without_one, rows_.row(run.count * m_ - 1 - run.x)};
                as_second += counts_.run(run.x, n - 2 - run.place, run.count);
                after -= counts_.run(run.x, n - 1 - run.place, run.count);
            }
            if (with_mean_) streams[n_streams++] = {below - as_below, rows_.row(mean_at_)};
            Long last = prefixes.side(p) - 1;
            if (p.distance + counts_(last, 4) >= to) last = counts_.unrank(to - 1 - p.distance, 4);
            kernels_.fill_multisets({n_streams, streams, second - as_second, kernel(), p.z, last, out - p.distance, floor});
            if (last + 1 < prefixes.side(p) || !prefixes.next(p)) return;
        }
    }

    const Long m_, mean_at_;
    const bool with_mean_;
    const detail::Counts counts_;
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

MultisetTheory scaled_theory(Long m, std::vector<int> e, const double* K, const double* mu) {
    MultisetTheory theory{std::vector<double>(static_cast<std::size_t>(m * m)), {}, {}};
    const auto exponent = [&](Long i) { return e.empty() ? 0 : e[static_cast<std::size_t>(i)]; };
    for (Long i = 0; i < m; ++i) {
        for (Long j = i; j < m; ++j)
            theory.K[static_cast<std::size_t>(i * m + j)] = theory.K[static_cast<std::size_t>(j * m + i)] = std::ldexp(K[i * m + j], -exponent(i) - exponent(j));
        if (mu) theory.mu.push_back(std::ldexp(mu[i], -exponent(i)));
    }
    theory.exponents = std::move(e);
    return theory;
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
    bytes += 8.0 * static_cast<double>(m + 1) * (std::max(1, order - 4) * static_cast<double>(m + kMultisetLanes) + order + 1);
    if (bytes > 0x1p62) {
        throw ArgumentError("all multisets of " + std::to_string(order) + " legs over " + std::to_string(m) + " points exceed 2^62 bytes");
    }
    return static_cast<std::int64_t>(bytes);
}

MultisetTheory multiset_theory(std::int64_t m, int order, const double* K, const double* mu) {
    check_order(m, order);
    const bool plain = order <= 2 || !may_overflow(m, order, K, mu);
    return scaled_theory(m, plain ? std::vector<int>() : balance(m, K, mu), K, mu);
}

void all_multisets(std::int64_t m, int order, const double* K, const double* mu, double* out, unsigned threads, const std::function<void()>& poll) {
    check_order(m, order);
    const Long count = multiset_count(m, order);
    if (order % 2 != 0 && !mu) return std::fill(out, out + count, 0.0);
    if (order <= 2) return fill_short(m, order, K, mu, out, poll);
    if (!may_overflow(m, order, K, mu)) return fill_orders(m, order, K, mu, out, threads, poll);

    const MultisetTheory theory = scaled_theory(m, balance(m, K, mu), K, mu);
    const std::vector<int>& e = theory.exponents;
    fill_orders(m, order, theory.K.data(), mu ? theory.mu.data() : nullptr, out, threads, poll);
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
