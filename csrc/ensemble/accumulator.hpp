// What a run has measured so far: exact sums of block sums in 64 replicas, and which nets they cover.
//
// Block b (nets b * block ... ) belongs to replica b mod 64. Sums are exact, so any order of blocks, any
// split into runs and any merge give the same bits. Intervals of nets that are done are kept; a net counts once.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "core/exact_sum.hpp"
#include "ensemble/spec.hpp"

namespace nnqft {

class Accumulator {
public:
    // n_sums moments, `block` nets per block.
    Accumulator(std::int64_t n_sums, std::uint64_t block);

    // Sums over nets [first, first + count), which lie in one block. Thread-safe. Non-finite sums are set aside.
    void add(std::uint64_t first, std::uint64_t count, const double* sums);

    // StateError if sizes differ or nets overlap; then nothing changes.
    void merge(const Accumulator& other);

    // Parts of [first, last) not covered yet.
    std::vector<std::pair<std::uint64_t, std::uint64_t>> missing(std::uint64_t first, std::uint64_t last) const;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> covered() const;

    std::int64_t n_sums() const noexcept { return n_sums_; }
    std::uint64_t block() const noexcept { return block_; }
    std::uint64_t n_nets() const;
    std::uint64_t bad_blocks() const noexcept { return bad_blocks_; }
    std::uint64_t first_bad() const noexcept { return first_bad_; }  // first net of the first block set aside
    std::uint64_t bytes() const;

    // (kReplicas, n_sums) correctly rounded sums, nets and blocks of each replica; and the sums over all replicas.
    void replica_sums(double* sums, std::uint64_t* nets, std::uint64_t* blocks) const;
    void total(double* sums) const;

    // For saving: the replicas' sums in canonical form. replica(r).data() is null where it holds nothing.
    const ExactSums& canonical_replica(int r);
    void restore_replica(int r, ExactSums sums, std::uint64_t nets, std::uint64_t blocks);
    void restore_cover(const std::vector<std::pair<std::uint64_t, std::uint64_t>>& cover, std::uint64_t bad_blocks, std::uint64_t first_bad);

    // Bytes that an accumulator of n_sums moments takes in a typical run: 64 replicas of 5 limbs per moment.
    static std::uint64_t expected_bytes(std::int64_t n_sums);

private:
    void insert(std::uint64_t first, std::uint64_t last);

    std::int64_t n_sums_;
    std::uint64_t block_;
    std::vector<ExactSums> replicas_;
    std::vector<std::uint64_t> nets_, blocks_;
    std::map<std::uint64_t, std::uint64_t> cover_;  // start -> stop, disjoint, not adjacent
    std::uint64_t bad_blocks_ = 0, first_bad_ = ~std::uint64_t{0};
    mutable std::mutex replica_lock_[kReplicas], cover_lock_;
};

}  // namespace nnqft
