// Register-blocked sums of products of stripes: R x C sums at once, whose lanes live in vector registers.
//
// A step of 8 samples loads R + C vectors for R C multiply-adds, so that with stripes in the first-level cache the
// multiply-adds bound the time. AVX-512: 4 x 6 of 32 registers; AVX2: 3 x 4 of 16, lanes 0-3 first, then 4-7.
#include "wick/moments_kernels.hpp"

#include "core/vec_double.hpp"

namespace nnqft {
namespace {

constexpr int kLanes = kMomentLanes, W = VD::width, kGroups = kLanes / W;

#if defined(__AVX512F__)
constexpr int kMaxRows = 4, kMaxCols = 8, kMaxSums = 24;
#elif defined(__AVX2__)
constexpr int kMaxRows = 3, kMaxCols = 8, kMaxSums = 12;
#else
constexpr int kMaxRows = 2, kMaxCols = 2, kMaxSums = 4;
#endif

// ---- sums over lanes: out[i] for i < N, with room for a multiple of 8; s[g][i] holds lanes g W .. of sum i

#if defined(__AVX512F__)
// Each addition halves the lanes of two vectors into one. Blends may run on two ports, shuffles on one.
NNQFT_HD __m512d fold(__m512d a, __m512d b) {  // lanes l + (l+4) of a, then of b
    return _mm512_add_pd(_mm512_mask_blend_pd(0xf0, a, b), _mm512_shuffle_f64x2(a, b, 0x4e));
}
NNQFT_HD __m512d fold_pairs(__m512d a, __m512d b) {  // l + (l+2) of the first of a, the first of b, the second of a, of b
    const __m512i swapped = _mm512_setr_epi64(2, 3, 8, 9, 6, 7, 12, 13);
    return _mm512_add_pd(_mm512_mask_blend_pd(0xcc, a, b), _mm512_permutex2var_pd(a, swapped, b));
}
template <int N>
NNQFT_HD void sum_lanes(const VD (&s)[kGroups][N], double* out) {
    for (int i = 0; i < N; i += 8) {
        const auto v = [&](int k) { return s[0][i + k < N ? i + k : i + k % (N - i)].v; };  // beyond N: anything
        const __m512d even = fold_pairs(fold(v(0), v(4)), fold(v(2), v(6))), odd = fold_pairs(fold(v(1), v(5)), fold(v(3), v(7)));
        _mm512_storeu_pd(out + i, _mm512_add_pd(_mm512_mask_blend_pd(0xaa, even, odd), _mm512_shuffle_pd(even, odd, 0x55)));
    }
}
#elif defined(__AVX2__)
NNQFT_HD __m256d fold_pairs(__m256d a, __m256d b) {
    return _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
}
template <int N>
NNQFT_HD void sum_lanes(const VD (&s)[kGroups][N], double* out) {
    for (int i = 0; i < N; i += 4) {
        const auto v = [&](int k) {
            const int n = i + k < N ? i + k : i;
            return (s[0][n] + s[1][n]).v;
        };
        const __m256d even = fold_pairs(v(0), v(2)), odd = fold_pairs(v(1), v(3));
        _mm256_storeu_pd(out + i, _mm256_add_pd(_mm256_unpacklo_pd(even, odd), _mm256_unpackhi_pd(even, odd)));
    }
}
#else
template <int N>
NNQFT_HD void sum_lanes(const VD (&s)[kGroups][N], double* out) {
    for (int i = 0; i < N; ++i) {
        const auto v = [&](int l) { return s[l][i].v; };
        out[i] = ((v(0) + v(4)) + (v(2) + v(6))) + ((v(1) + v(5)) + (v(3) + v(7)));
    }
}
#endif

// ---- tiles

// s[i C + j] = sum over the samples of a[i] b[j], in lanes first .. first + W - 1.
template <int R, int C>
NNQFT_HD void multiply_add(const double* const* a, const double* const* b, int steps, int first, VD (&s)[R * C]) {
    for (int k = 0; k < R * C; ++k) s[k] = VD(0.0);
    for (std::ptrdiff_t t = first, end = first + std::ptrdiff_t{kLanes} * steps; t < end; t += kLanes) {
        VD x[R];
        for (int i = 0; i < R; ++i) x[i] = VD::load(a[i] + t);
        for (int j = 0; j < C; ++j) {
            const VD y = VD::load(b[j] + t);
            for (int i = 0; i < R; ++i) s[i * C + j] = madd(x[i], y, s[i * C + j]);
        }
    }
}

void scale_sums(const MomentTileRun& run, const MomentTile& tile, bool tall, double* sums) {
    for (int i = 0; i < tile.rows; ++i)
        for (int j = 0; j < tile.cols; ++j) {
            double& sum = sums[tall ? j * tile.rows + i : i * tile.cols + j];
            sum = __builtin_ldexp(sum, run.left_exponent[run.row_stripe[tile.row + i]] + run.right_exponent[tile.col + j]);
        }
}

// Tiles of one shape. A tall one is a wide one of the transposed problem.
template <int kRows, int kCols>
void run_shape(const MomentTileRun& run, const MomentTile* tiles, std::int64_t count) {
    constexpr bool kTall = kRows > kMaxRows;
    constexpr int R = kTall ? kCols : kRows, C = kTall ? kRows : kCols, N = R * C;
    for (const MomentTile *tile = tiles, *end = tiles + count; tile < end; ++tile) {
        const double *left[kRows], *right[kCols];
        for (int i = 0; i < kRows; ++i) left[i] = run.left + run.row_stripe[tile->row + i] * run.stride;
        for (int j = 0; j < kCols; ++j) right[j] = run.right + (tile->col + j) * run.stride;

        VD s[kGroups][N];
        for (int g = 0; g < kGroups; ++g) multiply_add<R, C>(kTall ? right : left, kTall ? left : right, run.steps, g * W, s[g]);
        double sums[(N + 7) / 8 * 8];
        sum_lanes(s, sums);
        if (run.left_exponent != nullptr) scale_sums(run, *tile, kTall, sums);

        for (int i = 0; i < kRows; ++i) {
            double* out = run.out + run.row_out[tile->row + i] + tile->col;
            if (kTall) {
                for (int j = 0; j < kCols; ++j) out[j] = run.add ? out[j] + sums[j * kRows + i] : sums[j * kRows + i];
                continue;
            }
            for (int j = 0; j < kCols; j += W) {
                const int width = kCols - j < W ? kCols - j : W;
                VD sum = VD::load_first(sums + i * kCols + j, width);
                if (run.add) sum = VD::load_first(out + j, width) + sum;
                sum.store_first(out + j, width);
            }
        }
    }
}

using RunShape = void (*)(const MomentTileRun&, const MomentTile*, std::int64_t);

template <int R, int C>
constexpr RunShape shape() {
    constexpr bool kWide = R <= kMaxRows && C <= kMaxCols, kTall = C <= kMaxRows && R <= kMaxCols;
    if constexpr ((kWide || kTall) && R * C <= kMaxSums) return &run_shape<R, C>;
    return nullptr;
}

#define NNQFT_ROW(R) {shape<R, 1>(), shape<R, 2>(), shape<R, 3>(), shape<R, 4>(), shape<R, 5>(), shape<R, 6>(), shape<R, 7>(), shape<R, 8>()}
constexpr RunShape kShapes[8][8] = {NNQFT_ROW(1), NNQFT_ROW(2), NNQFT_ROW(3), NNQFT_ROW(4), NNQFT_ROW(5), NNQFT_ROW(6), NNQFT_ROW(7), NNQFT_ROW(8)};
#undef NNQFT_ROW

void run_tiles(const MomentTileRun& run, const MomentTile* tiles, std::int64_t count) {
    for (const MomentTile* const end = tiles + count; tiles < end;) {
        const MomentTile* next = tiles + 1;
        while (next < end && next->rows == tiles->rows && next->cols == tiles->cols) ++next;
        kShapes[tiles->rows - 1][tiles->cols - 1](run, tiles, next - tiles);
        tiles = next;
    }
}

// ---- stripes

template <class T>
void pack_rows(const MomentRows& rows, int count, std::int64_t m, double* out, std::ptrdiff_t stride) {
    for (std::int64_t i = 0; i < m; ++i) {
        const unsigned char* from = rows.data + i * rows.col_step;
        double* to = out + i * stride;
        int s = 0;
        for (; s < count; ++s, from += rows.row_step) {
            T x;
            __builtin_memcpy(&x, from, sizeof x);
            to[s] = static_cast<double>(x);
        }
        for (; s % kLanes; ++s) to[s] = 0.0;
    }
}

void pack(const MomentRows& rows, int count, std::int64_t m, double* out, std::ptrdiff_t stride) {
    (rows.float32 ? pack_rows<float> : pack_rows<double>)(rows, count, m, out, stride);
}

std::uint64_t largest(const double* stripe, int steps) {
    std::uint64_t top = 0;
    for (int s = 0; s < kLanes * steps; ++s) {
        std::uint64_t bits;
        __builtin_memcpy(&bits, stripe + s, sizeof bits);
        bits <<= 1;
        top = bits > top ? bits : top;
    }
    return top;
}

void products(const double* factor, const double* in, double* out, std::ptrdiff_t stride, std::int64_t count, int steps) {
    for (std::int64_t s = 0; s < count; ++s, in += stride, out += stride)
        for (int t = 0; t < kLanes * steps; t += W) (VD::load(factor + t) * VD::load(in + t)).store(out + t);
}

}  // namespace

namespace NNQFT_UNIT {
MomentKernels moment_kernels() { return {kMaxRows, kMaxCols, kMaxSums, &pack, &largest, &products, &run_tiles}; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
