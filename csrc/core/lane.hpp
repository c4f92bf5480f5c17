// The ~25 operations that all shared maths is written in, for one lane (float, uint32_t, bool).
// A CUDA thread runs these; vec_scalar.hpp loops over them; vec_avx2.hpp and vec_avx512.hpp give the
// same names for 16 lanes. Every operation is exactly rounded IEEE, so all of them return the same bits.
#pragma once

#include <stdint.h>
#include <string.h>

#include "core/hd.hpp"

namespace nnqft {
namespace {

NNQFT_HD uint32_t bits(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
NNQFT_HD float as_float(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}

// a*b + c with one rounding. Without FMA hardware: the double product is exact (48 bits); the double
// sum is rounded to odd, so that the final rounding to float sees every discarded bit.
NNQFT_HD float madd(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
    return __fmaf_rn(a, b, c);
#elif defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    const double p = static_cast<double>(a) * static_cast<double>(b);
    const double z = c;
    double s = p + z;
    const double t = s - p;
    const double error = (p - (s - t)) + (z - t);
    uint64_t u;
    memcpy(&u, &s, 8);
    const bool finite = (u & 0x7ff0000000000000u) != 0x7ff0000000000000u;
    if (finite && error != 0.0 && (u & 1u) == 0) {
        // s is even and inexact: step to the odd neighbour on the side of the exact sum.
        u += ((error > 0.0) == (s > 0.0)) ? 1u : static_cast<uint64_t>(-1);
        memcpy(&s, &u, 8);
    }
    return static_cast<float>(s);
#endif
}
NNQFT_HD double madd(double a, double b, double c) { return a * b + c; }

NNQFT_HD float root(float x) {
#if defined(__CUDA_ARCH__)
    return __fsqrt_rn(x);
#else
    return __builtin_sqrtf(x);
#endif
}
NNQFT_HD double root(double x) { return __builtin_sqrt(x); }

NNQFT_HD bool lt(float a, float b) { return a < b; }
NNQFT_HD bool lt(double a, double b) { return a < b; }
NNQFT_HD bool lt_signed(uint32_t a, uint32_t b) { return static_cast<int32_t>(a) < static_cast<int32_t>(b); }
NNQFT_HD bool any(bool m) { return m; }
NNQFT_HD bool mask_and(bool a, bool b) { return a && b; }
NNQFT_HD bool mask_or(bool a, bool b) { return a || b; }
NNQFT_HD bool mask_not(bool a) { return !a; }
NNQFT_HD float select(bool m, float a, float b) { return m ? a : b; }
NNQFT_HD double select(bool m, double a, double b) { return m ? a : b; }
NNQFT_HD uint32_t select(bool m, uint32_t a, uint32_t b) { return m ? a : b; }

template <int n>
NNQFT_HD uint32_t shl(uint32_t a) {
    return a << n;
}
template <int n>
NNQFT_HD uint32_t shr(uint32_t a) {
    return a >> n;
}
template <int n>
NNQFT_HD uint32_t sar(uint32_t a) {
    return static_cast<uint32_t>(static_cast<int32_t>(a) >> n);
}

// x with its sign flipped where the word's top bit is set.
NNQFT_HD float flip_sign(float x, uint32_t k) { return as_float(bits(x) ^ (k & 0x80000000u)); }

// The word read as a signed integer, rounded to the nearest float.
NNQFT_HD float to_float(uint32_t a) { return static_cast<float>(static_cast<int32_t>(a)); }

// Philox multiplies 32 x 32 -> 64 bits; `Wide` is the form of a word that makes this cheap.
NNQFT_HD void mul_wide(uint32_t a, uint32_t b, uint32_t& hi, uint32_t& lo) {
#if defined(__CUDA_ARCH__)
    // nvcc would widen the words first and multiply 64 x 64 bits: 80 instead of 64 instructions for one Philox (sm_80).
    uint64_t p;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(p) : "r"(a), "r"(b));
#else
    const uint64_t p = static_cast<uint64_t>(a) * b;
#endif
    hi = static_cast<uint32_t>(p >> 32);
    lo = static_cast<uint32_t>(p);
}
NNQFT_HD uint32_t xor3(uint32_t a, uint32_t b, uint64_t c) { return a ^ b ^ static_cast<uint32_t>(c); }
NNQFT_HD uint32_t xor_word(uint32_t a, uint32_t c) { return a ^ c; }
NNQFT_HD uint32_t widen(uint32_t a) { return a; }
NNQFT_HD uint32_t narrow(uint32_t a) { return a; }

// min and max as compare and select: the same answer for NaN (b) and signed zeros on every back end.
template <class F>
NNQFT_HD F lesser(F a, F b) {
    return select(lt(a, b), a, b);
}
template <class F>
NNQFT_HD F greater(F a, F b) {
    return select(lt(b, a), a, b);
}

template <class F>
struct Types;
template <>
struct Types<float> {
    using Real = float;
    using U = uint32_t;
    using W = uint32_t;
};
template <>
struct Types<double> {
    using Real = double;
    using U = uint32_t;
    using W = uint32_t;
};

// The magnitude of x with the sign of s.
template <class F>
NNQFT_HD F with_sign(F x, F s) {
    using U = typename Types<F>::U;
    return as_float((bits(x) & U(0x7fffffffu)) | (bits(s) & U(0x80000000u)));
}

// y * 2^k for an integer k in [-252, 254], rounded once (where the result is subnormal). The low bits of
// 1.5 * 2^23 + 254 + k hold 254 + k; each half of that, shifted, is a normal power of two.
template <class F>
NNQFT_HD F scale2(F y, F k) {
    const auto n = bits(k + F(12583166.0f)), half = shr<1>(n);
    return y * as_float(shl<23>(half)) * as_float(shl<23>(n - half));
}

}  // namespace
}  // namespace nnqft
