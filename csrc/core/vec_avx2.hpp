// 16 lanes in two AVX2 registers (with FMA). Names and meaning: lane.hpp.
#pragma once

#include <immintrin.h>

#include "core/lane.hpp"

namespace nnqft {
namespace {

struct VU {
    __m256i a, b;
    VU() = default;
    VU(__m256i x, __m256i y) : a(x), b(y) {}
    explicit VU(uint32_t x) : a(_mm256_set1_epi32(static_cast<int>(x))), b(a) {}
    static VU load(const uint32_t* p) {
        return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
    }
    void store(uint32_t* p) const {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), b);
    }
    static VU iota(uint32_t first) {
        const __m256i x = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(first)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        return {x, _mm256_add_epi32(x, _mm256_set1_epi32(8))};
    }
};
struct VF {
    static constexpr int width = 16;
    __m256 a, b;
    VF() = default;
    VF(__m256 x, __m256 y) : a(x), b(y) {}
    explicit VF(float x) : a(_mm256_set1_ps(x)), b(a) {}
    static VF load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
    void store(float* p) const {
        _mm256_storeu_ps(p, a);
        _mm256_storeu_ps(p + 8, b);
    }
};
struct VMask {
    __m256 a, b;
};
// Words spread over 64-bit lanes, even and odd of each half: vpmuludq ignores the high halves.
struct VW {
    __m256i ae, ao, be, bo;
};

template <>
struct Types<VF> {
    using Real = float;
    using U = VU;
    using W = VW;
};

NNQFT_HD VF operator+(VF x, VF y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
NNQFT_HD VF operator-(VF x, VF y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
NNQFT_HD VF operator*(VF x, VF y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
NNQFT_HD VF operator/(VF x, VF y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
NNQFT_HD VF operator-(VF x) {
    const __m256 s = _mm256_set1_ps(-0.0f);
    return {_mm256_xor_ps(x.a, s), _mm256_xor_ps(x.b, s)};
}
NNQFT_HD VU operator+(VU x, VU y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
NNQFT_HD VU operator-(VU x, VU y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
NNQFT_HD VU operator&(VU x, VU y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
NNQFT_HD VU operator|(VU x, VU y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
NNQFT_HD VU operator^(VU x, VU y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }

NNQFT_HD VF madd(VF x, VF y, VF z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
NNQFT_HD VF root(VF x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
NNQFT_HD VF lesser(VF x, VF y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
NNQFT_HD VF greater(VF x, VF y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
NNQFT_HD VMask lt(VF x, VF y) { return {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)}; }
NNQFT_HD VMask lt_signed(VU x, VU y) {
    return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(y.a, x.a)), _mm256_castsi256_ps(_mm256_cmpgt_epi32(y.b, x.b))};
}
NNQFT_HD VMask mask_and(VMask x, VMask y) { return {_mm256_and_ps(x.a, y.a), _mm256_and_ps(x.b, y.b)}; }
NNQFT_HD VMask mask_or(VMask x, VMask y) { return {_mm256_or_ps(x.a, y.a), _mm256_or_ps(x.b, y.b)}; }
NNQFT_HD VMask mask_not(VMask x) {
    const __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    return {_mm256_xor_ps(x.a, ones), _mm256_xor_ps(x.b, ones)};
}
NNQFT_HD bool any(VMask m) { return (_mm256_movemask_ps(m.a) | _mm256_movemask_ps(m.b)) != 0; }
NNQFT_HD VF select(VMask m, VF x, VF y) { return {_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)}; }
NNQFT_HD VU select(VMask m, VU x, VU y) {
    return {_mm256_blendv_epi8(y.a, x.a, _mm256_castps_si256(m.a)), _mm256_blendv_epi8(y.b, x.b, _mm256_castps_si256(m.b))};
}

NNQFT_HD VU bits(VF x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
NNQFT_HD VF as_float(VU x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
NNQFT_HD VF flip_sign(VF x, VU k) { return as_float(bits(x) ^ (k & VU(0x80000000u))); }
NNQFT_HD VF to_float(VU x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
template <int n>
NNQFT_HD VU shl(VU x) {
    return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
}
template <int n>
NNQFT_HD VU shr(VU x) {
    return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}
template <int n>
NNQFT_HD VU sar(VU x) {
    return {_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)};
}

NNQFT_HD __m256i high_words(__m256i x) { return _mm256_shuffle_epi32(x, 0xF5); }
NNQFT_HD __m256i xor_words(__m256i x, __m256i y, __m256i z) { return _mm256_xor_si256(_mm256_xor_si256(x, y), z); }
NNQFT_HD __m256i join_words(__m256i even, __m256i odd) { return _mm256_blend_epi32(even, _mm256_shuffle_epi32(odd, 0xA0), 0xAA); }

NNQFT_HD void mul_wide(VW x, uint32_t c, VW& hi, VW& lo) {
    const __m256i m = _mm256_set1_epi64x(static_cast<long long>(c));
    lo = {_mm256_mul_epu32(x.ae, m), _mm256_mul_epu32(x.ao, m), _mm256_mul_epu32(x.be, m), _mm256_mul_epu32(x.bo, m)};
    hi = {high_words(lo.ae), high_words(lo.ao), high_words(lo.be), high_words(lo.bo)};
}
NNQFT_HD VW xor3(VW x, VW y, uint64_t c) {
    const __m256i k = _mm256_set1_epi64x(static_cast<long long>(c));
    return {xor_words(x.ae, y.ae, k), xor_words(x.ao, y.ao, k), xor_words(x.be, y.be, k), xor_words(x.bo, y.bo, k)};
}
NNQFT_HD VW xor_word(VW x, uint32_t c) {
    const __m256i k = _mm256_set1_epi64x(static_cast<long long>(c));
    return {_mm256_xor_si256(x.ae, k), _mm256_xor_si256(x.ao, k), _mm256_xor_si256(x.be, k), _mm256_xor_si256(x.bo, k)};
}
NNQFT_HD VW widen(VU x) { return {x.a, _mm256_srli_epi64(x.a, 32), x.b, _mm256_srli_epi64(x.b, 32)}; }
NNQFT_HD VU narrow(VW x) { return {join_words(x.ae, x.ao), join_words(x.be, x.bo)}; }

constexpr int kTileRows = 1, kTileColumns = 4;  // rows x points of a dense product held in registers

// Sum of the 16 lanes in float64, by halves: the order of vec_scalar.hpp.
NNQFT_HD double sum_lanes(VF x) {
    const __m256d lo = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)));
    const __m256d hi = _mm256_add_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1)));
    const __m256d s4 = _mm256_add_pd(lo, hi);
    const __m128d s2 = _mm_add_pd(_mm256_castpd256_pd128(s4), _mm256_extractf128_pd(s4, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s2, _mm_unpackhi_pd(s2, s2)));
}

}  // namespace
}  // namespace nnqft
