// A moment program (csrc/ensemble/spec.hpp), cut into units of 16 sums: half a warp each, one lane per chain of the CPU's.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "ensemble/spec.hpp"

namespace nnqft::cuda {

enum class UnitKind : int32_t { tile, row, plain };

// tile:  sums of slot[a[r]] * slot[b + c] go to sum[r] + c, r < 4, c < count <= 4; sum[r] < 0 where there is no row r
// row:   sums of slot[a[0]] * slot[b + c] go to sum[0] + c, c < count <= 16
// plain: sums of slot[b + c] go to sum[0] + c, c < count <= 16
struct MomentUnit {
    UnitKind kind;
    int32_t count, b;
    int32_t a[4], sum[4];
};

// slot[store] = slot[a] * slot[b]
struct StoredProduct {
    int32_t a, b, store;
};

struct MomentUnits {
    std::vector<MomentUnit> units;
    std::vector<StoredProduct> products;
    std::vector<int32_t> level_ends;  // products up to level_ends[k] need those up to level_ends[k - 1] only
    int32_t n_fields = 0, n_slots = 0;
    int64_t n_sums = 0;
};

constexpr int kMaxLevels = 8;  // of products; dense programs have up to 3

// ArgumentError if the products need more than kMaxLevels levels.
MomentUnits moment_units(const MomentProgram& program);

}  // namespace nnqft::cuda
