// What a run has measured so far: exact sums of block sums in 64 replicas, and which nets they cover.
//
// Block b (nets b * block ... ) belongs to replica b mod 64. Sums are exact, so any order of blocks, any
// split into runs and any merge give the same bits. Intervals of nets that are done are kept; a net counts once.
// Any function may be called from any thread at any time: what it reads or changes is one consistent state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/exact_sum.hpp"
#include "ensemble/spec.hpp"

namespace nnqft {

constexpr std::uint64_t kMaxNets = std::uint64_t{1} << 48;

// Half-open intervals [start, stop) of nets, ascending.
using Intervals = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

class Accumulator {
public:
    static constexpr std::uint64_t kMaxBlock = std::uint64_t{1} << 24;

    // n_sums moments, `block` nets per block: a multiple of kTile, at most kMaxBlock. ArgumentError for other sizes.
    Accumulator(std::int64_t n_sums, std::uint64_t block);

    // Sums over nets [first, first + count), which lie in one block. Non-finite sums are set aside. False, and no change,
    // if some of the nets are counted already: two runs over the same nets may meet here.
    bool add(std::uint64_t first, std::uint64_t count, const double* sums);

    // add() for the blocks of nets [first, last), a row of sums each, on up to `threads` threads. ArgumentError unless first is a
    // multiple of the block.
    void add_rows(std::uint64_t first, std::uint64_t last, const double* rows, unsigned threads);

    // StateError if sizes differ or nets overlap; then nothing changes.
    void merge(const Accumulator& other);

    // Parts of [first, last) not covered yet.
    Intervals missing(std::uint64_t first, std::uint64_t last) const;
    Intervals covered() const;

    std::int64_t n_sums() const noexcept { return n_sums_; }
    std::uint64_t block() const noexcept { return block_; }
    std::uint64_t n_nets() const;
    std::uint64_t bad_blocks() const;
    std::uint64_t first_bad() const;  // first net of the first block set aside
    std::uint64_t bytes() const;

    // (kReplicas, n_sums) correctly rounded sums, nets and blocks of each replica; and the sums over all replicas.
    void replica_sums(double* sums, std::uint64_t* nets, std::uint64_t* blocks) const;
    void total(double* sums) const;

    // For saving: everything, with the replicas' sums in canonical form.
    struct State {
        std::vector<ExactSums> replicas;
        std::vector<std::uint64_t> nets, blocks;  // of each replica
        Intervals covered;
        std::uint64_t bad_blocks = 0, first_bad = ~std::uint64_t{0};
    };
    State state() const;
    // StateError if state() of an accumulator of these sizes cannot have given that; then nothing changes.
    void restore(State state);

    // Bytes that an accumulator of n_sums moments takes in a typical run: 64 replicas of 5 limbs per moment.
    static std::uint64_t expected_bytes(std::int64_t n_sums);

private:
    static constexpr std::size_t kLocks = 16;
    class Exclusive;

    std::mutex& lock_of(std::size_t replica) const noexcept { return replica_lock_[replica % kLocks]; }
    bool overlaps(std::uint64_t first, std::uint64_t last) const;
    void insert(std::uint64_t first, std::uint64_t last);

    const std::int64_t n_sums_;
    const std::uint64_t block_;
    // A replica changes under its lock, the intervals and bad blocks under cover_lock_ as well: who holds cover_lock_ may
    // read the latter, who holds all locks (Exclusive) sees a state in which they belong together.
    mutable std::mutex replica_lock_[kLocks], cover_lock_;
    std::vector<ExactSums> replicas_;
    std::vector<std::uint64_t> nets_, blocks_;
    std::map<std::uint64_t, std::uint64_t> cover_;  // start -> stop, disjoint, not adjacent
    std::uint64_t bad_blocks_ = 0, first_bad_ = ~std::uint64_t{0};
};

}  // namespace nnqft
