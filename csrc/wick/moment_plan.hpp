// How the moment tensors of m fields are cut into products and tiles.
//
// Order n: the sum for i1 <= .. <= in is <left, right> with left = w f_i1 .. f_ia, right = f_i(a+1) .. f_in and a = n / 2. A
// left row whose last index is k meets the right columns whose first index is >= k; in lexicographic order these are the
// last N(m-k, n-a), and the sums of one row are neighbours. So the sums form a staircase of exactly N(m, n) = C(m+n-1, n)
// places, cut into rectangular tiles; no product is formed twice.
#pragma once

#include <cstdint>
#include <vector>

#include "wick/moments_kernels.hpp"

namespace nnqft {

constexpr int kMaxMomentOrder = 8;

// Stripes out .. out + count - 1 are field `factor` times stripes in .. in + count - 1.
struct StripeProducts {
    std::int64_t factor, in, out, count;
};

// All multisets of 0, 1, .. fields as stripes, in lexicographic order within each order q: from first[q] on. Those of order q
// that begin with i are field i times those of order q - 1 that begin with no less, the last N(m-i, q-1).
struct StripePyramid {
    std::vector<std::int64_t> first;
    std::vector<StripeProducts> products;  // in an order in which they can be formed
    std::int64_t size() const noexcept { return first.back(); }
};

struct MomentPart {
    int order = 0, left_order = 0, right_order = 0;
    std::int64_t count = 0;   // sums: N(m, order)
    std::int64_t offset = 0;  // of the first among those of all orders
    // Rows in ascending order of their last index, so that the first columns ascend too.
    std::vector<std::int32_t> row_stripe;  // place among the left stripes of left_order
    std::vector<std::int64_t> row_out;     // sum (row, col) is number row_out[row] + col of this order
    std::vector<MomentTile> tiles;
};

class MomentPlan {
public:
    // ArgumentError unless 1 <= m, every order is in 0 .. 8, none twice; or if the sums exceed the address space.
    MomentPlan(std::int64_t m, const std::vector<int>& orders, const MomentKernels& kernels);

    std::int64_t m() const noexcept { return m_; }
    std::int64_t n_sums() const noexcept { return n_sums_; }
    std::int64_t n_tiles() const noexcept { return n_tiles_; }
    const std::vector<MomentPart>& parts() const noexcept { return parts_; }
    // The products formed; left ones carry the weight, and without weights the right ones serve for them.
    const StripePyramid& right() const noexcept { return right_; }
    const StripePyramid& left() const noexcept { return left_; }

    // Sum of N(m, order); ArgumentError as above. The cost of a plan is about n_sums / 10, so this comes first.
    static std::int64_t count_sums(std::int64_t m, const std::vector<int>& orders);

private:
    std::int64_t m_, n_sums_ = 0, n_tiles_ = 0;
    std::vector<MomentPart> parts_;
    StripePyramid right_, left_;
};

}  // namespace nnqft
