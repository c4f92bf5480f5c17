// With p(f) = sum_I G_bar(I) f_i1 .. f_in, the sum over I of G_bar(I) G(I) is E[p], whose derivatives are
//   by K_ij:  (1/2) E[d_i d_j p] = (1/2) sum over I and ordered pairs of its legs i, j of G_bar(I) G_{n-2}(I without them),
//   by mu_i:  E[d_i p]           =       sum over I and its legs i              of G_bar(I) G_{n-1}(I without it).
// n (n-1) / 2 multiply-adds per entry, less where legs are equal; no adjoint of a lower order is held.
#include <algorithm>
#include <memory>
#include <vector>

#include "../core/isa.hpp"
#include "all_multisets.hpp"
#include "all_multisets_kernels.hpp"
#include "all_multisets_vjp_kernels.hpp"
#include "all_multisets_walk.hpp"
#include "multiset.hpp"

namespace nnqft {
namespace {

using detail::PaddedRows;
using detail::Prefix;
using detail::Prefixes;
using detail::Run;
using Long = std::int64_t;

constexpr Long kPollEntries = Long{1} << 18;

struct Kernels {
    void (*pull_back)(const Pullback&);
    void (*add_dots)(const WeightedDots&);
};

Kernels kernels() {
    switch (resolve_isa("")) {
#if defined(NNQFT_X86)
        case Isa::avx512: return {avx512::pull_back, avx512::add_dots};
        case Isa::avx2: return {avx2::pull_back, avx2::add_dots};
#endif
        default: return {scalar::pull_back, scalar::add_dots};
    }
}

// G of a lower order. Registers may read over its beginning: zeros lie there.
class Lower {
public:
    Lower(Long m, int order, const double* K, const double* mu, const std::function<void()>& poll)
        : count_(multiset_count(m, order)), values_(new double[static_cast<std::size_t>(count_ + kMultisetLanes)]) {
        std::fill_n(values_.get(), kMultisetLanes, 0.0);
        all_multisets(m, order, K, mu, values_.get() + kMultisetLanes, 1, poll);
    }
    const double* end() const noexcept { return values_.get() + kMultisetLanes + count_; }

private:
    Long count_;
    std::unique_ptr<double[]> values_;
};

class Backward {
public:
    Backward(Long m, int order, const double* K, const double* mu, const double* G_bar, const std::function<void()>& poll)
        : m_(m), n_(order), mean_(mu ? m : -1), counts_(m, order),
          second_(m, order - 2, K, mu, poll), G_bar_(G_bar + counts_(m, order)), kernels_(kernels()), poll_(poll),
          parts_(m + 1, m * kParts), rows_(m + 1, m) {
        if (mu) below_ = std::make_unique<Lower>(m, order - 1, K, mu, poll);
    }

    void run() {
        if (n_ == 3) {  // no leading legs; order 3 has a mean
            sources_ = {source(mean_, below_->end(), 1)};
            for (Long from = 0, x = 0; x < m_; ++x) {
                if (x + 1 < m_ && counts_(x + 1, 3) - counts_(from, 3) < kPollEntries) continue;
                pull(from, x, sources_, second_.end(), G_bar_);
                from = x + 1;
            }
            return;
        }
        const Prefixes prefixes(counts_, m_, n_);
        Prefix p = prefixes.first(0);
        do block(p, prefixes.side(p));
        while (prefixes.next(p));
    }

    // K_bar (m, m) and, with a mean, mu_bar (m).
    void result(double* K_bar, double* mu_bar) {
        for (Long x = 0; x < m_; ++x) {
            for (Long y = 0; y <= x; ++y) {
                const Long i = m_ - 1 - x, j = m_ - 1 - y;
                K_bar[i * m_ + j] = K_bar[j * m_ + i] = x == y ? total(x, y) : 0.5 * total(x, y);
            }
        }
        for (Long x = 0; mean_ >= 0 && x < m_; ++x) mu_bar[m_ - 1 - x] = total(mean_, x);
    }

private:
    double total(Long q, Long x) {
        const double* const s = parts(q, x);
        return (((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))) + rows_.values(q)[m_ - 1 - x];
    }

    double* parts(Long q, Long x) { return parts_.row(q) + x * kParts; }

    PullbackSource source(Long q, const double* lower, int weight) {
        return {lower, static_cast<double>(weight), parts(q, 0), rows_.row(q)};
    }

    void want(const double* b, Long weight, double* to) { dots_.push_back({b, static_cast<double>(weight), to}); }

    // The wanted sums over the `count` entries of G_bar before a.
    void add_dots(const double* a, Long count) {
        kernels_.add_dots({a, count, static_cast<int>(dots_.size()), dots_.data()});
        spend(count * static_cast<Long>(dots_.size()));
    }

    void pull(Long first, Long last, const std::vector<PullbackSource>& sources, const double* tail, const double* G_bar) {
        const PullbackSums sums{parts_.row(0), rows_.row(0), m_, rows_.stride()};
        kernels_.pull_back({static_cast<int>(sources.size()), sources.data(), tail, G_bar, first, last, sums});
        spend(counts_(last + 1, 3) - counts_(first, 3));
    }

