#include "wick/hafnian.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <string>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/sieve.hpp"

namespace nnqft {
namespace {

using Complex = std::complex<double>;

// ---------------------------------------------------------------- what is asked

// The points that occur, with how often; parts is 2 for complex numbers.
struct Request {
    const HafnianProblem& in;
    int parts;
    std::vector<std::int64_t> points;
    std::vector<std::int32_t> repeats;
    std::int64_t total = 0;

    explicit Request(const HafnianProblem& problem) : in(problem), parts(problem.complex ? 2 : 1) {
        for (std::int64_t i = 0; i < in.points; ++i) {
            const std::int32_t r = in.repeats ? in.repeats[i] : 1;
            if (r == 0) continue;
            points.push_back(i);
            repeats.push_back(r);
            total += r;
        }
    }
    const double* K(std::size_t i, std::size_t j) const { return in.K + (points[i] * in.points + points[j]) * parts; }
    const double* mu(std::size_t i) const { return in.mu + points[i] * parts; }
    std::size_t size() const { return points.size(); }
};

// ---------------------------------------------------------------- scale

// Powers of two s with K_ij 2^(s_i + s_j) and mu_i 2^s_i of moderate size: haf(DKD, D mu) = prod d_i^r_i haf(K, mu), exactly.
// All zero, and nothing is touched, unless products of `total` factors might leave the range of doubles.
std::vector<int> scales(const Request& request) {
    const std::size_t m = request.size();
    const auto size = [&](const double* x) { return request.parts == 2 ? std::max(std::abs(x[0]), std::abs(x[1])) : std::abs(x[0]); };
    const auto used = [&](std::size_t i, std::size_t j) { return i != j || request.repeats[i] > 1; };
    std::vector<int> s(m, 0);

    std::vector<double> top(m, 0.0);  // largest entry of each row
    for (std::size_t i = 0; i < m; ++i) {
        if (request.in.mu) top[i] = std::max(top[i], size(request.mu(i)));
        for (std::size_t j = i; j < m; ++j) {
            if (!used(i, j)) continue;
            const double x = size(request.K(i, j));
            top[i] = std::max(top[i], x);
            top[j] = std::max(top[j], x);
        }
    }
    const double safe = std::ldexp(1.0, static_cast<int>(400 / std::max<std::int64_t>(request.total, 1)));
    if (std::all_of(top.begin(), top.end(), [=](double x) { return x == 0.0 || (x < safe && x * safe > 1.0); })) return s;

    // Sweeps that move every row's largest entry towards 1, on exponents alone.
    constexpr int kNone = std::numeric_limits<int>::min() / 4;
    const auto exponent = [&](const double* x) {
        int e = kNone;
        if (size(x) > 0.0) std::frexp(size(x), &e);
        return e;
    };
    std::vector<int> K(m * m, kNone), mu(m, kNone), change(m);
    for (std::size_t i = 0; i < m; ++i) {
        if (request.in.mu) mu[i] = exponent(request.mu(i));
        for (std::size_t j = i; j < m; ++j)
            if (used(i, j)) K[i * m + j] = K[j * m + i] = exponent(request.K(i, j));
    }
    for (int sweep = 0; sweep < 8; ++sweep) {
        for (std::size_t i = 0; i < m; ++i) {
            int largest = mu[i] + s[i];
            for (std::size_t j = 0; j < m; ++j) largest = std::max(largest, K[i * m + j] + s[i] + s[j]);
            change[i] = largest < kNone / 2 ? 0 : -largest / 2;
        }
        for (std::size_t i = 0; i < m; ++i) s[i] += change[i];
    }
    return s;
}

Complex scaled_back(Complex value, const Request& request, const std::vector<int>& s) {
    long exponent = 0;
    for (std::size_t i = 0; i < s.size(); ++i) exponent -= static_cast<long>(s[i]) * request.repeats[i];
    return {std::scalbln(value.real(), exponent), std::scalbln(value.imag(), exponent)};
}

// ---------------------------------------------------------------- recursion over sub-multisets

// haf(r) = mu_i haf(r - e_i) + K_ii (r_i - 1) haf(r - 2 e_i) + sum_j>i K_ij r_j haf(r - e_i - e_j) with i the first point left:
// nothing is subtracted. The table over all r' <= r has the point of highest multiplicity as its fastest index.
template <class T>
T multiset_recursion(const Request& request, const std::vector<int>& s) {
    const std::size_t m = request.size();
    std::vector<std::size_t> order(m);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return request.repeats[a] < request.repeats[b]; });
    const auto number = [&](const double* x, int shift) {
        if constexpr (std::is_same_v<T, double>) return std::ldexp(x[0], shift);
        else return T(std::ldexp(x[0], shift), std::ldexp(x[1], shift));
    };
    std::vector<T> K(m * m), mu(m, T(0));
    std::vector<std::int32_t> r(m);
    std::vector<std::size_t> stride(m + 1, 1);
    for (std::size_t i = 0; i < m; ++i) {
        r[i] = request.repeats[order[i]];
        for (std::size_t j = 0; j < m; ++j) {
            const std::size_t a = std::min(order[i], order[j]), b = std::max(order[i], order[j]);
            K[i * m + j] = number(request.K(a, b), s[a] + s[b]);
        }
        if (request.in.mu) mu[i] = number(request.mu(order[i]), s[order[i]]);
    }
    for (std::size_t i = m; i-- > 0;) stride[i] = stride[i + 1] * static_cast<std::size_t>(r[i] + 1);
    // stride[i + 1]: step of point i
    const std::size_t last = m - 1, row = static_cast<std::size_t>(r[last]) + 1;
    std::vector<T> table(stride[0], T(0));
    table[0] = T(1);
    for (std::size_t t = 1; t < row; ++t) {
        table[t] = mu[last] * table[t - 1];
        if (t > 1) table[t] += K[last * m + last] * static_cast<double>(t - 1) * table[t - 2];
    }
    std::vector<std::int32_t> at(m, 0);
    for (std::size_t base = row; base < stride[0]; base += row) {
        for (std::size_t i = last; i-- > 0;) {  // the next prefix
            if (at[i] < r[i]) {
                ++at[i];
                break;
            }
            at[i] = 0;
        }
        std::size_t i = 0;
        while (at[i] == 0) ++i;
        T* out = &table[base];
        const T* less = out - stride[i + 1];
        if (request.in.mu)
            for (std::size_t t = 0; t < row; ++t) out[t] = mu[i] * less[t];
        const T* coupling = &K[i * m];
        const auto add = [&](T factor, const T* from) {
            for (std::size_t t = 0; t < row; ++t) out[t] += factor * from[t];
        };
        if (at[i] > 1) add(coupling[i] * static_cast<double>(at[i] - 1), less - stride[i + 1]);
        for (std::size_t j = i + 1; j < last; ++j)
            if (at[j] > 0) add(coupling[j] * static_cast<double>(at[j]), less - stride[j + 1]);
        for (std::size_t t = 1; t < row; ++t) out[t] += coupling[last] * static_cast<double>(t) * less[t - 1];
    }
    return table.back();
}

