#include "cuda/ensemble/plan.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.hpp"
#include "core/lane.hpp"
#include "cuda/ensemble/forward.hpp"
#include "cuda/ensemble/moments.hpp"
#include "cuda/ensemble/shallow.hpp"
#include "ensemble/workspace.hpp"

namespace nnqft::cuda {
namespace {

constexpr std::size_t kAlign = 256;
constexpr std::uint64_t kMaxWave = std::uint64_t{1} << 22;  // nets; kernels count the samples of a wave in 32 bits

// Places for arrays, one after the other.
class Layout {
public:
    std::size_t take(std::uint64_t count, std::size_t size) {
        const std::size_t here = at_;
        if (count > (std::size_t{1} << 60) / size - at_ / size)
            throw ArgumentError("an ensemble needs more memory than there are addresses: fewer points or narrower layers fit");
        at_ += (static_cast<std::size_t>(count) * size + kAlign - 1) / kAlign * kAlign;
        return here;
    }
    std::size_t total() const noexcept { return at_; }

private:
    std::size_t at_ = 0;
};

std::uint64_t round_up(std::uint64_t n, std::uint64_t step) { return (n + step - 1) / step * step; }

template <class T>
void put(std::byte* to, const std::vector<T>& values) {
    if (!values.empty()) std::memcpy(to, values.data(), values.size() * sizeof(T));
}

}  // namespace

EnsemblePlan::EnsemblePlan(const EnsembleSpec& spec, bool float64, const MomentProgram* program, std::uint64_t block, std::size_t budget)
    : layers_(spec.layers, spec.layers + spec.n_hidden + 1), spec_(spec), float64_(float64), shallow_(is_shallow(spec, float64)), block_(block), budget_(budget) {
    const std::size_t m = static_cast<std::size_t>(spec.n_points), d = static_cast<std::size_t>(spec.dim_in), real = float64 ? 8 : 4;
    if (program != nullptr) {
        if (block < kTile || block % kTile != 0) throw ArgumentError("a block of " + std::to_string(block) + " nets is no multiple of " + std::to_string(kTile));
        if (program->n_fields != field_count(spec)) throw ShapeError("the moment program is not for this ensemble's fields");
        units_ = moment_units(*program);
        if (spec.estimator == Estimator::neuron) samples_per_net_ = static_cast<std::uint64_t>(spec.layers[0].fan_out);
    }
    points_.assign(spec.points, spec.points + m * d);
    place_.assign(spec.place, spec.place + m);
    if (spec.sampler == Sampler::layer) {
        factor_.assign(spec.first_factor, spec.first_factor + m * static_cast<std::size_t>(spec.first_rank));
        variance_.assign(spec.first_variance, spec.first_variance + m);
    }
    amplitude_.assign(spec.amplitude.values, spec.amplitude.values + spec.amplitude.count);
    arrays_.resize(2 * layers_.size());
    for (std::size_t t = 0; t < arrays_.size(); ++t) {
        const Layer& layer = layers_[t / 2];
        const TensorLaw& law = t % 2 ? layer.bias : layer.weight;
        if (law.law != Law::array) continue;
        const std::size_t per_net = static_cast<std::size_t>(layer.fan_out) * (t % 2 ? 1 : static_cast<std::size_t>(layer.fan_in));
        arrays_[t].assign(law.values, law.values + per_net * static_cast<std::size_t>(law.array_nets));
    }
    spec_.layers = layers_.data();
    spec_.points = points_.data();
    spec_.place = place_.data();
    spec_.first_factor = factor_.data();
    spec_.first_variance = variance_.data();
    spec_.amplitude.values = amplitude_.data();

    Layout layout;
    constants_.points = layout.take(m * static_cast<std::size_t>(row_pitch_of_points()), real);
    constants_.place = layout.take(m, sizeof(std::int32_t));
    constants_.shift = layout.take(m, real);
    constants_.factor = layout.take(factor_.size(), real);
    constants_.amplitude = layout.take(amplitude_.size(), sizeof(double));
    for (const auto& values : arrays_) constants_.tensors.push_back(layout.take(values.size(), sizeof(double)));
    constants_.units = layout.take(units_.units.size(), sizeof(MomentUnit));
    constants_.products = layout.take(units_.products.size(), sizeof(StoredProduct));
    constants_.total = layout.total();
}

int EnsemblePlan::row_pitch_of_points() const noexcept { return row_pitch(spec_.dim_in); }

template <class Real>
void EnsemblePlan::write_as(std::byte* to) const {
    const std::size_t m = static_cast<std::size_t>(spec_.n_points), d = static_cast<std::size_t>(spec_.dim_in), pitch = static_cast<std::size_t>(row_pitch_of_points());
    std::vector<Real> points(m * pitch, Real(0)), shift(m, Real(0)), factor(factor_.begin(), factor_.end());
    const Layer& first = layers_.front();
    for (std::size_t i = 0; i < m; ++i) {
        Real norm2(0);
        for (std::size_t k = 0; k < d; ++k) {
            const Real x = static_cast<Real>(points_[i * d + k]);
            points[i * pitch + k] = x;
            norm2 = madd(x, x, norm2);
        }
        shift[i] = spec_.sampler == Sampler::layer ? static_cast<Real>(-variance_[i])
                                                   : -madd(static_cast<Real>(first.weight_variance), norm2, static_cast<Real>(first.bias_variance));
    }
    put(to + constants_.points, points);
    put(to + constants_.shift, shift);
    put(to + constants_.factor, factor);
}

void EnsemblePlan::write_constants(std::byte* to) const {
    std::memset(to, 0, constants_.total);
    if (float64_) write_as<double>(to);
    else write_as<float>(to);
    put(to + constants_.place, place_);
    put(to + constants_.amplitude, amplitude_);
    for (std::size_t t = 0; t < arrays_.size(); ++t) put(to + constants_.tensors[t], arrays_[t]);
    put(to + constants_.units, units_.units);
    put(to + constants_.products, units_.products);
}

double EnsemblePlan::work_per_net() const noexcept {
    constexpr double normal = 32.0, activation = 20.0;
    const double m = spec_.n_points;
    double work = static_cast<double>(units_.n_sums) * static_cast<double>(samples_per_net_);
    for (const Layer& layer : layers_) {
        const double neurons = layer.fan_out, inputs = spec_.sampler == Sampler::layer ? m : layer.fan_in;
        work += neurons * (inputs * (normal + m) + m * activation);
        if (spec_.sampler == Sampler::layer || spec_.estimator == Estimator::gram) work += neurons * m * m;
    }
    return work;
}

EnsemblePlan::Scratch EnsemblePlan::scratch(std::uint64_t n_nets, bool sums) const {
    const std::uint64_t m = static_cast<std::uint64_t>(spec_.n_points), pairs = static_cast<std::uint64_t>(pair_count(spec_.n_points));
    const std::size_t real = float64_ ? 8 : 4;
    const bool layer = spec_.sampler == Sampler::layer, shallow = shallow_ && sums;
    const bool gram = layer || (sums && spec_.estimator == Estimator::gram), fields = !sums || spec_.estimator == Estimator::direct;

    // Numbers per net of every array.
    std::uint64_t widest = 0, normalised = 0;
    for (int l = 0; l < spec_.n_hidden; ++l) {
        widest = std::max(widest, static_cast<std::uint64_t>(row_pitch(layers_[static_cast<std::size_t>(l)].fan_out)));
        if (l > 0 && layers_[static_cast<std::size_t>(l)].normalised) normalised = 1;
    }
    const std::uint64_t hidden = shallow ? 0 : m * widest, second = !layer && spec_.n_hidden > 1 ? hidden : 0;
    const std::uint64_t norm2 = !shallow && spec_.amplitude.count > 0 ? static_cast<std::uint64_t>(row_pitch(layers_.front().fan_out)) : 0;
    const std::uint64_t covariance = gram ? pairs : 0, output = fields && !shallow ? m * static_cast<std::uint64_t>(row_pitch(spec_.dim_out)) : 0;
    const std::uint64_t in_wave = hidden + second + norm2 + m * normalised + covariance * (layer ? 2 : 1) + output;
    std::uint64_t per_sample = 0;
    if (sums) {
        const bool staged = float64_ ? slots_are_staged<double>(units_.n_slots) : slots_are_staged<float>(units_.n_slots);
        per_sample = static_cast<std::uint64_t>(staged ? units_.n_fields : units_.n_slots);
    }
    const std::uint64_t in_piece = per_sample * samples_per_net_;

    // Half of the budget for either; whole blocks in a piece if they fit, and waves no longer than pieces.
    const auto fitting = [&](std::uint64_t per_net, std::uint64_t least, std::uint64_t step) {
        const std::uint64_t fit = per_net == 0 ? kMaxWave : budget_ / 2 / real / per_net;
        return std::clamp(fit / step * step, least, std::max(least, kMaxWave / step * step));
    };
    Scratch s;
    if (sums) {
        // A part of a block begins a sub-block: 256 nets, or 16 nets whose neurons are samples.
        const std::uint64_t part = std::min(block_, spec_.estimator == Estimator::neuron ? std::uint64_t{kTile} : std::uint64_t{kTile * kMaxTiles});
        s.piece = fitting(in_piece, part, part);
        if (s.piece > block_) s.piece = s.piece / block_ * block_;
        s.piece = std::min(s.piece, round_up(std::max<std::uint64_t>(n_nets, 1), block_));
        s.wave = std::min(fitting(in_wave, kTile, kTile), round_up(s.piece, kTile));
    } else {
        s.wave = std::min(fitting(in_wave, 1, 1), std::max<std::uint64_t>(n_nets, 1));
    }
    Layout layout;
    s.hidden_a = layout.take(s.wave * hidden, real);
    s.hidden_b = layout.take(s.wave * second, real);
    s.norm2 = layout.take(s.wave * norm2, real);
    s.shift = layout.take(s.wave * m * normalised, real);
    s.gram = layout.take(s.wave * covariance, real);
    s.factor = layout.take(layer ? s.wave * covariance : 0, real);
    s.fields = layout.take(s.wave * output, real);
    s.slots = layout.take(round_up(s.piece, kTile) * in_piece, real);
    s.total = layout.total();
    return s;
}

EnsemblePlan::Scratch EnsemblePlan::block_scratch(std::uint64_t n_nets) const {
    if (units_.n_sums == 0) throw ArgumentError("a plan without a moment program has no block sums");
    return scratch(n_nets, true);
}
EnsemblePlan::Scratch EnsemblePlan::output_scratch(std::uint64_t n_nets) const { return scratch(n_nets, false); }

}  // namespace nnqft::cuda
