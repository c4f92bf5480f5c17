// The inner loops of ExactSums, compiled once per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nnqft {

// A finite double is m 2^e with |m| < 2^53 and -1074 <= e <= 971: planes -34 .. 32. 2^64 rows of them reach plane 34.
constexpr int kLowestPlane = -34;
constexpr int kHighestPlane = 36;

// Magnitudes of a row as twice their bits, which orders them: the largest, and the smallest that is not zero, less one.
struct ExactRange {
    std::uint64_t largest, smallest;
};

struct ExactKernels {
    ExactRange (*scan)(const double* values, std::size_t size);

    // sums[i] += values[i] if every one of these sums is a double; else changes nothing and returns false. Rounds to nearest.
    bool (*add)(const double* values, std::size_t size, double* sums);

    // Adds values[i], integers below 2^53 times a power of two, to the limbs of sum i, plane by plane at limbs + k size + i.
    // `origin` is the bit position of plane 0 above that of plane kLowestPlane; only planes first .. last - 1 can change.
    void (*scatter)(const double* values, std::size_t size, int origin, int first, int last, std::int64_t* limbs);
};

namespace scalar {
ExactKernels exact_kernels();
}
namespace avx2 {
ExactKernels exact_kernels();
}
namespace avx512 {
ExactKernels exact_kernels();
}

}  // namespace nnqft
