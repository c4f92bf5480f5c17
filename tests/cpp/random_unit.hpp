// The random maths of csrc/core as one instruction set computes it, behind plain function pointers.
// random_unit.cpp is compiled once per set; every set must return the bits of the one-lane code.
#pragma once

#include <stdint.h>

namespace random_unit {

enum Law { log_u, cosine, sine, normal_0, normal_1, uniform, sign, student, exp_m1, n_laws };

struct Unit {
    const char* name;
    // Four Philox words of 16 nets (first_net a multiple of 16): out[4][16].
    void (*words)(uint64_t seed, uint32_t tensor, uint64_t first_net, uint32_t row_group, uint32_t column, uint32_t* out);
    // Every law from 16 pairs of words, with standard deviation or half width sigma: out[n_laws][16]. exp_m1 reads k0 as a float.
    void (*laws)(const uint32_t* k0, const uint32_t* k1, float sigma, float nu, float* out);
    void (*madd)(const float* a, const float* b, const float* c, float* out);
};

extern const Unit kScalar;
#if defined(__x86_64__)
extern const Unit kAvx2, kAvx512;
#endif

}  // namespace random_unit
