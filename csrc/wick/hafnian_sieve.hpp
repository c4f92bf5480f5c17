// A hafnian, or its derivatives, by the signed pair sieve: its plan, its input, the tree cut into tasks, the end result (sieve.hpp).
#pragma once

#include <cstddef>
#include <vector>

#include "core/isa.hpp"
#include "wick/hafnian_request.hpp"
#include "wick/sieve.hpp"

namespace nnqft {

struct Sieve {
    explicit Sieve(const Request& request);

    SievePlan plan;                     // not filled in if the work is infinite: too many levels
    std::vector<std::size_t> vertices;  // places in the request; its size() stands for a point with mu = 1 and no covariance
    double multiply_adds = 0.0;
    int halvings;  // signs that were not summed in closed form

    double bytes() const;  // per thread
};

double multiply_adds_per_second(Isa isa);  // on one thread, roughly: for estimates and for how to cut the work
constexpr double kAdjointCost = 4.0;       // of a value with all its derivatives, in values

// The value, whose sum over signs is found by `sum`.
HafnianResult sieve_value(const Request& request, const Sieve& sieve, const SignSum& sum);

// For finite work. poll and threads: as for hafnian().
HafnianResult sieve_value(const Request& request, const Sieve& sieve, Isa isa, unsigned threads, const HafnianPoll& poll);
bool sieve_slopes(const Request& request, const Sieve& sieve, Isa isa, unsigned threads, const HafnianPoll& poll, const Slopes& out);

}  // namespace nnqft
