#include "wick/all_multisets.hpp"

#include <cstdint>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "wick/multiset.hpp"

using namespace nnqft;

namespace {

// Small integers, so that every sum is exact.
struct Theory {
    std::int64_t m;
    std::vector<double> K, mu;

    explicit Theory(std::int64_t points) : m(points), K(static_cast<std::size_t>(m * m)), mu(static_cast<std::size_t>(m)) {
        for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < m; ++j) K[static_cast<std::size_t>(i * m + j)] = static_cast<double>((7 * (i * j + i + j)) % 9 - 4);
            mu[static_cast<std::size_t>(i)] = static_cast<double>(i * i % 5 - 2);
        }
    }

    double moment(std::vector<Index> legs, bool with_mean) const {
        if (legs.empty()) return 1.0;
        const auto last = static_cast<std::size_t>(legs.back());
        legs.pop_back();
        double sum = with_mean ? mu[last] * moment(legs, true) : 0.0;
        for (std::size_t j = 0; j < legs.size(); ++j) {
            std::vector<Index> rest = legs;
            rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(j));
            sum += K[static_cast<std::size_t>(legs[j] * m) + last] * moment(rest, with_mean);
        }
        return sum;
    }
};

// The packed result, from a buffer whose surroundings must stay as they are.
std::vector<double> all(const Theory& theory, int order, bool with_mean, unsigned threads = 1) {
    constexpr std::size_t kMargin = 16;
    const auto count = static_cast<std::size_t>(multiset_count(theory.m, order));
    std::vector<double> buffer(count + 2 * kMargin, 123.0);
    all_multisets(theory.m, order, theory.K.data(), with_mean ? theory.mu.data() : nullptr, buffer.data() + kMargin, threads, {});
    for (std::size_t i = 0; i < kMargin; ++i) CHECK(buffer[i] == 123.0 && buffer[kMargin + count + i] == 123.0);
    return {buffer.begin() + kMargin, buffer.begin() + static_cast<std::ptrdiff_t>(kMargin + count)};
}

}  // namespace

TEST(every_entry_is_the_sum_over_pairings_and_nothing_else_is_written) {
    for (std::int64_t m : {1, 2, 3, 5, 8, 9, 11, 17}) {
        for (int order = 1; order <= 8; ++order) {
            if (multiset_count(m, order) > 4000) continue;
            for (bool with_mean : {false, true}) {
                const Theory theory(m);
                const std::vector<double> got = all(theory, order, with_mean);
                const IndexSet set = IndexSet::dense(m, order);
                std::vector<Index> legs(static_cast<std::size_t>(order));
                for (std::int64_t e = 0; e < set.size(); ++e) {
                    set.rows(e, 1, legs.data());
                    CHECK(got[static_cast<std::size_t>(e)] == (order % 2 && !with_mean ? 0.0 : theory.moment(legs, with_mean)));
                }
            }
        }
    }
}

TEST(threads_and_chunks_change_nothing) {
    for (auto [m, order] : {std::pair<std::int64_t, int>{24, 6}, {60, 4}, {300, 3}, {32, 5}, {14, 9}, {30, 6}}) {
        const Theory theory(m);
        const std::vector<double> one = all(theory, order, true, 1);
        for (unsigned threads : {2u, 7u}) CHECK(one == all(theory, order, true, threads));
    }
}

TEST(an_exception_from_poll_leaves_at_once) {
    int calls = 0;
    const auto poll = [&] {
        ++calls;
        throw StateError("enough");
    };
    for (auto [m, order] : {std::pair<std::int64_t, int>{60, 4}, {130, 3}, {24, 6}}) {
        const Theory theory(m);
        std::vector<double> out(static_cast<std::size_t>(multiset_count(m, order))), K_bar(theory.K), mu_bar(theory.mu);
        calls = 0;
        CHECK_THROWS(StateError, "enough", all_multisets(m, order, theory.K.data(), theory.mu.data(), out.data(), 1, poll));
        CHECK_THROWS(StateError, "enough",
                     all_multisets_vjp(m, order, theory.K.data(), theory.mu.data(), out.data(), K_bar.data(), mu_bar.data(), poll));
        CHECK(calls == 2);
    }
}

// sum K_bar dK + mu_bar dmu for dK = K, dmu = mu / 2 is order / 2 times sum G_bar G: G is homogeneous.
TEST(derivatives_know_the_degree) {
    for (std::int64_t m : {1, 2, 3, 7, 8, 9, 13}) {
        for (int order = 1; order <= 8; ++order) {
            if (multiset_count(m, order) > 4000) continue;
            for (bool with_mean : {false, true}) {
                const Theory theory(m);
                const std::vector<double> G = all(theory, order, with_mean);
                std::vector<double> G_bar(G.size()), K_bar(theory.K), mu_bar(theory.mu);
                double total = 0.0, degree = 0.0;
                for (std::size_t i = 0; i < G.size(); ++i) {
                    G_bar[i] = static_cast<double>(i % 5) - 2.0;
                    total += G_bar[i] * G[i];
                }
                all_multisets_vjp(m, order, theory.K.data(), with_mean ? theory.mu.data() : nullptr, G_bar.data(), K_bar.data(),
                                  with_mean ? mu_bar.data() : nullptr, {});
                for (std::size_t i = 0; i < K_bar.size(); ++i) degree += 2.0 * K_bar[i] * theory.K[i];
                for (std::size_t i = 0; with_mean && i < mu_bar.size(); ++i) degree += mu_bar[i] * theory.mu[i];
                CHECK(degree == order * total);
            }
        }
    }
}

TEST(impossible_orders_and_sizes_are_refused) {
    CHECK_THROWS(ArgumentError, "1..64 legs", all_multisets_bytes(3, 0, false));
    CHECK_THROWS(ArgumentError, "1..64 legs", all_multisets_bytes(3, 65, false));
    CHECK_THROWS(ArgumentError, "64-bit", all_multisets_bytes(1 << 20, 20, false));
    CHECK_THROWS(ArgumentError, "1..64 legs", all_multisets_vjp_bytes(3, 66, true));
    CHECK_THROWS(ArgumentError, "2^62 bytes", all_multisets_bytes(700, 8, false));
}

CHECK_MAIN()
