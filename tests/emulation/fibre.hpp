// A stack of its own for code that has to wait in the middle. Only for one host thread at a time.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace nnqft::emulation {

class Fibre {
public:
    explicit Fibre(void (*entry)());  // `entry` must never return
    ~Fibre();
    Fibre(const Fibre&) = delete;
    Fibre& operator=(const Fibre&) = delete;

    void resume();          // from the host thread's stack: runs the fibre until it calls suspend()
    static void suspend();  // from within: back to resume()

    static Fibre* current();

private:
    static void start();

    void (*const entry_)();
    unsigned char* memory_;  // lowest page: no access
    size_t size_;
#if defined(__x86_64__)
    void* stack_pointer_;
#else
    ucontext_t context_;
#endif
    void* fake_stack_ = nullptr;  // of the address sanitizer
    void* tsan_ = nullptr;  // a thread to the race detector
};

}  // namespace nnqft::emulation
