#include "ensemble/accumulator.hpp"

#include <algorithm>
#include <functional>
#include <string>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace nnqft {

// Holds every lock of an accumulator.
class Accumulator::Exclusive {
public:
    explicit Exclusive(const Accumulator& a) : a_(a) {
        for (std::mutex& lock : a_.replica_lock_) lock.lock();
        a_.cover_lock_.lock();
    }
    ~Exclusive() {
        a_.cover_lock_.unlock();
        for (std::mutex& lock : a_.replica_lock_) lock.unlock();
    }
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

private:
    const Accumulator& a_;
};

namespace {

std::size_t checked_size(std::int64_t n_sums, std::uint64_t block) {
    if (n_sums < 1) throw ArgumentError("an accumulator needs at least one moment, got " + std::to_string(n_sums));
    if (block < 1 || block > Accumulator::kMaxBlock || block % kTile != 0)
        throw ArgumentError("a block of " + std::to_string(block) + " nets: expected a multiple of " + std::to_string(kTile) +
                            " from " + std::to_string(kTile) + " to " + std::to_string(Accumulator::kMaxBlock));
    return static_cast<std::size_t>(n_sums);
}

std::uint64_t sum(const std::vector<std::uint64_t>& counts) {
    std::uint64_t n = 0;
    for (std::uint64_t k : counts) n += k;
    return n;
}

}  // namespace

Accumulator::Accumulator(std::int64_t n_sums, std::uint64_t block)
    : n_sums_(n_sums), block_(block), replicas_(kReplicas, ExactSums(checked_size(n_sums, block))), nets_(kReplicas, 0), blocks_(kReplicas, 0) {}

bool Accumulator::overlaps(std::uint64_t first, std::uint64_t last) const {
    const auto next = cover_.lower_bound(first);
    return (next != cover_.end() && next->first < last) || (next != cover_.begin() && std::prev(next)->second > first);
}

void Accumulator::insert(std::uint64_t first, std::uint64_t last) {
    auto next = cover_.lower_bound(first);
    if (next != cover_.begin()) {
        const auto before = std::prev(next);
        if (before->second == first) {
            first = before->first;
            cover_.erase(before);
        }
    }
    if (next != cover_.end() && next->first == last) {
        last = next->second;
        cover_.erase(next);
    }
    cover_[first] = last;
}

bool Accumulator::add(std::uint64_t first, std::uint64_t count, const double* sums) {
    const std::size_t r = (first / block_) % kReplicas;
    const std::lock_guard<std::mutex> lock(lock_of(r));  // nets that overlap these are of the same block, so they wait here
    {
        const std::lock_guard<std::mutex> cover(cover_lock_);
        if (overlaps(first, first + count)) return false;
    }
    const bool good = replicas_[r].add(sums);
    nets_[r] += count;
    blocks_[r] += 1;
    const std::lock_guard<std::mutex> cover(cover_lock_);
    insert(first, first + count);
    if (!good) {
        ++bad_blocks_;
        first_bad_ = std::min(first_bad_, first);
    }
    return true;
}

void Accumulator::add_rows(std::uint64_t first, std::uint64_t last, const double* rows, unsigned threads) {
    if (first % block_ != 0 || last < first || last > kMaxNets)
        throw ArgumentError("rows of sums for nets " + std::to_string(first) + " to " + std::to_string(last) + " do not begin with a block of " +
                            std::to_string(block_) + " nets, or lie beyond 2^48");
    const std::uint64_t from = first / block_, to = (last + block_ - 1) / block_;
    const auto add_row = [&](std::uint64_t b) {
        const std::uint64_t net = b * block_;
        add(net, std::min(block_, last - net), rows + (b - from) * static_cast<std::uint64_t>(n_sums_));
    };
    // A thread starts in less than the time of 2^16 additions.
    const auto worth = static_cast<std::uint64_t>(static_cast<double>(to - from) * static_cast<double>(n_sums_) / 65536.0);
    threads = static_cast<unsigned>(std::min<std::uint64_t>(threads, worth));
    if (threads <= 1) {
        for (std::uint64_t b = from; b < to; ++b) add_row(b);
        return;
    }
    run_blocks(0, threads, threads, [&](std::uint64_t part, unsigned, const StopFlag&) {
        for (std::uint64_t b = from + part; b < to; b += threads) add_row(b);
    }, {});
}

