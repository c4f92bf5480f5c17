// exp, erf, tanh, sin, cos, log1p and the Mills ratio in float32, over the exactly rounded operations of lane.hpp: the
// same bits on every back end. "Fit" is the error of the approximation alone, "worst" the largest error found in sweeps
// over all floats (tests/cpp/test_activation.cpp), both in ulp. NaN in gives NaN out; the odd functions keep -0.
#pragma once

#include "core/lane.hpp"

namespace nnqft {
namespace {

// Adding 1.5 * 2^23 rounds to an integer, which the low mantissa bits then hold.
constexpr float kRounder = 12582912.0f;
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kLn2High = 0x1.62e430p-1f, kLn2Low = -0x1.05c610p-29f;
constexpr float kInversePi = 0x1.45f306p-2f;
// pi in three parts, none negative, so that no step of a reduction turns -0 into +0. Error of the sum 2^-72.
constexpr float kPi1 = 0x1.921fb4p+1f, kPi2 = 0x1.4442dp-23f, kPi3 = 0x1.84698ap-47f;

template <class F>
NNQFT_HD F absolute(F x) {
    return as_float(bits(x) & typename Types<F>::U(0x7fffffffu));
}
template <class F>
NNQFT_HD F minus_absolute(F x) {
    return as_float(bits(x) | typename Types<F>::U(0x80000000u));
}
// The order of the arguments keeps NaN: lesser and greater return their second one then.
template <class F>
NNQFT_HD F clamp(F x, F low, F high) {
    return greater(low, lesser(high, x));
}
#if defined(__CUDA_ARCH__)
// Two instructions for four; bounds other than 0, so that no sign of a zero is at stake. The NaN is the device's, as every
// operation there makes it.
NNQFT_HD float clamp(float x, float low, float high) {
    float y;
    asm("{min.NaN.f32 %0, %1, %2;\n\tmax.NaN.f32 %0, %0, %3;}" : "=f"(y) : "f"(x), "f"(high), "f"(low));
    return y;
}
#endif

// (e^r - 1) / r for |r| < 0.35. Fit of 1 + r p: 0.05.
template <class F>
NNQFT_HD F exp_slope(F r) {
    F p = madd(F(0.00138186978f), r, F(0.00836871564f));
    p = madd(p, r, F(0.0416682921f));
    p = madd(p, r, F(0.166665211f));
    p = madd(p, r, F(0.49999994f));
    return madd(p, r, F(1.0f));
}
template <class F>
NNQFT_HD F exp_reduced(F r) {
    return madd(exp_slope(r), r, F(1.0f));
}
// x = k log 2 + r with an integer k and |r| < 0.35; |x| < 2^20.
template <class F>
NNQFT_HD F reduce_exp(F x, F& k) {
    k = madd(x, F(kLog2E), F(kRounder)) - F(kRounder);
    return madd(k, F(-kLn2Low), madd(k, F(-kLn2High), x));
}

// Infinity above 88.72, subnormal below -87.34, zero below -103.97. Worst 0.9.
template <class F>
NNQFT_HD F exp_of(F x) {
    F k;
    const F r = reduce_exp(clamp(x, F(-104.0f), F(89.0f)), k);
    return scale2(exp_reduced(r), k);
}
// exp x for x <= 0.
template <class F>
NNQFT_HD F exp_of_negative(F x) {
    F k;
    const F r = reduce_exp(greater(F(-104.0f), x), k);
    return scale2(exp_reduced(r), k);
}

// factor exp(c x^2) = m 2^k for c = -1 or -1/2; returns m. The rounding error of x^2 goes along: the exponential would
// multiply it by x^2.
template <class F>
NNQFT_HD F gauss_parts(F factor, F x, F c, F& k) {
    const F square = x * x;
    const F error = madd(x, x, -square);
    const F r = madd(c, error, reduce_exp(c * square, k));
    return madd(factor, exp_slope(r) * r, factor);
}

// Two odd polynomials, one inside the other: u = x A(x^2), erf x = u B(u^2). 14 instructions without a division; a
// rational function as good needs 14 and a division. The outer one is flat where erf saturates, so that the rounding
// errors of u fade there: |erf| never exceeds 1, and is 1 from |x| = 3.925 on. Fit 0.4, worst 2.9.
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

// E / (E + 2) with E = e^{2|x|} - 1: never above 1, and accurate from 0 to saturation. 2|x| = k log 2 + 2r and
// E = 2^k q + (2^k - 1) with q = e^{2r} - 1; next to 0, E = q. Fit 0.2, worst 3.4.
template <class F>
NNQFT_HD F tanh_of(F x) {
    const F a = lesser(F(9.02f), absolute(x));
    constexpr float bias = kRounder + 127.0f;  // the low bits hold k + 127: shifted, 2^k
    const F n = madd(a, F(2.0f * kLog2E), F(bias));
    const F power = as_float(shl<23>(bits(n)));
    const F r = madd(n - F(bias), F(-0.5f * kLn2High), a);
    F q = madd(F(0.0887724236f), r, F(0.26772067f));
    q = madd(q, r, F(0.666678965f));
    q = madd(q, r, F(1.33332372f));
    q = madd(q, r, F(1.99999988f));
    q = madd(q, r, F(2.0f)) * r;
    const F e = madd(power, q, power - F(1.0f));
    return with_sign(e / (e + F(2.0f)), x);
}

// log(1 + z) for z in [0, 1]: 1 + z = 2^e (1 + f), e = 0 or 1, |f| < 0.42. Fit 0.1.
template <class F>
NNQFT_HD F log1p_of(F z) {
    const auto upper = lt(F(0.41421356f), z);
    const F f = select(upper, madd(F(0.5f), z, F(-0.5f)), z);
    F p = madd(F(-0.0763443f), f, F(0.1276155f));
    p = madd(p, f, F(-0.13160194f));
    p = madd(p, f, F(0.14201762f));
    p = madd(p, f, F(-0.16623357f));
    p = madd(p, f, F(0.20001227f));
    p = madd(p, f, F(-0.25000823f));
    p = madd(p, f, F(0.3333333f));
    p = madd(p, f, F(-0.5f));
    return madd(p, f * f, f) + select(upper, F(kLn2High), F(0.0f));
}

// The Mills ratio of a standard normal Z: P(Z > a) e^{a^2 / 2} = w(v) / (a + 5/2) with v = a / (a + 5/2), 0 <= a <= 15.
// a / (a + 5/2) w(v) is nearly constant for a > 3, so that rounding errors of v fade there. Fit 0.3.
template <class F>
NNQFT_HD F mills_polynomial(F v) {
    F w = madd(F(-0.0798323676f), v, F(0.279808372f));
    w = madd(w, v, F(-0.313433319f));
    w = madd(w, v, F(0.138040721f));
    w = madd(w, v, F(-0.149768367f));
    w = madd(w, v, F(0.0560453758f));
    w = madd(w, v, F(0.291864544f));
    w = madd(w, v, F(0.16960746f));
    w = madd(w, v, F(-1.24339223f));
    return madd(w, v, F(1.25f));
}

// sin r = r + r t q(t), t = r^2, for |r| < 1.577; never beyond 1. Fit 0.1.
template <class F>
NNQFT_HD F sin_reduced(F r) {
    const F t = r * r;
    F q = madd(F(2.60531488e-06f), t, F(-0.000198102032f));
    q = madd(q, t, F(0.00833308324f));
    q = madd(q, t, F(-0.166666597f));
    return madd(r * t, q, r);
}
template <class F, class U>
NNQFT_HD F flip_if_odd(F x, U n) {
    return as_float(bits(x) ^ shl<31>(n));
}

// Up to here three fused steps reduce well: k = x / pi has at most 17 bits, so that the step with kPi1 is exact, and the
// other two round relative to r itself.
constexpr float kModerate = 131072.0f;

// |x| = n pi + r, or (n + 1/2) pi + r if `half`, for 2^17 <= |x| < infinity, in integers (Payne and Hanek 1983):
// |x| = m 2^e with a 24-bit m, times the 96 bits of 1/pi from weight 2^-e on; bits above that add multiples of 2 pi.
NNQFT_HD void reduce_huge(float x, bool half, float& r, uint32_t& n) {
    constexpr uint32_t inverse_pi[] = {0u,          0x517cc1b7u, 0x27220a94u, 0xfe13abe8u,
                                       0xfa9a6ee0u, 0x6db14accu, 0x9e21c820u, 0xff28b1d5u};
    const uint32_t word = bits(x), exponent = (word >> 23) & 0xffu;
    n = 0;
    r = x - x;  // NaN for infinity and NaN
    if (exponent == 255 || exponent < 144) return;
    const uint64_t m = (word & 0x007fffffu) | 0x00800000u;
    const uint32_t first = exponent - 150u + 31u;  // bit i of 1/pi has weight 2^-i and stands at 31 + i in the table
    uint32_t window[3];
    for (uint32_t i = 0; i < 3; ++i) {
        const uint32_t w = (first >> 5) + i;
        const uint64_t two = (static_cast<uint64_t>(inverse_pi[w]) << 32) | inverse_pi[w + 1];
        window[i] = static_cast<uint32_t>((two << (first & 31u)) >> 32);
    }
    // |x| / pi mod 2 in units of 2^-63.
    uint64_t turn = ((m * window[0]) << 32) + m * window[1] + ((m * window[2]) >> 32);
    if (half) turn -= 1ull << 62;
    n = static_cast<uint32_t>((turn + (1ull << 62)) >> 63);
    const int64_t rest = static_cast<int64_t>(turn - (static_cast<uint64_t>(n) << 63));
    const float head = static_cast<float>(rest);
    const float tail = static_cast<float>(rest - static_cast<int64_t>(head));
    r = madd(head, 0x1p-63f * kPi1, madd(head, 0x1p-63f * kPi2, tail * (0x1p-63f * kPi1)));
}
NNQFT_HD void reduce_huge_lanes(float x, bool half, float& r, uint32_t& n) { reduce_huge(x, half, r, n); }
template <class F, class U>
NNQFT_HD void reduce_huge_lanes(F x, bool half, F& r, U& n) {
    float xs[16], rs[16];
    uint32_t ns[16];
    x.store(xs);
    for (int l = 0; l < 16; ++l) reduce_huge(xs[l], half, rs[l], ns[l]);
    r = F::load(rs);
    n = U::load(ns);
}

// x = n pi + r: sin x = (-1)^n sin r. Worst 1.9.
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
        reduce_huge_lanes(x, false, r_huge, n_huge);
        r = select(huge, as_float(bits(r_huge) ^ (bits(x) & U(0x80000000u))), r);
        n = select(huge, n_huge, n);
    }
    // The sign comes from r: the sum in sin_reduced turns -0 into +0.
    return with_sign(sin_reduced(r), flip_if_odd(r, n));
}

// |x| = (n + 1/2) pi - r: cos x = (-1)^n sin r. Adding 2^23 - 1/2 rounds |x| / pi - 1/2 to n; below 2^23 floats are 1/2
// apart, and the floor there mends |x| < pi / 4. Worst 2.1.
template <class F>
NNQFT_HD F cos_of(F x) {
    using U = typename Types<F>::U;
    const F minus = minus_absolute(x);
    const F turn = greater(F(8388608.0f), madd(minus, F(-kInversePi), F(8388607.5f))), k = turn - F(8388607.5f);
    F r = madd(k, F(kPi3), madd(k, F(kPi2), madd(k, F(kPi1), minus)));
    U n = bits(turn);
    const auto huge = lt(minus, F(-kModerate));
    if (any(huge)) {
        F r_huge;
        U n_huge;
        reduce_huge_lanes(x, true, r_huge, n_huge);
        r = select(huge, -r_huge, r);
        n = select(huge, n_huge, n);
    }
    return flip_if_odd(sin_reduced(r), n);
}

}  // namespace
}  // namespace nnqft
