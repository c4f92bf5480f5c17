// One step of one block of probes; included by lanczos.cpp alone.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/array.hpp"
#include "core/error.hpp"
#include "lanczos/kernels.hpp"
#include "lanczos/lanczos.hpp"
#include "lanczos/omega.hpp"

namespace nnqft {

constexpr double kBreakdown = 32.0;        // times eps: rounding leaves |w| of a few eps |A| where the Krylov space is complete
constexpr double kShortened = 0.7;         // Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30 (1976) 772
constexpr double kLoose = 128.0;           // times eps: estimated loss of orthogonality that ends a panel early
constexpr double kShort = 0.05;            // |w| of this part of |A| ends it too: the loss is divided by |w|
constexpr double kTrusted = 1024.0;        // times eps: measured loss from which panels are of one vector
constexpr std::uint64_t kRestartSeed = 0x6c616e637a6f73;

using Columns = std::array<double, kMaxColumns>;

inline std::int64_t block_count(std::int64_t n) { return (n + kBlockRows - 1) / kBlockRows; }

// Sum of `count` rows of `width` numbers into `out`, by halves: an order that depends on count alone.
inline void sum_rows(const double* rows, std::int64_t count, std::int64_t width, double* out) {
    if (count <= 8) {
        std::copy_n(rows, width, out);
        for (std::int64_t i = 1; i < count; ++i)
            for (std::int64_t c = 0; c < width; ++c) out[c] += rows[i * width + c];
        return;
    }
    const std::int64_t half = count / 2;
    std::vector<double> other(static_cast<std::size_t>(width));
    sum_rows(rows, half, width, out);
    sum_rows(rows + half * width, count - half, width, other.data());
    for (std::int64_t c = 0; c < width; ++c) out[c] += other[static_cast<std::size_t>(c)];
}

// e with |x| < 2^e, such that 2^-e and 2^e are normal numbers.
inline int exponent(double x) {
    int e = 0;
    std::frexp(x, &e);
    return std::clamp(e, -1000, 1000);
}

// Probes that march together, rows of P numbers. Vector q_j of column c is scale[c] times what is stored: without a
// basis, rows of sparse products apply the factor on the way.
template <class T>
struct Lanczos<T>::Block {
    int P;
    std::int64_t number;  // of its first probe
    std::int64_t step = 0;
    std::vector<Tridiagonal> probes;
    std::vector<Array<T>> vectors;  // the basis; or q_{j-1}, q_j and room for w, which change places
    std::size_t previous = 0, current = 0;  // places of q_{j-1} and q_j
    Columns scale_previous{}, scale{};
    Columns size{};  // max over steps of |alpha| + beta

    // With a basis, P = 1.
    Omega omega;
    std::int64_t clean = 1;              // q_0 ... q_{clean-1} are orthogonal to rounding; the next ones wait for their panel to fill
    std::int64_t panel = kPanelVectors;  // vectors in one
    std::vector<Array<T>> spare;         // room for vectors
    std::vector<Array<T>> settled;       // copies of those that wait, made orthogonal at step `settled_at`
    std::int64_t settled_at = -1;

    bool done(std::int64_t steps) const {
        return step >= steps || std::all_of(probes.begin(), probes.end(), [](const Tridiagonal& t) { return t.breakdown; });
    }
    // q_i where P = 1, i <= step.
    const T* vector(std::int64_t i) const {
        const bool waits = settled_at == step && i >= clean;
        return (waits ? settled[static_cast<std::size_t>(i - clean)] : vectors.at(static_cast<std::size_t>(i))).data();
    }
    Array<T> room(std::int64_t n) {
        if (spare.empty()) return Array<T>(static_cast<std::size_t>(n * P));
        Array<T> last = std::move(spare.back());
        spare.pop_back();
        return last;
    }
    double beta(int c) const { return step > 0 && !probes[static_cast<std::size_t>(c)].breakdown ? probes[static_cast<std::size_t>(c)].beta.back() : 0.0; }
};

// begin(), the product w = A q_j, finish(). Nothing of the block changes before all is done, so that an exception costs one step.
template <class T>
struct Lanczos<T>::Step {
    Lanczos& all;
    Block& b;
    const LanczosKernels<T>& kernels;
    Team& team;
    double eps;  // of the products
    const std::int64_t n = all.n_, tasks = block_count(n);
    const int P = b.P;
    const bool stored = all.has_basis();
    std::size_t at = 0;                      // place of w
    std::vector<Array<T>> replaced{};        // q_j, q_{j-1}, ... that a panel changed: vector i is replaced[j - i]
    std::vector<double> partial{};