void Accumulator::merge(const Accumulator& other) {
    if (other.n_sums_ != n_sums_ || other.block_ != block_)
        throw StateError("cannot merge: block size " + std::to_string(block_) + " and " + std::to_string(n_sums_) + " moments here, " +
                         std::to_string(other.block_) + " and " + std::to_string(other.n_sums_) + " there");
    if (&other == this) {
        if (n_nets() > 0) throw StateError("cannot merge an accumulator with itself: its nets are counted already");
        return;
    }
    // In the order of addresses: a.merge(b) beside b.merge(a) must not wait for each other.
    const bool first = std::less<const Accumulator*>()(this, &other);
    const Exclusive one(first ? *this : other), two(first ? other : *this);
    for (const auto& [start, stop] : other.cover_)
        if (overlaps(start, stop))
            throw StateError("cannot merge: nets " + std::to_string(start) + " to " + std::to_string(stop - 1) +
                             " overlap nets that are already counted; run the second part with another `start` or seed");
    for (std::size_t r = 0; r < kReplicas; ++r) {
        replicas_[r].merge(other.replicas_[r]);
        nets_[r] += other.nets_[r];
        blocks_[r] += other.blocks_[r];
    }
    for (const auto& [start, stop] : other.cover_) insert(start, stop);
    bad_blocks_ += other.bad_blocks_;
    first_bad_ = std::min(first_bad_, other.first_bad_);
}

Intervals Accumulator::missing(std::uint64_t first, std::uint64_t last) const {
    const std::lock_guard<std::mutex> cover(cover_lock_);
    Intervals gaps;
    for (const auto& [start, stop] : cover_) {
        if (first >= last) break;
        if (stop <= first) continue;
        if (start > first) gaps.emplace_back(first, std::min(start, last));
        first = std::max(first, stop);
    }
    if (first < last) gaps.emplace_back(first, last);
    return gaps;
}

Intervals Accumulator::covered() const {
    const std::lock_guard<std::mutex> cover(cover_lock_);
    return {cover_.begin(), cover_.end()};
}

std::uint64_t Accumulator::n_nets() const {
    const std::lock_guard<std::mutex> cover(cover_lock_);
    std::uint64_t n = 0;
    for (const auto& [start, stop] : cover_) n += stop - start;
    return n;
}

std::uint64_t Accumulator::bad_blocks() const {
    const std::lock_guard<std::mutex> cover(cover_lock_);
    return bad_blocks_;
}

std::uint64_t Accumulator::first_bad() const {
    const std::lock_guard<std::mutex> cover(cover_lock_);
    return first_bad_;
}

std::uint64_t Accumulator::bytes() const {
    const Exclusive all(*this);
    std::uint64_t n = sizeof *this;
    for (const auto& r : replicas_) n += r.bytes();
    return n;
}

void Accumulator::replica_sums(double* sums, std::uint64_t* nets, std::uint64_t* blocks) const {
    const Exclusive all(*this);
    for (std::size_t r = 0; r < kReplicas; ++r) replicas_[r].round(sums + r * static_cast<std::size_t>(n_sums_));
    std::copy(nets_.begin(), nets_.end(), nets);
    std::copy(blocks_.begin(), blocks_.end(), blocks);
}

void Accumulator::total(double* sums) const {
    ExactSums whole(static_cast<std::size_t>(n_sums_));
    {
        const Exclusive all(*this);
        for (const auto& r : replicas_) whole.merge(r);
    }
    whole.round(sums);
}

Accumulator::State Accumulator::state() const {
    State state;
    {
        const Exclusive all(*this);
        state = {replicas_, nets_, blocks_, {cover_.begin(), cover_.end()}, bad_blocks_, first_bad_};
    }
    for (ExactSums& sums : state.replicas) sums.canonicalise();
    return state;
}

void Accumulator::restore(State state) {
    if (state.replicas.size() != kReplicas || state.nets.size() != kReplicas || state.blocks.size() != kReplicas)
        throw StateError("a stored accumulator must have " + std::to_string(kReplicas) + " replicas");
    for (const ExactSums& sums : state.replicas)
        if (sums.size() != static_cast<std::size_t>(n_sums_)) throw StateError("stored sums have another number of moments");
    std::vector<std::uint64_t> nets(kReplicas, 0), blocks(kReplicas, 0);
    std::uint64_t end = 0;
    for (const auto& [start, stop] : state.covered) {
        if (start % block_ != 0 || stop <= start || stop > kMaxNets || (end != 0 && start <= end))
            throw StateError("stored net intervals are not whole blocks, disjoint and ascending");
        end = stop;
        const std::uint64_t first = start / block_, last = (stop - 1) / block_, partial = (last + 1) * block_ - stop;
        for (std::uint64_t b = first; b <= last && b < first + kReplicas; ++b) {
            const std::uint64_t mine = (last - b) / kReplicas + 1;
            nets[b % kReplicas] += mine * block_;
            blocks[b % kReplicas] += mine;
        }
        nets[last % kReplicas] -= partial;
    }
    if (nets != state.nets || blocks != state.blocks || state.bad_blocks > sum(blocks))
        throw StateError("stored net intervals do not add up to the stored numbers of nets and blocks");

    const Exclusive all(*this);
    replicas_ = std::move(state.replicas);
    nets_ = std::move(nets);
    blocks_ = std::move(blocks);
    cover_ = {state.covered.begin(), state.covered.end()};
    bad_blocks_ = state.bad_blocks;
    first_bad_ = state.first_bad;
}

std::uint64_t Accumulator::expected_bytes(std::int64_t n_sums) {
    return static_cast<std::uint64_t>(n_sums) * kReplicas * 5 * sizeof(std::int64_t);
}

}  // namespace nnqft
