// One instruction set's unit of random_unit.hpp: the compiler flags decide which.
#include "random_unit.hpp"

#include "core/normal.hpp"
#include "core/philox.hpp"

#if defined(__AVX512F__)
#include "core/vec_avx512.hpp"
#define UNIT kAvx512
#elif defined(__AVX2__)
#include "core/vec_avx2.hpp"
#define UNIT kAvx2
#else
#include "core/vec_scalar.hpp"
#define UNIT kScalar
namespace nnqft {
namespace {
using VF = Lanes<float>;
using VU = Lanes<uint32_t>;
}  // namespace
}  // namespace nnqft
#endif

namespace random_unit {
namespace {

using nnqft::VF;
using nnqft::VU;

void words(uint64_t seed, uint32_t tensor, uint64_t first_net, uint32_t row_group, uint32_t column, uint32_t* out) {
    const auto nets = nnqft::net_lanes<VF>(VU::iota(static_cast<uint32_t>(first_net)), first_net);
    VU w[4];
    nnqft::philox_nets<VF>(nets, nnqft::philox_key(seed), tensor, row_group, column, w);
    for (int i = 0; i < 4; ++i) w[i].store(out + 16 * i);
}

void laws(const uint32_t* k0, const uint32_t* k1, float sigma, float nu, float* out) {
    const VU a = VU::load(k0), b = VU::load(k1);
    const VF s(sigma);
    VF x[n_laws];
    x[log_u] = nnqft::minus_two_log<VF>(a);
    nnqft::circle_point(b, x[cosine], x[sine]);
    nnqft::normal_pair(a, b, s, x[normal_0], x[normal_1]);
    x[uniform] = nnqft::uniform_symmetric(a, s);
    x[sign] = nnqft::random_sign(a, s);
    x[student] = nnqft::student_t(a, b, nu, s);
    x[exp_m1] = nnqft::exp_minus_one(as_float(a));
    for (int i = 0; i < n_laws; ++i) x[i].store(out + 16 * i);
}

void multiply_add(const float* a, const float* b, const float* c, float* out) {
    madd(VF::load(a), VF::load(b), VF::load(c)).store(out);
}

}  // namespace

extern const Unit UNIT;
const Unit UNIT = {
#if defined(__AVX512F__)
    "avx512",
#elif defined(__AVX2__)
    "avx2",
#else
    "scalar",
#endif
    words, laws, multiply_add};

}  // namespace random_unit
