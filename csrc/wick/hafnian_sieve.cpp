#include "wick/hafnian_sieve.hpp"

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "core/parallel.hpp"

namespace nnqft {

// ---------------------------------------------------------------- plan

Sieve::Sieve(const Request& request) {
    constexpr std::int64_t kClosed = 2;  // pairs that are summed in closed form
    const std::size_t m = request.size();
    vertices.reserve(m + 1);
    for (std::size_t i = 0; i < m; ++i) {
        if (request.repeats(i) % 2) vertices.push_back(i);
    }
    if (vertices.size() % 2) vertices.push_back(m);
    const std::size_t singles = vertices.size();
    const std::int64_t levels = std::max<std::int64_t>((request.total + 1) / 2 - kClosed, 0);
    halvings = static_cast<int>(levels);
    if (levels > kMaxSieveLevels) {
        multiply_adds = std::numeric_limits<double>::infinity();
        return;
    }
    for (std::size_t i = 0; i < m; ++i) vertices.insert(vertices.end(), static_cast<std::size_t>(request.repeats(i) / 2), i);
    plan.levels = static_cast<std::int32_t>(levels);
    plan.mean = request.mean;
    std::int32_t s = static_cast<std::int32_t>(vertices.size()), q = s - static_cast<std::int32_t>(singles);
    std::int64_t offset = 0, scratch = 0;
    double nodes = kSieveLanes;  // one for each lane, as far down as the lanes choose the signs
    for (std::int32_t l = 0;; ++l) {
        const std::int32_t length = l + 1;
        const double products = 0.5 * length * (length + 1);
        if (l > 4) nodes *= 2.0;
        SieveLevel& level = plan.level[l];
        level = {s, q, length, offset, (1 + q + (request.mean ? s : 0) + std::int64_t{s} * (s - 1) / 2) * (length | 1)};
        offset += (l == 0 ? 1 : 2) * level.size;
        scratch = std::max<std::int64_t>(scratch, 7 * length);
        if (l == plan.levels) {
            multiply_adds += nodes * (request.mean ? 10.0 : 3.0) * products;
            break;
        }
        const double rest = q > 0 ? s - 1 : s - 2, each = q > 0 ? 1.0 : 2.0;
        multiply_adds += nodes * (each * rest * (rest - 1) / 2 + (request.mean ? each * rest + 1 : 0) + q + 1.0) * products;
        s -= q > 0 ? 1 : 2;
        q = std::max(q - 1, 0);
    }
    if (request.complex) multiply_adds *= 4.0;
    plan.scratch = offset;
    plan.workspace = offset + scratch;
}

double Sieve::bytes() const {
    if (!std::isfinite(multiply_adds)) return multiply_adds;
    return static_cast<double>(plan.workspace) * kSieveLanes * sizeof(double) * 2;
}

double multiply_adds_per_second(Isa isa) { return isa == Isa::avx512 ? 2.5e10 : isa == Isa::avx2 ? 1.1e10 : 5e8; }

namespace {

using Complex = std::complex<double>;

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

// All numbers that the kernel reads, in its order; number(x, shift) makes one of an x that scales by 2^shift.
template <class Number>
std::vector<double> input_of(const Request& request, const Sieve& sieve, const Scales& s, const Number& number) {
    const std::vector<std::size_t>& vertex = sieve.vertices;
    const std::size_t n = vertex.size(), q = static_cast<std::size_t>(sieve.plan.level[0].squares), none = request.size();
    std::vector<double> input((q + (request.mean ? n : 0) + n * (n - 1) / 2) * static_cast<std::size_t>(request.parts));
    double* to = input.data();
    const auto put = [&](const double* x, int shift) {
        *to++ = number(x[0], shift);
        if (request.complex) *to++ = number(x[1], shift);
    };
    static constexpr double kZero[2] = {0.0, 0.0}, kOne[2] = {1.0, 0.0};
    for (std::size_t i = n - q; i < n; ++i) put(request.K(vertex[i], vertex[i]), 2 * s(vertex[i]));
    for (std::size_t i = 0; request.mean && i < n; ++i) vertex[i] == none ? put(kOne, 0) : put(request.mu(vertex[i]), s(vertex[i]));
    for (std::size_t k = 1; k < n; ++k) {
        for (std::size_t j = 0; j < k; ++j) {
            const std::size_t a = std::min(vertex[j], vertex[k]), b = std::max(vertex[j], vertex[k]);
            b == none ? put(kZero, 0) : put(request.K(a, b), s(a) + s(b));
        }
    }
    return input;
}

std::vector<double> scaled_input(const Request& request, const Sieve& sieve, const Scales& s) {
    if (s.trivial()) return input_of(request, sieve, s, [](double x, int) { return x; });
    return input_of(request, sieve, s, [](double x, int shift) { return std::ldexp(x, shift); });
}

// ---------------------------------------------------------------- the sum over signs

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

constexpr double kThreadsPay = 1e-3, kNobodyWaits = 0.1;  // seconds: when to use threads; when to see to progress and Ctrl-C

// Level 0 has t = 1, the next three have one sign per lane: its bits 4, 2, 1.
constexpr int kTop = 4;
struct LaneSigns {
    double at[kTop * kSieveLanes] = {};
    constexpr LaneSigns() {
        for (int l = 0; l < kTop; ++l) {
            for (int lane = 0; lane < kSieveLanes; ++lane) at[l * kSieveLanes + lane] = l > 0 && (lane >> (3 - l) & 1) ? -1.0 : 1.0;
        }
    }
};
constexpr LaneSigns kLaneSigns;

struct Runner {
    const Sieve& sieve;
    Isa isa;
    unsigned threads;
    const HafnianPoll& poll;

