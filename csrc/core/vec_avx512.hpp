// 16 lanes in one AVX-512 register (F, DQ, BW, VL). Names and meaning: lane.hpp.
#pragma once

#include <immintrin.h>

#include "core/lane.hpp"

namespace nnqft {
namespace {

struct VU {
    __m512i v;
    VU() = default;
    VU(__m512i x) : v(x) {}
    explicit VU(uint32_t x) : v(_mm512_set1_epi32(static_cast<int>(x))) {}
    static VU load(const uint32_t* p) { return _mm512_loadu_si512(p); }
    void store(uint32_t* p) const { _mm512_storeu_si512(p, v); }
    static VU iota(uint32_t first) {
        return _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    }
};
struct VF {
    static constexpr int width = 16;
    __m512 v;
    VF() = default;
    VF(__m512 x) : v(x) {}
    explicit VF(float x) : v(_mm512_set1_ps(x)) {}
    static VF load(const float* p) { return _mm512_loadu_ps(p); }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
};
struct VMask {
    __mmask16 v;
};
// Words spread over 64-bit lanes, even and odd: vpmuludq ignores the high halves, so Philox needs no blend.
struct VW {
    __m512i e, o;
};

template <>
struct Types<VF> {
    using Real = float;
    using U = VU;
    using W = VW;
};

NNQFT_HD VF operator+(VF a, VF b) { return _mm512_add_ps(a.v, b.v); }
NNQFT_HD VF operator-(VF a, VF b) { return _mm512_sub_ps(a.v, b.v); }
NNQFT_HD VF operator*(VF a, VF b) { return _mm512_mul_ps(a.v, b.v); }
NNQFT_HD VF operator/(VF a, VF b) { return _mm512_div_ps(a.v, b.v); }
NNQFT_HD VF operator-(VF a) { return _mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f)); }
NNQFT_HD VU operator+(VU a, VU b) { return _mm512_add_epi32(a.v, b.v); }
NNQFT_HD VU operator-(VU a, VU b) { return _mm512_sub_epi32(a.v, b.v); }
NNQFT_HD VU operator&(VU a, VU b) { return _mm512_and_si512(a.v, b.v); }
NNQFT_HD VU operator|(VU a, VU b) { return _mm512_or_si512(a.v, b.v); }
NNQFT_HD VU operator^(VU a, VU b) { return _mm512_xor_si512(a.v, b.v); }

