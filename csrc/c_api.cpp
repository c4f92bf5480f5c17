// The C ABI: arguments checked, errors turned into codes and messages, no formulas.
#include "nnqft.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "core/checks.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "wick/all_multisets.hpp"
#include "wick/hafnian.hpp"
#include "wick/moments.hpp"
#include "wick/multiset.hpp"
#include "wick/small_batch.hpp"

using namespace nnqft;

namespace {

constexpr double kMaxBytes = 68719476736.0;  // of a hafnian, per thread
constexpr double kShortWork = 2e6;           // multiply-adds: below a millisecond, where threads do not pay

struct GivenUp {};

// work(), with whatever leaves it turned into a code and a message.
template <class Work>
int guarded(char* message, size_t message_bytes, const Work& work) noexcept {
    const auto say = [&](int code, const char* text) {
        if (message == nullptr || message_bytes == 0) return code;
        size_t n = 0;
        for (; n + 1 < message_bytes && text[n] != '\0'; ++n) message[n] = text[n];
        message[n] = '\0';
        return code;
    };
    try {
        const FpEnvironment environment;
        work();
        return say(NNQFT_OK, "");
    } catch (const GivenUp&) {
        return say(NNQFT_STOPPED, "poll() gave up");
    } catch (const StateError& error) {
        return say(NNQFT_STOPPED, error.what());
    } catch (const Error& error) {
        return say(NNQFT_ARGUMENT_ERROR, error.what());
    } catch (const std::bad_alloc&) {
        return say(NNQFT_MEMORY_ERROR, "memory ran out");
    } catch (const std::exception& error) {
        return say(NNQFT_INTERNAL_ERROR, error.what());
    } catch (...) {
        return say(NNQFT_INTERNAL_ERROR, "unknown exception");
    }
}

// ---------------------------------------------------------------- arguments

void check_pointer(const void* pointer, std::int64_t count, const char* name) {
    if (pointer == nullptr && count > 0) throw ArgumentError(std::string(name) + " is NULL");
}

void check_size(std::int64_t n, std::int64_t least, std::int64_t most, const char* name) {
    if (n < least || n > most) {
        throw ArgumentError(std::string(name) + " is " + std::to_string(n) + ", expected " + std::to_string(least) + " to " + std::to_string(most));
    }
}

// K (m, m) and mu (m), of numbers of `parts` doubles.
void check_kernel(std::int64_t m, const double* K, const double* mu, int parts) {
    check_size(m, 0, kMaxValues, "m");
    check_pointer(K, m, "K");
    check_symmetric(K, m, parts);
    if (mu != nullptr) check_finite("mu", mu, m, kAlone, parts);
}

void check_memory(double bytes) {
    const double have = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
    if (bytes > have) throw ArgumentError("this takes " + text(bytes) + " bytes of memory, and this machine has " + text(have));
}

class Run {
public:
    explicit Run(const nnqft_run* run) : run_(run != nullptr ? *run : nnqft_run{}) {
        check_size(run_.threads, 0, kMaxThreads, "threads");
        if (run_.max_seconds == 0.0) run_.max_seconds = 3600.0;
        if (!(run_.max_seconds > 0.0)) throw ArgumentError("max_seconds is " + text(run_.max_seconds) + ", expected a positive number or INFINITY");
    }

