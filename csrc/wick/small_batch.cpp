#include "wick/small_batch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "core/checks.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "wick/hafnian.hpp"
#include "wick/small.hpp"
#include "wick/small_sources.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kBlock = 4096;  // hafnians between two looks at the clock, or for one call of a thread
constexpr double kThreadsPay = 5e-4;   // seconds of work
constexpr const char* kEnding = "the process is ending: the hafnians were not computed";

// ---------------------------------------------------------------- running

// The files that the default depends on are read only where it matters.
unsigned thread_count(const BatchRun& run) { return run.threads > 0 ? run.threads : default_threads(); }

// work(part, first, last) on [0, count), cut into parts of `size` that may run at once, each worked from its beginning piece by piece.
template <class Work>
void run_parts(std::int64_t count, std::int64_t size, std::int64_t piece, double seconds, const BatchRun& run, const Work& work) {
    const std::int64_t parts = (count + size - 1) / size;
    const auto pieces = [&](std::int64_t part, const auto& go_on) {
        const std::int64_t end = std::min(count, (part + 1) * size);
        for (std::int64_t first = part * size; first < end && go_on(); first += piece) work(part, first, std::min(end, first + piece));
    };
    if (parts > 1 && seconds > kThreadsPay && thread_count(run) > 1) {
        const auto poll = [&] {
            if (run.poll) run.poll();
            return true;
        };
        const auto block = [&](std::uint64_t part, unsigned, const StopFlag& stop) {
            pieces(static_cast<std::int64_t>(part), [&] { return !stop.raised(); });
        };
        if (!run_blocks(0, static_cast<std::uint64_t>(parts), thread_count(run), block, poll)) throw StateError(kEnding);
        return;
    }
    using Clock = std::chrono::steady_clock;
    Clock::time_point asked = Clock::now();
    const auto ask = [&] {
        if (run.poll && Clock::now() - asked > std::chrono::milliseconds(50)) {
            run.poll();
            asked = Clock::now();
        }
        return true;
    };
    for (std::int64_t part = 0; part < parts; ++part) pieces(part, ask);
}

// Sums over tuples go by parts, so that their bits depend on the work alone. Few enough for the memory of m * m numbers each.
std::int64_t part_size(std::int64_t count, std::int64_t sums, std::int64_t least) {
    constexpr std::int64_t kMostParts = 64, kMostNumbers = std::int64_t{1} << 24;
    const std::int64_t parts = std::clamp<std::int64_t>(kMostNumbers / std::max<std::int64_t>(sums, 1), 1, kMostParts);
    return std::max((count + parts * least - 1) / (parts * least), std::int64_t{1}) * least;
}

// ---------------------------------------------------------------- more than 12 points: one sieve after another

// Owns the numbers of a problem that is not in memory as the sieve reads it.
struct LargeStore {
    std::vector<double> K, mu;
    std::vector<std::int32_t> points, repeats;  // the distinct points of a tuple, and how often each occurs
};

