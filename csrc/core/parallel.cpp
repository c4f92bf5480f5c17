#include "core/parallel.hpp"

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <limits>
#include <mutex>
#include <new>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace nnqft {
namespace {

// enter(): round to nearest, subnormals kept; returns what leave() puts back.
#if defined(__x86_64__) || defined(_M_X64)
constexpr unsigned kUnwanted = 0xe040;  // MXCSR: flush to zero 15, rounding 14-13, denormals are zero 6
std::uint64_t enter() noexcept {
    const unsigned found = _mm_getcsr();
    _mm_setcsr(found & ~kUnwanted);
    return found;
}
void leave(std::uint64_t found) noexcept { _mm_setcsr(static_cast<unsigned>(found)); }
#elif defined(__aarch64__)
constexpr std::uint64_t kUnwanted = 0x1c00001;  // FPCR: flush to zero 24, rounding 23-22, flush inputs 0
void leave(std::uint64_t found) noexcept { asm volatile("msr fpcr, %0" : : "r"(found) : "memory"); }
std::uint64_t enter() noexcept {
    std::uint64_t found;
    asm volatile("mrs %0, fpcr" : "=r"(found) : : "memory");
    leave(found & ~kUnwanted);
    return found;
}
#else
std::uint64_t enter() noexcept {
    const int found = std::fegetround();
    std::fesetround(FE_TONEAREST);
    return static_cast<std::uint64_t>(found);
}
void leave(std::uint64_t found) noexcept { std::fesetround(static_cast<int>(found)); }
#endif

unsigned allowed_cpus() {
#if defined(__linux__)
    // The kernel wants a mask as long as its own: 1024 CPUs do nearly always, so double until it is content.
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
        cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
        if (!set) break;
        const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
        const bool known = sched_getaffinity(0, bytes, set) == 0;
        const int count = known ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return static_cast<unsigned>(count);
    }
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// "quota period" in microseconds -> CPUs; "max", -1 and missing files are no limit.
double cpus_from(const std::string& text) {
    std::istringstream in(text);
    double quota, period;
    return in >> quota >> period && quota > 0 && period > 0 ? quota / period : std::numeric_limits<double>::infinity();
}

}  // namespace

namespace detail {

double cgroup_quota(const std::string& membership, const std::string& root) {
    double quota = std::numeric_limits<double>::infinity();
    std::istringstream lines(membership);
    for (std::string line; std::getline(lines, line);) {  // "0::/path" (v2) or "4:cpu,cpuacct:/path" (v1)
        const std::size_t a = line.find(':'), b = line.find(':', a + 1);
        if (a == std::string::npos || b == std::string::npos) continue;
        const std::string controllers = "," + line.substr(a + 1, b - a - 1) + ",";
        const bool v2 = controllers == ",,";
        if (!v2 && controllers.find(",cpu,") == std::string::npos) continue;
        // Inside a container the path may be the host's and not exist here; the walk to the root meets what does.
        for (std::string path = line.substr(b + 1);; path.erase(path.rfind('/'))) {
            const std::string group = root + (v2 ? "" : "/cpu") + path + "/";
            quota = std::min(quota, cpus_from(v2 ? text_of(group + "cpu.max")
                                                 : text_of(group + "cpu.cfs_quota_us") + " " +
                                                       text_of(group + "cpu.cfs_period_us")));
            if (path.rfind('/') == std::string::npos) break;
        }
    }
    return quota;
}

}  // namespace detail

unsigned default_threads() {
    if (const char* text = std::getenv("NNQFT_NUM_THREADS"); text && *text) {
        unsigned long value = 0;
        for (const char* c = text; *c; ++c) {
            value = *c >= '0' && *c <= '9' ? 10 * value + static_cast<unsigned long>(*c - '0') : kMaxThreads + 1;
            if (value > kMaxThreads) break;
        }
        if (value < 1 || value > kMaxThreads)
            throw ArgumentError("NNQFT_NUM_THREADS is \"" + std::string(text) + "\"; expected a whole number from 1 to " +
                                std::to_string(kMaxThreads) + ": correct it, or unset it to use every CPU allowed");
        return static_cast<unsigned>(value);
    }
    unsigned threads = std::min(allowed_cpus(), kMaxThreads);
#if defined(__linux__)
    threads = static_cast<unsigned>(
        std::min<double>(threads, std::ceil(detail::cgroup_quota(text_of("/proc/self/cgroup"), "/sys/fs/cgroup"))));
#endif
    return std::max(1u, threads);
}

FpEnvironment::FpEnvironment() noexcept : found_(enter()) {}
FpEnvironment::~FpEnvironment() { leave(found_); }

