#include "nets/sums.hpp"

#include <algorithm>

namespace nnqft {
namespace {

constexpr std::int64_t kBlockRows = 264, kBlockColumns = 128;  // with what is summed, in the second-level cache
constexpr std::int64_t kTogether = std::int64_t{1} << 23;  // numbers that R-passes of several vectors leave behind

}  // namespace

std::int64_t size_of(const Network& net, const LayerMask& layers) {
    std::int64_t size = 0;
    for (int l = 0; l < net.depth(); ++l)
        if (layers.empty() || layers[static_cast<std::size_t>(l)]) size += net.place(l).end - net.place(l).begin;
    return size;
}

void cut_layer(int l, const NetLayer& layer, std::int64_t begin, std::vector<NetBlock>& blocks) {
    const auto part = [](std::int64_t size, std::int64_t most, std::int64_t unit) {
        const std::int64_t parts = (size + most - 1) / most;
        return ((size + parts - 1) / parts + unit - 1) / unit * unit;
    };
    const std::int64_t rows = part(layer.out, kBlockRows, kTile), columns = part(layer.in, kBlockColumns, 4 * kTurn);
    for (std::int64_t n = 0; n < layer.out; n += rows)
        for (std::int64_t k = 0; k < layer.in; k += columns)
            blocks.push_back({l, begin, n, std::min(rows, layer.out - n), k, std::min(columns, layer.in - k), k / columns});
}

NetSums::NetSums(const Network& net, const LayerMask& layers) : lowest(net.depth()), begin(static_cast<std::size_t>(net.depth()), -1) {
    for (int l = 0; l < net.depth(); ++l) {
        const auto i = static_cast<std::size_t>(l);
        if (!layers.empty() && !layers[i]) continue;
        lowest = std::min(lowest, l);
        begin[i] = out;
        out += net.place(l).end - net.place(l).begin;
        if (l < net.n_conv()) summed = out;
        else cut_layer(l, net.layer(l), begin[i], blocks);
    }
}

std::int64_t vectors_together(const Network& net, const Cut& cut, std::int64_t slot_sums, std::int64_t n_vectors) {
    const std::int64_t most = kTogether / std::max(cut.panels * net.r_rows() * cut.ld, slot_sums);
    return std::clamp<std::int64_t>(most, 1, std::min<std::int64_t>(n_vectors, 32));
}

template <class T>
void sum_over_panels(const Network& net, const Cut& cut, const NetBlock& block, std::int64_t first, std::int64_t last, const RSums<T>* found, T* y) {
    const NetKernels<T>& kernels = net_kernels<T>();
    const NetLayer& layer = net.layer(block.layer);
    T *const to = y + block.begin + block.row * layer.in + block.column, *const biases = y + block.begin + layer.in * layer.out + block.row;
    const bool bias = layer.bias && block.column == 0;
    bool add = first > 0;
    if (bias && !add) std::fill(biases, biases + block.rows, T(0));
    for (std::int64_t index = first; index < last; ++index) {
        const std::int64_t samples = cut.samples(index);
        const RSums<T>& sums = found[index * net.depth() + block.layer];
        Pair<T> pairs[2];
        for (int i = 0; i < sums.count; ++i) {
            const Pair<T>& pair = sums.pairs[i];
            pairs[i] = {pair.left + block.row * cut.ld, pair.right ? pair.right + block.column * cut.ld : nullptr,
                        pair.turned ? pair.turned + block.column * samples : nullptr};
        }
        if (sums.count > 0) kernels.outer(samples, cut.ld, block.rows, block.columns, pairs, sums.count, add, to, layer.in);
        add = add || sums.count > 0;
        if (!bias || !sums.rd) continue;
        const T* const rd = sums.rd + block.row * cut.ld;
        const Pair<T> dots = {rd, sums.along};
        if (sums.along) kernels.outer(samples, cut.ld, block.rows, 1, &dots, 1, true, biases, 1);
        else kernels.row_sums(samples, cut.ld, block.rows, rd, biases);
    }
    for (std::int64_t n = 0; n < block.rows && !add; ++n) std::fill(to + n * layer.in, to + n * layer.in + block.columns, T(0));
}

template void sum_over_panels(const Network&, const Cut&, const NetBlock&, std::int64_t, std::int64_t, const RSums<float>*, float*);
template void sum_over_panels(const Network&, const Cut&, const NetBlock&, std::int64_t, std::int64_t, const RSums<double>*, double*);

}  // namespace nnqft
