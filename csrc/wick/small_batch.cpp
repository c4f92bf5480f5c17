#include "wick/small_batch.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/hafnian.hpp"
#include "wick/small.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kBlock = 4096;        // hafnians between two looks at the clock, or for one call of a thread
constexpr std::int64_t kChunk = 256;         // tuples that are checked and packed together
constexpr std::int64_t kMostPoints = 46340;  // m * m < 2^31, for the gathers
constexpr double kThreadsPay = 5e-4;         // seconds of work

// ---------------------------------------------------------------- checks

std::string text(double x) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.17g", x);
    return digits;
}

[[noreturn]] void refuse(const std::string& name, double x) { throw ArgumentError(name + " is " + text(x) + ": every entry must be finite"); }

bool all_finite(const double* x, std::int64_t count) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < count; ++i) sum += x[i] - x[i];  // inf - inf and nan - nan are nan
    return sum == 0.0;
}

// A vector, or row number `row` of an array.
void check_finite(const std::string& name, const double* x, std::int64_t count, std::int64_t row = -1) {
    for (std::int64_t i = 0; i < count; ++i) {
        if (!std::isfinite(x[i])) refuse(name + "[" + (row < 0 ? "" : std::to_string(row) + ", ") + std::to_string(i) + "]", x[i]);
    }
}

// Throws unless K is finite and |K_ij - K_ji| <= 1e-12 of the smaller of the two rows' largest entries. `matrix` is its number in a batch
// of matrices, whose diagonals are not read, or -1.
void check_symmetric(const double* K, std::int64_t m, std::int64_t matrix) {
    const bool alone = matrix < 0;
    const auto name = [&](std::int64_t i, std::int64_t j) {
        return "K[" + (alone ? "" : std::to_string(matrix) + ", ") + std::to_string(i) + ", " + std::to_string(j) + "]";
    };
    std::vector<double> largest(static_cast<std::size_t>(m), 0.0);
    for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < m; ++j) {
            if (i == j && !alone) continue;
            const double x = K[i * m + j];
            if (!std::isfinite(x)) refuse(name(i, j), x);
            largest[static_cast<std::size_t>(i)] = std::max(largest[static_cast<std::size_t>(i)], std::fabs(x));
        }
    }
    for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = i + 1; j < m; ++j) {
            const double a = K[i * m + j], b = K[j * m + i];
            if (std::fabs(a - b) <= 1e-12 * std::min(largest[static_cast<std::size_t>(i)], largest[static_cast<std::size_t>(j)])) continue;
            throw ArgumentError("K is not symmetric: " + name(i, j) + " = " + text(a) + " but " + name(j, i) + " = " + text(b) + "; pass (K + " +
                                (alone ? "K.T" : "K.swapaxes(1, 2)") + ") / 2 if that is meant");
        }
    }
}

// Finite and equal to its transpose to the bit, by tiles that fit the cache.
bool tidy(const double* K, std::int64_t m, const BatchPoll& poll) {
    constexpr std::int64_t kTile = 64;
    bool symmetric = true;
    for (std::int64_t i0 = 0; i0 < m; i0 += kTile) {
        for (std::int64_t j0 = i0; j0 < m; j0 += kTile) {
            for (std::int64_t i = i0; i < std::min(m, i0 + kTile); ++i) {
                for (std::int64_t j = std::max(i, j0); j < std::min(m, j0 + kTile); ++j) symmetric &= K[i * m + j] == K[j * m + i];
            }
        }
        if (poll && m > 4096) poll();
    }
    return symmetric && all_finite(K, m * m);
}

// ---------------------------------------------------------------- running

double seconds_each(std::int64_t n, bool mean) {  // roughly
    constexpr double kNanoseconds[kSmallPoints + 1] = {0.2, 0.4, 0.6, 1.5, 1.5, 3, 3.5, 6, 6.5, 13, 14, 36, 36};
    return kNanoseconds[n] * (mean ? 2e-9 : 1e-9);
}