// each(part, k, problem, store, threads, poll) for the problems (k, store) of n points.
template <class Problem, class Each>
void run_large(std::int64_t count, std::int64_t n, std::int64_t size, bool derivatives, const BatchRun& run, const Problem& problem,
               const Each& each) {
    if (count == 0) return;
    const Isa isa = resolve_isa("");
    const unsigned threads = thread_count(run);
    const std::int64_t samples = std::min<std::int64_t>(count, 16);
    double seconds = 0.0;  // each
    for (std::int64_t k = 0; k < samples; ++k) {
        LargeStore store;
        seconds += hafnian_seconds(hafnian_work(problem(k * (count / samples), store), derivatives), isa) / static_cast<double>(samples);
    }
    const double total = seconds * static_cast<double>(count);
    if (!(total / threads <= run.max_seconds)) {
        char text[64];
        std::snprintf(text, sizeof text, "%.2g seconds on %u threads", total / threads, threads);
        throw ArgumentError(std::to_string(count) + " hafnians of " + std::to_string(n) + " points" + (derivatives ? " and their derivatives" : "") +
                            " take about " + text + "; pass max_seconds=math.inf to insist");
    }
    const HafnianPoll poll = [&](double) {
        if (run.poll) run.poll();
        return true;
    };
    const auto one = [&](std::int64_t part, std::int64_t k, unsigned workers, const HafnianPoll& ask) {
        LargeStore store;
        const HafnianProblem what = problem(k, store);
        if (!each(part, k, what, store, isa, workers, ask)) throw StateError(kEnding);
    };
    if (seconds > 1e-2) {  // threads inside of each, where they pay
        for (std::int64_t k = 0; k < count && poll(0.0); ++k) one(k / size, k, threads, poll);
        return;
    }
    const std::int64_t piece = std::clamp<std::int64_t>(static_cast<std::int64_t>(1e-2 / std::max(seconds, 1e-9)), 1, kBlock);
    run_parts(count, size, piece, total, run, [&](std::int64_t part, std::int64_t first, std::int64_t last) {
        for (std::int64_t k = first; k < last; ++k) one(part, k, 1, {});
    });
}

template <class Problem>
void large_hafnians(std::int64_t count, std::int64_t n, const BatchRun& run, const Problem& problem, double* out) {
    const auto each = [out](std::int64_t, std::int64_t k, const HafnianProblem& what, const LargeStore&, Isa isa, unsigned threads,
                            const HafnianPoll& poll) {
        const HafnianResult result = hafnian(what, isa, threads, poll);
        out[k] = result.value.real();
        return result.finished;
    };
    run_large(count, n, (count + 255) / 256, false, run, problem, each);
}

// use(part, k, problem, store, K_bar, mu_bar) with the derivatives as hafnian_derivative() gives them.
template <class Problem, class Use>
void large_derivatives(std::int64_t count, std::int64_t n, std::int64_t size, const BatchRun& run, const Problem& problem, const Use& use) {
    const auto each = [&](std::int64_t part, std::int64_t k, const HafnianProblem& what, const LargeStore& store, Isa isa, unsigned threads,
                          const HafnianPoll& poll) {
        const auto points = static_cast<std::size_t>(what.points);
        std::vector<double> K_bar(points * points), mu_bar(what.mu ? points : 0);
        if (!hafnian_derivative(what, isa, threads, poll, K_bar.data(), what.mu ? mu_bar.data() : nullptr)) return false;
        use(part, k, what, store, K_bar, mu_bar);
        return true;
    };
    run_large(count, n, size, true, run, problem, each);
}

// Equal indices become one point that occurs as often.
HafnianProblem tuple_problem(const IndexSource& source, const IndexBatch& batch, std::int64_t k, LargeStore& store) {
    std::vector<std::int32_t> tuple(static_cast<std::size_t>(batch.n));
    source.read(k, k + 1, tuple.data());
    std::sort(tuple.begin(), tuple.end());
    for (std::size_t i = 0; i < tuple.size(); ++i) {
        if (i > 0 && tuple[i] == tuple[i - 1]) {
            ++store.repeats.back();
        } else {
            store.points.push_back(tuple[i]);
            store.repeats.push_back(1);
        }
    }
    for (const std::int32_t i : store.points) {
        for (const std::int32_t j : store.points) store.K.push_back(source.K()[i * batch.m + j]);
        if (batch.mu) store.mu.push_back(batch.mu[i]);
    }
    return {static_cast<std::int64_t>(store.points.size()), false, store.K.data(), batch.mu ? store.mu.data() : nullptr, store.repeats.data()};
}

