#include "lanczos/restart.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/blas.hpp"
#include "core/dense.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "core/philox.hpp"
#include "lanczos/kernels.hpp"

namespace nnqft {
namespace {

constexpr double kClosed = 8.0;         // times eps |A| sqrt(n): what rounding leaves where the space is closed
constexpr double kShortened = 0.7;
constexpr int kMaxExponent = 1000;      // 2^e and 2^-e are normal numbers
constexpr std::int64_t kInspected = 8;  // restarts from one look at the kept vectors' products to the next

template <class T>
constexpr double kEps = std::numeric_limits<T>::epsilon();
template <class T>
constexpr double kTooLarge = sizeof(T) == 4 ? 0x1p60 : 0x1p400;  // of products
template <class T>
constexpr double kDrifted = 8 * kEps<T>;  // of kept vectors' products

std::int64_t block_count(std::int64_t n) { return (n + kBlockRows - 1) / kBlockRows; }
template <class T>
const LanczosKernels<T>& kernels() {
    return lanczos_kernels<T>(resolve_isa(""));
}

// body(first, rows, sums of these rows) over blocks of rows; the sums of all blocks, in their order, into `out`.
template <class Body>
void over_rows(std::int64_t n, std::int64_t sums, std::vector<double>& partial, double* out, Team& team, const Body& body) {
    const std::int64_t blocks = block_count(n);
    partial.resize(static_cast<std::size_t>(blocks * sums));
    team.run(blocks, [&](std::int64_t block, unsigned) {
        const std::int64_t first = block * kBlockRows;
        body(first, std::min(kBlockRows, n - first), partial.data() + block * sums);
    });
    std::fill(out, out + sums, 0.0);
    for (std::int64_t block = 0; block < blocks; ++block)
        for (std::int64_t i = 0; i < sums; ++i) out[i] += partial[static_cast<std::size_t>(block * sums + i)];
}

// max |y|; NaN where one is not finite.
template <class T>
double largest(const T* y, std::int64_t count) {
    constexpr int kLanes = 8;
    T most[kLanes] = {}, bad[kLanes] = {};
    const auto look = [&](int l, T x) {
        const T a = std::abs(x);
        most[l] = a > most[l] ? a : most[l];
        bad[l] += a - a;  // NaN for infinities too
    };
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        for (int l = 0; l < kLanes; ++l) look(l, y[i + l]);
    for (int l = 0; i < count; ++i, ++l) look(l, y[i]);
    T top = 0, wrong = 0;
    for (int l = 0; l < kLanes; ++l) top = std::max(top, most[l]), wrong += bad[l];
    return static_cast<double>(top) + static_cast<double>(wrong);
}

// G = X^T X for `count` columns.
template <class T>
std::vector<double> gram(std::int64_t n, const T* x, std::int64_t ld, std::int64_t count, std::vector<double>& partial, Team& team) {
    std::vector<double> g(static_cast<std::size_t>(count * count));
    over_rows(n, count * count, partial, g.data(), team, [&](std::int64_t first, std::int64_t rows, double* s) {
        if constexpr (sizeof(T) == 8) {
            gemm('T', 'N', count, count, rows, 1.0, x + first, ld, x + first, ld, 0.0, s, count);
        } else {
            std::vector<T> narrow(static_cast<std::size_t>(count * count));
            gemm('T', 'N', count, count, rows, T(1), x + first, ld, x + first, ld, T(0), narrow.data(), count);
            std::copy(narrow.begin(), narrow.end(), s);
        }
    });
    return g;
}

// R^-1, column by column, for the Gram matrix G = R^T R of columns that are independent: X R^-1 has orthonormal ones.
std::vector<double> inverse_root(const std::vector<double>& g, std::int64_t count) {
    const auto k = static_cast<std::size_t>(count);
    std::vector<double> l(g.size()), inverse(g.size(), 0.0);
    cholesky_semidefinite(k, g.data(), 0.0, l.data());
    for (std::size_t c = 0; c < k; ++c) {  // row c of L^-1 is column c of R^-1
        inverse[c * k + c] = 1.0 / l[c * k + c];
        for (std::size_t i = 0; i < c; ++i) {
            double sum = 0.0;
            for (std::size_t j = i; j < c; ++j) sum += l[c * k + j] * inverse[j * k + i];
            inverse[c * k + i] = -sum / l[c * k + c];
        }
    }
    return inverse;
}

}  // namespace

template <class T>
ThickRestart<T>::ThickRestart(std::int64_t n, std::int64_t size, std::uint64_t seed)
    : n_(n), size_(size), ld_((n + 15) / 16 * 16 + 16), seed_(seed) {  // columns a power of two apart would share sets of the cache
    if (n < 1 || size < 1 || size > n)
        throw ArgumentError("a basis of " + std::to_string(size) + " vectors does not fit dimension " + std::to_string(n));
    if (static_cast<double>(ld_) * static_cast<double>(size + 2) > 0x1p58) throw ArgumentError("so many vectors do not fit into memory");
    v_ = Array<T>(static_cast<std::size_t>(ld_ * (size + 1)));
    t_.assign(static_cast<std::size_t>(size * size), 0.0);
}

// Y = A X as it comes, in the operator's layout: the factor 2^exponent is left to the caller. Returns max |Y|, finite.
template <class T>
double ThickRestart<T>::apply(Operator<T>& A, const T* x, T* y, int columns, Team& team) {
    if (A.size() != n_) throw ShapeError("the operator has size " + std::to_string(A.size()) + ", the basis " + std::to_string(n_));
    {
        const std::lock_guard<std::recursive_mutex> lock(A.busy);
        A.apply(x, y, columns, team);
    }
    products_ += columns;
    std::vector<double> most(static_cast<std::size_t>(block_count(n_ * columns)));
    team.run(block_count(n_ * columns), [&](std::int64_t block, unsigned) {
        const std::int64_t first = block * kBlockRows;
        most[static_cast<std::size_t>(block)] = largest(y + first, std::min(kBlockRows, n_ * columns - first));
    });
    double top = 0.0;
    for (const double a : most)
        if (!(a <= top) && top == top) top = a;  // a NaN stays
    if (!std::isfinite(top))
        throw ArgumentError("product " + std::to_string(products_) + " of the operator with a finite vector is not finite");
    return top;
}

// Products near one, whose squares neither overflow nor vanish: once from the first that is not zero, which may lie in a small
// invariant subspace, and again from one that is larger by far.
template <class T>
void ThickRestart<T>::choose_exponent(double most) {
    if (most == 0.0 || (scaled_ && std::ldexp(most, exponent_) < kTooLarge<T>)) return;
    int e = 0;
    std::frexp(most, &e);
    e = std::clamp(-e, -kMaxExponent, kMaxExponent);
    if (scaled_) {
        const double shift = std::ldexp(1.0, e - exponent_);
        for (double& t : t_) t *= shift;
        beta_ *= shift;
        norm_ *= shift;
        skewness_ *= shift;
    }
    exponent_ = e;
    scaled_ = true;
}

// x <- factor x; returns |x|^2.
template <class T>
double ThickRestart<T>::scale(double factor, T* x, Team& team) {
    double square = 0.0;
    over_rows(n_, 1, partial_, &square, team, [&](std::int64_t first, std::int64_t rows, double* s) {
        kernels<T>().scale(1, rows, &factor, x + first, x + first, s);
    });
    return square;
}

// w without its part in the first `count` vectors, which is added to h; `square` is |w|^2 before, what is returned after.
template <class T>
double ThickRestart<T>::orthogonalise(T* w, double square, std::int64_t count, double* h, Team& team) {
    const LanczosKernels<T>& kernel = kernels<T>();
    std::vector<double> part(static_cast<std::size_t>(count) + 1);  // the last one is |w|^2
    // body(rows of the basis, rows of w in double)
    const auto with_rows = [&](std::int64_t first, std::int64_t rows, const auto& body) {
        std::vector<const T*> basis(static_cast<std::size_t>(count));
        for (std::int64_t i = 0; i < count; ++i) basis[static_cast<std::size_t>(i)] = column(i) + first;
        if constexpr (sizeof(T) == 8) {
            body(basis.data(), w + first);
        } else {
            double wide[kBlockRows];
            std::copy_n(w + first, rows, wide);
            body(basis.data(), wide);
        }
    };
    for (int pass = 0; pass < 2; ++pass) {
        over_rows(n_, count + 1, partial_, part.data(), team, [&](std::int64_t first, std::int64_t rows, double* s) {
            with_rows(first, rows, [&](const T* const* basis, const double* x) { kernel.dots(rows, count, basis, 1, &x, s); });
        });
        double left = 0.0;
        over_rows(n_, 1, partial_, &left, team, [&](std::int64_t first, std::int64_t rows, double* s) {
            with_rows(first, rows, [&](const T* const* basis, double* x) {
                *s = kernel.project(rows, count, basis, 1, part.data(), nullptr, &x);
                if constexpr (sizeof(T) == 4) std::transform(x, x + rows, w + first, [](double a) { return static_cast<T>(a); });
            });
        });
        for (std::int64_t i = 0; i < count; ++i) h[i] += part[static_cast<std::size_t>(i)];
        const bool again = left < kShortened * kShortened * square;
        square = left;
        if (!again) break;
    }
    return square;
}

// Vector j becomes a random one, orthogonal to those before it. Element i of vector number p is uniform in (-1, 1), by word i % 4 of
// philox(i / 4, p): no eigenvector is missed but by a coincidence, and the cheapest law of which that is true.
template <class T>
void ThickRestart<T>::fresh(std::int64_t j, Team& team) {
    T* const w = column(j);
    std::vector<double> unused(static_cast<std::size_t>(j) + 1);
    const PhiloxKey key = philox_key(seed_);
    const double spanned = std::sqrt(kEps<T>);  // of a unit vector: what is left of it is rounding
    for (bool good = false; !good;) {
        const std::uint64_t number = drawn_++;
        team.run(block_count(n_), [&](std::int64_t block, unsigned) {
            const std::int64_t first = block * kBlockRows, last = std::min(n_, first + kBlockRows);
            for (std::int64_t i = first; i < last; i += 4) {
                const auto group = static_cast<std::uint64_t>(i) / 4;
                std::uint32_t word[4] = {static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32),
                                         static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32)};
                philox_rounds(word[0], word[1], word[2], word[3], key, 0);
                for (std::int64_t l = 0; l < std::min<std::int64_t>(4, last - i); ++l) w[i + l] = static_cast<T>((word[l] + 0.5) * 0x1p-31 - 1.0);
            }
        });
        scale(1.0 / std::sqrt(scale(1.0, w, team)), w, team);
        good = true;
        for (int pass = 0; pass < 3 && good; ++pass) {
            const double length = std::sqrt(j > 0 ? orthogonalise(w, 1.0, j, unused.data(), team) : 1.0);
            good = length > spanned;
            if (good) scale(1.0 / length, w, team);
        }
    }
}

