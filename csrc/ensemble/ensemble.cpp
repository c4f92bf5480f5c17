#include "ensemble/ensemble.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>

#include "core/dense.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "ensemble/workspace.hpp"

namespace nnqft {
namespace {

// Worker scratch, aligned to a cache line.
template <class Real>
class Scratch {
public:
    explicit Scratch(std::size_t count) : data_(static_cast<Real*>(::operator new(count * sizeof(Real), std::align_val_t{64}))) {}
    ~Scratch() { ::operator delete(data_, std::align_val_t{64}); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    Real* get() noexcept { return data_; }

private:
    Real* data_;
};

// Elements of scratch memory per thread, refused before anything wraps or is asked for.
std::size_t checked_layout(const EnsembleSpec& spec, std::int32_t n_slots) {
    double m = spec.n_points, widest = 0.0;
    for (int l = 0; l + 1 < spec.n_hidden; ++l) widest = std::max(widest, static_cast<double>(spec.layers[l].fan_out));
    if (spec.sampler == Sampler::layer) widest = 0.0;
    const double vectors = m * (16.0 + spec.dim_in + spec.dim_out + 2.0 * widest + m) + 16.0 * n_slots;
    if (vectors > 1e9)
        throw ArgumentError("a tile of 16 networks at " + std::to_string(spec.n_points) + " points would need about " +
                            std::to_string(static_cast<std::int64_t>(std::min(vectors * 64e-9, 1e12))) + " GB per thread: pass the points in parts");
    return workspace_layout(spec, n_slots).total;
}

void check_layer(const Layer& layer, bool first) {
    constexpr std::int32_t kMaxWidth = std::numeric_limits<std::int32_t>::max() - 64;  // kernels count beyond the end, by groups
    if (layer.fan_in < 1 || layer.fan_out < 1 || layer.fan_in > kMaxWidth || layer.fan_out > kMaxWidth)
        throw ArgumentError("a layer has " + std::to_string(layer.fan_in) + " inputs and " + std::to_string(layer.fan_out) + " outputs; expected 1 to " +
                            std::to_string(kMaxWidth));
    if (layer.bias.law == Law::ball || (layer.weight.law == Law::ball && (!first || layer.fan_in > 3)))
        throw ArgumentError("momenta in a ball are for the weights of the first layer, dim_in <= 3");
    check_activation(layer.activation, layer.n_params);
}

void check_threads(unsigned threads) {
    if (threads < 1 || threads > kMaxThreads)
        throw ArgumentError("threads is " + std::to_string(threads) + ", expected 1 to " + std::to_string(kMaxThreads));
}

bool ask_flag(const void* flag) { return static_cast<const StopFlag*>(flag)->raised(); }

}  // namespace

void check_activation(Activation activation, int n_params) {
    if (activation < Activation::relu || activation > Activation::polynomial)
        throw ArgumentError("unknown activation " + std::to_string(static_cast<int>(activation)));
    const int least = activation == Activation::leaky_relu || activation == Activation::polynomial;
    if (n_params < least || n_params > kMaxActivationParams)
        throw ArgumentError("an activation came with " + std::to_string(n_params) + " parameters; expected " + std::to_string(least) + " to " +
                            std::to_string(kMaxActivationParams));
}

EnsembleKernels<float> float32_kernels(Isa isa) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return ensemble_kernels_avx512();
    if (isa == Isa::avx2) return ensemble_kernels_avx2();
#endif
    (void)isa;
    return ensemble_kernels_scalar();
}

std::uint64_t block_size(std::uint64_t n_nets, std::int64_t n_sums) {
    if (n_nets < 4096) return 16;
    return n_sums > 4096 && n_nets >= 16 * 4096 ? 4096 : 256;  // 16 blocks at least, for error bars and threads
}

Ensemble::Ensemble(Description description)
    : description_(std::move(description)), isa_(resolve_isa(description_.isa)), kernels32_(float32_kernels(isa_)), kernels64_(ensemble_kernels_float64()) {
    Description& d = description_;
    if (d.layers.size() < 2) throw ArgumentError("an ensemble needs at least one hidden layer and an output layer");
    if (d.n_points < 1 || d.dim_in < 1 || d.points.size() != static_cast<std::size_t>(d.n_points) * static_cast<std::size_t>(d.dim_in))
        throw ShapeError("points do not have n_points * dim_in values, or none");
    for (std::size_t l = 0; l < d.layers.size(); ++l) {
        check_layer(d.layers[l], l == 0);
        if (l > 0 && d.layers[l].fan_in != d.layers[l - 1].fan_out) throw ShapeError("layer sizes do not chain");
    }
    if (d.layers.front().fan_in != d.dim_in || d.layers.back().fan_out != d.dim_out) throw ShapeError("layers do not match dim_in and dim_out");
    if (d.estimator == Estimator::neuron && d.layers.size() != 2) throw ArgumentError("the neuron estimator needs exactly one hidden layer");
    // The kernels index the table by float32 numbers.
    if (!d.amplitude.empty() && (d.amplitude.size() < 2 || d.amplitude.size() > (std::size_t{1} << 24) || d.layers.front().fan_in > kFusedFanIn ||
                                 d.sampler == Sampler::layer))
        throw ArgumentError("an amplitude needs a table of 2 to 2^24 nodes, dim_in <= 8 and sampler 'weights'");
    if (d.arrays.size() != 2 * d.layers.size()) throw ShapeError("one array slot per weight and bias is expected");
    for (std::size_t l = 0; l < d.layers.size(); ++l)
        for (int bias = 0; bias < 2; ++bias) {
            TensorLaw& law = bias ? d.layers[l].bias : d.layers[l].weight;
            const auto& values = d.arrays[2 * l + static_cast<std::size_t>(bias)];
            if (law.law != Law::array) continue;
            const std::size_t per_net = static_cast<std::size_t>(d.layers[l].fan_out) * (bias ? 1 : static_cast<std::size_t>(d.layers[l].fan_in));
            if (values.size() % per_net != 0 || values.size() / per_net != law.array_nets) throw ShapeError("a weight array does not match its layer");
            law.values = values.data();
        }
    spec_.n_hidden = static_cast<int>(d.layers.size()) - 1;
    spec_.layers = d.layers.data();
    spec_.n_points = d.n_points;
    spec_.dim_in = d.dim_in;
    spec_.dim_out = d.dim_out;
    spec_.points = d.points.data();
    place_.resize(static_cast<std::size_t>(d.n_points));
    std::iota(place_.begin(), place_.end(), 0);
    spec_.place = place_.data();
    spec_.seed = d.seed;
    spec_.amplitude = {d.amplitude.data(), static_cast<int>(d.amplitude.size()), d.amplitude_max};
    spec_.sampler = d.sampler;
    spec_.estimator = d.estimator;
    spec_.field_scale = d.field_scale;
    if (d.sampler == Sampler::layer) {
        checked_layout(spec_, 0);
        order_points();
        factor_first_layer();
    }
}

// The layer law factors covariances of the points in float32, net by net, with one order for all. Each point here is the one
// farthest from those before it, so that close points come last, as pivoting would have them: then a small pivot is followed
// by covariances as small, and neither its rounding nor its loss matters. (Maximin order; Schaefer, Katzfuss, Owhadi 2021.)
void Ensemble::order_points() {
    const std::size_t m = place_.size(), d = static_cast<std::size_t>(spec_.dim_in);
    std::vector<double>& points = description_.points;
    const std::vector<double> given = points, origin(d, 0.0);
    auto distance2 = [d](const double* x, const double* y) {
        double sum = 0.0;
        for (std::size_t c = 0; c < d; ++c) sum += (x[c] - y[c]) * (x[c] - y[c]);
        return sum;
    };
    std::vector<double> nearest(m);  // to a point that is placed; before any is, to the origin
    std::vector<bool> placed(m, false);
    for (std::size_t i = 0; i < m; ++i) nearest[i] = distance2(&given[i * d], origin.data());
    for (std::size_t k = 0; k < m; ++k) {
        std::size_t next = m;
        for (std::size_t i = 0; i < m; ++i)
            if (!placed[i] && (next == m || nearest[i] > nearest[next])) next = i;
        placed[next] = true;
        place_[next] = static_cast<std::int32_t>(k);
        std::copy_n(&given[next * d], d, &points[k * d]);
        for (std::size_t i = 0; i < m; ++i) {
            const double here = distance2(&given[i * d], &given[next * d]);
            nearest[i] = k == 0 ? here : std::min(nearest[i], here);
        }
    }
}

// K_0 = a.a' with a = (sigma_b, sigma_w x / sqrt d): Gram-Schmidt of the vectors a, in float64 and once for all nets, gives
// its Cholesky factor without the squares in K_0, in which close points lose half of their digits. Zero columns are dropped.
void Ensemble::factor_first_layer() {
    const std::size_t m = static_cast<std::size_t>(spec_.n_points), d = static_cast<std::size_t>(spec_.dim_in), length = d + 1;
    const Layer& first = description_.layers.front();
    const double sigma_b = std::sqrt(first.bias_variance), sigma_w = std::sqrt(first.weight_variance);
    std::vector<double> a(m * length), r(m * m);
    for (std::size_t i = 0; i < m; ++i) {
        a[i * length] = sigma_b;
        for (std::size_t c = 0; c < d; ++c) a[i * length + c + 1] = sigma_w * spec_.points[i * d + c];
        double variance = 0.0;
        for (std::size_t c = 0; c < length; ++c) variance += a[i * length + c] * a[i * length + c];
        if (!std::isfinite(variance)) throw ArgumentError("the first layer's covariance is not finite: inputs or scales are too large");
        first_variance_.push_back(variance);
    }
    const double tolerance = 8.0 * static_cast<double>(length) * 0x1p-52;
    gram_schmidt({a.data(), length, m, static_cast<std::ptrdiff_t>(length), 1}, tolerance, r.data());  // r_jj = 0: an a_j that depends on those before
    std::vector<std::size_t> columns;
    for (std::size_t j = 0; j < m; ++j)
        if (r[j * m + j] > 0.0) columns.push_back(j);
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t j : columns) first_factor_.push_back(r[j * m + i]);
    spec_.first_factor = first_factor_.data();
    spec_.first_rank = static_cast<int>(columns.size());
    spec_.first_variance = first_variance_.data();
}

