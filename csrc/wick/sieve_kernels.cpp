// The tree of sieve.hpp, depth first: eight subtrees in the lanes, both children of a node written in one pass.

#include "wick/sieve.hpp"

#include "wick/series.hpp"

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

// Where update() puts child = c + w z P: for w = +1 and -1, or for one weight per lane.
template <class E>
struct BothSigns {
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
struct OneWeight {
    double* child;
    VD w;
    OneWeight at(int64_t i) const { return {child + i, w}; }
    NNQFT_HD void first(const OneWeight& to, E c) { c.store(to.child); }
    NNQFT_HD void put(const OneWeight& to, int x, E c, E p) { madd(to.w, p, c).store(to.child + x * E::size); }
};

// child = c + w z sum_i f[2i] f[2i + 1]: `length` coefficients in, one more out.
template <class E, int First, int N, class To>
NNQFT_HD void update(const double* c, const double* const (&f)[N], int length, To to) {
    To::first(to, E::load(c));
    products<E, First>(f, length, [=](int x0, auto& sum) {
        constexpr int W = sizeof(sum) / sizeof(E);
        for (int k = 0; k < W; ++k) {
            const int x = x0 + k + 1;
            To::put(to, x, x < length ? E::load(c + x * E::size) : E::zero(), sum[k]);
        }
    });
}

template <class E, int First, class To>
NNQFT_APART void update_apart(const double* c, const double* f0, const double* f1, const double* f2, const double* f3, int length, To to) {
    f2 != nullptr ? update<E, First>(c, {f0, f1, f2, f3}, length, to) : update<E, First>(c, {f0, f1}, length, to);
}

// Integrates out the last two singles, or the last square, for r = 1. `out` views the (first) child.
template <class E, int First, class To>
void split(const SievePlan& plan, const SieveLevel& level, const View<E>& in, const View<E>& out, To child, double* scratch) {
    const int length = level.length, squares = level.squares, stride = in.stride;
    const int q = level.vertices - 1, p = squares > 0 ? q : q - 1;  // vertices 0 .. p - 1 stay
    const double *bp = in.row(p), *bq = in.row(q), *vp = in.v + p * stride, *vq = in.v + q * stride;
    const double* pair = squares > 0 ? in.d + (squares - 1) * stride : bq + p * stride;  // b_pq
    const auto to = [&](const double* polynomial) { return child.at(polynomial - out.g); };
    if (plan.mean) {
        for (int j = 0; j < p; ++j)
            update_apart<E, First>(in.v + j * stride, bp + j * stride, vq, bq + j * stride, vp, length, to(out.v + j * out.stride));
        multiply<E, First>(pair, {vp, vq}, length, scratch);
        pair = scratch;
    }
    update_apart<E, First>(in.g, in.g, pair, nullptr, nullptr, length, to(out.g));
    for (int i = 0; i + 1 < squares; ++i) {
        const double* b = bp + (p - squares + 1 + i) * stride;
        update_apart<E, First>(in.d + i * stride, b, b, b, b, length, to(out.d + i * out.stride));
    }
    for (int k = 1; k < p; ++k)
        for (int j = 0; j < k; ++j)
            update<E, First>(in.row(k) + j * stride, {bp + j * stride, bq + k * stride, bq + j * stride, bp + k * stride}, length,
                            to(out.row(k) + j * out.stride));
}

// sum_i a_i b_(x-i) over first <= i <= last.
template <class E>
E coefficient(const double* a, const double* b, int x, int first, int last) {
    E sum = E::zero();
    for (int i = first; i <= last; ++i) sum = madd(E::load(a + i * E::size), E::load(b + (x - i) * E::size), sum);
    return sum;
}
template <class E>
E one() {
    const double number[2] = {1.0, 0.0};
    return E::broadcast(number);
}

// Integrates out the last square for any r and a weight w per lane; First as for length + r - 1.
template <class E, int First>
void integrate_square(const SievePlan& plan, const SieveLevel& level, const View<E>& in, const View<E>& out, VD w, double* scratch) {
    constexpr int size = E::size;
    const int length = level.length, grown = length + level.repeats - 1, row = (grown + 1) * size, p = level.vertices - 1;
    const auto pad = [=](const double* c, double* to) {  // to grown + 1 coefficients
        for (int x = 0; x <= grown; ++x) (x < length ? E::load(c + x * size) : E::zero()).store(to + x * size);
        return to;
    };
    const VD half(0.5), two(2.0);
    double *d = pad(in.d + (level.squares - 1) * in.stride, scratch), *u = d + row, *root = u + row, *a = root + row, *c = a + row, *bp = c + row;

    one<E>().store(u);
    one<E>().store(root);
    for (int x = 1; x <= grown; ++x) {
        const E ux = two * w * coefficient<E>(d, u, x - 1, 0, x - 1);
        ux.store(u + x * size);
        (half * (ux - coefficient<E>(root, root, x, 1, x - 1))).store(root + x * size);
    }
    double *g = pad(in.g, a), *gu = c;
    for (int x = 0; x <= grown; ++x) coefficient<E>(g, root, x, 0, x).store(gu + x * size);
    if (plan.mean) {  // exp(A), A' = the series `rate`: x e_x = sum_i rate_i e_(x-1-i)
        double *v = pad(in.v + p * in.stride, root), *vv = bp, *e = d;
        for (int x = 0; x <= grown; ++x) coefficient<E>(v, v, x, 0, x).store(vv + x * size);
        double* rate = a;
        for (int x = 0; x < grown; ++x) (VD(x + 1.0) * w * coefficient<E>(u, vv, x, 0, x)).store(rate + x * size);
        one<E>().store(e);
        for (int x = 1; x <= grown; ++x) (VD(1.0 / x) * coefficient<E>(rate, e, x - 1, 0, x - 1)).store(e + x * size);
        for (int x = 0; x <= grown; ++x) coefficient<E>(gu, e, x, 0, x).store(out.g + x * size);
    } else {
        for (int x = 0; x <= grown; ++x) E::load(gu + x * size).store(out.g + x * size);
    }

    for (int x = 0; x <= grown; ++x) (two * w * E::load(u + x * size)).store(u + x * size);
    for (int j = 0; j < p; ++j) pad(in.row(p) + j * in.stride, bp + j * row);
    double* vp = bp + p * row;
    if (plan.mean) pad(in.v + p * in.stride, vp);
    const int singles = level.vertices - level.squares;
    for (int k = 0; k < p; ++k) {
        multiply<E, First>(nullptr, {u, bp + k * row}, grown, c);  // 2 w u b_kp
        const auto add = [&](const double* old, const double* factor, double* to) {
            update_apart<E, First>(pad(old, a), c, factor, nullptr, nullptr, grown, OneWeight<E>{to, VD(1.0)});
        };
        for (int j = 0; j < k; ++j) add(in.row(k) + j * in.stride, bp + j * row, out.row(k) + j * out.stride);
        if (plan.mean) add(in.v + k * in.stride, vp, out.v + k * out.stride);
        if (k >= singles) add(in.d + (k - singles) * in.stride, bp + k * row, out.d + (k - singles) * out.stride);
    }
}

// [z^top] g lhaf(what is left), for 4, 2 or 0 singles.
template <class E, int First>
E closed_form(const SievePlan& plan, const SieveLevel& level, const View<E>& in, double* scratch) {
    const int length = level.length, row = length * E::size;
    const auto b = [&](int j, int k) -> const double* { return in.row(k) + j * in.stride; };
    const auto v = [&](int j) -> const double* { return in.v + j * in.stride; };
    E sum = E::zero();
    const auto dot = [&](int x0, auto& h) {
        constexpr int W = sizeof(h) / sizeof(E);
        for (int k = 0; k < W; ++k) sum = madd(E::load(in.g + (length - 1 - x0 - k) * E::size), h[k], sum);
    };
    if (level.vertices == 0) return E::load(in.g + (length - 1) * E::size);
    if (level.vertices == 2) {
        const double* pair = b(0, 1);
        if (plan.mean) {
            multiply<E, First>(pair, {v(0), v(1)}, length, scratch);
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
    double *w01 = scratch, *w02 = w01 + row, *w12 = w02 + row, *three = w12 + row;
    multiply<E, First>(b(0, 1), {v(0), v(1)}, length, w01);
    multiply<E, First>(b(0, 2), {v(0), v(2)}, length, w02);
    multiply<E, First>(b(1, 2), {v(1), v(2)}, length, w12);
    multiply<E, First>(nullptr, {b(0, 1), v(2), b(0, 2), v(1), w12, v(0)}, length, three);
    products<E, First>({b(0, 3), w12, b(1, 3), w02, b(2, 3), w01, v(3), three}, length, dot);
    return sum;
}

constexpr int remains(int length) { return (length - 1) % kBlock + 1; }

template <class E>
class Tree {
public:
    Tree(const SievePlan& plan, double* workspace, const SieveStop& stop)
        : plan_(plan), workspace_(workspace), scratch_(workspace + plan.scratch * E::size), stop_(stop) {}

    void plant(const double* input) {
        const SieveLevel& level = plan_.level[0];
        const int64_t s = level.vertices, count = level.squares + (plan_.mean ? s : 0) + s * (s - 1) / 2;
        double* to = state(0, 0);
        one<E>().store(to);
        for (int64_t i = 0; i < count; ++i) E::broadcast(input + i * (E::size / VD::width)).store(to + (i + 1) * E::size);
    }

    // From the first state of level l to the first one of l + 1.
    void step(int l, VD w) {
        const SieveLevel& level = plan_.level[l];
        const View<E> in = view(l, 0), out = view(l + 1, 0);
        if (level.repeats == 1)
            dispatch(level.length, [&](auto first) { split<E, decltype(first)::value>(plan_, level, in, out, OneWeight<E>{out.g, w}, scratch_); });
        else
            dispatch(level.length + level.repeats - 1, [&](auto first) { integrate_square<E, decltype(first)::value>(plan_, level, in, out, w, scratch_); });
    }

    // Sum over the choices of level l and all below, from state `which` of that level.
    E value(int l, int which) {
        const SieveLevel& level = plan_.level[l];
        const View<E> in = view(l, which);
        E sum = E::zero();
        if (l == plan_.levels) {
            dispatch(level.length, [&](auto first) { sum = closed_form<E, decltype(first)::value>(plan_, level, in, scratch_); });
            return sum;
        }
        if (stopped_ || (level.vertices >= kAskAbove && stop_.raised(stop_.context))) {
            stopped_ = true;
            return sum;
        }
        const View<E> out = view(l + 1, 0);
        if (level.repeats == 1) {
            const BothSigns<E> children{out.g, state(l + 1, 1)};
            dispatch(level.length, [&](auto first) { split<E, decltype(first)::value>(plan_, level, in, out, children, scratch_); });
            const E plus = value(l + 1, 0);
            return plus - value(l + 1, 1);
        }
        double binomial = 1.0;  // (-1)^k C(r, k)
        for (int k = 0; k <= level.repeats; ++k) {
            const VD w(static_cast<double>(level.repeats - 2 * k));
            dispatch(level.length + level.repeats - 1, [&](auto first) { integrate_square<E, decltype(first)::value>(plan_, level, in, out, w, scratch_); });
            sum = madd(VD(binomial), value(l + 1, 0), sum);
            binomial *= -static_cast<double>(level.repeats - k) / (k + 1);
        }
        return sum;
    }

    bool stopped() const { return stopped_; }

private:
    static constexpr int kAskAbove = 10;  // vertices: at least some microseconds of work

    template <int N>
    struct Constant {
        static constexpr int value = N;
    };
    template <class Body>
    static void dispatch(int length, const Body& body) {
        switch (remains(length)) {
            case 1: return body(Constant<1>{});
            case 2: return body(Constant<2>{});
            case 3: return body(Constant<3>{});
            case 4: return body(Constant<4>{});
            case 5: return body(Constant<5>{});
            case 6: return body(Constant<6>{});
            case 7: return body(Constant<7>{});
            default: return body(Constant<8>{});
        }
    }
    double* state(int l, int which) const { return workspace_ + (plan_.level[l].offset + which * plan_.level[l].size) * E::size; }
    View<E> view(int l, int which) const { return View<E>(plan_, plan_.level[l], state(l, which)); }

    const SievePlan& plan_;
    double *workspace_, *scratch_;
    const SieveStop& stop_;
    bool stopped_ = false;
};

template <class E>
bool subtree(const SievePlan& plan, const double* input, const double* lane_weights, const double* path_weights, int depth, double* workspace,
             double* out, const SieveStop& stop) {
    Tree<E> tree(plan, workspace, stop);
    for (int lane = 0; lane < kSieveLanes; lane += VD::width) {
        tree.plant(input);
        for (int l = 0; l < plan.top; ++l) tree.step(l, VD::load(lane_weights + l * kSieveLanes + lane));
        for (int l = 0; l < depth; ++l) tree.step(plan.top + l, VD(path_weights[l]));
        const E sum = tree.value(plan.top + depth, 0);
        if (tree.stopped()) return false;
        double lanes[2 * VD::width];
        sum.store(lanes);
        for (int part = 0; part < E::size / VD::width; ++part)
            for (int k = 0; k < VD::width; ++k) out[part * kSieveLanes + lane + k] = lanes[part * VD::width + k];
    }
    return true;
}

}  // namespace

namespace NNQFT_UNIT {
SieveSubtree sieve_subtree(bool complex) { return complex ? subtree<Co> : subtree<Re>; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
