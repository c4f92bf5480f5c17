#include "lanczos/restart.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "lanczos/kernels.hpp"

namespace nnqft {
namespace {

constexpr double kClosed = 8.0;      // times eps |A| sqrt(n): what rounding leaves where the space is closed
constexpr double kShortened = 0.7;
constexpr double kTooLarge = 0x1p400;  // of products
constexpr int kMaxExponent = 1000;     // 2^e and 2^-e are normal numbers
constexpr double kSpanned = 1e-8;    // of a random unit vector: what is left of it is rounding

std::int64_t block_count(std::int64_t n) { return (n + kBlockRows - 1) / kBlockRows; }
const LanczosKernels<double>& kernels() { return lanczos_kernels<double>(resolve_isa("")); }

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

}  // namespace

ThickRestart::ThickRestart(std::int64_t n, std::int64_t size, std::uint64_t seed)
    : n_(n), size_(size), ld_((n + 7) / 8 * 8 + 8), seed_(seed) {  // columns a power of two apart would share sets of the cache
    if (n < 1 || size < 1 || size > n)
        throw ArgumentError("a basis of " + std::to_string(size) + " vectors does not fit dimension " + std::to_string(n));
    if (static_cast<double>(ld_) * static_cast<double>(size + 2) > 0x1p58) throw ArgumentError("so many vectors do not fit into memory");
    v_ = Array<double>(static_cast<std::size_t>(ld_ * (size + 1)));
    t_.assign(static_cast<std::size_t>(size * size), 0.0);
}

// y = 2^exponent A x as it comes: the factor is left to the caller. Returns max |y|, finite.
double ThickRestart::apply(Operator<double>& A, const double* x, double* y, Team& team) {
    if (A.size() != n_) throw ShapeError("the operator has size " + std::to_string(A.size()) + ", the basis " + std::to_string(n_));
    {
        const std::lock_guard<std::recursive_mutex> lock(A.busy);
        A.apply(x, y, 1, team);
    }
    std::vector<double> largest(static_cast<std::size_t>(block_count(n_)));
    team.run(block_count(n_), [&](std::int64_t block, unsigned) {
        double most = 0.0;
        for (std::int64_t i = block * kBlockRows; i < std::min(n_, (block + 1) * kBlockRows); ++i) {
            const double a = std::abs(y[i]);
            if (!(a <= most)) most = a;  // a NaN stays: nothing is above it
            if (most != most) break;
        }
        largest[static_cast<std::size_t>(block)] = most;
    });
    double most = 0.0;
    for (const double a : largest)
        if (!(a <= most) && most == most) most = a;
    ++products_;
    if (!std::isfinite(most))
        throw ArgumentError("product " + std::to_string(products_) + " of the operator with a finite vector is not finite");
    return most;
}

// Products near one, whose squares neither overflow nor vanish: once from the first that is not zero, which may lie in a small
// invariant subspace, and again from one that is larger by far.
void ThickRestart::choose_exponent(double most) {
    if (most == 0.0 || (scaled_ && std::ldexp(most, exponent_) < kTooLarge)) return;
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

double ThickRestart::norm2(const double* x, Team& team) {
    double sum = 0.0;
    over_rows(n_, 1, partial_, &sum, team, [&](std::int64_t first, std::int64_t rows, double* s) {
        gemv('T', rows, 1, 1.0, x + first, rows, x + first, 0.0, s);
    });
    return sum;
}

void ThickRestart::scale(double factor, double* x, Team& team) {
    double unused = 0.0;
    over_rows(n_, 1, partial_, &unused, team, [&](std::int64_t first, std::int64_t rows, double* s) {
        kernels().scale(1, rows, &factor, x + first, x + first, s);
    });
}

// w without its part in the first `count` vectors, which is added to h; `square` is |w|^2 before, what is returned after.
double ThickRestart::orthogonalise(double* w, double square, std::int64_t count, double* h, Team& team) {
    std::vector<double> part(static_cast<std::size_t>(count));
    for (int pass = 0; pass < 2; ++pass) {
        over_rows(n_, count, partial_, part.data(), team, [&](std::int64_t first, std::int64_t rows, double* s) {
            gemv('T', rows, count, 1.0, v_.data() + first, ld_, w + first, 0.0, s);
        });
        double left = 0.0;
        over_rows(n_, 1, partial_, &left, team, [&](std::int64_t first, std::int64_t rows, double* s) {
            gemv('N', rows, count, -1.0, v_.data() + first, ld_, part.data(), 1.0, w + first);
            gemv('T', rows, 1, 1.0, w + first, rows, w + first, 0.0, s);
        });
        for (std::int64_t i = 0; i < count; ++i) h[i] += part[static_cast<std::size_t>(i)];
        const bool again = left < kShortened * kShortened * square;
        square = left;
        if (!again) break;
    }
    return square;
}

// Vector j becomes a random one, orthogonal to those before it.
void ThickRestart::fresh(std::int64_t j, Team& team) {
    double* const w = column(j);
    std::vector<double> unused(static_cast<std::size_t>(j) + 1);
    for (;;) {
        draw_start(StartLaw::gaussian, seed_, drawn_++, n_, w);
        scale(1.0 / std::sqrt(norm2(w, team)), w, team);
        bool good = true;
        for (int pass = 0; pass < 3 && good; ++pass) {
            const double length = std::sqrt(j > 0 ? orthogonalise(w, 1.0, j, unused.data(), team) : 1.0);
            good = length > kSpanned;
            if (good) scale(1.0 / length, w, team);
        }
        if (good) return;
    }
}

void ThickRestart::start(const double* v, Team& team) {
    const BlasThreadsOff single;
    used_ = kept_ = 0;
    if (!v) return fresh(0, team);
    double largest = 0.0;
    for (std::int64_t i = 0; i < n_; ++i) largest = std::max(largest, std::abs(v[i]));
    for (std::int64_t i = 0; i < n_; ++i) column(0)[i] = v[i] / largest;
    scale(1.0 / std::sqrt(norm2(column(0), team)), column(0), team);
}

void ThickRestart::extend(Operator<double>& A, std::int64_t to, Team& team) {
    const BlasThreadsOff single;
    const LanczosKernels<double>& kernel = kernels();
    std::vector<double> h(static_cast<std::size_t>(size_));
    while (used_ < std::min(to, size_)) {
        const std::int64_t j = used_;
        const double* const q = column(j);
        double* const w = column(j + 1);
        choose_exponent(apply(A, q, w, team));

        const bool chained = j > kept_ && beta_ > 0.0;  // w has a part beta v_{j-1}, and next to none in those before
        const double factor = std::ldexp(1.0, exponent_), back = chained ? -beta_ : 0.0;
        const double* const previous = chained ? column(j - 1) : q;
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
        if (!restarted_)
            for (std::int64_t i = 0; i < j; ++i) skewness_ = std::max(skewness_, std::abs(h[static_cast<std::size_t>(i)]));
        h[static_cast<std::size_t>(j)] += alpha;
        if (chained) h[static_cast<std::size_t>(j - 1)] += beta_;
        norm_ = std::max(norm_, std::sqrt(before + alpha * alpha + back * back));

        // The step is done but for v_next, which is random where nothing is left.
        double beta = std::sqrt(square);
        if (j + 1 == n_) {
            beta = 0.0;
        } else if (beta <= kClosed * std::numeric_limits<double>::epsilon() * norm_ * std::sqrt(static_cast<double>(n_))) {
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

void ThickRestart::restart(const double* S, const double* theta, std::int64_t keep, bool random, Team& team) {
    if (keep < 1 || keep > used_) throw ArgumentError("a restart keeps 1 to " + std::to_string(used_) + " vectors");
    const BlasThreadsOff single;
    std::vector<std::vector<double>> rooms(team.threads());
    team.run(block_count(n_), [&](std::int64_t block, unsigned worker) {
        std::vector<double>& room = rooms[worker];
        room.resize(static_cast<std::size_t>(kBlockRows * keep));
        const std::int64_t first = block * kBlockRows, rows = std::min(kBlockRows, n_ - first);
        gemm('N', 'N', rows, keep, used_, 1.0, v_.data() + first, ld_, S, used_, 0.0, room.data(), kBlockRows);
        for (std::int64_t c = 0; c < keep; ++c) std::copy_n(room.data() + c * kBlockRows, rows, column(c) + first);
    });
    if (keep < used_ && used_ < n_) std::copy_n(column(used_), n_, column(keep));
    std::fill(t_.begin(), t_.end(), 0.0);
    for (std::int64_t i = 0; i < keep; ++i) t_[static_cast<std::size_t>(i * size_ + i)] = theta[i];
    used_ = kept_ = keep;
    restarted_ = true;
    if ((random || beta_ == 0.0) && keep < n_) fresh(keep, team);
}

void ThickRestart::combine(const double* S, std::int64_t count, double* out, Team& team) const {
    const BlasThreadsOff single;
    team.run(block_count(n_), [&](std::int64_t block, unsigned) {
        const std::int64_t first = block * kBlockRows, rows = std::min(kBlockRows, n_ - first);
        gemm('N', 'N', rows, count, used_, 1.0, v_.data() + first, ld_, S, used_, 0.0, out + first, n_);
    });
}

void ThickRestart::residuals(Operator<double>& A, const double* x, const double* w, std::int64_t count, double* out, Team& team) {
    const BlasThreadsOff single;
    Array<double> y(static_cast<std::size_t>(n_));
    for (std::int64_t c = 0; c < count; ++c) {
        const double* const v = x + c * n_;
        apply(A, v, y.data(), team);
        const double factor = std::ldexp(1.0, exponent_), minus = -w[c];
        over_rows(n_, 1, partial_, out + c, team, [&](std::int64_t first, std::int64_t rows, double* s) {
            double unused;
            kernels().recur(1, rows, y.data() + first, &factor, v + first, &minus, v + first, y.data() + first, &unused);
            gemv('T', rows, 1, 1.0, y.data() + first, rows, y.data() + first, 0.0, s);
        });
        out[c] = std::sqrt(out[c]);
    }
}

}  // namespace nnqft
