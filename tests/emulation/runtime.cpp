#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <mutex>
#include <new>
#include <unordered_map>

#include "cuda_runtime_api.h"
#include "limits.hpp"

using namespace nnqft::emulation;

struct CUstream_st {};
struct CUevent_st {
    std::chrono::steady_clock::time_point time;
};

namespace {

constexpr int kProcessors = 4;  // few: kernels then really stride over their grid
constexpr size_t kMemory = size_t{16} << 30;
thread_local cudaError_t last = cudaSuccess;
thread_local int current = 0;

int device_count() {
    static const int count = [] {
        const char* const text = getenv("NNQFT_EMULATED_DEVICES");
        return text ? atoi(text) : 2;
    }();
    return count;
}
cudaError_t result(cudaError_t status) { return status == cudaSuccess ? status : last = status; }
cudaError_t known(int device) {
    if (device_count() == 0) return cudaErrorNoDevice;
    return device >= 0 && device < device_count() ? cudaSuccess : cudaErrorInvalidDevice;
}

std::mutex kernels_mutex;
std::unordered_map<const void*, size_t>& opted_in() {
    static std::unordered_map<const void*, size_t> bytes;
    return bytes;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t status) {
    switch (status) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
        case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
        case cudaErrorNoDevice: return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
        case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
        case cudaErrorNotReady: return "cudaErrorNotReady";
        case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
        case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
        case cudaErrorNotSupported: return "cudaErrorNotSupported";
        default: return "cudaErrorUnknown";
    }
}

const char* cudaGetErrorString(cudaError_t status) {
    switch (status) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorInvalidResourceHandle: return "invalid resource handle";
        case cudaErrorNotReady: return "device not ready";
        case cudaErrorLaunchFailure: return last_failure().c_str();
        default: return "unknown error";
    }
}

cudaError_t cudaPeekAtLastError() { return last; }
cudaError_t cudaGetLastError() {
    const cudaError_t status = last;
    last = cudaSuccess;
    return status;
}

cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = device_count(), result(*count ? cudaSuccess : cudaErrorNoDevice); }
cudaError_t cudaGetDevice(int* device) { return *device = current, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
    const cudaError_t status = known(device);
    if (status == cudaSuccess) current = device;
    return result(status);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
    if (const cudaError_t status = known(device)) return result(status);
    *p = {};
    strcpy(p->name, "Emulated device");
    p->totalGlobalMem = kMemory;
    p->sharedMemPerBlock = kSharedDefault, p->sharedMemPerBlockOptin = kSharedMost, p->sharedMemPerMultiprocessor = kSharedPerProcessor;
    p->major = 9, p->minor = 0, p->multiProcessorCount = kProcessors, p->warpSize = 32;
    p->maxThreadsPerBlock = kMaxThreads, p->maxThreadsPerMultiProcessor = 2048, p->regsPerMultiprocessor = 65536, p->l2CacheSize = 50 << 20;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp p;
    if (const cudaError_t status = cudaGetDeviceProperties(&p, device)) return status;
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
        case cudaDevAttrWarpSize: *value = p.warpSize; break;
        case cudaDevAttrClockRate: *value = 1980000; break;
        case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
        case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(p.sharedMemPerMultiprocessor); break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
        default: return result(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) { return *available = *total = kMemory, cudaSuccess; }

cudaError_t cudaMalloc(void** pointer, size_t size) {
    *pointer = nullptr;
    if (size == 0) return cudaSuccess;
    if (size > kMemory || !(*pointer = malloc(size))) return result(cudaErrorMemoryAllocation);
    memset(*pointer, 0xff, size);  // nobody may count on zeros
    return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) { return free(pointer), cudaSuccess; }
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
    if (size) memmove(to, from, size);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t) { return cudaMemcpy(to, from, size, kind); }
cudaError_t cudaMemset(void* to, int byte, size_t size) {
    if (size) memset(to, byte, size);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int byte, size_t size, cudaStream_t) { return cudaMemset(to, byte, size); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    *stream = new (std::nothrow) CUstream_st;
    return result(*stream ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return delete stream, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) { return result(event ? cudaSuccess : cudaErrorInvalidResourceHandle); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = new (std::nothrow) CUevent_st;
    return result(*event ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
    if (!event) return result(cudaErrorInvalidResourceHandle);
    event->time = std::chrono::steady_clock::now();
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t last_event) {
    if (!first || !last_event) return result(cudaErrorInvalidResourceHandle);
    *milliseconds = std::chrono::duration<float, std::milli>(last_event->time - first->time).count();
    return cudaSuccess;
}

namespace nnqft::emulation {

size_t shared_limit(const void* kernel) {
    const std::lock_guard<std::mutex> lock(kernels_mutex);
    const auto found = opted_in().find(kernel);
    return found == opted_in().end() ? kSharedDefault : found->second;
}

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || static_cast<size_t>(value) > kSharedMost) return result(cudaErrorInvalidValue);
    const std::lock_guard<std::mutex> lock(kernels_mutex);
    opted_in()[kernel] = static_cast<size_t>(value) > kSharedDefault ? static_cast<size_t>(value) : kSharedDefault;
    return cudaSuccess;
}

cudaError_t attributes(cudaFuncAttributes* out, const void* kernel) {
    *out = {0, 0, static_cast<int>(kMaxThreads), 64, static_cast<int>(shared_limit(kernel))};
    return cudaSuccess;
}

cudaError_t occupancy(int* blocks, const void* kernel, int threads, size_t shared) {
    *blocks = 0;
    if (threads <= 0 || static_cast<unsigned>(threads) > kMaxThreads) return result(cudaErrorInvalidValue);
    if (shared > shared_limit(kernel)) return cudaSuccess;  // none fits
    const size_t by_threads = 2048 / static_cast<size_t>(threads), by_shared = kSharedPerProcessor / (shared + 1024);
    const size_t most = by_threads < by_shared ? by_threads : by_shared;
    *blocks = static_cast<int>(most < 32 ? most : 32);
    return cudaSuccess;
}

}  // namespace nnqft::emulation
