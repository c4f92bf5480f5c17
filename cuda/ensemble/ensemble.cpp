#include "cuda/ensemble/ensemble.hpp"

#include <algorithm>
#include <cstddef>
#include <initializer_list>

#include "cuda/ensemble/forward.hpp"
#include "cuda/ensemble/moments.hpp"
#include "cuda/ensemble/shallow.hpp"
#include "ensemble/workspace.hpp"

namespace nnqft::cuda {
namespace {

// One wave of nets on its way through the layers. The first status that is no success stays.
template <class Real>
class Forward {
public:
    Forward(const EnsemblePlan& plan, const EnsemblePlan::Scratch& scratch, const void* constants, void* workspace, cudaStream_t stream)
        : plan_(plan), spec_(plan.spec()), constants_(static_cast<const std::byte*>(constants)), workspace_(static_cast<std::byte*>(workspace)), at_(scratch), stream_(stream) {
        wave_.n_points = spec_.n_points;
        wave_.seed = spec_.seed;
    }

    cudaError_t status() const noexcept { return status_; }

    // Samples of nets first ... + count - 1 into column `column` of y, rows `pitch` apart; a multiple of 16 nets is written.
    void samples(std::uint64_t first, std::uint32_t count, Real* y, std::uint64_t pitch) {
        begin(first, count);
        const Samples to{constant<std::int32_t>(plan_.constants().place), spec_.field_scale, (count + kTile - 1) / kTile * kTile, pitch};
        if constexpr (sizeof(Real) == sizeof(float)) {
            if (plan_.shallow()) {
                const Shallow net = shallow_net(spec_, constant<float>(plan_.constants().points), plan_.row_pitch_of_points(),
                                                constant<float>(plan_.constants().shift));
                return run(spec_.estimator == Estimator::neuron ? shallow_neurons(wave_, net, to, y, stream_) : shallow_fields(wave_, net, to, y, stream_));
            }
        }
        if (spec_.estimator == Estimator::direct) {
            fields();
            run(field_samples(wave_, to, spec_.dim_out, scratch(at_.fields), y, stream_));
        } else if (spec_.estimator == Estimator::gram) {
            last_gram();
            run(gram_samples(wave_, to, scratch(at_.gram), y, stream_));
        } else {
            const Real* h = hidden(spec_.n_hidden - 1);
            run(neuron_samples(wave_, to, spec_.layers[spec_.n_hidden - 1].fan_out, h, y, stream_));
        }
    }

    void outputs(std::uint64_t first, std::uint32_t count, Real* out) {
        begin(first, count);
        fields();
        run(output_rows(wave_, constant<std::int32_t>(plan_.constants().place), spec_.dim_out, scratch(at_.fields), out, stream_));
    }

private:
    void run(cudaError_t status) noexcept {
        if (status_ == cudaSuccess) status_ = status;
    }
    void begin(std::uint64_t first, std::uint32_t count) {
        wave_.first = first;
        wave_.count = count;
    }
    Real* scratch(std::size_t offset) const { return reinterpret_cast<Real*>(workspace_ + offset); }
    template <class T>
    const T* constant(std::size_t offset) const {
        return reinterpret_cast<const T*>(constants_ + offset);
    }

    // Layer l as the device sees it.
    Layer layer(int l) const {
        Layer copy = spec_.layers[l];
        copy.weight.values = constant<double>(plan_.constants().tensors[static_cast<std::size_t>(2 * l)]);
        copy.bias.values = constant<double>(plan_.constants().tensors[static_cast<std::size_t>(2 * l + 1)]);
        return copy;
    }

    void activate(int l, Real* z) {
        const Layer& layer = spec_.layers[l];
        const bool given = l == 0;  // the first layer's shift is the same for all nets
        const Real* shift = !layer.normalised ? nullptr : given ? constant<Real>(plan_.constants().shift) : scratch(at_.shift);
        Amplitude amplitude;
        if (l == 0 && spec_.amplitude.count > 0) amplitude = {constant<double>(plan_.constants().amplitude), spec_.amplitude.count, spec_.amplitude.max};
        run(activations(wave_, layer, shift, given ? 0 : spec_.n_points, amplitude, static_cast<const Real*>(scratch(at_.norm2)), z, stream_));
    }

    // Activations of layers 0 ... last; under the layer law also the factor of each layer's covariance on the way.
    const Real* hidden(int last) {
        const Real* h = nullptr;
        for (int l = 0; l <= last; ++l) {
            const Layer here = layer(l);
            if (spec_.sampler == Sampler::layer) {
                Real* const z = scratch(at_.hidden_a);
                if (l > 0) {
                    covariance(l - 1, h);
                    if (here.normalised) run(diagonal_shifts(wave_, static_cast<const Real*>(scratch(at_.gram)), scratch(at_.shift), stream_));
                }
                run(layer_law(wave_, l, here.fan_out, l == 0, spec_.first_rank, l == 0 ? constant<Real>(plan_.constants().factor) : scratch(at_.factor), z, stream_));
                activate(l, z);
                h = z;
                continue;
            }
            const Rows<Real> in = l == 0 ? Rows<Real>{constant<Real>(plan_.constants().points), 0, plan_.row_pitch_of_points()}
                                         : Rows<Real>{h, static_cast<std::int64_t>(spec_.n_points) * row_pitch(here.fan_in), row_pitch(here.fan_in)};
            Real* const z = scratch(l % 2 ? at_.hidden_b : at_.hidden_a);
            if (here.normalised && l > 0) run(shifts(wave_, here, in, scratch(at_.shift), stream_));
            run(preactivations(wave_, here, l, in, z, l == 0 && spec_.amplitude.count > 0 ? scratch(at_.norm2) : nullptr, stream_));
            activate(l, z);
            h = z;
        }
        return h;
    }

