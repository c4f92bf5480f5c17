// exp, erf, tanh, sin and cos in float32 over the operations of lane.hpp. Every operation is exactly rounded, so
// all back ends return the same bits. "Fit" is the polynomial's own error, "worst" the measured one over all floats.
#pragma once

#include "core/lane.hpp"

namespace nnqft {
namespace {

// Adding and subtracting 1.5 * 2^23 rounds to an integer; the low mantissa bits then hold that integer.
constexpr float kRounder = 12582912.0f;
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kLn2High = 0x1.62e430p-1f, kLn2Low = -0x1.05c610p-29f;

template <class F>
NNQFT_HD F absolute(F x) {
    return as_float(bits(x) & typename Types<F>::U(0x7fffffffu));
}
// |x| with the sign of s.
template <class F>
NNQFT_HD F with_sign(F x, F s) {
    using U = typename Types<F>::U;
    return as_float((bits(x) & U(0x7fffffffu)) | (bits(s) & U(0x80000000u)));
}
// x for low <= x <= high, else the nearer bound; NaN stays NaN (lesser and greater return their second argument).
template <class F>
NNQFT_HD F clamp(F x, F low, F high) {
    return greater(low, lesser(high, x));
}

// exp x = m * 2^k, m in [0.70, 1.42], k an integer; |x| < 2^20.
template <class F>
NNQFT_HD F exp_parts(F x, F& k) {
    k = madd(x, F(kLog2E), F(kRounder)) - F(kRounder);
    const F r = madd(k, F(-kLn2Low), madd(k, F(-kLn2High), x));
    F p = madd(F(0.00138186978f), r, F(0.00836871564f));
    p = madd(p, r, F(0.0416682921f));
    p = madd(p, r, F(0.166665211f));
    p = madd(p, r, F(0.49999994f));
    p = madd(p, r, F(1.0f));
    return madd(p, r, F(1.0f));
}

template <class F>
NNQFT_HD F exp_of(F x) {
    F k;
    const F m = exp_parts(clamp(x, F(-104.0f), F(89.0f)), k);
    return scale2(m, k);
}

// Two odd polynomials, one inside the other: u = x A(x^2), erf x = u B(u^2). It takes no division and 14 instructions:
// a rational function of this accuracy needs 14 and a division. The outer one is flat where erf saturates, so rounding
// errors of u fade there. Fit 0.42 ulp, worst 2.7 ulp; |erf| never exceeds 1, and is 1 from |x| = 3.925 on.
template <class F>
NNQFT_HD F erf_of(F x) {
    x = clamp(x, F(-3.925f), F(3.925f));
    const F t = x * x;
    F a = madd(F(6.03272809e-09f), t, F(-3.89810907e-07f));
    a = madd(a, t, F(1.30447715e-05f));
    a = madd(a, t, F(-0.000304708345f));
    a = madd(a, t, F(0.00524761854f));
    a = madd(a, t, F(-0.0669202209f));
    a = madd(a, t, F(0.728176475f));
    const F u = x * a;
    const F v = u * u;
    const F b = madd(madd(F(0.144558832f), v, F(-0.705569148f)), v, F(1.54959571f));
    return u * b;
}

template <class F>
NNQFT_HD F tanh_of(F x) {
    x = clamp(x, F(-9.02f), F(9.02f));
    const F t = x * x;
    F p = madd(F(1.33893794e-08f), t, F(2.06376626e-05f));
    p = madd(p, t, F(0.00349748693f));
    p = madd(p, t, F(0.133826867f));
    p = madd(p, t, F(1.0f));
    F q = madd(F(7.79180311e-07f), t, F(0.000328862283f));
    q = madd(q, t, F(0.0258843917f));
    q = madd(q, t, F(0.467160076f));
    q = madd(q, t, F(1.0f));
    return x * p / q;
}

// sin and cos: x = n pi + r (sin) or x = (n + 1/2) pi + r (cos), |r| <= pi/2, then (-1)^n sin r up to a sign.
constexpr float kInversePi = 0x1.45f306p-2f;
constexpr float kPi1 = 0x1.921fb6p+1f, kPi2 = -0x1.777a5cp-24f, kPi3 = -0x1.ee59dap-49f;
constexpr float kModerate = 131072.0f;

// The reduction for any finite x, in integers (Payne and Hanek 1983): x = m 2^e with a 24-bit m, times the 96 bits of
// 1/pi from weight 2^-e on; the bits above that window add multiples of 2 pi. `half` = 1 subtracts pi/2 first.
static inline void reduce_huge(float x, uint32_t half, float& r, uint32_t& n) {
    constexpr uint32_t inverse_pi[] = {0u,          0x517cc1b7u, 0x27220a94u, 0xfe13abe8u,
                                       0xfa9a6ee0u, 0x6db14accu, 0x9e21c820u, 0xff28b1d5u};
    const uint32_t word = bits(x), exponent = (word >> 23) & 0xffu;
    n = 0;
    if (exponent == 255 || exponent < 144) {  // infinity or NaN; a lane that has no need of this
        r = x - x;
        return;
    }
    const uint64_t m = (word & 0x007fffffu) | 0x00800000u;
    // Bit i of 1/pi has weight 2^-i and sits 31 + i bits behind the start of the table.
    const uint32_t first = exponent - 150u + 31u, w = first >> 5, s = first & 31u;
    uint32_t window[3];
    for (uint32_t i = 0; i < 3; ++i) {
        const uint64_t two = (static_cast<uint64_t>(inverse_pi[w + i]) << 32) | inverse_pi[w + i + 1];
        window[i] = static_cast<uint32_t>((two << s) >> 32);
    }
    // |x| / pi mod 2 in units of 2^-63.
    const uint64_t low = m * window[2], middle = m * window[1] + (low >> 32);
    uint64_t turn = ((m * window[0]) << 32) + middle;
    turn -= static_cast<uint64_t>(half) << 62;
    n = static_cast<uint32_t>((turn + (1ull << 62)) >> 63);
    const int64_t rest = static_cast<int64_t>(turn - (static_cast<uint64_t>(n) << 63));
    r = static_cast<float>(rest) * 0x1.921fb6p-62f;  // pi / 2^63
}
NNQFT_HD void reduce_huge_lanes(float x, uint32_t half, float& r, uint32_t& n) { reduce_huge(x, half, r, n); }
template <class F, class U>
NNQFT_HD void reduce_huge_lanes(F x, uint32_t half, F& r, U& n) {
    float xs[16], rs[16];
    uint32_t ns[16];
    x.store(xs);
    for (int l = 0; l < 16; ++l) reduce_huge(xs[l], half, rs[l], ns[l]);
    r = F::load(rs);
    n = U::load(ns);
}

// sin r = r (1 + t q(t)), t = r^2, |r| <= pi/2. A product, so that -0 stays -0.
template <class F>
NNQFT_HD F sin_reduced(F r) {
    const F t = r * r;
    F q = madd(F(2.60604702e-06f), t, F(-0.000198097667f));
    q = madd(q, t, F(0.00833306927f));
    q = madd(q, t, F(-0.166666597f));
    return r * madd(q, t, F(1.0f));
}
template <class F, class U>
NNQFT_HD F flip_if_odd(F x, U n) {
    return as_float(bits(x) ^ shl<31>(n));
}

template <class F>
NNQFT_HD F sin_of(F x) {
    using U = typename Types<F>::U;
    const F turn = madd(x, F(kInversePi), F(kRounder)), k = turn - F(kRounder);
    F r = madd(k, F(-kPi3), madd(k, F(-kPi2), madd(k, F(-kPi1), x)));
    U n = bits(turn);
    const auto huge = lt(F(kModerate), absolute(x));
    if (any(huge)) {
        F r_huge;
        U n_huge;
        reduce_huge_lanes(x, 0u, r_huge, n_huge);
        r = select(huge, as_float(bits(r_huge) ^ (bits(x) & U(0x80000000u))), r);
        n = select(huge, n_huge, n);
    }
    return flip_if_odd(sin_reduced(r), n);
}

// |x| = (n + 1/2) pi - r, cos x = (-1)^n sin r. 2^23 - 1/2 + |x| / pi rounds to 2^23 + n in one step; the floor at 2^23
// mends |x| < pi / 4.
template <class F>
NNQFT_HD F cos_of(F x) {
    using U = typename Types<F>::U;
    const F minus = as_float(bits(x) | U(0x80000000u));
    const F turn = greater(F(8388608.0f), madd(minus, F(-kInversePi), F(8388607.5f))), k = turn - F(8388607.5f);
    F r = madd(k, F(kPi3), madd(k, F(kPi2), madd(k, F(kPi1), minus)));
    U n = bits(turn);
    const auto huge = lt(minus, F(-kModerate));
    if (any(huge)) {
        F r_huge;
        U n_huge;
        reduce_huge_lanes(x, 1u, r_huge, n_huge);
        r = select(huge, -r_huge, r);
        n = select(huge, n_huge, n);
    }
    return flip_if_odd(sin_reduced(r), n);
}

}  // namespace
}  // namespace nnqft
