// A feed-forward net as its passes see it, and where everything lies.
//
//     z_l = W_l h_l + b_l - normaliser_l |h_l|^2 - offset_l,     h_{l+1} = a_l * phi_l(z_l) + skip_l h_l,     f = z_last
//
// Parameters: layer by layer W_l (out x in, row by row), then b_l where the layer has a bias. Activities: panels of samples, as in
// kernels.hpp; what a panel keeps of the forward and backward passes is one piece of memory of rows() rows.
#pragma once

#include <cstdint>
#include <vector>

#include "core/activation_kind.hpp"

namespace nnqft {

struct NetLayer {
    std::int64_t in = 0, out = 0;
    bool bias = false;
    Activation activation = Activation::identity;  // ignored in the last layer, which is linear
    std::vector<double> activation_params;
    std::vector<double> amplitude;                 // a_l, one per neuron; empty: 1
    double skip = 0.0;                             // takes in == out
    double normaliser = 0.0, offset = 0.0;         // gauss-nets

    // phi'' is zero almost everywhere.
    bool piecewise_linear() const {
        return activation == Activation::relu || activation == Activation::leaky_relu || activation == Activation::identity;
    }
};

// First rows of a layer's activities in a panel; -1: not kept. And its place in the parameters.
struct LayerPlace {
    std::int64_t input = -1;   // h_l
    std::int64_t turned = -1;  // h_l turned (kernels.hpp), in layers of kFewest outputs and more
    std::int64_t gate = -1;    // a phi'(z_l)
    std::int64_t curve = -1;   // a phi''(z_l); after backward() times dL/dh_{l+1}
    std::int64_t delta = -1;   // dL/dz_l
    std::int64_t begin = 0, end = 0;  // in the parameters
    std::int64_t r_input = -1, r_delta = -1;  // Rh_l (turned if h_l is; none in layer 0) and Rd_l, in what an R-pass leaves of a panel
};

class Network {
public:
    // ShapeError if the layers do not chain, if a skip changes the width, or for sizes past memory.
    explicit Network(std::vector<NetLayer> layers);

    const std::vector<NetLayer>& layers() const { return layers_; }
    int depth() const { return static_cast<int>(layers_.size()); }
    std::int64_t dim_in() const { return layers_.front().in; }
    std::int64_t dim_out() const { return layers_.back().out; }
    std::int64_t size() const { return places_.back().end; }  // parameters
    const LayerPlace& place(int l) const { return places_[static_cast<std::size_t>(l)]; }
    std::int64_t width_sum() const { return width_sum_; }     // of all layers' outputs
    std::int64_t width_max() const { return width_max_; }     // of inputs and outputs
    std::int64_t rows() const { return rows_; }               // a panel keeps rows() * ld numbers
    std::int64_t r_rows() const { return r_rows_; }           // and an R-pass leaves r_rows() * ld

private:
    std::vector<NetLayer> layers_;
    std::vector<LayerPlace> places_;
    std::int64_t width_sum_ = 0, width_max_ = 0, rows_ = 0, r_rows_ = 0;
};

}  // namespace nnqft
