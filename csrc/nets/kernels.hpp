// Products of one layer on a panel of samples, compiled once per instruction set.
//
// A panel holds `samples` columns (a multiple of kPanelUnit); feature k of sample s lies at rows[k * ld + s]. Samples fill the vector
// lanes, so a layer of one neuron costs no padding. Weights are packed in tiles of kTile neurons: neuron n's k-th weight lies at
// weights[(n / kTile * packed + k) * kTile + n % kTile], so that a tile reads memory in order.
#pragma once

#include <cstdint>

#include "core/isa.hpp"

namespace nnqft {

constexpr std::int64_t kPanelUnit = 16;
constexpr int kTile = 6;

// sum_k rows[k, s] w_nk, k < inner.
template <class T>
struct Term {
    const T* rows;
    const T* weights;
    std::int64_t inner, packed;  // weights that are summed here, and those that a neuron has in the pack
};

// What becomes of a sum x on its way to memory (pointers to panels, null for "not there"):
//     x += bias[n] + before_scale * before;  raw = x;  y = gate * x + curve * other + after_scale * after.
template <class T>
struct Finish {
    const T* bias = nullptr;
    const T* before = nullptr;
    T before_scale = 0;
    T* raw = nullptr;
    const T* gate = nullptr;
    const T* curve = nullptr;
    const T* other = nullptr;
    const T* after = nullptr;
    T after_scale = 0;
    bool add_to_out = false;  // the sum starts from what `out` holds
};

// Panels whose rows are multiplied sample by sample: sum_s left[n, s] right[k, s].
template <class T>
struct Pair {
    const T* left;
    const T* right;
};

template <class T>
struct NetKernels {
    // out[n, s] = finish(sum of the terms), n < n_out.
    void (*product)(std::int64_t samples, std::int64_t ld, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& finish, T* out);
    // out[n * n_in + k] += sum of the pairs.
    void (*outer)(std::int64_t samples, std::int64_t ld, std::int64_t n_out, std::int64_t n_in, const Pair<T>* pairs, int n_pairs, T* out);
    // out[n] += sum_s rows[n, s].
    void (*row_sums)(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* rows, T* out);
};

#define NNQFT_DECLARE(UNIT)               \
    namespace UNIT {                      \
    NetKernels<float> net_kernels_f32();  \
    NetKernels<double> net_kernels_f64(); \
    }
NNQFT_DECLARE(scalar)
NNQFT_DECLARE(avx2)
NNQFT_DECLARE(avx512)
#undef NNQFT_DECLARE

// Those of the instruction set in use.
template <class T>
const NetKernels<T>& net_kernels();

}  // namespace nnqft
