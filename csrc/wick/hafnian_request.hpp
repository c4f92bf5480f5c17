// What a hafnian is asked for: the points that occur and how often, and powers of two that bring their numbers near 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "wick/hafnian.hpp"

namespace nnqft {

class Request {
public:
    // Points that coincide are merged, unless each is wanted for itself: with repeats the work is less and the digits more.
    // The problem must outlive the request.
    explicit Request(const HafnianProblem& problem, bool merge = true);

    const bool complex, mean;
    const int parts;         // doubles per number
    std::int64_t total = 0;  // points, as often as they occur

    std::size_t size() const { return points_.size(); }  // points, once each
    std::int64_t point(std::size_t i) const { return points_[i].at; }
    std::int32_t repeats(std::size_t i) const { return points_[i].repeats; }
    const double* K(std::size_t i, std::size_t j) const { return K_ + (i * stride_ + j) * static_cast<std::size_t>(parts); }  // i <= j
    const double* mu(std::size_t i) const { return mu_ + i * static_cast<std::size_t>(parts); }

    // The larger part of a number, without its sign.
    double magnitude(const double* x) const { return complex ? std::max(std::abs(x[0]), std::abs(x[1])) : std::abs(x[0]); }

private:
    struct Point {
        std::int64_t at;    // in the problem
        std::int64_t twin;  // the last point merged with it, or itself
        std::int32_t repeats;
    };
    bool same(const double* x, const double* y) const { return x[0] == y[0] && (!complex || x[1] == y[1]); }
    bool may_coincide() const;
    bool coincide(const Point& point, std::int64_t i, std::int32_t repeats) const;
    void copy();

    const HafnianProblem& in_;
    std::vector<Point> points_;
    const double *K_, *mu_;
    std::size_t stride_;
    std::vector<double> copy_;  // of K and mu, where the problem holds more than the points that occur
};

// The integers s_i for which the rows of K_ij 2^(s_i + s_j), mu_i 2^s_i have sums of absolute values near 1: haf(DKD, D mu) =
// prod d_i^r_i haf(K, mu), exactly. Without it products of many factors leave the range of doubles, and rows of different size cost
// the sieve digits: the terms that cancel have factors from one row twice. All zero, the usual case, for rows alike
// within a factor of 16; K times a power of four then scales alike, to the bit.
class Scales {
public:
    Scales() = default;  // all zero
    explicit Scales(const Request& request);

    bool trivial() const { return power_.empty(); }
    int operator()(std::size_t i) const { return power_.empty() ? 0 : power_[i]; }
    long exponent_back() const { return back_; }  // what the hafnian of the scaled numbers is to be multiplied with, as a power of two

private:
    std::vector<int> power_;  // empty: all zero
    long back_ = 0;
};

inline std::complex<double> scaled(std::complex<double> value, long exponent) {
    return {std::scalbln(value.real(), exponent), std::scalbln(value.imag(), exponent)};
}

// Where derivatives go: d haf / d K_ij, halved into both places where they differ, and d haf / d mu_i.
struct Slopes {
    const Request& request;
    std::int64_t m;
    double *K, *mu;

    void add_K(std::size_t i, std::size_t j, std::complex<double> slope) const {
        const std::int64_t a = request.point(i), b = request.point(j);
        const double share = a == b ? 1.0 : 0.5;
        add(K + (a * m + b) * request.parts, share * slope);
        if (a != b) add(K + (b * m + a) * request.parts, share * slope);
    }
    void add_mu(std::size_t i, std::complex<double> slope) const { add(mu + request.point(i) * request.parts, slope); }

private:
    void add(double* to, std::complex<double> x) const {
        to[0] += x.real();
        if (request.complex) to[1] += x.imag();
    }
};

}  // namespace nnqft
