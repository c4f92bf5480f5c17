// Vectors of samples, or of the numbers of a window, in the registers of the instruction set that this unit is compiled for.
#pragma once

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

}  // namespace
}  // namespace nnqft