    unsigned threads() const {
        if (run_.threads > 0) return static_cast<unsigned>(run_.threads);
        static const unsigned all = default_threads();
        return all;
    }
    double max_seconds() const { return run_.max_seconds; }
    void poll(double share) const {
        if (run_.poll != nullptr && run_.poll(share, run_.context) != 0) throw GivenUp{};
    }

private:
    nnqft_run run_;
};

// ---------------------------------------------------------------- the functions

Isa isa() {
    static const Isa choice = resolve_isa("");
    return choice;
}

void run_hafnian(const HafnianProblem& problem, const nnqft_run* how, double* out) {
    const int parts = problem.complex ? 2 : 1;
    check_kernel(problem.points, problem.K, problem.mu, parts);
    check_pointer(out, 1, "out");
    if (problem.repeats != nullptr) {
        for (std::int64_t i = 0; i < problem.points; ++i) check_size(problem.repeats[i], 0, kMaxRepeats, "a repeat");
    }
    const Run run(how);
    const HafnianWork work = hafnian_work(problem);
    if (!std::isfinite(work.multiply_adds) || work.bytes > kMaxBytes) throw ArgumentError("this hafnian is out of reach: it needs " + text(work.bytes) + " bytes");
    const unsigned threads = work.multiply_adds > kShortWork ? run.threads() : 1;
    const double seconds = hafnian_seconds(work, isa()) / threads;
    if (seconds > run.max_seconds()) throw ArgumentError("this hafnian takes about " + text(seconds) + " seconds: set max_seconds to INFINITY to insist");
    const HafnianResult result = hafnian(problem, isa(), threads, [&](double share) {
        run.poll(share);
        return true;
    });
    if (!result.finished) throw StateError("the process is ending: the hafnian was not computed");
    out[0] = result.value.real();
    if (parts == 2) out[1] = result.value.imag();
}

void run_moments(MomentRows rows, std::int64_t samples, std::int64_t fields, const double* weights, std::int32_t order, const nnqft_run* how, double* out) {
    constexpr std::int64_t kMost = std::int64_t{1} << 40;
    check_size(samples, 1, kMost, "samples");
    check_size(fields, 1, kMaxValues, "fields");
    check_size(order, 1, kMaxMomentOrder, "order");
    check_pointer(rows.data, 1, "F");
    check_pointer(out, 1, "out");
    const Run run(how);
    MomentSamples data;
    data.rows = rows;
    data.count = samples;
    if (weights != nullptr) data.weights = {reinterpret_cast<const unsigned char*>(weights), sizeof(double), 0, false};
    const std::int64_t count = multiset_count(fields, order);
    check_moment_memory(fields, {0, order}, run.threads(), 8 * sizeof(double));
    std::vector<double> sums(static_cast<std::size_t>(count) + 1);
    const auto poll = [&](std::uint64_t done) {
        run.poll(static_cast<double>(done) / static_cast<double>(samples));
        return true;
    };
    const std::int64_t bad = moment_sums(data, fields, {0, order}, run.threads(), sums.data(), poll);
    if (bad >= 0) throw ArgumentError("sample " + std::to_string(bad) + " is not finite, or the sums of the block that begins there overflow");
    if (sums[0] == 0.0) throw ArgumentError("the weights add up to 0");
    for (std::int64_t i = 0; i < count; ++i) out[i] = sums[static_cast<std::size_t>(i) + 1] / sums[0];
}

}  // namespace

extern "C" {

const char* nnqft_version(void) { return NNQFT_VERSION; }

int nnqft_abi_version(void) { return NNQFT_ABI_VERSION; }

int nnqft_hafnian(int64_t m, const double* K, const double* mu, const int32_t* repeats, const nnqft_run* run, double* out, char* message,
                  size_t message_bytes) {
    return guarded(message, message_bytes, [&] { run_hafnian({m, false, K, mu, repeats}, run, out); });
}

int nnqft_hafnian_complex(int64_t m, const double* K, const double* mu, const int32_t* repeats, const nnqft_run* run, double* out, char* message,
                          size_t message_bytes) {
    return guarded(message, message_bytes, [&] { run_hafnian({m, true, K, mu, repeats}, run, out); });
}

int nnqft_hafnian_batch(int64_t m, const double* K, const double* mu, int64_t count, int64_t n, const int32_t* index, const nnqft_run* run,
                        double* out, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
        check_size(m, 0, kMaxValues, "m");
        check_size(n, 0, kMaxValues, "n");
        check_size(count, 0, kMost / std::max<std::int64_t>(n, 1), "count");
        check_pointer(K, m, "K");
        check_pointer(index, count * n, "index");
        check_pointer(out, count, "out");
        const Run how(run);
        index_hafnians({K, mu, m, index, false, count, n}, {how.threads(), how.max_seconds(), [&] { how.poll(-1.0); }}, out);
    });
}

int64_t nnqft_multiset_count(int64_t m, int64_t order) {
    std::int64_t count = -1;
    guarded(nullptr, 0, [&] { count = multiset_count(m, order); });
    return count;
}

int nnqft_wick_all(int64_t m, int32_t order, const double* K, const double* mu, const nnqft_run* run, double* out, char* message,
                   size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        check_size(m, 1, kMaxValues, "m");
        check_size(order, 1, kMaxLegs, "order");
        check_kernel(m, K, mu, 1);
        check_pointer(out, 1, "out");
        check_memory(static_cast<double>(all_multisets_bytes(m, order, mu != nullptr)));
        const Run how(run);
        all_multisets(m, order, K, mu, out, how.threads(), [&] { how.poll(-1.0); });
    });
}

int nnqft_moments(int64_t samples, int64_t fields, const double* F, const double* weights, int32_t order, const nnqft_run* run, double* out,
                  char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        const MomentRows rows{reinterpret_cast<const unsigned char*>(F), fields * std::int64_t{sizeof(double)}, sizeof(double), false};
        run_moments(rows, samples, fields, weights, order, run, out);
    });
}

int nnqft_moments_float(int64_t samples, int64_t fields, const float* F, const double* weights, int32_t order, const nnqft_run* run,
                        double* out, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        const MomentRows rows{reinterpret_cast<const unsigned char*>(F), fields * std::int64_t{sizeof(float)}, sizeof(float), true};
        run_moments(rows, samples, fields, weights, order, run, out);
    });
}

}  // extern "C"
