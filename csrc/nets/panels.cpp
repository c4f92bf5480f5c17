#include "nets/panels.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "nets/conv.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kPanel = 256;  // samples: the activities of a panel stay in the second-level cache
constexpr std::int64_t kStripe = 64;  // samples that products take at a time
constexpr double kPanelWork = 2e9;  // parameters times samples of a panel, some 0.1 s: between panels workers look for Ctrl-C
constexpr std::int64_t kMaxSlots = 16;  // partial sums of a gradient, unless they would take too long:
constexpr double kFlopsPerSlot = 2e9;  // less than 0.1 s
constexpr std::int64_t kSlotNumbers = std::int64_t{1} << 26;  // of all slots
constexpr std::int64_t kImages = std::int64_t{1} << 18;  // numbers of a panel of images

}  // namespace

Cut::Cut(std::int64_t count_, const Network& net) : count(count_) {
    stripe = count >= kPanel && !net.has_conv() ? kStripe : kPanelUnit;
    stripes = std::max<std::int64_t>(1, (count + stripe - 1) / stripe);
    const std::int64_t target = net.has_conv() ? std::min(kPanel, kImages / (net.rows() + net.indices())) : kPanel;
    const double most = std::min(kPanelWork / static_cast<double>(net.size()), static_cast<double>(target));
    const std::int64_t per_panel = std::max<std::int64_t>(1, static_cast<std::int64_t>(most) / stripe);
    panels = (stripes + per_panel - 1) / per_panel;
    ld = (stripes + panels - 1) / panels * stripe;
    if (!net.has_conv() || ld > 4 * kPanelUnit) ld += kPanelUnit;  // rows a power of two apart would share sets of the cache
}

std::int64_t slots_of(std::int64_t panels, std::int64_t size, double flops) {
    const auto enough = static_cast<std::int64_t>(std::min(flops / kFlopsPerSlot, 1e6));
    return std::min(panels, std::clamp<std::int64_t>(kSlotNumbers / size, 1, std::max(kMaxSlots, enough)));
}

namespace {

// body(s, k) for samples s < count and features k < width, by tiles: lines of the one array and of the other are used while they are in the cache.
template <class Body>
void by_tiles(std::int64_t count, std::int64_t width, const Body& body) {
    constexpr std::int64_t kSide = 16;
    for (std::int64_t s = 0; s < count; s += kSide)
        for (std::int64_t k = 0; k < width; k += kSide)
            for (std::int64_t j = k; j < std::min(k + kSide, width); ++j)
                for (std::int64_t i = s; i < std::min(s + kSide, count); ++i) body(i, j);
}

}  // namespace

template <class T>
void load_columns(const T* from, std::int64_t width, std::int64_t first, std::int64_t count, std::int64_t ld, T* to) {
    for (std::int64_t k = 0; k < width; ++k) std::fill(to + k * ld + count, to + (k + 1) * ld, T(0));
    by_tiles(count, width, [&](std::int64_t s, std::int64_t k) { to[k * ld + s] = from[(first + s) * width + k]; });
}

template <class T>
void unload_columns(const T* from, std::int64_t width, std::int64_t first, std::int64_t count, std::int64_t ld, T* to) {
    by_tiles(count, width, [&](std::int64_t s, std::int64_t k) { to[(first + s) * width + k] = from[k * ld + s]; });
}

template <class T>
void load_activities(const Network& net, int l, const T* from, std::int64_t first, std::int64_t count, const Panel<T>& panel, T* to) {
    if (l < net.n_conv()) load_images(net.layer(l).conv, net.plan(l), from, first, count, panel.samples, to);
    else load_columns(from, net.width(l), first, count, panel.ld, to);
}

template <class T>
void unload_activities(const Network& net, int l, const T* from, std::int64_t first, std::int64_t count, const Panel<T>& panel, T* to) {
    if (l < net.n_conv()) unload_images(net.layer(l).conv, net.plan(l), from, first, count, to);
    else unload_columns(from, net.width(l), first, count, panel.ld, to);
}

