// Which instruction set the kernels use: the widest the CPU has, or what NNQFT_ISA names.
#pragma once

#include <string>
#include <vector>

namespace nnqft {

enum class Isa { scalar, avx2, avx512 };

const char* isa_name(Isa isa);
std::vector<Isa> available_isas();  // in ascending order; scalar is always there

// The instruction set called `name`, or the default for "": NNQFT_ISA if set, else the widest available.
// ArgumentError if the name is unknown or this CPU (or this build) lacks the set.
Isa resolve_isa(const std::string& name);

}  // namespace nnqft
