// Register tiles: kWide vectors of samples times kTile neurons; outer products are tiles of kOuterRows times kOuterTile sums whose lanes are
// added once per panel. Long sums are cut so that what a stripe of samples reads again and again stays in the first-level cache.
#include "nets/kernels.hpp"

#include "core/vec_double.hpp"
#if defined(__AVX512F__)
#include "core/vec_avx512.hpp"
#endif

namespace nnqft {
namespace {

#if defined(__AVX2__)
#if !defined(__AVX512F__)
struct VF {  // one register: the VF of 16 lanes takes two
    static constexpr int width = 8;
    __m256 v;
    VF() = default;
    VF(__m256 x) : v(x) {}
    explicit VF(float x) : v(_mm256_set1_ps(x)) {}
    static VF load(const float* p) { return _mm256_loadu_ps(p); }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
};
NNQFT_HD VF operator+(VF a, VF b) { return _mm256_add_ps(a.v, b.v); }
NNQFT_HD VF operator*(VF a, VF b) { return _mm256_mul_ps(a.v, b.v); }
NNQFT_HD VF madd(VF a, VF b, VF c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
#endif
template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    using type = VF;
};
template <>
struct VectorOf<double> {
    using type = VD;
};
template <class T>
using Vec = typename VectorOf<T>::type;
#else
template <class T>
struct Vec {
    static constexpr int width = 1;
    T v;
    Vec() = default;
    explicit Vec(T x) : v(x) {}
    static Vec load(const T* p) { return Vec(*p); }
    void store(T* p) const { *p = v; }
};
template <class T>
NNQFT_HD Vec<T> operator+(Vec<T> a, Vec<T> b) { return Vec<T>(a.v + b.v); }
template <class T>
NNQFT_HD Vec<T> operator*(Vec<T> a, Vec<T> b) { return Vec<T>(a.v * b.v); }
template <class T>
NNQFT_HD Vec<T> madd(Vec<T> a, Vec<T> b, Vec<T> c) { return Vec<T>(a.v * b.v + c.v); }
#endif

constexpr int kOuterTile = 4;
#if defined(__AVX512F__)  // 32 registers: 24 sums, 4 vectors of samples, a weight
constexpr int kWide = 4, kOuterRows = 6;
#else  // 16 registers: 12 sums
constexpr int kWide = 2, kOuterRows = 3;
#endif

// The lanes added by halves.
template <class V, class T>
NNQFT_HD T lane_sum(V x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return _mm512_reduce_add_ps(x.v);
    else return _mm512_reduce_add_pd(x.v);
#else
    T lanes[V::width];
    x.store(lanes);
    for (int half = V::width / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    return lanes[0];
#endif
}

// to[i] += sum of the lanes of x[i], i < kOuterTile = 4.
#if defined(__AVX512F__)
NNQFT_HD __m512 fold(__m512 a, __m512 b) {  // pairs of neighbours: a0+a1, b0+b1 in each half of 128 bits
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}
NNQFT_HD void add_lane_sums(const VF* x, float* to) {
    const __m512 r = fold(fold(x[0].v, x[1].v), fold(x[2].v, x[3].v));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(r), _mm512_extractf32x8_ps(r, 1));
    const __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sum));
}
NNQFT_HD void add_lane_sums(const VD* x, double* to) {
    const __m512d a = _mm512_add_pd(_mm512_unpacklo_pd(x[0].v, x[1].v), _mm512_unpackhi_pd(x[0].v, x[1].v));
    const __m512d b = _mm512_add_pd(_mm512_unpacklo_pd(x[2].v, x[3].v), _mm512_unpackhi_pd(x[2].v, x[3].v));
    const __m256d c = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m256d d = _mm256_add_pd(_mm512_castpd512_pd256(b), _mm512_extractf64x4_pd(b, 1));
    const __m256d sum = _mm256_add_pd(_mm256_permute2f128_pd(c, d, 0x20), _mm256_permute2f128_pd(c, d, 0x31));
    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), sum));
}
#elif defined(__AVX2__)
NNQFT_HD void add_lane_sums(const VF* x, float* to) {
    const __m256 r = _mm256_hadd_ps(_mm256_hadd_ps(x[0].v, x[1].v), _mm256_hadd_ps(x[2].v, x[3].v));
    const __m128 sum = _mm_add_ps(_mm256_castps256_ps128(r), _mm256_extractf128_ps(r, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sum));
}
NNQFT_HD void add_lane_sums(const VD* x, double* to) {
    const __m256d a = _mm256_hadd_pd(x[0].v, x[1].v), b = _mm256_hadd_pd(x[2].v, x[3].v);
    const __m256d sum = _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), sum));
}
#else
template <class T>
NNQFT_HD void add_lane_sums(const Vec<T>* x, T* to) {
    for (int i = 0; i < kOuterTile; ++i) to[i] += lane_sum<Vec<T>, T>(x[i]);
}
#endif

