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

#if defined(__AVX512F__)  // 32 registers: 24 sums, 4 vectors of samples, a weight
constexpr int kWide = 4;
#else  // 16 registers: 12 sums
constexpr int kWide = 2;
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

// Sums of a tile: kTile neurons or fewer, `wide` vectors of samples from s on.
template <class T, int wide, int tile>
NNQFT_APART void product_tile(std::int64_t ld, std::int64_t s, std::int64_t n, const Term<T>* terms, int n_terms, const Finish<T>& f, T* out) {
    using V = Vec<T>;
    V sum[tile][wide];
    const std::int64_t first = n * ld + s;
    for (int j = 0; j < tile; ++j) {
        const V start(f.bias ? f.bias[n + j] : T(0));
        for (int i = 0; i < wide; ++i) sum[j][i] = f.add_to_out ? start + V::load(out + first + j * ld + i * V::width) : start;
    }
    for (int t = 0; t < n_terms; ++t) {
        const T *rows = terms[t].rows + s, *weights = terms[t].weights + n / kTile * terms[t].tile_step;
        const std::int64_t neuron_step = terms[t].neuron_step, step = terms[t].step;
        for (std::int64_t k = terms[t].inner; k > 0; --k, rows += ld, weights += step) {
            V x[wide];
            for (int i = 0; i < wide; ++i) x[i] = V::load(rows + i * V::width);
            for (int j = 0; j < tile; ++j) {
                const V w(weights[j * neuron_step]);
                for (int i = 0; i < wide; ++i) sum[j][i] = madd(x[i], w, sum[j][i]);
            }
        }
    }
    const bool plain = !f.before && !f.raw && !f.curve && !f.after;  // most are
    for (int j = 0; j < tile; ++j)
        for (int i = 0; i < wide; ++i) {
            const std::int64_t at = first + j * ld + i * V::width;
            V y = sum[j][i];
            if (!plain) {
                if (f.before) y = madd(V(f.before_scale), V::load(f.before + at), y);
                const V raw = y;
                if (f.gate) y = V::load(f.gate + at) * y;
                if (f.curve) y = madd(V::load(f.curve + at), V::load(f.other + at), y);
                if (f.after) y = madd(V(f.after_scale), V::load(f.after + at), y);
                if (f.raw) raw.store(f.raw + at);
            } else if (f.gate) {
                y = V::load(f.gate + at) * y;
            }
            y.store(out + at);
        }
}

template <class T, int wide, int tile>
NNQFT_HD void product_columns(std::int64_t ld, std::int64_t s, std::int64_t n_out, std::int64_t n, const Term<T>* terms, int n_terms,
                              const Finish<T>& f, T* out) {
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

template <class T>
NNQFT_APART void product_piece(std::int64_t samples, std::int64_t ld, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& f,
                               T* out) {
    constexpr int width = Vec<T>::width;
    std::int64_t s = 0;
    for (; s + kWide * width <= samples; s += kWide * width) product_stripe<T, kWide>(ld, s, n_out, terms, n_terms, f, out);
    for (; s < samples; s += width) product_stripe<T, 1>(ld, s, n_out, terms, n_terms, f, out);
}

constexpr std::int64_t kInner = 128;  // terms of a sum between two visits to memory: with 256 bytes of samples each, 32 KiB

// Long sums in pieces, each for all samples: its weights come from far away once, its samples stay in the first-level cache.
template <class T>
void product(std::int64_t samples, std::int64_t ld, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& f, T* out) {
    std::int64_t inner = 0;
    for (int t = 0; t < n_terms; ++t) inner += terms[t].inner;
    if (inner <= kInner) return product_piece<T>(samples, ld, n_out, terms, n_terms, f, out);
    Finish<T> piece;
    piece.bias = f.bias;
    piece.add_to_out = f.add_to_out;
    for (int t = 0; t < n_terms; ++t)
        for (std::int64_t k = 0; k < terms[t].inner; k += kInner) {
            const std::int64_t left = terms[t].inner - k;
            Term<T> part = terms[t];
            part.rows += k * ld, part.weights += k * part.step, part.inner = left < kInner ? left : kInner;
            if (t + 1 < n_terms || left > kInner) {
                product_piece<T>(samples, ld, n_out, &part, 1, piece, out);
            } else {
                Finish<T> last = f;
                last.bias = piece.bias, last.add_to_out = piece.add_to_out;
                product_piece<T>(samples, ld, n_out, &part, 1, last, out);
            }
            piece.bias = nullptr;
            piece.add_to_out = true;
        }
}

// Sums of few rows: lanes are samples, added up at the end of the panel.
template <class T, int tile>
NNQFT_APART void dots(std::int64_t samples, std::int64_t ld, const T* left, const T* right, T* out) {
    using V = Vec<T>;
    V sum[tile];
    for (int j = 0; j < tile; ++j) sum[j] = V(T(0));
    for (std::int64_t s = 0; s < samples; s += V::width) {
        const V a = V::load(left + s);
        for (int j = 0; j < tile; ++j) sum[j] = madd(a, V::load(right + j * ld + s), sum[j]);
    }
    for (int j = 0; j < tile; ++j) out[j] += lane_sum<V, T>(sum[j]);
}

template <class T>
void outer_by_dots(std::int64_t samples, std::int64_t ld, std::int64_t n_out, std::int64_t n_in, const Pair<T>& pair, bool add, T* out,
                   std::int64_t step) {
    constexpr int tile = 8;
    for (std::int64_t n = 0; n < n_out; ++n) {
        const T* const left = pair.left + n * ld;
        T* const to = out + n * step;
        for (std::int64_t k = 0; k < n_in && !add; ++k) to[k] = T(0);
        std::int64_t k = 0;
        for (; k + tile <= n_in; k += tile) dots<T, tile>(samples, ld, left, pair.right + k * ld, to + k);
        for (; k < n_in; ++k) dots<T, 1>(samples, ld, left, pair.right + k * ld, to + k);
    }
}

// Sums over samples in the lanes of a tile: `rows` rows of `left` times `wide` vectors of the turned panel, of which `columns` numbers count.
template <class T, int rows, int wide>
NNQFT_APART void outer_tile(std::int64_t samples, std::int64_t ld, std::int64_t stride, const T* left, const T* turned, std::int64_t step,
                            std::int64_t columns, bool add, T* out) {
    using V = Vec<T>;
    V sum[rows][wide];
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < wide; ++j) sum[i][j] = V(T(0));
    const T* at[wide];
    for (int j = 0; j < wide; ++j) at[j] = turned + j * V::width / kTurn * stride + j * V::width % kTurn;
    for (std::int64_t s = 0; s < samples; ++s) {
        V b[wide];
        for (int j = 0; j < wide; ++j) b[j] = V::load(at[j] + s * kTurn);
        for (int i = 0; i < rows; ++i) {
            const V a(left[i * ld + s]);
            for (int j = 0; j < wide; ++j) sum[i][j] = madd(a, b[j], sum[i][j]);
        }
    }
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < wide; ++j) {
            T* const to = out + i * step + j * V::width;
            if ((j + 1) * V::width <= columns) {
                (add ? V::load(to) + sum[i][j] : sum[i][j]).store(to);
            } else {
                T lanes[V::width];
                sum[i][j].store(lanes);
                for (std::int64_t l = 0; l < columns - j * V::width; ++l) to[l] = add ? to[l] + lanes[l] : lanes[l];
            }
        }
}

