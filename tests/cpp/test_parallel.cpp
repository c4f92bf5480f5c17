// Runs of blocks: every block once, no worker left behind, exceptions and stop requests, the floating-point environment.
#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"

#if defined(__linux__)
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace std::chrono_literals;
using nnqft::run_blocks;
using nnqft::StopFlag;

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSlow = 5s;  // a loaded machine may take this long; a hang takes longer

const auto nothing = [](std::uint64_t, unsigned, const StopFlag&) {};

// Work that only a raised flag can end.
void until_stopped(std::uint64_t, unsigned, const StopFlag& stop) {
    while (!stop.raised()) std::this_thread::sleep_for(1ms);
}

void set_threads(const char* value) {
    if (value) setenv("NNQFT_NUM_THREADS", value, 1);
    else unsetenv("NNQFT_NUM_THREADS");
}

TEST(every_block_is_worked_exactly_once) {
    for (unsigned threads : {1u, 2u, 7u}) {
        std::vector<std::atomic<int>> worked(1000);
        std::atomic<bool> worker_in_range{true};
        CHECK(run_blocks(10, 1000, threads, [&](std::uint64_t block, unsigned worker, const StopFlag&) {
            ++worked[block];
            if (worker >= threads) worker_in_range = false;
        }, {}));
        CHECK(worker_in_range);
        for (std::size_t i = 0; i < 1000; ++i) CHECK(worked[i] == (i >= 10));
    }
}

TEST(blocks_up_to_the_last_number_there_is_are_worked) {
    std::atomic<std::uint64_t> sum{0};
    CHECK(run_blocks(UINT64_MAX - 3, UINT64_MAX, 7, [&](std::uint64_t b, unsigned, const StopFlag&) { sum += b; }, {}));
    CHECK(sum == UINT64_MAX * 3 - 6);  // modulo 2^64
}

TEST(workers_are_numbered_threads_that_are_not_the_callers) {
    std::mutex mutex;
    std::set<std::thread::id> threads;
    std::set<unsigned> workers;
    CHECK(run_blocks(0, 2, 7, [&](std::uint64_t, unsigned worker, const StopFlag&) {
        std::this_thread::sleep_for(20ms);
        const std::lock_guard<std::mutex> lock(mutex);
        threads.insert(std::this_thread::get_id());
        workers.insert(worker);
    }, {}));
    CHECK(threads.size() == workers.size() && threads.count(std::this_thread::get_id()) == 0);
    CHECK(*workers.rbegin() < 2);
}

#if defined(__linux__)
TEST(no_more_threads_start_than_there_are_blocks) {
    const auto running = [] {
        const std::filesystem::directory_iterator tasks("/proc/self/task");
        return std::distance(begin(tasks), end(tasks));
    };
    const auto before = running();
    std::atomic<std::ptrdiff_t> most{0};
    CHECK(run_blocks(0, 1, 64, [&](std::uint64_t, unsigned, const StopFlag&) {
        const auto end = Clock::now() + 50ms;
        while (Clock::now() < end) most = std::max<std::ptrdiff_t>(most, running());
    }, {}));
    CHECK(most >= 1 && most <= before + 1);
}
#endif

TEST(an_empty_range_is_done_at_once) {
    CHECK(run_blocks(5, 5, 3, [](std::uint64_t, unsigned, const StopFlag&) { throw std::logic_error("called"); }, {}));
}

TEST(arguments_that_make_no_sense_are_refused) {
    using nnqft::ArgumentError;
    CHECK_THROWS(ArgumentError, "blocks 2 to 1", run_blocks(2, 1, 1, nothing, {}));
    CHECK_THROWS(ArgumentError, "threads is 0, expected 1 to 4096", run_blocks(0, 1, 0, nothing, {}));
    CHECK_THROWS(ArgumentError, "threads is 5000", run_blocks(0, 1, 5000, nothing, {}));
}

TEST(a_run_returns_as_soon_as_it_is_done) {
    auto best = Clock::duration::max();
    for (int i = 0; i < 20; ++i) {
        const auto start = Clock::now();
        CHECK(run_blocks(0, 4, 2, nothing, [] { return true; }));
        best = std::min(best, Clock::now() - start);
    }
    CHECK(best < 25ms);  // half a poll interval
}

TEST(the_caller_is_polled_every_50_ms_while_one_worker_works) {
    const auto caller = std::this_thread::get_id();
    int polls = 0;
    CHECK(run_blocks(0, 1, 1, [](std::uint64_t, unsigned, const StopFlag&) { std::this_thread::sleep_for(320ms); }, [&] {
        CHECK(std::this_thread::get_id() == caller);
        ++polls;
        return true;
    }));
    CHECK(polls >= 2 && polls <= 6);
}

