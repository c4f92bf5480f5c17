#include "wick/hafnian.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <string>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/sieve.hpp"
#include "wick/small.hpp"

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

    // Points that coincide are merged, unless each is wanted for itself: with repeats the work is less and the digits more.
    explicit Request(const HafnianProblem& problem, bool merge = true) : in(problem), parts(problem.complex ? 2 : 1) {
        for (std::int64_t i = 0; i < in.points; ++i) {
            const std::int32_t r = in.repeats ? in.repeats[i] : 1;
            if (r == 0) continue;
            total += r;
            std::size_t at = merge ? 0 : points.size();
            while (at < points.size() && !coincide(at, i, r)) ++at;
            if (at == points.size()) {
                points.push_back(i);
                repeats.push_back(r);
                twins.push_back(i);
            } else {
                repeats[at] += r;
                twins[at] = i;
            }
        }
    }
    // The variance of point i lies in its covariance with a twin, if it has one: the diagonal counts for repeats only.
    const double* K(std::size_t i, std::size_t j) const { return in.K + (points[i] * in.points + (i == j ? twins[i] : points[j])) * parts; }
    const double* mu(std::size_t i) const { return in.mu + points[i] * parts; }
    std::size_t size() const { return points.size(); }

private:
    bool same(const double* x, const double* y) const { return x[0] == y[0] && (parts == 1 || x[1] == y[1]); }
    const double* entry(std::int64_t i, std::int64_t j) const { return in.K + (std::min(i, j) * in.points + std::max(i, j)) * parts; }
    bool coincide(std::size_t at, std::int64_t i, std::int32_t r) const {
        const std::int64_t p = points[at];
        for (std::int64_t j = 0; j < in.points; ++j)
            if (j != i && j != p && !same(entry(p, j), entry(i, j)) && !(in.repeats && in.repeats[j] == 0)) return false;
        const double* variance = entry(p, i);
        if (twins[at] == p ? repeats[at] > 1 && !same(variance, entry(p, p)) : !same(variance, entry(p, twins[at]))) return false;
        if (r > 1 && !same(variance, entry(i, i))) return false;
        if (in.mu && !same(in.mu + p * parts, in.mu + i * parts)) return false;
        return true;
    }

    std::vector<std::int64_t> twins;  // the last point merged, or the point itself
};

// ---------------------------------------------------------------- scale

// Powers of two s for which the rows of K_ij 2^(s_i + s_j), mu_i 2^s_i have sums of absolute values near 1: haf(DKD, D mu) =
// prod d_i^r_i haf(K, mu), exactly. Without it products of many factors leave the range of doubles, and rows of different size cost
// the sieve digits: the terms that cancel have factors from one row twice. All zero, the usual case, for rows alike within a
// factor of 16; K times a power of four then scales alike, to the bit.
class Scales {
public:
    explicit Scales(const Request& request) : request_(request), m_(request.size()), power_(m_, 0) {
        double largest = 0.0;
        std::vector<double> sums(m_, 0.0);
        for (std::size_t i = 0; i < m_; ++i) {
            if (request.in.mu) add(size(request.mu(i)) * size(request.mu(i)), sums[i], largest);
            for (std::size_t j = first(i); j < m_; ++j) {
                const double x = size(request.K(i, j));
                add(x, sums[i], largest);
                if (j > i) add(x, sums[j], largest);
            }
        }
        double low = std::numeric_limits<double>::infinity(), high = 0.0;
        for (const double x : sums) {
            if (x == 0.0) continue;
            low = std::min(low, x);
            high = std::max(high, x);
        }
        if (high == 0.0) return;
        const bool moderate = high < std::ldexp(1.0, 400 / clamped_total()) && high > std::ldexp(1.0, -400 / clamped_total());
        if (high < 16.0 * low && moderate) return;
        int e = 1024;
        if (std::isfinite(largest)) std::frexp(largest, &e);
        const int common = e >= 0 ? e / 2 : -((1 - e) / 2);
        if (high < 16.0 * low) {
            std::fill(power_.begin(), power_.end(), -common);
        } else {
            balance_exponents(common);
            balance_sums();
        }
    }

