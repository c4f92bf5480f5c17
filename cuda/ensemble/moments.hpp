// Block sums of products of fields on a device: what csrc/ensemble/moments.hpp computes, bit for bit.
//
// Samples (nets, or neurons of nets) lie as slots[slot * pitch + sample], the fields first. A block of nets is a range of
// runs of samples; 256 samples of a run make a sub-block. In a sub-block lane l of 16 takes samples l, l + 16, ... in order and
// in the kernel's real type; the 16 lanes are summed in float64 by halves; sub-blocks are added in float64 in order.
#pragma once

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/ensemble/moment_units.hpp"

namespace nnqft::cuda {

// The units of a program in the device's memory.
struct DeviceMoments {
    const MomentUnit* units;
    const StoredProduct* products;
    int32_t level_ends[kMaxLevels];
    int32_t n_units, n_levels, n_fields, n_slots;
    int64_t n_sums;
};

// Samples [0, total), runs of `run` samples, `runs` runs per block. resume: the first block's sums go on from what is there.
struct SampleBlocks {
    uint64_t total, run, runs;
    uint64_t pitch;
    bool resume;
};

// Whether the slots of a sub-block fit into shared memory; if not, `slots` needs n_slots rows instead of n_fields.
template <class Real>
bool slots_are_staged(int32_t n_slots) noexcept;

// sums: (blocks, n_sums).
template <class Real>
cudaError_t moment_sums(const DeviceMoments& moments, const SampleBlocks& blocks, Real* slots, double* sums, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
