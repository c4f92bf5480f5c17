// Hafnians by the signed pair sieve (csrc/wick/sieve.hpp) on a device: the sums over signs, with the bits of the CPU's.
//
// The tree is walked level by level: expand_kernel writes both children of each state of a level, a block for a state or a part of one.
// Where a subtree's states fit into the shared memory of a block, `cut` levels down, subtree_kernel takes over: one block, one subtree, all
// nodes of a level at once, a thread for every eight coefficients of a polynomial. Levels are expanded in chunks that fit the workspace,
// depth first. Sums of subtrees are subtracted, (+) - (-), up the tree, by fold_kernel and at the end by fold(): no other order has the
// CPU's bits.
//
// n = 50: 4.0e10 multiply-adds. An H200 does 64 in double precision per clock and multiprocessor, 1.7e13 per second: 2.4 ms. From shared
// memory come 16 numbers per clock and multiprocessor, of which a product takes one per 3.1 multiply-adds, and reads and writes of
// polynomials one per eight more: at most 55 % of that, 4.3 ms. The states at the cut, 10 kB each, are written and read once: 2.6 GB, 1.1 ms.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/wick/sieve_plan.hpp"
#include "wick/sieve.hpp"

namespace nnqft::cuda {

// The memory of one walk: all of it the caller's, on the device.
struct SieveMemory {
    const SieveTask* tasks;  // as tables().tasks has them
    double* workspace;       // workspace_size() bytes
    double* sums;            // n_sums() elements
};

class SieveWalk {
public:
    // ArgumentError as SieveTables. `shared`: bytes of shared memory a block may have.
    SieveWalk(const SieveShape& shape, SieveNumbers numbers, std::size_t shared);

    const SieveTables& tables() const noexcept { return tables_; }
    std::size_t element() const noexcept { return numbers_ == SieveNumbers::complex ? 2 : 1; }  // doubles
    std::size_t inputs() const noexcept { return static_cast<std::size_t>(tables_.inputs()); }  // elements of what SieveSubtree reads
    std::size_t workspace_size() const noexcept { return bytes_; }
    std::size_t n_sums() const noexcept { return std::size_t{1} << (top() - kept()); }
    double multiply_adds() const noexcept { return total_; }
    double done() const noexcept { return done_; }  // multiply-adds that were launched
    bool finished() const noexcept { return finished_; }
    int cut() const noexcept { return cut_; }  // the level at which subtrees begin

    // Launches about so many multiply-adds, from where the last call ended; at first puts `input` (on the device) to the root. At the end
    // fold() makes of the sums, copied to the host, one: the first.
    void fold(double* sums) const noexcept;
    cudaError_t advance(const SieveMemory& memory, const double* input, double multiply_adds, cudaStream_t stream) noexcept;

private:
    int top() const noexcept { return cut_ > 0 ? cut_ - 1 : 0; }  // log2 of the states at the cut
    // log2 of the sums that fold_kernel subtracts. The CPU has the signs of three levels in its lanes and sums over them last.
    int lanes() const noexcept { return top() < 3 ? top() : 3; }
    int kept() const noexcept { return top() - lanes() < most_ ? top() - lanes() : most_; }
    std::int64_t room(int level) const noexcept { return std::int64_t{1} << (level == 0 ? 0 : level - 1 < most_ ? level - 1 : most_); }
    void lay_out();
    double work(int level) const noexcept;  // of one state, or subtree

    template <class E>
    cudaError_t step(const SieveMemory& memory, cudaStream_t stream) noexcept;
    template <class E>
    cudaError_t run(const SieveMemory& memory, const double* input, double multiply_adds, cudaStream_t stream) noexcept;

    const SieveTables tables_;
    const SieveNumbers numbers_;
    int cut_ = 0;
    int most_ = 13;                    // log2 of the states of one level that the workspace has room for
    std::vector<std::size_t> offset_;  // where the states of each level begin in the workspace, in doubles; then the subtrees' sums
    std::size_t bytes_ = 0;
    double total_ = 0.0, done_ = 0.0;

    bool begun_ = false, finished_ = false;
    int level_ = 0;                           // that is worked on
    std::vector<std::int64_t> count_, next_;  // states of each level that are there, and of them those that were expanded
    std::size_t summed_ = 0;
};

}  // namespace nnqft::cuda