    const std::vector<int>& power() const { return power_; }

private:
    int clamped_total() const { return static_cast<int>(std::clamp<std::int64_t>(request_.total, 1, 400)); }
    std::size_t first(std::size_t i) const { return i + (request_.repeats[i] < 2); }  // of the columns that row i adds
    double size(const double* x) const { return request_.parts == 2 ? std::max(std::abs(x[0]), std::abs(x[1])) : std::abs(x[0]); }
    static void add(double x, double& sum, double& largest) {
        sum += x;
        largest = std::max(largest, x);
    }

    // Sweeps that bring each row's largest entry near 1, on exponents alone: whatever the range, nothing over- or underflows.
    void balance_exponents(int common) {
        constexpr int kNone = std::numeric_limits<int>::min() / 4;
        const auto exponent = [&](const double* x) {
            int e = kNone;
            if (size(x) > 0.0) std::frexp(size(x), &e);
            return e;
        };
        std::vector<int> K(m_ * m_, kNone), mu(m_, kNone), change(m_);
        for (std::size_t i = 0; i < m_; ++i) {
            if (request_.in.mu) mu[i] = exponent(request_.mu(i));
            for (std::size_t j = first(i); j < m_; ++j) K[i * m_ + j] = K[j * m_ + i] = exponent(request_.K(i, j));
        }
        std::fill(power_.begin(), power_.end(), -common);
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
    void balance_sums() {
        std::vector<double> A(m_ * m_, 0.0), mu(m_, 0.0), d(m_, 1.0);
        for (std::size_t i = 0; i < m_; ++i) {
            if (request_.in.mu) mu[i] = std::ldexp(size(request_.mu(i)), power_[i]);
            for (std::size_t j = first(i); j < m_; ++j) A[i * m_ + j] = A[j * m_ + i] = std::ldexp(size(request_.K(i, j)), power_[i] + power_[j]);
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

    const Request& request_;
    std::size_t m_;
    std::vector<int> power_;
};

// What the hafnian of the scaled numbers is to be multiplied with, as a power of two.
long exponent_back(const Request& request, const std::vector<int>& s) {
    long exponent = 0;
    for (std::size_t i = 0; i < s.size(); ++i) exponent -= static_cast<long>(s[i]) * request.repeats[i];
    return exponent;
}
Complex scaled(Complex value, long exponent) { return {std::scalbln(value.real(), exponent), std::scalbln(value.imag(), exponent)}; }

// ---------------------------------------------------------------- recursion over sub-multisets

// haf(r) = mu_i haf(r - e_i) + K_ii (r_i - 1) haf(r - 2 e_i) + sum_j>i K_ij r_j haf(r - e_i - e_j) with i the first point left:
// nothing is subtracted. The table over all r' <= r has the point of highest multiplicity as its fastest index.
template <class T>
struct MultisetTable {
    std::vector<std::size_t> stride;  // of each point of the request
    std::vector<T> table;

    T whole() const { return table.back(); }
    T without(std::size_t i) const { return table[table.size() - 1 - stride[i]]; }
    T without(std::size_t i, std::size_t j) const { return table[table.size() - 1 - stride[i] - stride[j]]; }
};

template <class T>
MultisetTable<T> multiset_table(const Request& request, const std::vector<int>& s) {
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
    MultisetTable<T> result{std::vector<std::size_t>(m), std::move(table)};
    for (std::size_t i = 0; i < m; ++i) result.stride[order[i]] = stride[i + 1];
    return result;
}

// ---------------------------------------------------------------- the sieve

constexpr std::int32_t kClosed = 4;  // points that are summed in closed form

struct Sieve {
    SievePlan plan{};
    std::vector<std::size_t> vertices;  // places in the request; size() stands for a point with mu = 1 and no covariance
    double multiply_adds = 0.0;
    int halvings = 0;  // signs that were not summed in closed form

    explicit Sieve(const Request& request) {
        for (std::size_t i = 0; i < request.size(); ++i)
            if (request.repeats[i] % 2) vertices.push_back(i);
        if (vertices.size() % 2) vertices.push_back(request.size());
        const std::int64_t singles = static_cast<std::int64_t>(vertices.size());
        const std::int64_t pairs = (request.total + 1) / 2, levels = std::max<std::int64_t>(pairs - kClosed / 2, 0);
        halvings = static_cast<int>(levels);
        if (levels > kMaxSieveLevels) {
            multiply_adds = std::numeric_limits<double>::infinity();
            return;
        }
        for (std::size_t i = 0; i < request.size(); ++i) vertices.insert(vertices.end(), static_cast<std::size_t>(request.repeats[i] / 2), i);
        plan.levels = static_cast<std::int32_t>(levels);
        plan.mean = request.in.mu != nullptr;
        std::int32_t s = static_cast<std::int32_t>(vertices.size()), q = s - static_cast<std::int32_t>(singles);
        std::int64_t offset = 0, scratch = 0;
        for (std::int32_t l = 0; l <= plan.levels; ++l) {
            const std::int32_t length = l + 1;
            const double products = 0.5 * length * (length + 1), nodes = std::ldexp(1.0, std::max(l - 1 - 3, 0));
            SieveLevel& level = plan.level[l];
            level = {s, q, length, offset, 0};
            level.size = (1 + q + (plan.mean ? s : 0) + std::int64_t{s} * (s - 1) / 2) * (length | 1);
            offset += (l == 0 ? 1 : 2) * level.size;
            scratch = std::max<std::int64_t>(scratch, 7 * length);
            if (l == plan.levels) {
                multiply_adds += nodes * (plan.mean ? 10.0 : 3.0) * products;
                break;
            }
            const double rest = q > 0 ? s - 1 : s - 2, each = q > 0 ? 1.0 : 2.0;
            multiply_adds += nodes * (each * rest * (rest - 1) / 2 + (plan.mean ? each * rest + 1 : 0) + q + 1.0) * products;
            s -= q > 0 ? 1 : 2;
            q = std::max(q - 1, 0);
        }
        multiply_adds *= kSieveLanes * (request.in.complex ? 4.0 : 1.0);
        plan.scratch = offset;
        plan.workspace = offset + scratch;
    }

    double bytes() const { return static_cast<double>(plan.workspace) * kSieveLanes * sizeof(double) * 2; }

    std::vector<double> input(const Request& request, const std::vector<int>& s) const {
        std::vector<double> numbers;
        numbers.reserve(vertices.size() * (vertices.size() + 3) / 2 * static_cast<std::size_t>(request.parts));
        visit(request, s, [&](const double* x, int shift) {
            for (int part = 0; part < request.parts; ++part) numbers.push_back(x ? (shift ? std::ldexp(x[part], shift) : x[part]) : 0.0);
        });
        return numbers;
    }

    // put(x, shift) is called for every number that the kernel reads, in its order; x is null for 0.
    template <class Put>
    void visit(const Request& request, const std::vector<int>& s, const Put& put) const {
        const std::size_t n = vertices.size(), q = static_cast<std::size_t>(plan.level[0].squares), none = request.size();
        static constexpr double kOne[2] = {1.0, 0.0};
        for (std::size_t i = n - q; i < n; ++i) put(request.K(vertices[i], vertices[i]), 2 * s[vertices[i]]);
        for (std::size_t i = 0; plan.mean && i < n; ++i)
            vertices[i] == none ? put(kOne, 0) : put(request.mu(vertices[i]), s[vertices[i]]);
        for (std::size_t k = 1; k < n; ++k) {
            for (std::size_t j = 0; j < k; ++j) {
                const std::size_t a = std::min(vertices[j], vertices[k]), b = std::max(vertices[j], vertices[k]);
                b == none ? put(nullptr, 0) : put(request.K(a, b), s[a] + s[b]);
            }
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
        if (count_ <= count) return;
        memory_.reset();
        count_ = 0;
    }

private:
    struct Free {
        void operator()(double* p) const { ::operator delete(p, std::align_val_t{64}); }
    };
    std::unique_ptr<double, Free> memory_;
    std::size_t count_ = 0;
};

SieveSubtree kernel(Isa isa, SieveNumbers numbers) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return avx512::sieve_subtree(numbers);
    if (isa == Isa::avx2) return avx2::sieve_subtree(numbers);
#endif
    (void)isa;
    return scalar::sieve_subtree(numbers);
}

SieveAdjoint adjoint_kernel(Isa isa, bool complex) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return avx512::sieve_adjoint(complex);
    if (isa == Isa::avx2) return avx2::sieve_adjoint(complex);
#endif
    (void)isa;
    return scalar::sieve_adjoint(complex);
}

bool flag_raised(const void* flag) { return flag && static_cast<const StopFlag*>(flag)->raised(); }

// Multiply-adds a second on one thread, roughly: for estimates and for how to cut the work.
double rate(Isa isa) { return isa == Isa::avx512 ? 2.5e10 : isa == Isa::avx2 ? 1.1e10 : 5e8; }
constexpr double kAdjointCost = 4.0;  // of values with derivatives, in values
constexpr double kThreadsPay = 1e-3, kNobodyWaits = 0.1;  // seconds: when to use threads; when to see to progress and Ctrl-C

double as_double(std::uint64_t x) {
    double y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}
std::uint64_t as_integer(double x) {
    std::uint64_t y;
    std::memcpy(&y, &x, sizeof y);
    return y;
}

struct Runner {
    const Sieve& sieve;
    Isa isa;
    unsigned threads;
    const HafnianPoll& poll;

    // The sum over all signs of t_1 .. t_l times the closed form, the first sign being +1, and after it, if asked for, its derivatives
    // by every number of the input; `parts` doubles each, integers as their bits. False if given up.
    bool operator()(SieveNumbers numbers, const std::vector<double>& input, bool slopes, std::vector<double>& total) const {
        const SievePlan& plan = sieve.plan;
        const SieveSubtree subtree = kernel(isa, numbers);
        const SieveAdjoint adjoint = adjoint_kernel(isa, numbers == SieveNumbers::complex);
        const std::size_t parts = numbers == SieveNumbers::complex ? 2 : 1, groups = parts + (slopes ? input.size() : 0), row = kSieveLanes * groups;
        const std::size_t count = static_cast<std::size_t>(plan.workspace) * kSieveLanes * parts * (slopes ? 2 : 1);

        // Level 0 has t = 1, the next three have one sign per lane.
        const int top = std::min(plan.levels, 4);
        double lane_signs[4 * kSieveLanes];
        for (int l = 0; l < 4; ++l)
            for (int lane = 0; lane < kSieveLanes; ++lane) lane_signs[l * kSieveLanes + lane] = l > 0 && (lane >> (3 - l) & 1) ? -1.0 : 1.0;

        // Long work is cut into tasks, by the signs of some more levels; each walks its path from the root again.
        const double seconds = sieve.multiply_adds * (slopes ? kAdjointCost : 1.0) / rate(isa);
        const bool alone = seconds < (threads == 1 ? kNobodyWaits : kThreadsPay);
        // Values add up alike wherever the tree is cut; derivatives do not, so their cut depends on the work alone.
        const double by_time = alone ? 1.0 : std::clamp(std::max(seconds, threads > 1 ? 4.0 * threads : 1.0), 1.0, 4096.0);
        const double wanted = slopes ? std::clamp(sieve.multiply_adds / 4e6, 1.0, 64.0) : by_time;
        int depth = 0;
        while (top + depth < plan.levels && std::ldexp(1.0, depth) < wanted) ++depth;
        const std::size_t tasks = std::size_t{1} << depth;
        std::vector<double> sums(tasks * row);
        const auto task = [&](std::size_t i, double* workspace, const StopFlag* stop) {
            double path[16];
            for (int l = 0; l < depth; ++l) path[l] = i >> (depth - 1 - l) & 1 ? -1.0 : 1.0;
            double* out = &sums[i * row];
            if (!slopes) return subtree(plan, input.data(), lane_signs, top, path, depth, workspace, out, {flag_raised, stop});
            return adjoint(plan, input.data(), lane_signs, top, path, depth, workspace, out, out + parts * kSieveLanes, {flag_raised, stop});
        };
        if (alone) {
            static thread_local Workspace workspace;  // page faults cost more than a small hafnian
            for (std::size_t i = 0; i < tasks; ++i) task(i, workspace.get(count), nullptr);
            workspace.keep_at_most(std::size_t{1} << 22);
        } else {
            std::vector<Workspace> workspaces(std::min<std::size_t>(threads, tasks));
            std::atomic<std::size_t> done{0};
            const bool finished = run_blocks(
                0, tasks, static_cast<unsigned>(workspaces.size()),
                [&](std::uint64_t i, unsigned worker, const StopFlag& stop) { done += task(i, workspaces[worker].get(count), &stop); },
                [&] { return !poll || poll(static_cast<double>(done) / static_cast<double>(tasks)); });
            if (!finished) return false;
        }

        const bool integer = numbers == SieveNumbers::integer;
        const auto subtract = [=](double& a, double b) { a = integer ? as_double(as_integer(a) - as_integer(b)) : a - b; };
        for (std::size_t n = tasks / 2; n > 0; n /= 2)  // up the tree: (+) - (-)
            for (std::size_t i = 0; i < n; ++i) {
                double* out = &sums[i * row];
                std::copy_n(&sums[2 * i * row], row, out);
                for (std::size_t k = 0; k < row; ++k) subtract(out[k], sums[(2 * i + 1) * row + k]);
            }
        total.assign(groups, 0.0);
        for (std::size_t group = 0; group < groups; ++group) {
            double* lanes = &sums[group * kSieveLanes];
            for (int level = std::max(top - 1, 0), width = kSieveLanes / 2; width > 0; width /= 2) {
                // Lane bits 4, 2, 1 are the signs of levels 1, 2, 3; a level that does not exist has equal lanes.
                const bool exists = (width == 4 && level >= 1) || (width == 2 && level >= 2) || (width == 1 && level >= 3);
                for (int k = 0; k < width && exists; ++k) subtract(lanes[k], lanes[k + width]);
            }
            total[group] = lanes[0];
        }
        return true;
    }
};

// An integer matrix has an integer hafnian, and modulo 2^64 the sieve gives 2^h times it without rounding, h halvings: with
// `rounded`, which lies nearer than half of 2^(64 - h), that is all of it. Before every use: is that so, and is it worth the time?
bool exact_integer(const Request& request, const Sieve& sieve, const Runner& run, double& rounded) {
    constexpr double kExact = 0x1p53;
    if (!(std::abs(rounded) < kExact) || sieve.halvings > 52) return true;
    double bound = 1.0;  // haf(|K|, |mu|) <= prod (mu_i + (row sum)^(1/2))
    for (std::size_t i = 0; i < request.size(); ++i) {
        double sum = 0.0;
        for (std::size_t j = 0; j < request.size(); ++j) {
            if (i == j && request.repeats[i] < 2) continue;
            const double x = *request.K(std::min(i, j), std::max(i, j));
            if (x != std::rint(x) || std::abs(x) > kExact) return true;
            sum += std::abs(x) * request.repeats[j];
        }
        const double mean = request.in.mu ? *request.mu(i) : 0.0;
        if (mean != std::rint(mean) || std::abs(mean) > kExact) return true;
        bound *= std::pow(std::abs(mean) + std::sqrt(sum), request.repeats[i]);
    }
    const double modulus = std::ldexp(1.0, 64 - sieve.halvings);
    if (std::ldexp(bound, sieve.halvings) < kExact) return true;  // no sum was rounded
    if (!(1e-13 * bound < modulus / 8)) return true;
    std::vector<double> input;
    const std::vector<int> unscaled(request.size(), 0);
    sieve.visit(request, unscaled, [&](const double* x, int) { input.push_back(as_double(static_cast<std::uint64_t>(static_cast<std::int64_t>(x ? *x : 0.0)))); });
    std::vector<double> total;
    if (!run(SieveNumbers::integer, input, false, total)) return false;
    // Twice the sum over the first sign's half; 2^h haf = 2^(closed) total: the factor of the closed form is in halvings already.
    const std::uint64_t product = 2 * as_integer(total[0]);
    const std::uint64_t low = product >> sieve.halvings, nearest = static_cast<std::uint64_t>(static_cast<std::int64_t>(std::rint(rounded)));
    const std::uint64_t mask = sieve.halvings == 0 ? ~std::uint64_t{0} : (~std::uint64_t{0}) >> sieve.halvings;
    std::uint64_t away = (low - nearest) & mask;  // modulo 2^(64 - h), brought to the nearest of both sides
    if (away > mask / 2) away -= mask + 1;
    rounded = static_cast<double>(static_cast<std::int64_t>(nearest + away));
    return true;
}

HafnianResult run_sieve(const Request& request, const Sieve& sieve, Isa isa, unsigned threads, const HafnianPoll& poll) {
    const std::vector<int> s = Scales(request).power();
    const std::vector<double> input = sieve.input(request, s);
    const Runner run{sieve, isa, threads, poll};
    std::vector<double> total;
    if (!run(request.in.complex ? SieveNumbers::complex : SieveNumbers::real, input, false, total)) return {0.0, false};
    const int halvings = sieve.halvings - (sieve.halvings > 0);  // the first sign's other half is the same
    Complex value = scaled({total[0], total.size() > 1 ? total[1] : 0.0}, exponent_back(request, s) - halvings);
    if (!request.in.complex) {
        double rounded = value.real();
        if (!exact_integer(request, sieve, run, rounded)) return {0.0, false};
        value = rounded;
    }
    return {value};
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

void require_reach(const Request& request, const Sieve& sieve) {
    if (!std::isfinite(sieve.multiply_adds)) throw ArgumentError("the hafnian of " + std::to_string(request.total) + " points is out of reach");
}

// Few points, once each: straight-line code over shared minors.
bool minors_serve(const HafnianProblem& problem) {
    return problem.points > 0 && problem.points <= 12 && !problem.repeats && (problem.mu || problem.points % 2 == 0);
}

bool trivial(const Request& request) { return request.total == 0 || (request.total % 2 && !request.in.mu); }

// ---------------------------------------------------------------- derivatives

// Adds d haf / d K_ij, halved into both places where they differ, and d haf / d mu_i.
struct Slopes {
    const Request& request;
    double *K, *mu;

    void add_K(std::size_t i, std::size_t j, Complex slope) const {
        const std::int64_t a = request.points[i], b = request.points[j], m = request.in.points;
        const double share = a == b ? 1.0 : 0.5;
        add(K + (a * m + b) * request.parts, share * slope);
        if (a != b) add(K + (b * m + a) * request.parts, share * slope);
    }
    void add_mu(std::size_t i, Complex slope) const { add(mu + request.points[i] * request.parts, slope); }

private:
    void add(double* to, Complex x) const {
        to[0] += x.real();
        if (request.parts == 2) to[1] += x.imag();
    }
};

template <class T>
void multiset_slopes(const Request& request, const std::vector<int>& s, const Slopes& out) {
    const MultisetTable<T> table = multiset_table<T>(request, s);
    const long back = exponent_back(request, s);
    for (std::size_t i = 0; i < request.size(); ++i) {
        const double r = request.repeats[i];
        if (request.in.mu) out.add_mu(i, scaled(r * table.without(i), back + s[i]));
        if (r > 1) out.add_K(i, i, scaled(0.5 * r * (r - 1) * table.without(i, i), back + 2 * s[i]));
        for (std::size_t j = i + 1; j < request.size(); ++j)
            out.add_K(i, j, scaled(r * request.repeats[j] * table.without(i, j), back + s[i] + s[j]));
    }
}

bool sieve_slopes(const Request& request, const Sieve& sieve, Isa isa, unsigned threads, const HafnianPoll& poll, const Slopes& out) {
    const std::vector<int> s = Scales(request).power();
    std::vector<double> total;
    if (!Runner{sieve, isa, threads, poll}(request.in.complex ? SieveNumbers::complex : SieveNumbers::real, sieve.input(request, s), true, total)) return false;
    const long back = exponent_back(request, s) - (sieve.halvings - (sieve.halvings > 0));
    const std::size_t parts = static_cast<std::size_t>(request.parts), n = sieve.vertices.size(), none = request.size();
    const std::size_t q = static_cast<std::size_t>(sieve.plan.level[0].squares);
    const double* slope = total.data() + parts;
    const auto next = [&](long shift) {
        const Complex x = scaled({slope[0], parts == 2 ? slope[1] : 0.0}, back + shift);
        slope += parts;
        return x;
    };
    for (std::size_t i = n - q; i < n; ++i) out.add_K(sieve.vertices[i], sieve.vertices[i], next(2 * s[sieve.vertices[i]]));
    for (std::size_t i = 0; sieve.plan.mean && i < n; ++i) {
        const std::size_t a = sieve.vertices[i];
        a == none ? void(next(0)) : out.add_mu(a, next(s[a]));
    }
    for (std::size_t k = 1; k < n; ++k) {
        for (std::size_t j = 0; j < k; ++j) {
            const std::size_t a = sieve.vertices[j], b = sieve.vertices[k];
            a == none || b == none ? void(next(0)) : out.add_K(a, b, next(s[a] + s[b]));
        }
    }
    return true;
}

}  // namespace

HafnianWork hafnian_work(const HafnianProblem& problem) {
    if (minors_serve(problem)) return {"minors", 8.0 * std::ldexp(1.0, static_cast<int>(problem.points)), 0.0};
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
    if (!prefers_multisets(request, sieve)) {
        if (sieve.multiply_adds > most_work) return {0.0, false};
        require_reach(request, sieve);
        return run_sieve(request, sieve, isa, threads, poll);
    }
    double bytes;
    if (multiset_work(request, bytes) > most_work) return {0.0, false};
    const std::vector<int> s = Scales(request).power();
    const Complex value = problem.complex ? multiset_table<Complex>(request, s).whole() : Complex(multiset_table<double>(request, s).whole());
    return {scaled(value, exponent_back(request, s))};
}

bool hafnian_derivative(const HafnianProblem& problem, Isa isa, unsigned threads, const HafnianPoll& poll, double* K_bar, double* mu_bar) {
    const Request request(problem, false);
    const std::int64_t m = problem.points;
    std::fill_n(K_bar, m * m * request.parts, 0.0);
    if (mu_bar) std::fill_n(mu_bar, m * request.parts, 0.0);
    if (request.total == 0 || trivial(request)) return true;
    if (minors_serve(problem) && !problem.complex) {
        small_hafnian_derivative(static_cast<int>(m), problem.K, m, problem.mu, K_bar, mu_bar);
        return true;
    }
    const Slopes out{request, K_bar, mu_bar};
    const Sieve sieve(request);
    if (!prefers_multisets(request, sieve)) {
        require_reach(request, sieve);
        return sieve_slopes(request, sieve, isa, threads, poll, out);
    }
    const std::vector<int> s = Scales(request).power();
    problem.complex ? multiset_slopes<Complex>(request, s, out) : multiset_slopes<double>(request, s, out);
    return true;
}

}  // namespace nnqft
