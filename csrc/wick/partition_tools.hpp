// What the sums over pairings and over set partitions share.
#pragma once

#include <cstdint>
#include <string>

#include "../core/error.hpp"
#include "multiset.hpp"
#include "partition_sums.hpp"

namespace nnqft {

constexpr int kMaxPartitionOrder = 8;

// Asks `poll` after every few million operations.
class Meter {
public:
    explicit Meter(const Poll& poll) : poll_(poll) {}

    void spend(std::int64_t operations) {
        spent_ += operations;
        if (spent_ < (std::int64_t{1} << 22)) return;
        spent_ = 0;
        if (poll_) poll_();
    }

private:
    const Poll& poll_;
    std::int64_t spent_ = 0;
};

[[noreturn]] inline void throw_missing(const IndexSet& set, const Index* wanted, const Index* row, int order, const char* remedy) {
    throw ArgumentError("the list of order " + std::to_string(set.order()) + " lacks " + IndexSet::text(wanted, set.order()) +
                        ", which the entry " + IndexSet::text(row, order) + " needs: build the lists with " + remedy);
}

}  // namespace nnqft
