// What the binding files share: each adds its family to the one extension module.
//
// A function takes the device's index first, then what to compute, sizes, addresses and last the stream, all as integers;
// it translates and launches, with the GIL released, and never waits for the device.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "core/error.hpp"
#include "cuda/core/check.hpp"

void bind_core(pybind11::module_& m);
void bind_ensemble(pybind11::module_& m);
void bind_wick(pybind11::module_& m);
void bind_lanczos(pybind11::module_& m);

// The address as a pointer to T. A null pointer is only good for no elements; `name` is the argument's, for the message.
template <class T>
T* device_pointer(std::uintptr_t address, bool empty, const char* name) {
    if (address == 0 && !empty) throw nnqft::ArgumentError(std::string(name) + " is a null pointer");
    if (address % alignof(T)) throw nnqft::ArgumentError(std::string(name) + " is not aligned to its element size");
    return reinterpret_cast<T*>(address);
}

inline cudaStream_t stream_of(std::uintptr_t handle) { return reinterpret_cast<cudaStream_t>(handle); }
