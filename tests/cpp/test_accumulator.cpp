// Moment programs against brute force; accumulators; runs on threads, beside each other, and what ensembles refuse.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "ensemble/ensemble.hpp"
#include "ensemble_tools.hpp"

using namespace nnqft;

namespace {

// ---- moment programs ---------------------------------------------------------------------------------------------------

// Sums of one net that a program makes of its fields, step by step.
Doubles interpret(const Program& p, const Doubles& fields) {
    Doubles slots(static_cast<std::size_t>(p.n_slots)), sums(static_cast<std::size_t>(p.n_sums));
    std::copy(fields.begin(), fields.end(), slots.begin());
    for (const MomentStep& s : p.steps)
        for (int k = 0; k < s.count; ++k) {
            const double product = (s.a < 0 ? 1.0 : slots.at(static_cast<std::size_t>(s.a))) * slots.at(static_cast<std::size_t>(s.b + k));
            if (s.store >= 0) slots.at(static_cast<std::size_t>(s.store + k)) = product;
            if (s.sum >= 0) sums.at(static_cast<std::size_t>(s.sum + k)) += product;
        }
    return sums;
}

TEST(dense_programs_sum_the_product_over_every_multi_index) {
    const std::vector<std::vector<int>> choices{{1}, {2}, {4}, {8}, {1, 2, 3, 4}, {2, 4, 6, 8}, {3, 6}, {1, 8}, {4, 6}};
    for (int n : {1, 2, 5})
        for (const auto& orders : choices) {
            Doubles fields;
            for (int i = 0; i < n; ++i) fields.push_back(1.0 + 0.25 * i);  // few bits: products of 8 are exact
            const Program p = dense_program(n, orders);
            CHECK(interpret(p, fields) == products(fields, orders));
            CHECK(p.orders == orders && p.n_fields == n && p.offsets.size() == orders.size());
        }
}

TEST(listed_programs_sum_the_products_listed) {
    const Doubles fields{2.0, 3.0, 5.0, 7.0};
    const Program even = listed_program(4, {2, 4}, {{0, 0, 0, 3, 2, 3}, {0, 0, 2, 3, 0, 3, 2, 3}}, 2);
    CHECK(interpret(even, fields) == Doubles{4, 14, 35, 4 * 35, 14 * 35});
    const Program all = listed_program(4, {1, 2, 3}, {{0, 1, 3}, {1, 3}, {0, 1, 3}}, 1);
    CHECK(interpret(all, fields) == Doubles{2, 3, 7, 21, 42});
}

TEST(programs_that_cannot_be_are_refused) {
    CHECK_THROWS(ArgumentError, "at least one field", dense_program(0, {2}));
    CHECK_THROWS(ArgumentError, "twice", dense_program(3, {2, 2}));
    for (int n : {-1, 0, 5, 7, 9}) CHECK_THROWS(ArgumentError, "not one of", dense_program(3, {n}));
    CHECK_THROWS(ArgumentError, "too many", dense_program(100'000, {2}));
    CHECK_THROWS(ArgumentError, "", dense_program(2'000'000'000, {8}));
    CHECK_THROWS(ArgumentError, "closed", listed_program(4, {2, 4}, {{0, 0}, {0, 0, 2, 3}}, 2));
    CHECK_THROWS(ArgumentError, "outside 0 .. 3", listed_program(4, {2}, {{0, 4}}, 2));
    CHECK_THROWS(ArgumentError, "outside 0 .. 3", listed_program(4, {1}, {{-1}}, 2));
    CHECK_THROWS(ArgumentError, "ascending", listed_program(4, {0}, {{}}, 2));
    CHECK_THROWS(ArgumentError, "ascending", listed_program(4, {2, 2}, {{0, 0}, {0, 0}}, 2));
    CHECK_THROWS(ArgumentError, "stride", listed_program(4, {4}, {{0, 0, 0, 0}}, 4));
    CHECK_THROWS(ArgumentError, "stride", listed_program(4, {4}, {{0, 0, 0, 0}}, -1));
    CHECK_THROWS(ShapeError, "whole rows", listed_program(4, {2}, {{0, 0, 1}}, 2));
    CHECK_THROWS(ShapeError, "lists", listed_program(4, {2, 4}, {{0, 0}}, 2));
}

// ---- accumulators ------------------------------------------------------------------------------------------------------

constexpr std::int64_t kSums = 3;

Doubles sums_of(std::uint64_t first) {
    const double x = static_cast<double>(first);
    return {x + 0.1, 1e-30 * x, -1e20};
}

void count(Accumulator& a, std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t net = first; net < last; net += a.block())
        CHECK(a.add(net, std::min(a.block(), last - net), sums_of(net).data()));
}

bool same(const Accumulator& a, const Accumulator& b) {
    const Accumulator::State x = a.state(), y = b.state();
    bool equal = x.nets == y.nets && x.blocks == y.blocks && x.covered == y.covered && x.bad_blocks == y.bad_blocks && x.first_bad == y.first_bad;
    for (std::size_t r = 0; r < x.replicas.size(); ++r) {
        const ExactSums &p = x.replicas[r], &q = y.replicas[r];
        equal = equal && p.base() == q.base() && p.planes() == q.planes() && std::equal(p.data(), p.data() + p.planes() * p.size(), q.data());
    }
    return equal;
}

TEST(what_is_missing_lies_between_what_is_covered) {
    Accumulator a(kSums, 16);
    CHECK(a.missing(0, 0).empty() && a.missing(0, 64) == Intervals{{0, 64}});
    count(a, 16, 32);
    count(a, 64, 96);
    CHECK(a.covered() == Intervals{{16, 32}, {64, 96}});
    CHECK(a.missing(0, 128) == Intervals{{0, 16}, {32, 64}, {96, 128}});
    CHECK(a.missing(16, 32).empty() && a.missing(70, 80).empty() && a.missing(20, 70) == Intervals{{32, 64}});
    CHECK(a.missing(kMaxNets - 16, kMaxNets) == Intervals{{kMaxNets - 16, kMaxNets}});
    count(a, 32, 64);
    CHECK(a.covered() == Intervals{{16, 96}} && a.n_nets() == 80);
    count(a, 0, 16);
    CHECK(a.covered() == Intervals{{0, 96}});
}

TEST(a_net_counts_once) {
    Accumulator a(kSums, 16), b(kSums, 16);
    count(a, 0, 40);  // the last block holds 8 nets
    count(b, 0, 40);
    for (std::uint64_t first : {0, 16, 32}) CHECK(!a.add(first, 16, sums_of(first).data()));
    CHECK(!a.add(36, 2, sums_of(36).data()) && same(a, b));
}

TEST(merged_parts_equal_the_whole) {
    Accumulator whole(kSums, 16), a(kSums, 16), b(kSums, 16), empty(kSums, 16);
    count(whole, 0, 16 * 200 + 5);
    count(a, 16 * 70, 16 * 130);
    count(b, 0, 16 * 70);
    count(b, 16 * 130, 16 * 200 + 5);
    a.merge(b);
    a.merge(empty);
    CHECK(same(a, whole));
    Doubles total(3), expected(3), replicas(64 * 3);
    std::vector<std::uint64_t> nets(64), blocks(64);
    a.total(total.data());
    a.replica_sums(replicas.data(), nets.data(), blocks.data());
    CHECK(blocks[0] == 4 && nets[0] == 64 && blocks[8] == 4 && nets[8] == 53 && blocks[9] == 3);
    for (std::uint64_t net = 0; net < 16 * 200 + 5; net += 16) expected[0] += sums_of(net)[0];
    CHECK_NEAR(total[0], expected[0], 1e-12 * expected[0]);
    CHECK(total[2] == -201e20);
    CHECK_NEAR(replicas[0], 4 * 0.1 + 16.0 * (64 + 128 + 192), 1e-9);
}

TEST(merges_that_would_count_nets_twice_change_nothing) {
    Accumulator a(kSums, 16), b(kSums, 16), before(kSums, 16);
    count(a, 0, 64);
    count(before, 0, 64);
    count(b, 128, 160);
    count(b, 48, 64);
    CHECK_THROWS(StateError, "nets 48 to 63 overlap", a.merge(b));
    CHECK_THROWS(StateError, "itself", a.merge(a));
    CHECK_THROWS(StateError, "cannot merge", a.merge(Accumulator(kSums, 32)));
    CHECK_THROWS(StateError, "cannot merge", a.merge(Accumulator(kSums + 1, 16)));
    CHECK(same(a, before));
}

TEST(blocks_that_are_not_finite_are_set_aside_and_named) {
    Accumulator a(kSums, 16), good(kSums, 16);
    count(a, 0, 16);
    count(good, 0, 16);
    const Doubles nan{1.0, std::numeric_limits<double>::quiet_NaN(), 2.0}, infinite{1.0, 2.0, std::numeric_limits<double>::infinity()};
    CHECK(a.add(64, 16, nan.data()) && a.add(32, 16, infinite.data()));
    CHECK(a.bad_blocks() == 2 && a.first_bad() == 32 && a.n_nets() == 48);
    Doubles x(3), y(3);
    a.total(x.data());
    good.total(y.data());
    CHECK(x == y);
    good.merge(Accumulator(kSums, 16));
    CHECK(good.bad_blocks() == 0);
    Accumulator b(kSums, 16);
    count(b, 160, 176);
    b.merge(a);
    CHECK(b.bad_blocks() == 2 && b.first_bad() == 32);
}

TEST(accumulators_come_back_from_their_state_and_from_nothing_else) {
    Accumulator a(kSums, 16), b(kSums, 16), before(kSums, 16);
    count(a, 32, 16 * 150 + 3);
    count(a, 16 * 200, 16 * 201);
    count(b, 0, 16);
    count(before, 0, 16);
    const auto refused = [&](const char* text, auto&& damage) {
        Accumulator::State state = a.state();
        damage(state);
        CHECK_THROWS(StateError, text, b.restore(std::move(state)));
        CHECK(same(b, before));
    };
    using State = Accumulator::State;
    refused("64 replicas", [](State& s) { s.replicas.pop_back(); });
    refused("64 replicas", [](State& s) { s.nets.clear(); });
    refused("64 replicas", [](State& s) { s.blocks.push_back(0); });
    refused("number of moments", [](State& s) { s.replicas[5] = ExactSums(kSums + 1); });
    refused("intervals", [](State& s) { std::swap(s.covered[0], s.covered[1]); });
    refused("intervals", [](State& s) { s.covered[0].first = 33; });
    refused("intervals", [](State& s) { s.covered[1].second = s.covered[1].first; });
    refused("intervals", [](State& s) { s.covered[1].second = kMaxNets + 1; });
    refused("intervals", [](State& s) { s.covered.push_back(s.covered[1]); });
    refused("add up", [](State& s) { s.covered[1].second += 16; });
    refused("add up", [](State& s) { --s.nets[7]; });
    refused("add up", [](State& s) { ++s.blocks[7]; });
    refused("add up", [](State& s) { s.bad_blocks = 1000; });
    refused("add up", [](State& s) { s.covered.clear(); });
    b.restore(a.state());
    CHECK(same(a, b));
    count(b, 0, 32);
    count(a, 0, 32);
    CHECK(same(a, b));
}

TEST(accumulators_of_impossible_sizes_are_refused) {
    CHECK_THROWS(ArgumentError, "moment", Accumulator(0, 16));
    CHECK_THROWS(ArgumentError, "moment", Accumulator(-1, 16));
    for (std::uint64_t block : {std::uint64_t{0}, std::uint64_t{8}, std::uint64_t{24}, std::uint64_t{1} << 33, UINT64_MAX - 15})
        CHECK_THROWS(ArgumentError, "multiple of 16", Accumulator(1, block));
}

TEST(accumulators_may_be_used_by_many_threads_at_once) {
    Accumulator a(kSums, 16), serial(kSums, 16), other(kSums, 16);
    count(serial, 0, 16 * 2000);
    count(other, 16 * 2000, 16 * 2010);
    count(serial, 16 * 2000, 16 * 2010);
    std::atomic<std::uint64_t> next{0};
    std::atomic<bool> done{false};
    std::vector<std::thread> adders, readers;
    for (int t = 0; t < 3; ++t)
        adders.emplace_back([&] {
            for (std::uint64_t b; (b = next++) < 4000;) a.add(b / 2 * 16, 16, sums_of(b / 2 * 16).data());  // every block twice
        });
    for (int t = 0; t < 2; ++t)
        readers.emplace_back([&] {
            Doubles total(3), replicas(64 * 3);
            std::vector<std::uint64_t> nets(64), blocks(64);
            while (!done) {
                Accumulator copy(kSums, 16);
                copy.restore(a.state());  // refuses what does not belong together
                a.total(total.data());
                a.replica_sums(replicas.data(), nets.data(), blocks.data());
                for (std::size_t r = 0; r < 64; ++r) CHECK(nets[r] == 16 * blocks[r]);
                CHECK(a.n_nets() >= copy.n_nets() && a.bytes() > 0 && a.bad_blocks() == 0 && a.first_bad() == UINT64_MAX);
                a.missing(0, 16 * 2000);
                Accumulator sum(kSums, 16);
                sum.merge(a);
            }
        });
    std::thread merger([&] { a.merge(other); });
    for (std::thread& t : adders) t.join();
    merger.join();
    done = true;
    for (std::thread& t : readers) t.join();
    CHECK(same(a, serial));
}

TEST(merges_in_both_directions_at_once_do_not_wait_for_each_other) {
    for (int round = 0; round < 50; ++round) {
        Accumulator a(kSums, 16), b(kSums, 16);
        count(a, 0, 16);
        count(b, 16, 32);
        std::atomic<int> refused{0};
        const auto merge = [&](Accumulator& to, const Accumulator& from) {
            try {
                to.merge(from);
            } catch (const StateError&) {
                ++refused;  // the other was faster
            }
        };
        std::thread one([&] { merge(a, b); }), two([&] { merge(b, a); });
        one.join();
        two.join();
        CHECK(refused == 1);
    }
}

// ---- runs --------------------------------------------------------------------------------------------------------------

TEST(runs_give_the_same_bits_on_any_number_of_threads_and_in_any_parts) {
    const Ensemble e(network({2, 9, 1}, 3, Activation::erf));
    const Program program = dense_program(3, {2, 4});
    Accumulator whole(program.n_sums, 32);
    CHECK(e.run(program, 0, 3001, 1, whole, go_on));
    for (unsigned threads : {2u, 7u}) {
        Accumulator a(program.n_sums, 32);
        CHECK(e.run(program, 64, 128, threads, a, go_on));
        CHECK(e.run(program, 0, 320, threads, a, go_on));
        CHECK(e.run(program, 96, 3001, threads, a, go_on));
        CHECK(e.run(program, 0, 3001, threads, a, go_on));  // nothing is left to do
        CHECK(same(a, whole) && a.n_nets() == 3001);
    }
    CHECK_THROWS(StateError, "partial block", e.run(program, 0, 4000, 1, whole, go_on));
    Accumulator shared(program.n_sums, 32);
    std::thread one([&] { e.run(program, 0, 3001, 2, shared, go_on); }), two([&] { e.run(program, 0, 3001, 2, shared, go_on); });
    one.join();
    two.join();
    CHECK(same(shared, whole));
}

TEST(runs_that_are_ended_keep_whole_blocks_and_can_be_resumed) {
    const Ensemble e(network({2, 64, 1}, 3, Activation::erf));
    const Program program = dense_program(3, {2});
    const std::uint64_t last = 16 * 100'000;
    Accumulator a(program.n_sums, 16), b(program.n_sums, 16);
    CHECK(!e.run(program, 0, last, 2, a, [](std::uint64_t) { return false; }));
    CHECK(a.n_nets() < last && a.n_nets() % 16 == 0);
    CHECK_THROWS(std::runtime_error, "enough", e.run(program, 0, last, 2, b, [](std::uint64_t) -> bool { throw std::runtime_error("enough"); }));
    const std::uint64_t part = 16 * 1000;
    Accumulator whole(program.n_sums, 16), resumed(program.n_sums, 16);
    CHECK(e.run(program, 0, part, 2, whole, go_on));
    for (const auto& [start, stop] : a.covered())
        if (stop <= part) CHECK(e.run(program, start, stop, 1, resumed, go_on));
    CHECK(e.run(program, 0, part, 3, resumed, go_on) && same(resumed, whole));
}

TEST(runs_and_ensembles_that_cannot_be_are_refused) {
    const Ensemble e(network({2, 9, 1}, 3, Activation::erf));
    const Program program = dense_program(3, {2});
    Accumulator a(program.n_sums, 32), short_one(program.n_sums - 1, 32);
    CHECK_THROWS(ArgumentError, "2^48", e.run(program, 0, kMaxNets + 1, 1, a, go_on));
    CHECK_THROWS(ArgumentError, "2^48", e.run(program, 32, 0, 1, a, go_on));
    CHECK_THROWS(ArgumentError, "multiple", e.run(program, 16, 64, 1, a, go_on));
    CHECK_THROWS(ArgumentError, "threads", e.run(program, 0, 64, 0, a, go_on));
    CHECK_THROWS(ArgumentError, "threads", e.run(program, 0, 64, UINT32_MAX, a, go_on));
    CHECK_THROWS(ShapeError, "do not match", e.run(program, 0, 64, 1, short_one, go_on));
    CHECK_THROWS(ShapeError, "do not match", e.run(dense_program(4, {2}), 0, 64, 1, a, go_on));
    double out = 0.0;
    CHECK_THROWS(ArgumentError, "no such", e.draw_tensor(kMaxNets, 0, false, &out));
    CHECK_THROWS(ArgumentError, "no such", e.draw_tensor(0, 2, false, &out));
    CHECK_THROWS(ArgumentError, "no such", e.draw_tensor(0, -1, true, &out));

    const auto refused = [](const char* text, auto&& damage) {
        Description d = network({2, 9, 1}, 3, Activation::erf);
        damage(d);
        CHECK_THROWS(Error, text, Ensemble{std::move(d)});
    };
    refused("one hidden layer", [](Description& d) { d.layers.pop_back(); });
    refused("points", [](Description& d) { d.points.pop_back(); });
    refused("points", [](Description& d) { d.points.clear(), d.n_points = 0; });
    refused("expected 1 to", [](Description& d) { d.layers[0].fan_out = d.layers[1].fan_in = 0; });
    refused("expected 1 to", [](Description& d) { d.layers[0].fan_out = d.layers[1].fan_in = INT32_MAX; });
    refused("chain", [](Description& d) { d.layers[1].fan_in = 8; });
    refused("dim_out", [](Description& d) { d.dim_out = 2; });
    refused("activation", [](Description& d) { d.layers[0].activation = static_cast<Activation>(99); });
    refused("parameters", [](Description& d) { d.layers[0].activation = Activation::polynomial; });
    refused("parameters", [](Description& d) { d.layers[0].n_params = 17; });
    refused("ball", [](Description& d) { d.layers[1].weight.law = Law::ball; });
    refused("ball", [](Description& d) { d.layers[0].bias.law = Law::ball; });
    refused("amplitude", [](Description& d) { d.amplitude = {1.0}; });
    refused("amplitude", [](Description& d) { d.amplitude = {1.0, 2.0}, d.sampler = Sampler::layer; });
    refused("array", [](Description& d) { d.arrays.pop_back(); });
    refused("array", [](Description& d) { d.layers[0].weight = {Law::array, 1.0, 0.0, nullptr, 0, std::uint64_t{1} << 63}; });
    refused("array", [](Description& d) { d.layers[0].weight = {Law::array, 1.0, 0.0, nullptr, 0, 1}; });
    refused("not finite", [](Description& d) { d.points[1] = 1e200, d.sampler = Sampler::layer; });
    refused("hidden layer", [](Description& d) {
        d = network({2, 9, 9, 1}, 3, Activation::erf);
        d.estimator = Estimator::neuron;
    });
    Description wide = network({1, 1, 1}, 1, Activation::erf);
    wide.n_points = 40'000;
    wide.points.assign(40'000, 0.5);
    wide.estimator = Estimator::gram;
    std::vector<float> fields(40'000);
    CHECK_THROWS(ArgumentError, "GB per thread", Ensemble{wide}.outputs(0, 1, 1, fields.data(), go_on));
    wide.sampler = Sampler::layer;
    CHECK_THROWS(ArgumentError, "GB per thread", Ensemble{std::move(wide)});
}

}  // namespace

CHECK_MAIN()