// work(part, first, last) on [0, count), cut into parts of `size` that may run at once, each worked from its beginning in pieces of kBlock.
template <class Work>
void run_parts(std::int64_t count, std::int64_t size, double seconds, const BatchRun& run, const Work& work) {
    const std::int64_t parts = (count + size - 1) / size;
    const auto pieces = [&](std::int64_t part, const auto& go_on) {
        const std::int64_t end = std::min(count, (part + 1) * size);
        for (std::int64_t first = part * size; first < end && go_on(); first += kBlock) work(part, first, std::min(end, first + kBlock));
    };
    if (run.threads > 1 && parts > 1 && seconds > kThreadsPay) {
        const auto poll = [&] {
            if (run.poll) run.poll();
            return true;
        };
        const auto block = [&](std::uint64_t part, unsigned, const StopFlag& stop) {
            pieces(static_cast<std::int64_t>(part), [&] { return !stop.raised(); });
        };
        if (!run_blocks(0, static_cast<std::uint64_t>(parts), run.threads, block, poll)) throw StateError("the process is ending: the hafnians were not computed");
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

// ---------------------------------------------------------------- sources of panels

// Index tuples over one kernel.
class IndexSource {
public:
    IndexSource(const IndexBatch& batch, const BatchRun& run) : batch_(batch), n_(static_cast<int>(batch.n)), K_(batch.K), kernels_(small_kernels()) {
        const std::int64_t m = batch.m;
        if (m > kMostPoints) throw ArgumentError("K has " + std::to_string(m) + " points; index tuples take at most " + std::to_string(kMostPoints));
        if (!tidy(K_, m, run.poll)) {
            check_symmetric(K_, m, -1);
            copy_.assign(K_, K_ + m * m);
            for (std::int64_t i = 0; i < m; ++i) {
                for (std::int64_t j = 0; j < i; ++j) copy_[static_cast<std::size_t>(i * m + j)] = copy_[static_cast<std::size_t>(j * m + i)];
            }
            K_ = copy_.data();
        }
        if (batch.mu) check_finite("mu", batch.mu, m);
        if (n_ >= 1 && n_ <= kSmallPoints) {
            const auto range = [](const double* x, std::int64_t count) {
                double least = 1.0, most = 0.0;
                for (std::int64_t i = 0; i < count; ++i) {
                    const double size = std::fabs(x[i]);
                    most = std::max(most, size);
                    least = std::min(least, size > 0.0 ? size : 1.0);
                }
                return std::pair<double, double>(least, most);
            };
            const auto K = range(K_, m * m), mu = range(batch.mu, batch.mu ? m : 0);
            plain_ = SmallWindow(n_, batch.mu).holds(K.first, K.second, mu.first, mu.second);
        }
    }

    // Tuples first .. last-1 as int32, which are then in range; anything at all would not be more than the caller's memory can change.
    void read(std::int64_t first, std::int64_t last, std::int32_t* to) const {
        const std::int64_t at = first * batch_.n, count = (last - first) * batch_.n;
        const auto m = static_cast<std::int32_t>(batch_.m);
        const bool sound = batch_.wide ? kernels_.narrow64(static_cast<const std::int64_t*>(batch_.index) + at, count, m, to)
                                       : kernels_.narrow32(static_cast<const std::int32_t*>(batch_.index) + at, count, m, to);
        if (sound) return;
        for (std::int64_t k = at; k < at + count; ++k) {
            const std::int64_t value = batch_.wide ? static_cast<const std::int64_t*>(batch_.index)[k] : static_cast<const std::int32_t*>(batch_.index)[k];
            if (value >= 0 && value < m) continue;
            throw ArgumentError("index[" + std::to_string(k / batch_.n) + ", " + std::to_string(k % batch_.n) + "] is " + std::to_string(value) +
                                "; K has " + (m > 0 ? "the points 0 to " + std::to_string(m - 1) : "no points"));
        }
        throw ArgumentError("index was changed while it was read");
    }

    void values(std::int64_t first, std::int64_t last, double* out) const {
        std::int32_t tuples[kChunk * kSmallPoints];
        double values[kChunk];
        for (; first < last; first += kChunk, out += kChunk) {
            const std::int64_t count = std::min(kChunk, last - first), groups = read_groups(first, count, tuples);
            const auto from_index = kernels_.index_value[n_][mean()];
            if (plain_) {
                from_index(K_, batch_.mu, points(), tuples, groups, values);
            } else {
                for (std::int64_t group = 0; group < groups; ++group) {
                    SmallPanel panel;
                    kernels_.index_panel[n_][mean()](K_, batch_.mu, points(), tuples + group * kLanes * n_, 1, panel.at);
                    panel_hafnians(kernels_, n_, mean(), panel.at, values + group * kLanes);
                }
            }
            std::copy_n(values, count, out);
        }
    }

    // Adds the derivatives by K (slots (i, j) of the tuples as they come) and mu of sum_b g_b haf_b.
    void add_derivatives(std::int64_t first, std::int64_t last, const double* g, double* K_sum, double* mu_sum) const {
        std::int32_t tuples[kChunk * kSmallPoints];
        for (; first < last; first += kChunk) {
            const std::int64_t count = std::min(kChunk, last - first), groups = read_groups(first, count, tuples);
            for (std::int64_t group = 0; group < groups; ++group) {
                const std::int32_t* tuple = tuples + group * kLanes * n_;
                SmallPanel panel, bar;
                kernels_.index_panel[n_][mean()](K_, batch_.mu, points(), tuple, 1, panel.at);
                panel_derivatives(kernels_, n_, mean(), panel.at, bar.at);
                const auto lanes = static_cast<int>(std::min<std::int64_t>(kLanes, count - group * kLanes));
                const double* weight = g + first + group * kLanes;
                const double* from = bar.at;
                for (int i = 0; i < n_; ++i) {
                    for (int j = i + 1; j < n_; ++j, from += kLanes) {
                        for (int lane = 0; lane < lanes; ++lane) {
                            const std::int32_t* t = tuple + lane * n_;
                            K_sum[t[i] * points() + t[j]] += weight[lane] * from[lane];
                        }
                    }
                }
                for (int i = 0; mean() && i < n_; ++i, from += kLanes) {
                    for (int lane = 0; lane < lanes; ++lane) mu_sum[tuple[lane * n_ + i]] += weight[lane] * from[lane];
                }
            }
        }
    }

    bool mean() const { return batch_.mu != nullptr; }
    const double* K() const { return K_; }

private:
    std::int32_t points() const { return static_cast<std::int32_t>(batch_.m); }

    // The last group is filled up with the tuple (0, 0, ..).
    std::int64_t read_groups(std::int64_t first, std::int64_t count, std::int32_t* tuples) const {
        const std::int64_t groups = (count + kLanes - 1) / kLanes;
        read(first, first + count, tuples);
        std::fill(tuples + count * n_, tuples + groups * kLanes * n_, 0);
        return groups;
    }

    const IndexBatch& batch_;
    int n_;
    const double* K_;
    std::vector<double> copy_;
    const SmallKernels& kernels_;
    bool plain_ = false;  // no product of entries leaves the window of the plain recursion
};

// Many matrices.
class MatrixSource {
public:
    explicit MatrixSource(const MatrixBatch& batch) : batch_(batch), n_(static_cast<int>(batch.n)), kernels_(small_kernels()) {
        entries_ = batch.packed ? pair_count(n_) : n_ * n_;
        for (int i = 0; i < n_; ++i) {
            for (int j = i + 1; j < n_; ++j) {
                const auto slot = static_cast<short>(pair_place(n_, i, j));
                if (batch.packed) {
                    place_[slot] = slot;
                } else {
                    place_[i * n_ + j] = slot;
                    place_[j * n_ + i] = static_cast<short>(kPanelSlots + slot);
                }
            }
            if (!batch.packed) place_[i * n_ + i] = -1;
            mu_place_[i] = static_cast<short>(pair_count(n_) + i);
        }
    }

    void values(std::int64_t first, std::int64_t last, double* out) const {
        alignas(64) double values[kLanes];
        for (; first < last; first += kLanes, out += kLanes) {
            Panels panels;
            read(first, panels);
            panel_hafnians(kernels_, n_, mean(), panels.at, values);
            std::copy_n(values, std::min<std::int64_t>(kLanes, last - first), out);
        }
    }

    void derivatives(std::int64_t first, std::int64_t last, const double* g, double* K_bar, double* mu_bar) const {
        for (; first < last; first += kLanes) {
            Panels panels;
            SmallPanel bar;
            read(first, panels);
            panel_derivatives(kernels_, n_, mean(), panels.at, bar.at);
            for (int lane = 0; lane < kLanes && first + lane < last; ++lane) {
                const double weight = g[first + lane], *from = bar.at + lane;
                double* to = K_bar + (first + lane) * entries_;
                for (int i = 0; i < n_; ++i) {
                    for (int j = i + 1; j < n_; ++j, from += kLanes) {
                        if (batch_.packed) *to++ = weight * *from;
                        else to[i * n_ + j] = to[j * n_ + i] = 0.5 * (weight * *from);
                    }
                }
                for (int i = 0; mean() && i < n_; ++i, from += kLanes) mu_bar[(first + lane) * n_ + i] = weight * *from;
            }
        }
    }

    void check(std::int64_t first, std::int64_t last) const {
        for (; first < last; first += kLanes) {
            Panels panels;
            read(first, panels);
        }
    }

    bool mean() const { return batch_.mu != nullptr; }

private:
    struct alignas(64) Panels {
        double at[2 * kPanelSlots * kLanes];  // the second one for what lies below the diagonals
    };

    // Matrices first .. first + kLanes - 1, the last of all in place of those that do not exist.
    void read(std::int64_t first, Panels& panels) const {
        const double *matrix[kLanes], *mean_of[kLanes];
        std::int64_t number[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            number[lane] = std::min(first + lane, batch_.count - 1);
            matrix[lane] = batch_.K + number[lane] * entries_;
            mean_of[lane] = batch_.mu + (mean() ? number[lane] * n_ : 0);
        }
        const int pairs = pair_count(n_) * kLanes;
        kernels_.transpose(matrix, entries_, place_, panels.at);
        const bool symmetric = batch_.packed || std::equal(panels.at, panels.at + pairs, panels.at + kPanelSlots * kLanes);
        if (!symmetric || !all_finite(panels.at, pairs)) {
            for (int lane = 0; lane < kLanes; ++lane) {
                if (batch_.packed) check_finite("K", matrix[lane], entries_, number[lane]);
                else check_symmetric(matrix[lane], n_, number[lane]);
            }
        }
        if (!mean()) return;
        kernels_.transpose(mean_of, n_, mu_place_, panels.at);
        if (!all_finite(panels.at + pairs, n_ * kLanes)) {
            for (int lane = 0; lane < kLanes; ++lane) check_finite("mu", mean_of[lane], n_, number[lane]);
        }
    }

    const MatrixBatch& batch_;
    int n_, entries_;
    const SmallKernels& kernels_;
    short place_[kSmallPoints * kSmallPoints], mu_place_[kSmallPoints];
};

// ---------------------------------------------------------------- more than 12 points: one sieve after another

// problem(k, store) is the k-th, which may keep its numbers in `store`.
struct LargeStore {
    std::vector<double> K, mu;
    std::vector<std::int32_t> points, repeats;
};

template <class Problem>
void large_hafnians(std::int64_t count, std::int64_t n, const BatchRun& run, const Problem& problem, double* out) {
    const Isa isa = resolve_isa("");
    const auto work_of = [&](std::int64_t k) {
        LargeStore store;
        return hafnian_seconds(hafnian_work(problem(k, store)), isa);
    };
    const std::int64_t samples = std::min<std::int64_t>(count, 16);
    double seconds = 0.0;
    for (std::int64_t k = 0; k < samples; ++k) seconds += work_of(k * (count / samples)) / static_cast<double>(samples);
    const double total = seconds * static_cast<double>(count) / run.threads;
    if (!(total <= run.max_seconds)) {
        throw ArgumentError(std::to_string(count) + " hafnians of " + std::to_string(n) + " points take about " + text(std::round(total)) + " seconds on " +
                            std::to_string(run.threads) + " threads; pass max_seconds=math.inf to insist");
    }
    const auto one = [&](std::int64_t k, unsigned threads, const HafnianPoll& poll) {
        LargeStore store;
        const HafnianResult result = hafnian(problem(k, store), isa, threads, poll);
        if (!result.finished) throw StateError("the process is ending: the hafnians were not computed");
        out[k] = result.value.real();
    };
    if (seconds > 1e-2) {
        const HafnianPoll poll = [&](double) {
            if (run.poll) run.poll();
            return true;
        };
        for (std::int64_t k = 0; k < count; ++k) one(k, run.threads, poll);
        return;
    }
    const std::int64_t size = std::clamp<std::int64_t>(static_cast<std::int64_t>(1e-2 / std::max(seconds, 1e-9)), 1, kBlock);
    run_parts(count, size, total * run.threads, run, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        for (std::int64_t k = first; k < last; ++k) one(k, 1, {});
    });
}

// Equal indices become one point that occurs as often.
HafnianProblem tuple_problem(const IndexSource& source, const IndexBatch& batch, std::int64_t k, LargeStore& store) {
    store.points.resize(static_cast<std::size_t>(batch.n));
    source.read(k, k + 1, store.points.data());
    std::sort(store.points.begin(), store.points.end());
    std::vector<std::int32_t> distinct;
    for (const std::int32_t point : store.points) {
        if (!distinct.empty() && distinct.back() == point) {
            ++store.repeats.back();
        } else {
            distinct.push_back(point);
            store.repeats.push_back(1);
        }
    }
    for (const std::int32_t i : distinct) {
        for (const std::int32_t j : distinct) store.K.push_back(source.K()[i * batch.m + j]);
        if (batch.mu) store.mu.push_back(batch.mu[i]);
    }
    return {static_cast<std::int64_t>(distinct.size()), false, store.K.data(), batch.mu ? store.mu.data() : nullptr, store.repeats.data()};
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
        check_symmetric(K, n, k);
    }
    if (mu) check_finite("mu", mu, n, k);
    return {n, false, K, mu, nullptr};
}