    // K of the layer after l, whose activations are h, and its factor.
    void covariance(int l, const Real* h) {
        run(grams(wave_, spec_.layers[l].fan_out, spec_.layers[l + 1], h, scratch(at_.gram), stream_));
        run(factors(wave_, static_cast<const Real*>(scratch(at_.gram)), scratch(at_.factor), stream_));
    }

    void last_gram() {
        const int l = spec_.n_hidden - 1;
        const Real* h = hidden(l);
        run(grams(wave_, spec_.layers[l].fan_out, spec_.layers[l + 1], h, scratch(at_.gram), stream_));
    }

    void fields() {
        const int l = spec_.n_hidden;
        const Real* h = hidden(l - 1);
        if (spec_.sampler == Sampler::layer) {
            covariance(l - 1, h);
            run(layer_law(wave_, l, spec_.dim_out, false, spec_.n_points, static_cast<const Real*>(scratch(at_.factor)), scratch(at_.fields), stream_));
        } else {
            run(readouts(wave_, layer(l), l, h, scratch(at_.fields), stream_));
        }
    }

    const EnsemblePlan& plan_;
    const EnsembleSpec& spec_;
    const std::byte* constants_;
    std::byte* workspace_;
    EnsemblePlan::Scratch at_;
    cudaStream_t stream_;
    Wave wave_{};
    cudaError_t status_ = cudaSuccess;
};

DeviceMoments device_moments(const EnsemblePlan& plan, const void* constants) {
    const MomentUnits& units = plan.units();
    const auto* base = static_cast<const std::byte*>(constants);
    DeviceMoments d{};
    d.units = reinterpret_cast<const MomentUnit*>(base + plan.constants().units);
    d.products = reinterpret_cast<const StoredProduct*>(base + plan.constants().products);
    std::copy(units.level_ends.begin(), units.level_ends.end(), d.level_ends);
    d.n_units = static_cast<std::int32_t>(units.units.size());
    d.n_levels = static_cast<std::int32_t>(units.level_ends.size());
    d.n_fields = units.n_fields;
    d.n_slots = units.n_slots;
    d.n_sums = units.n_sums;
    return d;
}

template <class Real>
cudaError_t block_sums_as(const EnsemblePlan& plan, std::uint64_t first, std::uint64_t count, const void* constants, double* sums, void* workspace,
                          cudaStream_t stream) {
    const EnsemblePlan::Scratch scratch = plan.block_scratch(count);
    const std::uint64_t block = plan.block(), per_net = plan.samples_per_net();
    const DeviceMoments moments = device_moments(plan, constants);
    Forward<Real> forward(plan, scratch, constants, workspace, stream);
    Real* const slots = reinterpret_cast<Real*>(static_cast<std::byte*>(workspace) + scratch.slots);
    for (std::uint64_t done = 0; done < count;) {
        const std::uint64_t in_block = done % block;
        std::uint64_t here = std::min(scratch.piece, count - done);
        if (scratch.piece < block) here = std::min(here, block - in_block);  // a part of one block
        const std::uint64_t padded = (here + kTile - 1) / kTile * kTile, pitch = padded * per_net;
        for (std::uint64_t n = 0; n < here; n += scratch.wave)
            forward.samples(first + done + n, static_cast<std::uint32_t>(std::min(scratch.wave, here - n)), slots + n * per_net, pitch);
        if (forward.status() != cudaSuccess) return forward.status();
        const std::uint64_t covered = std::min(block, padded);
        const bool neurons = plan.spec().estimator == Estimator::neuron;
        const SampleBlocks blocks{pitch, neurons ? kTile * per_net : covered, neurons ? covered / kTile : 1, pitch, in_block > 0};
        const cudaError_t status = moment_sums(moments, blocks, slots, sums + done / block * static_cast<std::uint64_t>(moments.n_sums), stream);
        if (status != cudaSuccess) return status;
        done += here;
    }
    return cudaSuccess;
}

template <class Real>
cudaError_t outputs_as(const EnsemblePlan& plan, std::uint64_t first, std::uint64_t count, const void* constants, Real* out, void* workspace, cudaStream_t stream) {
    const EnsemblePlan::Scratch scratch = plan.output_scratch(count);
    Forward<Real> forward(plan, scratch, constants, workspace, stream);
    const std::uint64_t fields = static_cast<std::uint64_t>(plan.spec().n_points) * static_cast<std::uint64_t>(plan.spec().dim_out);
    for (std::uint64_t done = 0; done < count && forward.status() == cudaSuccess; done += scratch.wave)
        forward.outputs(first + done, static_cast<std::uint32_t>(std::min(scratch.wave, count - done)), out + done * fields);
    return forward.status();
}

}  // namespace

cudaError_t block_sums(const EnsemblePlan& plan, uint64_t first, uint64_t count, const void* constants, double* sums, void* workspace,
                       cudaStream_t stream) noexcept {
    return plan.float64() ? block_sums_as<double>(plan, first, count, constants, sums, workspace, stream)
                          : block_sums_as<float>(plan, first, count, constants, sums, workspace, stream);
}

cudaError_t outputs(const EnsemblePlan& plan, uint64_t first, uint64_t count, const void* constants, void* out, void* workspace, cudaStream_t stream) noexcept {
    return plan.float64() ? outputs_as(plan, first, count, constants, static_cast<double*>(out), workspace, stream)
                          : outputs_as(plan, first, count, constants, static_cast<float*>(out), workspace, stream);
}

}  // namespace nnqft::cuda
