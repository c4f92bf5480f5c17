#include "wick/moment_plan.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "wick/multiset.hpp"

namespace nnqft {
namespace {

// Rows and columns have 32-bit numbers, stripes 32-bit places: beyond that the sums fill terabytes.
constexpr std::int64_t kMaxHalves = std::int64_t{1} << 28, kMaxStripes = (std::int64_t{1} << 31) / kMomentStride;
constexpr std::int64_t kMaxSums = std::int64_t{1} << 50;

std::int64_t stripe_count(std::int64_t m, int order) { return 1 + m + (order > 4 ? multiset_count(m, 2) : 0); }

// All products of `order` fields, order <= 4, lexicographic: each as two stripes, the first with half the fields or one more.
struct Halves {
    std::vector<std::int32_t> one, two;
    std::vector<Index> last;  // index; 0 for the empty product
};

Halves halves(std::int64_t m, int order) {
    const auto place = [&](const Index* row, int n) {
        const std::int64_t i = n > 0 ? row[0] : 0;
        const std::int64_t stripe = n == 0 ? 0 : n == 1 ? 1 + i : 1 + m + i * m - i * (i - 1) / 2 + row[1] - i;
        return static_cast<std::int32_t>(stripe * kMomentStride);
    };
    Halves h;
    std::vector<Index> row(4, 0);
    do {
        h.one.push_back(place(row.data(), order - order / 2));
        h.two.push_back(place(row.data() + (order - order / 2), order / 2));
        h.last.push_back(order > 0 ? row[static_cast<std::size_t>(order - 1)] : 0);
    } while (next_multiset(row.data(), order, static_cast<Index>(m)));
    return h;
}

// Cuts the columns col .. col + cols - 1 into tiles. Rows of one tile have their first column and their row_right in common.
void add_chunk(MomentPart& part, const std::vector<std::int32_t>& first_col, std::int32_t col, std::int32_t cols, int max_sums) {
    const auto first_tile = static_cast<std::int64_t>(part.tiles.size());
    const auto at = [](const std::vector<std::int32_t>& x, std::int32_t row) { return x[static_cast<std::size_t>(row)]; };
    const auto rows = static_cast<std::int32_t>(first_col.size());
    for (std::int32_t row = 0, end; row < rows && at(first_col, row) < col + cols; row = end) {
        end = row + 1;
        while (end < rows && at(first_col, end) == at(first_col, row) && at(part.row_right, end) == at(part.row_right, row)) ++end;
        const std::int32_t first = std::max(0, at(first_col, row) - col), width = cols - first;
        // Strips of about equal height, two rows or more; then pieces of about equal width.
        const auto pieces = [](std::int32_t length, std::int32_t most) { return (length + most - 1) / most; };
        for (std::int32_t r = row, strips = pieces(end - row, std::clamp(max_sums / width, 2, kMomentRows)); strips > 0; --strips) {
            const std::int32_t height = pieces(end - r, strips);
            for (std::int32_t c = first, left = pieces(width, std::min(kMomentColumns, max_sums / height)); left > 0; --left) {
                part.tiles.push_back({r, height, c, pieces(cols - c, left)});
                c += part.tiles.back().cols;
            }
            r += height;
        }
    }
    part.chunks.push_back({col, cols, first_tile, static_cast<std::int64_t>(part.tiles.size())});
}

MomentPart make_part(std::int64_t m, int order, int max_sums) {
    MomentPart part;
    part.order = order;
    const int right_order = order - order / 2;
    const Halves rows = halves(m, order / 2), cols = halves(m, right_order);
    const auto n_cols = static_cast<std::int64_t>(cols.one.size());
    part.col_one = cols.one;
    part.col_two = cols.two;

    std::vector<std::int64_t> cols_of;  // rows that end in k
    for (std::int64_t k = 0; k < m; ++k) cols_of.push_back(multiset_count(m - k, right_order));
    std::vector<std::int64_t> out;
    std::int64_t count = 0;
    for (const Index k : rows.last) {
        out.push_back(count - (n_cols - cols_of[static_cast<std::size_t>(k)]));
        count += cols_of[static_cast<std::size_t>(k)];
    }

    std::vector<std::int32_t> order_of(rows.last.size()), first_col;
    std::iota(order_of.begin(), order_of.end(), 0);
    std::stable_sort(order_of.begin(), order_of.end(), [&](std::int32_t a, std::int32_t b) {
        const auto key = [&, at = [](std::int32_t r) { return static_cast<std::size_t>(r); }](std::int32_t r) {
            return std::make_pair(rows.last[at(r)], rows.two[at(r)]);
        };
        return key(a) < key(b);
    });
    for (const std::int32_t r : order_of) {
        const auto row = static_cast<std::size_t>(r);
        part.row_left.push_back(rows.one[row]);
        part.row_right.push_back(rows.two[row]);
        part.row_out.push_back(out[row]);
        first_col.push_back(static_cast<std::int32_t>(n_cols - cols_of[static_cast<std::size_t>(rows.last[row])]));
    }

    // Whole chunks from the right, where there are most rows.
    for (auto end = static_cast<std::int32_t>(n_cols); end > 0; end -= kMomentColumns) {
        const std::int32_t col = std::max(0, end - kMomentColumns);
        add_chunk(part, first_col, col, end - col, max_sums);
    }
    return part;
}

}  // namespace

std::int64_t MomentPlan::count_sums(std::int64_t m, const std::vector<int>& orders) {
    if (m < 1 || m > kMaxValues)
        throw ArgumentError("moments take 1 to " + std::to_string(kMaxValues) + " fields, got " + std::to_string(m));
    std::int64_t total = 0;
    for (auto order = orders.begin(); order != orders.end(); ++order) {
        if (*order < 0 || *order > kMaxMomentOrder)
            throw ArgumentError("moments have an order from 1 to " + std::to_string(kMaxMomentOrder) + ", got " + std::to_string(*order));
        if (std::find(orders.begin(), order, *order) != order) throw ArgumentError("order " + std::to_string(*order) + " is asked for twice");
        const std::int64_t count = multiset_count(m, *order);
        if (count > kMaxSums - total || multiset_count(m, *order - *order / 2) > kMaxHalves || stripe_count(m, *order) > kMaxStripes)
            throw ArgumentError("moments of order " + std::to_string(*order) + " of " + std::to_string(m) +
                                " fields are more than any memory holds: take fewer fields or a lower order");
        total += count;
    }
    return total;
}

MomentPlan::MomentPlan(std::int64_t m, const std::vector<int>& orders, const MomentKernels& kernels) : m_(m) {
    count_sums(m, orders);
    for (const int order : orders) {
        parts_.push_back(make_part(m, order, kernels.max_sums));
        parts_.back().offset = n_sums_;
        n_sums_ += multiset_count(m, order);
        n_stripes_ = std::max(n_stripes_, stripe_count(m, order));
    }
}

}  // namespace nnqft
