// Moment tensors: packed symmetric sums over samples, with or without weights,
//
//     T_{i1..in} = sum_r w_r F_{r,i1} .. F_{r,in},   i1 <= .. <= in,   C(m+n-1, n) products per sample and order.
//
// The same sums integrate the vertices of Feynman diagrams: rows are quadrature nodes then.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "wick/moment_plan.hpp"

namespace nnqft {

struct MomentSamples {
    MomentRows rows;
    MomentRows weights;  // one column; data null: all weights are 1
    std::int64_t count = 0;

    MomentSamples slice(std::int64_t first, std::int64_t n) const noexcept;
};

double value_of(const MomentRows& rows, std::int64_t row, std::int64_t col);

// ArgumentError if sums of these orders, at bytes_per_sum each, and the work on them exceed the machine's memory; or as
// MomentPlan's constructor throws.
void check_moment_memory(std::int64_t m, const std::vector<int>& orders, unsigned threads, double bytes_per_sum);

// Called every 50 ms with the number of samples done; false or a throw abandons the work.
using MomentPoll = std::function<bool(std::uint64_t done)>;

// Sums of blocks of consecutive samples: a function of the block's samples alone, the same bits on every machine.
//
// Within a panel of 256 samples as moments_kernels.hpp says; the panels of a block are added in order. Where a panel's
// fields leave 2^-100 .. 2^100 its columns are scaled by powers of two. So products do not overflow on the way to a sum that
// does not, nor underflow, unless they are below 2^-170 of the product of the columns' largest values.
class MomentBlocks {
public:
    // Block sums of the given orders, 0 (the sum of weights) .. 8, one after the other. ArgumentError for other orders.
    MomentBlocks(std::int64_t m, const std::vector<int>& orders);

    const MomentPlan& plan() const noexcept { return plan_; }
    std::int64_t n_sums() const noexcept { return plan_.n_sums(); }

    // sums[b * n_sums ..] for block b: samples b * block .. of `samples`; the last block may be shorter. bad[b]: the first
    // sample with a NaN or infinity, counted from the start of block b, whose sums mean nothing then; else -1. False if
    // stopped. ArgumentError unless threads is in 1 .. kMaxThreads.
    bool run(const MomentSamples& samples, std::int64_t block, unsigned threads, double* sums, std::int64_t* bad, const MomentPoll& poll) const;

    // Blocks that run() should be given at once: 8 MB of sums.
    std::int64_t batch() const noexcept;

private:
    class Worker;
    MomentKernels kernels_;
    MomentPlan plan_;
};

// All sums of the given orders, one after the other, correctly rounded from exact totals of blocks of 4096 samples.
// Returns the first sample that made them NaN (not finite, or a block whose sums overflow begins there), or -1.
// StateError if stopped because the process ends.
std::int64_t moment_sums(const MomentSamples& samples, std::int64_t m, const std::vector<int>& orders, unsigned threads, double* out,
                         const MomentPoll& poll);

}  // namespace nnqft
