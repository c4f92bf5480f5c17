// The nodes of the tree of sieve.hpp: one pair integrated out, the closed form at the end, and the walk between them.
#pragma once

#include <string.h>

#include "wick/series.hpp"
#include "wick/sieve.hpp"

namespace nnqft {
namespace {

// Where the polynomials of one state lie: g, the squares' b_pp, v, then b_jk, j < k, as rows of k.
template <class E>
struct View {
    double *g, *d, *v, *b;
    int stride;  // doubles from one polynomial to the next: odd, since powers of two share cache sets (1.2x at n = 28)

    View(const SievePlan& plan, const SieveLevel& level, double* state) : g(state), stride((level.length | 1) * E::size) {
        d = g + stride;
        v = d + level.squares * stride;
        b = v + (plan.mean ? level.vertices : 0) * stride;
    }
    double* row(int k) const { return b + static_cast<int64_t>(k) * (k - 1) / 2 * stride; }  // b_0k, b_1k, ..
};

// Where update() puts child = c + t z P: for t = +1 and -1, or for one sign per lane.
template <class E>
struct BothSigns {
    static constexpr bool kUnroll = true;
    double *plus, *minus;
    BothSigns at(int64_t i) const { return {plus + i, minus + i}; }
    NNQFT_HD void first(const BothSigns& to, E c) {
        c.store(to.plus);
        c.store(to.minus);
    }
    NNQFT_HD void put(const BothSigns& to, int x, E c, E p) {
        (c + p).store(to.plus + x * E::size);
        (c - p).store(to.minus + x * E::size);
    }
};
template <class E>
struct OneSign {
    static constexpr bool kUnroll = false;
    double* child;
    E sign;
    OneSign at(int64_t i) const { return {child + i, sign}; }
    NNQFT_HD void first(const OneSign& to, E c) { c.store(to.child); }
    NNQFT_HD void put(const OneSign& to, int x, E c, E p) { (c + times_sign(to.sign, p)).store(to.child + x * E::size); }
};

// child = c + t z sum_i f[2i] f[2i + 1], twice that if kTwice: `length` coefficients in, one more out.
template <class E, int First, bool kTwice, int N, class To>
NNQFT_HD void update(const double* c, const double* const (&f)[N], int length, To to) {
    To::first(to, E::load(c));
    products<E, First>(f, length, [=](int x0, auto& sum) {
        constexpr int W = sizeof(sum) / sizeof(E);
        for (int k = 0; k < W; ++k) {
            const int x = x0 + k + 1;
            To::put(to, x, x < length ? E::load(c + x * E::size) : E::zero(), kTwice ? sum[k] + sum[k] : sum[k]);
        }
    });
}
// A row of them, j < count: c_j + t z (a_j f + b_j g).
template <class E, int First, class To>
NNQFT_HD void update_row(const double* c, const double* a, const double* f, const double* b, const double* g, int count, int stride, int to_stride,
                         int length, const To& to) {
    for (int64_t j = 0; j < count; ++j) update<E, First, false>(c + j * stride, {a + j * stride, f, b + j * stride, g}, length, to.at(j * to_stride));
}
// The same, not unrolled anew at each place: for what is not in the innermost loops. By rows, for at the top of the tree calls cost as much as
// the short products: 1.06x at n = 20, 1.2x for complex numbers at n = 16.
template <class E, int First, class To>
NNQFT_APART void update_row_apart(const double* c, const double* a, const double* f, const double* b, const double* g, int count, int stride,
                                  int to_stride, int length, const To& to) {
    update_row<E, First>(c, a, f, b, g, count, stride, to_stride, length, to);
}
template <class E, int First>
NNQFT_APART void multiply_add(const double* c, const double* a, const double* b, int length, double* out) {
    multiply<E, First>(c, {a, b}, length, out);
}
template <class E, int First, bool kTwice, class To>
NNQFT_APART void update_product(const double* c, const double* a, const double* b, int length, To to) {
    update<E, First, kTwice>(c, {a, b}, length, to);
}

// Integrates out the last square. `out` views the (first) child.
template <class E, int First, class To>
void split_square(const SievePlan& plan, const SieveLevel& level, const View<E>& in, const View<E>& out, To child, double* scratch) {
    const int length = level.length, stride = in.stride, p = level.vertices - 1, left = level.squares - 1, singles = p - left;
    const double *bp = in.row(p), *vp = in.v + p * stride, *square = in.d + left * stride;
    const auto to = [&](const double* polynomial) { return child.at(polynomial - out.g); };
    if (plan.mean) {
        for (int j = 0; j < p; ++j) update_product<E, First, true>(in.v + j * stride, bp + j * stride, vp, length, to(out.v + j * out.stride));
        multiply_add<E, First>(square, vp, vp, length, scratch);
        square = scratch;
    }
    update_product<E, First, false>(in.g, in.g, square, length, to(out.g));
    for (int i = 0; i < left; ++i) {
        const double* b = bp + (singles + i) * stride;
        update_product<E, First, true>(in.d + i * stride, b, b, length, to(out.d + i * out.stride));
    }
    for (int k = 1; k < p; ++k)
        for (int j = 0; j < k; ++j)
            update_product<E, First, true>(in.row(k) + j * stride, bp + j * stride, bp + k * stride, length, to(out.row(k) + j * out.stride));
}

// Integrates out the last two singles; there are no squares.
template <class E, int First, class To>
void split_pair(const SievePlan& plan, const SieveLevel& level, const View<E>& in, const View<E>& out, To child, double* scratch) {
    const int length = level.length, stride = in.stride, q = level.vertices - 1, p = q - 1;
    const double *bp = in.row(p), *bq = in.row(q), *vp = in.v + p * stride, *vq = in.v + q * stride, *pair = bq + p * stride;
    const auto to = [&](const double* polynomial) { return child.at(polynomial - out.g); };
    if (plan.mean) {
        multiply_add<E, First>(pair, vp, vq, length, scratch);
        pair = scratch;
    }
    update_product<E, First, false>(in.g, in.g, pair, length, to(out.g));
    // v goes as one more row, k = p: its "b_pk" is v_p.
    for (int k = 1; k < p + (plan.mean ? 1 : 0); ++k) {
        const bool row = k < p;
        const double *c = row ? in.row(k) : in.v, *pk = row ? bp + k * stride : vp, *qk = row ? bq + k * stride : vq;
        const double* to_row = row ? out.row(k) : out.v;
        if constexpr (To::kUnroll) update_row<E, First>(c, bp, qk, bq, pk, k, stride, out.stride, length, to(to_row));
        else update_row_apart<E, First>(c, bp, qk, bq, pk, k, stride, out.stride, length, to(to_row));
    }
}

// [z^top] g lhaf(0123), the four points left: singles, or squares twice. Fewer are left only where no more were there.
template <class E, int First>
E closed_form(const SievePlan& plan, const SieveLevel& level, const View<E>& in, double* scratch) {
    const int length = level.length, row = length * E::size, singles = level.vertices - level.squares;
    E sum = E::zero();
    const auto dot = [&](int x0, auto& h) {
        constexpr int W = sizeof(h) / sizeof(E);
        for (int k = 0; k < W; ++k) sum = madd(E::load(in.g + (length - 1 - x0 - k) * E::size), h[k], sum);
    };
    const int points = singles + 2 * level.squares;
    if (points == 0) return E::load(in.g + (length - 1) * E::size);
    const auto vertex = [&](int i) { return i < singles ? i : singles + (i - singles) / 2; };
    const auto b = [&](int i, int k) -> const double* {
        const int j = vertex(i), l = vertex(k);
        return j == l ? in.d + (j - singles) * in.stride : in.row(l) + j * in.stride;
    };
    const auto v = [&](int i) -> const double* { return in.v + vertex(i) * in.stride; };
    if (points == 2) {
        const double* pair = b(0, 1);
        if (plan.mean) {
            multiply_add<E, First>(pair, v(0), v(1), length, scratch);
            pair = scratch;
        }
        for (int x = 0; x < length; ++x) sum = madd(E::load(in.g + (length - 1 - x) * E::size), E::load(pair + x * E::size), sum);
        return sum;
    }
    if (!plan.mean) {
        products<E, First>({b(0, 1), b(2, 3), b(0, 2), b(1, 3), b(0, 3), b(1, 2)}, length, dot);
        return sum;
    }
    // lhaf(0123) = b03 w12 + b13 w02 + b23 w01 + v3 lhaf(012), w_jk = b_jk + v_j v_k, lhaf(012) = b01 v2 + b02 v1 + w12 v0
    double *w01 = scratch, *w02 = w01 + row, *w12 = w02 + row, *h = w12 + row;
    const auto add = [=](const double* c, const double* x, const double* y, double* out) { multiply_add<E, First>(c, x, y, length, out); };
    add(b(0, 1), v(0), v(1), w01);
    add(b(0, 2), v(0), v(2), w02);
    add(b(1, 2), v(1), v(2), w12);
    add(nullptr, w12, v(0), h);
    add(h, b(0, 1), v(2), h);
    add(h, b(0, 2), v(1), h);
    add(nullptr, h, v(3), scratch + 4 * row);
    products<E, First>({b(0, 3), w12, b(1, 3), w02, b(2, 3), w01}, length, [&](int x0, auto& part) {
        constexpr int W = sizeof(part) / sizeof(E);
        for (int k = 0; k < W; ++k) part[k] = part[k] + E::load(scratch + 4 * row + (x0 + k) * E::size);
        dot(x0, part);
    });
    return sum;
}

template <class E>
class Tree {
public:
    Tree(const SievePlan& plan, double* workspace, const SieveStop& stop)
        : plan_(plan), workspace_(workspace), scratch_(workspace + plan.scratch * E::size), stop_(stop) {}

