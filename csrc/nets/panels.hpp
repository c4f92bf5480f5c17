// Samples in panels, and what their forward and backward passes in float64 give: outputs and gradients.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/team.hpp"
#include "nets/passes.hpp"

namespace nnqft {

// Row-major float64: inputs (count, dim_in).
struct Samples {
    const double* inputs = nullptr;
    std::int64_t count = 0;
};

// f(x_i): (count, dim_out).
void net_outputs(const Network& net, const double* theta, const Samples& x, double* outputs, Team& team);
// sum_i J_i^T first_i, first: (count, dim_out).
void net_gradient(const Network& net, const double* theta, const Samples& x, const double* first, double* gradient, Team& team);

// How samples are cut into panels, of whole stripes: by the size of the problem alone.
struct Cut {
    std::int64_t count, stripe, stripes, panels, ld;
    Cut(std::int64_t count, const Network& net);
    std::int64_t begin(std::int64_t panel) const { return stripes * panel / panels * stripe; }
    std::int64_t used(std::int64_t panel) const { return (begin(panel + 1) < count ? begin(panel + 1) : count) - begin(panel); }
    std::int64_t samples(std::int64_t panel) const { return used(panel) < 1 ? kPanelUnit : (used(panel) + kPanelUnit - 1) / kPanelUnit * kPanelUnit; }
};

// Sums over panels go by slots of panels, and over slots in order: how many, for sums of `size` numbers that take `flops`.
std::int64_t slots_of(std::int64_t panels, std::int64_t size, double flops);

// `count` rows of `from` (row-major, `width` each), number `first` and on, as columns of a panel, zero beyond; and back.
template <class T>
void load_columns(const T* from, std::int64_t width, std::int64_t first, std::int64_t count, std::int64_t ld, T* to);
template <class T>
void unload_columns(const T* from, std::int64_t width, std::int64_t first, std::int64_t count, std::int64_t ld, T* to);
// Likewise for activities h_l, as the passes keep them: images in front of a convolution.
template <class T>
void load_activities(const Network& net, int l, const T* from, std::int64_t first, std::int64_t count, const Panel<T>& panel, T* to);
template <class T>
void unload_activities(const Network& net, int l, const T* from, std::int64_t first, std::int64_t count, const Panel<T>& panel, T* to);

// One worker's panel in float64, with its passes.
struct PanelWork {
    Passes<double> passes;
    Array<double> data;
    std::vector<double> outputs;
    std::vector<std::int32_t> index;
    Panel<double> panel;
    PanelWork(const Network& net, const Cut& cut, std::int64_t more_rows = 0)
        : passes(net), data(static_cast<std::size_t>((net.rows() + more_rows) * cut.ld)), outputs(static_cast<std::size_t>(net.dim_out() * cut.ld)),
          index(static_cast<std::size_t>(net.indices() * cut.ld)), panel{data.data(), 0, cut.ld, index.data()} {
        std::fill(data.data(), data.data() + data.size(), 0.0);
    }
};

// Panels of all samples, with `more_rows` more, kept as T. Passes that read them only may share them.
template <class T>
class KeptPanels {
public:
    // ArgumentError if memory cannot hold them.
    KeptPanels(const Network& net, const Cut& cut, std::int64_t more_rows);
    Panel<T> panel(std::int64_t index) const {
        return {const_cast<T*>(data_.data()) + index * rows_ * cut_.ld, cut_.samples(index), cut_.ld,
                const_cast<std::int32_t*>(index_.data()) + index * indices_ * cut_.ld};
    }
    // Rows [first, first + count) of a worker's panel, or all of them; and the integers.
    void keep_rows(std::int64_t index, const PanelWork& work, std::int64_t first, std::int64_t count) const;
    void keep(std::int64_t index, const PanelWork& work) const { keep_rows(index, work, 0, rows_), keep_indices(index, work); }
    void keep_indices(std::int64_t index, const PanelWork& work) const;
    void clear();  // zero everywhere

private:
    Cut cut_;
    std::int64_t rows_, indices_;
    Array<T> data_;
    Array<std::int32_t> index_;
};

template <class Body>  // body(panel, PanelWork&)
void over_panels(const Network& net, const Cut& cut, std::int64_t more_rows, Team& team, const Body& body) {
    std::vector<std::unique_ptr<PanelWork>> works(team.threads());
    team.run(cut.panels, [&](std::int64_t panel, unsigned worker) {
        if (!works[worker]) works[worker] = std::make_unique<PanelWork>(net, cut, more_rows);
        works[worker]->panel.samples = cut.samples(panel);
        body(panel, *works[worker]);
    });
}

}  // namespace nnqft