template <>
const EnsembleKernels<float>& Ensemble::kernels<float>() const { return kernels32_; }
template <>
const EnsembleKernels<double>& Ensemble::kernels<double>() const { return kernels64_; }

template <class Real>
bool Ensemble::run_as(const Program& program, std::uint64_t first, std::uint64_t last, unsigned threads, Accumulator& into, const Poll& poll) const {
    const MomentProgram view = program.view();
    const std::uint64_t block = into.block();
    const std::size_t scratch = checked_layout(spec_, view.n_slots);
    std::vector<std::unique_ptr<Scratch<Real>>> workspaces(threads);
    std::vector<std::vector<double>> sums(threads);
    std::atomic<std::uint64_t> done{0};
    for (const auto& [start, stop] : into.missing(first, last)) {
        const std::uint64_t from = start, to = stop;
        const bool finished = run_blocks(
            from / block, (to + block - 1) / block, threads,
            [&](std::uint64_t b, unsigned worker, const StopFlag& flag) {
                if (!workspaces[worker]) {
                    workspaces[worker] = std::make_unique<Scratch<Real>>(scratch);
                    sums[worker].resize(static_cast<std::size_t>(view.n_sums));
                }
                const std::uint64_t net = b * block, count = std::min(block, to - net);
                std::fill(sums[worker].begin(), sums[worker].end(), 0.0);
                const Stop stop_now{ask_flag, &flag};
                if (!kernels<Real>().block_sums(spec_, view, net, static_cast<std::uint32_t>(count), workspaces[worker]->get(), sums[worker].data(), stop_now))
                    return;
                if (into.add(net, count, sums[worker].data())) done.fetch_add(count, std::memory_order_relaxed);
            },
            [&] { return poll(done.load(std::memory_order_relaxed)); });
        if (!finished) return false;
    }
    return true;
}

