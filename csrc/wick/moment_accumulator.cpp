#include "wick/moment_accumulator.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace nnqft {
namespace {

// The orders of the sums, after checks that come before any memory.
std::vector<int> with_order_zero(std::int64_t m, const std::vector<int>& orders) {
    if (orders.empty() || std::count(orders.begin(), orders.end(), 0) > 0)
        throw ArgumentError("an accumulator of moments needs at least one order, each from 1 to " + std::to_string(kMaxMomentOrder));
    std::vector<int> all{0};
    all.insert(all.end(), orders.begin(), orders.end());
    check_moment_memory(m, all, 1, MomentAccumulator::expected_bytes(1.0));
    return all;
}

}  // namespace

class MomentAccumulator::InUse {
public:
    explicit InUse(const MomentAccumulator& a) : flag_(a.in_use_) {
        if (flag_.exchange(true, std::memory_order_acquire))
            throw StateError("this accumulator is at work for another call: give each thread its own, and merge them");
    }
    ~InUse() { flag_.store(false, std::memory_order_release); }
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;

private:
    std::atomic<bool>& flag_;
};

MomentAccumulator::MomentAccumulator(std::int64_t m, const std::vector<int>& orders, std::int64_t block, std::uint64_t start)
    : blocks_(m, with_order_zero(m, orders)), orders_(orders), block_(block), next_block_(0) {
    if (block < 1 || block > kMaxBlock)
        throw ArgumentError("a block of " + std::to_string(block) + " samples: expected 1 to " + std::to_string(kMaxBlock));
    if (start > kMaxSamples || start % static_cast<std::uint64_t>(block) != 0)
        throw ArgumentError("start is " + std::to_string(start) + "; expected a multiple of the block, " + std::to_string(block) + ", below 2^48");
    next_block_ = start / static_cast<std::uint64_t>(block);
    replicas_.assign(kGroups, Replica{ExactSums(static_cast<std::size_t>(n_sums()))});
}

MomentSamples MomentAccumulator::waiting() const {
    const auto width = static_cast<std::ptrdiff_t>(m() + 1), step = width * static_cast<std::ptrdiff_t>(sizeof(double));
    MomentSamples s;
    s.count = static_cast<std::int64_t>(waiting_.size()) / width;
    s.rows = {reinterpret_cast<const unsigned char*>(waiting_.data()), step, sizeof(double), false};
    s.weights = {reinterpret_cast<const unsigned char*>(waiting_.data() + m()), step, 0, false};
    return s;
}

void MomentAccumulator::append(const MomentSamples& samples) {
    for (std::int64_t r = 0; r < samples.count; ++r) {
        for (std::int64_t i = 0; i < m(); ++i) waiting_.push_back(value_of(samples.rows, r, i));
        waiting_.push_back(samples.weights.data == nullptr ? 1.0 : value_of(samples.weights, r, 0));
    }
}

void MomentAccumulator::add_block(Replica& replica, std::uint64_t b, std::int64_t samples, const double* sums, std::int64_t bad_sample,
                                  Bad& bad) const {
    replica.samples += static_cast<std::uint64_t>(samples);
    if (bad_sample < 0 && replica.sums.add(sums)) return;
    ++bad.blocks;
    bad.first = std::min(bad.first, b * static_cast<std::uint64_t>(block_) + static_cast<std::uint64_t>(std::max<std::int64_t>(bad_sample, 0)));
}

void MomentAccumulator::close(Replica& replica, Bad& bad) const {
    const MomentSamples samples = waiting();
    if (samples.count == 0) return;
    const std::unique_ptr<double[]> sums(new double[static_cast<std::size_t>(n_sums())]);
    std::int64_t bad_sample = -1;
    if (!blocks_.run(samples, block_, 1, sums.get(), &bad_sample, {})) throw StateError("the process is ending: the moments were not computed");
    add_block(replica, next_block_, samples.count, sums.get(), bad_sample, bad);
}

MomentAccumulator::Replica MomentAccumulator::closed(Bad& bad) const {
    Replica replica = replicas_[open()];
    bad = bad_;
    close(replica, bad);
    return replica;
}

void MomentAccumulator::push(const MomentSamples& samples, unsigned threads, const MomentPoll& poll) {
    const InUse lock(*this);
    const std::uint64_t room = kMaxSamples - next_block_ * static_cast<std::uint64_t>(block_) - waiting_.size() / static_cast<std::uint64_t>(m() + 1);
    if (static_cast<std::uint64_t>(samples.count) > room) throw ArgumentError("an accumulator holds at most 2^48 samples");
    std::int64_t at = 0;
    if (!waiting_.empty()) {
        at = std::min(samples.count, block_ - waiting().count);
        append(samples.slice(0, at));
        if (waiting().count == block_) {
            close(replicas_[open()], bad_);
            ++next_block_;
            waiting_.clear();
        }
    }
    const std::int64_t whole = (samples.count - at) / block_ * block_;
    push_blocks(samples.slice(at, whole), threads, [&](std::uint64_t done) { return !poll || poll(static_cast<std::uint64_t>(at) + done); });
    append(samples.slice(at + whole, samples.count - at - whole));
}

