// Every CUDA call goes through check(): it names the call, and leaves no error behind for the next one.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "core/error.hpp"

namespace nnqft::cuda {

inline std::string describe(cudaError_t status) { return std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status); }

// Throws DeviceError("<call> failed: <name>: <text>") unless status is success.
inline void check(cudaError_t status, const char* call) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // the runtime would report it again from the next, innocent call
    throw DeviceError(std::string(call) + " failed: " + describe(status));
}

// Makes `device` current for this thread and leaves it so: the caller, who owns the memory there, has done the same, and
// restoring what this copy of the runtime remembers could undo a choice made through another one.
inline void use_device(int device) { check(cudaSetDevice(device), "cudaSetDevice"); }

}  // namespace nnqft::cuda
