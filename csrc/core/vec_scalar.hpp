// 16 virtual lanes without any instruction set: loops over the one-lane operations of lane.hpp.
// With T = double it is the float64 reference path, whose activations come from libm.
#pragma once

#include "core/lane.hpp"

// Functions, not inlined by force: 16-fold loops inlined everywhere cost the compiler minutes.
#define NNQFT_LOOP [[maybe_unused]] static

namespace nnqft {
namespace {

template <class T>
struct Lanes {
    static constexpr int width = 16;
    T v[16];
    Lanes() = default;
    explicit Lanes(T x) {
        for (int l = 0; l < 16; ++l) v[l] = x;
    }
    static Lanes load(const T* p) {
        Lanes r;
        for (int l = 0; l < 16; ++l) r.v[l] = p[l];
        return r;
    }
    void store(T* p) const {
        for (int l = 0; l < 16; ++l) p[l] = v[l];
    }
    static Lanes iota(T first) {
        Lanes r;
        for (int l = 0; l < 16; ++l) r.v[l] = first + static_cast<T>(l);
        return r;
    }
};

using VMask = Lanes<bool>;

template <class T>
struct Types<Lanes<T>> {
    using Real = T;
    using U = Lanes<uint32_t>;
    using W = Lanes<uint32_t>;
};

#define NNQFT_LANEWISE(RESULT, ...)                        \
    RESULT r;                                              \
    for (int l = 0; l < 16; ++l) r.v[l] = (__VA_ARGS__);   \
    return r

template <class T> NNQFT_LOOP Lanes<T> operator+(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, a.v[l] + b.v[l]); }
template <class T> NNQFT_LOOP Lanes<T> operator-(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, a.v[l] - b.v[l]); }
template <class T> NNQFT_LOOP Lanes<T> operator*(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, a.v[l] * b.v[l]); }
template <class T> NNQFT_LOOP Lanes<T> operator/(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, a.v[l] / b.v[l]); }
template <class T> NNQFT_LOOP Lanes<T> operator&(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, a.v[l] & b.v[l]); }
template <class T> NNQFT_LOOP Lanes<T> operator|(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, a.v[l] | b.v[l]); }
template <class T> NNQFT_LOOP Lanes<T> operator^(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, a.v[l] ^ b.v[l]); }
template <class T> NNQFT_LOOP Lanes<T> operator-(Lanes<T> a) { NNQFT_LANEWISE(Lanes<T>, -a.v[l]); }

template <class T> NNQFT_LOOP Lanes<T> madd(Lanes<T> a, Lanes<T> b, Lanes<T> c) { NNQFT_LANEWISE(Lanes<T>, madd(a.v[l], b.v[l], c.v[l])); }
template <class T> NNQFT_LOOP Lanes<T> root(Lanes<T> a) { NNQFT_LANEWISE(Lanes<T>, root(a.v[l])); }
template <class T> NNQFT_LOOP VMask lt(Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(VMask, a.v[l] < b.v[l]); }
NNQFT_LOOP VMask lt_signed(Lanes<uint32_t> a, Lanes<uint32_t> b) { NNQFT_LANEWISE(VMask, lt_signed(a.v[l], b.v[l])); }
NNQFT_LOOP VMask mask_and(VMask a, VMask b) { NNQFT_LANEWISE(VMask, a.v[l] && b.v[l]); }
NNQFT_LOOP VMask mask_or(VMask a, VMask b) { NNQFT_LANEWISE(VMask, a.v[l] || b.v[l]); }
NNQFT_LOOP VMask mask_not(VMask a) { NNQFT_LANEWISE(VMask, !a.v[l]); }
NNQFT_LOOP bool any(VMask m) {
    bool r = false;
    for (int l = 0; l < 16; ++l) r = r || m.v[l];
    return r;
}
template <class T> NNQFT_LOOP Lanes<T> select(VMask m, Lanes<T> a, Lanes<T> b) { NNQFT_LANEWISE(Lanes<T>, m.v[l] ? a.v[l] : b.v[l]); }

NNQFT_LOOP Lanes<uint32_t> bits(Lanes<float> a) { NNQFT_LANEWISE(Lanes<uint32_t>, bits(a.v[l])); }
NNQFT_LOOP Lanes<float> as_float(Lanes<uint32_t> a) { NNQFT_LANEWISE(Lanes<float>, as_float(a.v[l])); }
NNQFT_LOOP Lanes<float> to_float(Lanes<uint32_t> a) { NNQFT_LANEWISE(Lanes<float>, to_float(a.v[l])); }
NNQFT_LOOP Lanes<float> flip_sign(Lanes<float> a, Lanes<uint32_t> k) { NNQFT_LANEWISE(Lanes<float>, flip_sign(a.v[l], k.v[l])); }
template <int n> NNQFT_LOOP Lanes<uint32_t> shl(Lanes<uint32_t> a) { NNQFT_LANEWISE(Lanes<uint32_t>, a.v[l] << n); }
template <int n> NNQFT_LOOP Lanes<uint32_t> shr(Lanes<uint32_t> a) { NNQFT_LANEWISE(Lanes<uint32_t>, a.v[l] >> n); }
template <int n> NNQFT_LOOP Lanes<uint32_t> sar(Lanes<uint32_t> a) { NNQFT_LANEWISE(Lanes<uint32_t>, sar<n>(a.v[l])); }

NNQFT_LOOP void mul_wide(Lanes<uint32_t> a, uint32_t b, Lanes<uint32_t>& hi, Lanes<uint32_t>& lo) {
    for (int l = 0; l < 16; ++l) mul_wide(a.v[l], b, hi.v[l], lo.v[l]);
}
NNQFT_LOOP Lanes<uint32_t> xor3(Lanes<uint32_t> a, Lanes<uint32_t> b, uint64_t c) { NNQFT_LANEWISE(Lanes<uint32_t>, xor3(a.v[l], b.v[l], c)); }
NNQFT_LOOP Lanes<uint32_t> xor_word(Lanes<uint32_t> a, uint32_t c) { NNQFT_LANEWISE(Lanes<uint32_t>, a.v[l] ^ c); }
NNQFT_LOOP Lanes<uint32_t> widen(Lanes<uint32_t> a) { return a; }
NNQFT_LOOP Lanes<uint32_t> narrow(Lanes<uint32_t> a) { return a; }

#undef NNQFT_LANEWISE

NNQFT_LOOP void widen_draw(Lanes<float> x, Lanes<double>& out) {
    for (int l = 0; l < 16; ++l) out.v[l] = x.v[l];
}

constexpr int kTileRows = 2, kTileColumns = 2;  // rows x points of a dense product held in registers

// Sum of the 16 lanes in float64, by halves: (l, l+8), then (l, l+4), (l, l+2), (l, l+1).
template <class T>
NNQFT_LOOP double sum_lanes(Lanes<T> a) {
    double s[16];
    for (int l = 0; l < 16; ++l) s[l] = static_cast<double>(a.v[l]);
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) s[l] += s[l + half];
    return s[0];
}

}  // namespace
}  // namespace nnqft
