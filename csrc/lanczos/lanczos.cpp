#include "lanczos/lanczos.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "core/array.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "core/normal.hpp"
#include "core/philox.hpp"
#include "lanczos/kernels.hpp"
#include "lanczos/omega.hpp"

namespace nnqft {
namespace {

constexpr double kBreakdown = 32.0;  // times eps: rounding leaves |w| of a few eps |A| where the Krylov space is complete
constexpr double kShortened = 0.7;   // Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30 (1976) 772

using Columns = std::array<double, kMaxColumns>;

std::int64_t block_count(std::int64_t n) { return (n + kBlockRows - 1) / kBlockRows; }

// Sum of `count` rows of `width` numbers into `out`, by halves: an order that depends on count alone.
void sum_rows(const double* rows, std::int64_t count, std::int64_t width, double* out) {
    if (count == 1) {
        std::copy_n(rows, width, out);
        return;
    }
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
int exponent(double x) {
    int e = 0;
    std::frexp(x, &e);
    return std::clamp(e, -1000, 1000);
}

template <class T>
double norm_of(const T* v, std::int64_t n, double* norm2) {
    double largest = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = std::abs(static_cast<double>(v[i]));
        if (!(x <= std::numeric_limits<double>::max())) return std::numeric_limits<double>::quiet_NaN();
        largest = std::max(largest, x);
    }
    if (largest == 0.0) return 0.0;
    const int e = exponent(largest);
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = std::ldexp(static_cast<double>(v[i]), -e);
        sum += x * x;
    }
    *norm2 = std::ldexp(sum, 2 * e);
    return std::ldexp(std::sqrt(sum), e);
}

}  // namespace

double draw_start(StartLaw law, std::uint64_t seed, std::uint64_t probe, std::int64_t n, double* v) {
    const PhiloxKey key = philox_key(seed);
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; i += 4) {
        const auto group = static_cast<std::uint64_t>(i) / 4;
        std::uint32_t word[4] = {static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32), static_cast<std::uint32_t>(probe),
                                 static_cast<std::uint32_t>(probe >> 32)};
        philox_rounds(word[0], word[1], word[2], word[3], key, 0);
        double x[4];
        if (law == StartLaw::rademacher) {
            for (int l = 0; l < 4; ++l) x[l] = word[l] >> 31 ? -1.0 : 1.0;
        } else {
            float z[4];
            normal_pair(word[0], word[1], 1.0f, z[0], z[1]);
            normal_pair(word[2], word[3], 1.0f, z[2], z[3]);
            for (int l = 0; l < 4; ++l) x[l] = static_cast<double>(z[l]);
        }
        for (std::int64_t l = 0; l < std::min<std::int64_t>(4, n - i); ++l) {
            v[i + l] = x[l];
            sum += x[l] * x[l];
        }
    }
    return law == StartLaw::gaussian ? sum : static_cast<double>(n);
}

// Up to kMaxColumns probes that march together. Vector q_j of column c is scale[c] times what is stored: without
// reorthogonalisation, rows of sparse products apply the factor on the way.
template <class T>
struct Lanczos<T>::Block {
    int P;
    std::int64_t step = 0;
    std::vector<Tridiagonal> probes;
    std::vector<Array<T>> vectors;  // the basis; or q_{j-1}, q_j and room for w, which change places
    std::size_t previous = 0, current = 0;  // places of q_{j-1} and q_j
    Columns scale_previous{}, scale{};
    Columns size{};  // max over steps of |alpha| + beta
    std::vector<Omega> omega;

    bool done(std::int64_t steps) const {
        return step >= steps || std::all_of(probes.begin(), probes.end(), [](const Tridiagonal& t) { return t.breakdown; });
    }
    double beta(int c) const { return step > 0 && !probes[static_cast<std::size_t>(c)].breakdown ? probes[static_cast<std::size_t>(c)].beta.back() : 0.0; }
};

// One step of one block. Nothing of the block changes before the step is done, so that an exception costs one step.
template <class T>
struct Lanczos<T>::Step {
    Lanczos& all;
    Block& b;
    Operator<T>& A;
    Team& team;
    const LanczosKernels<T>& kernels;
    const std::int64_t n = all.n_, tasks = block_count(n);
    const int P = b.P;
    const std::size_t width = static_cast<std::size_t>(P);
    const bool stored = all.has_basis();
    std::vector<double> partial{};
    Array<T> scratch_x{}, scratch_y{};

