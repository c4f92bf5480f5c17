// The tree of csrc/wick/sieve.hpp as lists of products of polynomials, for kernels that know nothing else about hafnians.
//
// A state is g, the squares' b_pp, v (if there is a mean), room for intermediate results, then b_jk, j < k, as rows of k: polynomials with
// numbers 0, 1, .. A task is one sum of products of a state's polynomials,
//
//     out = from + sum_i f_2i f_2i+1,
//
// and a level is a short list of stages of tasks that do not need one another. Those of the last stage write both children,
// from + z sum and from - z sum; all others, and all of the last level, write the state itself. The last level ends with a scalar product of g.
#pragma once

#include <cstdint>
#include <vector>


namespace nnqft::cuda {

// Numbers of polynomials, 16 bits each. `place`: where to, and above it where from; `pairs`: the factors of up to three products, the first
// of each below, whose terms come in groups of four (csrc/wick/series.hpp).
struct alignas(16) SieveTask {
    std::uint32_t place, pair[3];
};
constexpr std::uint32_t kNoPolynomial = 0xffff, kNoPair = 0xffffffff;
constexpr std::uint32_t kTwice = 0x8000;  // with the number of `out`: the sum counts twice

struct SieveStage {
    std::int32_t first, count;  // of the tasks
};

// What a kernel needs to know of a level.
struct SieveLayout {
    std::int32_t polynomials, length, stride, size;  // coefficients, numbers from one polynomial to the next (odd: shared memory has banks), of a state
    std::int32_t spare, head, tail;                  // intermediate results lie before head; factors, before head or from tail on
    std::int32_t stages, result;                     // at the last level: the polynomial that g is multiplied with, or -1
    SieveStage stage[6];
};

struct SieveShape {
    std::int32_t vertices, squares;  // of the root; singles come first
    bool mean;
    std::int32_t levels;  // that choose a sign
};

struct SieveTables {
    explicit SieveTables(const SieveShape& shape);  // ArgumentError for what no tree can be, or more polynomials than numbers

    std::vector<SieveTask> tasks;
    std::vector<SieveLayout> level;         // levels + 1 of them
    std::vector<double> multiply_adds;      // of all the products of one state

    std::int32_t inputs() const { return level[0].polynomials - level[0].spare - 1; }
};

}  // namespace nnqft::cuda
