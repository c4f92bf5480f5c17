#include "wick/hafnian_request.hpp"

#include <cmath>
#include <limits>

namespace nnqft {

// ---------------------------------------------------------------- points

Request::Request(const HafnianProblem& problem, bool merge)
    : complex(problem.complex), mean(problem.mu != nullptr), parts(complex ? 2 : 1), in_(problem), K_(problem.K), mu_(problem.mu),
      stride_(static_cast<std::size_t>(problem.points)) {
    points_.reserve(stride_);
    merge = merge && may_coincide();
    for (std::int64_t i = 0; i < in_.points; ++i) {
        const std::int32_t r = in_.repeats ? in_.repeats[i] : 1;
        if (r == 0) continue;
        total += r;
        auto point = merge ? points_.begin() : points_.end();
        while (point != points_.end() && !coincide(*point, i, r)) ++point;
        if (point == points_.end()) {
            points_.push_back({i, i, r});
        } else {
            point->repeats += r;
            point->twin = i;
        }
    }
    if (size() < stride_) copy();
}

namespace {

// False if a look at two rows of m numbers tells that no two points coincide: the entries that a pair would share differ.
template <int Parts>
bool entries_recur(const double* first, std::int64_t m) {
    const double* second = first + m * Parts;
    int same = first[2 * Parts] == second[2 * Parts];  // points 0 and 1
    for (std::int64_t i = 2; i < m; ++i) {
        same |= first[Parts] == second[i * Parts];
        for (std::int64_t j = 1; j < i; ++j) same |= first[j * Parts] == first[i * Parts];
    }
    return same;
}

}  // namespace

bool Request::may_coincide() const {
    if (in_.points < 3) return true;
    if (in_.repeats && std::count(in_.repeats, in_.repeats + in_.points, 0) > 0) return true;  // points that do not occur may differ
    return complex ? entries_recur<2>(in_.K, in_.points) : entries_recur<1>(in_.K, in_.points);
}

bool Request::coincide(const Point& point, std::int64_t i, std::int32_t repeats) const {
    const auto entry = [this](std::int64_t a, std::int64_t b) { return in_.K + (std::min(a, b) * in_.points + std::max(a, b)) * parts; };
    const std::int64_t p = point.at;
    for (std::int64_t j = 0; j < in_.points; ++j) {
        if (j != i && j != p && !same(entry(p, j), entry(i, j)) && !(in_.repeats && in_.repeats[j] == 0)) return false;
    }
    const double* variance = entry(p, i);
    if (point.twin == p ? point.repeats > 1 && !same(variance, entry(p, p)) : !same(variance, entry(p, point.twin))) return false;
    if (repeats > 1 && !same(variance, entry(i, i))) return false;
    return !mean || same(in_.mu + p * parts, in_.mu + i * parts);
}

// The variance of a point lies in its covariance with a twin, if it has one: the diagonal counts for repeats only.
void Request::copy() {
    const std::size_t m = size(), p = static_cast<std::size_t>(parts);
    copy_.resize((m + 1) * m * p);
    double* to = copy_.data();
    for (const Point& a : points_) {
        for (const Point& b : points_) to = std::copy_n(in_.K + (a.at * in_.points + (&a == &b ? a.twin : b.at)) * parts, p, to);
    }
    for (const Point& a : points_) {
        if (mean) to = std::copy_n(in_.mu + a.at * parts, p, to);
    }
    K_ = copy_.data();
    mu_ = K_ + m * m * p;
    stride_ = m;
}

// ---------------------------------------------------------------- scales

namespace {

// Of those that row i adds: the diagonal counts where the point repeats.
std::size_t first_column(const Request& request, std::size_t i) { return i + (request.repeats(i) < 2); }

class Balance {
public:
    Balance(const Request& request, std::vector<int>& power) : request_(request), m_(request.size()), power_(power) {}

