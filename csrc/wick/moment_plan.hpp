// How the moment tensors of m fields are cut into products and tiles.
//
// Order n: the sum for i1 <= .. <= in is <row, column> with row = w f_i1 .. f_ia, column = f_i(a+1) .. f_in and a = n / 2. A
// row whose last index is k meets the columns whose first index is >= k; in lexicographic order these are the last
// N(m-k, n-a), and the sums of one row are neighbours. So the sums form a staircase of exactly N(m, n) = C(m+n-1, n) places,
// cut into rectangular tiles; no sum is formed twice. Rows and columns in turn are products of two stripes of order <= 2.
#pragma once

#include <cstdint>
#include <vector>

#include "wick/moments_kernels.hpp"

namespace nnqft {

constexpr int kMaxMomentOrder = 8;

// The sums of one order; rows in ascending order of their last index.
struct MomentPart {
    int order = 0;
    std::int64_t offset = 0;                        // of its sums among those of all orders
    std::vector<std::int32_t> row_left, row_right;  // as in MomentRun
    std::vector<std::int32_t> col_one, col_two;
    std::vector<std::int64_t> row_out;
    std::vector<MomentTile> tiles;
    std::vector<MomentChunk> chunks;
};

class MomentPlan {
public:
    // ArgumentError unless 1 <= m, every order is in 0 .. 8, none twice; or if no memory could hold the sums.
    MomentPlan(std::int64_t m, const std::vector<int>& orders, const MomentKernels& kernels);

    std::int64_t m() const noexcept { return m_; }
    std::int64_t n_sums() const noexcept { return n_sums_; }
    const std::vector<MomentPart>& parts() const noexcept { return parts_; }

    // Stripes: 1, the m fields, and where an order needs them their products f_i f_j, i <= j, lexicographic.
    std::int64_t n_stripes() const noexcept { return n_stripes_; }
    bool needs_pairs() const noexcept { return n_stripes_ > 1 + m_; }

    // Sum of N(m, order); ArgumentError as above. The cost of a plan is about n_sums / 10, so this comes first.
    static std::int64_t count_sums(std::int64_t m, const std::vector<int>& orders);

private:
    std::int64_t m_, n_sums_ = 0, n_stripes_ = 0;
    std::vector<MomentPart> parts_;
};

}  // namespace nnqft
