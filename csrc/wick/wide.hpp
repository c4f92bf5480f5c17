// Numbers with exponents that never run out, for hafnians whose products leave the range of doubles on the way.
#pragma once

#include <math.h>
#include <stdint.h>

#include "core/hd.hpp"

namespace nnqft {
namespace {

struct Wide {
    double fraction;  // 0, or in [1/2, 1) but for the sign
    int64_t exponent;
};

NNQFT_HD Wide wide(double x, int64_t exponent = 0) {
    int shift = 0;
    const double fraction = frexp(x, &shift);
    return {fraction, fraction == 0.0 ? 0 : exponent + shift};
}
NNQFT_HD double narrow(Wide x) { return ldexp(x.fraction, static_cast<int>(x.exponent < -5000 ? -5000 : x.exponent > 5000 ? 5000 : x.exponent)); }

// a b + c, rounded once. Whichever summand is the smaller is not moved by more than 300 places: that far below, only its sign counts.
NNQFT_HD Wide madd(Wide a, Wide b, Wide c) {
    constexpr int64_t kFar = 300;
    if (a.fraction == 0.0 || b.fraction == 0.0) return c;
    const int64_t exponent = a.exponent + b.exponent;
    if (c.fraction == 0.0) return wide(a.fraction * b.fraction, exponent);
    const int64_t gap = exponent - c.exponent;
    if (gap >= 0) return wide(fma(a.fraction, b.fraction, ldexp(c.fraction, -static_cast<int>(gap < kFar ? gap : kFar))), exponent);
    return wide(fma(ldexp(a.fraction, -static_cast<int>(-gap < kFar ? -gap : kFar)), b.fraction, c.fraction), c.exponent);
}

constexpr double kTinyHafnian = 0x1p-900;  // a scaled hafnian above this has lost no bit to underflow that counts: its terms are at most 1

// The smallest s with |K| <= 4^s and |mu| <= 2^s.
NNQFT_HD int scale_exponent(double K_most, double mu_most) {
    const int K = K_most > 0.0 ? ilogb(K_most) + 1 : -2000, mu = mu_most > 0.0 ? ilogb(mu_most) + 1 : -2000;
    const int half = (K + (K > 0)) / 2;
    return half > mu ? half : mu;
}

}  // namespace
}  // namespace nnqft