namespace {

// The runs of this process, for stop_everything(). Never destroyed: daemon threads may outlive the statics.
class Registry {
public:
    static Registry& instance() {
        static Registry* registry = [] {
#if defined(__linux__)
            // A forked child has none of the runs, and perhaps a mutex that is locked for ever: it begins afresh.
            pthread_atfork(nullptr, nullptr, [] { new (&instance()) Registry; });
#endif
            return new Registry;
        }();
        return *registry;
    }

    void add(StopFlag& flag) {
        const std::lock_guard<std::mutex> lock(mutex_);
        flags_.push_back(&flag);
    }

    void remove(StopFlag& flag) {
        const std::lock_guard<std::mutex> lock(mutex_);
        flags_.erase(std::remove(flags_.begin(), flags_.end(), &flag), flags_.end());
        changed_.notify_all();
    }

    bool stop(std::chrono::milliseconds patience) {
        const auto deadline = std::chrono::steady_clock::now() + patience;
        std::unique_lock<std::mutex> lock(mutex_);
        do {
            for (StopFlag* flag : flags_) flag->raise();
        } while (!changed_.wait_for(lock, std::chrono::milliseconds(10), [&] { return flags_.empty(); }) &&
                 std::chrono::steady_clock::now() < deadline);
        return flags_.empty();
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<StopFlag*> flags_;
};

// One run: its threads and what they share. Its end stops them, joins them, and only then leaves the registry.
class Run {
public:
    Run(std::uint64_t first, std::uint64_t last, const BlockWork& work)
        : first_(first), count_(last - first), work_(work) {
        Registry::instance().add(stop_);
    }
    ~Run() {
        stop_.raise();
        for (std::thread& thread : threads_) thread.join();
        Registry::instance().remove(stop_);
    }

    void start(unsigned threads) {
        threads_.reserve(threads);
        for (unsigned worker = 0; worker < threads; ++worker) {
            change_active(+1);
            try {
                threads_.emplace_back([this, worker] { claim_blocks(worker); });
            } catch (const std::system_error& error) {
                change_active(-1);
                if (worker > 0) return;  // those that started do all the work
                throw Error(std::string("run_blocks: no thread could be started (") + error.what() +
                            "): too many processes, or too little memory; free some or raise the limit (ulimit -u)");
            }
        }
    }

    // Returns when no worker is active; true if every block was worked in full.
    bool wait(const std::function<bool()>& poll) {
        std::unique_lock<std::mutex> lock(mutex_);
        while (!idle_.wait_for(lock, kPollInterval, [&] { return active_ == 0; })) {
            lock.unlock();
            if (!stop_.raised() && poll && !poll()) stop_.raise();
            lock.lock();
        }
        if (error_) std::rethrow_exception(error_);
        return !stop_.raised();
    }

private:
    static constexpr std::chrono::milliseconds kPollInterval{50};

    void claim_blocks(unsigned worker) noexcept {
        const FpEnvironment environment;
        try {
            for (std::uint64_t i; !stop_.raised() && (i = next_.fetch_add(1)) < count_;)
                work_(first_ + i, worker, stop_);
        } catch (...) {
            stop_.raise();
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!error_) error_ = std::current_exception();
        }
        change_active(-1);
    }

    void change_active(int change) {
        const std::lock_guard<std::mutex> lock(mutex_);
        active_ += change;
        if (active_ == 0) idle_.notify_one();
    }

    const std::uint64_t first_, count_;
    const BlockWork& work_;
    std::atomic<std::uint64_t> next_{0};
    StopFlag stop_;
    std::mutex mutex_;
    std::condition_variable idle_;
    int active_ = 0;            // workers started and not yet done
    std::exception_ptr error_;  // the first one
    std::vector<std::thread> threads_;
};

}  // namespace

bool run_blocks(std::uint64_t first, std::uint64_t last, unsigned threads, const BlockWork& work,
                const std::function<bool()>& poll) {
    if (first > last)
        throw ArgumentError("run_blocks: blocks " + std::to_string(first) + " to " + std::to_string(last) +
                            " are in descending order");
    if (threads < 1 || threads > kMaxThreads)
        throw ArgumentError("run_blocks: threads is " + std::to_string(threads) + ", expected 1 to " +
                            std::to_string(kMaxThreads));
    if (first == last) return true;
    const FpEnvironment environment;
    Run run(first, last, work);
    run.start(static_cast<unsigned>(std::min<std::uint64_t>(threads, last - first)));
    return run.wait(poll);
}

RunFlag::RunFlag() { Registry::instance().add(*this); }
RunFlag::~RunFlag() { Registry::instance().remove(*this); }

bool stop_everything(std::chrono::milliseconds patience) { return Registry::instance().stop(patience); }

}  // namespace nnqft
