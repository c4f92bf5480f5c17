// Doubles in the vector registers of the instruction set that this unit is compiled for: VD, of width 8, 4 or 1 (a CUDA thread's).
//
// Kernels give every lane a result of its own and never add across lanes, so the width changes no bit of any result.
// Every operation is exactly rounded; madd has one rounding on every machine.
#pragma once

#include <stdint.h>
#include <string.h>

#include "core/hd.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nnqft {
namespace {

#if defined(__AVX512F__)

struct VD {
    static constexpr int width = 8;
    __m512d v;
    VD() = default;
    VD(__m512d x) : v(x) {}
    explicit VD(double x) : v(_mm512_set1_pd(x)) {}
    static VD load(const double* p) { return _mm512_loadu_pd(p); }
    void store(double* p) const { _mm512_storeu_pd(p, v); }
    static VD load(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
    void store(float* p) const { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }  // rounded to nearest
    // The first `count` lanes, 0 < count <= width; the others read as zero and stay unwritten.
    static VD load_first(const double* p, int count) { return _mm512_maskz_loadu_pd(first(count), p); }
    void store_first(double* p, int count) const { _mm512_mask_storeu_pd(p, first(count), v); }
    // The last `count` lanes of those at p.
    static VD load_last(const double* p, int count) { return _mm512_maskz_loadu_pd(static_cast<__mmask8>(0xff00u >> count), p); }
    static VD gather(const double* p, const int* index) {
        return _mm512_i32gather_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)), p, 8);
    }

private:
    static __mmask8 first(int count) { return static_cast<__mmask8>((1u << count) - 1u); }
};
NNQFT_HD VD operator+(VD a, VD b) { return _mm512_add_pd(a.v, b.v); }
NNQFT_HD VD operator-(VD a, VD b) { return _mm512_sub_pd(a.v, b.v); }
NNQFT_HD VD operator*(VD a, VD b) { return _mm512_mul_pd(a.v, b.v); }
NNQFT_HD VD operator-(VD a) { return _mm512_xor_pd(a.v, _mm512_set1_pd(-0.0)); }
NNQFT_HD VD madd(VD a, VD b, VD c) { return _mm512_fmadd_pd(a.v, b.v, c.v); }    // a b + c
NNQFT_HD VD nmadd(VD a, VD b, VD c) { return _mm512_fnmadd_pd(a.v, b.v, c.v); }  // c - a b

// 64-bit integers modulo 2^64 in as many lanes, in the bits of doubles.
struct VI {
    __m512i v;
    VI() = default;
    VI(__m512i x) : v(x) {}
    explicit VI(int64_t x) : v(_mm512_set1_epi64(x)) {}
    static VI load(const double* p) { return _mm512_loadu_si512(p); }
    void store(double* p) const { _mm512_storeu_si512(p, v); }
};
NNQFT_HD VI operator+(VI a, VI b) { return _mm512_add_epi64(a.v, b.v); }
NNQFT_HD VI operator-(VI a, VI b) { return _mm512_sub_epi64(a.v, b.v); }
NNQFT_HD VI operator*(VI a, VI b) { return _mm512_mullo_epi64(a.v, b.v); }

#elif defined(__AVX2__)

struct VD {
    static constexpr int width = 4;
    __m256d v;
    VD() = default;
    VD(__m256d x) : v(x) {}
    explicit VD(double x) : v(_mm256_set1_pd(x)) {}
    static VD load(const double* p) { return _mm256_loadu_pd(p); }
    void store(double* p) const { _mm256_storeu_pd(p, v); }
    static VD load(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
    void store(float* p) const { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
    // The first `count` lanes, 0 < count <= width; the others read as zero and stay unwritten.
    static VD load_first(const double* p, int count) { return _mm256_maskload_pd(p, first(count)); }
    void store_first(double* p, int count) const { _mm256_maskstore_pd(p, first(count), v); }
    // The last `count` lanes of those at p.
    static VD load_last(const double* p, int count) {
        return _mm256_maskload_pd(p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(3, 2, 1, 0)));
    }
    static VD gather(const double* p, const int* index) { return _mm256_setr_pd(p[index[0]], p[index[1]], p[index[2]], p[index[3]]); }

private:
    static __m256i first(int count) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3)); }
};
NNQFT_HD VD operator+(VD a, VD b) { return _mm256_add_pd(a.v, b.v); }
NNQFT_HD VD operator-(VD a, VD b) { return _mm256_sub_pd(a.v, b.v); }
NNQFT_HD VD operator*(VD a, VD b) { return _mm256_mul_pd(a.v, b.v); }
NNQFT_HD VD operator-(VD a) { return _mm256_xor_pd(a.v, _mm256_set1_pd(-0.0)); }
NNQFT_HD VD madd(VD a, VD b, VD c) { return _mm256_fmadd_pd(a.v, b.v, c.v); }
NNQFT_HD VD nmadd(VD a, VD b, VD c) { return _mm256_fnmadd_pd(a.v, b.v, c.v); }

