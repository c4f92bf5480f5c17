// exp(y) - 1 from exactly rounded operations (float lanes): y = n log 2 + s with |s| <= log(2) / 2, then
// exp(y) - 1 = 2^n expm1(s) + (2^n - 1). For n = 0 that is expm1(s) itself: small y keep their relative accuracy.
#pragma once

#include "core/lane.hpp"

namespace nnqft {
namespace {

// 2^n for a word n in -126..127, read as signed.
template <class U>
NNQFT_HD auto power_of_two(U n) {
    return as_float(shl<23>(n + U(127u)));
}

// Returns n; expm1(s) = s + s^2 q. For |y| < 2^21. Fit error of the polynomial 0.01 ulp.
template <class F>
NNQFT_HD typename Types<F>::U expm1_split(F y, F& s, F& q) {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const F shifted = madd(y, F(1.44269504f), F(12582912.0f));
    const F n = shifted - F(12582912.0f);
    s = madd(n, F(2.12194440e-4f), madd(n, F(-0.693359375f), y));  // the first product and sum are exact
    q = madd(F(0.00019555229f), s, F(0.0013934068f));
    q = madd(q, s, F(0.008333912f));
    q = madd(q, s, F(0.041666474f));
    q = madd(q, s, F(0.16666664f));
    q = madd(q, s, F(0.5f));
    return bits(shifted) - typename Types<F>::U(0x4b400000u);
}

// exp(y) - 1 for every float, error below 1.5 ulp. NaN for NaN.
template <class F>
NNQFT_HD F exp_minus_one(F y) {
    using U = typename Types<F>::U;
    F s, q;
    const U n = expm1_split(lesser(F(89.0f), greater(F(-20.0f), y)), s, q);  // bounds first: NaN passes
    const F half = power_of_two(n - U(1u));                                  // 2^(n-1): n itself reaches 128
    return F(2.0f) * madd(half, madd(s * s, q, s), half - F(0.5f));
}

}  // namespace
}  // namespace nnqft
