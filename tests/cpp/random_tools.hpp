// What the tests of random numbers share: the instruction sets at hand, and words to test with.
#pragma once

#include <cstdint>
#include <vector>

#include "core/philox.hpp"
#include "random_unit.hpp"

namespace random_unit {

// The sets that this processor has; the widest comes last.
inline std::vector<const Unit*> units() {
    std::vector<const Unit*> list = {&kScalar};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back(&kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        list.push_back(&kAvx512);
#endif
    return list;
}

// A stream of words with a fixed seed.
class Words {
public:
    uint32_t operator()() {
        if (used_ == 4) {
            nnqft::philox(counter_, 20240229u, block_);
            ++counter_[0];
            used_ = 0;
        }
        return block_[used_++];
    }
    uint64_t wide() {
        const uint64_t high = (*this)();
        return high << 32 | (*this)();
    }

private:
    uint32_t counter_[4] = {}, block_[4] = {};
    int used_ = 4;
};

}  // namespace random_unit
