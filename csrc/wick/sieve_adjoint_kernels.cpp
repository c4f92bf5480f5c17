// Derivatives of the sieve by reverse accumulation down its tree: only the current path is kept.
//
// The adjoint of a polynomial is kept with its coefficients reversed, a[x] at length - 1 - x. Then the adjoint of f in f h is the product of
// the adjoint with h, truncated like all products; and for children c + t z P of lengths one greater, with adjoints A, the adjoint of c is
// A shifted down by one place and that of P is t A.

#include "wick/sieve_tree.hpp"

namespace nnqft {
namespace {

// Adjoints of both children, whose values are subtracted, or of the one child for one sign per lane.
template <class E>
struct FromBoth {
    const double *plus, *minus;
    FromBoth at(int64_t i) const { return {plus + i, minus + i}; }
    NNQFT_HD E kept(const FromBoth& a, int x) { return E::load(a.plus + (x + 1) * E::size) - E::load(a.minus + (x + 1) * E::size); }
    NNQFT_HD E product(const FromBoth& a, int x) { return E::load(a.plus + x * E::size) + E::load(a.minus + x * E::size); }
};
template <class E>
struct FromOne {
    const double* child;
    E sign;
    FromOne at(int64_t i) const { return {child + i, sign}; }
    NNQFT_HD E kept(const FromOne& a, int x) { return E::load(a.child + (x + 1) * E::size); }
    NNQFT_HD E product(const FromOne& a, int x) { return times_sign(a.sign, E::load(a.child + x * E::size)); }
};

// to += a b
template <class E, int First>
NNQFT_HD void accumulate(double* to, const double* a, const double* b, int length) {
    multiply_add<E, First>(to, a, b, length, to);
}

// From the children's adjoints to the adjoint `to` of the state `in`, whose last pair p, q they lack (p = q for a square).
template <class E, int First, class From>
void gather(const SievePlan& plan, const SieveLevel& level, const View<E>& in, const View<E>& to, const View<E>& child, From from, double* scratch) {
    const int length = level.length, stride = in.stride, q = level.vertices - 1;
    const bool square = level.squares > 0;
    const int p = square ? q : q - 1, left = square ? level.squares - 1 : 0, singles = p - left;
    double *P = scratch, *pair = scratch + length * E::size, *pair_adjoint = pair + length * E::size;
    const auto product = [&](double* a, const double* x, const double* y) { accumulate<E, First>(a, x, y, length); };
    // Splits the adjoint of one polynomial of the children; P doubled where the update was.
    const auto fold = [&](const double* polynomial, double* kept) {
        const From a = from.at(polynomial - child.g);
        for (int x = 0; x < length; ++x) {
            From::kept(a, x).store(kept + x * E::size);
            const E slope = From::product(a, x);
            (square ? slope + slope : slope).store(P + x * E::size);
        }
    };
    const auto clear = [&](double* a, int64_t count) { memset(a, 0, static_cast<size_t>(count * stride) * sizeof(double)); };
    clear(to.row(p), p);
    clear(to.row(q), q);
    if (plan.mean) {
        clear(to.v + p * stride, 1);
        clear(to.v + q * stride, 1);
    }
    const double *bp = in.row(p), *bq = in.row(q), *vp = in.v + p * stride, *vq = in.v + q * stride;
    double *ap = to.row(p), *aq = to.row(q), *up = to.v + p * stride, *uq = to.v + q * stride;

    const double* covariance = square ? in.d + left * stride : bq + p * stride;
    double* covariance_adjoint = square ? to.d + left * stride : aq + p * stride;
    if (plan.mean) multiply_add<E, First>(covariance, vp, vq, length, pair);
    else pair = const_cast<double*>(covariance);
    const From a = from.at(0);
    for (int x = 0; x < length; ++x) {
        From::kept(a, x).store(to.g + x * E::size);
        From::product(a, x).store(P + x * E::size);
    }
    product(to.g, P, pair);
    multiply_add<E, First>(nullptr, P, in.g, length, pair_adjoint);
    memcpy(covariance_adjoint, pair_adjoint, static_cast<size_t>(length) * E::size * sizeof(double));
    if (plan.mean) {
        product(up, pair_adjoint, vq);
        product(uq, pair_adjoint, vp);
        for (int j = 0; j < p; ++j) {
            fold(child.v + j * child.stride, to.v + j * stride);
            product(ap + j * stride, P, vq);
            product(uq, P, bp + j * stride);
            if (square) continue;
            product(aq + j * stride, P, vp);
            product(up, P, bq + j * stride);
        }
    }
    for (int i = 0; i < left; ++i) {  // P = 2 b b
        fold(child.d + i * child.stride, to.d + i * stride);
        product(ap + (singles + i) * stride, P, bp + (singles + i) * stride);
        product(ap + (singles + i) * stride, P, bp + (singles + i) * stride);
    }
    for (int k = 1; k < p; ++k) {
        const int64_t ks = static_cast<int64_t>(k) * stride;
        for (int j = 0; j < k; ++j) {
            const int64_t js = static_cast<int64_t>(j) * stride;
            fold(child.row(k) + j * child.stride, to.row(k) + js);
            product(ap + js, P, bq + ks);
            product(aq + ks, P, bp + js);
            if (square) continue;
            product(aq + js, P, bp + ks);
            product(ap + ks, P, bq + js);
        }
    }
}

// The closed form and its adjoint.
template <class E, int First>
E closed_form_adjoint(const SievePlan& plan, const SieveLevel& level, const View<E>& in, const View<E>& to, double* scratch) {
    const int length = level.length, row = length * E::size, singles = level.vertices - level.squares, points = singles + 2 * level.squares;
    memset(to.g, 0, static_cast<size_t>(level.size) * E::size * sizeof(double));
    if (points == 0) {
        E::one().store(to.g);
        return E::load(in.g + (length - 1) * E::size);
    }
    const auto vertex = [&](int i) { return i < singles ? i : singles + (i - singles) / 2; };
    const auto b = [&](const View<E>& view, int i, int k) {
        const int j = vertex(i < k ? i : k), l = vertex(i < k ? k : i);
        return j == l ? view.d + (j - singles) * view.stride : view.row(l) + j * view.stride;
    };
    const auto v = [&](const View<E>& view, int i) { return view.v + vertex(i) * view.stride; };
    const auto product = [&](double* a, const double* x, const double* y) { accumulate<E, First>(a, x, y, length); };
    double* h = to.g;  // the adjoint of g is what multiplies it
    if (points == 2) {
        memcpy(h, b(in, 0, 1), static_cast<size_t>(row) * sizeof(double));
        memcpy(b(to, 0, 1), in.g, static_cast<size_t>(row) * sizeof(double));
        if (plan.mean) {
            product(h, v(in, 0), v(in, 1));
            product(v(to, 0), in.g, v(in, 1));
            product(v(to, 1), in.g, v(in, 0));
        }
    } else {
        // d lhaf(0123) / d b_jk = w of the other two, d lhaf(0123) / d v_i = lhaf of the other three
        const auto other = [&](int i, int k, const double* w) { product(b(to, i, k), in.g, w); };
        constexpr int kPairs[6][4] = {{0, 1, 2, 3}, {2, 3, 0, 1}, {0, 2, 1, 3}, {1, 3, 0, 2}, {0, 3, 1, 2}, {1, 2, 0, 3}};
        const double* w[4][4];
        for (int i = 0; i < 6; ++i) {
            const int j = kPairs[i][0], k = kPairs[i][1];
            w[j][k] = b(in, j, k);
            if (plan.mean) {
                multiply_add<E, First>(w[j][k], v(in, j), v(in, k), length, scratch + i * row);
                w[j][k] = scratch + i * row;
            }
            w[k][j] = w[j][k];
        }
        for (const auto& pair : kPairs) other(pair[0], pair[1], w[pair[2]][pair[3]]);
        product(h, b(in, 0, 3), w[1][2]);
        product(h, b(in, 1, 3), w[0][2]);
        product(h, b(in, 2, 3), w[0][1]);
        for (int i = 0; i < 4 && plan.mean; ++i) {
            const int x = i == 0 ? 1 : 0, y = i <= 1 ? 2 : 1, z = i <= 2 ? 3 : 2;
            double* three = scratch + 6 * row;
            multiply_add<E, First>(nullptr, b(in, x, y), v(in, z), length, three);
            product(three, b(in, x, z), v(in, y));
            product(three, w[y][z], v(in, x));
            product(v(to, i), in.g, three);
            if (i == 3) product(h, v(in, 3), three);
        }
    }
    E sum = E::zero();
    for (int x = 0; x < length; ++x) sum = madd(E::load(in.g + (length - 1 - x) * E::size), E::load(h + x * E::size), sum);
    return sum;
}

template <class E>
class AdjointTree : public Tree<E> {
public:
    using Tree<E>::Tree;