template <class T>
void ThickRestart<T>::start(const double* v, Team& team) {
    const BlasThreadsOff single;
    used_ = kept_ = 0;
    if (!v) return fresh(0, team);
    double most = 0.0;
    for (std::int64_t i = 0; i < n_; ++i) most = std::max(most, std::abs(v[i]));
    for (std::int64_t i = 0; i < n_; ++i) column(0)[i] = static_cast<T>(v[i] / most);
    scale(1.0 / std::sqrt(scale(1.0, column(0), team)), column(0), team);
}

template <class T>
void ThickRestart<T>::extend(Operator<T>& A, std::int64_t to, Team& team) {
    const BlasThreadsOff single;
    const LanczosKernels<T>& kernel = kernels<T>();
    const double closed = kClosed * std::max(kEps<T> / 2, kEps<double> * std::sqrt(static_cast<double>(n_)));
    std::vector<double> h(static_cast<std::size_t>(size_));
    while (used_ < std::min(to, size_)) {
        const std::int64_t j = used_;
        const T* const q = column(j);
        T* const w = column(j + 1);
        choose_exponent(apply(A, q, w, 1, team));

        const bool chained = j > kept_ && beta_ > 0.0;  // w has a part beta v_{j-1}, and next to none in those before
        const double factor = std::ldexp(1.0, exponent_), back = chained ? -beta_ : 0.0;
        const T* const previous = chained ? column(j - 1) : q;
        double alpha = 0.0, square = 0.0;
        over_rows(n_, 1, partial_, &alpha, team, [&](std::int64_t first, std::int64_t rows, double* s) {
            kernel.recur(1, rows, w + first, &factor, previous + first, &back, q + first, w + first, s);
        });
        const double minus = -alpha;
        over_rows(n_, 1, partial_, &square, team, [&](std::int64_t first, std::int64_t rows, double* s) {
            kernel.update(1, rows, &minus, q + first, w + first, s);
        });
        std::fill(h.begin(), h.end(), 0.0);
        const double before = square;
        square = orthogonalise(w, square, j + 1, h.data(), team);
        if (!std::isfinite(square)) throw ArgumentError("product " + std::to_string(products_) + " of the operator overflows");
        if (restarts_ == 0)
            for (std::int64_t i = 0; i < j; ++i) skewness_ = std::max(skewness_, std::abs(h[static_cast<std::size_t>(i)]));
        h[static_cast<std::size_t>(j)] += alpha;
        if (chained) h[static_cast<std::size_t>(j - 1)] += beta_;
        norm_ = std::max(norm_, std::sqrt(before + alpha * alpha + back * back));

        // The step is done but for v_next, which is random where nothing is left.
        double beta = std::sqrt(square);
        if (j + 1 == n_) {
            beta = 0.0;
        } else if (beta <= closed * norm_) {
            beta = 0.0;
            fresh(j + 1, team);
        } else {
            scale(1.0 / beta, w, team);
        }
        for (std::int64_t i = 0; i <= j; ++i)
            t_[static_cast<std::size_t>(i * size_ + j)] = t_[static_cast<std::size_t>(j * size_ + i)] = h[static_cast<std::size_t>(i)];
        beta_ = beta;
        ++used_;
    }
}

