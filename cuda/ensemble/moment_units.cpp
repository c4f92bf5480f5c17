#include "cuda/ensemble/moment_units.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"

namespace nnqft::cuda {
namespace {

constexpr int32_t kRows = 4, kColumns = 4, kWide = 16;

// Runs of up to 16 sums.
void add_wide(std::vector<MomentUnit>& units, UnitKind kind, int32_t a, int32_t b, int32_t sum, int32_t count) {
    for (int32_t c = 0; c < count; c += kWide) units.push_back({kind, std::min(kWide, count - c), b + c, {a, a, a, a}, {sum + c, -1, -1, -1}});
}

// Products whose tails end at one slot: as many as share a column go together, four at a time.
void add_tiles(std::vector<MomentUnit>& units, std::vector<MomentStep> rows) {
    std::stable_sort(rows.begin(), rows.end(), [](const MomentStep& x, const MomentStep& y) { return x.b < y.b; });
    const int32_t end = rows.front().b + rows.front().count;
    for (size_t first = 0; first < rows.size(); first += kRows) {
        const size_t last = std::min(first + kRows, rows.size());
        const int32_t common = rows[last - 1].b;  // from here on all rows have columns
        for (size_t r = first; r < last; ++r) add_wide(units, UnitKind::row, rows[r].a, rows[r].b, rows[r].sum, common - rows[r].b);
        if (last - first == 1) {
            add_wide(units, UnitKind::row, rows[first].a, common, rows[first].sum, end - common);
            continue;
        }
        for (int32_t b = common; b < end; b += kColumns) {
            MomentUnit unit{UnitKind::tile, std::min(kColumns, end - b), b, {}, {-1, -1, -1, -1}};
            for (size_t r = 0; r < kRows; ++r) {
                const MomentStep& row = rows[std::min(first + r, last - 1)];
                unit.a[r] = row.a;
                if (first + r < last) unit.sum[r] = row.sum + (b - row.b);
            }
            units.push_back(unit);
        }
    }
}

}  // namespace

MomentUnits moment_units(const MomentProgram& program) {
    MomentUnits out;
    out.n_fields = program.n_fields;
    out.n_slots = program.n_slots;
    out.n_sums = program.n_sums;

    std::vector<int32_t> level(static_cast<size_t>(program.n_slots), 0);
    std::vector<std::vector<StoredProduct>> by_level;
    std::vector<MomentStep> open;  // products with one end, not stored
    const auto flush = [&] {
        if (!open.empty()) add_tiles(out.units, std::move(open));
        open.clear();
    };
    for (int64_t i = 0; i < program.n_steps; ++i) {
        const MomentStep& step = program.steps[i];
        if (step.a >= 0 && step.store >= 0)
            for (int32_t k = 0; k < step.count; ++k) {
                const size_t depth = static_cast<size_t>(std::max(level[static_cast<size_t>(step.a)], level[static_cast<size_t>(step.b + k)]));
                if (by_level.size() <= depth) by_level.resize(depth + 1);
                by_level[depth].push_back({step.a, step.b + k, step.store + k});
                level[static_cast<size_t>(step.store + k)] = static_cast<int32_t>(depth) + 1;
            }
        if (step.sum < 0) continue;
        if (step.a < 0 || step.store >= 0) {  // of a stored product the rounded value is summed, as on the CPU
            add_wide(out.units, UnitKind::plain, 0, step.a < 0 ? step.b : step.store, step.sum, step.count);
            continue;
        }
        if (!open.empty() && open.front().b + open.front().count != step.b + step.count) flush();
        open.push_back(step);
    }
    flush();
    // Like with like, so that the two halves of a warp do the same.
    std::stable_sort(out.units.begin(), out.units.end(), [](const MomentUnit& x, const MomentUnit& y) { return x.kind < y.kind; });
    if (by_level.size() > static_cast<size_t>(kMaxLevels))
        throw ArgumentError("the products of a moment program need " + std::to_string(by_level.size()) + " levels; expected at most " + std::to_string(kMaxLevels));
    for (const auto& products : by_level) {
        out.products.insert(out.products.end(), products.begin(), products.end());
        out.level_ends.push_back(static_cast<int32_t>(out.products.size()));
    }
    return out;
}

}  // namespace nnqft::cuda