    T* q() { return b.vectors[b.current].data(); }
    T* previous() { return b.step > 0 ? b.vectors[b.previous].data() : q(); }  // at step 0 its coefficient is zero

    std::size_t room() {
        if (stored) {
            const auto at = static_cast<std::size_t>(b.step) + 1;
            if (b.vectors.size() <= at) b.vectors.resize(at + 1);
            return at;
        }
        if (b.vectors.size() < 3) b.vectors.resize(3);
        std::size_t at = 0;
        while (at == b.current || (b.step > 0 && at == b.previous)) ++at;
        return at;
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

    // Sparse products without a basis take q_j as scale times what is stored; resumed with another operator, it is divided.
    void normalise() {
        if (std::all_of(b.scale.begin(), b.scale.begin() + P, [](double s) { return s == 1.0 || s == 0.0; })) return;
        Array<T> unit(b.vectors[b.current].size());
        Columns unused;
        over_rows(P, unused.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
            kernels.scale(P, rows, b.scale.data(), q() + first * P, unit.data() + first * P, s);
        });
        b.vectors[b.current] = std::move(unit);
        for (int c = 0; c < P; ++c) b.scale[c] = b.scale[c] == 0.0 ? 0.0 : 1.0;
    }

    void product(const T* X, T* Y) {
        const std::lock_guard<std::recursive_mutex> lock(A.busy);
        if (A.layout() == Layout::rows || P == 1) return A.apply(X, Y, P, team);
        scratch_x = Array<T>(static_cast<std::size_t>(n) * width);
        scratch_y = Array<T>(static_cast<std::size_t>(n) * width);
        team.run(tasks, [&](std::int64_t task, unsigned) {
            for (std::int64_t i = task * kBlockRows; i < std::min(n, (task + 1) * kBlockRows); ++i)
                for (int c = 0; c < P; ++c) scratch_x.data()[c * n + i] = X[i * P + c];
        });
        A.apply(scratch_x.data(), scratch_y.data(), P, team);
        team.run(tasks, [&](std::int64_t task, unsigned) {
            for (std::int64_t i = task * kBlockRows; i < std::min(n, (task + 1) * kBlockRows); ++i)
                for (int c = 0; c < P; ++c) Y[i * P + c] = scratch_y.data()[c * n + i];
        });
    }

    [[noreturn]] void not_finite(int c) const {
        throw ArgumentError("the operator returned a NaN or an infinity at step " + std::to_string(b.step) + " (probe " +
                            std::to_string(first_probe() + c) + "): the steps before it are kept");
    }
    std::int64_t first_probe() const {
        std::int64_t first = 0;
        for (const auto& other : all.blocks_) {
            if (other.get() == &b) break;
            first += other->P;
        }
        return first;
    }

