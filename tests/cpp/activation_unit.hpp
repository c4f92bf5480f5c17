// The activations of csrc/core as one instruction set computes them, behind plain function pointers.
// activation_unit.cpp is compiled once per set; every set must return the same bits.
#pragma once

#include "core/activation_kind.hpp"

namespace activation_unit {

struct Unit {
    const char* name;
    // Values and both derivatives at `count` points, a multiple of 16. Leaky slope 0.01, polynomial 0.5 - 2 x + 3 x^3.
    void (*values)(nnqft::Activation kind, const float* x, int count, float* y);
    void (*derivatives)(nnqft::Activation kind, const float* x, int count, float* y, float* dy, float* d2y);
};

extern const Unit kScalar;   // loops over 16 lanes
extern const Unit kOneLane;  // one float at a time, as a CUDA thread runs it
#if defined(__x86_64__)
extern const Unit kAvx2, kAvx512;
#endif

}  // namespace activation_unit