HafnianProblem matrix_problem(const MatrixBatch& batch, std::int64_t k, LargeStore& store) {
    const std::int64_t n = batch.n, entries = batch.packed ? n * (n - 1) / 2 : n * n;
    const double* K = batch.K + k * entries;
    const double* mu = batch.mu ? batch.mu + k * n : nullptr;
    if (batch.packed) {
        check_finite("K", K, entries, k);
        store.K.resize(static_cast<std::size_t>(n * n));
        for (std::int64_t i = 0; i < n; ++i) {
            for (std::int64_t j = i + 1; j < n; ++j) store.K[static_cast<std::size_t>(i * n + j)] = *K++;
        }
        K = store.K.data();
    } else {
        check_symmetric(K, n, 1, {}, k);
    }
    if (mu) check_finite("mu", mu, n, k);
    return {n, false, K, mu, nullptr};
}

// ---------------------------------------------------------------- batches

bool trivial(std::int64_t n, const double* mu) { return n == 0 || (n % 2 == 1 && mu == nullptr); }  // 1 or 0, whatever the entries

double seconds_of(std::int64_t count, std::int64_t n, bool mean) {  // roughly
    constexpr double kNanoseconds[kSmallPoints + 1] = {0.2, 0.4, 0.6, 1.5, 1.5, 3, 3.5, 6, 6.5, 13, 14, 36, 36};
    return kNanoseconds[n] * (mean ? 2e-9 : 1e-9) * static_cast<double>(count);
}

void check_tuples(const IndexSource& source, const IndexBatch& batch, const BatchRun& run) {
    run_parts(batch.count, kBlock, kBlock, 0.0, run, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        std::vector<std::int32_t> tuples(static_cast<std::size_t>((last - first) * batch.n));
        source.read(first, last, tuples.data());
    });
}

void check_matrices(const MatrixBatch& batch, const BatchRun& run) {
    run_parts(batch.count, kBlock, kBlock, 0.0, run, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        for (std::int64_t k = first; k < last; ++k) {
            LargeStore store;
            matrix_problem(batch, k, store);
        }
    });
}

}  // namespace

void index_hafnians(const IndexBatch& batch, const BatchRun& run, double* out) {
    const IndexSource source(batch, run.poll);
    const std::int64_t n = batch.n;
    if (trivial(n, batch.mu)) {
        check_tuples(source, batch, run);
        std::fill_n(out, batch.count, n == 0 ? 1.0 : 0.0);
    } else if (n > kSmallPoints) {
        large_hafnians(batch.count, n, run, [&](std::int64_t k, LargeStore& store) { return tuple_problem(source, batch, k, store); }, out);
    } else {
        const PanelWork work(static_cast<int>(n), batch.mu != nullptr);
        run_parts(batch.count, kBlock, kBlock, seconds_of(batch.count, n, work.mean), run,
                  [&](std::int64_t, std::int64_t first, std::int64_t last) { source.values(work, first, last, out + first); });
    }
}

void matrix_hafnians(const MatrixBatch& batch, const BatchRun& run, double* out) {
    const std::int64_t n = batch.n;
    if (trivial(n, batch.mu)) {
        check_matrices(batch, run);
        std::fill_n(out, batch.count, n == 0 ? 1.0 : 0.0);
    } else if (n > kSmallPoints) {
        large_hafnians(batch.count, n, run, [&](std::int64_t k, LargeStore& store) { return matrix_problem(batch, k, store); }, out);
    } else {
        const MatrixSource source(batch);
        const PanelWork work(static_cast<int>(n), batch.mu != nullptr);
        run_parts(batch.count, kBlock, kBlock, 4.0 * seconds_of(batch.count, n, work.mean), run,
                  [&](std::int64_t, std::int64_t first, std::int64_t last) { source.values(work, first, last, out + first); });
    }
}