template <class T>
KeptPanels<T>::KeptPanels(const Network& net, const Cut& cut, std::int64_t more_rows)
    : cut_(cut), rows_(net.rows() + more_rows), indices_(net.indices()) {
    if (static_cast<double>(rows_ * cut.ld) * static_cast<double>(cut.panels) > 0x1p44)
        throw ArgumentError("activities of so many samples do not fit into memory");
    data_ = Array<T>(static_cast<std::size_t>(rows_ * cut.ld * cut.panels));
    index_ = Array<std::int32_t>(static_cast<std::size_t>(indices_ * cut.ld * cut.panels));
}

template <class T>
void KeptPanels<T>::keep_rows(std::int64_t index, const PanelWork& work, std::int64_t first, std::int64_t count) const {
    T* const to = panel(index).data;
    for (std::int64_t i = first * cut_.ld; i < (first + count) * cut_.ld; ++i) to[i] = static_cast<T>(work.data.data()[i]);
}

template <class T>
void KeptPanels<T>::keep_indices(std::int64_t index, const PanelWork& work) const {
    std::copy(work.index.begin(), work.index.end(), panel(index).index);
}

template <class T>
void KeptPanels<T>::clear() {
    std::fill(data_.data(), data_.data() + data_.size(), T(0));
    std::fill(index_.data(), index_.data() + index_.size(), 0);
}

void net_outputs(const Network& net, const double* theta, const Samples& x, double* outputs, Team& team) {
    const Cut cut(x.count, net);
    Weights<double> w;
    pack(net, theta, {}, net.depth(), net.depth(), true, w);
    over_panels(net, cut, 0, team, [&](std::int64_t index, PanelWork& work) {
        const std::int64_t first = cut.begin(index), used = cut.used(index);
        load_activities(net, 0, x.inputs, first, used, work.panel, work.panel.row(net.place(0).input));
        work.passes.forward(w, work.panel, work.outputs.data(), true);
        unload_columns(work.outputs.data(), net.dim_out(), first, used, cut.ld, outputs);
    });
}

void net_gradient(const Network& net, const double* theta, const Samples& x, const double* first, double* gradient, Team& team) {
    const Cut cut(x.count, net);
    Weights<double> w;
    pack(net, theta, {}, 1, net.depth(), true, w);
    const std::int64_t size = net.size(), slots = slots_of(cut.panels, size, 6.0 * net.products() * static_cast<double>(x.count));
    std::vector<double> sums(static_cast<std::size_t>(slots * size), 0.0);
    std::vector<std::unique_ptr<PanelWork>> works(team.threads());
    team.run(slots, [&](std::int64_t slot, unsigned worker) {
        if (!works[worker]) works[worker] = std::make_unique<PanelWork>(net, cut);
        PanelWork& work = *works[worker];
        for (std::int64_t index = cut.panels * slot / slots; index < cut.panels * (slot + 1) / slots; ++index) {
            const std::int64_t begin = cut.begin(index), used = cut.used(index);
            work.panel.samples = cut.samples(index);
            load_activities(net, 0, x.inputs, begin, used, work.panel, work.panel.row(net.place(0).input));
            work.passes.forward(w, work.panel, work.outputs.data());
            load_columns(first, net.dim_out(), begin, used, cut.ld, work.panel.row(net.place(net.depth() - 1).delta));
            work.passes.backward(w, work.panel);
            work.passes.gradient(work.panel, sums.data() + slot * size);
        }
    });
    std::copy(sums.begin(), sums.begin() + size, gradient);
    for (std::int64_t slot = 1; slot < slots; ++slot)
        for (std::int64_t i = 0; i < size; ++i) gradient[i] += sums[static_cast<std::size_t>(slot * size + i)];
}

#define NNQFT_PANELS(T)                                                                                                        \
    template void load_columns(const T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, T*);                          \
    template void unload_columns(const T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, T*);                        \
    template void load_activities(const Network&, int, const T*, std::int64_t, std::int64_t, const Panel<T>&, T*);             \
    template void unload_activities(const Network&, int, const T*, std::int64_t, std::int64_t, const Panel<T>&, T*);           \
    template class KeptPanels<T>;
NNQFT_PANELS(float)
NNQFT_PANELS(double)
#undef NNQFT_PANELS

}  // namespace nnqft