struct VI {
    __m256i v;
    VI() = default;
    VI(__m256i x) : v(x) {}
    explicit VI(int64_t x) : v(_mm256_set1_epi64x(x)) {}
    static VI load(const double* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    void store(double* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
};
NNQFT_HD VI operator+(VI a, VI b) { return _mm256_add_epi64(a.v, b.v); }
NNQFT_HD VI operator-(VI a, VI b) { return _mm256_sub_epi64(a.v, b.v); }
NNQFT_HD VI operator*(VI a, VI b) {  // low halves' product + 2^32 (high low + low high)
    const __m256i cross = _mm256_mullo_epi32(a.v, _mm256_shuffle_epi32(b.v, 0xB1));
    const __m256i high = _mm256_slli_epi64(_mm256_add_epi32(cross, _mm256_srli_epi64(cross, 32)), 32);
    return _mm256_add_epi64(_mm256_mul_epu32(a.v, b.v), high);
}

#else

struct VD {
    static constexpr int width = 1;
    double v;
    VD() = default;
    NNQFT_HD_MEMBER explicit VD(double x) : v(x) {}
    NNQFT_HD_MEMBER static VD load(const double* p) { return VD(*p); }
    NNQFT_HD_MEMBER void store(double* p) const { *p = v; }
    NNQFT_HD_MEMBER static VD load(const float* p) { return VD(static_cast<double>(*p)); }
    NNQFT_HD_MEMBER void store(float* p) const { *p = static_cast<float>(v); }
    NNQFT_HD_MEMBER static VD load_first(const double* p, int) { return VD(*p); }
    NNQFT_HD_MEMBER void store_first(double* p, int) const { *p = v; }
    NNQFT_HD_MEMBER static VD load_last(const double* p, int) { return VD(*p); }
    NNQFT_HD_MEMBER static VD gather(const double* p, const int* index) { return VD(p[*index]); }
};
NNQFT_HD VD operator+(VD a, VD b) { return VD(a.v + b.v); }
NNQFT_HD VD operator-(VD a, VD b) { return VD(a.v - b.v); }
NNQFT_HD VD operator*(VD a, VD b) { return VD(a.v * b.v); }
NNQFT_HD VD operator-(VD a) { return VD(-a.v); }
#if defined(__CUDA_ARCH__)
NNQFT_HD VD madd(VD a, VD b, VD c) { return VD(__fma_rn(a.v, b.v, c.v)); }
NNQFT_HD VD nmadd(VD a, VD b, VD c) { return VD(__fma_rn(-a.v, b.v, c.v)); }
#else
NNQFT_HD VD madd(VD a, VD b, VD c) { return VD(__builtin_fma(a.v, b.v, c.v)); }  // libm's is exact where hardware has none
NNQFT_HD VD nmadd(VD a, VD b, VD c) { return VD(__builtin_fma(-a.v, b.v, c.v)); }
#endif

struct VI {
    uint64_t v;
    VI() = default;
    NNQFT_HD_MEMBER VI(uint64_t x) : v(x) {}
    NNQFT_HD_MEMBER explicit VI(int64_t x) : v(static_cast<uint64_t>(x)) {}
    NNQFT_HD_MEMBER static VI load(const double* p) {
        VI x;
        memcpy(&x.v, p, sizeof x.v);
        return x;
    }
    NNQFT_HD_MEMBER void store(double* p) const { memcpy(p, &v, sizeof v); }
};
NNQFT_HD VI operator+(VI a, VI b) { return a.v + b.v; }
NNQFT_HD VI operator-(VI a, VI b) { return a.v - b.v; }
NNQFT_HD VI operator*(VI a, VI b) { return a.v * b.v; }

#endif

}  // namespace
}  // namespace nnqft

// What a unit exports goes into a namespace of its instruction set: namespace NNQFT_UNIT { ... }, unit being avx2, say.
#if defined(__AVX512F__)
#define NNQFT_UNIT avx512
#elif defined(__AVX2__)
#define NNQFT_UNIT avx2
#else
#define NNQFT_UNIT scalar
#endif
