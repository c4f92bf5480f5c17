// Hafnian and loop hafnian of one symmetric matrix, real or complex, with repeated points:
//
//     haf(K, mu; r) = E prod_i f_i^r_i,  f Gaussian with covariance K and mean mu    (mu = 0: the hafnian)
//
// Three methods, chosen by their cost: shared minors for few points (small.hpp), the recursion over sub-multisets for few points
// of high multiplicity, the signed pair sieve (sieve.hpp) for all else. All results are the same bits on every machine.
#pragma once

#include <complex>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "core/isa.hpp"
#include "wick/sieve.hpp"

namespace nnqft {

struct HafnianProblem {
    std::int64_t points;           // m
    bool complex;                  // (re, im) pairs in K and mu
    const double* K;               // (m, m), the upper triangle and, where a point repeats, the diagonal are read
    const double* mu;              // (m), or null
    const std::int32_t* repeats;   // (m), non-negative, or null for once each
};

struct HafnianWork {
    const char* method;      // "minors", "multisets" or "sieve"; "none" for what is 0 or 1 at sight
    double multiply_adds;    // of real numbers, by all lanes
    double bytes;            // of memory per thread
};

constexpr std::int32_t kMaxRepeats = 1 << 20;

// Of the value, or of all derivatives: there points that coincide stay apart.
HafnianWork hafnian_work(const HafnianProblem& problem, bool derivatives = false);
double hafnian_seconds(const HafnianWork& work, Isa isa);  // on one thread, to a factor of two or so

// Called every 50 ms of long work with the share done; false gives up.
using HafnianPoll = std::function<bool(double)>;

// `finished` is false if poll gave up, or if the work exceeds `most_work` multiply-adds: then nothing was done. threads >= 1; the result
// does not depend on it, nor on isa.
struct HafnianResult {
    std::complex<double> value;
    bool finished = true;
};
HafnianResult hafnian(const HafnianProblem& problem, Isa isa, unsigned threads, const HafnianPoll& poll,
                      double most_work = std::numeric_limits<double>::infinity());

// The sum over all signs of t_1 .. t_l times the closed form (sieve.hpp), the first sign being +1: one number, two doubles if complex, its bits
// if integer. `input` as SieveSubtree takes it; false if given up.
using SignSum = std::function<bool(const SievePlan& plan, SieveNumbers numbers, const std::vector<double>& input, std::vector<double>& sum)>;

// By the sieve, for a problem whose method that is: the same value, with the sum over signs found by `sum`.
HafnianResult hafnian(const HafnianProblem& problem, const SignSum& sum);

// The recursion over sub-multisets (hafnian_multisets.hpp) on points in its order: K (m, m), mu (m), zeros without a mean, (re, im) where complex.
struct MultisetRecursion {
    bool complex, mean;
    std::vector<double> K, mu;
    std::vector<std::int32_t> repeats;  // rising
};
using MultisetSum = std::function<bool(const MultisetRecursion& recursion, std::complex<double>& value)>;

// For a problem whose method that is.
HafnianResult hafnian(const HafnianProblem& problem, const MultisetSum& sum);

// d haf / d K_ij into K_bar (m, m), where K_ij and K_ji are one variable and each holds half, and d haf / d mu_i into mu_bar (m), null
// without mean; (re, im) where complex. About four times the work; false if poll gave up.
bool hafnian_derivative(const HafnianProblem& problem, Isa isa, unsigned threads, const HafnianPoll& poll, double* K_bar, double* mu_bar);

}  // namespace nnqft
