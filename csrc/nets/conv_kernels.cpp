// Windows lie along the lanes. Dot products take kPlaceGroup places at a time, so that a vector of weights is loaded once for all of them;
// sums and scatter keep a tile of the window, up to kWindowRows x kWindowRuns vectors, in registers while the places pass.
#include "nets/conv_kernels.hpp"

#include "nets/lanes.hpp"

namespace nnqft {
namespace {

constexpr int kWindowRows = 3, kWindowRuns = 3;
constexpr int kFold = 4;  // vectors whose lanes are added at one go

// to[i] += sum of the lanes of x[i], i < kFold.
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
    for (int i = 0; i < kFold; ++i) to[i] += lane_sum<Vec<T>, T>(x[i]);
}
#endif

template <class T, int n_pairs>
NNQFT_APART void dots_filter(const ConvWindow& window, const std::int32_t* place, std::int64_t count, const std::int32_t* begin,
                             const T* const* weights, const T* const* images, T bias, T* out) {
    using V = Vec<T>;
    for (std::int64_t i = 0; i < count; i += kPlaceGroup) {
        V sum[kPlaceGroup];
        std::int64_t at[kPlaceGroup];
        for (int e = 0; e < kPlaceGroup; ++e) {
            sum[e] = V(T(0));
            at[e] = begin[place[i + e]];
        }
        const T *a = images[0], *wa = weights[0], *b = images[n_pairs - 1], *wb = weights[n_pairs - 1];
        for (std::int64_t row = 0; row < window.rows; ++row, a += window.pitch, b += window.pitch)
            for (std::int64_t j = 0; j < window.run; j += V::width, wa += V::width, wb += V::width) {
                const V x = V::load(wa);
                for (int e = 0; e < kPlaceGroup; ++e) sum[e] = madd(V::load(a + j + at[e]), x, sum[e]);
                if constexpr (n_pairs == 2) {
                    const V y = V::load(wb);
                    for (int e = 0; e < kPlaceGroup; ++e) sum[e] = madd(V::load(b + j + at[e]), y, sum[e]);
                }
            }
        for (int e = 0; e < kPlaceGroup; ++e) out[i + e] = bias;
        for (int e = 0; e < kPlaceGroup; e += kFold) add_lane_sums(sum + e, out + i + e);
    }
}

template <class T>
void dots(const ConvWindow& window, const ConvPlaces& p, const ConvPair<T>* pairs, int n_pairs, const T* bias, T* out) {
    for (std::int64_t f = 0; f < p.filters; ++f) {
        const T* const weights[2] = {pairs[0].data + f * window.size, pairs[n_pairs - 1].data + f * window.size};
        const T* const images[2] = {pairs[0].image, pairs[n_pairs - 1].image};
        const std::int32_t* const place = p.place + f * p.capacity;
        const T b = bias ? bias[f] : T(0);
        T* const to = out + f * p.capacity;
        if (n_pairs == 2) dots_filter<T, 2>(window, place, p.count[f], p.window, weights, images, b, to);
        else dots_filter<T, 1>(window, place, p.count[f], p.window, weights, images, b, to);
    }
}

// A tile of the window: rows x runs vectors; `image` and `weights` point to its first number.
template <class T, int n_pairs, int rows, int runs>
NNQFT_APART void sums_tile(const ConvWindow& window, const std::int32_t* place, std::int64_t count, const std::int32_t* begin,
                           const T* const* numbers, const T* const* images, T* sums) {
    using V = Vec<T>;
    V sum[rows][runs];
    for (int r = 0; r < rows; ++r)
        for (int j = 0; j < runs; ++j) sum[r][j] = V::load(sums + r * window.run + j * V::width);
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t at = begin[place[i]];
        for (int p = 0; p < n_pairs; ++p) {
            const V x(numbers[p][i]);
            const T* const image = images[p] + at;
            for (int r = 0; r < rows; ++r)
                for (int j = 0; j < runs; ++j) sum[r][j] = madd(V::load(image + r * window.pitch + j * V::width), x, sum[r][j]);
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int j = 0; j < runs; ++j) sum[r][j].store(sums + r * window.run + j * V::width);
}

template <class T, int n_terms, int rows, int runs>
NNQFT_APART void scatter_tile(const ConvWindow& window, const std::int32_t* place, std::int64_t count, const std::int32_t* begin,
                              const T* const* numbers, const T* const* weights, T* image) {
    using V = Vec<T>;
    V w[n_terms][rows][runs];
    for (int t = 0; t < n_terms; ++t)
        for (int r = 0; r < rows; ++r)
            for (int j = 0; j < runs; ++j) w[t][r][j] = V::load(weights[t] + r * window.run + j * V::width);
    for (std::int64_t i = 0; i < count; ++i) {
        T* const to = image + begin[place[i]];
        V x[n_terms];
        for (int t = 0; t < n_terms; ++t) x[t] = V(numbers[t][i]);
        for (int r = 0; r < rows; ++r)
            for (int j = 0; j < runs; ++j) {
                V y = V::load(to + r * window.pitch + j * V::width);
                for (int t = 0; t < n_terms; ++t) y = madd(w[t][r][j], x[t], y);
                y.store(to + r * window.pitch + j * V::width);
            }
    }
}

template <int rows, int runs>
struct TileSize {
    static constexpr int n_rows = rows, n_runs = runs;
};

// body(TileSize, row, run) for the tiles of a window.
template <class T, class Body>
NNQFT_HD void over_tiles(const ConvWindow& window, const Body& body) {
    constexpr std::int64_t width = Vec<T>::width;
    for (std::int64_t row = 0; row < window.rows; row += kWindowRows)
        for (std::int64_t j = 0; j < window.run; j += kWindowRuns * width) {
            const std::int64_t rows = window.rows - row, runs = (window.run - j) / width;
            switch ((rows > 2 ? 3 : rows) * 4 + (runs > 2 ? 3 : runs)) {
                case 5: body(TileSize<1, 1>{}, row, j); break;
                case 6: body(TileSize<1, 2>{}, row, j); break;
                case 7: body(TileSize<1, 3>{}, row, j); break;
                case 9: body(TileSize<2, 1>{}, row, j); break;
                case 10: body(TileSize<2, 2>{}, row, j); break;
                case 11: body(TileSize<2, 3>{}, row, j); break;
                case 13: body(TileSize<3, 1>{}, row, j); break;
                case 14: body(TileSize<3, 2>{}, row, j); break;
                default: body(TileSize<3, 3>{}, row, j);
            }
        }
}

template <class T, int n_pairs>
NNQFT_HD void sums_of(const ConvWindow& window, const ConvPlaces& p, const ConvPair<T>* pairs, T* sums) {
    for (std::int64_t f = 0; f < p.filters; ++f)
        over_tiles<T>(window, [&](auto size, std::int64_t row, std::int64_t j) {
            const std::int64_t in_image = row * window.pitch + j, in_window = f * window.size + row * window.run + j;
            const T *const numbers[2] = {pairs[0].data + f * p.capacity, pairs[n_pairs - 1].data + f * p.capacity},
                            *const images[2] = {pairs[0].image + in_image, pairs[n_pairs - 1].image + in_image};
            const std::int32_t* const place = p.place + f * p.capacity;
            using Size = decltype(size);
            sums_tile<T, n_pairs, Size::n_rows, Size::n_runs>(window, place, p.count[f], p.window, numbers, images, sums + in_window);
        });
}
template <class T>
void sums(const ConvWindow& window, const ConvPlaces& places, const ConvPair<T>* pairs, int n_pairs, T* sums) {
    if (n_pairs == 2) sums_of<T, 2>(window, places, pairs, sums);
    else sums_of<T, 1>(window, places, pairs, sums);
}

template <class T, int n_terms>
NNQFT_HD void scatter_of(const ConvWindow& window, const ConvPlaces& p, const T* const* weights, const T* const* numbers, T* image) {
    for (std::int64_t f = 0; f < p.filters; ++f)
        over_tiles<T>(window, [&](auto size, std::int64_t row, std::int64_t j) {
            const std::int64_t in_window = f * window.size + row * window.run + j;
            const T *const from[2] = {numbers[0] + f * p.capacity, numbers[n_terms - 1] + f * p.capacity},
                            *const tiles[2] = {weights[0] + in_window, weights[n_terms - 1] + in_window};
            const std::int32_t* const place = p.place + f * p.capacity;
            T* const to = image + row * window.pitch + j;
            using Size = decltype(size);
            scatter_tile<T, n_terms, Size::n_rows, Size::n_runs>(window, place, p.count[f], p.window, from, tiles, to);
        });
}
template <class T>
void scatter(const ConvWindow& window, const ConvPlaces& places, const T* const* weights, const T* const* numbers, int n_terms, T* image) {
    if (n_terms == 2) scatter_of<T, 2>(window, places, weights, numbers, image);
    else scatter_of<T, 1>(window, places, weights, numbers, image);
}

}  // namespace

namespace NNQFT_UNIT {
ConvKernels<float> conv_kernels_f32() { return {dots<float>, sums<float>, scatter<float>}; }
ConvKernels<double> conv_kernels_f64() { return {dots<double>, sums<double>, scatter<double>}; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
