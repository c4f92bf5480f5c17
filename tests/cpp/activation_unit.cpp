// One instruction set's unit of activation_unit.hpp: the compiler flags decide which.
#include "activation_unit.hpp"

#if defined(__AVX512F__)
#include "core/vec_avx512.hpp"
#elif defined(__AVX2__)
#include "core/vec_avx2.hpp"
#else
#include "core/vec_scalar.hpp"
namespace nnqft {
namespace {
using VF = Lanes<float>;
}  // namespace
}  // namespace nnqft
#endif

#include "core/activation.hpp"

namespace activation_unit {
namespace {

using nnqft::Activation;
using nnqft::VF;

constexpr nnqft::ActivationParams<float> kLeaky = {{0.01f}, 1}, kCubic = {{0.5f, -2.0f, 0.0f, 3.0f}, 4};

VF load(const float* p, VF*) { return VF::load(p); }
void store(VF x, float* p) { x.store(p); }
#if !defined(__AVX2__)
float load(const float* p, float*) { return *p; }
void store(float x, float* p) { *p = x; }
#endif

template <Activation A, class F, int width>
void evaluate(const float* x, int count, float* y, float* dy, float* d2y) {
    constexpr auto& params = A == Activation::polynomial ? kCubic : kLeaky;
    for (int i = 0; i < count; i += width) {
        const F at = load(x + i, static_cast<F*>(nullptr));
        if (dy) {
            F value, first, second;
            nnqft::activate_derivatives<A>(at, params, value, first, second);
            store(value, y + i);
            store(first, dy + i);
            store(second, d2y + i);
        } else {
            store(nnqft::activate<A>(at, params), y + i);
        }
    }
}

template <class F, int width>
void derivatives(Activation kind, const float* x, int count, float* y, float* dy, float* d2y) {
    switch (kind) {
#define CASE(name) \
    case Activation::name: return evaluate<Activation::name, F, width>(x, count, y, dy, d2y)
        CASE(relu);
        CASE(leaky_relu);
        CASE(erf);
        CASE(tanh);
        CASE(sigmoid);
        CASE(softplus);
        CASE(swish);
        CASE(gelu);
        CASE(sin);
        CASE(cos);
        CASE(exp);
        CASE(identity);
        CASE(polynomial);
#undef CASE
    }
}
template <class F, int width>
void values(Activation kind, const float* x, int count, float* y) {
    derivatives<F, width>(kind, x, count, y, nullptr, nullptr);
}

}  // namespace

#if defined(__AVX512F__)
const Unit kAvx512 = {"avx512", values<VF, 16>, derivatives<VF, 16>};
#elif defined(__AVX2__)
const Unit kAvx2 = {"avx2", values<VF, 16>, derivatives<VF, 16>};
#else
const Unit kScalar = {"scalar", values<VF, 16>, derivatives<VF, 16>};
const Unit kOneLane = {"one lane", values<float, 1>, derivatives<float, 1>};
#endif

}  // namespace activation_unit
