// The inner loops of all_multisets_vjp.cpp, once per instruction set. Notation of all_multisets_kernels.hpp.
#pragma once

#include <cstdint>

namespace nnqft {

// Sums over entries are kept in eight parts: by the column, or by the distance from the end, modulo 8. What an instruction set
// adds at a time is a part of that, and so no bit depends on it.
constexpr int kParts = 8;

// The leading legs of one value q, or the mean as if it were one: G without one of them, to be multiplied into the derivatives
// in row q of the sums. `weight`: how many legs they are.
struct PullbackSource {
    const double* lower;  // G(.. without q; x, y), its end
    double weight;
    double* parts;  // q's row of PullbackSums
    double* row;
};

// Derivatives by pairs (q, x) of legs: the sum of parts[(q m + x) kParts ..], and rows[q stride + (column of x)].
struct PullbackSums {
    double* parts;
    double* rows;
    std::int64_t m, stride;
};

// One block (t, z): its entries G_bar with first <= x <= last give every pair that has at least one of the last three legs x, y, b:
//   (q, x) += G_bar lower(y, b),  (q, y) += G_bar lower(x, b),  (q, b) += G_bar lower(x, y)    for every source q,
//   (x, y) += G_bar tail(b),      (x, b) += G_bar tail(y),      (y, b) += G_bar tail(x).
struct Pullback {
    int n_sources;
    const PullbackSource* sources;
    const double* tail;
    const double* G_bar;  // its end
    std::int64_t first, last;  // 0 and z, or at order 3, without t and z, any
    PullbackSums sums;
};

// parts += weight * (sum of a b over the `count` numbers before both ends), for every term.
struct DotTerm {
    const double* b;
    double weight;
    double* parts;
};
struct WeightedDots {
    const double* a;
    std::int64_t count;
    int n_terms;
    const DotTerm* terms;
};

namespace scalar {
void pull_back(const Pullback& block);
void add_dots(const WeightedDots& dots);
}  // namespace scalar
namespace avx2 {
void pull_back(const Pullback& block);
void add_dots(const WeightedDots& dots);
}  // namespace avx2
namespace avx512 {
void pull_back(const Pullback& block);
void add_dots(const WeightedDots& dots);
}  // namespace avx512

}  // namespace nnqft