void MomentAccumulator::push_blocks(const MomentSamples& samples, unsigned threads, const MomentPoll& poll) {
    const auto width = static_cast<std::size_t>(n_sums());
    const std::int64_t batch = std::min(blocks_.batch(), samples.count / block_);
    const std::unique_ptr<double[]> sums(new double[width * static_cast<std::size_t>(batch)]);
    std::vector<std::int64_t> bad_sample(static_cast<std::size_t>(batch));
    for (std::int64_t at = 0; at < samples.count; at += batch * block_) {
        const MomentSamples part = samples.slice(at, std::min(batch * block_, samples.count - at));
        const auto poll_part = [&](std::uint64_t done) { return !poll || poll(static_cast<std::uint64_t>(at) + done); };
        if (at > 0) poll_part(0);  // batches may be shorter than the time between two polls
        if (!blocks_.run(part, block_, threads, sums.get(), bad_sample.data(), poll_part))
            throw StateError("the process is ending: not all samples were added");

        add_blocks(sums.get(), bad_sample.data(), static_cast<std::uint64_t>(part.count / block_), threads);
    }
}

// Each replica takes its blocks in turn, while its limbs are in cache. Nothing interrupts this: it takes milliseconds.
void MomentAccumulator::add_blocks(const double* sums, const std::int64_t* bad_sample, std::uint64_t n_blocks, unsigned threads) {
    const auto width = static_cast<std::size_t>(n_sums());
    std::vector<Bad> bad(kGroups);
    const auto add = [&](std::uint64_t g, unsigned, const StopFlag&) {
        for (std::uint64_t b = (g + kGroups - next_block_ % kGroups) % kGroups; b < n_blocks; b += kGroups)
            add_block(replicas_[g], next_block_ + b, block_, sums + b * width, bad_sample[b], bad[g]);
    };
    if (threads > 1 && n_blocks * width > 200'000) {
        if (!run_blocks(0, kGroups, threads, add, {})) throw StateError("the process is ending: not all samples were added");
    } else {
        const StopFlag never;
        for (std::uint64_t g = 0; g < kGroups; ++g) add(g, 0, never);
    }
    for (const Bad& b : bad) bad_ = {bad_.blocks + b.blocks, std::min(bad_.first, b.first)};
    next_block_ += n_blocks;
}

void MomentAccumulator::push_sums(const double* sums, const std::int64_t* bad_sample, std::int64_t n_blocks) {
    const InUse lock(*this);
    if (!waiting_.empty()) throw StateError("a block is unfinished: sums of whole blocks cannot follow");
    if (static_cast<std::uint64_t>(n_blocks) > kMaxSamples / static_cast<std::uint64_t>(block_) - next_block_)
        throw ArgumentError("an accumulator holds at most 2^48 samples");
    add_blocks(sums, bad_sample, static_cast<std::uint64_t>(n_blocks), 1);
}

void MomentAccumulator::merge(const MomentAccumulator& other) {
    if (other.m() != m() || other.orders_ != orders_ || other.block_ != block_)
        throw StateError("cannot merge: " + std::to_string(m()) + " fields, " + std::to_string(n_sums()) + " sums and blocks of " +
                         std::to_string(block_) + " samples here, " + std::to_string(other.m()) + ", " + std::to_string(other.n_sums()) + " and " +
                         std::to_string(other.block_) + " there");
    if (&other == this) throw StateError("cannot merge an accumulator with itself: its samples are counted already");
    const InUse mine(*this), theirs(other);
    Replica rest{ExactSums(static_cast<std::size_t>(n_sums()))};
    Bad bad = other.bad_;
    other.close(rest, bad);
    const auto add = [](Replica& to, const Replica& from) {
        to.sums.merge(from.sums);
        to.samples += from.samples;
    };
    for (std::size_t g = 0; g < kGroups; ++g) add(replicas_[g], other.replicas_[g]);
    add(replicas_[other.open()], rest);
    bad_ = {bad_.blocks + bad.blocks, std::min(bad_.first, bad.first)};
}

std::uint64_t MomentAccumulator::n_samples() const {
    const InUse lock(*this);
    std::uint64_t n = static_cast<std::uint64_t>(waiting().count);
    for (const Replica& r : replicas_) n += r.samples;
    return n;
}

std::uint64_t MomentAccumulator::n_waiting() const {
    const InUse lock(*this);
    return static_cast<std::uint64_t>(waiting().count);
}

