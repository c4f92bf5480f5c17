// Small hafnians, kLanes at a time: packing of panels and the recursion on them. Compiled once per instruction set.
#include "wick/small_kernels.hpp"

#include "core/vec_double.hpp"
#include "wick/small_recursion.hpp"

namespace nnqft {
namespace {

// Straight-line code up to so many points; the loops beyond give the same bits. Derivatives of 11 and 12 points with a mean would outgrow
// the instruction cache, and instrumented code takes GCC ten minutes.
#if defined(__SANITIZE_ADDRESS__)
constexpr int kStraight = 6, kStraightDerivative[2] = {6, 5};
#else
constexpr int kStraight = kSmallPoints, kStraightDerivative[2] = {kSmallPoints, 10};  // without and with a mean
#endif
constexpr bool kVectors = VD::width > 1;

// ---------------------------------------------------------------- the recursion

struct FromPanel {
    const double* at;
    VD operator()(int slot) const { return VD::load(at + slot * kLanes); }
};
struct FromRegisters {
    const VD* at;
    VD operator()(int slot) const { return at[slot]; }
};

template <int N, bool Mean, class In>
NNQFT_HD VD recursion(const In& in) {
    if constexpr (kVectors && N <= kStraight) return straight_value<N, Mean, VD>(in);
    else return loop_value<N, Mean, VD>(in);
}

template <int N, bool Mean>
void value(const double* panel, double* out) {
    for (int lane = 0; lane < kLanes; lane += VD::width) recursion<N, Mean>(FromPanel{panel + lane}).store(out + lane);
}

template <int N, bool Mean>
void derivative(const double* panel, double* out) {
    constexpr int kInputs = SmallPlan<N, Mean>::kInputs;
    for (int lane = 0; lane < kLanes; lane += VD::width) {
        VD bar[kInputs];
        if constexpr (kVectors && N <= kStraightDerivative[Mean]) straight_derivative<N, Mean>(FromPanel{panel + lane}, bar);
        else loop_derivative<N, Mean>(FromPanel{panel + lane}, bar);
        for (int i = 0; i < kInputs; ++i) bar[i].store(out + i * kLanes + lane);
    }
}

struct Complex {
    double re, im;
    Complex() = default;
    explicit Complex(double x, double y = 0.0) : re(x), im(y) {}
};
// Where the imaginary parts are zero, these are the operations on doubles, to the bit.
Complex madd(Complex a, Complex b, Complex c) {
    return Complex(__builtin_fma(-a.im, b.im, __builtin_fma(a.re, b.re, c.re)), __builtin_fma(a.im, b.re, __builtin_fma(a.re, b.im, c.im)));
}
Complex operator*(Complex a, Complex b) {
    return Complex(__builtin_fma(-a.im, b.im, a.re * b.re), __builtin_fma(a.im, b.re, a.re * b.im));
}

template <int N, bool Mean>
void complex_value(const double* inputs, double* out) {
    const auto in = [inputs](int slot) { return Complex(inputs[2 * slot], inputs[2 * slot + 1]); };
    const Complex result = loop_value<N, Mean, Complex>(in);
    out[0] = result.re;
    out[1] = result.im;
}

// ---------------------------------------------------------------- index tuples; Places hold one number per lane of a VD

#if defined(__AVX512F__)

using Places = __m256i;
NNQFT_HD Places load_places(const std::int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
NNQFT_HD Places plus(Places a, Places b) { return _mm256_add_epi32(a, b); }
NNQFT_HD Places times(Places a, std::int32_t m) { return _mm256_mullo_epi32(a, _mm256_set1_epi32(m)); }
NNQFT_HD VD gather(const double* from, Places places) { return _mm512_i32gather_pd(places, from, 8); }

// The first four numbers of each tuple.
NNQFT_HD void four_columns(const std::int32_t* tuples, int n, Places* column) {
    const auto half = [&](int lane) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(tuples + lane * n)); };
    __m256i row[4];  // of two tuples
    for (int k = 0; k < 4; ++k) row[k] = _mm256_inserti128_si256(_mm256_castsi128_si256(half(k)), half(k + 4), 1);
    const __m256i a = _mm256_unpacklo_epi32(row[0], row[1]), b = _mm256_unpacklo_epi32(row[2], row[3]);
    const __m256i c = _mm256_unpackhi_epi32(row[0], row[1]), d = _mm256_unpackhi_epi32(row[2], row[3]);
    column[0] = _mm256_unpacklo_epi64(a, b);
    column[1] = _mm256_unpackhi_epi64(a, b);
    column[2] = _mm256_unpacklo_epi64(c, d);
    column[3] = _mm256_unpackhi_epi64(c, d);
}

#elif defined(__AVX2__)

using Places = __m128i;
NNQFT_HD Places load_places(const std::int32_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
NNQFT_HD Places plus(Places a, Places b) { return _mm_add_epi32(a, b); }
NNQFT_HD Places times(Places a, std::int32_t m) { return _mm_mullo_epi32(a, _mm_set1_epi32(m)); }
NNQFT_HD VD gather(const double* from, Places places) {
    alignas(16) int place[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(place), places);
    return VD::gather(from, place);
}

NNQFT_HD void four_columns(const std::int32_t* tuples, int n, Places* column) {
    const __m128i p = load_places(tuples), q = load_places(tuples + n), r = load_places(tuples + 2 * n), s = load_places(tuples + 3 * n);
    const __m128i a = _mm_unpacklo_epi32(p, q), b = _mm_unpacklo_epi32(r, s), c = _mm_unpackhi_epi32(p, q), d = _mm_unpackhi_epi32(r, s);
    column[0] = _mm_unpacklo_epi64(a, b);
    column[1] = _mm_unpackhi_epi64(a, b);
    column[2] = _mm_unpacklo_epi64(c, d);
    column[3] = _mm_unpackhi_epi64(c, d);
}

#else

using Places = std::int32_t;
NNQFT_HD Places load_places(const std::int32_t* p) { return *p; }
NNQFT_HD Places plus(Places a, Places b) { return a + b; }
NNQFT_HD Places times(Places a, std::int32_t m) { return a * m; }
NNQFT_HD VD gather(const double* from, Places place) { return VD(from[place]); }
NNQFT_HD void four_columns(const std::int32_t* tuple, int, Places* column) {
    for (int k = 0; k < 4; ++k) column[k] = tuple[k];
}

#endif

template <int N>
NNQFT_HD void columns(const std::int32_t* tuples, Places* column) {
    if constexpr (N >= 4) {
        for (int c = 0; c + 4 <= N; c += 4) four_columns(tuples + c, N, column + c);
        if constexpr (N % 4 != 0) four_columns(tuples + N - 4, N, column + N - 4);
    } else {
        for (int c = 0; c < N; ++c) {
            std::int32_t lanes[VD::width];
            for (int lane = 0; lane < VD::width; ++lane) lanes[lane] = tuples[lane * N + c];
            column[c] = load_places(lanes);
        }
    }
}

// The inputs of VD::width hafnians, as put(slot, values).
template <int N, bool Mean, class Put>
NNQFT_HD void gather_inputs(const double* K, const double* mu, std::int32_t m, const std::int32_t* tuples, const Put& put) {
    Places column[N];
    columns<N>(tuples, column);
#pragma GCC unroll 12
    for (int i = 0; i < N; ++i) {
        const Places row = times(column[i], m);
#pragma GCC unroll 12
        for (int j = i + 1; j < N; ++j) put(pair_place(N, i, j), gather(K, plus(row, column[j])));
        if constexpr (Mean) put(pair_count(N) + i, gather(mu, column[i]));
    }
}

template <int N, bool Mean>
void index_panel(const double* K, const double* mu, std::int32_t m, const std::int32_t* tuples, std::int64_t, double* panel) {
    for (int lane = 0; lane < kLanes; lane += VD::width) {
        double* to = panel + lane;
        gather_inputs<N, Mean>(K, mu, m, tuples + lane * N, [to](int slot, VD x) { x.store(to + slot * kLanes); });
    }
}

template <int N, bool Mean>
void index_value(const double* K, const double* mu, std::int32_t m, const std::int32_t* tuples, std::int64_t groups, double* out) {
    for (; groups > 0; --groups, tuples += kLanes * N, out += kLanes) {
        if constexpr (N <= 8) {  // up to here it pays to keep the inputs out of memory: 1.2x
            for (int lane = 0; lane < kLanes; lane += VD::width) {
                VD inputs[SmallPlan<N, Mean>::kInputs];
                VD* to = inputs;
                gather_inputs<N, Mean>(K, mu, m, tuples + lane * N, [to](int slot, VD x) { to[slot] = x; });
                recursion<N, Mean>(FromRegisters{inputs}).store(out + lane);
            }
        } else {
            SmallPanel panel;
            index_panel<N, Mean>(K, mu, m, tuples, 1, panel.at);
            value<N, Mean>(panel.at, out);
        }
    }
}

// Negative numbers are large ones without a sign.
template <class Integer, class Unsigned>
bool narrow(const Integer* in, std::int64_t count, std::int32_t m, std::int32_t* out) {
    Unsigned most = 0;
    for (std::int64_t k = 0; k < count; ++k) {
        const auto x = static_cast<Unsigned>(in[k]);
        out[k] = static_cast<std::int32_t>(x);
        most = most > x ? most : x;
    }
    return count == 0 || most < static_cast<Unsigned>(m);
}

// ---------------------------------------------------------------- matrices: VD::width arrays, entries first .. first + count - 1

#if defined(__AVX512F__)

NNQFT_HD void transpose_block(const double* const* from, int first, int count, VD* to) {
    __m512d pair[8];  // entries 0 2 4 6 of two arrays in pair[even], 1 3 5 7 in pair[odd]
    for (int i = 0; i < 8; i += 2) {
        const VD a = VD::load_first(from[i] + first, count), b = VD::load_first(from[i + 1] + first, count);
        pair[i] = _mm512_unpacklo_pd(a.v, b.v);
        pair[i + 1] = _mm512_unpackhi_pd(a.v, b.v);
    }
    for (int odd = 0; odd < 2; ++odd) {
        const __m512d* p = pair + odd;
        const __m512d a = _mm512_shuffle_f64x2(p[0], p[2], 0x88), b = _mm512_shuffle_f64x2(p[0], p[2], 0xdd);
        const __m512d c = _mm512_shuffle_f64x2(p[4], p[6], 0x88), d = _mm512_shuffle_f64x2(p[4], p[6], 0xdd);
        to[odd] = _mm512_shuffle_f64x2(a, c, 0x88);
        to[odd + 2] = _mm512_shuffle_f64x2(b, d, 0x88);
        to[odd + 4] = _mm512_shuffle_f64x2(a, c, 0xdd);
        to[odd + 6] = _mm512_shuffle_f64x2(b, d, 0xdd);
    }
}

#elif defined(__AVX2__)

NNQFT_HD void transpose_block(const double* const* from, int first, int count, VD* to) {
    __m256d row[4];
    for (int i = 0; i < 4; ++i) row[i] = VD::load_first(from[i] + first, count).v;
    const __m256d a = _mm256_unpacklo_pd(row[0], row[1]), b = _mm256_unpackhi_pd(row[0], row[1]);
    const __m256d c = _mm256_unpacklo_pd(row[2], row[3]), d = _mm256_unpackhi_pd(row[2], row[3]);
    to[0] = _mm256_permute2f128_pd(a, c, 0x20);
    to[1] = _mm256_permute2f128_pd(b, d, 0x20);
    to[2] = _mm256_permute2f128_pd(a, c, 0x31);
    to[3] = _mm256_permute2f128_pd(b, d, 0x31);
}

#else

NNQFT_HD void transpose_block(const double* const* from, int first, int, VD* to) { to[0] = VD(from[0][first]); }

#endif

void transpose(const double* const* from, int count, const short* place, double* to) {
    for (int first = 0; first < count; first += VD::width) {
        const int here = count - first < VD::width ? count - first : VD::width;
        for (int lane = 0; lane < kLanes; lane += VD::width) {
            VD entry[VD::width];
            transpose_block(from + lane, first, here, entry);
            for (int e = 0; e < here; ++e) {
                if (place[first + e] >= 0) entry[e].store(to + place[first + e] * kLanes + lane);
            }
        }
    }
}

// Magnitudes are compared as the integers that their bits are: in the same order, with nan after inf.
constexpr std::int64_t kMagnitude = 0x7fffffffffffffff, kOne = 0x3ff0000000000000;

#if defined(__AVX512F__)

using Sizes = __m512i;
NNQFT_HD Sizes all_lanes(std::int64_t x) { return _mm512_set1_epi64(x); }
NNQFT_HD Sizes sizes(const double* p) { return _mm512_and_si512(_mm512_loadu_si512(p), all_lanes(kMagnitude)); }
NNQFT_HD Sizes or_one(Sizes a) { return _mm512_mask_mov_epi64(a, _mm512_testn_epi64_mask(a, a), all_lanes(kOne)); }
NNQFT_HD Sizes smaller(Sizes a, Sizes b) { return _mm512_min_epi64(a, b); }
NNQFT_HD Sizes larger(Sizes a, Sizes b) { return _mm512_max_epi64(a, b); }
NNQFT_HD void store(Sizes a, double* p) { _mm512_storeu_si512(p, a); }

#elif defined(__AVX2__)

using Sizes = __m256i;
NNQFT_HD Sizes all_lanes(std::int64_t x) { return _mm256_set1_epi64x(x); }
NNQFT_HD Sizes sizes(const double* p) { return _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), all_lanes(kMagnitude)); }
NNQFT_HD Sizes or_one(Sizes a) { return _mm256_blendv_epi8(a, all_lanes(kOne), _mm256_cmpeq_epi64(a, all_lanes(0))); }
NNQFT_HD Sizes smaller(Sizes a, Sizes b) { return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b)); }
NNQFT_HD Sizes larger(Sizes a, Sizes b) { return _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi64(a, b)); }
NNQFT_HD void store(Sizes a, double* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }

