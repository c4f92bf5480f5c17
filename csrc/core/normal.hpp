// Random words to random numbers: Box-Muller normals, uniform, sign, Student-t (Bailey 1994, cosine member).
// Only exactly rounded operations, so that every instruction set and device returns the same bits.
#pragma once

#include "core/expm1.hpp"
#include "core/lane.hpp"

namespace nnqft {
namespace {

// -2 log u for u = (k + 1/2) / 2^32, k a random word: never log 0. Error below 2.33 ulp.
//
// u = 2^e (1 + f) with f in [-1/2, 0]. For k >= 2^31 f is the exact complement u - 1 and e = 0, since u itself would lose
// all but 24 bits next to 1; below, e <= -1, and the two parts of the logarithm have one sign: nothing cancels.
// log1p(f) = f + f^2 q(f), fit error of q 0.06 ulp.
template <class F, class U>
NNQFT_HD F minus_two_log(U k) {
    const auto upper = lt_signed(k, U(0u));
    const F x = madd(to_float(select(upper, k ^ U(0xffffffffu), k)), F(0x1p-32f), F(0x1p-33f));
    const U word = bits(x);
    const F mantissa = as_float((word & U(0x007fffffu)) | U(0x3f000000u));
    const F f = select(upper, -x, mantissa - F(1.0f));
    const F e = select(upper, F(0.0f), to_float(shr<23>(word) - U(126u)));
    F q = madd(F(3.4918814f), f, F(4.9646306f));
    q = madd(q, f, F(3.9534144f));
    q = madd(q, f, F(1.1907278f));
    q = madd(q, f, F(0.68209237f));
    q = madd(q, f, F(-0.35138053f));
    q = madd(q, f, F(0.503777f));
    q = madd(q, f, F(-0.6665243f));
    q = madd(q, f, F(1.0000018f));
    return madd(e, F(-1.3862944f), f * madd(q, f, F(-2.0f)));
}

// A uniform point (c, s) on the unit circle: octant from the word's top three bits (sign of s, sign of c, swap), angle
// (a + 1/2) / 2^29 of pi / 4 within it from the rest a. Error below 2.78 ulp.
template <class F, class U>
NNQFT_HD void circle_point(U k, F& c, F& s) {
    const F r = madd(to_float(k & U(0x1fffffffu)), F(0x1.921fb6p-30f), F(0x1.921fb6p-31f));
    const F t = r * r;
    F ps = madd(F(-0.00019517266f), t, F(0.008332178f));
    ps = madd(ps, t, F(-0.16666655f));
    const F sin_r = madd(ps * t, r, r);
    F pc = madd(F(2.4433119e-05f), t, F(-0.0013887316f));
    pc = madd(pc, t, F(0.041666646f));
    const F cos_r = madd(pc * t, t, madd(F(-0.5f), t, F(1.0f)));
    const auto swap = lt_signed(shl<2>(k), U(0u));
    s = flip_sign(select(swap, cos_r, sin_r), k);
    c = flip_sign(select(swap, sin_r, cos_r), shl<1>(k));
}

// The square root of what minus_two_log returns.
template <class F>
NNQFT_HD F radius_root(F square) {
    return root(square);
}
#if defined(__CUDA_ARCH__)
// nvcc's own sqrt.rn.f32, instruction by instruction, without its branch for squares outside 2^-101 .. 2^128: 5 instructions
// for 10, and no branch keeps the pairs of a thread from running side by side. Squares lie in 2^-32 .. 46. That makes it exact
// where sqrt.rn is this sequence, as on sm_80 to sm_120; the error that PTX allows rsqrt.approx, 2^-22.9, would not: two
// squares of the 2^24 in [1, 4) need 2^-23.3.
NNQFT_HD float radius_root(float square) {
    float inverse;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(square));
    const float r = __fmul_rn(square, inverse);
    return __fmaf_rn(__fmaf_rn(-r, r, square), __fmul_rn(inverse, 0.5f), r);
}
#endif

// Two independent normals with standard deviation `sigma` from two words. |z| <= 6.76 sigma (P = 1.4e-11 beyond).
template <class F, class U>
NNQFT_HD void normal_pair(U k0, U k1, F sigma, F& z0, F& z1) {
    const F radius = radius_root(minus_two_log<F>(k0)) * sigma;
    F c, s;
    circle_point(k1, c, s);
    z0 = radius * c;
    z1 = radius * s;
}

// Uniform on [-half_width, half_width]: (k + 1/2) / 2^31 for the word k read as signed; the outermost 64 words round to the ends.
template <class F, class U>
NNQFT_HD F uniform_symmetric(U k, F half_width) {
    return madd(to_float(k), F(0x1p-31f), F(0x1p-32f)) * half_width;
}

// +sigma or -sigma, from the word's top bit.
template <class F, class U>
NNQFT_HD F random_sign(U k, F sigma) {
    return flip_sign(sigma, k);
}

// Student's t needs a factor to have standard deviation 1. It has none for nu <= 2: there the t itself is kept.
NNQFT_HD float student_t_unit(float nu) { return nu > 2.0f ? static_cast<float>(root(1.0 - 2.0 / static_cast<double>(nu))) : 1.0f; }

// sqrt(nu (u^(-2/nu) - 1)) cos(angle), Student's t with nu degrees of freedom (Bailey, Math. Comp. 62 (1994) 779),
// scaled to standard deviation sigma. The sine member depends on it and is not drawn. nu = infinity gives normal_pair's
// z0, bit for bit. With y = -2 log(u) / nu = n log 2 + s, the square is nu expm1(y):
//   n = 0: -2 log u * (1 + s q), where nu no longer appears: nothing cancels as nu grows;
//   n > 0: 2^n nu (expm1(s) + 1 - 2^-n), and 2^n stays outside the root: only a t beyond float's range overflows.
template <class F, class U>
NNQFT_HD F student_t(U k0, U k1, float nu, F sigma) {
    const F square = minus_two_log<F>(k0);
    F s, q;
    const U n = expm1_split(lesser(square / F(nu), F(352.0f)), s, q);
    const F bulk = square * madd(s, q, F(1.0f));
    const U kept = select(lt_signed(n, U(126u)), n, U(126u));
    const F tail = F(nu) * (madd(s * s, q, s) + (F(1.0f) - power_of_two(U(0u) - kept))) * power_of_two(n & U(1u));
    const F radius = root(select(lt_signed(U(0u), n), tail, bulk)) * (sigma * F(student_t_unit(nu)));
    F c, unused;
    circle_point(k1, c, unused);
    const U power = shr<1>(n), part = shr<1>(power);  // at most 254 and 127
    return radius * c * power_of_two(part) * power_of_two(power - part);
}

}  // namespace
}  // namespace nnqft
