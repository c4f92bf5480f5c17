#include <algorithm>
#include <map>
#include <string>
#include <tuple>

#include "core/error.hpp"
#include "cuda/wick/moments.hpp"
#include "wick/multiset.hpp"

namespace nnqft::cuda {
namespace {

constexpr std::int64_t kMostSums = std::int64_t{1} << 31;

// All products of `order` <= 4 fields, lexicographic: the first bracket has half of the fields, or one more.
struct Products {
    std::vector<MomentHalf> half;
    std::vector<Index> last;

    Products(std::int64_t m, int order, bool row) {
        std::vector<Index> index(4, 0);
        const int first = order - order / 2;
        do {
            MomentHalf h{{-1, -1}, {-1, -1}, row, {}};
            for (int i = 0; i < order; ++i) (i < first ? h.one[i] : h.two[i - first]) = static_cast<std::int16_t>(index[static_cast<std::size_t>(i)]);
            half.push_back(h);
            last.push_back(order > 0 ? index[static_cast<std::size_t>(order - 1)] : 0);
        } while (next_multiset(index.data(), order, static_cast<Index>(m)));
    }
};

class Builder {
public:
    Builder(MomentTables& tables, std::int64_t m, bool weighted) : tables_(tables), m_(m), weighted_(weighted) {}

    void order(int n, std::int64_t offset) {
        const Products rows(m_, n / 2, weighted_), columns(m_, n - n / 2, false);
        const auto n_columns = static_cast<std::int64_t>(columns.half.size());
        std::vector<Row> sorted;
        std::int64_t count = offset;
        for (std::size_t r = 0; r < rows.half.size(); ++r) {  // meets the columns whose first index is not below its last: the last ones
            const std::int64_t met = multiset_count(m_ - rows.last[r], n - n / 2);
            sorted.push_back({rows.half[r], rows.last[r], n_columns - met, count - (n_columns - met)});
            count += met;
        }
        std::stable_sort(sorted.begin(), sorted.end(), [](const Row& a, const Row& b) { return a.last < b.last; });
        constexpr std::size_t kRows = 2 * kMomentTile;  // two tiles high, as wide as it goes: a group has few halves
        for (std::size_t r = 0; r < sorted.size(); r += kRows) {
            for (std::int64_t c = sorted[r].first; c < n_columns; c += kMomentTile) {
                for (std::size_t upper = r; upper < std::min(sorted.size(), r + kRows); upper += kMomentTile) cell(sorted, upper, columns, c);
            }
        }
    }

private:
    struct Row {
        MomentHalf half;
        Index last;
        std::int64_t first, out;
    };

    void cell(const std::vector<Row>& rows, std::size_t r, const Products& columns, std::int64_t c) {
        MomentCell cell{};
        const auto n_columns = static_cast<std::int64_t>(columns.half.size());
        for (std::size_t i = 0; i < kMomentTile && r + i < rows.size(); ++i) {
            for (int j = 0; j < kMomentTile && c + j < n_columns; ++j) {
                if (c + j >= rows[r + i].first) cell.mask |= 1u << (kMomentTile * i + static_cast<std::size_t>(j));
            }
        }
        if (cell.mask == 0) return;
        if (tables_.groups.empty() || tables_.groups.back().cells == kMomentGroup) {
            tables_.groups.push_back({static_cast<std::int32_t>(tables_.halves.size()), 0, static_cast<std::int32_t>(tables_.cells.size()), 0});
            place_.clear();
        }
        for (std::size_t i = 0; i < kMomentTile; ++i) {
            const std::size_t row = std::min(r + i, rows.size() - 1), column = static_cast<std::size_t>(std::min(c + static_cast<std::int64_t>(i), n_columns - 1));
            cell.row[i] = place(rows[row].half);
            cell.column[i] = place(columns.half[column]);
            cell.out[i] = rows[row].out + c;
        }
        tables_.cells.push_back(cell);
        ++tables_.groups.back().cells;
        tables_.most_halves = std::max(tables_.most_halves, tables_.groups.back().halves);
    }

    std::uint8_t place(const MomentHalf& h) {
        MomentGroup& group = tables_.groups.back();
        const auto [at, added] = place_.emplace(std::make_tuple(h.one[0], h.one[1], h.two[0], h.two[1], h.row), group.halves);
        if (added) {
            tables_.halves.push_back(h);
            ++group.halves;
        }
        return static_cast<std::uint8_t>(at->second);
    }

    MomentTables& tables_;
    const std::int64_t m_;
    const bool weighted_;
    std::map<std::tuple<int, int, int, int, int>, int> place_;  // in the group
};

}  // namespace

static_assert(2 * kMomentTile * kMomentGroup <= 256, "the halves of a group are numbered by bytes");

MomentTables::MomentTables(std::int64_t m, const std::vector<int>& orders, bool weighted) {
    if (m < 1 || m > 32767) throw ArgumentError("moments on a device take 1 to 32767 fields, got " + std::to_string(m));
    Builder build(*this, m, weighted);
    for (auto n = orders.begin(); n != orders.end(); ++n) {
        if (*n < 0 || *n > 8 || std::find(orders.begin(), n, *n) != n) throw ArgumentError("orders are different numbers from 0 to 8, got " + std::to_string(*n));
        if (multiset_count(m, *n) > kMostSums - n_sums)
            throw ArgumentError("moments of order " + std::to_string(*n) + " of " + std::to_string(m) + " fields are more than a device takes");
        if (*n > 0 || weighted) build.order(*n, n_sums);
        else count_at = n_sums;
        n_sums += multiset_count(m, *n);
    }
}

}  // namespace nnqft::cuda