// The first `keep` columns become V S, S used x keep.
template <class T>
void ThickRestart<T>::rotate(const T* S, std::int64_t keep, Team& team) {
    std::vector<std::vector<T>> rooms(team.threads());
    team.run(block_count(n_), [&](std::int64_t block, unsigned worker) {
        std::vector<T>& room = rooms[worker];
        room.resize(static_cast<std::size_t>(kBlockRows * keep));
        const std::int64_t first = block * kBlockRows, rows = std::min(kBlockRows, n_ - first);
        gemm('N', 'N', rows, keep, used_, T(1), v_.data() + first, ld_, S, used_, T(0), room.data(), kBlockRows);
        for (std::int64_t c = 0; c < keep; ++c) std::copy_n(room.data() + c * kBlockRows, rows, column(c) + first);
    });
    used_ = keep;
}

template <class T>
void ThickRestart<T>::restart(const double* S, const double* theta, std::int64_t keep, bool random, Team& team) {
    if (keep < 1 || keep > used_) throw ArgumentError("a restart keeps 1 to " + std::to_string(used_) + " vectors");
    const BlasThreadsOff single;
    const std::int64_t next = used_;
    rotate(std::vector<T>(S, S + used_ * keep).data(), keep, team);
    if (keep < next && next < n_) std::copy_n(column(next), n_, column(keep));
    std::fill(t_.begin(), t_.end(), 0.0);
    for (std::int64_t i = 0; i < keep; ++i) t_[static_cast<std::size_t>(i * size_ + i)] = theta[i];
    kept_ = keep;
    // Each restart rounds: products of kept vectors grow by an eps or so, and nothing else would ever look at them.
    if (++restarts_ % kInspected == 0) {
        const std::vector<double> g = gram(n_, v_.data(), ld_, keep, partial_, team);
        double lost = 0.0;
        for (std::int64_t i = 0; i < keep * keep; ++i) lost = std::max(lost, std::abs(g[static_cast<std::size_t>(i)] - (i % (keep + 1) == 0)));
        const std::vector<double> inverse = inverse_root(g, keep);
        if (lost > kDrifted<T>) rotate(std::vector<T>(inverse.begin(), inverse.end()).data(), keep, team);
    }
    if ((random || beta_ == 0.0) && keep < n_) fresh(keep, team);
}

