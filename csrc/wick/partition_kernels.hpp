// The inner loop of the recursion over set partitions, once per instruction set.
//
// A tile holds kTile independent tensors (jackknife replicas, say) side by side: entry p of all of them at tile[kTile p].
#pragma once

#include <cstdint>

namespace nnqft {

constexpr int kTile = 8;         // doubles in the widest vector register
constexpr int kTileEntries = 4;  // entries at a time: their sums are independent, which hides the latency of additions

// One term of the sum over splits of the legs into a block and the rest: two tensors, and the columns of `at` that hold the
// positions of the two sub-multi-indices.
struct PartitionTerm {
    const double* block;
    const double* rest;
    std::int32_t block_at;
    std::int32_t rest_at;
};

// sum[e] <- sum[e] +- sum over terms of block[at[e][block_at]] * rest[at[e][rest_at]], in the order of the terms, for `entries`
// tiles, a multiple of kTileEntries.
struct PartitionSums {
    const PartitionTerm* terms;
    int n_terms;
    bool subtract;
    const std::int32_t* at;
    std::int64_t columns;
    std::int64_t entries;
    double* sum;
};

namespace scalar {
void add_partitions(const PartitionSums& sums) noexcept;
}
namespace avx2 {
void add_partitions(const PartitionSums& sums) noexcept;
}
namespace avx512 {
void add_partitions(const PartitionSums& sums) noexcept;
}

}  // namespace nnqft
