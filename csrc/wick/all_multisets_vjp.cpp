// With p(f) = sum_I G_bar(I) f_i1 .. f_in, the sum over I of G_bar(I) G(I) is E[p], whose derivatives are
//   by K_ij:  (1/2) E[d_i d_j p] = (1/2) sum over I and ordered pairs of its legs i, j of G_bar(I) G_{n-2}(I without them),
//   by mu_i:  E[d_i p]           =       sum over I and its legs i              of G_bar(I) G_{n-1}(I without it).
// n (n-1) / 2 multiply-adds per entry, less where legs are equal; no adjoint of a lower order is held.
#include <algorithm>
#include <array>
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

using detail::Prefix;
using detail::Prefixes;
using detail::Run;
using Long = std::int64_t;

constexpr Long kPollEntries = Long{1} << 18;

struct Kernels {
    void (*pull_back)(const Pullback&);
    void (*add_dot)(const WeightedDot&);
};

Kernels kernels() {
    switch (resolve_isa("")) {
#if defined(NNQFT_X86)
        case Isa::avx512: return {avx512::pull_back, avx512::add_dot};
        case Isa::avx2: return {avx2::pull_back, avx2::add_dot};
#endif
        default: return {scalar::pull_back, scalar::add_dot};
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
        : m_(m), n_(order), mean_(mu ? m : -1), stride_((m + kMultisetLanes - 1) / kMultisetLanes * kMultisetLanes), counts_(m, order),
          second_(m, order - 2, K, mu, poll), G_bar_(G_bar + counts_(m, order)), kernels_(kernels()), poll_(poll),
          parts_(static_cast<std::size_t>((m + 1) * m * kParts), 0.0), rows_(static_cast<std::size_t>((m + 1) * stride_), 0.0) {
        if (mu) below_ = std::make_unique<Lower>(m, order - 1, K, mu, poll);
    }

    void run() {
        if (n_ == 3) {  // no leading legs; order 3 has a mean
            moved_ = {source(mean_, below_->end(), 1)};
            for (Long from = 0, x = 0; x < m_; ++x) {
                if (x + 1 < m_ && counts_(x + 1, 3) - counts_(from, 3) < kPollEntries) continue;
                pull(from, x, moved_, second_.end(), G_bar_);
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
    void result(double* K_bar, double* mu_bar) const {
        for (Long x = 0; x < m_; ++x) {
            for (Long y = 0; y <= x; ++y) {
                const Long i = m_ - 1 - x, j = m_ - 1 - y;
                K_bar[i * m_ + j] = K_bar[j * m_ + i] = x == y ? total(x, y) : 0.5 * total(x, y);
            }
        }
        for (Long x = 0; mean_ >= 0 && x < m_; ++x) mu_bar[m_ - 1 - x] = total(mean_, x);
    }

private:
    double total(Long q, Long x) const {
        const double* const s = &parts_[static_cast<std::size_t>((q * m_ + x) * kParts)];
        return (((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))) + rows_[static_cast<std::size_t>(q * stride_ + stride_ - 1 - x)];
    }

    double* parts(Long q, Long x) { return &parts_[static_cast<std::size_t>((q * m_ + x) * kParts)]; }

    PullbackSource source(Long q, const double* lower, int weight) {
        return {lower, static_cast<double>(weight), parts(q, 0), &rows_[static_cast<std::size_t>(q * stride_)]};
    }

    void dot(const double* a, const double* b, Long count, Long weight, double* to) {
        kernels_.add_dot({a, b, count, static_cast<double>(weight), to});
        spend(count);
    }

    void pull(Long first, Long last, const std::vector<PullbackSource>& sources, const double* tail, const double* G_bar) {
        kernels_.pull_back({static_cast<int>(sources.size()), sources.data(), tail, G_bar, first, last, {parts_.data(), rows_.data(), m_, stride_}});
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
        const double* const G_bar = G_bar_ - p.distance;
        const Long size = counts_(side, 4);
        sources_.clear();
        for (std::size_t r = 0; r < p.t.size(); ++r) {
            const Run& a = p.t[r];
            sources_.push_back(source(a.x, second_.end() - behind(p.t, n_ - 2, r, none), a.count));
            if (a.count > 1) dot(G_bar, second_.end() - behind(p.t, n_ - 2, r, r), size, Long{a.count} * (a.count - 1) / 2, parts(a.x, a.x));
            for (std::size_t s = r + 1; s < p.t.size(); ++s) {
                const Run& b = p.t[s];
                dot(G_bar, second_.end() - behind(p.t, n_ - 2, r, s), size, Long{a.count} * b.count, parts(a.x, b.x));
            }
            if (mean_ >= 0) dot(G_bar, below_->end() - behind(p.t, n_ - 1, r, none), size, a.count, parts(mean_, a.x));
        }
        const double* const tail = second_.end() - behind(p.t, n_ - 2, none, none);
        const double* const without_z = mean_ >= 0 ? below_->end() - behind(p.t, n_ - 1, none, none) : nullptr;
        for (Long z = 0; z < side; ++z) {
            const double* const here = G_bar - counts_(z, 4);
            const Long triples = counts_(z + 1, 3), moved = counts_(z, 3);
            std::vector<PullbackSource>& all = moved_;
            all.clear();
            for (std::size_t r = 0; r < sources_.size(); ++r) {
                const PullbackSource& s = sources_[r];
                dot(here, s.lower, triples, p.t[r].count, parts(p.t[r].x, z));  // the pair of a leg of t and z
                all.push_back({s.lower - moved, s.weight, s.parts, s.row});
            }
            all.push_back(source(z, tail, 1));
            if (mean_ >= 0) {
                dot(here, without_z, triples, 1, parts(mean_, z));
                all.push_back(source(mean_, without_z - moved, 1));
            }
            pull(0, z, all, tail - counts_(z, 2), here);
        }
    }

    const Long m_;
    const int n_;
    const Long mean_;  // its row in the sums
    const Long stride_;
    const detail::Counts counts_;
    const Lower second_;
    std::unique_ptr<Lower> below_;
    const double* const G_bar_;
    const Kernels kernels_;
    const std::function<void()>& poll_;
    std::vector<double> parts_, rows_;
    std::vector<PullbackSource> sources_, moved_;
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