    void plant(const double* input) {
        const SieveLevel& level = plan_.level[0];
        const int64_t s = level.vertices, count = level.squares + (plan_.mean ? s : 0) + s * (s - 1) / 2;
        double* to = state(0, 0);
        E::one().store(to);
        for (int64_t i = 0; i < count; ++i) E::broadcast(input + i * (E::size / VD::width)).store(to + (i + 1) * E::size);
    }

    // From the first state of level l to the first one of l + 1.
    void step(int l, VD sign) {
        const View<E> out = view(l + 1, 0);
        split(l, view(l, 0), out, OneSign<E>{out.g, E::from_sign(sign)});
    }

    // Sum over the signs of level l and all below, from state `which` of that level.
    E value(int l, int which) {
        const SieveLevel& level = plan_.level[l];
        const View<E> in = view(l, which);
        E sum = E::zero();
        if (l == plan_.levels) {
            dispatch(level.length, [&](auto first) { sum = closed_form<E, decltype(first)::value>(plan_, level, in, scratch_); });
            return sum;
        }
        if (asked_to_stop(level)) return sum;
        const View<E> out = view(l + 1, 0);
        split(l, in, out, BothSigns<E>{out.g, state(l + 1, 1)});
        const E plus = value(l + 1, 0);
        return plus - value(l + 1, 1);
    }