    // The sum over all signs of t_1 .. t_l times the closed form, the first sign being +1, and after it, if asked for, its derivatives
    // by every number of the input; `parts` doubles each, integers as their bits. False if given up.
    bool operator()(SieveNumbers numbers, const std::vector<double>& input, bool slopes, std::vector<double>& sums) const {
        const SievePlan& plan = sieve.plan;
        const SieveSubtree subtree = kernel(isa, numbers);
        const SieveAdjoint adjoint = adjoint_kernel(isa, numbers == SieveNumbers::complex);
        const std::size_t parts = numbers == SieveNumbers::complex ? 2 : 1, groups = parts + (slopes ? input.size() : 0), row = kSieveLanes * groups;
        const std::size_t count = static_cast<std::size_t>(plan.workspace) * kSieveLanes * parts * (slopes ? 2 : 1);
        const int top = std::min(plan.levels, kTop);

        // Long work is cut into tasks, by the signs of some more levels; each walks its path from the root again.
        const double seconds = sieve.multiply_adds * (slopes ? kAdjointCost : 1.0) / multiply_adds_per_second(isa);
        const bool alone = seconds < (threads == 1 ? kNobodyWaits : kThreadsPay);
        // Values add up alike wherever the tree is cut; derivatives do not, so their cut depends on the work alone.
        const double by_time = alone ? 1.0 : std::clamp(std::max(seconds, threads > 1 ? 4.0 * threads : 1.0), 1.0, 4096.0);
        const double wanted = slopes ? std::clamp(sieve.multiply_adds / 4e6, 1.0, 64.0) : by_time;
        int depth = 0;
        std::size_t tasks = 1;
        for (; top + depth < plan.levels && static_cast<double>(tasks) < wanted; tasks *= 2) ++depth;
        sums.resize(tasks * row);
        const auto task = [&](std::size_t i, double* workspace, const StopFlag* stop) {
            double path[16];
            for (int l = 0; l < depth; ++l) path[l] = i >> (depth - 1 - l) & 1 ? -1.0 : 1.0;
            double* out = &sums[i * row];
            if (!slopes) return subtree(plan, input.data(), kLaneSigns.at, top, path, depth, workspace, out, {flag_raised, stop});
            return adjoint(plan, input.data(), kLaneSigns.at, top, path, depth, workspace, out, out + parts * kSieveLanes, {flag_raised, stop});
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
        for (std::size_t group = 0; group < groups; ++group) {
            double* lanes = &sums[group * kSieveLanes];
            for (int level = 1, width = kSieveLanes / 2; level < top; ++level, width /= 2) {  // a level that does not exist has equal lanes
                for (int k = 0; k < width; ++k) subtract(lanes[k], lanes[k + width]);
            }
            sums[group] = lanes[0];
        }
        sums.resize(groups);
        return true;
    }
};

// An integer matrix has an integer hafnian, and modulo 2^64 the sieve gives 2^h times it without rounding, h halvings: with
// `rounded`, which lies nearer than half of 2^(64 - h), that is all of it. Before every use: is that so, and is it worth the time?
bool exact_integer(const Request& request, const Sieve& sieve, const SignSum& sum_signs, double& rounded) {
    constexpr double kExact = 0x1p53;
    if (!(std::abs(rounded) < kExact) || sieve.halvings > 52) return true;
    double bound = 1.0;  // haf(|K|, |mu|) <= prod (mu_i + (row sum)^(1/2))
    for (std::size_t i = 0; i < request.size(); ++i) {
        double sum = 0.0;
        for (std::size_t j = 0; j < request.size(); ++j) {
            if (i == j && request.repeats(i) < 2) continue;
            const double x = *request.K(std::min(i, j), std::max(i, j));
            if (x != std::rint(x) || std::abs(x) > kExact) return true;
            sum += std::abs(x) * request.repeats(j);
        }
        const double mean = request.mean ? *request.mu(i) : 0.0;
        if (mean != std::rint(mean) || std::abs(mean) > kExact) return true;
        bound *= std::pow(std::abs(mean) + std::sqrt(sum), request.repeats(i));
    }
    const double modulus = std::ldexp(1.0, 64 - sieve.halvings);
    if (std::ldexp(bound, sieve.halvings) < kExact) return true;  // no sum was rounded
    if (!(1e-13 * bound < modulus / 8)) return true;
    // Unscaled, whatever the scales of the sum that was rounded.
    const auto bits = [](double x, int) { return as_double(static_cast<std::uint64_t>(static_cast<std::int64_t>(x))); };
    std::vector<double> total;
    if (!sum_signs(sieve.plan, SieveNumbers::integer, input_of(request, sieve, Scales(), bits), total)) return false;
    // Twice the sum over the first sign's half; 2^h haf = 2^(closed) total: the factor of the closed form is in halvings already.
    const std::uint64_t product = 2 * as_integer(total[0]);
    const std::uint64_t low = product >> sieve.halvings, nearest = static_cast<std::uint64_t>(static_cast<std::int64_t>(std::rint(rounded)));
    const std::uint64_t mask = sieve.halvings == 0 ? ~std::uint64_t{0} : (~std::uint64_t{0}) >> sieve.halvings;
    std::uint64_t away = (low - nearest) & mask;  // modulo 2^(64 - h), brought to the nearest of both sides
    if (away > mask / 2) away -= mask + 1;
    rounded = static_cast<double>(static_cast<std::int64_t>(nearest + away));
    return true;
}

// The first sign's other half is the same, and not summed.
long halvings_of(const Sieve& sieve) { return sieve.halvings - (sieve.halvings > 0); }

}  // namespace

HafnianResult sieve_value(const Request& request, const Sieve& sieve, const SignSum& sum) {
    const Scales s(request);
    std::vector<double> total;
    const SieveNumbers numbers = request.complex ? SieveNumbers::complex : SieveNumbers::real;
    if (!sum(sieve.plan, numbers, scaled_input(request, sieve, s), total)) return {0.0, false};
    Complex value = scaled({total[0], request.complex ? total[1] : 0.0}, s.exponent_back() - halvings_of(sieve));
    if (request.complex) return {value};
    double rounded = value.real();
    if (!exact_integer(request, sieve, sum, rounded)) return {0.0, false};
    return {rounded};
}

HafnianResult sieve_value(const Request& request, const Sieve& sieve, Isa isa, unsigned threads, const HafnianPoll& poll) {
    const Runner run{sieve, isa, threads, poll};
    return sieve_value(request, sieve, [&](const SievePlan&, SieveNumbers numbers, const std::vector<double>& input, std::vector<double>& total) {
        return run(numbers, input, false, total);
    });
}

bool sieve_slopes(const Request& request, const Sieve& sieve, Isa isa, unsigned threads, const HafnianPoll& poll, const Slopes& out) {
    const Scales s(request);
    const Runner run{sieve, isa, threads, poll};
    std::vector<double> total;
    if (!run(request.complex ? SieveNumbers::complex : SieveNumbers::real, scaled_input(request, sieve, s), true, total)) return false;
    const long back = s.exponent_back() - halvings_of(sieve);
    const std::vector<std::size_t>& vertex = sieve.vertices;
    const std::size_t n = vertex.size(), q = static_cast<std::size_t>(sieve.plan.level[0].squares), none = request.size();
    const double* slope = total.data() + request.parts;
    const auto next = [&](long shift) {
        const Complex x = scaled({slope[0], request.complex ? slope[1] : 0.0}, back + shift);
        slope += request.parts;
        return x;
    };
    for (std::size_t i = n - q; i < n; ++i) out.add_K(vertex[i], vertex[i], next(2 * s(vertex[i])));
    for (std::size_t i = 0; request.mean && i < n; ++i) vertex[i] == none ? void(next(0)) : out.add_mu(vertex[i], next(s(vertex[i])));
    for (std::size_t k = 1; k < n; ++k) {
        for (std::size_t j = 0; j < k; ++j) {
            const std::size_t a = vertex[j], b = vertex[k];
            a == none || b == none ? void(next(0)) : out.add_K(a, b, next(s(a) + s(b)));
        }
    }
    return true;
}

}  // namespace nnqft
