#include "nets/network.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "nets/kernels.hpp"

namespace nnqft {

Network::Network(std::vector<NetLayer> layers) : layers_(std::move(layers)) {
    if (layers_.empty()) throw ShapeError("a net needs at least one layer");
    double memory = 0.0;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
        const NetLayer& layer = layers_[l];
        const std::string name = "layer " + std::to_string(l);
        if (layer.in < 1 || layer.out < 1) throw ShapeError(name + " has no inputs or no outputs");
        if (l > 0 && layer.in != layers_[l - 1].out)
            throw ShapeError(name + " takes " + std::to_string(layer.in) + " inputs, the layer before gives " + std::to_string(layers_[l - 1].out));
        if (layer.skip != 0.0 && layer.in != layer.out) throw ShapeError(name + " has a skip, which takes as many outputs as inputs");
        if (!layer.amplitude.empty() && static_cast<std::int64_t>(layer.amplitude.size()) != layer.out)
            throw ShapeError(name + " has " + std::to_string(layer.amplitude.size()) + " amplitudes for " + std::to_string(layer.out) + " neurons");
        memory += static_cast<double>(layer.in) * static_cast<double>(layer.out);
        if (memory > 0x1p46) throw ShapeError("the net has more weights than memory can hold");
    }
    const std::size_t last = layers_.size() - 1;
    if (layers_[last].skip != 0.0 || !layers_[last].amplitude.empty()) throw ShapeError("the last layer has neither skip nor amplitude");
    layers_[last].activation = Activation::identity;
    std::int64_t end = 0;
    for (std::size_t l = 0; l <= last; ++l) {
        const NetLayer& layer = layers_[l];
        LayerPlace place;
        const auto take = [&](std::int64_t rows) { return std::exchange(rows_, rows_ + rows); };
        place.input = take(layer.in);
        if (layer.out >= kFewest) place.turned = take(turned_rows(layer.in));
        place.delta = take(layer.out);
        if (l < last && (layer.activation != Activation::identity || !layer.amplitude.empty())) place.gate = take(layer.out);
        if (l < last && !layer.piecewise_linear()) place.curve = take(layer.out);
        if (l > 0) place.r_input = std::exchange(r_rows_, r_rows_ + (place.turned < 0 ? layer.in : turned_rows(layer.in)));
        place.r_delta = std::exchange(r_rows_, r_rows_ + layer.out);
        place.begin = end;
        place.end = end += layer.in * layer.out + (layer.bias ? layer.out : 0);
        places_.push_back(place);
        width_sum_ += layer.out;
        width_max_ = std::max({width_max_, layer.in, layer.out});
    }
}

}  // namespace nnqft
