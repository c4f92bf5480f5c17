// Truncated power series over vector lanes, real, complex or integer: coefficients of z^0, z^1, .. contiguous in memory.
//
// Products add their terms a_i b_j, i + j = x, to coefficient x in an order that depends on x alone: i in groups of four,
// within a group descending. Blocks of `kBlock` coefficients live in registers.
#pragma once

#include <stdint.h>
#include <string.h>

#include "core/vec_double.hpp"

namespace nnqft {
namespace {

struct Re {
    static constexpr int size = VD::width;  // doubles in memory
    VD re;
    NNQFT_HD_MEMBER static Re load(const double* p) { return {VD::load(p)}; }
    NNQFT_HD_MEMBER static Re zero() { return {VD(0.0)}; }
    NNQFT_HD_MEMBER static Re one() { return {VD(1.0)}; }
    NNQFT_HD_MEMBER static Re from_sign(VD t) { return {t}; }
    NNQFT_HD_MEMBER static Re broadcast(const double* p) { return {VD(*p)}; }
    NNQFT_HD_MEMBER void store(double* p) const { re.store(p); }
};
struct Co {
    static constexpr int size = 2 * VD::width;
    VD re, im;
    NNQFT_HD_MEMBER static Co load(const double* p) { return {VD::load(p), VD::load(p + VD::width)}; }
    NNQFT_HD_MEMBER static Co zero() { return {VD(0.0), VD(0.0)}; }
    NNQFT_HD_MEMBER static Co one() { return {VD(1.0), VD(0.0)}; }
    NNQFT_HD_MEMBER static Co from_sign(VD t) { return {t, t}; }
    NNQFT_HD_MEMBER static Co broadcast(const double* p) { return {VD(p[0]), VD(p[1])}; }
    NNQFT_HD_MEMBER void store(double* p) const {
        re.store(p);
        im.store(p + VD::width);
    }
};
NNQFT_HD Re operator+(Re a, Re b) { return {a.re + b.re}; }
NNQFT_HD Co operator+(Co a, Co b) { return {a.re + b.re, a.im + b.im}; }
NNQFT_HD Re operator-(Re a, Re b) { return {a.re - b.re}; }
NNQFT_HD Co operator-(Co a, Co b) { return {a.re - b.re, a.im - b.im}; }
NNQFT_HD Re madd(Re a, Re b, Re c) { return {madd(a.re, b.re, c.re)}; }
NNQFT_HD Co madd(Co a, Co b, Co c) {
    return {nmadd(a.im, b.im, madd(a.re, b.re, c.re)), madd(a.im, b.re, madd(a.re, b.im, c.im))};
}
NNQFT_HD Re times_sign(Re t, Re a) { return {t.re * a.re}; }
NNQFT_HD Co times_sign(Co t, Co a) { return {t.re * a.re, t.im * a.im}; }

// Integers modulo 2^64, kept in the bits of doubles.
struct In {
    static constexpr int size = VD::width;
    VI v;
    NNQFT_HD_MEMBER static In load(const double* p) { return {VI::load(p)}; }
    NNQFT_HD_MEMBER static In zero() { return {VI(int64_t{0})}; }
    NNQFT_HD_MEMBER static In one() { return {VI(int64_t{1})}; }
    NNQFT_HD_MEMBER static In broadcast(const double* p) {
        int64_t x;
        memcpy(&x, p, sizeof x);
        return {VI(x)};
    }
    NNQFT_HD_MEMBER static In from_sign(VD t) {
        double lanes[VD::width];
        int64_t signs[VD::width];
        t.store(lanes);
        for (int k = 0; k < VD::width; ++k) signs[k] = lanes[k] < 0.0 ? -1 : 1;
        memcpy(lanes, signs, sizeof lanes);
        return load(lanes);
    }
    NNQFT_HD_MEMBER void store(double* p) const { v.store(p); }
};
NNQFT_HD In operator+(In a, In b) { return {a.v + b.v}; }
NNQFT_HD In operator-(In a, In b) { return {a.v - b.v}; }
NNQFT_HD In madd(In a, In b, In c) { return {a.v * b.v + c.v}; }
NNQFT_HD In times_sign(In t, In a) { return {t.v * a.v}; }

// Coefficients in registers. Four give the same sums from a quarter of the code: for a path that need not be fast, and for instrumented
// code, over which GCC takes five minutes otherwise.
#ifdef __SANITIZE_ADDRESS__
constexpr int kBlock = 4;
#else
constexpr int kBlock = VD::width == 1 ? 4 : 8;
#endif
constexpr int kGroup = 4;

template <int... I>
struct Ints {};
template <int N, int... I>
struct CountTo : CountTo<N - 1, N - 1, I...> {};
template <int... I>
struct CountTo<0, I...> {
    using type = Ints<I...>;
};

template <class E, int X, int W>
NNQFT_HD void add_term(E a, E b, E (&sum)[W]) {
    if constexpr (X >= 0 && X < W) sum[X] = madd(a, b, sum[X]);
}
// sum[shift + J + K] += a[K] b[J] for the four K and one J, whose b[J] is y.
template <class E, int Shift, int J, int W>
NNQFT_HD void add_column(const E (&a)[kGroup], E y, E (&sum)[W]) {
    add_term<E, Shift + J + 3, W>(a[3], y, sum);
    add_term<E, Shift + J + 2, W>(a[2], y, sum);
    add_term<E, Shift + J + 1, W>(a[1], y, sum);
    add_term<E, Shift + J, W>(a[0], y, sum);
}
template <class E, int Shift, int W, int... J>
NNQFT_HD void add_group(const E (&a)[kGroup], const double* b, E (&sum)[W], Ints<J...>) {
    (add_column<E, Shift, J, W>(a, E::load(b + J * E::size), sum), ...);
}
// The groups from the one at a[First] on, which end inside the block: a points to the place of the block's first coefficient.
template <class E, int First, int W>
NNQFT_HD void add_edge(const double* a, const double* b, E (&sum)[W]) {
    if constexpr (First < W) {
        E x[kGroup];
        for (int k = 0; k < kGroup; ++k) x[k] = First + k < W ? E::load(a + (First + k) * E::size) : E::zero();
        add_group<E, First, W>(x, b, sum, typename CountTo<W - First>::type{});
        add_edge<E, First + kGroup, W>(a, b, sum);
    }
}

// sum += coefficients x0 .. x0 + W - 1 of a b, where x0 % 4 == Phase.
template <class E, int Phase, int W>
NNQFT_HD void add_product(const double* a, const double* b, int x0, E (&sum)[W]) {
    constexpr int kEdge = Phase == 3 ? 1 : -Phase;  // the first group with a member beyond x0
    int i = 0;
    for (; i < x0 + kEdge; i += kGroup) {
        E x[kGroup];
        for (int k = 0; k < kGroup; ++k) x[k] = E::load(a + (i + k) * E::size);
        add_group<E, -3, W>(x, b + (x0 - i - 3) * E::size, sum, typename CountTo<W + 3>::type{});
    }
    add_edge<E, kEdge, W>(a + x0 * E::size, b, sum);
}

// emit(x0, sum) for each block of sum_i f[2i] f[2i + 1]: first the `First` = 1 .. kBlock coefficients by which `length` exceeds
// a multiple of kBlock, then kBlock at a time.
template <class E, int Phase, int W, int N, class Emit>
NNQFT_HD void block_of_products(const double* const (&f)[N], int x0, Emit& emit) {
    E sum[W];
    for (int k = 0; k < W; ++k) sum[k] = E::zero();
    for (int i = 0; i < N; i += 2) add_product<E, Phase, W>(f[i], f[i + 1], x0, sum);
    emit(x0, sum);
}
template <class E, int First, int N, class Emit>
NNQFT_HD void products(const double* const (&f)[N], int length, Emit emit) {
    block_of_products<E, 0, First>(f, 0, emit);
    for (int x0 = First; x0 < length; x0 += kBlock) block_of_products<E, First % kGroup, kBlock>(f, x0, emit);
}

// out = c + sum_i f[2i] f[2i + 1], where c may be null.
template <class E, int First, int N>
NNQFT_HD void multiply(const double* c, const double* const (&f)[N], int length, double* out) {
    products<E, First>(f, length, [=](int x0, auto& sum) {
        constexpr int W = sizeof(sum) / sizeof(E);
        for (int k = 0; k < W; ++k) {
            const int at = (x0 + k) * E::size;
            (c == nullptr ? sum[k] : E::load(c + at) + sum[k]).store(out + at);
        }
    });
}

}  // namespace
}  // namespace nnqft