template <class T, int wide, int tile>
NNQFT_APART void product_tile(std::int64_t ld, std::int64_t s, std::int64_t n, const Term<T>* terms, int n_terms, const Finish<T>& f, T* out) {
    using V = Vec<T>;
    V sum[tile][wide];
    for (int j = 0; j < tile; ++j)
        for (int i = 0; i < wide; ++i) {
            sum[j][i] = f.add_to_out ? V::load(out + (n + j) * ld + s + i * V::width) : V(T(0));
            if (f.bias) sum[j][i] = sum[j][i] + V(f.bias[n + j]);
        }
    for (int t = 0; t < n_terms; ++t) {
        const T *rows = terms[t].rows + s, *weights = terms[t].weights + n * terms[t].packed;
        for (std::int64_t k = 0; k < terms[t].inner; ++k, rows += ld, weights += kTile) {
            V x[wide];
            for (int i = 0; i < wide; ++i) x[i] = V::load(rows + i * V::width);
            for (int j = 0; j < tile; ++j) {
                const V w(weights[j]);
                for (int i = 0; i < wide; ++i) sum[j][i] = madd(x[i], w, sum[j][i]);
            }
        }
    }
    for (int j = 0; j < tile; ++j)
        for (int i = 0; i < wide; ++i) {
            const std::int64_t at = (n + j) * ld + s + i * V::width;
            V y = sum[j][i];
            if (f.before) y = madd(V(f.before_scale), V::load(f.before + at), y);
            const V raw = y;
            if (f.gate) y = V::load(f.gate + at) * y;
            if (f.curve) y = madd(V::load(f.curve + at), V::load(f.other + at), y);
            if (f.after) y = madd(V(f.after_scale), V::load(f.after + at), y);
            if (f.raw) raw.store(f.raw + at);
            y.store(out + at);
        }
}

template <class T, int wide, int tile>
NNQFT_HD void product_columns(std::int64_t ld, std::int64_t s, std::int64_t n_out, std::int64_t n, const Term<T>* terms, int n_terms, const Finish<T>& f,
                              T* out) {
    if constexpr (tile > 0) {
        if (n_out - n == tile) product_tile<T, wide, tile>(ld, s, n, terms, n_terms, f, out);
        else product_columns<T, wide, tile - 1>(ld, s, n_out, n, terms, n_terms, f, out);
    }
}

template <class T, int wide>
NNQFT_APART void product_stripe(std::int64_t ld, std::int64_t s, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& f, T* out) {
    std::int64_t n = 0;
    for (; n + kTile <= n_out; n += kTile) product_tile<T, wide, kTile>(ld, s, n, terms, n_terms, f, out);
    product_columns<T, wide, kTile - 1>(ld, s, n_out, n, terms, n_terms, f, out);
}

constexpr std::int64_t kInner = 128;  // terms of a sum between two visits to memory: with 256 bytes of samples each, 32 KiB

// The same, kInner terms at a time.
template <class T, int wide>
NNQFT_APART void product_in_pieces(std::int64_t ld, std::int64_t s, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& f, T* out) {
    Finish<T> piece;
    piece.bias = f.bias;
    for (int t = 0; t < n_terms; ++t)
        for (std::int64_t k = 0; k < terms[t].inner; k += kInner) {
            const std::int64_t left = terms[t].inner - k;
            if (t + 1 == n_terms && left <= kInner) {
                const T* const bias = piece.bias;
                const bool add = piece.add_to_out;
                piece = f;
                piece.bias = bias;
                piece.add_to_out = add;
            }
            const Term<T> part = {terms[t].rows + k * ld, terms[t].weights + k * kTile, left < kInner ? left : kInner, terms[t].inner};
            product_stripe<T, wide>(ld, s, n_out, &part, 1, piece, out);
            piece.bias = nullptr;
            piece.add_to_out = true;
        }
}

template <class T>
void product(std::int64_t samples, std::int64_t ld, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& f, T* out) {
    constexpr int width = Vec<T>::width;
    std::int64_t inner = 0, s = 0;
    for (int t = 0; t < n_terms; ++t) inner += terms[t].inner;
    for (; s + kWide * width <= samples; s += kWide * width) {
        if (inner <= kInner) product_stripe<T, kWide>(ld, s, n_out, terms, n_terms, f, out);
        else product_in_pieces<T, kWide>(ld, s, n_out, terms, n_terms, f, out);
    }
    for (; s < samples; s += width) product_stripe<T, 1>(ld, s, n_out, terms, n_terms, f, out);
}