    void spend(Long entries) {
        spent_ += entries;
        if (spent_ < kPollEntries) return;
        spent_ = 0;
        if (poll_) poll_();
    }

    // The entries behind which t lies in a tensor of order k in which it has lost one leg of run r (and one of run s >= r).
    Long behind(const std::vector<Run>& t, int k, std::size_t r, std::size_t s) const {
        const bool two = s < t.size();
        Long sum = 0;
        for (std::size_t q = 0; q < t.size(); ++q) {
            const int shift = (q > r) + (two && q > s), lost = (q == r) + (two && q == s);
            // A leg that is lost lets those behind it move up by one place.
            sum += counts_.run(t[q].x, k - t[q].place + shift, t[q].count - lost);
        }
        return sum;
    }

    // All entries that begin with the legs t.
    void block(const Prefix& p, Long side) {
        const std::size_t none = p.t.size();
        const double* G_bar = G_bar_ - p.distance;
        const double* const last = second_.end() - behind(p.t, n_ - 2, none, none);
        sources_.clear();
        dots_.clear();
        for (std::size_t r = 0; r < p.t.size(); ++r) {
            const Run& a = p.t[r];
            sources_.push_back(source(a.x, second_.end() - behind(p.t, n_ - 2, r, none), a.count));
            if (a.count > 1) want(second_.end() - behind(p.t, n_ - 2, r, r), Long{a.count} * (a.count - 1) / 2, parts(a.x, a.x));
            for (std::size_t s = r + 1; s < p.t.size(); ++s) {
                want(second_.end() - behind(p.t, n_ - 2, r, s), Long{a.count} * p.t[s].count, parts(a.x, p.t[s].x));
            }
            if (mean_ >= 0) want(below_->end() - behind(p.t, n_ - 1, r, none), a.count, parts(mean_, a.x));
        }
        add_dots(G_bar, counts_(side, 4));
        if (mean_ >= 0) sources_.push_back(source(mean_, below_->end() - behind(p.t, n_ - 1, none, none), 1));

        // With z: the pairs of z and another leg (or the mean), then those with one of the last three legs.
        dots_.clear();
        for (const PullbackSource& s : sources_) dots_.push_back({s.lower, s.weight, s.parts});
        sources_.push_back(source(0, last, 1));
        PullbackSource& own = sources_.back();
        const double* tail = last;
        for (Long z = 0; z < side; ++z) {
            const Long pairs = counts_(z + 1, 2), triples = counts_(z + 1, 3);
            add_dots(G_bar, triples);
            pull(0, z, sources_, tail, G_bar);
            for (DotTerm& term : dots_) term.parts += kParts;
            for (PullbackSource& s : sources_) s.lower -= pairs;
            own = source(z + 1 < side ? z + 1 : z, last, 1);
            tail -= z + 1;
            G_bar -= triples;
        }
    }

    const Long m_;
    const int n_;
    const Long mean_;  // its row in the sums
    const detail::Counts counts_;
    const Lower second_;
    std::unique_ptr<Lower> below_;
    const double* const G_bar_;
    const Kernels kernels_;
    const std::function<void()>& poll_;
    PaddedRows parts_, rows_;  // derivatives by pairs: see PullbackSums
    std::vector<PullbackSource> sources_;
    std::vector<DotTerm> dots_;
    Long spent_ = 0;
};

}  // namespace

std::int64_t all_multisets_vjp_bytes(std::int64_t m, int order, bool with_mean) {
    all_multisets_bytes(m, order, with_mean);  // throws if there is no such tensor
    const std::int64_t lower = order > 2 ? all_multisets_bytes(m, with_mean ? order - 1 : order - 2, with_mean) : 0;
    return lower + (order > 2 && with_mean ? 8 * multiset_count(m, order - 2) : 0) + 8 * (kParts + 2) * (m + 1) * (m + kMultisetLanes);
}

void all_multisets_vjp(std::int64_t m, int order, const double* K, const double* mu, const double* G_bar, double* K_bar, double* mu_bar,
                       const std::function<void()>& poll) {
    if (order >= 3) {
        std::fill_n(K_bar, m * m, 0.0);
        if (order % 2 != 0 && !mu) return;
        Backward backward(m, order, K, mu, G_bar, poll);
        backward.run();
        return backward.result(K_bar, mu_bar);
    }
    if (order == 1) {
        std::fill_n(K_bar, m * m, 0.0);
        if (mu) std::copy_n(G_bar, m, mu_bar);
        return;
    }
    if (mu) std::fill_n(mu_bar, m, 0.0);
    for (Long i = 0; i < m; ++i) {
        for (Long j = i; j < m; ++j, ++G_bar) {
            K_bar[i * m + j] = K_bar[j * m + i] = i == j ? *G_bar : 0.5 * *G_bar;
            if (!mu) continue;
            mu_bar[i] += *G_bar * mu[j];
            mu_bar[j] += *G_bar * mu[i];
        }
        if (poll && i % 256 == 255) poll();
    }
}

}  // namespace nnqft
