// Sums over samples, by the parameters of some layers, of what R-backward passes find in every panel: of dense layers block by block over
// all panels, of convolutions by slots of panels while these are in the cache. In an order that the number of threads does not change.
#pragma once

#include <cstdint>
#include <vector>

#include "core/team.hpp"
#include "nets/panels.hpp"

namespace nnqft {

using LayerMask = std::vector<char>;  // one per layer; empty: all

// Parameters of these layers.
std::int64_t size_of(const Network& net, const LayerMask& layers);

// Part of the matrix of a layer that begins at `begin` in a vector.
struct NetBlock {
    int layer;
    std::int64_t begin, row, rows, column, columns;
    std::int64_t slice;  // number of its columns among those of the layer
};

// Blocks of a layer, of about the same size.
void cut_layer(int l, const NetLayer& layer, std::int64_t begin, std::vector<NetBlock>& blocks);

// Vectors by the parameters of some layers.
struct NetSums {
    std::int64_t out = 0, summed = 0;   // numbers of a vector; of its convolutions
    int lowest;                         // layer
    std::vector<std::int64_t> begin;    // of a layer in a vector; -1: not there
    std::vector<NetBlock> blocks;       // of dense layers
    NetSums(const Network& net, const LayerMask& layers);
    std::int64_t at(int l) const { return begin[static_cast<std::size_t>(l)]; }

    // Adds a panel's share of the convolutions' parameters to `sums`.
    template <class T>
    void add_convolutions(const Passes<T>& passes, const Network& net, const Panel<T>& p, const RSums<T>* found, T* sums) const {
        for (int l = lowest; l < net.n_conv(); ++l)
            if (at(l) >= 0) passes.add(l, p, found[l], sums + at(l));
    }
    // Those of all slots.
    template <class T>
    void add_slots(const T* sums, std::int64_t slots, T* y) const {
        for (std::int64_t i = 0; i < summed; ++i) y[i] = sums[i];
        for (std::int64_t slot = 1; slot < slots; ++slot)
            for (std::int64_t i = 0; i < summed; ++i) y[i] += sums[slot * summed + i];
    }
};

// How many of n_vectors go together, each with the sums of `slot_sums` numbers.
std::int64_t vectors_together(const Network& net, const Cut& cut, std::int64_t slot_sums, std::int64_t n_vectors);

constexpr std::int64_t kPanelsPerBlock = 512;  // some 0.1 s: then workers look for Ctrl-C

// One block from what is found in the panels [first, last), found[panel * depth + layer]; the first of all makes it anew.
template <class T>
void sum_over_panels(const Network& net, const Cut& cut, const NetBlock& block, std::int64_t first, std::int64_t last, const RSums<T>* found, T* y);

// body(task, first, last) for each of `tasks` and for all panels, stretch by stretch.
template <class Body>
void by_stretches(const Cut& cut, std::int64_t tasks, Team& team, const Body& body) {
    for (std::int64_t first = 0; first < cut.panels; first += kPanelsPerBlock) {
        const std::int64_t last = first + kPanelsPerBlock < cut.panels ? first + kPanelsPerBlock : cut.panels;
        team.run(tasks, [&](std::int64_t task, unsigned) { body(task, first, last); });
    }
}

}  // namespace nnqft
