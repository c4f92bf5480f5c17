#include "wick/moment_plan.hpp"

#include <algorithm>
#include <numeric>
#include <string>

#include "core/error.hpp"
#include "wick/multiset.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kMaxStripes = std::int64_t{1} << 30;  // row and column numbers are 32 bits
constexpr std::int64_t kMaxSums = std::int64_t{1} << 50;
// Columns whose stripes stay in the first-level cache while the rows stream past: 24 KiB. (6, 10): 1.3x over 48.
constexpr int kColumns = 12;

StripePyramid pyramid(std::int64_t m, int top) {
    StripePyramid p;
    p.first = {0, 1};
    for (int q = 1; q <= top; ++q) {
        std::int64_t out = p.first.back();
        for (std::int64_t i = 0; i < m; ++i) {
            const std::int64_t count = multiset_count(m - i, q - 1);
            p.products.push_back({i, p.first.back() - count, out, count});
            out += count;
        }
        p.first.push_back(out);
    }
    return p;
}

// Last index of every multiset of `order` values; an empty one counts as ending in 0.
std::vector<Index> last_indices(std::int64_t m, int order, std::int64_t count) {
    std::vector<Index> last(static_cast<std::size_t>(count), 0), row(static_cast<std::size_t>(std::max(order, 1)), 0);
    if (order == 0) return last;
    for (Index& k : last) {
        k = row[static_cast<std::size_t>(order) - 1];
        next_multiset(row.data(), order, static_cast<Index>(m));
    }
    return last;
}

// Cuts rectangles into tiles of the kernel's shapes, and the staircase into rectangles.
class Tiler {
public:
    Tiler(const MomentKernels& kernels, const std::vector<std::int32_t>& first_col, std::vector<MomentTile>& tiles)
        : kernels_(kernels), first_col_(first_col), tiles_(tiles) {}

    // Rows 0 .. rows - 1 in columns col .. end - 1, of each row those from first_col on.
    void staircase(std::int64_t rows, std::int64_t col, std::int64_t end) {
        for (std::int64_t row = 0; row < rows;) {
            const std::int64_t width = end - std::max<std::int64_t>(col, first_col_[static_cast<std::size_t>(row)]);
            const std::int64_t height = width >= kernels_.max_rows ? kernels_.max_rows : std::min<std::int64_t>(kernels_.max_cols, kernels_.max_sums / width);
            const std::int64_t next = std::min(rows, row + height);
            steps(row, next, col, end);
            row = next;
        }
    }

private:
    // The columns that all the rows have, then the rest, which the last rows lack.
    void steps(std::int64_t row, std::int64_t row_end, std::int64_t col, std::int64_t end) {
        while (row < row_end && col < end) {
            const std::int64_t common = std::max<std::int64_t>(col, first_col_[static_cast<std::size_t>(row_end - 1)]);
            rectangle(row, row_end, common, end);
            end = std::min(end, common);
            while (row_end > row && first_col_[static_cast<std::size_t>(row_end - 1)] >= end) --row_end;
        }
    }

    void rectangle(std::int64_t row, std::int64_t row_end, std::int64_t col, std::int64_t end) {
        const std::int64_t rows = row_end - row;
        const std::int64_t widest = rows > kernels_.max_rows ? kernels_.max_rows : std::min<std::int64_t>(kernels_.max_cols, kernels_.max_sums / rows);
        for (std::int64_t pieces = (end - col + widest - 1) / widest; pieces > 0; --pieces) {  // of about equal width
            const std::int64_t width = (end - col + pieces - 1) / pieces;
            tiles_.push_back({static_cast<std::int32_t>(row), static_cast<std::int32_t>(col), static_cast<std::int32_t>(rows),
                              static_cast<std::int32_t>(width)});
            col += width;
        }
    }

    const MomentKernels& kernels_;
    const std::vector<std::int32_t>& first_col_;  // of each row, ascending
    std::vector<MomentTile>& tiles_;
};

