#include "wick/partition_kernels.hpp"

#include "core/vec_double.hpp"

namespace nnqft {
namespace {

constexpr int kParts = kTile / VD::width;

// Product and sum are rounded apart, on every machine: the sums keep the bits they have had since scalar loops made them.
template <bool kSubtract>
void add(const PartitionSums& s) noexcept {
    for (std::int64_t e = 0; e < s.entries; e += kTileEntries) {
        const std::int32_t* at[kTileEntries];
        VD sum[kTileEntries][kParts];
        for (int j = 0; j < kTileEntries; ++j) {
            at[j] = s.at + (e + j) * s.columns;
            for (int v = 0; v < kParts; ++v) sum[j][v] = VD::load(s.sum + (e + j) * kTile + v * VD::width);
        }
        for (int t = 0; t < s.n_terms; ++t) {
            const PartitionTerm& term = s.terms[t];
            for (int j = 0; j < kTileEntries; ++j) {
                const double* block = term.block + std::int64_t{at[j][term.block_at]} * kTile;
                const double* rest = term.rest + std::int64_t{at[j][term.rest_at]} * kTile;
                for (int v = 0; v < kParts; ++v) {
                    const VD product = VD::load(block + v * VD::width) * VD::load(rest + v * VD::width);
                    sum[j][v] = kSubtract ? sum[j][v] - product : sum[j][v] + product;
                }
            }
        }
        for (int j = 0; j < kTileEntries; ++j) {
            for (int v = 0; v < kParts; ++v) sum[j][v].store(s.sum + (e + j) * kTile + v * VD::width);
        }
    }
}

}  // namespace

namespace NNQFT_UNIT {

void add_partitions(const PartitionSums& sums) noexcept { sums.subtract ? add<true>(sums) : add<false>(sums); }

}  // namespace NNQFT_UNIT
}  // namespace nnqft
