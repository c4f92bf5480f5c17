// Products of matrices of activities, weights and deltas on a device, with what a pass through a net does to the result on its
// way to memory. Every element is one chain of fused multiply-adds in the order of k, so that the choice of a tile, the number
// of vectors and the device change no bit.
//
// Activities are (samples, width), rows of neighbouring features; those of vector v of a batch begin at v * samples * width.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace nnqft::cuda {

constexpr std::int64_t kMaxWidth = std::int64_t{1} << 23, kMaxSamples = std::int64_t{1} << 30;  // so that a kernel counts in 32 bits

// A matrix by rows; vector v of the batch has its own at data + v * batch (0: all share one).
template <class T>
struct Matrix {
    const T* data = nullptr;
    std::int64_t ld = 0, batch = 0;
};

// One sum over k < inner; which index k is depends on the product. `data` null: no such term.
template <class T>
struct Term {
    Matrix<T> a, b;
    std::int64_t inner = 0;
    bool ones = false;  // the extra column of an outer product takes the sum of a alone
};
constexpr int kTerms = 2;

// What becomes of element (s, n) of a product x (null pointers: not there; "own": (vectors, samples, width), "shared": (samples, width)):
//     x += bias[n] + constant + line[s] + before_scale * before + line_of[s] * of;  raw = x;
//     y = gate * x + curve * other + after_scale * after.
template <class T>
struct Finish {
    const T* bias = nullptr;
    std::int64_t bias_batch = 0;
    T constant = 0;
    const T* line = nullptr;            // own
    const T* before = nullptr;          // own
    T before_scale = 0;
    const T* line_of[2] = {};           // [0] own, [1] shared
    const T* of[2] = {};                // [0] shared, [1] own
    T* raw = nullptr;                   // own
    const T* gate = nullptr;            // shared
    const T* curve = nullptr;           // shared
    const T* other = nullptr;           // own
    const T* after = nullptr;           // own
    T after_scale = 0;
};

// out (vectors, samples, width) = finish(sum over terms of a (samples, inner) times b), b (width, inner) or, `turned`, (inner, width).
template <class T>
struct Product {
    std::int64_t samples = 0, width = 0, vectors = 1;
    Term<T> term[kTerms];
    bool turned = false;
    Finish<T> finish;
    T* out = nullptr;
};

// Sums over samples: out[v * batch + slab * slab_stride + n * in + k] = sum over terms and samples of the slab of a (samples, out)[s, n]
// b (samples, in)[s, k]; with `bias`, the sums of a follow.
template <class T>
struct Outer {
    std::int64_t width = 0, in = 0;
    bool bias = false;
    Term<T> term[kTerms];
    T* out = nullptr;
};
constexpr int kOuters = 8;  // in one launch

// Tiles of a product, 0: 128 x 128, 1: 64 x 64, 2: 32 x 32. Wide ones read memory less, narrow ones fill the device.
constexpr int kTileKinds = 3;
int tile_kind(std::int64_t rows, std::int64_t columns, std::int64_t times, int multiprocessors, bool wide_numbers);

template <class T>
cudaError_t multiply(const Product<T>& product, int multiprocessors, cudaStream_t stream) noexcept;

// `count` <= kOuters of them at once; slab i holds samples [samples i / slabs, samples (i + 1) / slabs).
template <class T>
cudaError_t outer(const Outer<T>* outers, int count, std::int64_t samples, std::int64_t slabs, std::int64_t vectors, std::int64_t batch,
                  std::int64_t slab_stride, int multiprocessors, cudaStream_t stream) noexcept;

}  // namespace nnqft::cuda
