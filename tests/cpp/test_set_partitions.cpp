// Moments from cumulants and back: counts of set partitions, batches that fill no register, listed multi-indices.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "wick/partition_sums.hpp"

using namespace nnqft;

namespace {

using Tensors = std::vector<std::vector<double>>;  // by order, rows of a batch one after the other
using Recursion = decltype(&cumulants_from_moments);

template <class T, class Data>
std::vector<Rows<T>> rows_of(Data& tensors, const std::vector<IndexSet>& sets) {
    std::vector<Rows<T>> rows;
    for (std::size_t k = 0; k < sets.size(); ++k) rows.push_back({tensors[k].data(), sets[k].size()});
    return rows;
}

Tensors run(Recursion recursion, Blocks blocks, const std::vector<IndexSet>& sets, std::int64_t batch, const Tensors& in) {
    Tensors out;
    for (const std::vector<double>& tensor : in) out.emplace_back(tensor.size());
    recursion(blocks, sets, batch, rows_of<const double>(in, sets), rows_of<double>(out, sets), {});
    return out;
}

std::vector<IndexSet> dense_sets(std::int64_t m, Blocks blocks, int top) {
    std::vector<IndexSet> sets;
    const int step = static_cast<int>(blocks);
    for (int order = step; order <= top; order += step) sets.push_back(IndexSet::dense(m, order));
    return sets;
}

// Small integers: every sum is exact, whatever its order.
Tensors integers(unsigned seed, const std::vector<IndexSet>& sets, std::int64_t batch) {
    std::mt19937 engine(seed);
    Tensors tensors;
    for (const IndexSet& set : sets) {
        tensors.emplace_back(static_cast<std::size_t>(batch * set.size()));
        for (double& x : tensors.back()) x = static_cast<double>(engine() % 7) - 3.0;
    }
    return tensors;
}

}  // namespace

TEST(unit_cumulants_count_set_partitions) {
    const double bell[] = {1, 2, 5, 15, 52, 203, 877, 4140}, even[] = {1, 4, 31, 379};
    for (const std::int64_t m : {1, 3}) {
        for (const Blocks blocks : {Blocks::kAll, Blocks::kEven}) {
            const auto sets = dense_sets(m, blocks, 8);
            Tensors ones;
            for (const IndexSet& set : sets) ones.emplace_back(static_cast<std::size_t>(set.size()), 1.0);
            const Tensors moments = run(moments_from_cumulants, blocks, sets, 1, ones);
            for (std::size_t k = 0; k < sets.size(); ++k) {
                for (const double x : moments[k]) CHECK(x == (blocks == Blocks::kAll ? bell[k] : even[k]));
            }
        }
    }
}

TEST(there_and_back_is_exact_for_every_batch) {
    for (const Blocks blocks : {Blocks::kAll, Blocks::kEven}) {
        for (const std::int64_t m : {1, 2, 5}) {
            for (const std::int64_t batch : {0, 1, 7, 8, 9, 20}) {
                const auto sets = dense_sets(m, blocks, 6);
                const Tensors moments = integers(1, sets, batch);
                CHECK(run(moments_from_cumulants, blocks, sets, batch, run(cumulants_from_moments, blocks, sets, batch, moments)) == moments);
            }
        }
    }
}

TEST(listed_multi_indices_give_the_dense_values) {
    const std::int64_t m = 4;
    const Index rows[] = {0, 0, 1, 3, 0, 1, 2, 3, 2, 2, 2, 2};
    const auto dense = dense_sets(m, Blocks::kAll, 4);
    const auto listed = closure(Blocks::kAll, {IndexSet::listed(m, 4, rows, 3)});
    const Tensors all = integers(2, dense, 1), whole = run(cumulants_from_moments, Blocks::kAll, dense, 1, all);
    Tensors some, expected;
    for (std::size_t k = 0; k < listed.size(); ++k) {
        some.emplace_back();
        expected.emplace_back();
        for (std::int64_t e = 0; e < listed[k].size(); ++e) {
            Index row[4];
            listed[k].rows(e, 1, row);
            some.back().push_back(all[k][static_cast<std::size_t>(dense[k].rank(row))]);
            expected.back().push_back(whole[k][static_cast<std::size_t>(dense[k].rank(row))]);
        }
    }
    CHECK(run(cumulants_from_moments, Blocks::kAll, listed, 1, some) == expected);
}

TEST(a_poll_that_throws_ends_the_job) {
    const auto sets = dense_sets(10, Blocks::kEven, 8);  // large enough for worker threads
    const Tensors moments = integers(3, sets, 64);
    Tensors out = moments;
    int calls = 0;
    const auto poll = [&] {
        if (++calls == 2) throw StateError("enough");
    };
    CHECK_THROWS(StateError, "enough",
                 cumulants_from_moments(Blocks::kEven, sets, 64, rows_of<const double>(moments, sets), rows_of<double>(out, sets), poll));
}

TEST(orders_that_do_not_follow_each_other_are_refused) {
    const std::vector<IndexSet> gap{IndexSet::dense(2, 2), IndexSet::dense(2, 6)};
    const Tensors tensors = integers(4, gap, 1);
    CHECK_THROWS(ArgumentError, "expected order 4", run(cumulants_from_moments, Blocks::kEven, gap, 1, tensors));
}

CHECK_MAIN()
