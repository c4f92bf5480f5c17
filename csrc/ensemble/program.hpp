// Builds moment programs (spec.hpp): which products of fields are summed, and from what each is made.
#pragma once

#include <vector>

#include "ensemble/spec.hpp"

namespace nnqft {

// Sums lie order after order (ascending); within an order over sorted multi-indices in lexicographic order.
struct Program {
    std::vector<MomentStep> steps;
    std::vector<int> orders;
    std::vector<int64_t> offsets;  // first sum of each order
    int32_t n_fields = 0, n_slots = 0;
    int64_t n_sums = 0;
    MomentProgram view() const { return {steps.data(), static_cast<int64_t>(steps.size()), n_fields, n_slots, n_sums}; }
};

// All multi-indices of the given orders over n_fields fields. Orders 1..4, 6, 8; those between are computed
// where needed, not summed. ArgumentError if the number of sums or of slots does not fit in 31 bits.
Program dense_program(int n_fields, const std::vector<int>& orders);

// Listed multi-indices only. lists[q]: (count, orders[q]) sorted rows, unique, ascending; closed: each row of
// order n > 2 needs its tail without the first `stride` indices in the list of order n - stride, and its head.
Program listed_program(int n_fields, const std::vector<int>& orders, const std::vector<std::vector<int32_t>>& lists, int stride);

}  // namespace nnqft