// ---------------------------------------------------------------- the sieve

struct Sieve {
    SievePlan plan{};
    std::vector<std::size_t> vertices;  // places in the request; size() stands for a point with mu = 1 and no covariance
    double multiply_adds = 0.0;

    explicit Sieve(const Request& request) {
        std::vector<std::size_t> squares;
        for (std::size_t i = 0; i < request.size(); ++i) {
            if (request.repeats[i] % 2) vertices.push_back(i);
            if (request.repeats[i] > 1) squares.push_back(i);
        }
        if (vertices.size() % 2) vertices.push_back(request.size());
        const std::size_t singles = vertices.size();
        std::stable_sort(squares.begin(), squares.end(), [&](std::size_t a, std::size_t b) { return request.repeats[a] > request.repeats[b]; });
        vertices.insert(vertices.end(), squares.begin(), squares.end());

        const std::size_t closed = singles >= 4 ? 4 : singles;
        const std::size_t levels = squares.size() + (singles - closed) / 2;
        if (levels > kMaxSieveLevels) {
            multiply_adds = std::numeric_limits<double>::infinity();
            return;
        }
        plan.levels = static_cast<std::int32_t>(levels);
        plan.mean = request.in.mu != nullptr;
        plan.complex = request.in.complex;
        plan.total = static_cast<std::int32_t>((request.total + 1) / 2);
        std::int32_t s = static_cast<std::int32_t>(vertices.size()), q = static_cast<std::int32_t>(squares.size()), length = 1;
        std::int64_t offset = 0, scratch = 0;
        double nodes = 1.0 / kSieveLanes, choices = 1.0;
        plan.top = plan.levels;
        for (std::int32_t l = 0; l <= plan.levels; ++l) {
            SieveLevel& level = plan.level[l];
            level = {s, q, length, q > 0 ? request.repeats[vertices[static_cast<std::size_t>(s) - 1]] / 2 : 1, offset, 0};
            const std::int64_t pairs = std::int64_t{s} * (s - 1) / 2;
            level.size = (1 + q + (plan.mean ? s : 0) + pairs) * (length | 1);
            offset += 2 * level.size;
            const std::int32_t grown = length + level.repeats;
            scratch = std::max(scratch, std::max<std::int64_t>(4 * std::int64_t{length}, (std::int64_t{s} + 6) * grown));
            if (l == plan.levels) break;
            const double ways = l == 0 ? level.repeats / 2 + 1 : level.repeats + 1;
            choices *= ways;
            if (choices >= kSieveLanes && plan.top == plan.levels) plan.top = l + 1;
            // One pass over the rest serves both signs; general weights go one by one.
            const double passes = level.repeats == 1 ? std::max(nodes, 1.0) : std::max(nodes * ways, 1.0);
            const std::int32_t rest = q > 0 ? s - 1 : s - 2;
            multiply_adds += passes * (std::int64_t{rest} * (rest - 1) + (plan.mean ? 2 * rest + 1 : 0) + 1.0) * grown * (grown - 1) / 2;
            nodes *= ways;
            s = rest;
            q = std::max(q - 1, 0);
            length = grown;
        }
        multiply_adds += std::max(nodes, 1.0) * (plan.mean ? 10.0 : 3.0) * length * (length + 1) / 2;
        multiply_adds *= kSieveLanes * (plan.complex ? 4.0 : 1.0);
        plan.scratch = offset;
        plan.workspace = offset + scratch;
    }