    // At the first step nothing is known of |A|: the largest element of A q, times the factor of q.
    template <class U>
    static void grow(const U* u, std::int64_t rows, int P, double* largest) {
        for (std::int64_t i = 0; i < rows; ++i)
            for (int c = 0; c < P; ++c) {
                const double x = std::abs(static_cast<double>(u[i * P + c]));
                if (x > largest[c] || x != x) largest[c] = x;  // a NaN stays
            }
    }
    Columns first_size(const T* product_of_q) {
        std::vector<double> largest(static_cast<std::size_t>(tasks) * width, 0.0);
        team.run(tasks, [&](std::int64_t task, unsigned) {
            const std::int64_t first = task * kBlockRows, rows = std::min(kBlockRows, n - first);
            double* out = largest.data() + task * P;
            if (product_of_q) return grow(product_of_q + first * P, rows, P, out);
            std::vector<double> u(static_cast<std::size_t>(rows) * width);
            A.apply_rows(q(), P, first, first + rows, u.data());
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

    void take() {
        const bool by_rows = A.by_rows();
        const bool divide = !by_rows || stored;
        if (divide) normalise();
        const std::size_t at = room();
        if (b.vectors[at].size() == 0) b.vectors[at] = Array<T>(static_cast<std::size_t>(n) * width);
        T* w = b.vectors[at].data();
        if (!by_rows) product(q(), w);

        // w is kept as 2^-e w, |A| < 2^e about: squares neither overflow nor vanish, and scaling A by a power of two
        // changes no bit but exponents.
        const Columns size = b.step == 0 ? first_size(by_rows ? nullptr : w) : b.size;
        Columns c_u, c_previous, dot, alpha, c_q, square, beta;
        std::array<int, kMaxColumns> e{};
        for (int c = 0; c < P; ++c) {
            e[c] = exponent(size[c]);
            c_u[c] = std::ldexp(b.scale[c], -e[c]);
            c_previous[c] = b.step > 0 ? -std::ldexp(b.beta(c), -e[c]) * b.scale_previous[c] : 0.0;
        }
        if (by_rows) {
            over_rows(P, dot.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
                double u[kBlockRows * kMaxColumns];
                A.apply_rows(q(), P, first, first + rows, u);
                kernels.recur_wide(P, rows, u, c_u.data(), previous() + first * P, c_previous.data(), q() + first * P, w + first * P, s);
            });
        } else {
            over_rows(P, dot.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
                T* here = w + first * P;
                kernels.recur(P, rows, here, c_u.data(), previous() + first * P, c_previous.data(), q() + first * P, here, s);
            });
        }
        for (int c = 0; c < P; ++c) {
            const double reduced = b.scale[c] * dot[c];
            alpha[c] = std::ldexp(reduced, e[c]);
            c_q[c] = -reduced * b.scale[c];
            if (!std::isfinite(alpha[c])) not_finite(c);
        }
        over_rows(P, square.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
            kernels.update(P, rows, c_q.data(), q() + first * P, w + first * P, s);
        });
        for (int c = 0; c < P; ++c) {
            if (!std::isfinite(square[c])) not_finite(c);
        }
        std::vector<Omega> omega = b.omega;
        if (all.reorth_ == Reorth::full) orthogonalise(w, square, std::vector<bool>(width, true));
        if (all.reorth_ == Reorth::partial) orthogonalise_where_needed(w, square, alpha, e, omega);

        // Told apart from rounding, relative to the operator and not to one: scale-free.
        const double eps = std::max(A.epsilon(), sizeof(T) == 4 ? 0x1p-23 : 0x1p-52);
        Columns scale, next_size = b.size;
        std::array<bool, kMaxColumns> breakdown{};
        for (int c = 0; c < P; ++c) {
            beta[c] = std::ldexp(std::sqrt(square[c]), e[c]);
            next_size[c] = std::max(b.size[c], std::abs(alpha[c]) + beta[c]);
            breakdown[c] = beta[c] <= kBreakdown * eps * next_size[c] * std::sqrt(static_cast<double>(b.step) + 1.0);
            scale[c] = breakdown[c] || b.probes[static_cast<std::size_t>(c)].breakdown ? 0.0 : 1.0 / std::sqrt(square[c]);
        }
        if (divide) {
            over_rows(P, square.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
                kernels.scale(P, rows, scale.data(), w + first * P, w + first * P, s);
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
        }
        b.size = next_size;
        b.omega = std::move(omega);
        b.scale_previous = b.scale;
        b.scale = scale;
        b.previous = b.current;
        b.current = at;
        ++b.step;
    }

    // Gram-Schmidt of the chosen columns against q_0 ... q_j; `square` becomes what is left of |w|^2.
    void orthogonalise(T* w, Columns& square, std::vector<bool> chosen) {
        const std::int64_t count = b.step + 1;
        for (int pass = 0; pass < 2; ++pass) {
            std::vector<double> h(static_cast<std::size_t>(count) * width);
            over_rows(count * P, h.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
                kernels.dots(P, rows, count, basis_rows(first, count).data(), w + first * P, s);
            });
            for (std::size_t i = 0; i < h.size(); ++i)
                if (!chosen[i % width]) h[i] = 0.0;
            Columns left;
            over_rows(P, left.data(), [&](std::int64_t first, std::int64_t rows, double* s) {
                kernels.project(P, rows, count, basis_rows(first, count).data(), h.data(), w + first * P, s);
            });
            bool again = false;
            for (int c = 0; c < P; ++c) {
                if (!chosen[static_cast<std::size_t>(c)]) continue;
                chosen[static_cast<std::size_t>(c)] = left[c] < kShortened * kShortened * square[c];
                again = again || chosen[static_cast<std::size_t>(c)];
                square[c] = left[c];
            }
            if (!again) return;
        }
    }
    std::vector<const T*> basis_rows(std::int64_t first, std::int64_t count) const {
        std::vector<const T*> rows(static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = b.vectors[i].data() + first * P;
        return rows;
    }

    void orthogonalise_where_needed(T* w, Columns& square, const Columns& alpha, const std::array<int, kMaxColumns>& e, std::vector<Omega>& omega) {
        std::vector<bool> chosen(width);
        for (int c = 0; c < P; ++c) {
            const Tridiagonal& t = b.probes[static_cast<std::size_t>(c)];
            if (t.breakdown) continue;
            chosen[static_cast<std::size_t>(c)] =
                omega[static_cast<std::size_t>(c)].advance(t.alpha, t.beta, alpha[c], std::ldexp(std::sqrt(square[c]), e[c]));
        }
        if (std::find(chosen.begin(), chosen.end(), true) == chosen.end()) return;
        orthogonalise(w, square, chosen);
    }
};

template <class T>
Lanczos<T>::Lanczos(std::int64_t n, Reorth reorth, bool keep_basis) : n_(n), reorth_(reorth), keep_basis_(keep_basis) {
    if (n < 1) throw ArgumentError("the operator has size " + std::to_string(n) + "; Lanczos needs at least one dimension");
}
template <class T>
Lanczos<T>::~Lanczos() = default;

template <class T>
std::int64_t Lanczos<T>::size() const {
    return n_;
}
template <class T>
bool Lanczos<T>::has_basis() const {
    return keep_basis_ || reorth_ != Reorth::none;
}
template <class T>
std::int64_t Lanczos<T>::probes() const {
    std::int64_t count = 0;
    for (const auto& block : blocks_) count += block->P;
    return count;
}
template <class T>
const Tridiagonal& Lanczos<T>::probe(std::int64_t i) const {
    for (const auto& block : blocks_) {
        if (i < block->P) return block->probes[static_cast<std::size_t>(i)];
        i -= block->P;
    }
    throw ArgumentError("there is no such probe");
}

template <class T>
void Lanczos<T>::add(std::int64_t count, const T* v) {
    std::vector<std::unique_ptr<Block>> added;
    for (std::int64_t begin = 0; begin < count; begin += kMaxColumns) {
        auto block = std::make_unique<Block>();
        const int P = block->P = static_cast<int>(std::min<std::int64_t>(kMaxColumns, count - begin));
        block->probes.resize(static_cast<std::size_t>(P));
        block->omega.resize(static_cast<std::size_t>(P), Omega(sizeof(T) == 4 ? 0x1p-23 : 0x1p-52, n_));
        block->vectors.emplace_back(static_cast<std::size_t>(n_) * static_cast<std::size_t>(P));
        for (int c = 0; c < P; ++c) {
            const T* from = v + (begin + c) * n_;
            T* to = block->vectors[0].data() + c;
            double norm2 = 0.0;
            const double norm = norm_of(from, n_, &norm2);
            if (!(norm > 0.0))
                throw ArgumentError("start vector " + std::to_string(begin + c) + (norm == 0.0 ? " is zero" : " holds a NaN or an infinity") +
                                    "; Lanczos needs a direction to start from");
            block->probes[static_cast<std::size_t>(c)].norm2 = norm2;
            int e = 0;
            const double mantissa = std::frexp(norm, &e);
            for (std::int64_t i = 0; i < n_; ++i)
                to[i * P] = static_cast<T>(std::ldexp(static_cast<double>(from[i]), -e) / mantissa);
            block->scale[static_cast<std::size_t>(c)] = 1.0;
        }
        added.push_back(std::move(block));
    }
    for (auto& block : added) blocks_.push_back(std::move(block));
}

template <class T>
void Lanczos<T>::draw(std::int64_t count, StartLaw law, std::uint64_t seed) {
    const std::int64_t first = probes();
    std::vector<double> v(static_cast<std::size_t>(n_));
    std::vector<T> narrow(static_cast<std::size_t>(n_) * kMaxColumns);
    for (std::int64_t begin = 0; begin < count; begin += kMaxColumns) {
        const std::int64_t P = std::min<std::int64_t>(kMaxColumns, count - begin);
        double norm2[kMaxColumns];
        for (std::int64_t c = 0; c < P; ++c) {
            norm2[c] = draw_start(law, seed, static_cast<std::uint64_t>(first + begin + c), n_, v.data());
            std::transform(v.begin(), v.end(), narrow.begin() + c * n_, [](double x) { return static_cast<T>(x); });
        }
        add(P, narrow.data());
        for (std::int64_t c = 0; c < P; ++c) blocks_.back()->probes[static_cast<std::size_t>(c)].norm2 = norm2[c];
    }
}

template <class T>
void Lanczos<T>::advance(Operator<T>& A, std::int64_t steps, Team& team, const std::function<bool(std::int64_t)>& after) {
    if (A.size() != n_)
        throw ShapeError("the operator has size " + std::to_string(A.size()) + ", the state " + std::to_string(n_) + ": resume with the operator it began with");
    steps = std::min(steps, n_);
    const BlasThreadsOff single;
    const LanczosKernels<T>& kernels = lanczos_kernels<T>(resolve_isa(""));
    for (const auto& block : blocks_) {
        for (Tridiagonal& t : block->probes) {
            t.alpha.reserve(static_cast<std::size_t>(steps));
            t.beta.reserve(static_cast<std::size_t>(steps));
        }
    }
    for (;;) {
        std::int64_t least = steps;
        for (const auto& block : blocks_)
            if (!block->done(steps)) least = std::min(least, block->step);
        if (least == steps) return;
        for (const auto& block : blocks_) {
            if (block->done(steps) || block->step > least) continue;
            Step{*this, *block, A, team, kernels}.take();
        }
        if (after && after(least + 1)) return;
    }
}

template <class T>
void Lanczos<T>::basis(std::int64_t probe, std::int64_t step, T* out) const {
    if (!has_basis()) throw StateError("the basis was not kept: call with basis=True");
    for (const auto& block : blocks_) {
        if (probe >= block->P) {
            probe -= block->P;
            continue;
        }
        const T* v = block->vectors.at(static_cast<std::size_t>(step)).data() + probe;
        for (std::int64_t i = 0; i < n_; ++i) out[i] = v[i * block->P];
        return;
    }
}

template <class T>
void Lanczos<T>::residual(std::int64_t probe, T* out) const {
    for (const auto& block : blocks_) {
        if (probe >= block->P) {
            probe -= block->P;
            continue;
        }
        const double scale = block->scale[static_cast<std::size_t>(probe)];
        const T* v = block->vectors[block->current].data() + probe;
        for (std::int64_t i = 0; i < n_; ++i) out[i] = scale == 0.0 ? T(0) : static_cast<T>(scale * static_cast<double>(v[i * block->P]));
        return;
    }
}

template <class T>
double Lanczos<T>::bytes(std::int64_t n, std::int64_t probes, std::int64_t steps, Reorth reorth, bool keep_basis) {
    const double vectors = reorth == Reorth::none && !keep_basis ? 3.0 : static_cast<double>(std::min(steps, n)) + 1.0;
    return static_cast<double>(n) * static_cast<double>(probes) * vectors * sizeof(T);
}

template class Lanczos<float>;
template class Lanczos<double>;

template <>
const LanczosKernels<double>& lanczos_kernels<double>(Isa isa) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return avx512::lanczos_f64;
    if (isa == Isa::avx2) return avx2::lanczos_f64;
#endif
    (void)isa;
    return scalar::lanczos_f64;
}
template <>
const LanczosKernels<float>& lanczos_kernels<float>(Isa isa) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return avx512::lanczos_f32;
    if (isa == Isa::avx2) return avx2::lanczos_f32;
#endif
    (void)isa;
    return scalar::lanczos_f32;
}

}  // namespace nnqft
