// Moment tensors against a loop over multi-indices, on every instruction set; streaming, merging, stopping.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "wick/moment_accumulator.hpp"
#include "wick/multiset.hpp"

using namespace nnqft;

namespace {

using Doubles = std::vector<double>;

// Numbers in [-1, 1) that are multiples of 2^-10, so that products of four of them are exact.
Doubles lattice(std::int64_t count) {
    Doubles x;
    for (std::int64_t i = 0; i < count; ++i) x.push_back(static_cast<double>(i * 2654435761 % 2048) / 1024 - 1);
    return x;
}

MomentSamples samples_of(const Doubles& F, std::int64_t m) {
    MomentSamples s;
    s.count = static_cast<std::int64_t>(F.size()) / m;
    s.rows = {reinterpret_cast<const unsigned char*>(F.data()), m * 8, 8, false};
    return s;
}

MomentSamples weighted(MomentSamples s, const Doubles& w) {
    s.weights = {reinterpret_cast<const unsigned char*>(w.data()), 8, 0, false};
    return s;
}

// Sums and sums of absolute values.
std::pair<Doubles, Doubles> loop(const MomentSamples& s, Index m, int order) {
    Doubles sums, scale;
    std::vector<Index> row(static_cast<std::size_t>(order) + 1, 0);
    do {
        double sum = 0, size = 0;
        for (std::int64_t r = 0; r < s.count; ++r) {
            double x = s.weights.data == nullptr ? 1.0 : value_of(s.weights, r, 0);
            for (int k = 0; k < order; ++k) x *= value_of(s.rows, r, row[static_cast<std::size_t>(k)]);
            sum += x;
            size += std::fabs(x);
        }
        sums.push_back(sum);
        scale.push_back(size);
    } while (next_multiset(row.data(), order, m));
    return {sums, scale};
}

Doubles sums_of(const MomentSamples& s, std::int64_t m, int order, unsigned threads = 1) {
    Doubles out(static_cast<std::size_t>(MomentPlan::count_sums(m, {order})));
    CHECK(moment_sums(s, m, {order}, threads, out.data(), {}) == -1);
    return out;
}

template <class Body>
void on_every_isa(const Body& body) {
    const char* before = std::getenv("NNQFT_ISA");
    const std::string kept = before != nullptr ? before : "";
    for (const Isa isa : available_isas()) {
        setenv("NNQFT_ISA", isa_name(isa), 1);
        body();
    }
    if (before != nullptr) setenv("NNQFT_ISA", kept.c_str(), 1);
    else unsetenv("NNQFT_ISA");
}

TEST(sums_agree_with_a_loop_over_multi_indices_and_have_the_same_bits_on_every_instruction_set) {
    for (std::int64_t m : {1, 2, 3, 5, 8, 9, 13})
        for (int order = 0; order <= 8; ++order) {
            if (multiset_count(m, order) > 2000) continue;
            for (std::int64_t count : {1, 8, 9, 23, 257}) {
                const Doubles F = lattice(m * count), w = lattice(count + 7);
                for (const bool with_weights : {false, true}) {
                    const MomentSamples s = with_weights ? weighted(samples_of(F, m), w) : samples_of(F, m);
                    const auto [want, scale] = loop(s, static_cast<Index>(m), order);
                    Doubles first;
                    on_every_isa([&] {
                        const Doubles got = sums_of(s, m, order);
                        for (std::size_t i = 0; i < got.size(); ++i) CHECK_NEAR(got[i], want[i], 1e-14 * scale[i]);
                        if (first.empty()) first = got;
                        CHECK(first == got);
                    });
                }
            }
        }
}

TEST(a_plan_gives_every_sum_to_one_tile) {
    for (const int max_sums : {12, 24})
        for (std::int64_t m = 1; m <= 11; ++m) {
            MomentKernels kernels{};
            kernels.max_sums = max_sums;
            const std::vector<int> orders{0, 1, 2, 3, 4, 5, 6};
            const MomentPlan plan(m, orders, kernels);
            std::vector<int> hits(static_cast<std::size_t>(plan.n_sums()));
            for (const MomentPart& part : plan.parts()) {
                std::int64_t tile = 0;
                for (const MomentChunk& chunk : part.chunks) {
                    CHECK(chunk.first_tile == tile && chunk.cols <= kMomentColumns);
                    for (; tile < chunk.last_tile; ++tile) {
                        const MomentTile& t = part.tiles[static_cast<std::size_t>(tile)];
                        CHECK(t.rows >= 1 && t.rows <= kMomentRows && t.cols >= 1 && t.rows * t.cols <= max_sums && t.col + t.cols <= chunk.cols);
                        for (int i = t.row; i < t.row + t.rows; ++i) {
                            CHECK(part.row_right[static_cast<std::size_t>(i)] == part.row_right[static_cast<std::size_t>(t.row)]);
                            for (int j = 0; j < t.cols; ++j)
                                ++hits.at(static_cast<std::size_t>(part.offset + part.row_out[static_cast<std::size_t>(i)] + chunk.col + t.col + j));
                        }
                    }
                }
                CHECK(tile == static_cast<std::int64_t>(part.tiles.size()));
            }
            CHECK(std::all_of(hits.begin(), hits.end(), [](int n) { return n == 1; }));
        }
}

TEST(threads_share_blocks_and_parts_of_blocks) {
    const Doubles many = lattice(4 * 300'000), large = lattice(12 * 5000);
    const Doubles a = sums_of(samples_of(many, 4), 4, 3), b = sums_of(samples_of(large, 12), 12, 6);
    for (const unsigned threads : {2u, 5u}) {
        CHECK(sums_of(samples_of(many, 4), 4, 3, threads) == a);
        CHECK(sums_of(samples_of(large, 12), 12, 6, threads) == b);
    }
}

TEST(float32_samples_are_converted_exactly) {
    const Doubles F = lattice(3 * 1000);
    const std::vector<float> narrow(F.begin(), F.end());
    MomentSamples s = samples_of(F, 3);
    const Doubles want = sums_of(s, 3, 4);
    s.rows = {reinterpret_cast<const unsigned char*>(narrow.data()), 12, 4, true};
    on_every_isa([&] { CHECK(sums_of(s, 3, 4) == want); });
}

TEST(fields_of_extreme_size_are_scaled) {
    const Doubles F{1e-170, 1e70, 2e-170, 3e70};
    on_every_isa([&] {
        const Doubles got = sums_of(samples_of(F, 2), 2, 4);
        CHECK_NEAR(got[2], 37e-200, 1e-213);
        CHECK(got[0] == 0.0);
    });
}

TEST(samples_that_are_not_finite_are_named) {
    Doubles F = lattice(2 * 10'000), out(3);
    F[2 * 7777 + 1] = std::numeric_limits<double>::infinity();
    CHECK(moment_sums(samples_of(F, 2), 2, {2}, 2, out.data(), {}) == 7777);
    CHECK(std::isnan(out[0]) && std::isnan(out[2]));
    F[2 * 7777 + 1] = 1e200;
    CHECK(moment_sums(samples_of(F, 2), 2, {2}, 1, out.data(), {}) == 4096);
}

// ---- accumulators

Doubles contents(const MomentAccumulator& a) {
    Doubles sums(MomentAccumulator::kGroups * static_cast<std::size_t>(a.n_sums()));
    std::vector<std::uint64_t> samples(MomentAccumulator::kGroups);
    a.replica_sums(sums.data(), samples.data());
    sums.insert(sums.end(), samples.begin(), samples.end());
    return sums;
}

TEST(any_cut_of_the_stream_gives_the_same_bits) {
    const Doubles F = lattice(3 * 5000), w = lattice(5000);
    const MomentSamples all = weighted(samples_of(F, 3), w);
    MomentAccumulator whole(3, {2, 4}, 16, 0);
    whole.push(all, 2, {});
    CHECK(whole.n_samples() == 5000);
    for (const std::int64_t step : {1, 7, 16, 999, 4999}) {
        MomentAccumulator parts(3, {2, 4}, 16, 0);
        for (std::int64_t at = 0; at < all.count; at += step) parts.push(all.slice(at, std::min(step, all.count - at)), 1, {});
        CHECK(contents(parts) == contents(whole));
    }
    MomentAccumulator left(3, {2, 4}, 16, 0), right(3, {2, 4}, 16, 3200);
    left.push(all.slice(0, 3200), 1, {});
    right.push(all.slice(3200, 1800), 1, {});
    right.merge(left);
    CHECK(contents(right) == contents(whole));
}

TEST(a_restored_accumulator_goes_on) {
    const Doubles F = lattice(2 * 3000);
    const MomentSamples all = samples_of(F, 2);
    MomentAccumulator a(2, {3}, 16, 0), b(2, {3}, 16, 0);
    a.push(all.slice(0, 1501), 1, {});
    b.restore(a.state());
    for (MomentAccumulator* x : {&a, &b}) x->push(all.slice(1501, 1499), 1, {});
    CHECK(contents(a) == contents(b));

    const MomentAccumulator::State good = a.state();
    const auto spoiled = [&](auto change) {
        MomentAccumulator::State state = good;
        change(state);
        const Doubles before = contents(b);
        CHECK_THROWS(StateError, "stored", b.restore(std::move(state)));
        CHECK(contents(b) == before);
    };
    spoiled([](auto& s) { s.sums.pop_back(); });
    spoiled([](auto& s) { s.sums[0] = ExactSums(7); });
    spoiled([](auto& s) { s.samples[3] = 0; });
    spoiled([](auto& s) { s.samples[3] = std::uint64_t{1} << 60; });
    spoiled([](auto& s) { s.waiting.push_back(0.0); });
    spoiled([](auto& s) { s.waiting.resize(3 * 16); });
    spoiled([](auto& s) { s.next_block = ~std::uint64_t{0}; });
    spoiled([](auto& s) { s.bad.blocks = 1'000'000; });
}

TEST(a_poll_that_throws_ends_a_push_and_whole_batches_stay) {
    const Doubles row = lattice(16);
    MomentSamples s = samples_of(row, 16);
    s.rows.row_step = 0;  // one row, many times
    s.count = 1 << 20;
    MomentAccumulator a(16, {6}, 4096, 0);
    CHECK_THROWS(std::runtime_error, "enough", a.push(s, 2, [](std::uint64_t) -> bool { throw std::runtime_error("enough"); }));
    CHECK(a.n_samples() < 1 << 20 && a.n_samples() % 4096 == 0);
    CHECK_THROWS(StateError, "ending", a.push(s, 2, [](std::uint64_t) { return false; }));
    a.push(s.slice(0, 10), 1, {});
}

TEST(accumulators_of_different_kinds_do_not_mix) {
    MomentAccumulator a(2, {2}, 16, 0), b(3, {2}, 16, 0), c(2, {3}, 16, 0), d(2, {2}, 32, 0);
    for (const MomentAccumulator* x : {&b, &c, &d}) CHECK_THROWS(StateError, "cannot merge", a.merge(*x));
    CHECK_THROWS(StateError, "itself", a.merge(a));
    CHECK_THROWS(ArgumentError, "at least one order", MomentAccumulator(2, {}, 16, 0));
    CHECK_THROWS(ArgumentError, "at least one order", MomentAccumulator(2, {0}, 16, 0));
    CHECK_THROWS(ArgumentError, "twice", MomentAccumulator(2, {2, 2}, 16, 0));
    CHECK_THROWS(ArgumentError, "block", MomentAccumulator(2, {2}, 0, 0));
    CHECK_THROWS(ArgumentError, "multiple", MomentAccumulator(2, {2}, 16, 8));
    CHECK_THROWS(ArgumentError, "GB", MomentAccumulator(70, {6}, 16, 0));
    CHECK_THROWS(ArgumentError, "64-bit", MomentPlan::count_sums(1 << 20, {8}));
    CHECK_THROWS(ArgumentError, "any memory", MomentPlan::count_sums(100'000, {4}));
    CHECK_THROWS(ArgumentError, "fields", MomentPlan::count_sums(0, {4}));
}

}  // namespace

CHECK_MAIN()