    double bytes() const { return static_cast<double>(plan.workspace) * kSieveLanes * sizeof(double) * (plan.complex ? 2 : 1); }

    std::vector<double> input(const Request& request, const std::vector<int>& s) const {
        const std::size_t n = vertices.size(), q = static_cast<std::size_t>(plan.level[0].squares), none = request.size();
        std::vector<double> numbers;
        const auto put = [&](const double* x, int shift) {
            for (int part = 0; part < request.parts; ++part) numbers.push_back(x ? (shift ? std::ldexp(x[part], shift) : x[part]) : 0.0);
        };
        const double one[2] = {1.0, 0.0};
        numbers.reserve((q + n + n * (n - 1) / 2) * static_cast<std::size_t>(request.parts));
        for (std::size_t i = n - q; i < n; ++i) put(request.K(vertices[i], vertices[i]), 2 * s[vertices[i]]);
        for (std::size_t i = 0; plan.mean && i < n; ++i)
            vertices[i] == none ? put(one, 0) : put(request.mu(vertices[i]), s[vertices[i]]);
        for (std::size_t k = 1; k < n; ++k) {
            for (std::size_t j = 0; j < k; ++j) {
                const std::size_t a = std::min(vertices[j], vertices[k]), b = std::max(vertices[j], vertices[k]);
                b == none ? put(nullptr, 0) : put(request.K(a, b), s[a] + s[b]);
            }
        }
        return numbers;
    }
};

// The weights of one level and their coefficients; the first level takes w > 0 twice and leaves w < 0 out.
struct Choices {
    std::vector<double> weight, coefficient;
    Choices(int repeats, bool first) {
        double binomial = 1.0;  // (-1)^k C(r, k)
        for (int k = 0; k <= (first ? repeats / 2 : repeats); ++k) {
            weight.push_back(repeats - 2 * k);
            coefficient.push_back(first && repeats > 2 * k ? 2.0 * binomial : binomial);
            binomial *= -static_cast<double>(repeats - k) / (k + 1);
        }
    }
};

class Workspace {
public:
    double* get(std::size_t count) {
        if (count > count_) {
            memory_.reset();
            count_ = 0;
            memory_.reset(static_cast<double*>(::operator new(count * sizeof(double), std::align_val_t{64})));
            count_ = count;
        }
        return memory_.get();
    }
    void keep_at_most(std::size_t count) {
        if (count_ > count) {
            memory_.reset();
            count_ = 0;
        }
    }

private:
    struct Free {
        void operator()(double* p) const { ::operator delete(p, std::align_val_t{64}); }
    };
    std::unique_ptr<double, Free> memory_;
    std::size_t count_ = 0;
};

