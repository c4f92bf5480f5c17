#include "emulation.hpp"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "fibre.hpp"
#include "limits.hpp"

dim3 gridDim, blockDim;
uint3 threadIdx, blockIdx;

#if defined(NNQFT_EMULATION_TSAN)
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

#if !NNQFT_EMULATION_SHARED_IS_PLAIN
extern "C" __attribute__((weak, visibility("hidden"))) unsigned char __start_nnqft_shared[], __stop_nnqft_shared[];
#endif

namespace nnqft::emulation {

std::string& last_failure() {
    thread_local std::string text;
    return text;
}

namespace {

constexpr unsigned kWarp = 32;
const char* const kNames[] = {"__syncwarp", "a shuffle", "__ballot_sync", "__reduce_add_sync", "__reduce_min_sync",
                              "__reduce_max_sync", "__reduce_and_sync", "__reduce_or_sync", "__reduce_xor_sync", "__match_any_sync"};

enum class State : unsigned char { not_started, running, ready, at_barrier, in_warp, done };

struct Thread {
    State state;
    WarpOperation operation;
    unsigned mask, source;
    uint64_t value;
    Site site;
    Fibre* fibre;
};

std::string text(const Site& site) { return std::string(site.function) + " (" + site.file + ":" + std::to_string(site.line) + ")"; }
std::string operator+(const std::string& a, unsigned b) { return a + std::to_string(b); }

// The block that runs. Everything below is under the lock of run().
class Block {
public:
    void configure(const Grid& grid, void (*body)(void*), void* arguments) {
        n_ = grid.threads, body_ = body, arguments_ = arguments;
        threads_.resize(n_);
        order_.resize(n_);
        dynamic_size_ = grid.shared;
        void* memory = nullptr;  // exactly so large: the address sanitizer then knows where it ends
        if (dynamic_size_ && posix_memalign(&memory, 1024, dynamic_size_)) throw std::bad_alloc();
        dynamic_.reset(memory);
    }

    // Runs every thread of block (x, y) to its end. False: failure() says what was wrong with the kernel.
    bool run(unsigned x, unsigned y);

    void set_order(Order order, uint64_t seed) {
        policy_ = order;
        random_.seed(seed);
    }
    std::vector<unsigned> order_of(unsigned n) {
        std::vector<unsigned> order(n);
        arrange(order);
        return order;
    }

    const std::string& failure() const { return failure_; }
    void* dynamic_shared() const { return dynamic_.get(); }

    Votes barrier(bool predicate, Site site);
    uint64_t exchange(WarpOperation operation, unsigned mask, uint64_t value, unsigned source, Site site);
    unsigned lane() const { return current_ % kWarp; }
    // No objects on the stack of the caller: nobody unwinds it.
    [[noreturn]] void fail(Site at, const char* format, ...) __attribute__((format(printf, 3, 4))) {
        char what[200], all[1000];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(what, sizeof what, format, arguments);
        va_end(arguments);
        snprintf(all, sizeof all, "block (%u, %u): %s (%s:%d): %s", blockIdx.x, blockIdx.y, at.function, at.file, at.line, what);
        failure_ = all;
        __tsan_release(&end_);
        for (;;) Fibre::suspend();
    }

private:
    void arrange(std::vector<unsigned>& order) {
        const unsigned n = static_cast<unsigned>(order.size());
        for (unsigned i = 0; i < n; ++i) order[i] = policy_ == Order::reverse ? n - 1 - i : i;
        if (policy_ == Order::shuffled)
            for (unsigned i = n; i > 1; --i) std::swap(order[i - 1], order[random_() % i]);
    }
    static void fibre_main();
    void enter(unsigned thread) {
        current_ = thread;
        threadIdx = {thread, 0, 0};
    }
    void wait(State state) {
        const unsigned self = current_;
        threads_[self].state = state;
        __tsan_release(&end_);  // in case it is for ever
        Fibre::suspend();
        enter(self);
        threads_[self].state = State::running;
    }
    std::string who_waits() const;
    void complete(WarpOperation operation, unsigned mask, unsigned first);

    unsigned n_ = 0, next_ = 0, done_ = 0, current_ = 0;
    void (*body_)(void*) = nullptr;
    void* arguments_ = nullptr;
    std::vector<Thread> threads_;
    std::vector<unsigned> order_;
    std::vector<std::unique_ptr<Fibre>> fibres_;
    std::vector<Fibre*> idle_;
    struct Free {
        void operator()(void* p) const { free(p); }
    };
    std::unique_ptr<void, Free> dynamic_;
    size_t dynamic_size_ = 0;
    Order policy_ = Order::forward;
    std::mt19937_64 random_;
    std::string failure_;