template <class T>
void ThickRestart<T>::combine(const double* S, std::int64_t count, double* out, Team& team) const {
    const BlasThreadsOff single;
    const auto over_blocks = [&](const auto& body) {
        team.run(block_count(n_), [&](std::int64_t block, unsigned) { body(block * kBlockRows, std::min(kBlockRows, n_ - block * kBlockRows)); });
    };
    over_blocks([&](std::int64_t first, std::int64_t rows) {
        if constexpr (sizeof(T) == 8) {
            gemm('N', 'N', rows, count, used_, 1.0, v_.data() + first, ld_, S, used_, 0.0, out + first, n_);
        } else {
            std::vector<double> wide(static_cast<std::size_t>(rows * used_));
            for (std::int64_t i = 0; i < used_; ++i) std::copy_n(column(i) + first, rows, wide.data() + i * rows);
            gemm('N', 'N', rows, count, used_, 1.0, wide.data(), rows, S, used_, 0.0, out + first, n_);
        }
    });
    std::vector<double> partial;
    const std::vector<double> inverse = inverse_root(gram(n_, out, n_, count, partial, team), count);
    over_blocks([&](std::int64_t first, std::int64_t rows) {
        std::vector<double> room(static_cast<std::size_t>(rows * count));
        gemm('N', 'N', rows, count, count, 1.0, out + first, n_, inverse.data(), count, 0.0, room.data(), rows);
        for (std::int64_t c = 0; c < count; ++c) std::copy_n(room.data() + c * rows, rows, out + c * n_ + first);
    });
}

