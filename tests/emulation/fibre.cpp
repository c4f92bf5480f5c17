#include "fibre.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(NNQFT_EMULATION_TSAN)  // this unit itself is not instrumented: the scheduler is no part of the program under test
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}
#endif

namespace nnqft::emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(NNQFT_EMULATION_TSAN)
constexpr size_t kStackSize = 512 << 10;
#else
constexpr size_t kStackSize = 128 << 10;  // pages that are not touched cost nothing
#endif

struct {  // the stack that resume() was called on
#if defined(__x86_64__)
    void* stack_pointer;
#else
    ucontext_t context;
#endif
    void* fake_stack;
    const void* bottom;
    size_t size;
    void* tsan;
} host;
Fibre* running = nullptr;

}  // namespace

#if defined(__x86_64__)
// switch_stack(where to leave this stack's pointer, the other stack's pointer): what the ABI lets a callee clobber stays behind.
extern "C" __attribute__((visibility("hidden"))) void nnqft_emulation_switch_stack(void** from, void* to);
asm(R"(
.text
.p2align 4
.hidden nnqft_emulation_switch_stack
.globl nnqft_emulation_switch_stack
.type nnqft_emulation_switch_stack, @function
nnqft_emulation_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size nnqft_emulation_switch_stack, . - nnqft_emulation_switch_stack
)");
#endif

Fibre::Fibre(void (*entry)()) : entry_(entry) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_ = kStackSize + page;
    void* const memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<unsigned char*>(memory);
    mprotect(memory_, page, PROT_NONE);
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory_, size_);  // what an abandoned fibre left at this address
#endif
#if defined(NNQFT_EMULATION_TSAN)
    tsan_ = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
    void** top = reinterpret_cast<void**>(memory_ + size_);
    *--top = nullptr;  // a return address for nobody: entry never returns. Keeps the stack aligned as after a call
    *--top = reinterpret_cast<void*>(&Fibre::start);
    for (int i = 0; i < 6; ++i) *--top = nullptr;  // rbp = 0 ends a walk over the frames
    stack_pointer_ = top;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = memory_ + page;
    context_.uc_stack.ss_size = kStackSize;
    context_.uc_link = nullptr;
    makecontext(&context_, &Fibre::start, 0);
#endif
}

Fibre::~Fibre() {
#if defined(NNQFT_EMULATION_TSAN)
    __tsan_destroy_fiber(tsan_);
#endif
    munmap(memory_, size_);
}

Fibre* Fibre::current() { return running; }

void Fibre::start() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &host.bottom, &host.size);
#endif
    running->entry_();
}

void Fibre::resume() {
    running = this;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&host.fake_stack, memory_ + (size_ - kStackSize), kStackSize);
#endif
#if defined(NNQFT_EMULATION_TSAN)
    host.tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_, 1);  // 1: the switch orders nothing
#endif
#if defined(__x86_64__)
    nnqft_emulation_switch_stack(&host.stack_pointer, stack_pointer_);
#else
    swapcontext(&host.context, &context_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(host.fake_stack, nullptr, nullptr);
#endif
    running = nullptr;
}

void Fibre::suspend() {
    Fibre* const self = running;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&self->fake_stack_, host.bottom, host.size);
#endif
#if defined(NNQFT_EMULATION_TSAN)
    __tsan_switch_to_fiber(host.tsan, 1);
#endif
#if defined(__x86_64__)
    nnqft_emulation_switch_stack(&self->stack_pointer_, host.stack_pointer);
#else
    swapcontext(&self->context_, &host.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self->fake_stack_, &host.bottom, &host.size);
#endif
}

}  // namespace nnqft::emulation