template <class T, int rows, int tile>
NNQFT_APART void outer_tile(std::int64_t samples, std::int64_t ld, std::int64_t n_in, std::int64_t n, std::int64_t k, const Pair<T>* pairs, int n_pairs,
                            T* out) {
    using V = Vec<T>;
    V sum[rows][tile];
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < tile; ++j) sum[i][j] = V(T(0));
    for (int p = 0; p < n_pairs; ++p) {
        const T *left = pairs[p].left + n * ld, *right = pairs[p].right + k * ld;
        for (std::int64_t s = 0; s < samples; s += V::width) {
            V a[rows];
            for (int i = 0; i < rows; ++i) a[i] = V::load(left + i * ld + s);
            for (int j = 0; j < tile; ++j) {
                const V b = V::load(right + j * ld + s);
                for (int i = 0; i < rows; ++i) sum[i][j] = madd(a[i], b, sum[i][j]);
            }
        }
    }
    for (int i = 0; i < rows; ++i) {
        T* const to = out + (n + i) * n_in + k;
        if constexpr (tile == kOuterTile) add_lane_sums(sum[i], to);
        else
            for (int j = 0; j < tile; ++j) to[j] += lane_sum<V, T>(sum[i][j]);
    }
}

template <class T, int rows, int tile>
NNQFT_HD void outer_columns(std::int64_t samples, std::int64_t ld, std::int64_t n_in, std::int64_t n, std::int64_t k, const Pair<T>* pairs, int n_pairs,
                            T* out) {
    if constexpr (tile > 0) {
        if (n_in - k == tile) outer_tile<T, rows, tile>(samples, ld, n_in, n, k, pairs, n_pairs, out);
        else outer_columns<T, rows, tile - 1>(samples, ld, n_in, n, k, pairs, n_pairs, out);
    }
}

template <class T, int rows>
NNQFT_HD void outer_stripe(std::int64_t samples, std::int64_t ld, std::int64_t n_in, std::int64_t n, std::int64_t k, std::int64_t last, const Pair<T>* pairs,
                           int n_pairs, T* out) {
    for (; k + kOuterTile <= last; k += kOuterTile) outer_tile<T, rows, kOuterTile>(samples, ld, n_in, n, k, pairs, n_pairs, out);
    if (last == n_in) outer_columns<T, rows, kOuterTile - 1>(samples, ld, n_in, n, k, pairs, n_pairs, out);
}

// Rows of `right` go through in groups that stay in the first-level cache, while all of `left` passes.
template <class T>
void outer(std::int64_t samples, std::int64_t ld, std::int64_t n_out, std::int64_t n_in, const Pair<T>* pairs, int n_pairs, T* out) {
    constexpr std::int64_t kBytes = 28 << 10;
    std::int64_t group = kBytes / (samples * static_cast<std::int64_t>(sizeof(T)) * (n_pairs > 1 ? 2 : 1)) / kOuterTile * kOuterTile;
    if (group < kOuterTile) group = kOuterTile;
    for (std::int64_t k = 0; k < n_in; k += group) {
        const std::int64_t last = k + group < n_in ? k + group : n_in;
        std::int64_t n = 0;
        for (; n + kOuterRows <= n_out; n += kOuterRows) outer_stripe<T, kOuterRows>(samples, ld, n_in, n, k, last, pairs, n_pairs, out);
        for (; n + 2 <= n_out; n += 2) outer_stripe<T, 2>(samples, ld, n_in, n, k, last, pairs, n_pairs, out);
        for (; n < n_out; ++n) outer_stripe<T, 1>(samples, ld, n_in, n, k, last, pairs, n_pairs, out);
    }
}

template <class T>
void row_sums(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* rows, T* out) {
    using V = Vec<T>;
    for (std::int64_t i = 0; i < n; ++i) {
        V sum(T(0));
        for (std::int64_t s = 0; s < samples; s += V::width) sum = sum + V::load(rows + i * ld + s);
        out[i] += lane_sum<V, T>(sum);
    }
}

}  // namespace

namespace NNQFT_UNIT {
NetKernels<float> net_kernels_f32() { return {product<float>, outer<float>, row_sums<float>}; }
NetKernels<double> net_kernels_f64() { return {product<double>, outer<double>, row_sums<double>}; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
