// Register-blocked sums of products of stripes: R x C sums at once, whose lanes live in vector registers.
//
// A step of 8 samples takes R C multiply-adds, R products for the rows and R + C + 1 loads, all but R from the first-level
// cache. Rows are formed on the way, for to store and reload them would cost more (1.1x at (6, 10), bench_moments.py).
// AVX-512: 4 x 6 sums in 32 registers; AVX2: 2 x 6 in 16, lanes 0-3 first, then 4-7.
#include "wick/moments_kernels.hpp"

#include "core/vec_double.hpp"

namespace nnqft {
namespace {

constexpr int kLanes = kMomentLanes, W = VD::width, kGroups = kLanes / W;

#if defined(__AVX512F__)
constexpr int kMaxSums = 24;
#else
constexpr int kMaxSums = 12;
#endif

// ---- sums over lanes; s[g][i] holds lanes g W .. of sum i

#if defined(__AVX512F__)
// The odd blocks of K lanes of a at even places, the even blocks of b at odd ones. Shuffles run on one port, blends on two.
template <int K>
NNQFT_HD __m512d cross(__m512d a, __m512d b) {
    if constexpr (K == 4) return _mm512_shuffle_f64x2(a, b, 0x4e);
    if constexpr (K == 2) return _mm512_permutex2var_pd(a, _mm512_setr_epi64(2, 3, 8, 9, 6, 7, 12, 13), b);
    if constexpr (K == 1) return _mm512_shuffle_pd(a, b, 0x55);
}
template <int K>
NNQFT_HD __m512d blend(__m512d a, __m512d b) {  // even blocks of a, odd ones of b
    return _mm512_mask_blend_pd(K == 4 ? 0xf0 : K == 2 ? 0xcc : 0xaa, a, b);
}
template <int K>
NNQFT_HD __m512d fold(__m512d a, __m512d b) {  // a: block + next block at even places; b: at odd places
    return _mm512_add_pd(blend<K>(a, b), cross<K>(a, b));
}
template <int N>
struct LaneSums {
    VD v[(N + 7) / 8 + 1];
};
template <int N>
NNQFT_HD LaneSums<N> sum_lanes(const VD (&s)[kGroups][N]) {
    LaneSums<N> sums;
    for (int i = 0; i < N; i += 8) {
        const auto v = [&](int k) { return s[0][i + k < N ? i + k : i + k % (N - i)].v; };  // beyond N: anything
        const __m512d even = fold<2>(fold<4>(v(0), v(4)), fold<4>(v(2), v(6))), odd = fold<2>(fold<4>(v(1), v(5)), fold<4>(v(3), v(7)));
        sums.v[i / 8] = fold<1>(even, odd);
    }
    sums.v[(N + 7) / 8] = sums.v[0];
    return sums;
}
template <int N>
NNQFT_HD VD neighbours(const LaneSums<N>& sums, int first, int) {  // sums first, first + 1, ..
    const __m512i index = _mm512_add_epi64(_mm512_set1_epi64(first % 8), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm512_permutex2var_pd(sums.v[first / 8].v, index, sums.v[first / 8 + 1].v);
}
#else
template <int N>
struct LaneSums {
    double v[N + 3];
};
template <int N>
NNQFT_HD VD neighbours(const LaneSums<N>& sums, int first, int count) {
    return VD::load_first(sums.v + first, count);
}
#endif

#if defined(__AVX2__) && !defined(__AVX512F__)
NNQFT_HD __m256d fold_pairs(__m256d a, __m256d b) {
    return _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
}
template <int N>
NNQFT_HD LaneSums<N> sum_lanes(const VD (&s)[kGroups][N]) {
    LaneSums<N> sums;
    for (int i = 0; i < N; i += 4) {
        const auto v = [&](int k) {
            const int n = i + k < N ? i + k : i;
            return (s[0][n] + s[1][n]).v;
        };
        const __m256d even = fold_pairs(v(0), v(2)), odd = fold_pairs(v(1), v(3));
        _mm256_storeu_pd(sums.v + i, _mm256_add_pd(_mm256_unpacklo_pd(even, odd), _mm256_unpackhi_pd(even, odd)));
    }
    return sums;
}
#elif !defined(__AVX2__)
template <int N>
NNQFT_HD LaneSums<N> sum_lanes(const VD (&s)[kGroups][N]) {
    LaneSums<N> sums;
    for (int i = 0; i < N; ++i) {
        const auto v = [&](int l) { return s[l][i].v; };
        sums.v[i] = ((v(0) + v(4)) + (v(2) + v(6))) + ((v(1) + v(5)) + (v(3) + v(7)));
    }
    return sums;
}
#endif

// ---- tiles

// Keeps the compiler from loading x again for each of two or three multiply-adds: 1.2x at 2 x 12.
NNQFT_HD VD in_register(VD x) {
#if defined(__AVX2__) && defined(__GNUC__)
    asm("" : "+v"(x.v));
#endif
    return x;
}

// s[i C + j] = sum over the samples of left[i] right columns[j], in lanes first .. first + W - 1.
template <int R, int C>
NNQFT_HD void multiply_add(const double* const (&left)[R], const double* right, const double* columns, int steps, int first, VD (&s)[R * C]) {
    // A zero that the compiler does not know, or it clears s in memory as well: 1.1x.
    const VD zero = VD::load(right) - VD::load(right);
    for (int k = 0; k < R * C; ++k) s[k] = zero;
    for (std::ptrdiff_t t = first, end = first + std::ptrdiff_t{kLanes} * steps; t < end; t += kLanes) {
        const VD common = VD::load(right + t);
        const auto row = [&](int i) { return VD::load(left[i] + t) * common; };
        const auto column = [&](int j) { return in_register(VD::load(columns + j * kMomentStride + t)); };
        // The shorter side waits in registers.
        if constexpr (R <= C) {
            VD x[R];
            for (int i = 0; i < R; ++i) x[i] = row(i);
            for (int j = 0; j < C; ++j) {
                const VD y = column(j);
                for (int i = 0; i < R; ++i) s[i * C + j] = madd(x[i], y, s[i * C + j]);
            }
        } else {
            VD y[C];
            for (int j = 0; j < C; ++j) y[j] = column(j);
            for (int i = 0; i < R; ++i) {
                const VD x = row(i);
                for (int j = 0; j < C; ++j) s[i * C + j] = madd(x, y[j], s[i * C + j]);
            }
        }
    }
}

// Tiles of one shape.
template <int R, int C>
void run_shape(const MomentRun& run, int chunk_col, const MomentTile* tile, const MomentTile* end) {
    for (; tile < end; ++tile) {
        const double* left[R];
        for (int i = 0; i < R; ++i) left[i] = run.left + run.row_left[tile->row + i];
        const double *right = run.right + run.row_right[tile->row], *columns = run.columns + tile->col * kMomentStride;
        VD s[kGroups][R * C];
        for (int g = 0; g < kGroups; ++g) multiply_add<R, C>(left, right, columns, run.steps, g * W, s[g]);

        const LaneSums<R * C> sums = sum_lanes(s);
        const int col = chunk_col + tile->col;
#pragma GCC unroll 12
        for (int i = 0; i < R; ++i) {
            double* out = run.out + run.row_out[tile->row + i] + col;
#pragma GCC unroll 12
            for (int j = 0; j < C; j += W) {
                const int count = C - j < W ? C - j : W;
                (VD::load_first(out + j, count) + neighbours(sums, i * C + j, count)).store_first(out + j, count);
            }
        }
    }
}

using RunShape = void (*)(const MomentRun&, int, const MomentTile*, const MomentTile*);

template <int R, int C>
constexpr RunShape shape() {
    if constexpr (R * C <= kMaxSums) return &run_shape<R, C>;
    return nullptr;
}
#define NNQFT_ROW(R)                                                                                                              \
    {shape<R, 1>(), shape<R, 2>(), shape<R, 3>(), shape<R, 4>(),  shape<R, 5>(),  shape<R, 6>(),                                  \
     shape<R, 7>(), shape<R, 8>(), shape<R, 9>(), shape<R, 10>(), shape<R, 11>(), shape<R, 12>()}
constexpr RunShape kShapes[kMomentRows][kMomentColumns] = {NNQFT_ROW(1), NNQFT_ROW(2), NNQFT_ROW(3), NNQFT_ROW(4), NNQFT_ROW(5), NNQFT_ROW(6)};
#undef NNQFT_ROW

NNQFT_HD void multiply(const double* a, const double* b, double* out, int steps) {
    for (int t = 0; t < kLanes * steps; t += W) (VD::load(a + t) * VD::load(b + t)).store(out + t);
}

void chunk(const MomentRun& run, const MomentChunk& chunk) {
    for (int j = 0; j < chunk.cols; ++j)
        multiply(run.right + run.col_one[chunk.col + j], run.right + run.col_two[chunk.col + j], run.columns + j * kMomentStride, run.steps);
    for (const MomentTile *tile = run.tiles + chunk.first_tile, *const end = run.tiles + chunk.last_tile; tile < end;) {
        const MomentTile* next = tile + 1;
        while (next < end && next->rows == tile->rows && next->cols == tile->cols) ++next;
        kShapes[tile->rows - 1][tile->cols - 1](run, chunk.col, tile, next);
        tile = next;
    }
}

// ---- stripes

void products(const double* factor, const double* in, double* out, std::int64_t count, int steps) {
    for (std::int64_t s = 0; s < count; ++s) multiply(factor, in + s * kMomentStride, out + s * kMomentStride, steps);
}

constexpr std::uint64_t kMagnitude = ~std::uint64_t{0} >> 1;  // all bits of a double but its sign

template <class T>
NNQFT_HD double value(const unsigned char* at) {
    T x;
    __builtin_memcpy(&x, at, sizeof x);
    return static_cast<double>(x);
}

#if defined(__AVX512F__)
NNQFT_HD __m512d load_row(const double* p, __mmask8 mask) { return _mm512_maskz_loadu_pd(mask, p); }
NNQFT_HD __m512d load_row(const float* p, __mmask8 mask) { return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, p)); }

template <int K>
NNQFT_HD void exchange(__m512d (&v)[8]) {
    for (int i = 0; i < 8; ++i) {
        if (i & K) continue;
        const __m512d crossed = cross<K>(v[i], v[i + K]);
        v[i + K] = blend<K>(crossed, v[i + K]);
        v[i] = blend<K>(v[i], crossed);
    }
}

// 8 samples of up to 8 neighbouring fields, transposed in registers: 1.8x at m = 6.
template <class T>
NNQFT_HD void pack_square(const MomentRows& rows, int sample, std::int64_t field, int fields, double* out, __m512i& largest) {
    const __mmask8 mask = static_cast<__mmask8>((1u << fields) - 1u);
    const __m512i magnitude = _mm512_set1_epi64(static_cast<long long>(kMagnitude));
    __m512d v[8];
    for (int s = 0; s < 8; ++s) {
        const unsigned char* row = rows.data + (sample + s) * rows.row_step;
        v[s] = load_row(reinterpret_cast<const T*>(row) + field, mask);
        largest = _mm512_max_epu64(largest, _mm512_and_si512(_mm512_castpd_si512(v[s]), magnitude));
    }
    exchange<4>(v);
    exchange<2>(v);
    exchange<1>(v);
    for (int i = 0; i < fields; ++i) _mm512_storeu_pd(out + (field + i) * kMomentStride + sample, v[i]);
}
#endif

template <class T>
void pack_rows(const MomentRows& rows, int count, std::int64_t m, double* out, std::uint64_t* largest) {
    int first = 0;
#if defined(__AVX512F__)
    if (rows.col_step == sizeof(T)) {
        first = count / 8 * 8;
        for (std::int64_t i = 0; i < m; i += 8) {
            const int fields = m - i < 8 ? static_cast<int>(m - i) : 8;
            __m512i top = _mm512_setzero_si512();
            for (int s = 0; s < first; s += 8) pack_square<T>(rows, s, i, fields, out, top);
            _mm512_mask_storeu_epi64(largest + i, static_cast<__mmask8>((1u << fields) - 1u), top);
        }
    }
#endif
    for (std::int64_t i = 0; i < m; ++i) {
        double* to = out + i * kMomentStride;
        std::uint64_t top = first > 0 ? largest[i] : 0;
        int s = first;
        for (; s < count; ++s) {
            to[s] = value<T>(rows.data + s * rows.row_step + i * rows.col_step);
            std::uint64_t bits;
            __builtin_memcpy(&bits, to + s, sizeof bits);
            top = (bits & kMagnitude) > top ? bits & kMagnitude : top;
        }
        for (; s % kLanes; ++s) to[s] = 0.0;
        largest[i] = top;
    }
}

void pack(const MomentRows& rows, int count, std::int64_t m, double* out, std::uint64_t* largest) {
    (rows.float32 ? pack_rows<float> : pack_rows<double>)(rows, count, m, out, largest);
}

}  // namespace

namespace NNQFT_UNIT {
MomentKernels moment_kernels() { return {kMaxSums, &pack, &products, &chunk}; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
