// Convolution where it is asked for, compiled once per instruction set.
//
// An image holds `channels` numbers per pixel, pixel after pixel, row after row, its padding included. The window of an output pixel is
// `rows` runs of the image; runs are padded to whole cache lines (with weights zero), so that lanes hold the numbers of a window. Each
// filter has a list of places, the pixels where its output matters: in front of a 2x2 max pool a quarter of all, in front of a relu those
// that it lets through. So products cost what is needed, at the speed of dense ones.
#pragma once

#include <cstdint>

#include "core/isa.hpp"

namespace nnqft {

constexpr std::int64_t kRun = 16;  // runs are padded to a multiple of this: a cache line of floats
constexpr std::int64_t kPlaceGroup = 8;

struct ConvWindow {
    std::int64_t rows, run, pitch;  // runs of `run` numbers, a multiple of kRun, begin `pitch` apart
    std::int64_t size;              // rows * run
};

// The lists of one image: filter f has count[f] places at place + f * capacity (a multiple of kPlaceGroup, the places beyond the count
// valid). The window of a place begins at image + window[place]. Numbers that belong to places lie like the places.
struct ConvPlaces {
    std::int64_t filters, capacity;
    const std::int32_t *count, *place, *window;
};

// Weights, f-th window at data + f * window.size, or numbers that belong to places; with the image that they are multiplied with.
template <class T>
struct ConvPair {
    const T* data;
    const T* image;
};

template <class T>
struct ConvKernels {
    // out = bias + sum over pairs and the window of weights * image; up to kPlaceGroup - 1 numbers behind the count are written too.
    void (*dots)(const ConvWindow& window, const ConvPlaces& places, const ConvPair<T>* pairs, int n_pairs, const T* bias, T* out);
    // sums (like weights) += sum over pairs and places of number * image.
    void (*sums)(const ConvWindow& window, const ConvPlaces& places, const ConvPair<T>* pairs, int n_pairs, T* sums);
    // image += sum over terms, filters and places of number * weights.
    void (*scatter)(const ConvWindow& window, const ConvPlaces& places, const T* const* weights, const T* const* numbers, int n_terms, T* image);
};

#define NNQFT_DECLARE(UNIT)                 \
    namespace UNIT {                        \
    ConvKernels<float> conv_kernels_f32();  \
    ConvKernels<double> conv_kernels_f64(); \
    }
NNQFT_DECLARE(scalar)
NNQFT_DECLARE(avx2)
NNQFT_DECLARE(avx512)
#undef NNQFT_DECLARE

// Those of the instruction set in use.
template <class T>
const ConvKernels<T>& conv_kernels();

}  // namespace nnqft