template <class T>
void ThickRestart<T>::residuals(Operator<T>& A, const double* x, const double* w, std::int64_t count, double* out, Team& team) {
    const BlasThreadsOff single;
    const std::int64_t together = std::min<std::int64_t>(count, kMaxColumns);
    Array<T> X(static_cast<std::size_t>(n_ * together)), Y(X.size());
    for (std::int64_t begin = 0; begin < count; begin += together, x += n_ * together, w += together, out += together) {
        const std::int64_t columns = std::min(together, count - begin);
        const bool by_rows = A.layout() == Layout::rows;
        const std::int64_t down = by_rows ? columns : 1, across = by_rows ? 1 : n_;
        for (std::int64_t c = 0; c < columns; ++c)
            for (std::int64_t i = 0; i < n_; ++i) X.data()[i * down + c * across] = static_cast<T>(x[c * n_ + i]);
        apply(A, X.data(), Y.data(), static_cast<int>(columns), team);
        const double factor = std::ldexp(1.0, exponent_);
        over_rows(n_, columns, partial_, out, team, [&](std::int64_t first, std::int64_t rows, double* s) {
            for (std::int64_t c = 0; c < columns; ++c) {
                double lane[4] = {};
                for (std::int64_t i = first; i < first + rows; ++i) {
                    const double r = factor * static_cast<double>(Y.data()[i * down + c * across]) - w[c] * x[c * n_ + i];
                    lane[i % 4] += r * r;
                }
                s[c] = (lane[0] + lane[1]) + (lane[2] + lane[3]);
            }
        });
        for (std::int64_t c = 0; c < columns; ++c) out[c] = std::sqrt(out[c]);
    }
}

template class ThickRestart<float>;
template class ThickRestart<double>;

}  // namespace nnqft