SieveSubtree kernel(Isa isa, bool complex) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return avx512::sieve_subtree(complex);
    if (isa == Isa::avx2) return avx2::sieve_subtree(complex);
#endif
    (void)isa;
    return scalar::sieve_subtree(complex);
}

bool flag_raised(const void* flag) { return flag && static_cast<const StopFlag*>(flag)->raised(); }

// Multiply-adds a second on one thread, roughly: for estimates and for how to cut the work.
double rate(Isa isa) { return isa == Isa::avx512 ? 2.5e10 : isa == Isa::avx2 ? 1.1e10 : 5e8; }
constexpr double kThreadsPay = 1e-3, kNobodyWaits = 0.1;  // seconds: when to use threads; when to see to progress and Ctrl-C
constexpr int kLanesOut = 2 * kSieveLanes;

// Sums over one pack of lanes: the subtrees below all choices of `depth` levels, combined in the order of the tree.
struct Pack {
    std::vector<double> lane_weights;          // (top, 8)
    std::vector<double> coefficients;          // (8): 0 in lanes that are not used
};

std::vector<Pack> packs_of(const SievePlan& plan) {
    std::vector<Pack> packs;
    std::vector<Choices> choices;
    for (int l = 0; l < plan.top; ++l) choices.emplace_back(plan.level[l].repeats, l == 0);
    std::vector<std::size_t> at(choices.size(), 0);
    const std::size_t top = choices.size();
    for (std::size_t lane = 0;; ++lane) {
        if (lane % kSieveLanes == 0) {
            packs.push_back({std::vector<double>(top * kSieveLanes + 1), std::vector<double>(kSieveLanes, 0.0)});
            for (std::size_t l = 0; l < top; ++l)  // what unused lanes compute is a harmless copy
                std::fill_n(packs.back().lane_weights.begin() + static_cast<std::ptrdiff_t>(l * kSieveLanes), kSieveLanes, choices[l].weight[at[l]]);
        }
        double coefficient = 1.0;
        for (std::size_t l = 0; l < top; ++l) {
            packs.back().lane_weights[l * kSieveLanes + lane % kSieveLanes] = choices[l].weight[at[l]];
            coefficient *= choices[l].coefficient[at[l]];
        }
        packs.back().coefficients[lane % kSieveLanes] = coefficient;
        std::size_t l = 0;
        while (l < top && ++at[l] == choices[l].weight.size()) at[l++] = 0;
        if (l == top) return packs;
    }
}

// Adds up the leaves (8 or 2 x 8 numbers each) of the tree over `path` as the kernels do: a - b for r = 1, else in order.
void combine(const std::vector<Choices>& path, std::size_t level, const double*& leaves, int numbers, double* out) {
    if (level == path.size()) {
        std::copy_n(leaves, numbers, out);
        leaves += numbers;
        return;
    }
    std::fill_n(out, numbers, 0.0);
    double child[kLanesOut];
    const auto& coefficient = path[level].coefficient;
    for (std::size_t k = 0; k < coefficient.size(); ++k) {
        combine(path, level + 1, leaves, numbers, child);
        for (int i = 0; i < numbers; ++i) out[i] = std::fma(coefficient[k], child[i], out[i]);
    }
}

