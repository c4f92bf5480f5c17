// Register tiles: products of kTile neurons and kWide vectors of samples, sums over samples of kTile rows and kWide vectors of features.
// Loops are cut so that what a tile reads again and again stays in the first-level cache and what it adds to in the second; what it reads
// next is fetched ahead, as lines come in no order that hardware would guess.
#include "nets/kernels.hpp"

#include "nets/lanes.hpp"

namespace nnqft {
namespace {

#if defined(__AVX512F__)  // 32 registers: 24 sums, 4 vectors of samples, a weight
constexpr int kWide = 4;
#else  // 16 registers: 12 sums
constexpr int kWide = 2;
#endif

#if defined(__GNUC__)
#define NNQFT_FETCH(p) __builtin_prefetch(p)
#else
#define NNQFT_FETCH(p) (void)(p)
#endif

template <class T>
constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));

// Part of a product: neurons [begin, end), the terms as they stand here.
template <class T>
struct Piece {
    std::int64_t ld, begin, end;
    const Term<T>* terms;
    int n_terms;
    Finish<T> finish;
    T* out;
};

// A tile of kTile neurons or fewer from n on, `wide` vectors of samples from s on. If `fetch`, a line of each of the rows that begin at
// `ahead` comes into the second-level cache meanwhile.
template <class T, int wide, int tile, bool fetch = false>
NNQFT_APART void product_tile(const Piece<T>& piece, std::int64_t s, std::int64_t n, const T* ahead = nullptr) {
    using V = Vec<T>;
    const Finish<T>& f = piece.finish;
    const std::int64_t ld = piece.ld, first = n * ld + s;
    T* const out = piece.out;
    V sum[tile][wide];
    for (int j = 0; j < tile; ++j) {
        const V start(f.bias ? f.bias[n + j] : T(0));
        for (int i = 0; i < wide; ++i) sum[j][i] = f.add_to_out ? start + V::load(out + first + j * ld + i * V::width) : start;
    }
    for (int t = 0; t < piece.n_terms; ++t) {
        const Term<T>& term = piece.terms[t];
        const T *rows = term.rows + s, *weights = term.weights + n / kTile * term.tile_step;
        const std::int64_t neuron_step = term.neuron_step, step = term.step;
        const T* next = weights + (n + 2 * kTile <= piece.end ? term.tile_step : 0);
        const std::int64_t line_step = step == 1 ? neuron_step : kLine<T>;
        for (std::int64_t k = 0; k < term.inner; k += kLine<T>, next += kLine<T> * step) {
            // A line of weights of the next tile for each neuron, and a row of what the sums meet at their end and the next ones at their start.
            if constexpr (tile == kTile && wide == kWide) {
                for (int j = 0; j < kTile; ++j) NNQFT_FETCH(next + j * line_step);
                const std::int64_t row = k / kLine<T>;
                if (t == 0 && row < kTile) {
                    if (f.gate)
                        for (int i = 0; i < wide; ++i) NNQFT_FETCH(f.gate + first + row * ld + i * V::width);
                    if (f.add_to_out && n + 2 * kTile <= piece.end)
                        for (int i = 0; i < wide; ++i) NNQFT_FETCH(out + first + (kTile + row) * ld + i * V::width);
                }
            }
            const std::int64_t count = term.inner - k < kLine<T> ? term.inner - k : kLine<T>;
            for (std::int64_t c = 0; c < count; ++c, rows += ld, weights += step) {
                if constexpr (fetch) {
                    NNQFT_FETCH(ahead);
                    ahead += ld;
                }
                V x[wide];
                for (int i = 0; i < wide; ++i) x[i] = V::load(rows + i * V::width);
                for (int j = 0; j < tile; ++j) {
                    const V w(weights[j * neuron_step]);
                    for (int i = 0; i < wide; ++i) sum[j][i] = madd(x[i], w, sum[j][i]);
                }
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

// The last neurons, fewer than kTile.
template <class T, int wide, int tile>
NNQFT_HD void product_last(const Piece<T>& piece, std::int64_t s, std::int64_t n) {
    if constexpr (tile > 0) {
        if (piece.end - n == tile) product_tile<T, wide, tile>(piece, s, n);
        else product_last<T, wide, tile - 1>(piece, s, n);
    }
}

// `wide` vectors of samples. `ahead`: rows of the next stripe, or null.
template <class T, int wide>
NNQFT_APART void product_stripe(const Piece<T>& piece, std::int64_t s, const T* ahead = nullptr) {
    constexpr std::int64_t lines = (wide * Vec<T>::width + kLine<T> - 1) / kLine<T>;
    std::int64_t n = piece.begin;
    if constexpr (wide == kWide)
        for (std::int64_t line = 0; ahead && line < lines && n + kTile <= piece.end; ++line, n += kTile)
            product_tile<T, wide, kTile, true>(piece, s, n, ahead + line * kLine<T>);
    for (; n + kTile <= piece.end; n += kTile) product_tile<T, wide, kTile>(piece, s, n);
    product_last<T, wide, kTile - 1>(piece, s, n);
}

template <class T, int wide>
NNQFT_HD void product_vectors(const Piece<T>& piece, std::int64_t s, std::int64_t vectors) {
    if constexpr (wide > 0) {
        if (vectors == wide) product_stripe<T, wide>(piece, s);
        else product_vectors<T, wide - 1>(piece, s, vectors);
    }
}

// All samples. `after`: rows that are read after these, or null.
template <class T>
NNQFT_APART void product_piece(const Piece<T>& piece, std::int64_t samples, const T* after) {
    constexpr std::int64_t width = Vec<T>::width, stripe = kWide * width;
    std::int64_t s = 0;
    for (; s + 2 * stripe <= samples; s += stripe) product_stripe<T, kWide>(piece, s, piece.terms->rows + s + stripe);
    const std::int64_t vectors = (samples - s) / width;
    if (vectors == kWide) return product_stripe<T, kWide>(piece, s, after);
    const std::int64_t half = vectors > kWide ? (vectors + 1) / 2 : vectors;  // two stripes of about the same width
    product_vectors<T, kWide>(piece, s, half);
    product_vectors<T, kWide>(piece, s + half * width, vectors - half);
}

// Terms of a sum between two visits to memory: with 256 bytes of samples each, 32 KiB. Neurons whose sums stay in the second-level cache.
constexpr std::int64_t kInner = 128, kNeurons = 264;

// Long sums in pieces, each for all samples: its weights come from far away once, its samples stay in the first-level cache.
template <class T>
NNQFT_APART void product_block(Piece<T> piece, std::int64_t samples) {
    const Term<T>* const terms = piece.terms;
    const int n_terms = piece.n_terms;
    std::int64_t inner = 0;
    for (int t = 0; t < n_terms; ++t) inner += terms[t].inner;
    if (inner <= kInner) return product_piece<T>(piece, samples, nullptr);
    const Finish<T> finish = piece.finish;
    piece.finish = Finish<T>();
    piece.finish.bias = finish.bias;
    piece.finish.add_to_out = finish.add_to_out;
    piece.n_terms = 1;
    for (int t = 0; t < n_terms; ++t)
        for (std::int64_t k = 0; k < terms[t].inner; k += kInner) {
            const std::int64_t left = terms[t].inner - k;
            const bool last = t + 1 == n_terms && left <= kInner;
            Term<T> part = terms[t];
            part.rows += k * piece.ld, part.weights += k * part.step, part.inner = left < kInner ? left : kInner;
            piece.terms = &part;
            if (last) {
                const T* const bias = piece.finish.bias;
                const bool add = piece.finish.add_to_out;
                piece.finish = finish;
                piece.finish.bias = bias;
                piece.finish.add_to_out = add;
            }
            product_piece<T>(piece, samples, last ? nullptr : left > kInner ? part.rows + kInner * piece.ld : terms[t + 1].rows);
            piece.finish.bias = nullptr;
            piece.finish.add_to_out = true;
        }
}

template <class T>
void product(std::int64_t samples, std::int64_t ld, std::int64_t n_out, const Term<T>* terms, int n_terms, const Finish<T>& f, T* out) {
    const std::int64_t blocks = (n_out + kNeurons - 1) / kNeurons, tiles = (n_out + kTile - 1) / kTile;
    for (std::int64_t b = 0; b < blocks; ++b) {
        const std::int64_t end = tiles * (b + 1) / blocks * kTile;
        product_block<T>({ld, tiles * b / blocks * kTile, end < n_out ? end : n_out, terms, n_terms, f, out}, samples);
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
template <class T, int rows, int wide, bool fetch = false>
NNQFT_APART void outer_tile(std::int64_t samples, std::int64_t ld, std::int64_t stride, const T* left, const T* turned, std::int64_t step,
                            std::int64_t columns, bool add, T* out, const T* ahead = nullptr) {
    using V = Vec<T>;
    V sum[rows][wide];
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < wide; ++j) sum[i][j] = V(T(0));
    const T* at[wide];
    for (int j = 0; j < wide; ++j) at[j] = turned + j * V::width / kTurn * stride + j * V::width % kTurn;
    for (std::int64_t begin = 0; begin < samples; begin += kLine<T>) {
        if constexpr (rows == kTile && wide == kWide) {  // for the next tile, and for the end
            for (int i = 0; i < rows; ++i) NNQFT_FETCH(left + (rows + i) * ld + begin);
            const std::int64_t row = begin / kLine<T>;
            if (add && row < rows)
                for (int j = 0; j < wide; ++j) NNQFT_FETCH(out + row * step + j * V::width);
        }
        const std::int64_t end = samples - begin < kLine<T> ? samples : begin + kLine<T>;
        for (std::int64_t s = begin; s < end; ++s) {
            if constexpr (fetch) NNQFT_FETCH(ahead + s * kTurn);
            V b[wide];
            for (int j = 0; j < wide; ++j) b[j] = V::load(at[j] + s * kTurn);
            for (int i = 0; i < rows; ++i) {
                const V a(left[i * ld + s]);
                for (int j = 0; j < wide; ++j) sum[i][j] = madd(a, b[j], sum[i][j]);
            }
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
                               std::int64_t step, std::int64_t columns, bool add, T* out, const T* ahead) {
    std::int64_t n = 0;
    if constexpr (wide == kWide) {
        constexpr std::int64_t lines = (wide * Vec<T>::width + kLine<T> - 1) / kLine<T>;
        for (std::int64_t line = 0; ahead && line < lines && n + kTile <= n_out; ++line, n += kTile) {
            const std::int64_t k = line * kLine<T>;
            outer_tile<T, kTile, wide, true>(samples, ld, stride, left + n * ld, turned, step, columns, add, out + n * step,
                                         ahead + k / kTurn * stride + k % kTurn);
        }
    }
    for (; n + kTile <= n_out; n += kTile) outer_tile<T, kTile, wide>(samples, ld, stride, left + n * ld, turned, step, columns, add, out + n * step);
    for (; n + 2 <= n_out; n += 2) outer_tile<T, 2, wide>(samples, ld, stride, left + n * ld, turned, step, columns, add, out + n * step);
    if (n < n_out) outer_tile<T, 1, wide>(samples, ld, stride, left + n * ld, turned, step, columns, add, out + n * step);
}

template <class T, int wide>
NNQFT_HD void outer_any(int vectors, std::int64_t samples, std::int64_t ld, std::int64_t stride, std::int64_t n_out, const T* left, const T* turned,
                        std::int64_t step, std::int64_t columns, bool add, T* out, const T* ahead) {
    if constexpr (wide > 0) {
        if (vectors == wide) outer_columns<T, wide>(samples, ld, stride, n_out, left, turned, step, columns, add, out, ahead);
        else outer_any<T, wide - 1>(vectors, samples, ld, stride, n_out, left, turned, step, columns, add, out, ahead);
    }
}

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
        for (std::int64_t k = 0; k < n_in; k += wide) {
            const T* const turned = pairs[p].turned;
            const std::int64_t next = k + wide, columns = n_in - k;
            const auto vectors = static_cast<int>(columns < wide ? (columns + width - 1) / width : kWide);
            outer_any<T, kWide>(vectors, samples, ld, stride, n_out, pairs[p].left, turned + k / kTurn * stride + k % kTurn, step, columns, add,
                                out + k, next < n_in ? turned + next / kTurn * stride + next % kTurn : nullptr);
        }
        add = true;
    }
}

// 16 rows of 16 samples each at a time.
template <class T>
NNQFT_APART void turn_block(std::int64_t ld, std::int64_t features, const T* rows, T* out) {
    for (std::int64_t k = 0; k < kTurn; ++k)
        for (std::int64_t s = 0; s < kTurn; ++s) out[s * kTurn + k] = k < features ? rows[k * ld + s] : T(0);
}

#if defined(__AVX512F__)
// In registers, 3 times as fast: pairs, fours, then quarters of vectors change places.
NNQFT_APART void turn_block(std::int64_t ld, std::int64_t features, const float* rows, float* out) {
    __m512 a[16], b[16];
    for (int k = 0; k < 16; ++k) a[k] = k < features ? _mm512_loadu_ps(rows + k * ld) : _mm512_setzero_ps();
    for (int k = 0; k < 16; k += 2) b[k] = _mm512_unpacklo_ps(a[k], a[k + 1]), b[k + 1] = _mm512_unpackhi_ps(a[k], a[k + 1]);
    for (int k = 0; k < 16; k += 4)
        for (int i = 0; i < 2; ++i) {  // a[k + j]: four features of samples j, j + 4, j + 8, j + 12
            const __m512d low = _mm512_castps_pd(b[k + i]), high = _mm512_castps_pd(b[k + i + 2]);
            a[k + 2 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            a[k + 2 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    for (int j = 0; j < 4; ++j) {
        const __m512 p = _mm512_shuffle_f32x4(a[j], a[j + 4], 0x88), q = _mm512_shuffle_f32x4(a[j], a[j + 4], 0xdd);
        const __m512 r = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0x88), s = _mm512_shuffle_f32x4(a[j + 8], a[j + 12], 0xdd);
        _mm512_storeu_ps(out + j * 16, _mm512_shuffle_f32x4(p, r, 0x88));
        _mm512_storeu_ps(out + (j + 4) * 16, _mm512_shuffle_f32x4(q, s, 0x88));
        _mm512_storeu_ps(out + (j + 8) * 16, _mm512_shuffle_f32x4(p, r, 0xdd));
        _mm512_storeu_ps(out + (j + 12) * 16, _mm512_shuffle_f32x4(q, s, 0xdd));
    }
}
#endif

template <class T>
void turn(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* rows, T* out) {
    for (std::int64_t k = 0; k < n; k += kTurn)
        for (std::int64_t s = 0; s < samples; s += kTurn) turn_block(ld, n - k, rows + k * ld + s, out + k * samples + s * kTurn);
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

template <class T>
void column_dots(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* a, const T* b, bool add, T* out) {
    using V = Vec<T>;
    constexpr std::int64_t wide = kPanelUnit / V::width;
    for (std::int64_t s = 0; s < samples; s += kPanelUnit) {
        V sum[wide];
        for (int i = 0; i < wide; ++i) sum[i] = add ? V::load(out + s + i * V::width) : V(T(0));
        for (std::int64_t at = s; at < n * ld + s; at += ld)
            for (int i = 0; i < wide; ++i) sum[i] = madd(V::load(a + at + i * V::width), V::load(b + at + i * V::width), sum[i]);
        for (int i = 0; i < wide; ++i) sum[i].store(out + s + i * V::width);
    }
}

template <class T>
void combine(std::int64_t samples, std::int64_t ld, std::int64_t n, const T* a, const T* x, const T* b, const T* y, const Finish<T>& f, T* out) {
    using V = Vec<T>;
    for (std::int64_t row = 0; row < n * ld; row += ld)
        for (std::int64_t s = 0; s < samples; s += V::width) {
            const std::int64_t at = row + s;
            V sum = x ? V::load(a + s) * V::load(x + at) : V(T(0));
            if (y) sum = madd(V::load(b + s), V::load(y + at), sum);
            if (f.raw) sum.store(f.raw + at);
            if (f.gate) sum = V::load(f.gate + at) * sum;
            if (f.curve) sum = madd(V::load(f.curve + at), V::load(f.other + at), sum);
            sum.store(out + at);
        }
}

template <class T>
T blend(std::int64_t n, T v, const T* k, T w, T* y, const T* a, const T* b) {
    using V = Vec<T>;
    const V by_k(v), by_y(w);
    V sums[2] = {V(T(0)), V(T(0))};
    std::int64_t i = 0;
    for (; i + V::width <= n; i += V::width) {
        V old = V::load(y + i), to = by_y * old;
        sums[0] = madd(V::load(b + i), old, sums[0]);
        if (k) {
            const V more = V::load(k + i);
            to = madd(by_k, more, to);
            if (a) sums[1] = madd(V::load(a + i), more, sums[1]);
        }
        to.store(y + i);
    }
    T sum = lane_sum<V, T>(sums[0] + sums[1]);
    for (; i < n; ++i) {
        sum += b[i] * y[i] + (a && k ? a[i] * k[i] : T(0));
        y[i] = w * y[i] + (k ? v * k[i] : T(0));
    }
    return sum;
}

template <class T>
NetKernels<T> all_kernels() {
    return {product<T>, outer<T>, turn<T>, row_sums<T>, column_dots<T>, combine<T>, blend<T>};
}

}  // namespace

namespace NNQFT_UNIT {
NetKernels<float> net_kernels_f32() { return all_kernels<float>(); }
NetKernels<double> net_kernels_f64() { return all_kernels<double>(); }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
