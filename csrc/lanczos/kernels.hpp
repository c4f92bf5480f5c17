// The loops of Lanczos over blocks of rows, compiled once per instruction set.
//
// A block of vectors is n rows of P <= kMaxColumns numbers, one per probe. Sums run over rows 0, 8, 16, ... in lane 0,
// 1, 9, ... in lane 1 and so on, then over the 8 lanes: per probe one order, whatever P and the instruction set. Vectors
// are T = float or double; sums and coefficients are double.
#pragma once

#include <cstdint>

#include "core/isa.hpp"

namespace nnqft {

constexpr int kMaxColumns = 8;             // vectors that march together
constexpr int kPanelVectors = 8;           // vectors that are made orthogonal at a time
constexpr std::int64_t kBlockRows = 1024;  // rows that one task works on: with P = 1, two pages of doubles
constexpr std::int64_t kLongRow = 32;      // entries from which a row of a sparse matrix is summed in four parts

// c, d, s: one coefficient or sum per column. Q: `count` blocks of vectors.
template <class T>
struct LanczosKernels {
    // w = c u + d prev;  s = sum q w. w may be u.
    void (*recur)(int P, std::int64_t rows, const T* u, const double* c, const T* prev, const double* d, const T* q, T* w, double* s);
    void (*recur_wide)(int P, std::int64_t rows, const double* u, const double* c, const T* prev, const double* d, const T* q, T* w, double* s);
    // w += c q;  s = sum w^2.
    void (*update)(int P, std::int64_t rows, const double* c, const T* q, T* w, double* s);
    // Panels of single vectors, W_0 ... W_{m-1} with m <= kPanelVectors:
    // h[i * m + s] = sum Q_i W_s, and after these g[t * m + s] = sum W_t W_s.
    void (*dots)(std::int64_t rows, std::int64_t count, const T* const* Q, int m, const double* const* W, double* h);
    // W_s -= sum_i h[i * m + s] Q_i, then, s upwards, W_s -= sum_{t < s} r[t * m + s] W_t.  Returns sum W_{m-1}^2.
    double (*project)(std::int64_t rows, std::int64_t count, const T* const* Q, int m, const double* h, const double* r, double* const* W);
    // out = c in;  s = sum out^2. out may be in.
    void (*scale)(int P, std::int64_t rows, const double* c, const T* in, T* out, double* s);

    // Rows [first, last) of A X for a CSR matrix whose row i has its entries at [start[i], start[i + 1]); Y is double.
    void (*csr32)(int P, std::int64_t first, std::int64_t last, const std::int32_t* start, const std::int32_t* column, const T* value, const T* X, double* Y);
    void (*csr64)(int P, std::int64_t first, std::int64_t last, const std::int64_t* start, const std::int64_t* column, const T* value, const T* X, double* Y);

    // y_f = sum_t c_t x_{f + offset_t}, f < count: rows of a matrix that are one row, moved. The bits are those of csr.
    void (*stencil)(std::int64_t count, std::int64_t terms, const std::int64_t* offset, const double* c, const T* X, double* Y);

    // Rows [first, last) of the upper triangle of a symmetric A (n x n, row i at a + i * stride), and what they stand for
    // below the diagonal: Y += A X restricted to these. Element i of column c of X and Y lies at c * n + i.
    void (*symmetric)(std::int64_t n, std::int64_t first, std::int64_t last, int columns, const T* a, std::int64_t stride, const double* X, double* Y);
};

template <class T>
const LanczosKernels<T>& lanczos_kernels(Isa isa);

// clang-format off
namespace scalar { extern const LanczosKernels<double> lanczos_f64; extern const LanczosKernels<float> lanczos_f32; }
namespace avx2   { extern const LanczosKernels<double> lanczos_f64; extern const LanczosKernels<float> lanczos_f32; }
namespace avx512 { extern const LanczosKernels<double> lanczos_f64; extern const LanczosKernels<float> lanczos_f32; }
// clang-format on

}  // namespace nnqft
