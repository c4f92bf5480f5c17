// Moment tensors of a stream of samples, with what error bars and merging need.
//
// Blocks of `block` consecutive samples are summed as moments.hpp says; block b belongs to replica b mod 64. Replicas are
// exact sums, so any split of the stream into pushes, and any merge of parts that begin at multiples of the block, gives the
// same bits. Samples that do not fill a block wait as they are.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "core/exact_sum.hpp"
#include "wick/moments.hpp"

namespace nnqft {

class MomentAccumulator {
public:
    static constexpr std::uint64_t kGroups = 64;
    static constexpr std::int64_t kMaxBlock = std::int64_t{1} << 24;
    static constexpr std::uint64_t kMaxSamples = std::uint64_t{1} << 48;

    // Sums of order 0 (of the weights) and of the given orders. `start`: samples of the stream before the first one pushed,
    // a multiple of the block. ArgumentError for orders outside 1 .. 8, blocks outside 1 .. kMaxBlock, or too much memory.
    MomentAccumulator(std::int64_t m, const std::vector<int>& orders, std::int64_t block, std::uint64_t start);

    // Adds samples. If poll() throws, the samples of whole blocks that are done stay counted: see n_samples().
    void push(const MomentSamples& samples, unsigned threads, const MomentPoll& poll);

    // Adds n_blocks whole blocks whose sums were found elsewhere, as MomentBlocks::run() gives them. StateError while a block is unfinished.
    void push_sums(const double* sums, const std::int64_t* bad_sample, std::int64_t n_blocks);

    // Adds what `other` holds; its unfinished block becomes a short one. StateError if m, orders or block differ.
    void merge(const MomentAccumulator& other);

    std::int64_t m() const noexcept { return blocks_.plan().m(); }
    std::int64_t n_sums() const noexcept { return blocks_.n_sums(); }
    std::int64_t block() const noexcept { return block_; }
    std::uint64_t n_samples() const;
    std::uint64_t n_waiting() const;  // of them, in the unfinished block
    std::uint64_t bytes() const;

    struct Bad {
        std::uint64_t blocks = 0, first = ~std::uint64_t{0};  // first sample of the stream that spoiled a block
    };

    // (kGroups, n_sums) sums rounded to nearest, samples of each replica; the unfinished block counts as a short one.
    Bad replica_sums(double* sums, std::uint64_t* samples) const;

    struct Means {
        std::uint64_t samples = 0, groups = 0;  // replicas that hold samples
        bool weighted = false;                  // some sum of weights is not the number of samples: then nothing is written
        Bad bad;
    };
    // Sums over all samples by their number, and standard errors by the delete-one-replica jackknife, NaN with fewer than
    // `min_groups` of them: with n_g of n samples in replica g of G, whose mean is M_g,
    //     mean = sum_g n_g M_g / n,   error^2 = 1/G sum_g n_g / (n - n_g) (M_g - mean)^2.
    Means means(std::uint64_t min_groups, double* mean, double* error) const;

    // For saving: everything, with the replicas' sums in canonical form.
    struct State {
        std::uint64_t next_block = 0;
        std::vector<ExactSums> sums;
        std::vector<std::uint64_t> samples;  // of each replica
        std::vector<double> waiting;         // rows of m values and a weight
        Bad bad;
    };
    State state() const;
    // StateError if state() of an accumulator of these sizes cannot have given that; then nothing changes.
    void restore(State state);

    // Memory of an accumulator in a typical run: 64 replicas of 5 limbs per sum.
    static double expected_bytes(double n_sums) { return n_sums * kGroups * 5 * sizeof(std::int64_t); }

private:
    struct Replica {
        ExactSums sums;
        std::uint64_t samples = 0;
    };
    // Holds an accumulator for one call; StateError if another is at work: of another thread, or of a progress callback.
    class InUse;

    MomentSamples waiting() const;
    void append(const MomentSamples& samples);
    // Sums of the waiting samples into `replica`, as block next_block_.
    void close(Replica& replica, Bad& bad) const;
    // The replica that the unfinished block belongs to, with it; in `bad` what was bad of all.
    Replica closed(Bad& bad) const;
    std::size_t open() const noexcept { return next_block_ % kGroups; }
    // Block b of the stream; bad_sample as MomentBlocks::run() gives it.
    void add_block(Replica& replica, std::uint64_t b, std::int64_t samples, const double* sums, std::int64_t bad_sample, Bad& bad) const;
    void push_blocks(const MomentSamples& samples, unsigned threads, const MomentPoll& poll);
    void add_blocks(const double* sums, const std::int64_t* bad_sample, std::uint64_t n_blocks, unsigned threads);

    const MomentBlocks blocks_;
    const std::vector<int> orders_;
    const std::int64_t block_;
    std::uint64_t next_block_;  // of the stream: the one that is filled now
    std::vector<Replica> replicas_;
    std::vector<double> waiting_;
    Bad bad_;
    mutable std::atomic<bool> in_use_{false};
};

}  // namespace nnqft