    // Sweeps that bring each row's largest entry near 1, on exponents alone: whatever the range, nothing over- or underflows.
    void exponents() {
        constexpr int kNone = std::numeric_limits<int>::min() / 4;
        const auto exponent = [&](const double* x) {
            int e = kNone;
            if (request_.magnitude(x) > 0.0) std::frexp(request_.magnitude(x), &e);
            return e;
        };
        std::vector<int> K(m_ * m_, kNone), mu(m_, kNone), change(m_);
        for (std::size_t i = 0; i < m_; ++i) {
            if (request_.mean) mu[i] = exponent(request_.mu(i));
            for (std::size_t j = first_column(request_, i); j < m_; ++j) K[i * m_ + j] = K[j * m_ + i] = exponent(request_.K(i, j));
        }
        for (int sweep = 0; sweep < 12; ++sweep) {
            for (std::size_t i = 0; i < m_; ++i) {
                int top = mu[i] + power_[i];
                for (std::size_t j = 0; j < m_; ++j) top = std::max(top, K[i * m_ + j] + power_[i] + power_[j]);
                change[i] = top < kNone / 2 ? 0 : -top / 2;
            }
            for (std::size_t i = 0; i < m_; ++i) power_[i] += change[i];
        }
    }

    // Then sums: one row that all others lean on still may be too large by any factor. Each sweep is a symmetric Sinkhorn step.
    void sums() {
        std::vector<double> A(m_ * m_, 0.0), mu(m_, 0.0), d(m_, 1.0);
        for (std::size_t i = 0; i < m_; ++i) {
            if (request_.mean) mu[i] = std::ldexp(request_.magnitude(request_.mu(i)), power_[i]);
            for (std::size_t j = first_column(request_, i); j < m_; ++j) {
                A[i * m_ + j] = A[j * m_ + i] = std::ldexp(request_.magnitude(request_.K(i, j)), power_[i] + power_[j]);
            }
        }
        for (int sweep = 0; sweep < 1000; ++sweep) {
            double away = 1.0;
            for (std::size_t i = 0; i < m_; ++i) {
                double sum = mu[i];
                for (std::size_t j = 0; j < m_; ++j) sum += A[i * m_ + j] * d[j];
                sum *= d[i];
                if (!(sum > 0.0)) continue;
                away = std::max({away, sum, 1.0 / sum});
                d[i] /= std::sqrt(sum);
            }
            if (away < 2.0) break;
        }
        for (std::size_t i = 0; i < m_; ++i) power_[i] += static_cast<int>(std::lround(std::log2(d[i])));
    }

private:
    const Request& request_;
    const std::size_t m_;
    std::vector<int>& power_;
};

}  // namespace

Scales::Scales(const Request& request) {
    const std::size_t m = request.size();
    std::vector<double> sums(m, 0.0);
    for (std::size_t i = 0; i < m; ++i) {
        double sum = sums[i];
        if (request.mean) sum += request.magnitude(request.mu(i)) * request.magnitude(request.mu(i));
        for (std::size_t j = first_column(request, i); j < m; ++j) {
            const double x = request.magnitude(request.K(i, j));
            sum += x;
            if (j > i) sums[j] += x;
        }
        sums[i] = sum;
    }

    double low = std::numeric_limits<double>::infinity(), high = 0.0;
    for (const double x : sums) {
        low = x > 0.0 ? std::min(low, x) : low;
        high = std::max(high, x);
    }
    if (high == 0.0) return;
    const int products = static_cast<int>(std::clamp<std::int64_t>(request.total, 1, 400));
    const bool alike = high < 16.0 * low;
    if (alike && high < std::ldexp(1.0, 400 / products) && high > std::ldexp(1.0, -400 / products)) return;

    double largest = 0.0;
    for (std::size_t i = 0; i < m; ++i) {
        if (request.mean) largest = std::max(largest, request.magnitude(request.mu(i)) * request.magnitude(request.mu(i)));
        for (std::size_t j = first_column(request, i); j < m; ++j) largest = std::max(largest, request.magnitude(request.K(i, j)));
    }
    int e = 1024;
    if (std::isfinite(largest)) std::frexp(largest, &e);
    power_.assign(m, e >= 0 ? -(e / 2) : (1 - e) / 2);
    if (!alike) {
        Balance balance(request, power_);
        balance.exponents();
        balance.sums();
    }
    for (std::size_t i = 0; i < m; ++i) back_ -= static_cast<long>(power_[i]) * request.repeats(i);
}

}  // namespace nnqft
