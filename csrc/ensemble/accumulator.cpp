#include "ensemble/accumulator.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"

namespace nnqft {

Accumulator::Accumulator(std::int64_t n_sums, std::uint64_t block)
    : n_sums_(n_sums), block_(block), replicas_(kReplicas, ExactSums(static_cast<std::size_t>(n_sums))), nets_(kReplicas, 0), blocks_(kReplicas, 0) {}

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

void Accumulator::add(std::uint64_t first, std::uint64_t count, const double* sums) {
    const int r = static_cast<int>((first / block_) % kReplicas);
    bool good;
    {
        const std::lock_guard<std::mutex> lock(replica_lock_[r]);
        good = replicas_[static_cast<std::size_t>(r)].add(sums);
        nets_[static_cast<std::size_t>(r)] += count;
        blocks_[static_cast<std::size_t>(r)] += 1;
    }
    const std::lock_guard<std::mutex> lock(cover_lock_);
    insert(first, first + count);
    if (!good) {
        ++bad_blocks_;
        first_bad_ = std::min(first_bad_, first);
    }
}

void Accumulator::merge(const Accumulator& other) {
    if (other.n_sums_ != n_sums_ || other.block_ != block_)
        throw StateError("cannot merge: block size " + std::to_string(block_) + " and " + std::to_string(n_sums_) + " moments here, " +
                         std::to_string(other.block_) + " and " + std::to_string(other.n_sums_) + " there");
    for (const auto& [start, stop] : other.cover_) {
        auto next = cover_.lower_bound(start);
        const bool overlap = (next != cover_.end() && next->first < stop) || (next != cover_.begin() && std::prev(next)->second > start);
        if (overlap)
            throw StateError("cannot merge: nets " + std::to_string(start) + " to " + std::to_string(stop - 1) +
                             " overlap nets that are already counted; run the second part with another `start` or seed");
    }
    for (std::size_t r = 0; r < kReplicas; ++r) {
        replicas_[r].merge(other.replicas_[r]);
        nets_[r] += other.nets_[r];
        blocks_[r] += other.blocks_[r];
    }
    for (const auto& [start, stop] : other.cover_) insert(start, stop);
    bad_blocks_ += other.bad_blocks_;
    first_bad_ = std::min(first_bad_, other.first_bad_);
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> Accumulator::missing(std::uint64_t first, std::uint64_t last) const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> gaps;
    for (const auto& [start, stop] : cover_) {
        if (first >= last) break;
        if (stop <= first) continue;
        if (start > first) gaps.emplace_back(first, std::min(start, last));
        first = std::max(first, stop);
    }
    if (first < last) gaps.emplace_back(first, last);
    return gaps;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> Accumulator::covered() const { return {cover_.begin(), cover_.end()}; }

std::uint64_t Accumulator::n_nets() const {
    std::uint64_t n = 0;
    for (std::uint64_t k : nets_) n += k;
    return n;
}

std::uint64_t Accumulator::bytes() const {
    std::uint64_t n = sizeof *this;
    for (const auto& r : replicas_) n += r.bytes();
    return n;
}

void Accumulator::replica_sums(double* sums, std::uint64_t* nets, std::uint64_t* blocks) const {
    for (std::size_t r = 0; r < kReplicas; ++r) replicas_[r].round(sums + r * static_cast<std::size_t>(n_sums_));
    std::copy(nets_.begin(), nets_.end(), nets);
    std::copy(blocks_.begin(), blocks_.end(), blocks);
}

void Accumulator::total(double* sums) const {
    ExactSums all(static_cast<std::size_t>(n_sums_));
    for (const auto& r : replicas_) all.merge(r);
    all.round(sums);
}

const ExactSums& Accumulator::canonical_replica(int r) {
    ExactSums& sums = replicas_.at(static_cast<std::size_t>(r));
    sums.canonicalise();
    return sums;
}

void Accumulator::restore_replica(int r, ExactSums sums, std::uint64_t nets, std::uint64_t blocks) {
    if (sums.size() != static_cast<std::size_t>(n_sums_)) throw StateError("stored sums have another number of moments");
    replicas_.at(static_cast<std::size_t>(r)) = std::move(sums);
    nets_[static_cast<std::size_t>(r)] = nets;
    blocks_[static_cast<std::size_t>(r)] = blocks;
}

void Accumulator::restore_cover(const std::vector<std::pair<std::uint64_t, std::uint64_t>>& cover, std::uint64_t bad_blocks, std::uint64_t first_bad) {
    std::uint64_t nets = 0, end = 0;
    bool first = true;
    for (const auto& [start, stop] : cover) {
        if (stop <= start || (!first && start <= end)) throw StateError("stored net intervals are not disjoint and ascending");
        nets += stop - start;
        end = stop;
        first = false;
    }
    if (nets != n_nets()) throw StateError("stored net intervals do not add up to the stored number of nets");
    cover_.clear();
    for (const auto& [start, stop] : cover) cover_[start] = stop;
    bad_blocks_ = bad_blocks;
    first_bad_ = first_bad;
}

std::uint64_t Accumulator::expected_bytes(std::int64_t n_sums) {
    return static_cast<std::uint64_t>(n_sums) * kReplicas * 5 * sizeof(std::int64_t);
}

}  // namespace nnqft
