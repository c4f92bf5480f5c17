#include "core/team.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace nnqft {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPollInterval{50};

void breathe() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

// Steps follow one another within microseconds, with short serial pieces between them, and waking a sleeper costs tens: look a while first.
template <class Condition>
bool soon(const Condition& condition) {
    const auto end = Clock::now() + std::chrono::microseconds{100};
    do {
        for (int i = 0; i < 32; ++i) {
            if (condition()) return true;
            breathe();
        }
    } while (Clock::now() < end);
    return false;
}

}  // namespace

struct Team::Shared {
    RunFlag ending;
    std::function<void()> poll;
    Clock::time_point polled = Clock::now() - kPollInterval;

    std::mutex mutex;
    std::condition_variable begin, done;
    std::atomic<std::uint64_t> step{0};  // grows by one with each parallel run()
    std::atomic<unsigned> busy{0};       // helpers not done with this step
    std::atomic<bool> abandoned{false}, quit{false};
    const Work* work = nullptr;
    std::atomic<std::int64_t> next{0};
    std::int64_t blocks = 0;
    std::exception_ptr error;  // the first one
    std::vector<std::thread> helpers;

    void fail() {
        abandoned = true;
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
    }

    void help(unsigned worker) {
        const FpEnvironment environment;
        for (std::uint64_t seen = 0;;) {
            const auto called = [&] { return step.load() != seen || quit.load(); };
            if (!soon(called)) {
                std::unique_lock<std::mutex> lock(mutex);
                begin.wait(lock, called);
            }
            if (quit) return;
            seen = step;
            try {
                for (std::int64_t i; !abandoned && (i = next.fetch_add(1)) < blocks;) (*work)(i, worker);
            } catch (...) {
                fail();
            }
            if (busy.fetch_sub(1) == 1) {
                const std::lock_guard<std::mutex> lock(mutex);
                done.notify_one();
            }
        }
    }
};

Team::Team(unsigned threads, std::function<void()> poll) : shared_(std::make_unique<Shared>()) {
    if (threads < 1 || threads > kMaxThreads)
        throw ArgumentError("threads is " + std::to_string(threads) + ", expected 1 to " + std::to_string(kMaxThreads));
    shared_->poll = std::move(poll);
    shared_->helpers.reserve(threads - 1);
    for (unsigned worker = 1; worker < threads; ++worker) {
        try {
            shared_->helpers.emplace_back([s = shared_.get(), worker] { s->help(worker); });
        } catch (const std::system_error&) {
            break;  // those that started, and the caller, do all the work
        }
    }
}

Team::~Team() {
    {
        const std::lock_guard<std::mutex> lock(shared_->mutex);
        shared_->quit = true;
    }
    shared_->begin.notify_all();
    for (std::thread& helper : shared_->helpers) helper.join();
}

unsigned Team::threads() const noexcept { return static_cast<unsigned>(shared_->helpers.size()) + 1; }

void Team::look() {
    Shared& s = *shared_;
    if (s.ending.raised()) throw StateError("the process is ending: the computation was stopped");
    const auto now = Clock::now();
    if (now - s.polled < kPollInterval) return;
    s.polled = now;
    if (s.poll) s.poll();
}

void Team::run(std::int64_t blocks, const Work& work) {
    Shared& s = *shared_;
    look();
    if (s.helpers.empty() || blocks <= 1) {
        for (std::int64_t i = 0; i < blocks; ++i) {
            work(i, 0);
            look();
        }
        return;
    }
    {
        const std::lock_guard<std::mutex> lock(s.mutex);
        s.work = &work;
        s.blocks = blocks;
        s.next = 0;
        s.abandoned = false;
        s.error = nullptr;
        s.busy = static_cast<unsigned>(s.helpers.size());
        ++s.step;
    }
    s.begin.notify_all();
    const auto guarded = [&](const auto& body) {
        try {
            body();
        } catch (...) {
            s.fail();
        }
    };
    guarded([&] {
        for (std::int64_t i; !s.abandoned && (i = s.next.fetch_add(1)) < s.blocks;) {
            work(i, 0);
            look();
        }
    });
    const auto idle = [&] { return s.busy.load() == 0; };
    while (!soon(idle)) {
        {
            std::unique_lock<std::mutex> lock(s.mutex);
            if (s.done.wait_for(lock, kPollInterval, idle)) break;
        }
        if (!s.abandoned) guarded([&] { look(); });
    }
    const std::lock_guard<std::mutex> lock(s.mutex);  // also waits for the last helper to leave the mutex
    if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace nnqft