void check_large_vjp(std::int64_t n) {
    if (n > kSmallPoints) throw ArgumentError("hafnian_batch_vjp() takes up to " + std::to_string(kSmallPoints) + " points, got " + std::to_string(n));
}

bool vanishes(std::int64_t n, const double* mu) { return n % 2 && !mu; }

}  // namespace

void index_hafnians(const IndexBatch& batch, const BatchRun& run, double* out) {
    const IndexSource source(batch, run);
    const std::int64_t n = batch.n;
    if (n == 0) {
        std::fill_n(out, batch.count, 1.0);
    } else if (n > kSmallPoints && !vanishes(n, batch.mu)) {
        large_hafnians(batch.count, n, run, [&](std::int64_t k, LargeStore& store) { return tuple_problem(source, batch, k, store); }, out);
    } else if (vanishes(n, batch.mu)) {
        std::vector<std::int32_t> tuple(static_cast<std::size_t>(n));
        for (std::int64_t k = 0; k < batch.count; ++k) source.read(k, k + 1, tuple.data());
        std::fill_n(out, batch.count, 0.0);
    } else {
        run_parts(batch.count, kBlock, seconds_each(n, batch.mu) * static_cast<double>(batch.count), run,
                  [&](std::int64_t, std::int64_t first, std::int64_t last) { source.values(first, last, out + first); });
    }
}

