// An ensemble bound to its inputs: owns what EnsembleSpec points to, picks kernels, runs blocks on threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/isa.hpp"
#include "ensemble/accumulator.hpp"
#include "ensemble/kernels.hpp"
#include "ensemble/program.hpp"

namespace nnqft {

// Nets per block: 16 where fewer than 4096 are asked for; 4096 where a net carries more than 4096 moments and 65536 nets or
// more are asked for; else 256.
std::uint64_t block_size(std::uint64_t n_nets, std::int64_t n_sums);

// ArgumentError for an unknown activation, or one with too few or too many parameters.
void check_activation(Activation activation, int n_params);

// Called from the thread that started the run, with the number of nets done; false or a throw ends the run.
using Poll = std::function<bool(std::uint64_t nets_done)>;

class Ensemble {
public:
    struct Description {
        std::vector<Layer> layers;                       // hidden layers, then the output layer
        std::vector<std::vector<double>> arrays;         // user weights; layers[l].weight is arrays[2 l], bias arrays[2 l + 1]
        std::vector<double> points;                      // (n_points, dim_in)
        std::vector<double> amplitude;
        double amplitude_max = 0.0;
        int n_points = 0, dim_in = 0, dim_out = 0;
        std::uint64_t seed = 0;
        Sampler sampler = Sampler::weights;
        Estimator estimator = Estimator::direct;
        double field_scale = 1.0;                        // a power of two
        bool float64 = false;
        std::string isa;
    };

    explicit Ensemble(Description description);
    Ensemble(const Ensemble&) = delete;
    Ensemble& operator=(const Ensemble&) = delete;

    const EnsembleSpec& spec() const noexcept { return spec_; }
    bool float64() const noexcept { return description_.float64; }
    int first_rank() const noexcept { return spec_.first_rank; }
    Isa isa() const noexcept { return isa_; }

    // What run() asks of its arguments but the threads: ArgumentError, ShapeError or StateError.
    void check_run(const Program& program, std::uint64_t first, std::uint64_t last, const Accumulator& into) const;

    // Adds what `into` lacks of nets [first, last). first: multiple of the block. False if poll ended the run;
    // finished blocks are kept then, whole.
    bool run(const Program& program, std::uint64_t first, std::uint64_t last, unsigned threads, Accumulator& into, const Poll& poll) const;

    // Fields (last - first, n_points, dim_out); out is float or double as float64() says.
    bool outputs(std::uint64_t first, std::uint64_t last, unsigned threads, void* out, const Poll& poll) const;

    // One tensor of one net, (rows, columns): hidden (fan_out, fan_in), bias (fan_out, 1), output weights (fan_in, fan_out).
    void draw_tensor(std::uint64_t net, int layer, bool bias, double* out) const;

private:
    template <class Real>
    const EnsembleKernels<Real>& kernels() const;
    template <class Real>
    bool run_as(const Program& program, std::uint64_t first, std::uint64_t last, unsigned threads, Accumulator& into, const Poll& poll) const;
    template <class Real>
    bool outputs_as(std::uint64_t first, std::uint64_t last, unsigned threads, Real* out, const Poll& poll) const;
    void order_points();
    void factor_first_layer();

    Description description_;
    EnsembleSpec spec_;
    std::vector<std::int32_t> place_;
    std::vector<double> first_factor_, first_variance_;
    Isa isa_;
    EnsembleKernels<float> kernels32_;
    EnsembleKernels<double> kernels64_;
};

EnsembleKernels<float> float32_kernels(Isa isa);

}  // namespace nnqft
