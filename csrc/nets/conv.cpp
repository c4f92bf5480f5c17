#include "nets/conv.hpp"

#include <algorithm>
#include <vector>

#include "core/activation_f64.hpp"
#include "core/activations.hpp"

namespace nnqft {

#if defined(NNQFT_X86)
#define NNQFT_CHOOSE(KERNELS)                            \
    switch (resolve_isa("")) {                           \
        case Isa::avx512: return avx512::KERNELS();      \
        case Isa::avx2: return avx2::KERNELS();          \
        default: return scalar::KERNELS();               \
    }
#else
#define NNQFT_CHOOSE(KERNELS) return scalar::KERNELS();
#endif
template <>
const ConvKernels<float>& conv_kernels<float>() {
    static const ConvKernels<float> kernels = [] { NNQFT_CHOOSE(conv_kernels_f32) }();
    return kernels;
}
template <>
const ConvKernels<double>& conv_kernels<double>() {
    static const ConvKernels<double> kernels = [] { NNQFT_CHOOSE(conv_kernels_f64) }();
    return kernels;
}
#undef NNQFT_CHOOSE

template <class T>
ConvPass<T>::ConvPass(const Network& net, int l, const Panel<T>& panel)
    : layer_(net.layer(l)), plan_(net.plan(l)), place_(net.place(l)), kernels_(conv_kernels<T>()), panel_(panel),
      per_sample_(layer_.conv.filters * plan_.capacity), scale_(T(1) / static_cast<T>(layer_.conv.mean.height * layer_.conv.mean.width)) {
    const bool image = plan_.next_image > 0;
    sample_step_ = image ? plan_.next_image : 1;
    pixel_step_ = image ? 1 : panel.ld;
    filter_step_ = image ? 1 : plan_.pixels * panel.ld;
}

template <class T>
ConvPlaces ConvPass<T>::places(std::int64_t sample) const {
    const std::int64_t filters = layer_.conv.filters;
    const std::int32_t* const count = panel_.index + plan_.index * panel_.samples + sample * (filters + per_sample_);
    return {filters, plan_.capacity, count, count + filters, plan_.begin.data()};
}

// body(k, o): a place's number, and its pixel in the output's memory.
template <class T>
template <class Body>
void ConvPass<T>::each_place(const Body& body) const {
    const std::int32_t* const pixel = plan_.pixel.data();
    for (std::int64_t s = 0; s < panel_.samples; ++s) {
        const ConvPlaces p = places(s);
        for (std::int64_t f = 0; f < p.filters; ++f) {
            const std::int64_t at = s * sample_step_ + f * filter_step_, first = s * per_sample_ + f * p.capacity;
            const std::int32_t* const place = p.place + f * p.capacity;
            for (std::int64_t i = 0; i < p.count[f]; ++i) body(first + i, at + pixel[place[i]] * pixel_step_);
        }
    }
}

template <class T>
void ConvPass<T>::clear(T* output) const {
    std::fill(output, output + (plan_.next_image > 0 ? panel_.samples * plan_.next_image : layer_.out * panel_.ld), T(0));
}

template <class T>
void ConvPass<T>::forward(const T* weights, const T* bias, T* output, T* scratch) const {
    const ConvShape& c = layer_.conv;
    const auto map = static_cast<std::int64_t>(plan_.begin.size()), line = static_cast<std::int64_t>(plan_.all.size());
    const std::int64_t pool = c.max.height * c.max.width;
    T *const z = scratch, *const value = z + line, *const first = value + line, *const second = first + line;
    const T* const key = c.max_before_activation ? z : value;
    const auto n_map = static_cast<std::int32_t>(map);
    const auto params = activation_params<T>(layer_.activation_params.data(), static_cast<int>(layer_.activation_params.size()));
    clear(output);
    for (std::int64_t s = 0; s < panel_.samples; ++s) {
        const ConvPlaces lists = places(s);
        auto* const counts = const_cast<std::int32_t*>(lists.count);  // this panel's own
        for (std::int64_t f = 0; f < c.filters; ++f) {
            const ConvPair<T> pair = {weights + f * plan_.window.size, panel_.row(place_.input) + s * plan_.image};
            kernels_.dots(plan_.window, {1, line, &n_map, plan_.all.data(), plan_.begin.data()}, &pair, 1, bias ? bias + f : nullptr, z);
            with_activation(layer_.activation, [&](auto tag) {
                for (std::int64_t k = 0; k < map; ++k) activate_derivatives<decltype(tag)::value>(z[k], params, value[k], first[k], second[k]);
            });
            std::int32_t* const list = counts + c.filters + f * plan_.capacity;
            std::int64_t n = 0;
            for (std::size_t site = 0; site < plan_.sites.size(); site += static_cast<std::size_t>(pool)) {
                std::int32_t best = plan_.sites[site];
                for (std::int64_t i = 1; i < pool; ++i) {
                    const std::int32_t k = plan_.sites[site + static_cast<std::size_t>(i)];
                    if (key[k] > key[best] || key[k] != key[k]) best = k;  // NaN is the largest
                }
                output[s * sample_step_ + f * filter_step_ + plan_.pixel[static_cast<std::size_t>(best)] * pixel_step_] += scale_ * value[best];
                if (first[best] == T(0) && second[best] == T(0)) continue;
                const std::int64_t at = s * per_sample_ + f * plan_.capacity + n;
                if (place_.gate >= 0) panel_.row(place_.gate)[at] = scale_ * first[best];
                if (place_.curve >= 0) panel_.row(place_.curve)[at] = scale_ * second[best];
                list[n++] = best;
            }
            counts[f] = static_cast<std::int32_t>(n);
            for (; n % kPlaceGroup != 0; ++n) list[n] = 0;
        }
    }
}

template <class T>
void ConvPass<T>::deltas(const T* e) const {
    T *const delta = panel_.row(place_.delta), *const curve = panel_.row(place_.curve);
    const T* const gate = panel_.row(place_.gate);
    each_place([&](std::int64_t k, std::int64_t o) {
        delta[k] = (gate ? gate[k] : scale_) * e[o];
        if (curve) curve[k] *= e[o];
    });
}

template <class T>
void ConvPass<T>::r_forward(const T* W, const T* r_h, const T* V, const T* v, T* r_z, T* r_output) const {
    const T *const h = panel_.row(place_.input), *const gate = panel_.row(place_.gate);
    for (std::int64_t s = 0; s < panel_.samples; ++s) {
        ConvPair<T> pairs[2];
        int n_pairs = 0;
        if (V) pairs[n_pairs++] = {V, h + s * plan_.image};
        if (r_h) pairs[n_pairs++] = {W, r_h + s * plan_.image};
        kernels_.dots(plan_.window, places(s), pairs, n_pairs, v, r_z + s * per_sample_);
    }
    clear(r_output);
    if (gate) each_place([&](std::int64_t k, std::int64_t o) { r_output[o] += gate[k] * r_z[k]; });
    else each_place([&](std::int64_t k, std::int64_t o) { r_output[o] += scale_ * r_z[k]; });
}

template <class T>
void ConvPass<T>::r_deltas(const T* r_e, const T* r_z, T* r_d) const {
    const T *const gate = panel_.row(place_.gate), *const curve = r_z ? panel_.row(place_.curve) : nullptr;
    if (!curve && !gate) each_place([&](std::int64_t k, std::int64_t o) { r_d[k] = scale_ * r_e[o]; });
    else
        each_place([&](std::int64_t k, std::int64_t o) {
            T sum = r_e ? (gate ? gate[k] : scale_) * r_e[o] : T(0);
            if (curve) sum += curve[k] * r_z[k];
            r_d[k] = sum;
        });
}

template <class T>
void ConvPass<T>::back(const Term<T>* terms, int n_terms, T* e) const {
    const T* const weights[2] = {terms[0].weights, terms[n_terms - 1].weights};
    std::fill(e, e + panel_.samples * plan_.image, T(0));
    for (std::int64_t s = 0; s < panel_.samples; ++s) {
        const T* const numbers[2] = {terms[0].rows + s * per_sample_, terms[n_terms - 1].rows + s * per_sample_};
        kernels_.scatter(plan_.window, places(s), weights, numbers, n_terms, e + s * plan_.image);
    }
}

template <class T>
void ConvPass<T>::add(const Pair<T>* pairs, int n_pairs, const T* r_d, T* out) const {
    const ConvShape& c = layer_.conv;
    std::vector<T> sums(static_cast<std::size_t>(c.filters * plan_.window.size), T(0));
    for (std::int64_t s = 0; s < panel_.samples; ++s) {
        ConvPair<T> here[2];
        for (int i = 0; i < n_pairs; ++i) here[i] = {pairs[i].left + s * per_sample_, pairs[i].right + s * plan_.image};
        kernels_.sums(plan_.window, places(s), here, n_pairs, sums.data());
    }
    const std::int64_t area = c.kernel * c.kernel;
    for (std::int64_t f = 0; f < c.filters; ++f)
        for (std::int64_t tap = 0; tap < area; ++tap) {
            const T* const from = sums.data() + f * plan_.window.size + tap / c.kernel * plan_.window.run + tap % c.kernel * c.channels;
            for (std::int64_t k = 0; k < c.channels; ++k) out[(f * c.channels + k) * area + tap] += from[k];
        }
    if (!layer_.bias || !r_d) return;
    std::fill_n(sums.begin(), c.filters, T(0));  // one addition to `out` for a panel, as above: its bits are those of a sum from zero
    for (std::int64_t s = 0; s < panel_.samples; ++s) {
        const ConvPlaces p = places(s);
        for (std::int64_t f = 0; f < p.filters; ++f) {
            T sum = 0;
            for (std::int64_t i = 0; i < p.count[f]; ++i) sum += r_d[s * per_sample_ + f * p.capacity + i];
            sums[static_cast<std::size_t>(f)] += sum;
        }
    }
    for (std::int64_t f = 0; f < c.filters; ++f) out[layer_.weights() + f] += sums[static_cast<std::size_t>(f)];
}

template <class T>
double ConvPass<T>::entry(const Pair<T>* pairs, int n_pairs, const T* r_d, std::int64_t parameter, std::int64_t sample) const {
    const ConvShape& c = layer_.conv;
    const std::int64_t area = c.kernel * c.kernel, bias = parameter - layer_.weights(), f = bias >= 0 ? bias : parameter / (c.channels * area);
    const std::int64_t tap = parameter % area, channel = parameter / area % c.channels;
    const std::int64_t at = tap / c.kernel * plan_.window.pitch + tap % c.kernel * c.channels + channel + sample * plan_.image;
    const ConvPlaces p = places(sample);
    double sum = 0.0;
    for (std::int64_t i = 0; i < p.count[f]; ++i) {
        const std::int64_t k = sample * per_sample_ + f * p.capacity + i, begin = p.window[p.place[f * p.capacity + i]];
        if (bias >= 0) sum += r_d ? static_cast<double>(r_d[k]) : 0.0;
        else
            for (int j = 0; j < n_pairs; ++j) sum += static_cast<double>(pairs[j].left[k]) * static_cast<double>(pairs[j].right[at + begin]);
    }
    return sum;
}

template <class T>
void pack_filters(const ConvShape& c, const ConvWindow& window, const T* from, T* to) {
    const std::int64_t area = c.kernel * c.kernel;
    std::fill(to, to + c.filters * window.size, T(0));
    for (std::int64_t f = 0; f < c.filters; ++f)
        for (std::int64_t k = 0; k < c.channels; ++k)
            for (std::int64_t tap = 0; tap < area; ++tap)
                to[f * window.size + tap / c.kernel * window.run + tap % c.kernel * c.channels + k] = from[(f * c.channels + k) * area + tap];
}

namespace {

// body(feature, number): of `count` row-major samples, number `first` and on, where it lies in padded images.
template <class Body>
void each_feature(const ConvShape& c, const ConvPlan& plan, std::int64_t first, std::int64_t count, const Body& body) {
    const std::int64_t size = c.height * c.width;
    for (std::int64_t s = 0; s < count; ++s)
        for (std::int64_t k = 0; k < c.channels; ++k)
            for (std::int64_t y = 0; y < c.height; ++y)
                for (std::int64_t x = 0; x < c.width; ++x)
                    body(((first + s) * c.channels + k) * size + y * c.width + x,
                         s * plan.image + (y + c.padding) * plan.window.pitch + (x + c.padding) * c.channels + k);
}

}  // namespace

template <class T>
void load_images(const ConvShape& c, const ConvPlan& plan, const T* from, std::int64_t first, std::int64_t count, std::int64_t samples, T* to) {
    std::fill(to, to + samples * plan.image, T(0));
    each_feature(c, plan, first, count, [&](std::int64_t feature, std::int64_t at) { to[at] = from[feature]; });
}

template <class T>
void unload_images(const ConvShape& c, const ConvPlan& plan, const T* from, std::int64_t first, std::int64_t count, T* to) {
    each_feature(c, plan, first, count, [&](std::int64_t feature, std::int64_t at) { to[feature] = from[at]; });
}

template class ConvPass<float>;
template class ConvPass<double>;
template void pack_filters(const ConvShape&, const ConvWindow&, const float*, float*);
template void pack_filters(const ConvShape&, const ConvWindow&, const double*, double*);
template void load_images(const ConvShape&, const ConvPlan&, const float*, std::int64_t, std::int64_t, std::int64_t, float*);
template void load_images(const ConvShape&, const ConvPlan&, const double*, std::int64_t, std::int64_t, std::int64_t, double*);
template void unload_images(const ConvShape&, const ConvPlan&, const float*, std::int64_t, std::int64_t, float*);
template void unload_images(const ConvShape&, const ConvPlan&, const double*, std::int64_t, std::int64_t, double*);

}  // namespace nnqft
