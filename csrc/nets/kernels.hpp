// Products of one layer on a panel of samples, compiled once per instruction set.
//
// A panel holds `samples` columns (a multiple of kPanelUnit); feature k of sample s lies at rows[k * ld + s]. Samples fill the vector
// lanes, so a layer of one neuron costs no padding.
//
// A panel turned has its features in the lanes: feature k of sample s lies at [(k / kTurn * samples + s) * kTurn + k % kTurn], zero where
// there is no feature k; turned_rows(n) rows of `samples` numbers hold n features. Sums over samples of products of features are fastest when
// one of the panels is turned.
#pragma once

#include <cstdint>

#include "core/isa.hpp"

namespace nnqft {

constexpr std::int64_t kPanelUnit = 16;
constexpr int kTile = 6;  // neurons at a time
constexpr std::int64_t kTurn = 16;
constexpr std::int64_t kFewest = 4;  // rows of a panel that are worth turning another for
constexpr std::int64_t turned_rows(std::int64_t n) { return (n + kTurn - 1) / kTurn * kTurn; }

// sum_k rows[k, s] w_nk, k < inner; w_nk lies at weights[n / kTile * tile_step + n % kTile * neuron_step + k * step].
template <class T>
struct Term {
    const T* rows;
    const T* weights;
    std::int64_t inner, tile_step, neuron_step, step;
};
// Weights as they are, neuron n in row n; and packed by tiles of columns, neuron n in column n.
template <class T>
Term<T> by_rows(const T* rows, const T* weights, std::int64_t inner, std::int64_t row_step) {
    return {rows, weights, inner, kTile * row_step, row_step, 1};
}
template <class T>
Term<T> by_columns(const T* rows, const T* weights, std::int64_t inner) {
    return {rows, weights, inner, kTile * inner, 1, kTile};
}

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
    const T* turned = nullptr;  // right, turned; then `right` is not needed
    T right_at(std::int64_t k, std::int64_t s, std::int64_t samples, std::int64_t ld) const {
        return turned ? turned[(k / kTurn * samples + s) * kTurn + k % kTurn] : right[k * ld + s];
    }
};

template <class T>
struct NetKernels {
    // out[n, s] = finish(sum of the terms), n < n_out.
    void (*product)(std::int64_t samples, std::int64_t ld, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& finish, T* out);
    // out[n * step + k] = sum of the pairs, on top of what it holds if `add`.
    void (*outer)(std::int64_t samples, std::int64_t ld, std::int64_t n_out, std::int64_t n_in, const Pair<T>* pairs, int n_pairs, bool add, T* out,
                  std::int64_t step);
    void (*turn)(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* rows, T* out);
    // out[n] += sum_s rows[n, s].
    void (*row_sums)(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* rows, T* out);
    // out[s] = sum_n a[n, s] b[n, s], on top of what it holds if `add`.
    void (*column_dots)(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* a, const T* b, bool add, T* out);
    // out[n, s] = gate (a[s] x[n, s] + b[s] y[n, s]) + curve other, and raw, as in Finish; x or y may be null.
    void (*combine)(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* a, const T* x, const T* b, const T* y, const Finish<T>& finish,
                    T* out);
    // y = v k + w y for n numbers; returns the sum of a k + b y (the old y). Null k: zero; null a: zero.
    T (*blend)(std::int64_t n, T v, const T* k, T w, T* y, const T* a, const T* b);
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