std::uint64_t MomentAccumulator::bytes() const {
    const InUse lock(*this);
    std::uint64_t n = sizeof *this + waiting_.capacity() * sizeof(double);
    for (const Replica& r : replicas_) n += r.sums.bytes();
    return n;
}

MomentAccumulator::Bad MomentAccumulator::replica_sums(double* sums, std::uint64_t* samples) const {
    const InUse lock(*this);
    Bad bad;
    const Replica finished = closed(bad);
    for (std::size_t g = 0; g < kGroups; ++g) {
        const Replica& r = g == open() ? finished : replicas_[g];
        r.sums.round(sums);
        sums += n_sums();
        *samples++ = r.samples;
    }
    return bad;
}

MomentAccumulator::Means MomentAccumulator::means(std::uint64_t min_groups, double* mean, double* error) const {
    const InUse lock(*this);
    struct Group {
        std::vector<double> sums;
        double samples, weight;  // n_g / (n - n_g) / G
    };
    Means means;
    std::vector<Group> groups;
    const Replica finished = closed(means.bad);
    for (std::size_t g = 0; g < kGroups; ++g) {
        const Replica& r = g == open() ? finished : replicas_[g];
        if (r.samples == 0) continue;
        groups.push_back({std::vector<double>(static_cast<std::size_t>(n_sums())), static_cast<double>(r.samples), 0.0});
        r.sums.round(groups.back().sums.data());
        means.samples += r.samples;
        means.weighted |= groups.back().sums[0] != groups.back().samples;
    }
    means.groups = groups.size();
    if (groups.empty() || means.weighted) return means;
    const auto n = static_cast<double>(means.samples);
    for (Group& g : groups) g.weight = g.samples / (n - g.samples) / static_cast<double>(groups.size());

    constexpr std::int64_t kStep = 512;  // sums, 4 KiB of each group: they come from cache the second time
    for (std::int64_t first = 0; first < n_sums(); first += kStep) {
        const std::int64_t last = std::min(n_sums(), first + kStep);
        std::fill(mean + first, mean + last, 0.0);
        std::fill(error + first, error + last, 0.0);
        for (const Group& g : groups)
            for (std::int64_t i = first; i < last; ++i) mean[i] += g.sums[static_cast<std::size_t>(i)];
        for (std::int64_t i = first; i < last; ++i) mean[i] /= n;
        for (const Group& g : groups) {
            const double* const sums = g.sums.data();
            const double per_sample = 1.0 / g.samples, weight = g.weight;
            for (std::int64_t i = first; i < last; ++i) {
                const double deviation = sums[i] * per_sample - mean[i];
                error[i] += weight * deviation * deviation;
            }
        }
        for (std::int64_t i = first; i < last; ++i)
            error[i] = groups.size() < min_groups ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(error[i]);
    }
    return means;
}

MomentAccumulator::State MomentAccumulator::state() const {
    const InUse lock(*this);
    State state{next_block_, {}, {}, waiting_, bad_};
    for (const Replica& r : replicas_) {
        state.sums.push_back(r.sums);
        state.sums.back().canonicalise();
        state.samples.push_back(r.samples);
    }
    return state;
}

void MomentAccumulator::restore(State state) {
    const InUse lock(*this);
    if (state.sums.size() != kGroups || state.samples.size() != kGroups)
        throw StateError("stored moments must have " + std::to_string(kGroups) + " replicas");
    std::uint64_t total = 0;
    for (std::size_t g = 0; g < kGroups; ++g) {
        if (state.sums[g].size() != static_cast<std::size_t>(n_sums())) throw StateError("stored moments are of another number of fields or orders");
        if (state.samples[g] > kMaxSamples) throw StateError("a stored replica has more than 2^48 samples");
        if (state.samples[g] == 0 && state.sums[g].planes() > 0) throw StateError("a stored replica without samples has sums");
        total += state.samples[g];
    }
    if (state.waiting.size() % static_cast<std::size_t>(m() + 1) != 0 ||
        state.waiting.size() / static_cast<std::size_t>(m() + 1) >= static_cast<std::size_t>(block_))
        throw StateError("the stored unfinished block is not made of rows of " + std::to_string(m()) + " fields and a weight, fewer than " +
                         std::to_string(block_));
    if (state.next_block > kMaxSamples / static_cast<std::uint64_t>(block_) || state.bad.blocks > total)
        throw StateError("the stored numbers of blocks are impossible");
    next_block_ = state.next_block;
    waiting_ = std::move(state.waiting);
    bad_ = state.bad;
    for (std::size_t g = 0; g < kGroups; ++g) {
        replicas_[g].sums = std::move(state.sums[g]);
        replicas_[g].samples = state.samples[g];
    }
}

}  // namespace nnqft