TEST(the_first_exception_of_a_worker_reaches_the_caller_and_stops_the_others) {
    std::atomic<int> blocks{0};
    const auto work = [&](std::uint64_t b, unsigned w, const StopFlag& stop) {
        ++blocks;
        if (b == 3) throw std::domain_error("block 3");
        if (b > 3) until_stopped(b, w, stop);
    };
    CHECK_THROWS(std::domain_error, "block 3", run_blocks(0, 1000000, 3, work, {}));
    CHECK(blocks <= 6);
}

TEST(an_exception_from_poll_stops_the_workers_and_wins) {
    std::atomic<int> active{0};
    const auto start = Clock::now();
    const auto work = [&](std::uint64_t b, unsigned w, const StopFlag& stop) {
        ++active;
        until_stopped(b, w, stop);
        --active;
        throw std::logic_error("too late");
    };
    const auto poll = []() -> bool { throw std::runtime_error("Ctrl-C"); };
    CHECK_THROWS(std::runtime_error, "Ctrl-C", run_blocks(0, 100, 3, work, poll));
    CHECK(active == 0 && Clock::now() - start < kSlow);
}

TEST(poll_returning_false_stops_the_run_and_is_not_asked_again) {
    std::atomic<int> active{0}, blocks{0};
    int polls = 0;
    const auto start = Clock::now();
    CHECK(!run_blocks(0, 100, 3, [&](std::uint64_t b, unsigned w, const StopFlag& stop) {
        ++active, ++blocks;
        until_stopped(b, w, stop);
        std::this_thread::sleep_for(120ms);  // workers may take longer than a poll interval to stop
        --active;
    }, [&] { return ++polls, false; }));
    CHECK(active == 0 && polls == 1 && blocks <= 3);
    CHECK(Clock::now() - start < kSlow);
}

TEST(runs_nest) {
    std::atomic<int> inner{0};
    CHECK(run_blocks(0, 4, 2, [&](std::uint64_t, unsigned, const StopFlag&) {
        run_blocks(0, 10, 2, [&](std::uint64_t, unsigned, const StopFlag&) { ++inner; }, {});
    }, {}));
    CHECK(inner == 40);
}

TEST(runs_of_several_callers_do_not_disturb_each_other) {
    std::vector<std::thread> callers;
    std::atomic<int> worked{0}, finished{0};
    for (int c = 0; c < 4; ++c)
        callers.emplace_back([&, c] {
            const auto poll = [c] { return c != 0; };  // the first caller gives up
            if (c == 0) finished += run_blocks(0, 10, 2, until_stopped, poll);
            else
                finished += run_blocks(0, 50, 2, [&](std::uint64_t, unsigned, const StopFlag&) {
                    std::this_thread::sleep_for(2ms);
                    ++worked;
                }, poll);
        });
    for (std::thread& caller : callers) caller.join();
    CHECK(worked == 150 && finished == 3);
}

TEST(stop_everything_ends_every_run_and_waits_for_it) {
    CHECK(nnqft::stop_everything(0ms));  // nothing runs
    std::atomic<int> started{0}, returned{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < 3; ++c)
        callers.emplace_back([&] {
            const bool finished = run_blocks(0, 100, 2, [&](std::uint64_t b, unsigned w, const StopFlag& stop) {
                ++started;
                until_stopped(b, w, stop);
            }, {});
            returned += !finished;
        });
    while (started < 6) std::this_thread::sleep_for(1ms);
    CHECK(nnqft::stop_everything(kSlow));
    for (std::thread& caller : callers) caller.join();
    CHECK(returned == 3);
}

TEST(stop_everything_gives_up_when_its_patience_ends) {
    std::atomic<bool> started{false}, release{false};
    std::thread caller([&] {
        run_blocks(0, 1, 1, [&](std::uint64_t, unsigned, const StopFlag&) {
            started = true;
            while (!release) std::this_thread::sleep_for(1ms);
        }, {});
    });
    while (!started) std::this_thread::sleep_for(1ms);
    CHECK(!nnqft::stop_everything(30ms));
    release = true;
    caller.join();
    CHECK(nnqft::stop_everything(0ms));
}