void Ensemble::check_run(const Program& program, std::uint64_t first, std::uint64_t last, const Accumulator& into) const {
    if (last < first || last > kMaxNets) throw ArgumentError("nets must lie in [0, 2^48)");
    if (first % into.block() != 0)
        throw ArgumentError("start=" + std::to_string(first) + " is not a multiple of the block of " + std::to_string(into.block()) + " nets");
    if (program.n_sums != into.n_sums() || program.n_fields != field_count(spec_)) throw ShapeError("moment program and accumulator do not match the ensemble");
    for (const auto& [start, stop] : into.missing(first, last))
        if (start % into.block() != 0)
            throw StateError("a partial block of nets ending at " + std::to_string(start) + " is already counted; it cannot be extended");
}

bool Ensemble::run(const Program& program, std::uint64_t first, std::uint64_t last, unsigned threads, Accumulator& into, const Poll& poll) const {
    check_run(program, first, last, into);
    check_threads(threads);
    return float64() ? run_as<double>(program, first, last, threads, into, poll) : run_as<float>(program, first, last, threads, into, poll);
}

template <class Real>
bool Ensemble::outputs_as(std::uint64_t first, std::uint64_t last, unsigned threads, Real* out, const Poll& poll) const {
    constexpr std::uint64_t kBlock = 256;
    const std::size_t scratch = checked_layout(spec_, 0);
    const std::size_t fields = static_cast<std::size_t>(spec_.n_points) * static_cast<std::size_t>(spec_.dim_out);
    std::vector<std::unique_ptr<Scratch<Real>>> workspaces(threads);
    std::atomic<std::uint64_t> done{0};
    return run_blocks(
        first / kBlock, (last + kBlock - 1) / kBlock, threads,
        [&](std::uint64_t b, unsigned worker, const StopFlag& flag) {
            if (!workspaces[worker]) workspaces[worker] = std::make_unique<Scratch<Real>>(scratch);
            const std::uint64_t from = std::max(first, b * kBlock), to = std::min(last, (b + 1) * kBlock);
            kernels<Real>().outputs(spec_, from, static_cast<std::uint32_t>(to - from), workspaces[worker]->get(), out + (from - first) * fields, Stop{ask_flag, &flag});
            done.fetch_add(to - from, std::memory_order_relaxed);
        },
        [&] { return poll(done.load(std::memory_order_relaxed)); });
}

bool Ensemble::outputs(std::uint64_t first, std::uint64_t last, unsigned threads, void* out, const Poll& poll) const {
    if (last < first || last > kMaxNets) throw ArgumentError("nets must lie in [0, 2^48)");
    check_threads(threads);
    return float64() ? outputs_as(first, last, threads, static_cast<double*>(out), poll) : outputs_as(first, last, threads, static_cast<float*>(out), poll);
}

void Ensemble::draw_tensor(std::uint64_t net, int layer, bool bias, double* out) const {
    if (layer < 0 || layer > spec_.n_hidden || net >= kMaxNets) throw ArgumentError("no such layer or net");
    if (float64())
        kernels64_.draw_tensor(spec_, net, layer, bias, out);
    else
        kernels32_.draw_tensor(spec_, net, layer, bias, out);
}

}  // namespace nnqft