HafnianResult run_sieve(const Request& request, const Sieve& sieve, Isa isa, unsigned threads, const HafnianPoll& poll) {
    const SievePlan& plan = sieve.plan;
    const std::vector<int> s = scales(request);
    const std::vector<double> input = sieve.input(request, s);
    const SieveSubtree subtree = kernel(isa, plan.complex);
    const std::vector<Pack> packs = packs_of(plan);
    const int numbers = kSieveLanes * request.parts;
    const std::size_t count = static_cast<std::size_t>(plan.workspace) * kSieveLanes * static_cast<std::size_t>(request.parts);

    // Long work is cut into tasks, by the choices of some more levels; each task walks its path from the root again.
    const double seconds = sieve.multiply_adds / rate(isa);
    const bool alone = seconds < (threads == 1 ? kNobodyWaits : kThreadsPay);
    const double wanted = alone ? 1.0 : std::clamp(std::max(seconds, threads > 1 ? 4.0 * threads : 1.0), 1.0, 4096.0);
    std::vector<Choices> path;
    std::size_t per_pack = 1;
    for (int l = plan.top; l < plan.levels && static_cast<double>(per_pack * packs.size()) < wanted; ++l) {
        path.emplace_back(plan.level[l].repeats, false);
        per_pack *= path.back().weight.size();
    }
    const std::size_t tasks = packs.size() * per_pack;
    std::vector<double> sums(tasks * static_cast<std::size_t>(numbers));
    const auto task = [&](std::size_t i, double* workspace, const StopFlag* stop) {
        std::vector<double> weights(path.size() + 1);
        std::size_t rest = i % per_pack;
        for (std::size_t l = path.size(); l-- > 0; rest /= path[l].weight.size()) weights[l] = path[l].weight[rest % path[l].weight.size()];
        return subtree(plan, input.data(), packs[i / per_pack].lane_weights.data(), weights.data(), static_cast<int>(path.size()), workspace,
                       &sums[i * static_cast<std::size_t>(numbers)], {flag_raised, stop});
    };

    if (alone) {
        static thread_local Workspace workspace;  // page faults cost more than a small hafnian
        for (std::size_t i = 0; i < tasks; ++i) task(i, workspace.get(count), nullptr);
        workspace.keep_at_most(std::size_t{1} << 22);
    } else {
        const unsigned workers = static_cast<unsigned>(std::min<std::size_t>(threads, tasks));
        std::vector<Workspace> workspaces(workers);
        std::atomic<std::size_t> done{0};
        const bool finished = run_blocks(
            0, tasks, workers,
            [&](std::uint64_t i, unsigned worker, const StopFlag& stop) { done += task(i, workspaces[worker].get(count), &stop); },
            [&] { return !poll || poll(static_cast<double>(done) / static_cast<double>(tasks)); });
        if (!finished) return {0.0, false};
    }

    double total[2] = {0.0, 0.0};
    const double* leaves = sums.data();
    for (const Pack& pack : packs) {
        double lanes[kLanesOut];
        combine(path, 0, leaves, numbers, lanes);
        for (int i = 0; i < numbers; ++i) total[i / kSieveLanes] = std::fma(pack.coefficients[static_cast<std::size_t>(i % kSieveLanes)], lanes[i], total[i / kSieveLanes]);
    }
    const int singles = plan.level[plan.levels].vertices;  // 4 singles in closed form stand for 2 signs of each of two levels
    const int halvings = plan.total - singles / 2;
    return {scaled_back({std::ldexp(total[0], -halvings), std::ldexp(total[1], -halvings)}, request, s)};
}

// Multiply-adds of the recursion over sub-multisets, in the units of the sieve's: a scalar one costs as much as eight lanes.
double multiset_work(const Request& request, double& bytes) {
    double states = 1.0, points = 0.0;
    for (const std::int32_t r : request.repeats) {
        states *= r + 1.0;
        points += r / (r + 1.0);
    }
    bytes = states * sizeof(double) * request.parts;
    return states * (points / 2 + 2.0) * 4.0 * (request.parts == 2 ? 4.0 : 1.0);
}

bool prefers_multisets(const Request& request, const Sieve& sieve) {
    double bytes;
    const double work = multiset_work(request, bytes);
    return bytes < 1e9 && (work < 500.0 || work < sieve.multiply_adds);
}

bool trivial(const Request& request) { return request.total == 0 || (request.total % 2 && !request.in.mu); }

}  // namespace

HafnianWork hafnian_work(const HafnianProblem& problem) {
    const Request request(problem);
    if (trivial(request)) return {"none", 0.0, 0.0};
    const Sieve sieve(request);
    if (prefers_multisets(request, sieve)) {
        double bytes;
        const double work = multiset_work(request, bytes);
        return {"multisets", work, bytes};
    }
    return {"sieve", sieve.multiply_adds, sieve.bytes()};
}

double hafnian_seconds(const HafnianWork& work, Isa isa) { return work.multiply_adds / rate(isa); }

HafnianResult hafnian(const HafnianProblem& problem, Isa isa, unsigned threads, const HafnianPoll& poll) {
    const Request request(problem);
    if (request.total == 0) return {1.0};
    if (trivial(request)) return {0.0};
    const Sieve sieve(request);
    if (!std::isfinite(sieve.multiply_adds)) throw ArgumentError("the hafnian of " + std::to_string(request.total) + " points is out of reach");
    if (!prefers_multisets(request, sieve)) return run_sieve(request, sieve, isa, threads, poll);
    const std::vector<int> s = scales(request);
    const Complex value = problem.complex ? multiset_recursion<Complex>(request, s) : Complex(multiset_recursion<double>(request, s));
    return {scaled_back(value, request, s)};
}

}  // namespace nnqft
