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
constexpr int kMomentPanel = 256;                             // samples
constexpr int kMomentStride = kMomentPanel + kMomentLanes;    // of stripes: at 2 KiB they would share sets of the cache
constexpr int kMomentColumns = 12, kMomentRows = 6;           // of a tile, at most

// Sums over samples of rows row .. row + rows - 1, with one row_right, times columns col .. col + cols - 1 of a chunk.
struct MomentTile {
    std::int32_t row, rows, col, cols;
};

// Up to kMomentColumns columns, whose stripes together stay in the first-level cache, and the tiles on them.
struct MomentChunk {
    std::int32_t col, cols;
    std::int64_t first_tile, last_tile;
};

// What the chunks of one order need. A row is the product of a stripe of `left` and one of `right`, a column of two of
// `right`; all are given by where they begin.
struct MomentRun {
    const double *left = nullptr, *right = nullptr;
    const std::int32_t *row_left = nullptr, *row_right = nullptr;
    const std::int32_t *col_one = nullptr, *col_two = nullptr;
    const MomentTile* tiles = nullptr;
    const std::int64_t* row_out = nullptr;  // the sum for (row, col) is number row_out[row] + col of `out`
    int steps = 0;                          // samples, in groups of kMomentLanes
    double* columns = nullptr;              // kMomentColumns stripes to work in
    double* out = nullptr;                  // sums are added
};

// Rows of samples in the caller's memory; steps in bytes, any sign, any alignment.
struct MomentRows {
    const unsigned char* data = nullptr;
    std::ptrdiff_t row_step = 0, col_step = 0;
    bool float32 = false;
};

struct MomentKernels {
    int max_sums;  // of a tile: rows * cols

    // Stripes out[i] of m values for `count` samples, zero up to the next multiple of kMomentLanes. largest[i]: the bits of
    // the largest |value|; bits of magnitudes are ordered as these are, with infinity and NaN beyond all others.
    void (*pack)(const MomentRows& rows, int count, std::int64_t m, double* out, std::uint64_t* largest);

    // out[s] = factor * in[s] for `count` stripes.
    void (*products)(const double* factor, const double* in, double* out, std::int64_t count, int steps);

    void (*chunk)(const MomentRun& run, const MomentChunk& chunk);
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