    unsigned arrived_ = 0, votes_ = 0;
    Votes verdict_{};
    char start_{}, end_{}, phase_[2]{}, warp_phase_[kMaxThreads / kWarp]{};  // addresses for the race detector
    unsigned parity_ = 0;
};

Block& block() {
    static Block* const only = [] {
        auto* const made = new Block;  // never destroyed: a launch may come from a thread that outlives main()
        if (const char* const order = getenv("NNQFT_EMULATION_ORDER")) {
            if (!strcmp(order, "reverse")) made->set_order(Order::reverse, 0);
            if (!strcmp(order, "shuffled")) made->set_order(Order::shuffled, 1);
        }
        return made;
    }();
    return *only;
}

// Runs threads that have not started, one after the other, until one has to wait: without barriers one fibre runs them all.
void Block::fibre_main() {
    Block& b = block();
    for (;;) {
        while (b.next_ < b.n_) {
            const unsigned thread = b.order_[b.next_++];
            Thread& t = b.threads_[thread];
            b.enter(thread);
            t.state = State::running;
            t.fibre = Fibre::current();
            __tsan_acquire(&b.start_);
            b.body_(b.arguments_);
            __tsan_release(&b.end_);
            t.state = State::done;
            ++b.done_;
#if defined(NNQFT_EMULATION_TSAN)
            break;  // to the race detector a fibre is a thread: one of this block
#endif
        }
        Fibre::suspend();
    }
}

bool Block::run(unsigned x, unsigned y) {
    blockIdx = {x, y, 0};
    next_ = done_ = arrived_ = votes_ = 0;
    failure_.clear();
    for (Thread& t : threads_) t.state = State::not_started;
    arrange(order_);
    if (dynamic_size_) memset(dynamic_.get(), 0xff, dynamic_size_);
    __tsan_release(&start_);
    idle_.clear();
    for (const auto& fibre : fibres_) idle_.push_back(fibre.get());

    while (next_ < n_ && failure_.empty()) {
        if (idle_.empty()) {
            fibres_.push_back(std::make_unique<Fibre>(&Block::fibre_main));
            idle_.push_back(fibres_.back().get());
        }
        Fibre* const fibre = idle_.back();
        idle_.pop_back();
        fibre->resume();
    }
    while (done_ < n_ && failure_.empty()) {
        bool moved = false;
        for (const unsigned i : order_) {
            if (threads_[i].state != State::ready) continue;
            moved = true;
            threads_[i].fibre->resume();
            if (!failure_.empty()) break;
        }
        if (!moved) failure_ = "block (" + (std::to_string(x) + ", ") + y + "): " + who_waits();
    }
    __tsan_acquire(&end_);
    if (failure_.empty()) return true;
    fibres_.clear();  // they hold half-run threads
    return false;
}

Votes Block::barrier(bool predicate, Site site) {
    Thread& self = threads_[current_];
    for (const unsigned i : {order_[0], order_[n_ / 2], order_[n_ - 1]}) {  // a sample: the rest shows up when they wait in vain
        const Thread& other = threads_[i];
        if (other.state == State::at_barrier && (other.site.line != site.line || strcmp(other.site.file, site.file)))
            fail(site, "threads of one block wait at different barriers, some in %s, line %d", other.site.function, other.site.line);
    }
    self.site = site;
    votes_ += predicate;
    const unsigned parity = parity_;
    __tsan_release(&phase_[parity]);
    if (++arrived_ == n_) {
        verdict_ = {static_cast<int>(votes_), votes_ == n_};
        arrived_ = votes_ = 0;
        parity_ ^= 1;
        for (Thread& t : threads_)
            if (t.state == State::at_barrier) t.state = State::ready;
    } else {
        wait(State::at_barrier);
    }
    __tsan_acquire(&phase_[parity]);
    return verdict_;
}

uint64_t Block::exchange(WarpOperation operation, unsigned mask, uint64_t value, unsigned source, Site site) {
    const unsigned first = current_ / kWarp * kWarp, lanes = n_ - first < kWarp ? n_ - first : kWarp;
    const char* const name = kNames[static_cast<int>(operation)];
    if (!(mask >> lane() & 1)) fail(site, "%s: lane %u is not in its own mask", name, lane());
    if (lanes < kWarp && mask >> lanes) fail(site, "%s: the warp has %u threads, the mask more", name, lanes);
    if (operation == WarpOperation::shuffle && !(mask >> source & 1))
        fail(site, "%s: lane %u reads lane %u, which is not in the mask", name, lane(), source);
    Thread& self = threads_[current_];
    self.operation = operation, self.mask = mask, self.value = value, self.source = source, self.site = site;
    const bool orders = operation == WarpOperation::sync;  // the others exchange values, no memory
    if (orders) __tsan_release(&warp_phase_[first / kWarp]);
    self.state = State::in_warp;
    for (unsigned i = 0; i < lanes; ++i) {
        const Thread& t = threads_[first + i];
        if ((mask >> i & 1) && !(t.state == State::in_warp && t.operation == operation && t.mask == mask)) {
            wait(State::in_warp);
            if (orders) __tsan_acquire(&warp_phase_[first / kWarp]);
            return self.value;
        }
    }
    complete(operation, mask, first);
    self.state = State::running;
    if (orders) __tsan_acquire(&warp_phase_[first / kWarp]);
    return self.value;
}

// All lanes of the mask are here: puts each one's answer into its `value`.
void Block::complete(WarpOperation operation, unsigned mask, unsigned first) {
    uint64_t given[kWarp], all = 0;
    bool empty = true;
    for (unsigned i = 0; i < kWarp; ++i) {
        if (!(mask >> i & 1)) continue;
        const uint64_t v = given[i] = threads_[first + i].value;
        switch (operation) {
            case WarpOperation::ballot: all |= static_cast<uint64_t>(v != 0) << i; break;
            case WarpOperation::add: all += v; break;
            case WarpOperation::least: all = empty || v < all ? v : all; break;
            case WarpOperation::greatest: all = empty || v > all ? v : all; break;
            case WarpOperation::conjunction: all = empty ? v : all & v; break;
            case WarpOperation::disjunction: all |= v; break;
            case WarpOperation::parity: all ^= v; break;
            default: break;
        }
        empty = false;
    }
    for (unsigned i = 0; i < kWarp; ++i) {
        if (!(mask >> i & 1)) continue;
        Thread& t = threads_[first + i];
        if (operation == WarpOperation::shuffle) {
            t.value = given[t.source];
        } else if (operation == WarpOperation::match) {
            t.value = 0;
            for (unsigned j = 0; j < kWarp; ++j)
                if ((mask >> j & 1) && given[j] == given[i]) t.value |= uint64_t{1} << j;
        } else {
            t.value = all;
        }
        t.state = State::ready;
    }
}

std::string Block::who_waits() const {
    unsigned left = 0, at_barrier = 0, in_warp = 0;
    const Thread *barrier = nullptr, *warp = nullptr, *other = nullptr;
    for (const Thread& t : threads_) {
        left += t.state == State::done;
        if (t.state == State::at_barrier) ++at_barrier, barrier = &t;
        if (t.state != State::in_warp) continue;
        ++in_warp;
        if (!warp) warp = &t;
        if (t.operation != warp->operation || t.mask != warp->mask || t.site.line != warp->site.line) other = &t;
    }
    std::string s = "of " + std::to_string(n_) + " threads ";
    if (barrier) s = s + at_barrier + " wait at the barrier of " + text(barrier->site) + ", ";
    if (warp) s = s + in_warp + " wait in " + kNames[static_cast<int>(warp->operation)] + " of " + text(warp->site) + " for lanes of their mask, ";
    if (other) s += std::string("some of them in ") + kNames[static_cast<int>(other->operation)] + " of " + text(other->site) + ", ";
    return s + left + " have left the kernel: the rest waits for ever";
}

}  // namespace

// With NNQFT_EMULATION_LAUNCHES=FILE: each kernel that was launched, as its place in this library, one per line.
static void note(const void* kernel) {
    static std::set<const void*> seen;
    static const char* const path = getenv("NNQFT_EMULATION_LAUNCHES");
    Dl_info info;
    if (path == nullptr || !seen.insert(kernel).second || dladdr(kernel, &info) == 0) return;
    if (FILE* const file = fopen(path, "a")) {
        fprintf(file, "%tx\n", static_cast<const char*>(kernel) - static_cast<const char*>(info.dli_fbase));
        fclose(file);
    }
}

cudaError_t run(const Grid& grid, const void* kernel, void (*body)(void*), void* arguments) noexcept {
    static std::mutex mutex;
    if (grid.blocks == 0 || grid.blocks > 0x7fffffffu || grid.blocks_y == 0 || grid.blocks_y > 65535 || grid.threads == 0 ||
        grid.threads > kMaxThreads)
        return cudaErrorInvalidConfiguration;
    if (grid.shared > shared_limit(kernel)) return cudaErrorInvalidValue;
    try {
        const std::lock_guard<std::mutex> lock(mutex);
        note(kernel);
        Block& b = block();
        b.configure(grid, body, arguments);
        gridDim = dim3(grid.blocks, grid.blocks_y, 1);
        blockDim = dim3(grid.threads, 1, 1);
#if !NNQFT_EMULATION_SHARED_IS_PLAIN
        if (__start_nnqft_shared) memset(__start_nnqft_shared, 0xff, static_cast<size_t>(__stop_nnqft_shared - __start_nnqft_shared));
#endif
        for (const unsigned y : b.order_of(grid.blocks_y))
            for (const unsigned x : b.order_of(grid.blocks))
                if (!b.run(x, y)) {
                    last_failure() = b.failure();
                    return cudaErrorLaunchFailure;
                }
        return cudaSuccess;
    } catch (const std::bad_alloc&) {
        return cudaErrorMemoryAllocation;
    }
}

void set_order(Order order, uint64_t seed) noexcept { block().set_order(order, seed); }
void* dynamic_shared() noexcept { return block().dynamic_shared(); }
Votes block_barrier(bool predicate, Site site) noexcept { return block().barrier(predicate, site); }
uint64_t warp_exchange(WarpOperation operation, unsigned mask, uint64_t value, unsigned source, Site site) noexcept {
    return block().exchange(operation, mask, value, source, site);
}
unsigned lane() noexcept { return block().lane(); }
void trap(const char* what, Site site) noexcept { block().fail(site, "%s", what); }

}  // namespace nnqft::emulation
