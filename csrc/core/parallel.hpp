// Blocks of work on threads: claimed one by one, cancellable, with the calling thread free for signals and progress.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace nnqft {

// min(CPUs this process may run on, cgroup CPU quota rounded up), at least 1; NNQFT_NUM_THREADS overrides it.
// ArgumentError if that is set to anything but a whole number from 1 to kMaxThreads.
unsigned default_threads();
constexpr unsigned kMaxThreads = 4096;

// Asks the workers of one run to give up; they look between blocks, and work() looks as often as it can stop.
class StopFlag {
public:
    bool raised() const noexcept { return raised_.load(std::memory_order_relaxed); }
    void raise() noexcept { raised_.store(true, std::memory_order_relaxed); }

private:
    std::atomic<bool> raised_{false};
};

// A flag that stop_everything() knows and raises. Who holds one gives up soon after; its end tells that the run is over.
class RunFlag : public StopFlag {
public:
    RunFlag();
    ~RunFlag();
    RunFlag(const RunFlag&) = delete;
    RunFlag& operator=(const RunFlag&) = delete;
};

// Round to nearest, subnormals kept, for as long as it lives; then what it found. Compilers may move arithmetic of the
// same function past it, so hold it around calls. run_blocks() holds one in its caller and in each worker.
class FpEnvironment {
public:
    FpEnvironment() noexcept;
    ~FpEnvironment();
    FpEnvironment(const FpEnvironment&) = delete;
    FpEnvironment& operator=(const FpEnvironment&) = delete;

private:
    std::uint64_t found_;
};

using BlockWork = std::function<void(std::uint64_t block, unsigned worker, const StopFlag& stop)>;

// Calls work(block, worker, stop) once for each block of [first, last), on up to `threads` threads; worker < threads is
// unique among the calls that run at one time. Blocks start in ascending order.
//
// The calling thread calls poll() (may be empty) every 50 ms, and never from a worker. poll() returning false raises the
// stop flag and makes the result false; a throw from poll() or work() raises it too and leaves from here, poll()'s first.
// Whatever the outcome, no worker is left when this returns. True: every block was worked in full.
bool run_blocks(std::uint64_t first, std::uint64_t last, unsigned threads, const BlockWork& work,
                const std::function<bool()>& poll);

// For process exit: raises the flag of every run, also of runs that begin meanwhile, until all have returned or
// `patience` is over. True if none is left. The caller must not hold a lock (such as Python's) that a poll() takes.
bool stop_everything(std::chrono::milliseconds patience = std::chrono::seconds(10));

namespace detail {
// CPUs that the control groups in `membership` (the text of /proc/self/cgroup) grant, from the files under `root`
// (/sys/fs/cgroup); infinity without a limit. A group is bound by its ancestors too: the least of them counts.
double cgroup_quota(const std::string& membership, const std::string& root);
}  // namespace detail

}  // namespace nnqft
