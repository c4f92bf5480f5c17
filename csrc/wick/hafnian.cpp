#include "wick/hafnian.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.hpp"
#include "wick/hafnian_multisets.hpp"
#include "wick/hafnian_sieve.hpp"
#include "wick/small.hpp"

namespace nnqft {
namespace {

using Complex = std::complex<double>;

// Few points, once each: straight-line code over shared minors.
bool minors_serve(const HafnianProblem& problem) {
    return problem.points > 0 && problem.points <= 12 && !problem.repeats && (problem.mu || problem.points % 2 == 0);
}

bool trivial(const Request& request) { return request.total == 0 || (request.total % 2 && !request.mean); }

bool prefers_multisets(const Request& request, const Sieve& sieve) {
    if (multisets_bytes(request) >= 1e9) return false;
    const double work = multisets_work(request);
    return work < 500.0 || work < sieve.multiply_adds;
}

void require_reach(const Request& request, const Sieve& sieve) {
    if (!std::isfinite(sieve.multiply_adds)) throw ArgumentError("the hafnian of " + std::to_string(request.total) + " points is out of reach");
}

}  // namespace

HafnianWork hafnian_work(const HafnianProblem& problem, bool derivatives) {
    const double cost = derivatives ? kAdjointCost : 1.0;
    if (minors_serve(problem) && !(derivatives && problem.complex)) {
        return {"minors", cost * 8.0 * std::ldexp(1.0, static_cast<int>(problem.points)), 0.0};
    }
    const Request request(problem, !derivatives);
    if (trivial(request)) return {"none", 0.0, 0.0};
    const Sieve sieve(request);
    if (prefers_multisets(request, sieve)) return {"multisets", multisets_work(request), multisets_bytes(request)};
    return {"sieve", cost * sieve.multiply_adds, (derivatives ? 2.0 : 1.0) * sieve.bytes()};
}

double hafnian_seconds(const HafnianWork& work, Isa isa) { return work.multiply_adds / multiply_adds_per_second(isa); }

HafnianResult hafnian(const HafnianProblem& problem, Isa isa, unsigned threads, const HafnianPoll& poll, double most_work) {
    if (minors_serve(problem)) {
        const int n = static_cast<int>(problem.points);
        if (!problem.complex) return {small_hafnian(n, problem.K, n, problem.mu)};
        return {small_hafnian_complex(n, reinterpret_cast<const Complex*>(problem.K), n, reinterpret_cast<const Complex*>(problem.mu))};
    }
    const Request request(problem);
    if (request.total == 0) return {1.0};
    if (trivial(request)) return {0.0};
    const Sieve sieve(request);
    if (prefers_multisets(request, sieve)) {
        if (multisets_work(request) > most_work) return {0.0, false};
        return {multisets_value(request)};
    }
    if (sieve.multiply_adds > most_work) return {0.0, false};
    require_reach(request, sieve);
    return sieve_value(request, sieve, isa, threads, poll);
}

HafnianResult hafnian(const HafnianProblem& problem, const SignSum& sum) {
    const Request request(problem);
    const Sieve sieve(request);
    require_reach(request, sieve);
    return sieve_value(request, sieve, sum);
}

HafnianResult hafnian(const HafnianProblem& problem, const MultisetSum& sum) { return multisets_value(Request(problem), sum); }

bool hafnian_derivative(const HafnianProblem& problem, Isa isa, unsigned threads, const HafnianPoll& poll, double* K_bar, double* mu_bar) {
    const Request request(problem, false);
    const std::int64_t m = problem.points;
    std::fill_n(K_bar, m * m * request.parts, 0.0);
    if (mu_bar) std::fill_n(mu_bar, m * request.parts, 0.0);
    if (trivial(request)) return true;
    if (minors_serve(problem) && !problem.complex) {
        small_hafnian_derivative(static_cast<int>(m), problem.K, m, problem.mu, K_bar, mu_bar);
        return true;
    }
    const Slopes out{request, m, K_bar, mu_bar};
    const Sieve sieve(request);
    if (prefers_multisets(request, sieve)) {
        multisets_slopes(request, out);
        return true;
    }
    require_reach(request, sieve);
    return sieve_slopes(request, sieve, isa, threads, poll, out);
}

}  // namespace nnqft