    // value(l, which) of the tree, with its adjoint.
    E sweep(int l, int which) {
        const SieveLevel& level = this->plan_.level[l];
        const View<E> in = this->view(l, which), to = adjoint(l, which);
        E sum = E::zero();
        if (l == this->plan_.levels) {
            this->dispatch(level.length, [&](auto first) { sum = closed_form_adjoint<E, decltype(first)::value>(this->plan_, level, in, to, scratch()); });
            return sum;
        }
        if (this->asked_to_stop(level)) return sum;
        const View<E> out = this->view(l + 1, 0), plus = adjoint(l + 1, 0), minus = adjoint(l + 1, 1);
        this->split(l, in, out, BothSigns<E>{out.g, this->state(l + 1, 1)});
        sum = sweep(l + 1, 0);
        sum = sum - sweep(l + 1, 1);
        fold(l, in, to, plus, FromBoth<E>{plus.g, minus.g});
        return sum;
    }

    // Undoes step(l, sign): from the adjoint of the first state of level l + 1 to that of l.
    void step_back(int l, VD sign) {
        const View<E> child = adjoint(l + 1, 0);
        fold(l, this->view(l, 0), adjoint(l, 0), child, FromOne<E>{child.g, E::from_sign(sign)});
    }

    View<E> adjoint(int l, int which) const {
        const SieveLevel& level = this->plan_.level[l];
        return View<E>(this->plan_, level, this->workspace_ + (this->plan_.workspace + level.offset + which * level.size) * E::size);
    }

private:
    double* scratch() const { return this->workspace_ + (this->plan_.workspace + this->plan_.scratch) * E::size; }
    template <class From>
    void fold(int l, const View<E>& in, const View<E>& to, const View<E>& child, From from) {
        const SieveLevel& level = this->plan_.level[l];
        this->dispatch(level.length, [&](auto first) { gather<E, decltype(first)::value>(this->plan_, level, in, to, child, from, scratch()); });
    }
};

template <class E>
bool adjoint_subtree(const SievePlan& plan, const double* input, const double* lane_signs, int top, const double* path, int depth, double* workspace,
                     double* out, double* slopes, const SieveStop& stop) {
    AdjointTree<E> tree(plan, workspace, stop);
    constexpr int kParts = E::size / VD::width;
    const SieveLevel& root = plan.level[0];
    const int64_t s = root.vertices, count = root.squares + (plan.mean ? s : 0) + s * (s - 1) / 2;
    for (int lane = 0; lane < kSieveLanes; lane += VD::width) {
        const auto sign = [&](int l) { return l < top ? VD::load(lane_signs + l * kSieveLanes + lane) : VD(path[l - top]); };
        tree.plant(input);
        for (int l = 0; l < top + depth; ++l) tree.step(l, sign(l));
        const E sum = tree.sweep(top + depth, 0);
        if (tree.stopped()) return false;
        for (int l = top + depth; l-- > 0;) tree.step_back(l, sign(l));
        const auto put = [&](const double* numbers, double* to) {
            for (int part = 0; part < kParts; ++part) memcpy(to + part * kSieveLanes + lane, numbers + part * VD::width, VD::width * sizeof(double));
        };
        double lanes[E::size];
        sum.store(lanes);
        put(lanes, out);
        const double* adjoint = tree.adjoint(0, 0).g + E::size;  // length 1: one number for each of the input's
        for (int64_t i = 0; i < count; ++i) put(adjoint + i * E::size, slopes + i * kParts * kSieveLanes);
    }
    return true;
}

}  // namespace

namespace NNQFT_UNIT {
SieveAdjoint sieve_adjoint(bool complex) { return complex ? adjoint_subtree<Co> : adjoint_subtree<Re>; }
}  // namespace NNQFT_UNIT

}  // namespace nnqft
