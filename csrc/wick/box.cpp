#include "wick/box.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <complex>
#include <vector>

namespace nnqft {
namespace {

// The plain product: operator* of complex numbers asks for NaN first.
inline double times(double a, double b) { return a * b; }
inline std::complex<double> times(std::complex<double> a, std::complex<double> b) {
    return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

template <class T>
void add_scaled(T scale, const T* from, T* to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) to[i] += times(scale, from[i]);
}

template <class T>
class Box {
public:
    Box(const BoxProblem& p, T* out, const std::function<void()>& poll)
        : n_(p.n), cutoff_(p.cutoff), A_(reinterpret_cast<const T*>(p.A)), mu_(reinterpret_cast<const T*>(p.mu)), norm_(p.norm), out_(out), poll_(poll) {
        for (std::int64_t k = 0; k <= cutoff_; ++k) weight_.push_back(norm_ ? std::sqrt(static_cast<double>(k)) : static_cast<double>(k));
        stride_.assign(static_cast<std::size_t>(n_) + 1, 1);
        for (std::int64_t i = n_; i-- > 0;) stride_[at(i)] = stride_[at(i + 1)] * cutoff_;
    }

    // Axes are filled from the last to the first: what the first axes leave at 0 is one row, and k_i counts through rows.
    void fill() {
        out_[0] = T(1.0);
        for (std::int64_t i = n_; i-- > 0;) {
            const std::int64_t size = stride_[at(i + 1)];
            for (std::int64_t t = 0; t + 1 < cutoff_; ++t) row(i, t, out_ + t * size, out_ + (t + 1) * size, size);
        }
    }

private:
    static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

    void row(std::int64_t i, std::int64_t t, const T* now, T* next, std::int64_t size) {
        if (mu_) {
            for (std::int64_t k = 0; k < size; ++k) next[k] = times(mu_[i], now[k]);
        } else {
            std::fill_n(next, size, T(0.0));
        }
        if (t > 0) add_scaled(A_[i * n_ + i] * weight_[at(t)], now - size, next, size);
        for (std::int64_t j = i + 1; j < n_; ++j) shifted(A_[i * n_ + j], stride_[at(j + 1)], now, next, size);
        if (norm_) {
            for (std::int64_t k = 0; k < size; ++k) next[k] /= weight_[at(t) + 1];
        }
    }

    // next[k] += a k_j now[k - e_j], where e_j is `step` places away.
    void shifted(T a, std::int64_t step, const T* now, T* next, std::int64_t size) {
        for (std::int64_t first = 0; first < size; first += step * cutoff_) {
            ask(step * cutoff_);
            if (step == 1) {
                for (std::int64_t k = 1; k < cutoff_; ++k) next[first + k] += times(a * weight_[at(k)], now[first + k - 1]);
                continue;
            }
            for (std::int64_t k = 1; k < cutoff_; ++k) add_scaled(a * weight_[at(k)], now + first + (k - 1) * step, next + first + k * step, step);
        }
    }

    void ask(std::int64_t work) {
        constexpr std::int64_t kOften = std::int64_t{1} << 20;
        if ((done_ += work) < kOften) return;
        done_ = 0;
        if (poll_ && Clock::now() - asked_ > std::chrono::milliseconds(50)) {
            poll_();
            asked_ = Clock::now();
        }
    }

    using Clock = std::chrono::steady_clock;
    const std::int64_t n_, cutoff_;
    const T* const A_;
    const T* const mu_;
    const bool norm_;
    T* const out_;
    const std::function<void()>& poll_;
    std::vector<double> weight_;         // k_j, or sqrt(k_j): the norms of k and of k - e_j differ by it
    std::vector<std::int64_t> stride_;   // of axis i - 1
    std::int64_t done_ = 0;
    Clock::time_point asked_ = Clock::now();
};

}  // namespace

void hafnian_box(const BoxProblem& problem, double* out, const std::function<void()>& poll) {
    if (problem.complex) return Box<std::complex<double>>(problem, reinterpret_cast<std::complex<double>*>(out), poll).fill();
    Box<double>(problem, out, poll).fill();
}

}  // namespace nnqft