NNQFT_HD VF madd(VF a, VF b, VF c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
NNQFT_HD VF root(VF a) { return _mm512_sqrt_ps(a.v); }
NNQFT_HD VF lesser(VF a, VF b) { return _mm512_min_ps(a.v, b.v); }
NNQFT_HD VF greater(VF a, VF b) { return _mm512_max_ps(a.v, b.v); }
NNQFT_HD VF with_sign(VF x, VF s) {
    // (x & mask) | (s & ~mask) in one instruction
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(x.v), _mm512_castps_si512(s.v),
                                                         _mm512_set1_epi32(0x7fffffff), 0xE4));
}
NNQFT_HD VF scale2(VF y, VF k) { return _mm512_scalef_ps(y.v, k.v); }
NNQFT_HD VMask lt(VF a, VF b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
NNQFT_HD VMask lt_signed(VU a, VU b) { return {_mm512_cmplt_epi32_mask(a.v, b.v)}; }
NNQFT_HD VMask mask_and(VMask a, VMask b) { return {static_cast<__mmask16>(a.v & b.v)}; }
NNQFT_HD VMask mask_or(VMask a, VMask b) { return {static_cast<__mmask16>(a.v | b.v)}; }
NNQFT_HD VMask mask_not(VMask a) { return {static_cast<__mmask16>(~a.v)}; }
NNQFT_HD bool any(VMask m) { return m.v != 0; }
NNQFT_HD VF select(VMask m, VF a, VF b) { return _mm512_mask_blend_ps(m.v, b.v, a.v); }
NNQFT_HD VU select(VMask m, VU a, VU b) { return _mm512_mask_blend_epi32(m.v, b.v, a.v); }

NNQFT_HD VU bits(VF a) { return _mm512_castps_si512(a.v); }
NNQFT_HD VF as_float(VU a) { return _mm512_castsi512_ps(a.v); }
NNQFT_HD VF flip_sign(VF a, VU k) {  // a ^ (k & sign)
    return as_float(_mm512_ternarylogic_epi32(bits(a).v, k.v, _mm512_set1_epi32(static_cast<int>(0x80000000u)), 0x78));
}
NNQFT_HD VF to_float(VU a) { return _mm512_cvtepi32_ps(a.v); }
template <int n>
NNQFT_HD VU shl(VU a) {
    return _mm512_slli_epi32(a.v, n);
}
template <int n>
NNQFT_HD VU shr(VU a) {
    return _mm512_srli_epi32(a.v, n);
}
template <int n>
NNQFT_HD VU sar(VU a) {
    return _mm512_srai_epi32(a.v, n);
}

NNQFT_HD void mul_wide(VW a, uint32_t b, VW& hi, VW& lo) {
    const __m512i m = _mm512_set1_epi64(static_cast<long long>(b));
    lo.e = _mm512_mul_epu32(a.e, m);
    lo.o = _mm512_mul_epu32(a.o, m);
    // A shuffle, not a shift: multiplies and 512-bit shifts share one port on Intel's cores.
    hi.e = _mm512_shuffle_epi32(lo.e, static_cast<_MM_PERM_ENUM>(0xF5));
    hi.o = _mm512_shuffle_epi32(lo.o, static_cast<_MM_PERM_ENUM>(0xF5));
}
NNQFT_HD VW xor3(VW a, VW b, uint64_t c) {
    const __m512i k = _mm512_set1_epi64(static_cast<long long>(c));
    return {_mm512_ternarylogic_epi64(a.e, b.e, k, 0x96), _mm512_ternarylogic_epi64(a.o, b.o, k, 0x96)};
}
NNQFT_HD VW xor_word(VW a, uint32_t c) {
    const __m512i k = _mm512_set1_epi64(static_cast<long long>(c));
    return {_mm512_xor_si512(a.e, k), _mm512_xor_si512(a.o, k)};
}
NNQFT_HD VW widen(VU a) { return {a.v, _mm512_srli_epi64(a.v, 32)}; }
NNQFT_HD VU narrow(VW a) { return _mm512_mask_shuffle_epi32(a.e, 0xAAAA, a.o, static_cast<_MM_PERM_ENUM>(0xA0)); }

constexpr int kTileRows = 4, kTileColumns = 6;  // rows x points of a dense product held in registers

// Sum of the 16 lanes in float64, by halves: the order of vec_scalar.hpp.
NNQFT_HD double sum_lanes(VF a) {
    const __m512d s8 = _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a.v)),
                                     _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1)));
    const __m256d s4 = _mm256_add_pd(_mm512_castpd512_pd256(s8), _mm512_extractf64x4_pd(s8, 1));
    const __m128d s2 = _mm_add_pd(_mm256_castpd256_pd128(s4), _mm256_extractf128_pd(s4, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s2, _mm_unpackhi_pd(s2, s2)));
}

// out[r][k] += sum_lanes(a[r][k]), the additions of eight sums side by side.
NNQFT_HD void add_lane_sums(const VF (&a)[4][2], double* const (&out)[4]) {
    __m512d s[2][4], s2[2];
    for (int k = 0; k < 2; ++k) {
        for (int r = 0; r < 4; ++r)
            s[k][r] = _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a[r][k].v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(a[r][k].v, 1)));
        for (int r = 0; r < 4; r += 2)
            s[k][r] = _mm512_add_pd(_mm512_shuffle_f64x2(s[k][r], s[k][r + 1], 0x44), _mm512_shuffle_f64x2(s[k][r], s[k][r + 1], 0xee));
        s2[k] = _mm512_add_pd(_mm512_shuffle_f64x2(s[k][0], s[k][2], 0x88), _mm512_shuffle_f64x2(s[k][0], s[k][2], 0xdd));
    }
    const __m512d sums = _mm512_add_pd(_mm512_unpacklo_pd(s2[0], s2[1]), _mm512_unpackhi_pd(s2[0], s2[1]));
    const auto add = [](double* to, __m128d x) { _mm_storeu_pd(to, _mm_add_pd(_mm_loadu_pd(to), x)); };
    add(out[0], _mm512_castpd512_pd128(sums));
    add(out[1], _mm512_extractf64x2_pd(sums, 1));
    add(out[2], _mm512_extractf64x2_pd(sums, 2));
    add(out[3], _mm512_extractf64x2_pd(sums, 3));
}

}  // namespace
}  // namespace nnqft
