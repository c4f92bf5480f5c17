// A panel of samples.
#pragma once

#include <cstdint>

namespace nnqft {

// Network::rows() rows of `ld` numbers each, of which the first `samples`, a multiple of kPanelUnit, are in use; and Network::indices()
// integers per sample, layer by layer. Extra samples are harmless if their deltas in the last layer are zero: then all of theirs are.
template <class T>
struct Panel {
    T* data;
    std::int64_t samples, ld;
    std::int32_t* index = nullptr;
    T* row(std::int64_t r) const { return r < 0 ? nullptr : data + r * ld; }
};

}  // namespace nnqft