    T* q() const { return b.vectors[b.current].data(); }
    T* previous() const { return b.step > 0 ? b.vectors[b.previous].data() : q(); }  // at step 0 its coefficient is zero
    T* w() const { return b.vectors[at].data(); }
    const T* vector(std::int64_t i) const {
        const auto back = static_cast<std::size_t>(b.step - i);
        return back < replaced.size() ? replaced[back].data() : b.vectors[static_cast<std::size_t>(i)].data();
    }

    // body(first row, rows, sums of this block of rows); the sums of all, in one order, into `out`.
    template <class Body>
    void over_rows(std::int64_t sums, double* out, const Body& body) {
        partial.resize(static_cast<std::size_t>(tasks * sums));
        team.run(tasks, [&](std::int64_t task, unsigned) {
            const std::int64_t first = task * kBlockRows;
            body(first, std::min(kBlockRows, n - first), partial.data() + task * sums);
        });
        sum_rows(partial.data(), tasks, sums, out);
    }

    // Room for w, and where something asks for it, q_j itself instead of a multiple.
    void begin(bool unit) {
        if (stored) {
            at = static_cast<std::size_t>(b.step) + 1;
            if (b.vectors.size() <= at) b.vectors.resize(at + 1);
        } else {
            if (b.vectors.size() < 3) b.vectors.resize(3);
            while (at == b.current || (b.step > 0 && at == b.previous)) ++at;
        }
        if (b.vectors[at].size() == 0) b.vectors[at] = b.room(n);
        if (!unit || std::all_of(b.scale.begin(), b.scale.begin() + P, [](double s) { return s == 1.0 || s == 0.0; })) return;
        Array<T> one(b.vectors[b.current].size());
        Columns unused;
        over_rows(P, unused.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
            kernels.scale(P, rows, b.scale.data(), q() + first * P, one.data() + first * P, s);
        });
        b.vectors[b.current] = std::move(one);
        for (int c = 0; c < P; ++c) b.scale[c] = b.scale[c] == 0.0 ? 0.0 : 1.0;
    }

    [[noreturn]] void not_finite(int c) const {
        throw ArgumentError("the operator returned a NaN or an infinity at step " + std::to_string(b.step) + " (probe " + std::to_string(b.number + c) +
                            "): the steps before it are kept");
    }

    // q_j was drawn past a complete Krylov space: what was seen of |A| there says nothing of it here.
    bool new_space() const { return all.restart_ && b.step > 0 && b.probes[0].beta.back() == 0.0; }

    // At the first step of a Krylov space nothing is known of |A|: the largest element of A q, times the factor of q.
    template <class U>
    static void grow(const U* u, std::int64_t rows, int P, double* largest) {
        for (std::int64_t i = 0; i < rows; ++i)
            for (int c = 0; c < P; ++c) {
                const double x = std::abs(static_cast<double>(u[i * P + c]));
                if (x > largest[c] || x != x) largest[c] = x;  // a NaN stays
            }
    }
    Columns first_size(const Operator<T>* by_rows) {
        std::vector<double> largest(static_cast<std::size_t>(tasks * P), 0.0);
        team.run(tasks, [&](std::int64_t task, unsigned) {
            const std::int64_t first = task * kBlockRows, rows = std::min(kBlockRows, n - first);
            double* out = largest.data() + task * P;
            if (!by_rows) return grow(w() + first * P, rows, P, out);
            std::vector<double> u(static_cast<std::size_t>(rows * P));
            by_rows->apply_rows(q(), P, first, first + rows, u.data());
            grow(u.data(), rows, P, out);
        });
        Columns size{};
        for (int c = 0; c < P; ++c) {
            for (std::int64_t task = 0; task < tasks; ++task) {
                const double x = largest[static_cast<std::size_t>(task * P + c)];
                if (x > size[c] || x != x) size[c] = x;
            }
            if (!std::isfinite(size[c])) not_finite(c);
            size[c] *= b.scale[c];
        }
        return size;
    }