#else

using Sizes = std::int64_t;
NNQFT_HD Sizes all_lanes(std::int64_t x) { return x; }
NNQFT_HD Sizes sizes(const double* p) {
    Sizes bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return bits & kMagnitude;
}
NNQFT_HD Sizes or_one(Sizes a) { return a ? a : kOne; }
NNQFT_HD Sizes smaller(Sizes a, Sizes b) { return a < b ? a : b; }
NNQFT_HD Sizes larger(Sizes a, Sizes b) { return a > b ? a : b; }
NNQFT_HD void store(Sizes a, double* p) { __builtin_memcpy(p, &a, sizeof a); }

#endif

void range(const double* panel, int slots, SmallRange* range) {
    for (int lane = 0; lane < kLanes; lane += VD::width) {
        Sizes least = all_lanes(kOne), most = all_lanes(0);
        for (int slot = 0; slot < slots; ++slot) {
            const Sizes size = sizes(panel + slot * kLanes + lane);
            least = smaller(least, or_one(size));
            most = larger(most, size);
        }
        store(least, range->least + lane);
        store(most, range->most + lane);
    }
}

bool equal(const double* a, const double* b, int count) {
    int different = 0;
    for (int i = 0; i < count; ++i) different |= static_cast<int>(a[i] != b[i]);
    return !different;
}

// ---------------------------------------------------------------- the table

template <int N, bool Mean>
constexpr void enter(SmallKernels& kernels) {
    kernels.value[N][Mean] = value<N, Mean>;
    kernels.derivative[N][Mean] = derivative<N, Mean>;
    kernels.index_value[N][Mean] = index_value<N, Mean>;
    kernels.index_panel[N][Mean] = index_panel<N, Mean>;
    kernels.complex_value[N][Mean] = complex_value<N, Mean>;
}

template <int... I>
constexpr SmallKernels table(std::integer_sequence<int, I...>) {
    SmallKernels kernels{};
    (enter<I + 1, true>(kernels), ...);
    (enter<I - I % 2 + 2, false>(kernels), ...);  // even numbers only
    kernels.transpose = transpose;
    kernels.range = range;
    kernels.equal = equal;
    kernels.narrow32 = narrow<std::int32_t, std::uint32_t>;
    kernels.narrow64 = narrow<std::int64_t, std::uint64_t>;
    return kernels;
}

constexpr SmallKernels kTable = table(Numbers<kSmallPoints>{});

}  // namespace

namespace NNQFT_UNIT {
const SmallKernels& small_kernels() { return kTable; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
