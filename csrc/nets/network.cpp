#include "nets/network.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "nets/kernels.hpp"

namespace nnqft {

namespace {

std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// Fills in the layer's width; ShapeError if the shape makes no sense.
void check_conv(NetLayer& layer, const std::string& name) {
    const ConvShape& c = layer.conv;
    constexpr std::int64_t kMost = 1 << 20;
    for (std::int64_t size : {c.channels, c.height, c.width, c.filters, c.kernel, c.stride, c.max.height, c.max.width, c.mean.height, c.mean.width,
                              c.padding + 1})
        if (size < 1 || size > kMost) throw ShapeError(name + " is a convolution with a size of " + std::to_string(size) + "; expected 1 to 2^20");
    if (c.padding >= c.kernel)
        throw ShapeError(name + " has a padding of " + std::to_string(c.padding) + " for a kernel of " + std::to_string(c.kernel));
    if (c.height + 2 * c.padding < c.kernel || c.width + 2 * c.padding < c.kernel || c.out().height < 1 || c.out().width < 1)
        throw ShapeError(name + " leaves nothing of an image of " + std::to_string(c.height) + " x " + std::to_string(c.width));
    const double pixels = static_cast<double>(c.height + 2 * c.padding) * static_cast<double>(c.width + 2 * c.padding);
    const double image = static_cast<double>(c.channels) * pixels;
    const double maps = static_cast<double>(c.filters) * static_cast<double>(c.map().height) * static_cast<double>(c.map().width);
    if (image > 0x1p30 || maps > 0x1p30) throw ShapeError(name + " has images of more than 2^30 numbers");
    if (!layer.amplitude.empty() || layer.skip != 0.0 || layer.normaliser != 0.0 || layer.offset != 0.0)
        throw ShapeError(name + " is a convolution, which has neither skip nor amplitude nor normaliser");
    layer.in = c.channels * c.height * c.width;
    layer.out = c.filters * c.out().height * c.out().width;
}

ConvPlan plan_of(const ConvShape& c, const ConvShape& next) {
    ConvPlan plan;
    const std::int64_t pitch = (c.width + 2 * c.padding) * c.channels, run = round_up(c.kernel * c.channels, kRun);
    plan.window = {c.kernel, run, pitch, c.kernel * run};
    plan.image = round_up((c.height + 2 * c.padding) * pitch + kRun, kRun);
    const Extent map = c.map(), out = c.out();
    plan.pixels = out.height * out.width;
    plan.capacity = round_up(plan.pixels * c.mean.height * c.mean.width, kPlaceGroup);
    if (next.kernel > 0) plan.next_image = plan_of(next, {}).image;
    for (std::int64_t y = 0; y < map.height; ++y)
        for (std::int64_t x = 0; x < map.width; ++x) {
            const std::int64_t v = y / c.max.height / c.mean.height, u = x / c.max.width / c.mean.width;
            const std::int64_t in_image = ((v + next.padding) * (next.width + 2 * next.padding) + u + next.padding) * next.channels;
            const std::int64_t pixel = next.kernel > 0 ? in_image : v * out.width + u;
            plan.all.push_back(static_cast<std::int32_t>(y * map.width + x));
            plan.begin.push_back(static_cast<std::int32_t>(y * c.stride * pitch + x * c.stride * c.channels));
            plan.pixel.push_back(v < out.height && u < out.width ? static_cast<std::int32_t>(pixel) : -1);
        }
    plan.all.resize(static_cast<std::size_t>(round_up(map.height * map.width, kPlaceGroup)), 0);
    for (std::int64_t y = 0; y < out.height * c.mean.height; ++y)
        for (std::int64_t x = 0; x < out.width * c.mean.width; ++x)
            for (std::int64_t i = 0; i < c.max.height; ++i)
                for (std::int64_t j = 0; j < c.max.width; ++j)
                    plan.sites.push_back(static_cast<std::int32_t>((y * c.max.height + i) * map.width + x * c.max.width + j));
    return plan;
}

// Gates that need not be kept.
bool constant_gate(const NetLayer& layer) {
    return layer.amplitude.empty() && (layer.activation == Activation::identity || (layer.is_conv() && layer.activation == Activation::relu));
}

// The last two layers: h = g * (W h' + b), f = w . h + c.
bool folds(const NetLayer& hidden, const NetLayer& last) {
    return !hidden.is_conv() && hidden.piecewise_linear() && !constant_gate(hidden) && hidden.skip == 0.0 && hidden.normaliser == 0.0 &&
           hidden.offset == 0.0 && last.out == 1 && last.normaliser == 0.0 && last.offset == 0.0;
}

}  // namespace

double NetLayer::products() const {
    const double each = static_cast<double>(weights());
    return is_conv() ? each * static_cast<double>(conv.map().height) * static_cast<double>(conv.map().width) : each;
}

Network::Network(std::vector<NetLayer> layers) : layers_(std::move(layers)) {
    if (layers_.empty()) throw ShapeError("a net needs at least one layer");
    double memory = 0.0;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
        NetLayer& layer = layers_[l];
        const std::string name = "layer " + std::to_string(l);
        if (layer.is_conv()) {
            if (l > 0 && !layers_[l - 1].is_conv()) throw ShapeError(name + " is a convolution behind a dense layer; expected convolutions first");
            check_conv(layer, name);
            if (l > 0 && (layer.conv.channels != layers_[l - 1].conv.filters || layer.conv.height != layers_[l - 1].conv.out().height ||
                          layer.conv.width != layers_[l - 1].conv.out().width))
                throw ShapeError(name + " takes images of another shape than the layer before gives");
        }
        if (layer.in < 1 || layer.out < 1) throw ShapeError(name + " has no inputs or no outputs");
        if (l > 0 && layer.in != layers_[l - 1].out)
            throw ShapeError(name + " takes " + std::to_string(layer.in) + " inputs, the layer before gives " + std::to_string(layers_[l - 1].out));
        if (layer.skip != 0.0 && layer.in != layer.out) throw ShapeError(name + " has a skip, which takes as many outputs as inputs");
        if (!layer.amplitude.empty() && static_cast<std::int64_t>(layer.amplitude.size()) != layer.out)
            throw ShapeError(name + " has " + std::to_string(layer.amplitude.size()) + " amplitudes for " + std::to_string(layer.out) + " neurons");
        memory += layer.is_conv() ? static_cast<double>(layer.weights()) : static_cast<double>(layer.in) * static_cast<double>(layer.out);
        if (memory > 0x1p46) throw ShapeError("the net has more weights than memory can hold");
    }
    const std::size_t last = layers_.size() - 1;
    if (layers_[last].skip != 0.0 || !layers_[last].amplitude.empty()) throw ShapeError("the last layer has neither skip nor amplitude");
    if (layers_[last].is_conv()) throw ShapeError("the last layer is dense");
    layers_[last].activation = Activation::identity;
    if (last > 0 && folds(layers_[last - 1], layers_[last])) folded_ = static_cast<int>(last) - 1;
    std::int64_t end = 0;
    for (std::size_t l = 0; l <= last; ++l) {
        const NetLayer& layer = layers_[l];
        ConvPlan plan;
        if (layer.is_conv()) {
            n_conv_ = static_cast<int>(l) + 1;
            plan = plan_of(layer.conv, layers_[l + 1].conv);
            plan.index = std::exchange(indices_, indices_ + layer.conv.filters * (plan.capacity + 1));
        }
        const std::int64_t in = layer.is_conv() ? plan.image : layer.in, out = layer.is_conv() ? layer.conv.filters * plan.capacity : layer.out;
        LayerPlace place;
        const auto take = [&](std::int64_t rows) { return std::exchange(rows_, rows_ + rows); };
        place.input = take(in);
        if (!layer.is_conv() && layer.out >= kFewest) place.turned = take(turned_rows(layer.in));
        place.delta = take(out);
        if (l < last && !constant_gate(layer)) place.gate = take(out);
        if (l < last && !layer.piecewise_linear()) place.curve = take(out);
        if (static_cast<int>(l) == folded_) {
            place.gated = take(out);
            if (l > 0) place.slope = take(in);
        }
        if (!layer.is_conv()) {
            if (l > 0 || folded_ == 0) place.r_input = std::exchange(r_rows_, r_rows_ + (place.turned < 0 ? layer.in : turned_rows(layer.in)));
            place.r_delta = std::exchange(r_rows_, r_rows_ + layer.out);
        }
        place.begin = end;
        place.end = end += layer.weights() + layer.biases();
        places_.push_back(place);
        plans_.push_back(std::move(plan));
        products_ += layer.products();
        width_sum_ += layer.out;
        width_max_ = std::max({width_max_, in, out, layer.out});
    }
}

}  // namespace nnqft
