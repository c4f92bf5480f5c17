// Every kernel starts through launch(): nvcc's <<<...>>> here, the emulator's loop over threads in the tests.
//
//     template <class T> __global__ void __launch_bounds__(256) scale_kernel(uint64_t n, T factor, T* x) {...}
//     return launch({blocks, 1, 256, 0, stream}, scale_kernel<float>, n, factor, x);
//
// A kernel finds its dynamic shared memory with NNQFT_DYNAMIC_SHARED(T, name): `name` is a T*, aligned to 16 bytes.
#pragma once

#include <cuda_runtime.h>
#include <stddef.h>

#include <type_traits>

#if defined(NNQFT_EMULATED)
#include <tuple>

#include "emulation.hpp"
#define NNQFT_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::nnqft::emulation::dynamic_shared())
#else
#define NNQFT_DYNAMIC_SHARED(T, name)                                \
    extern __shared__ __align__(16) unsigned char nnqft_dynamic_shared[]; \
    T* const name = reinterpret_cast<T*>(nnqft_dynamic_shared)
#endif

namespace nnqft::cuda {
namespace {

struct Launch {
    unsigned blocks, blocks_y = 1;
    unsigned threads;
    size_t shared = 0;  // bytes of dynamic shared memory
    cudaStream_t stream = nullptr;
};

// Queues the grid on the stream and returns; an empty grid, an error to CUDA, does nothing.
template <class... P, class... A>
cudaError_t launch(const Launch& l, void (*kernel)(P...), A... arguments) noexcept {
    static_assert((std::is_trivially_copyable<P>::value && ...), "parameters are copied to the device byte by byte");
    if (l.blocks == 0 || l.blocks_y == 0) return cudaSuccess;
#if defined(NNQFT_EMULATED)
    struct Call {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    } call{kernel, {arguments...}};
    return emulation::run({l.blocks, l.blocks_y, l.threads, l.shared}, reinterpret_cast<const void*>(kernel), [](void* c) {
        std::apply(static_cast<Call*>(c)->kernel, static_cast<Call*>(c)->arguments);
    }, &call);
#else
    kernel<<<dim3(l.blocks, l.blocks_y), l.threads, l.shared, l.stream>>>(arguments...);
    return cudaGetLastError();
#endif
}

// Lets the kernel's launches ask for `bytes` of dynamic shared memory, beyond 48 KiB. Once per device and kernel is enough.
template <class... P>
cudaError_t allow_shared(void (*kernel)(P...), size_t bytes) noexcept {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

}  // namespace
}  // namespace nnqft::cuda
