#include "core/isa.hpp"

#include <cstdlib>

#include "core/error.hpp"

namespace nnqft {

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::avx2: return "avx2";
        case Isa::avx512: return "avx512";
        default: return "scalar";
    }
}

std::vector<Isa> available_isas() {
    std::vector<Isa> sets{Isa::scalar};
#if defined(NNQFT_X86)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(Isa::avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        sets.push_back(Isa::avx512);
#endif
    return sets;
}

Isa resolve_isa(const std::string& name) {
    std::string wanted = name;
    if (wanted.empty())
        if (const char* set = std::getenv("NNQFT_ISA")) wanted = set;
    const auto available = available_isas();
    if (wanted.empty()) return available.back();
    std::string list;
    for (Isa isa : available) {
        if (wanted == isa_name(isa)) return isa;
        list += (list.empty() ? "" : ", ") + std::string(isa_name(isa));
    }
    throw ArgumentError("instruction set '" + wanted + "' is not available here; this CPU and build have: " + list);
}

}  // namespace nnqft
