// Random words to random numbers: Box-Muller normals, uniform, sign, Student-t (Bailey 1994, cosine member).
// Only exactly rounded operations, so that every instruction set and device returns the same bits.
#pragma once

#include "core/expm1.hpp"
#include "core/lane.hpp"

namespace nnqft {
namespace {

// log1p(f) for f in [sqrt(1/2) - 1, sqrt(2) - 1], plus e * log 2. Fit error of the polynomial 0.1 ulp.
template <class F>
NNQFT_HD F log_reduced(F f, F e) {
    F p = madd(F(-0.0763443f), f, F(0.1276155f));
    p = madd(p, f, F(-0.13160194f));
    p = madd(p, f, F(0.14201762f));
    p = madd(p, f, F(-0.16623357f));
    p = madd(p, f, F(0.20001227f));
    p = madd(p, f, F(-0.25000823f));
    p = madd(p, f, F(0.3333333f));
    const F f2 = f * f;
    // log 2 in two parts: the first has 9 trailing zero bits, so e * high is exact.
    p = madd(p * f, f2, e * F(-2.12194440e-4f));
    p = madd(F(-0.5f), f2, p);
    return madd(e, F(0.693359375f), f + p);
}

// log u for u = (k + 1/2) / 2^32, k a random word: never log 0. For k >= 2^31 from the exact complement 1 - u,
// since u itself would lose all but 24 bits next to 1.
template <class F, class U>
NNQFT_HD F log_uniform(U k) {
    const auto upper = lt_signed(k, U(0u));
    const F x = (to_float(select(upper, k ^ U(0xffffffffu), k)) + F(0.5f)) * F(0x1p-32f);
    // Lower half: x = 2^e (1 + f).
    const U shifted = bits(x) - U(0x3f3504f3u);
    const F e_low = to_float(sar<23>(shifted));
    const F f_low = as_float((shifted & U(0x007fffffu)) + U(0x3f3504f3u)) - F(1.0f);
    // Upper half: 1 - x = 2^e (1 + f), e = 0 or -1.
    const auto far = lt(F(0.29289323f), x);
    const F f_high = select(far, madd(F(-2.0f), x, F(1.0f)), -x);
    const F e_high = select(far, F(-1.0f), F(0.0f));
    return log_reduced(select(upper, f_high, f_low), select(upper, e_high, e_low));
}

// cos and sin of 2 pi k / 2^32. The quadrant comes off the integer, so there is no reduction error.
template <class F, class U>
NNQFT_HD void cos_sin_turn(U k, F& c, F& s) {
    const U quadrant = shr<30>(k + U(0x20000000u));
    const F r = to_float(k - shl<30>(quadrant)) * F(0x1.921fb6p-30f);  // 2 pi / 2^32; |r| <= pi / 4
    const F t = r * r;
    F ps = madd(F(2.7183078e-06f), t, F(-0.00019839335f));
    ps = madd(ps, t, F(0.008333329f));
    ps = madd(ps, t, F(-0.16666667f));
    const F sin_r = madd(ps * t, r, r);
    F pc = madd(F(2.4433119e-05f), t, F(-0.0013887316f));
    pc = madd(pc, t, F(0.041666646f));
    const F cos_r = madd(pc * t, t, madd(F(-0.5f), t, F(1.0f)));
    const auto odd = lt_signed(shl<31>(quadrant), U(0u));
    const U two(2u);
    s = as_float(bits(select(odd, cos_r, sin_r)) ^ shl<30>(quadrant & two));
    c = as_float(bits(select(odd, sin_r, cos_r)) ^ shl<30>((quadrant + U(1u)) & two));
}

// Two independent normals with standard deviation `sigma` from two words. |z| <= 6.76 sigma (P = 1.4e-11 beyond).
template <class F, class U>
NNQFT_HD void normal_pair(U k0, U k1, F sigma, F& z0, F& z1) {
    const F radius = root(F(-2.0f) * log_uniform<F>(k0)) * sigma;
    F c, s;
    cos_sin_turn(k1, c, s);
    z0 = radius * c;
    z1 = radius * s;
}

// Uniform on (-half_width, half_width), symmetric: (k + 1/2) / 2^31 - 1 for the word k read as signed.
template <class F, class U>
NNQFT_HD F uniform_symmetric(U k, F half_width) {
    return madd(to_float(k), F(0x1p-31f), F(0x1p-32f)) * half_width;
}

// +sigma or -sigma, from the word's top bit.
template <class F, class U>
NNQFT_HD F random_sign(U k, F sigma) {
    return as_float(bits(sigma) ^ (k & U(0x80000000u)));
}

// Student's t needs a factor to have standard deviation 1. It has none for nu <= 2: there the t itself is kept.
NNQFT_HD float student_t_unit(float nu) { return nu > 2.0f ? static_cast<float>(root(1.0 - 2.0 / static_cast<double>(nu))) : 1.0f; }

// sqrt(nu (u^(-2/nu) - 1)) cos(2 pi v), Student's t with nu degrees of freedom (Bailey, Math. Comp. 62 (1994) 779),
// scaled to standard deviation sigma. The sine member depends on it and is not drawn. nu = infinity gives normal_pair's
// z0, bit for bit. With y = -2 log(u) / nu = n log 2 + s, the square is nu expm1(y):
//   n = 0: -2 log u * (1 + s q), where nu no longer appears: nothing cancels as nu grows;
//   n > 0: 2^n nu (expm1(s) + 1 - 2^-n), and 2^n stays outside the root: only a t beyond float's range overflows.
template <class F, class U>
NNQFT_HD F student_t(U k0, U k1, float nu, F sigma) {
    const F square = F(-2.0f) * log_uniform<F>(k0);
    F s, q;
    const U n = expm1_split(lesser(square / F(nu), F(352.0f)), s, q);
    const F bulk = square * madd(s, q, F(1.0f));
    const U kept = select(lt_signed(n, U(126u)), n, U(126u));
    const F tail = F(nu) * (madd(s * s, q, s) + (F(1.0f) - power_of_two(U(0u) - kept))) * power_of_two(n & U(1u));
    const F radius = root(select(lt_signed(U(0u), n), tail, bulk)) * (sigma * F(student_t_unit(nu)));
    F c, unused;
    cos_sin_turn(k1, c, unused);
    const U power = shr<1>(n), part = shr<1>(power);  // at most 254 and 127
    return radius * c * power_of_two(part) * power_of_two(power - part);
}

}  // namespace
}  // namespace nnqft
