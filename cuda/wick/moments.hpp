// Moment tensors on a device: sums over blocks of samples, with the bits of csrc/wick/moments.hpp.
//
// Order n: the sum for i1 <= .. <= in is <row, column>, row = w f_i1 .. f_ia, a = n / 2, column = the rest (csrc/wick/moment_plan.hpp). Eight threads
// have a tile of 4 x 4 sums: one has samples l, l + 8, .. of a panel of 256, and the eight are added by halves, as the CPU's lanes are. The
// rows and columns of a block's 32 tiles, "halves", are formed in shared memory once for all of them; panels are added in order.
//
// A sum takes a multiply-add per sample, and its share of a row or column half a load: 16 numbers per clock and multiprocessor come
// from shared memory, for 32 multiply-adds. That is half of what an H200 does, 8e12 per second; order 4 of 6 fields stops at the memory
// before, 2 reads of 48 bytes per sample, 5e10 samples per second.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nnqft::cuda {

constexpr int kMomentTile = 4, kMomentGroup = 32;  // rows and columns of a tile; tiles of a group, which a block does together

// A product of up to four fields, (one_0 one_1)(two_0 two_1), -1: 1; of a row, times the weight in front of the first bracket.
struct alignas(16) MomentHalf {
    std::int16_t one[2], two[2], row, unused[3];
};
// Halves by their place in the group's list; the sum of (row i, column j) is number out[i] + j, if bit 4 i + j of `mask` is set.
struct alignas(16) MomentCell {
    std::uint8_t row[kMomentTile], column[kMomentTile];
    std::int64_t out[kMomentTile];
    std::uint32_t mask, unused;
};
struct MomentGroup {
    std::int32_t first_half, halves, first_cell, cells;
};

struct MomentTables {
    // ArgumentError for what csrc's MomentPlan would refuse, and beyond 2^15 - 1 fields.
    MomentTables(std::int64_t m, const std::vector<int>& orders, bool weighted);

    std::int64_t n_sums = 0, count_at = -1;  // count_at: the sum of order 0 without weights, which is no tile
    int most_halves = 0;                     // of a group
    std::vector<MomentHalf> halves;
    std::vector<MomentCell> cells;
    std::vector<MomentGroup> groups;
};

// Samples on the device; steps in bytes. `weights` null: 1.
struct DeviceSamples {
    const unsigned char* rows;
    std::int64_t row_step, column_step, count;
    bool float32;
    const unsigned char* weights;
    std::int64_t weight_step;
};

// The tables on the device.
struct MomentMemory {
    const MomentHalf* halves;
    const MomentCell* cells;
    const MomentGroup* groups;
    std::int32_t* workspace;  // moment_workspace_size() bytes
};

// How a kernel cuts samples and shared memory: 64, 32, 16 or 8 samples at a time; 0 if not even those fit into `shared` bytes.
struct MomentCut {
    int samples, stride;  // numbers from one stripe to the next
    std::size_t bytes;
};
MomentCut moment_cut(std::int64_t m, int most_halves, std::size_t shared) noexcept;

std::size_t moment_workspace_size(std::int64_t m, std::int64_t count, std::int64_t block) noexcept;

// sums[b * n_sums ..] of block b: samples b * block .., the last block may be shorter. bad[b]: the first sample of block b that is not finite,
// whose sums mean nothing; the caller sets INT64_MAX.
cudaError_t moment_blocks(std::int64_t m, const MomentTables& tables, const DeviceSamples& samples, std::int64_t block, const MomentMemory& memory,
                          const MomentCut& cut, double* sums, long long* bad, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