#if defined(__linux__)
TEST(a_forked_child_knows_nothing_of_the_runs_of_its_parent) {
    std::thread caller([] { run_blocks(0, 1, 1, until_stopped, {}); });
    std::this_thread::sleep_for(20ms);
    const pid_t child = fork();
    if (child == 0) _exit(nnqft::stop_everything(0ms) ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(nnqft::stop_everything(kSlow));
    caller.join();
}

TEST(default_threads_is_at_most_the_number_of_cpus_allowed) {
    set_threads(nullptr);
    unsigned all = 0, one = 0;
    std::thread([&] {  // affinity belongs to a thread, and ends with it
        all = nnqft::default_threads();
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        int first = 0;
        while (!CPU_ISSET(first, &set)) ++first;
        CPU_ZERO(&set);
        CPU_SET(first, &set);
        sched_setaffinity(0, sizeof set, &set);
        one = nnqft::default_threads();
    }).join();
    CHECK(all >= 1 && all <= std::thread::hardware_concurrency());
    CHECK(one == 1);
}
#endif

TEST(nnqft_num_threads_overrides_and_is_checked) {
    for (unsigned n : {1u, 3u, 4096u}) {
        set_threads(std::to_string(n).c_str());
        CHECK(nnqft::default_threads() == n);
    }
    for (const char* bad : {"0", "-1", "two", "4097", "1.5", " 2", "99999999999999999999999"}) {
        set_threads(bad);
        CHECK_THROWS(nnqft::ArgumentError, "expected a whole number from 1 to 4096", nnqft::default_threads());
    }
    set_threads("");
    CHECK(nnqft::default_threads() >= 1);
    set_threads(nullptr);
}

TEST(cgroup_quotas_of_both_versions_and_of_all_ancestors_are_read) {
    namespace fs = std::filesystem;
    const std::string unique = std::to_string(Clock::now().time_since_epoch().count());
    const fs::path root = fs::temp_directory_path() / ("nnqft_cgroup_" + unique);
    const auto write = [&](const std::string& name, const std::string& text) {
        fs::create_directories((root / name).parent_path());
        std::ofstream(root / name) << text << "\n";
    };
    const auto quota = [&](const char* membership) { return nnqft::detail::cgroup_quota(membership, root.string()); };
    const double unlimited = HUGE_VAL;

    CHECK(quota("0::/a/b\n") == unlimited);  // no such files
    write("a/b/cpu.max", "max 100000");
    CHECK(quota("0::/a/b\n") == unlimited);
    write("a/cpu.max", "250000 100000");
    CHECK(quota("0::/a/b\n") == 2.5);
    CHECK(quota("0::/elsewhere\n") == unlimited);
    write("cpu.max", "50000 100000");
    CHECK(quota("0::/\n") == 0.5);
    CHECK(quota("0::/only/known/outside/this/container\n") == 0.5);

    fs::remove_all(root);
    write("cpu/job/cpu.cfs_quota_us", "-1");
    write("cpu/job/cpu.cfs_period_us", "100000");
    const char* v1 = "7:memory:/job\n4:cpu,cpuacct:/job\n2:cpuset:/\n";
    CHECK(quota(v1) == unlimited);
    write("cpu/job/cpu.cfs_quota_us", "300000");
    CHECK(quota(v1) == 3.0);
    CHECK(quota("not a line of that file") == unlimited);
    fs::remove_all(root);
}

// One product, which the compiler can neither do in advance nor move past a change of the mode.
double product(double a, double b) {
    const volatile double left = a;
    const volatile double result = left * b;
    return result;
}
double inexact() { return product(1 + 0x1p-52, 1 + 0x1p-52); }  // 1 + 2 eps, or the next double upward
double subnormal() { return product(0x1p-1020, 0x1p-10); }

TEST(workers_and_callers_round_to_nearest_and_the_mode_found_comes_back) {
    const double nearest = inexact();
    std::fesetround(FE_UPWARD);
    const double upward = inexact();
    double in_worker = 0, in_poll = 0;
    run_blocks(0, 1, 1, [&](std::uint64_t, unsigned, const StopFlag&) {
        in_worker = inexact();
        std::this_thread::sleep_for(120ms);
    }, [&] {
        in_poll = inexact();
        return true;
    });
    const double after = inexact();
    std::fesetround(FE_TONEAREST);
    CHECK(upward > nearest && in_worker == nearest && in_poll == nearest && after == upward);
}

#if defined(__x86_64__)
TEST(subnormals_survive_where_the_caller_flushes_them_and_flushing_comes_back) {
    const unsigned found = _mm_getcsr();
    _mm_setcsr(found | 0x8040);
    double in_worker = 0, guarded = 0;
    run_blocks(0, 1, 1, [&](std::uint64_t, unsigned, const StopFlag&) { in_worker = subnormal(); }, {});
    {
        const nnqft::FpEnvironment environment;
        guarded = subnormal();
    }
    const double after = subnormal();
    const unsigned restored = _mm_getcsr() & 0xffc0;
    _mm_setcsr(found);
    CHECK(in_worker == 0x1p-1030 && guarded == 0x1p-1030);
    CHECK(after == 0.0 && restored == ((found | 0x8040) & 0xffc0));
}
#endif

}  // namespace

CHECK_MAIN()