    bool stopped() const { return stopped_; }

protected:
    static constexpr int kAskAbove = 10;  // vertices: at least some microseconds of work

    template <int N>
    struct Constant {
        static constexpr int value = N;
    };
    template <int N = 1, class Body>
    NNQFT_HD void dispatch(int length, const Body& body) {
        if constexpr (N < kBlock) {
            if ((length - 1) % kBlock != N - 1) return dispatch<N + 1>(length, body);
        }
        body(Constant<N>{});
    }
    template <class To>
    void split(int l, const View<E>& in, const View<E>& out, To to) {
        const SieveLevel& level = plan_.level[l];
        dispatch(level.length, [&](auto first) {
            constexpr int kFirst = decltype(first)::value;
            level.squares > 0 ? split_square<E, kFirst>(plan_, level, in, out, to, scratch_) : split_pair<E, kFirst>(plan_, level, in, out, to, scratch_);
        });
    }
    bool asked_to_stop(const SieveLevel& level) {
        stopped_ = stopped_ || (level.vertices >= kAskAbove && stop_.raised(stop_.context));
        return stopped_;
    }
    double* state(int l, int which) const { return workspace_ + (plan_.level[l].offset + which * plan_.level[l].size) * E::size; }
    View<E> view(int l, int which) const { return View<E>(plan_, plan_.level[l], state(l, which)); }

    const SievePlan& plan_;
    double *workspace_, *scratch_;
    const SieveStop& stop_;
    bool stopped_ = false;
};

}  // namespace
}  // namespace nnqft
