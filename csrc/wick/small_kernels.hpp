// The parts of small hafnians that exist once per instruction set.
//
// They work on panels: the inputs of kLanes hafnians, slot by slot as in small_plan.hpp, kLanes doubles each. All are pure functions
// of what they are given, and their callers have checked that.
#pragma once

#include <cstdint>

#include "wick/small_plan.hpp"

namespace nnqft {

constexpr int kLanes = 8;  // on every machine
constexpr int kPanelSlots = pair_count(kSmallPoints) + kSmallPoints;
struct alignas(64) SmallPanel {
    double at[kPanelSlots * kLanes];
};

// Of each lane, the largest magnitude, and the smallest but for zeros and at most 1. inf and nan count as large.
struct alignas(64) SmallRange {
    double least[kLanes], most[kLanes];
};

// Tables go by the number of points, from 1, and by whether there is a mean; odd numbers without one are null.
struct SmallKernels {
    // kLanes hafnians of a panel, or the panel of their derivatives by every input.
    void (*value[kSmallPoints + 1][2])(const double* panel, double* out);
    void (*derivative[kSmallPoints + 1][2])(const double* panel, double* out);
    // Of `groups` times kLanes tuples, n numbers below m each: their hafnians, or one panel (then groups is 1), for a symmetric K (m, m),
    // m * m < 2^31, and mu (m), or null without a mean.
    using FromIndex = void (*)(const double* K, const double* mu, std::int32_t m, const std::int32_t* tuples, std::int64_t groups, double* out);
    FromIndex index_value[kSmallPoints + 1][2], index_panel[kSmallPoints + 1][2];
    // One hafnian of complex inputs (re, im); out: re, im.
    void (*complex_value[kSmallPoints + 1][2])(const double* inputs, double* out);
    // to[place[k] * kLanes + lane] = from[lane][k] for k < count; a negative place drops the entry.
    void (*transpose)(const double* const* from, int count, const short* place, double* to);
    void (*range)(const double* panel, int slots, SmallRange* range);
    bool (*equal)(const double* a, const double* b, int count);
    // Copies count numbers; false if one of them is not in [0, m).
    bool (*narrow32)(const std::int32_t* in, std::int64_t count, std::int32_t m, std::int32_t* out);
    bool (*narrow64)(const std::int64_t* in, std::int64_t count, std::int32_t m, std::int32_t* out);
};

namespace scalar {
const SmallKernels& small_kernels();
}
namespace avx2 {
const SmallKernels& small_kernels();
}
namespace avx512 {
const SmallKernels& small_kernels();
}

}  // namespace nnqft
