// What the scheduler and the runtime tell each other.
#pragma once

#include <stddef.h>

#include <string>

namespace nnqft::emulation {

constexpr unsigned kMaxThreads = 1024;
constexpr size_t kSharedDefault = 48 << 10, kSharedMost = 227 << 10, kSharedPerProcessor = 228 << 10;  // compute capability 9.0

size_t shared_limit(const void* kernel);  // bytes of dynamic shared memory that its launches may ask for
std::string& last_failure();              // of this host thread's last failed launch

}  // namespace nnqft::emulation