void matrix_hafnians(const MatrixBatch& batch, const BatchRun& run, double* out) {
    const std::int64_t n = batch.n;
    if (n == 0) {
        std::fill_n(out, batch.count, 1.0);
        return;
    }
    if (n > kSmallPoints) {
        const auto problem = [&](std::int64_t k, LargeStore& store) { return matrix_problem(batch, k, store); };
        return large_hafnians(batch.count, n, run, problem, out);
    }
    const MatrixSource source(batch);
    const double seconds = seconds_each(n, batch.mu) * 4.0 * static_cast<double>(batch.count);
    run_parts(batch.count, kBlock, seconds, run, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        if (!vanishes(n, batch.mu)) return source.values(first, last, out + first);
        source.check(first, last);
        std::fill(out + first, out + last, 0.0);
    });
}

void index_hafnians_vjp(const IndexBatch& batch, const double* g, const BatchRun& run, double* K_bar, double* mu_bar) {
    check_large_vjp(batch.n);
    check_finite("g", g, batch.count);
    const IndexSource source(batch, run);
    const std::int64_t m = batch.m, n = batch.n, sums = m * m + (batch.mu ? m : 0);
    if (n == 0 || vanishes(n, batch.mu)) {
        std::int32_t tuple[kSmallPoints];
        for (std::int64_t k = 0; n > 0 && k < batch.count; ++k) source.read(k, k + 1, tuple);
        return;
    }
    // Sums of parts, added in order: the number of parts depends on the work alone.
    constexpr std::int64_t kMostParts = 64, kMostNumbers = std::int64_t{1} << 24;
    const std::int64_t parts = std::clamp<std::int64_t>(kMostNumbers / std::max<std::int64_t>(sums, 1), 1, kMostParts);
    const std::int64_t size = std::max((batch.count + parts * kBlock - 1) / (parts * kBlock), std::int64_t{1}) * kBlock;
    std::vector<std::vector<double>> partial(static_cast<std::size_t>((batch.count + size - 1) / size));
    const double seconds = 4.0 * seconds_each(n, batch.mu) * static_cast<double>(batch.count);
    run_parts(batch.count, size, seconds, run, [&](std::int64_t part, std::int64_t first, std::int64_t last) {
        std::vector<double>& sum = partial[static_cast<std::size_t>(part)];
        if (sum.empty()) sum.resize(static_cast<std::size_t>(sums));
        source.add_derivatives(first, last, g, sum.data(), sum.data() + m * m);
    });
    for (const std::vector<double>& sum : partial) {
        for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < m; ++j) K_bar[i * m + j] += sum[static_cast<std::size_t>(i * m + j)];
            if (batch.mu) mu_bar[i] += sum[static_cast<std::size_t>(m * m + i)];
        }
    }
    for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = i + 1; j < m; ++j) K_bar[i * m + j] = K_bar[j * m + i] = 0.5 * (K_bar[i * m + j] + K_bar[j * m + i]);
    }
}

void matrix_hafnians_vjp(const MatrixBatch& batch, const double* g, const BatchRun& run, double* K_bar, double* mu_bar) {
    check_large_vjp(batch.n);
    check_finite("g", g, batch.count);
    if (batch.n == 0) return;
    const MatrixSource source(batch);
    const double seconds = 8.0 * seconds_each(batch.n, batch.mu) * static_cast<double>(batch.count);
    run_parts(batch.count, kBlock, seconds, run, [&](std::int64_t, std::int64_t first, std::int64_t last) {
        if (vanishes(batch.n, batch.mu)) return source.check(first, last);
        source.derivatives(first, last, g, K_bar, mu_bar);
    });
}

}  // namespace nnqft
