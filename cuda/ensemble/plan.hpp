// How an ensemble runs on a device: what is uploaded once, how a call is cut into waves, and where their scratch memory lies.
// Host code without the CUDA runtime. The caller owns all memory and uploads the constants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/ensemble/moment_units.hpp"
#include "ensemble/spec.hpp"

namespace nnqft::cuda {

class EnsemblePlan {
public:
    // `program` null: outputs only. Waves take about `budget` bytes of scratch, or what the least wave needs.
    // ArgumentError for a program of another number of fields, or blocks that are no multiple of 16.
    EnsemblePlan(const EnsembleSpec& spec, bool float64, const MomentProgram* program, std::uint64_t block, std::size_t budget);

    // Byte offsets of the constants; tensors: weight of layer l at 2 l, bias at 2 l + 1.
    struct Constants {
        std::size_t points = 0, place = 0, shift = 0, factor = 0, amplitude = 0, units = 0, products = 0, total = 0;
        std::vector<std::size_t> tensors;
    };
    const Constants& constants() const noexcept { return constants_; }
    void write_constants(std::byte* to) const;

    // Scratch of a call for up to n_nets nets: layers of a wave, then samples of a piece.
    // A piece is what one launch sums: whole blocks, or a part of one; a wave is what passes through the layers at once.
    struct Scratch {
        std::uint64_t wave = 0, piece = 0;  // nets
        std::size_t hidden_a = 0, hidden_b = 0, norm2 = 0, shift = 0, gram = 0, factor = 0, fields = 0, slots = 0, total = 0;
    };
    Scratch block_scratch(std::uint64_t n_nets) const;
    Scratch output_scratch(std::uint64_t n_nets) const;

    // Instructions that a net takes, roughly: callers make steps of equal time.
    double work_per_net() const noexcept;

    const EnsembleSpec& spec() const noexcept { return spec_; }  // its pointers are the host's
    const MomentUnits& units() const noexcept { return units_; }
    bool float64() const noexcept { return float64_; }
    bool shallow() const noexcept { return shallow_; }
    void forbid_shallow() noexcept { shallow_ = false; }  // the kernels of forward.hpp serve every ensemble
    std::uint64_t block() const noexcept { return block_; }
    std::uint64_t samples_per_net() const noexcept { return samples_per_net_; }
    int row_pitch_of_points() const noexcept;

private:
    template <class Real>
    void write_as(std::byte* to) const;
    Scratch scratch(std::uint64_t n_nets, bool sums) const;

    std::vector<Layer> layers_;
    std::vector<std::vector<double>> arrays_;
    std::vector<double> points_, factor_, variance_, amplitude_;
    std::vector<std::int32_t> place_;
    EnsembleSpec spec_;
    bool float64_, shallow_;
    std::uint64_t block_, samples_per_net_ = 1;
    std::size_t budget_;
    MomentUnits units_;
    Constants constants_;
};

}  // namespace nnqft::cuda