    // by_rows: the operator, if its rows are computed here; else w holds the product.
    void finish(const Operator<T>* by_rows) {
        // w is kept as 2^-e w, |A| < 2^e about: squares neither overflow nor vanish, and scaling A by a power of two
        // changes no bit but exponents.
        Columns size = b.size;
        if (b.step == 0 || new_space()) {
            const Columns largest = first_size(by_rows);
            for (int c = 0; c < P; ++c) size[c] = std::max(size[c], largest[c]);
        }
        Columns c_u, c_previous, dot, alpha, c_q, square, beta;
        std::array<int, kMaxColumns> e{};
        for (int c = 0; c < P; ++c) {
            e[c] = exponent(size[c]);
            c_u[c] = std::ldexp(b.scale[c], -e[c]);
            c_previous[c] = b.step > 0 ? -std::ldexp(b.beta(c), -e[c]) * b.scale_previous[c] : 0.0;
        }
        over_rows(P, dot.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
            T* here = w() + first * P;
            const T *q_here = q() + first * P, *previous_here = previous() + first * P;
            if (!by_rows) return kernels.recur(P, rows, here, c_u.data(), previous_here, c_previous.data(), q_here, here, s);
            double u[kBlockRows * kMaxColumns];
            by_rows->apply_rows(q(), P, first, first + rows, u);
            kernels.recur_wide(P, rows, u, c_u.data(), previous_here, c_previous.data(), q_here, here, s);
        });
        for (int c = 0; c < P; ++c) {
            const double reduced = b.scale[c] * dot[c];
            alpha[c] = std::ldexp(reduced, e[c]);
            c_q[c] = -reduced * b.scale[c];
            if (!std::isfinite(alpha[c])) not_finite(c);
        }
        over_rows(P, square.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
            kernels.update(P, rows, c_q.data(), q() + first * P, w() + first * P, s);
        });
        for (int c = 0; c < P; ++c)
            if (!std::isfinite(square[c])) not_finite(c);

        Omega omega = b.omega;
        std::int64_t clean = b.clean, panel = b.panel;
        if (all.reorth_ == Reorth::full) fill_panel(square[0], alpha[0], e[0], omega, clean, panel);
        if (all.reorth_ == Reorth::partial) orthogonalise_where_needed(square[0], alpha[0], e[0], omega);

        // Told apart from rounding, relative to the operator and not to one: scale-free.
        Columns scale, next_size = b.size;
        std::array<bool, kMaxColumns> breakdown{};
        bool restarted = false;
        for (int c = 0; c < P; ++c) {
            beta[c] = std::ldexp(std::sqrt(square[c]), e[c]);
            next_size[c] = std::max(b.size[c], std::abs(alpha[c]) + beta[c]);
            breakdown[c] = beta[c] <= kBreakdown * eps * next_size[c] * std::sqrt(static_cast<double>(b.step) + 1.0);
            if (breakdown[c] && all.restart_ && b.step + 1 < n) {
                beta[c] = 0.0;
                breakdown[c] = !draw_direction(square[c]);
                restarted = !breakdown[c];
                omega.forget(0.5 * eps, true);
            }
            scale[c] = breakdown[c] || b.probes[static_cast<std::size_t>(c)].breakdown ? 0.0 : 1.0 / std::sqrt(square[c]);
        }
        if (!by_rows || stored) {
            over_rows(P, square.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
                kernels.scale(P, rows, scale.data(), w() + first * P, w() + first * P, s);
            });
            for (int c = 0; c < P; ++c) scale[c] = scale[c] == 0.0 ? 0.0 : 1.0;
        }

        // The step is done: nothing throws from here, advance() has made room.
        for (int c = 0; c < P; ++c) {
            Tridiagonal& t = b.probes[static_cast<std::size_t>(c)];
            if (t.breakdown) continue;
            t.alpha.push_back(alpha[c]);
            t.beta.push_back(beta[c]);
            t.breakdown = breakdown[c];
            t.restarts += restarted;
        }
        for (std::size_t back = 0; back < replaced.size(); ++back) std::swap(b.vectors[static_cast<std::size_t>(b.step) - back], replaced[back]);
        std::move(replaced.begin(), replaced.end(), std::back_inserter(b.spare));
        b.size = next_size;
        b.omega = std::move(omega);
        b.clean = clean;
        b.panel = panel;
        b.scale_previous = b.scale;
        b.scale = scale;
        b.previous = b.current;
        b.current = at;
        ++b.step;
    }

    // Reorth::full. The recurrence loses orthogonality by a small factor a step, so vectors wait until a panel of them can
    // share the readings of the basis; then all are made orthogonal, and what was lost has changed T by its square.
    void fill_panel(double& square, double alpha, int e, Omega& omega, std::int64_t& clean, std::int64_t& panel) {
        const Tridiagonal& t = b.probes[0];
        const double beta = std::ldexp(std::sqrt(square), e), size = std::max(b.size[0], std::abs(alpha) + beta);
        const double loss = t.breakdown ? 0.0 : omega.advance(t.alpha, t.beta, alpha, beta, 0.5 * eps);
        const std::int64_t next = b.step + 1;
        if (next - clean + 1 < panel && loss <= kLoose * eps && beta > kShort * size) return;
        const double lost = orthogonalise(clean, square, 1);
        if (lost > kTrusted * eps) panel = 1;
        clean = next + 1;
        if (!t.breakdown) omega.forget(0.5 * eps, true);
    }

    void orthogonalise_where_needed(double& square, double alpha, int e, Omega& omega) {
        const Tridiagonal& t = b.probes[0];
        if (t.breakdown) return;
        const double unit = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52, noise = 0.5 * unit * std::sqrt(static_cast<double>(n));
        const double loss = omega.advance(t.alpha, t.beta, alpha, std::ldexp(std::sqrt(square), e), noise);
        const bool needed = omega.again || loss > std::sqrt(unit);
        omega.again = needed && !omega.again;
        if (!needed) return;
        omega.forget(noise, false);
        orthogonalise(b.step + 1, square, 1);
    }

    // w becomes a random vector of length one (about) orthogonal to all others: false where there is none.
    bool draw_direction(double& square) {
        std::vector<double> v(static_cast<std::size_t>(n));
        square = draw_start(StartLaw::gaussian, kRestartSeed, (static_cast<std::uint64_t>(b.number) << 32) + static_cast<std::uint64_t>(b.step), n, v.data());
        const double drawn = square;
        std::transform(v.begin(), v.end(), w(), [](double x) { return static_cast<T>(x); });
        orthogonalise(b.step + 1, square, 2);
        return square > drawn * eps * eps * static_cast<double>(n);
    }

    // Gram-Schmidt of q_first ... q_j, w against the vectors before and one another; twice where w was shortened, or
    // passes = 2 asks for it. `square` becomes what is left of |w|^2. Returns the largest |q_i . q| found, i < first, other than of w.
    double orthogonalise(std::int64_t first, double& square, int passes) {
        double lost = 0.0;
        for (int pass = 0; pass < 2; ++pass) {
            const auto m = static_cast<int>(b.step + 1 - first) + 1;
            std::vector<double> h, r;
            const double largest = products(first, m, w(), std::sqrt(square), h, r, lost);
            if (largest <= 0.25 * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52)) return lost;  // orthogonal to rounding as it is
            std::vector<Array<T>> fresh;
            for (int s = 0; s + 1 < m; ++s) fresh.push_back(b.room(n));
            const double left = project(first, m, h, r, w(), fresh);
            replaced.resize(std::max(replaced.size(), fresh.size()));
            for (std::size_t s = 0; s < fresh.size(); ++s) replaced[fresh.size() - 1 - s] = std::move(fresh[s]);
            const bool again = left < kShortened * kShortened * square || pass + 1 < passes;
            square = left;
            if (!again) break;
            first = b.step + 1;
        }
        return lost;
    }

    // Of the panel q_first, ..., with `last` (of length `norm`) as number m - 1: h = q_i . p_s and the coefficients r of what
    // the projection leaves, relative to |p_s|. Returns the largest of all; `lost` grows to the largest of those before the last.
    double products(std::int64_t first, int m, const T* last, double norm, std::vector<double>& h, std::vector<double>& r, double& lost) {
        h.resize(static_cast<std::size_t>((first + m) * m));
        over_rows(static_cast<std::int64_t>(h.size()), h.data(), [&](std::int64_t row, std::int64_t rows, double* s) {
            const Panel p(*this, first, m, last, row, rows);
            kernels.dots(rows, first, p.basis.data(), m, p.vectors, s);
        });
        double largest = 0.0;
        const auto width = static_cast<std::size_t>(m);
        const auto grow_to = [&](double x, int s) {
            x = s + 1 < m ? std::abs(x) : norm > 0.0 ? std::abs(x) / norm : 0.0;
            largest = std::max(largest, x);
            if (s + 1 < m) lost = std::max(lost, x);
        };
        for (std::size_t i = 0; i < static_cast<std::size_t>(first) * width; ++i) grow_to(h[i], static_cast<int>(i % width));
        r.assign(width * width, 0.0);
        const double* g = h.data() + static_cast<std::size_t>(first) * width;
        for (std::size_t t = 1; t < width; ++t) {  // Cholesky of the panel's Gram matrix, whose diagonal is 1 up to rounding
            for (std::size_t s = 0; s < t; ++s) {
                double x = g[s * width + t];
                for (std::size_t i = 0; i < static_cast<std::size_t>(first); ++i) x -= h[i * width + s] * h[i * width + t];
                for (std::size_t u = 0; u < s; ++u) x -= r[u * width + s] * r[u * width + t];
                r[s * width + t] = x;
                grow_to(x, static_cast<int>(t));
            }
        }
        return largest;
    }

    // The panel less its projections, into fresh and, the last, in place. Returns |last|^2.
    double project(std::int64_t first, int m, const std::vector<double>& h, const std::vector<double>& r, T* last, std::vector<Array<T>>& fresh) {
        double left = 0.0;
        over_rows(1, &left, [&](std::int64_t row, std::int64_t rows, double* square) {
            Panel p(*this, first, m, last, row, rows);
            double* to[kPanelVectors];
            for (int s = 0; s < m; ++s) {
                T* const out = s + 1 < m ? fresh[static_cast<std::size_t>(s)].data() + row : last + row;
                if constexpr (sizeof(T) == 8) {
                    if (s + 1 < m) std::copy_n(p.vectors[s], rows, out);
                    to[s] = out;
                } else {
                    to[s] = p.wide[s];
                }
            }
            *square = kernels.project(rows, first, p.basis.data(), m, h.data(), r.data(), to);
            if constexpr (sizeof(T) == 4) {
                for (int s = 0; s < m; ++s) {
                    T* const out = s + 1 < m ? fresh[static_cast<std::size_t>(s)].data() + row : last + row;
                    std::transform(to[s], to[s] + rows, out, [](double x) { return static_cast<T>(x); });
                }
                const double one = 1.0;
                kernels.scale(1, rows, &one, last + row, last + row, square);
            }
        });
        return left;
    }

    // Rows of the basis before a panel, and of the panel in double.
    struct Panel {
        std::vector<const T*> basis;
        const double* vectors[kPanelVectors];
        double wide[sizeof(T) == 4 ? kPanelVectors : 1][sizeof(T) == 4 ? kBlockRows : 1];

        Panel(const Step& step, std::int64_t first, int m, const T* last, std::int64_t row, std::int64_t rows) : basis(static_cast<std::size_t>(first)) {
            for (std::int64_t i = 0; i < first; ++i) basis[static_cast<std::size_t>(i)] = step.vector(i) + row;
            for (int s = 0; s < m; ++s) {
                const T* from = (s + 1 < m ? step.vector(first + s) : last) + row;
                if constexpr (sizeof(T) == 8) {
                    vectors[s] = from;
                } else {
                    std::transform(from, from + rows, wide[s], [](T x) { return static_cast<double>(x); });
                    vectors[s] = wide[s];
                }
            }
        }
    };

    // Copies of the vectors that wait, q_clean ... q_step, made orthogonal.
    void settle() {
        if (b.settled_at == b.step || b.clean > b.step) return;
        const auto m = static_cast<int>(b.step - b.clean) + 1;
        std::vector<double> h, r;
        std::vector<Array<T>> fresh;
        for (int s = 0; s < m; ++s) fresh.emplace_back(static_cast<std::size_t>(n));
        std::copy_n(q(), n, fresh.back().data());
        double lost = 0.0;
        products(b.clean, m, fresh.back().data(), 1.0, h, r, lost);
        project(b.clean, m, h, r, fresh.back().data(), fresh);
        b.settled = std::move(fresh);
        b.settled_at = b.step;
    }
};

}  // namespace nnqft