MomentPart make_part(std::int64_t m, int order, const MomentKernels& kernels) {
    MomentPart part;
    part.order = order;
    part.left_order = order / 2;
    part.right_order = order - part.left_order;
    part.count = multiset_count(m, order);
    const std::int64_t n_rows = multiset_count(m, part.left_order), n_cols = multiset_count(m, part.right_order);

    const std::vector<Index> last = last_indices(m, part.left_order, n_rows);
    std::vector<std::int64_t> cols_of(static_cast<std::size_t>(m));  // of rows that end in k
    for (std::int64_t k = 0; k < m; ++k) cols_of[static_cast<std::size_t>(k)] = multiset_count(m - k, part.right_order);
    std::vector<std::int64_t> out(static_cast<std::size_t>(n_rows));
    std::int64_t count = 0;
    for (std::size_t r = 0; r < out.size(); ++r) {
        const std::int64_t cols = cols_of[static_cast<std::size_t>(last[r])];
        out[r] = count - (n_cols - cols);
        count += cols;
    }

    part.row_stripe.resize(out.size());
    std::iota(part.row_stripe.begin(), part.row_stripe.end(), 0);
    std::stable_sort(part.row_stripe.begin(), part.row_stripe.end(),
                     [&](std::int32_t a, std::int32_t b) { return last[static_cast<std::size_t>(a)] < last[static_cast<std::size_t>(b)]; });
    std::vector<std::int32_t> first_col;
    for (const std::int32_t s : part.row_stripe) {
        part.row_out.push_back(out[static_cast<std::size_t>(s)]);
        first_col.push_back(static_cast<std::int32_t>(n_cols - cols_of[static_cast<std::size_t>(last[static_cast<std::size_t>(s)])]));
    }

    Tiler tiler(kernels, first_col, part.tiles);
    for (std::int64_t col = 0; col < n_cols; col += kColumns) {
        const std::int64_t end = std::min<std::int64_t>(n_cols, col + kColumns);
        const auto rows = std::lower_bound(first_col.begin(), first_col.end(), static_cast<std::int32_t>(end)) - first_col.begin();
        tiler.staircase(rows, col, end);
    }
    return part;
}

}  // namespace

std::int64_t MomentPlan::count_sums(std::int64_t m, const std::vector<int>& orders) {
    if (m < 1 || m > kMaxValues)
        throw ArgumentError("moments take 1 to " + std::to_string(kMaxValues) + " fields, got " + std::to_string(m));
    std::int64_t total = 0;
    for (std::size_t i = 0; i < orders.size(); ++i) {
        if (orders[i] < 0 || orders[i] > kMaxMomentOrder)
            throw ArgumentError("moments have an order from 1 to " + std::to_string(kMaxMomentOrder) + ", got " + std::to_string(orders[i]));
        if (std::find(orders.begin(), orders.begin() + static_cast<std::ptrdiff_t>(i), orders[i]) != orders.begin() + static_cast<std::ptrdiff_t>(i))
            throw ArgumentError("order " + std::to_string(orders[i]) + " is asked for twice");
        const std::int64_t count = multiset_count(m, orders[i]);
        if (count > kMaxSums - total || multiset_count(m, (orders[i] + 1) / 2) > kMaxStripes)
            throw ArgumentError("moments of order " + std::to_string(orders[i]) + " of " + std::to_string(m) +
                                " fields are more than any memory holds: take fewer fields or a lower order");
        total += count;
    }
    return total;
}

MomentPlan::MomentPlan(std::int64_t m, const std::vector<int>& orders, const MomentKernels& kernels) : m_(m) {
    n_sums_ = count_sums(m, orders);
    int left_top = -1, right_top = 1;
    std::int64_t offset = 0;
    for (const int order : orders) {
        parts_.push_back(make_part(m, order, kernels));
        MomentPart& part = parts_.back();
        part.offset = offset;
        offset += part.count;
        n_tiles_ += static_cast<std::int64_t>(part.tiles.size());
        left_top = std::max(left_top, part.left_order);
        right_top = std::max(right_top, part.right_order);
    }
    right_ = pyramid(m, right_top);
    left_ = pyramid(m, left_top);
}

}  // namespace nnqft
