// A feed-forward net as its passes see it, and where everything lies.
//
//     z_l = W_l h_l + b_l - normaliser_l |h_l|^2 - offset_l,     h_{l+1} = a_l * phi_l(z_l) + skip_l h_l,     f = z_last
//
// Convolutional layers come first:
//
//     z_l(f, y, x) = b_f + sum_{c, i, j} W_{f c i j} h_l(c, s y + i - p, s x + j - p),     h_{l+1} = mean_{windows} max_{windows} phi_l(z_l)
//
// Parameters: layer by layer W_l (out x in, or filters x channels x kernel x kernel, row by row), then b_l where the layer has a bias.
// Activities: panels of samples, as in kernels.hpp, images as in conv_kernels.hpp; what a panel keeps of the forward and backward passes
// is one piece of memory of rows() rows. Outside, features of images are numbered (channel, y, x).
#pragma once

#include <cstdint>
#include <vector>

#include "core/activation_kind.hpp"
#include "nets/conv_kernels.hpp"

namespace nnqft {

struct Extent {
    std::int64_t height = 1, width = 1;
};

// A convolution, and the pools behind it, whose windows do not overlap: what is left over at the lower and right edges is dropped.
struct ConvShape {
    std::int64_t channels = 0, height = 0, width = 0;                       // of the input
    std::int64_t filters = 0, kernel = 0, stride = 1, padding = 0;          // kernel 0: not a convolution
    Extent max, mean;                                                       // windows of pools
    bool max_before_activation = false;                                     // the maximum is that of z, not of phi(z)

    Extent map() const { return {(height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1}; }  // of z
    Extent out() const { return {map().height / max.height / mean.height, map().width / max.width / mean.width}; }
};

struct NetLayer {
    std::int64_t in = 0, out = 0;                  // a convolution's come from its shape
    bool bias = false;
    Activation activation = Activation::identity;  // ignored in the last layer, which is linear
    std::vector<double> activation_params;
    std::vector<double> amplitude;                 // a_l, one per neuron; empty: 1
    double skip = 0.0;                             // takes in == out
    double normaliser = 0.0, offset = 0.0;         // gauss-nets
    ConvShape conv = {};

    bool is_conv() const { return conv.kernel > 0; }
    std::int64_t weights() const { return is_conv() ? conv.filters * conv.channels * conv.kernel * conv.kernel : in * out; }
    std::int64_t biases() const { return !bias ? 0 : is_conv() ? conv.filters : out; }
    double products() const;  // multiplications of a forward pass, per sample

    // phi'' is zero almost everywhere.
    bool piecewise_linear() const {
        return activation == Activation::relu || activation == Activation::leaky_relu || activation == Activation::identity;
    }
};

// First rows of a layer's activities in a panel; -1: not kept. And its place in the parameters. Gates, curves and deltas of a convolution
// are those of its places; scaled by 1 / (window of the mean), and without the places where gate and curve vanish.
struct LayerPlace {
    std::int64_t input = -1;   // h_l
    std::int64_t turned = -1;  // h_l turned (kernels.hpp), in dense layers of kFewest outputs and more
    std::int64_t gate = -1;    // a phi'(z_l)
    std::int64_t curve = -1;   // a phi''(z_l); after backward() times dL/dh_{l+1}
    std::int64_t delta = -1;   // dL/dz_l
    std::int64_t begin = 0, end = 0;  // in the parameters
    std::int64_t gated = -1, slope = -1;  // D and E of fold.hpp
    // Of dense layers, in what an R-pass leaves of a panel: Rh_l (turned if h_l is; none in layer 0) and Rd_l.
    std::int64_t r_input = -1, r_delta = -1;
};

// Where the numbers of a convolution lie.
struct ConvPlan {
    ConvWindow window;
    std::int64_t image = 0;     // numbers of a padded image of the input; with room for the last window to overrun
    std::int64_t capacity = 0;  // places per filter, and per filter of every output
    std::int64_t index = 0;     // first of this layer's integers in those of a sample: filters counts, filters * capacity places
    // By place: where its window begins, and which pixel of the output it may become, as the next layer counts (-1: none).
    std::vector<std::int32_t> begin, pixel, all;  // all: every place once
    std::vector<std::int32_t> sites;              // the places of one window of the max pool after the other, row by row
    std::int64_t next_image = 0;                  // ConvPlan::image of the next layer if it is a convolution, else 0
    std::int64_t pixels = 0;                      // of the output
};

class Network {
public:
    // ShapeError if the layers do not chain, if a skip changes the width, if convolutions do not come first or reduce an image to nothing,
    // or for sizes past memory.
    explicit Network(std::vector<NetLayer> layers);

    const std::vector<NetLayer>& layers() const { return layers_; }
    const NetLayer& layer(int l) const { return layers_[static_cast<std::size_t>(l)]; }
    int depth() const { return static_cast<int>(layers_.size()); }
    std::int64_t dim_in() const { return layers_.front().in; }
    std::int64_t dim_out() const { return layers_.back().out; }
    std::int64_t size() const { return places_.back().end; }  // parameters
    std::int64_t width(int l) const { return l < depth() ? layers_[static_cast<std::size_t>(l)].in : dim_out(); }  // of h_l
    const LayerPlace& place(int l) const { return places_[static_cast<std::size_t>(l)]; }
    const ConvPlan& plan(int l) const { return plans_[static_cast<std::size_t>(l)]; }
    int n_conv() const { return n_conv_; }  // layers
    bool has_conv() const { return n_conv_ > 0; }
    std::int64_t input_rows(int l) const { return l < n_conv_ ? plan(l).image : layer(l).in; }
    std::int64_t delta_rows(int l) const {
        return layer(l).is_conv() ? layer(l).conv.filters * plan(l).capacity : layer(l).out;
    }
    double products() const { return products_; }             // of a forward pass, per sample
    std::int64_t width_sum() const { return width_sum_; }     // of all layers' outputs
    std::int64_t width_max() const { return width_max_; }     // rows of the largest of inputs, outputs and places
    int folded() const { return folded_; }                    // layer m of fold.hpp, or -1
    std::int64_t indices() const { return indices_; }         // integers of a sample
    std::int64_t rows() const { return rows_; }               // a panel keeps rows() * ld numbers
    std::int64_t r_rows() const { return r_rows_; }           // and an R-pass leaves r_rows() * ld

private:
    std::vector<NetLayer> layers_;
    std::vector<LayerPlace> places_;
    std::vector<ConvPlan> plans_;
    int n_conv_ = 0, folded_ = -1;
    double products_ = 0.0;
    std::int64_t width_sum_ = 0, width_max_ = 0, rows_ = 0, r_rows_ = 0, indices_ = 0;
};

}  // namespace nnqft
