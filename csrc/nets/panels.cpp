#include "nets/panels.hpp"

#include <algorithm>

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

void load_columns(const double* from, std::int64_t width, std::int64_t first, std::int64_t count, std::int64_t ld, double* to) {
    for (std::int64_t k = 0; k < width; ++k) std::fill(to + k * ld, to + (k + 1) * ld, 0.0);
    for (std::int64_t s = 0; s < count; ++s)
        for (std::int64_t k = 0; k < width; ++k) to[k * ld + s] = from[(first + s) * width + k];
}

void load_inputs(const Network& net, const Samples& x, std::int64_t first, std::int64_t count, const Panel<double>& panel) {
    double* const to = panel.row(net.place(0).input);
    if (net.has_conv()) load_images(net.layers()[0].conv, net.plan(0), x.inputs, first, count, panel, to);
    else load_columns(x.inputs, net.dim_in(), first, count, panel.ld, to);
}

void net_outputs(const Network& net, const double* theta, const Samples& x, double* outputs, Team& team) {
    const Cut cut(x.count, net);
    Weights<double> w;
    pack(net, theta, {}, 0, net.depth(), true, w);
    over_panels(net, cut, 0, team, [&](std::int64_t index, PanelWork& work) {
        const std::int64_t first = cut.begin(index), used = cut.used(index), dim = net.dim_out();
        load_inputs(net, x, first, used, work.panel);
        work.passes.forward(w, work.panel, work.outputs.data());
        for (std::int64_t s = 0; s < used; ++s)
            for (std::int64_t n = 0; n < dim; ++n) outputs[(first + s) * dim + n] = work.outputs[static_cast<std::size_t>(n * cut.ld + s)];
    });
}

void net_gradient(const Network& net, const double* theta, const Samples& x, const double* first, double* gradient, Team& team) {
    const Cut cut(x.count, net);
    Weights<double> w;
    pack(net, theta, {}, 0, net.depth(), true, w);
    const std::int64_t size = net.size(), slots = slots_of(cut.panels, size, 6.0 * net.products() * static_cast<double>(x.count));
    std::vector<double> sums(static_cast<std::size_t>(slots * size), 0.0);
    std::vector<std::unique_ptr<PanelWork>> works(team.threads());
    team.run(slots, [&](std::int64_t slot, unsigned worker) {
        if (!works[worker]) works[worker] = std::make_unique<PanelWork>(net, cut);
        PanelWork& work = *works[worker];
        for (std::int64_t index = cut.panels * slot / slots; index < cut.panels * (slot + 1) / slots; ++index) {
            const std::int64_t begin = cut.begin(index), used = cut.used(index);
            work.panel.samples = cut.samples(index);
            load_inputs(net, x, begin, used, work.panel);
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

}  // namespace nnqft