template <class T, int wide>
NNQFT_APART void outer_columns(std::int64_t samples, std::int64_t ld, std::int64_t stride, std::int64_t n_out, const T* left, const T* turned,
                               std::int64_t step, std::int64_t columns, bool add, T* out) {
    std::int64_t n = 0;
    for (; n + 6 <= n_out; n += 6) outer_tile<T, 6, wide>(samples, ld, stride, left + n * ld, turned, step, columns, add, out + n * step);
    for (; n + 2 <= n_out; n += 2) outer_tile<T, 2, wide>(samples, ld, stride, left + n * ld, turned, step, columns, add, out + n * step);
    if (n < n_out) outer_tile<T, 1, wide>(samples, ld, stride, left + n * ld, turned, step, columns, add, out + n * step);
}

template <class T, int wide>
NNQFT_HD void outer_any(int vectors, std::int64_t samples, std::int64_t ld, std::int64_t stride, std::int64_t n_out, const T* left, const T* turned,
                        std::int64_t step, std::int64_t columns, bool add, T* out) {
    if constexpr (wide > 0) {
        if (vectors == wide) outer_columns<T, wide>(samples, ld, stride, n_out, left, turned, step, columns, add, out);
        else outer_any<T, wide - 1>(vectors, samples, ld, stride, n_out, left, turned, step, columns, add, out);
    }
}

constexpr std::int64_t kDeep = 128;  // samples of a turned panel that stay in the first-level cache while all of `left` passes: 32 KiB

template <class T>
void outer(std::int64_t samples, std::int64_t ld, std::int64_t n_out, std::int64_t n_in, const Pair<T>* pairs, int n_pairs, bool add, T* out,
           std::int64_t step) {
    constexpr std::int64_t width = Vec<T>::width, wide = kWide * width;
    for (int p = 0; p < n_pairs; ++p) {
        if (!pairs[p].turned) {
            outer_by_dots<T>(samples, ld, n_out, n_in, pairs[p], add, out, step);
            add = true;
            continue;
        }
        const std::int64_t stride = samples * kTurn;
        for (std::int64_t s = 0; s < samples; s += kDeep, add = true) {
            const std::int64_t depth = samples - s < kDeep ? samples - s : kDeep;
            const T *const left = pairs[p].left + s, *const turned = pairs[p].turned + s * kTurn;
            for (std::int64_t k = 0; k < n_in; k += wide) {
                const T* const from = turned + k / kTurn * stride + k % kTurn;
                const std::int64_t columns = n_in - k;
                const auto vectors = static_cast<int>(columns < wide ? (columns + width - 1) / width : kWide);
                outer_any<T, kWide>(vectors, depth, ld, stride, n_out, left, from, step, columns, add, out + k);
            }
        }
    }
}

// 16 rows of 16 samples each at a time.
template <class T>
NNQFT_APART void turn_block(std::int64_t ld, std::int64_t features, const T* rows, T* out) {
    for (std::int64_t k = 0; k < kTurn; ++k)
        for (std::int64_t s = 0; s < kTurn; ++s) out[s * kTurn + k] = k < features ? rows[k * ld + s] : T(0);
}

template <class T>
void turn(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* rows, T* out) {
    for (std::int64_t k = 0; k < n; k += kTurn)
        for (std::int64_t s = 0; s < samples; s += kTurn) turn_block<T>(ld, n - k, rows + k * ld + s, out + k * samples + s * kTurn);
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
NetKernels<float> net_kernels_f32() { return {product<float>, outer<float>, turn<float>, row_sums<float>}; }
NetKernels<double> net_kernels_f64() { return {product<double>, outer<double>, turn<double>, row_sums<double>}; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