void index_hafnians_vjp(const IndexBatch& batch, const double* g, const BatchRun& run, double* K_bar, double* mu_bar) {
    check_finite("g", g, batch.count);
    const IndexSource source(batch, run.poll);
    const std::int64_t m = batch.m, n = batch.n, count = batch.count, sums = m * m + (batch.mu ? m : 0);
    if (trivial(n, batch.mu)) return check_tuples(source, batch, run);

    // The first part is summed in place.
    const std::int64_t size = part_size(count, sums, n > kSmallPoints ? 1 : kBlock);
    std::vector<std::vector<double>> partial(static_cast<std::size_t>((count + size - 1) / size));
    const auto K_sum = [&](std::int64_t part) {
        if (part == 0) return K_bar;
        std::vector<double>& sum = partial[static_cast<std::size_t>(part)];
        sum.resize(static_cast<std::size_t>(sums));
        return sum.data();
    };
    const auto mu_sum = [&](std::int64_t part) { return part == 0 ? mu_bar : K_sum(part) + m * m; };
    if (n > kSmallPoints) {
        const auto problem = [&](std::int64_t k, LargeStore& store) { return tuple_problem(source, batch, k, store); };
        large_derivatives(count, n, size, run, problem, [&](std::int64_t part, std::int64_t k, const HafnianProblem&, const LargeStore& store,
                                                            const std::vector<double>& K_of, const std::vector<double>& mu_of) {
            double* const to = K_sum(part);
            const double* from = K_of.data();
            for (const std::int32_t i : store.points) {
                for (const std::int32_t j : store.points) to[i * m + j] += g[k] * *from++;
            }
            for (std::size_t i = 0; i < mu_of.size(); ++i) mu_sum(part)[store.points[i]] += g[k] * mu_of[i];
        });
    } else {
        const PanelWork work(static_cast<int>(n), batch.mu != nullptr);
        run_parts(count, size, kBlock, 5.0 * seconds_of(count, n, work.mean), run, [&](std::int64_t part, std::int64_t first, std::int64_t last) {
            source.add_derivatives(work, first, last, g, K_sum(part), batch.mu ? mu_sum(part) : nullptr);
        });
    }
    for (const std::vector<double>& sum : partial) {
        if (sum.empty()) continue;
        for (std::int64_t k = 0; k < m * m; ++k) K_bar[k] += sum[static_cast<std::size_t>(k)];
        for (std::int64_t k = m * m; k < sums; ++k) mu_bar[k - m * m] += sum[static_cast<std::size_t>(k)];
    }
    for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = i + 1; j < m; ++j) K_bar[i * m + j] = K_bar[j * m + i] = 0.5 * (K_bar[i * m + j] + K_bar[j * m + i]);
        if (run.poll && m > 4096) run.poll();
    }
}

void matrix_hafnians_vjp(const MatrixBatch& batch, const double* g, const BatchRun& run, double* K_bar, double* mu_bar) {
    check_finite("g", g, batch.count);
    const std::int64_t n = batch.n, count = batch.count;
    if (trivial(n, batch.mu)) return check_matrices(batch, run);
    if (n > kSmallPoints) {
        const auto problem = [&](std::int64_t k, LargeStore& store) { return matrix_problem(batch, k, store); };
        const double share = batch.packed ? 2.0 : 1.0;
        const auto use = [&](std::int64_t, std::int64_t k, const HafnianProblem&, const LargeStore&, const std::vector<double>& K_of,
                             const std::vector<double>& mu_of) {
            double* to = K_bar + k * (batch.packed ? n * (n - 1) / 2 : n * n);
            for (std::int64_t i = 0; i < n; ++i) {
                for (std::int64_t j = batch.packed ? i + 1 : 0; j < n; ++j) *to++ = share * g[k] * K_of[static_cast<std::size_t>(i * n + j)];
            }
            for (std::size_t i = 0; i < mu_of.size(); ++i) mu_bar[k * n + static_cast<std::int64_t>(i)] = g[k] * mu_of[i];
        };
        return large_derivatives(count, n, (count + 255) / 256, run, problem, use);
    }
    const MatrixSource source(batch);
    const PanelWork work(static_cast<int>(n), batch.mu != nullptr);
    run_parts(count, kBlock, kBlock, 10.0 * seconds_of(count, n, work.mean), run,
              [&](std::int64_t, std::int64_t first, std::int64_t last) { source.derivatives(work, first, last, g, K_bar, mu_bar); });
}

}  // namespace nnqft
