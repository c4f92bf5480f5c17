// The inner loops of moment tensors, compiled once per instruction set; moments.hpp says what they compute.
//
// Data lies in stripes: a stripe holds one product of fields for the samples of a panel, in order. Samples are summed in
// kMomentLanes lanes on every machine: lane l takes samples l, l + 8, l + 16, .. by fused multiply-add, and at the end of a
// panel the lanes are added by halves, ((0+4)+(2+6)) + ((1+5)+(3+7)). So all instruction sets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nnqft {

constexpr int kMomentLanes = 8;
constexpr int kMomentPanel = 256;  // samples

// Sums over samples of left x right for left rows row .. row + rows - 1 and right columns col .. col + cols - 1.
struct MomentTile {
    std::int32_t row, col;
    std::int32_t rows, cols;
};

// What a list of tiles needs, for one order.
struct MomentTileRun {
    const double* left = nullptr;  // stripe s of the left half-products: left + s * stride
    const double* right = nullptr;
    std::ptrdiff_t stride = 0;
    const std::int32_t* row_stripe = nullptr;  // left stripe of each row
    const std::int64_t* row_out = nullptr;     // the sum for (row, col) is number row_out[row] + col of `out`
    int steps = 0;                             // samples, in groups of kMomentLanes
    double* out = nullptr;
    bool add = false;  // out += sum instead of out = sum
    // If the fields were scaled: sums are multiplied by 2^(left_exponent[stripe] + right_exponent[col]).
    const int *left_exponent = nullptr, *right_exponent = nullptr;
};

// Rows of samples in the caller's memory; steps in bytes, any sign, any alignment.
struct MomentRows {
    const unsigned char* data = nullptr;
    std::ptrdiff_t row_step = 0, col_step = 0;
    bool float32 = false;
};

struct MomentKernels {
    int max_rows, max_cols, max_sums;  // of a tile: rows <= max_rows and cols <= max_cols, or the other way round

    // Stripes out[i] of m values for `count` samples, zero up to the next multiple of kMomentLanes.
    void (*pack)(const MomentRows& rows, int count, std::int64_t m, double* out, std::ptrdiff_t stride);

    // The largest of 2 |bits of x|, x in a stripe of 8 steps samples: as integers, these are ordered as |x| is.
    std::uint64_t (*largest)(const double* stripe, int steps);

    // out[s] = factor * in[s] for `count` stripes.
    void (*products)(const double* factor, const double* in, double* out, std::ptrdiff_t stride, std::int64_t count, int steps);

    void (*tiles)(const MomentTileRun& run, const MomentTile* tiles, std::int64_t count);
};

namespace scalar {
MomentKernels moment_kernels();
}
namespace avx2 {
MomentKernels moment_kernels();
}
namespace avx512 {
MomentKernels moment_kernels();
}

}  // namespace nnqft
