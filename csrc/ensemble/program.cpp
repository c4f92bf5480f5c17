#include "ensemble/program.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "core/error.hpp"
#include "wick/multiset.hpp"

namespace nnqft {
namespace {

int32_t checked(int64_t value, const char* what) {
    if (value > std::numeric_limits<int32_t>::max())
        throw ArgumentError(std::to_string(value) + " " + what + " are too many for one accumulator: ask for fewer inputs or list the indices wanted");
    return static_cast<int32_t>(value);
}

void check_fields(int n_fields) {
    if (n_fields < 1) throw ArgumentError("a moment program needs at least one field, got " + std::to_string(n_fields));
}

}  // namespace

// Level n is made of level `head` (rows) and a contiguous tail of level n - head: after the head (.., l), the
// tails with all indices >= l are the end of the lexicographic order.
Program dense_program(int n_fields, const std::vector<int>& orders) {
    check_fields(n_fields);
    Program p;
    p.orders = orders;
    std::sort(p.orders.begin(), p.orders.end());
    if (std::adjacent_find(p.orders.begin(), p.orders.end()) != p.orders.end()) throw ArgumentError("an order was asked for twice");
    for (int n : orders)
        if (n != 1 && n != 2 && n != 3 && n != 4 && n != 6 && n != 8) throw ArgumentError("order " + std::to_string(n) + " is not one of 1, 2, 3, 4, 6, 8");
    p.n_fields = n_fields;
    auto summed = [&](int n) { return std::binary_search(p.orders.begin(), p.orders.end(), n); };
    auto head = [](int n) { return n == 2 || n == 3 ? 1 : (n == 8 ? 4 : 2); };

    std::vector<bool> used(9, false), stored(9, false);
    const std::vector<int> descending{8, 6, 4, 3, 2};
    for (int n : descending) {
        if (!summed(n) && !used[n]) continue;
        used[n] = used[head(n)] = used[n - head(n)] = true;
        stored[head(n)] = stored[n - head(n)] = true;
    }
    int64_t slots = n_fields, sums = 0;
    std::vector<int64_t> first_slot(9, -1), first_sum(9, -1);
    first_slot[1] = 0;
    for (int n : {2, 3, 4, 6, 8})
        if (stored[n]) {
            first_slot[n] = slots;
            slots += multiset_count(n_fields, n);
            checked(slots, "stored products");
        }
    for (int n : p.orders) {
        first_sum[n] = sums;
        p.offsets.push_back(sums);
        sums += multiset_count(n_fields, n);
        checked(sums, "moments");
    }
    p.n_slots = static_cast<int32_t>(slots);
    p.n_sums = sums;

    if (summed(1)) p.steps.push_back({-1, 0, n_fields, -1, static_cast<int32_t>(first_sum[1])});
    for (int n : {2, 3, 4, 6, 8}) {
        if (!used[n]) continue;
        const int h = head(n), t = n - h;
        const int64_t tails = multiset_count(n_fields, t);
        int64_t done = 0, row = 0;
        std::vector<Index> index(static_cast<size_t>(h), 0);
        do {
            const int64_t count = multiset_count(n_fields - index.back(), t), start = tails - count;
            p.steps.push_back({static_cast<int32_t>(first_slot[h] + row), static_cast<int32_t>(first_slot[t] + start), static_cast<int32_t>(count),
                               stored[n] ? static_cast<int32_t>(first_slot[n] + done) : -1, summed(n) ? static_cast<int32_t>(first_sum[n] + done) : -1});
            done += count;
            ++row;
        } while (next_multiset(index.data(), h, n_fields));
    }
    return p;
}

Program listed_program(int n_fields, const std::vector<int>& orders, const std::vector<std::vector<int32_t>>& lists, int stride) {
    check_fields(n_fields);
    if (lists.size() != orders.size()) throw ShapeError(std::to_string(orders.size()) + " orders came with " + std::to_string(lists.size()) + " lists");
    Program p;
    p.orders = orders;
    p.n_fields = n_fields;
    std::map<std::vector<int32_t>, int32_t> slot;  // of products; a field is its own slot
    int64_t slots = n_fields, sums = 0;
    auto find = [&](const std::vector<int32_t>& key) {
        if (key.size() == 1) return key.front();
        const auto it = slot.find(key);
        if (it == slot.end()) throw ArgumentError("the list of multi-indices is not closed under taking sub-indices");
        return it->second;
    };
    for (size_t q = 0; q < orders.size(); ++q) {
        const int n = orders[q];
        if (n < 1 || (q > 0 && n <= orders[q - 1])) throw ArgumentError("orders must be positive and ascending");
        if (lists[q].size() % static_cast<size_t>(n) != 0) throw ShapeError("a list for order " + std::to_string(n) + " does not hold whole rows");
        if (n > 2 && (stride < 1 || stride >= n)) throw ArgumentError("stride " + std::to_string(stride) + " does not split rows of order " + std::to_string(n));
        const size_t rows = lists[q].size() / static_cast<size_t>(n);
        const bool last = q + 1 == orders.size();
        p.offsets.push_back(sums);
        for (size_t r = 0; r < rows; ++r, ++sums) {
            const std::vector<int32_t> row(lists[q].begin() + static_cast<ptrdiff_t>(r) * n, lists[q].begin() + static_cast<ptrdiff_t>(r + 1) * n);
            for (int32_t i : row)
                if (i < 0 || i >= n_fields) throw ArgumentError("multi-index entry " + std::to_string(i) + " is outside 0 .. " + std::to_string(n_fields - 1));
            const int32_t sum = checked(sums, "moments");
            if (n == 1) {
                p.steps.push_back({-1, row[0], 1, -1, sum});
                continue;
            }
            const int h = n == 2 ? 1 : stride;
            const int32_t a = find({row.begin(), row.begin() + h}), b = find({row.begin() + h, row.end()});
            int32_t store = -1;
            if (!last) {
                store = checked(slots++, "stored products");
                slot[row] = store;
            }
            p.steps.push_back({a, b, 1, store, sum});
        }
    }
    p.n_slots = static_cast<int32_t>(slots);
    p.n_sums = sums;
    return p;
}

}  // namespace nnqft
