// Checks of numbers from outside: vectors are finite, kernels finite and symmetric. An ArgumentError names the first entry that is not.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace nnqft {

std::string text(double x);  // all its digits

constexpr std::int64_t kAlone = -1;  // in place of a number in a batch

// A vector, or row `row` of an array; numbers of `parts` doubles each.
void check_finite(const char* name, const double* x, std::int64_t count, std::int64_t row = kAlone, int parts = 1);

// Called now and then over a large matrix; may throw.
using CheckPoll = std::function<void()>;

// Whether K (m, m) is finite and equal to its transpose to the bit.
bool is_symmetric(const double* K, std::int64_t m, int parts = 1, const CheckPoll& poll = {});

// K is finite and |K_ij - K_ji| within 1e-12 of the smaller of the two rows' largest entries. `matrix` is its number in a batch: there the
// diagonal is not looked at.
void check_symmetric(const double* K, std::int64_t m, int parts = 1, const CheckPoll& poll = {}, std::int64_t matrix = kAlone);

}  // namespace nnqft
