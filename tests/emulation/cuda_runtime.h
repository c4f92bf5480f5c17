// The device language as plain C++, for kernels that run in emulation.hpp. One dimension of threads; two of blocks.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "cuda_runtime_api.h"
#include "emulation.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))

// Blocks run one at a time, so one copy serves them all. Where no sanitizer has to see the variables one by one, they share
// a section, and a launch fills it with NaN.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(NNQFT_EMULATION_TSAN)
#define NNQFT_EMULATION_SHARED_IS_PLAIN 1
#define __shared__ static
#else
#define NNQFT_EMULATION_SHARED_IS_PLAIN 0
#define __shared__ static __attribute__((section("nnqft_shared")))
#endif

#define NNQFT_VECTOR2(T, name)                             \
    struct __align__(2 * sizeof(T)) name { T x, y; };      \
    static inline name make_##name(T x, T y) { return {x, y}; }
#define NNQFT_VECTOR4(T, name)                             \
    struct __align__(16) name { T x, y, z, w; };           \
    static inline name make_##name(T x, T y, T z, T w) { return {x, y, z, w}; }
NNQFT_VECTOR2(int, int2)
NNQFT_VECTOR2(unsigned, uint2)
NNQFT_VECTOR2(float, float2)
NNQFT_VECTOR2(double, double2)
NNQFT_VECTOR2(long long, longlong2)
NNQFT_VECTOR2(unsigned long long, ulonglong2)
NNQFT_VECTOR4(int, int4)
NNQFT_VECTOR4(unsigned, uint4)
NNQFT_VECTOR4(float, float4)
#undef NNQFT_VECTOR2
#undef NNQFT_VECTOR4
struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern __attribute__((visibility("hidden"))) uint3 threadIdx, blockIdx;
extern __attribute__((visibility("hidden"))) dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- barriers, votes, shuffles ----------------------------------------------------------------------------------------

using nnqft::emulation::Site;
using nnqft::emulation::WarpOperation;
static inline void __syncthreads(Site at = Site::here()) { nnqft::emulation::block_barrier(false, at); }
static inline int __syncthreads_count(int p, Site at = Site::here()) { return nnqft::emulation::block_barrier(p, at).count; }
static inline int __syncthreads_and(int p, Site at = Site::here()) { return nnqft::emulation::block_barrier(p, at).all; }
static inline int __syncthreads_or(int p, Site at = Site::here()) { return nnqft::emulation::block_barrier(p, at).count > 0; }
static inline void __syncwarp(unsigned mask = 0xffffffffu, Site at = Site::here()) {
    nnqft::emulation::warp_exchange(WarpOperation::sync, mask, 0, 0, at);
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}
static inline void __trap(Site at = Site::here()) { nnqft::emulation::trap("__trap", at); }

namespace nnqft::emulation {
template <class T>
T shuffle(unsigned mask, T value, unsigned source, Site at) {
    static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles move 4 or 8 bytes");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(T));
    word = warp_exchange(WarpOperation::shuffle, mask, word, source, at);
    memcpy(&value, &word, sizeof(T));
    return value;
}
}  // namespace nnqft::emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, Site at = Site::here()) {
    const unsigned lane = nnqft::emulation::lane(), w = static_cast<unsigned>(width);
    return nnqft::emulation::shuffle(mask, value, (lane & ~(w - 1)) | (static_cast<unsigned>(source) & (w - 1)), at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, Site at = Site::here()) {
    const unsigned lane = nnqft::emulation::lane(), w = static_cast<unsigned>(width);
    return nnqft::emulation::shuffle(mask, value, (lane & (w - 1)) >= delta ? lane - delta : lane, at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, Site at = Site::here()) {
    const unsigned lane = nnqft::emulation::lane(), w = static_cast<unsigned>(width);
    return nnqft::emulation::shuffle(mask, value, (lane & (w - 1)) + delta < w ? lane + delta : lane, at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, Site at = Site::here()) {
    const unsigned lane = nnqft::emulation::lane(), w = static_cast<unsigned>(width), other = lane ^ static_cast<unsigned>(flip);
    return nnqft::emulation::shuffle(mask, value, other < (lane & ~(w - 1)) + w ? other : lane, at);
}

static inline unsigned __ballot_sync(unsigned mask, int p, Site at = Site::here()) {
    return static_cast<unsigned>(nnqft::emulation::warp_exchange(WarpOperation::ballot, mask, p != 0, 0, at));
}
static inline int __any_sync(unsigned mask, int p, Site at = Site::here()) { return __ballot_sync(mask, p, at) != 0; }
static inline int __all_sync(unsigned mask, int p, Site at = Site::here()) { return __ballot_sync(mask, p, at) == mask; }
template <class T>
unsigned __match_any_sync(unsigned mask, T value, Site at = Site::here()) {
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(T));
    return static_cast<unsigned>(nnqft::emulation::warp_exchange(WarpOperation::match, mask, word, 0, at));
}
static inline unsigned __reduce_add_sync(unsigned mask, unsigned v, Site at = Site::here()) {
    return static_cast<unsigned>(nnqft::emulation::warp_exchange(WarpOperation::add, mask, v, 0, at));
}
static inline int __reduce_add_sync(unsigned mask, int v, Site at = Site::here()) {
    return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(v), at));
}
#define NNQFT_REDUCE(name, operation)                                                                          \
    static inline unsigned name(unsigned mask, unsigned v, Site at = Site::here()) {           \
        return static_cast<unsigned>(nnqft::emulation::warp_exchange(WarpOperation::operation, mask, v, 0, at)); \
    }
NNQFT_REDUCE(__reduce_min_sync, least)
NNQFT_REDUCE(__reduce_max_sync, greatest)
NNQFT_REDUCE(__reduce_and_sync, conjunction)
NNQFT_REDUCE(__reduce_or_sync, disjunction)
NNQFT_REDUCE(__reduce_xor_sync, parity)
#undef NNQFT_REDUCE

// ---- arithmetic: what the hardware rounds, C++ rounds ------------------------------------------------------------------

#define NNQFT_ROUNDED(T, prefix, fma_name, fma_call, sqrt_call)                                    \
    static inline T prefix##add_rn(T a, T b) { return a + b; }                                     \
    static inline T prefix##sub_rn(T a, T b) { return a - b; }                                     \
    static inline T prefix##mul_rn(T a, T b) { return a * b; }                                     \
    static inline T prefix##div_rn(T a, T b) { return a / b; }                                     \
    static inline T prefix##rcp_rn(T a) { return T(1) / a; }                                       \
    static inline T prefix##sqrt_rn(T a) { return sqrt_call(a); }                                  \
    static inline T fma_name(T a, T b, T c) { return fma_call(a, b, c); }
NNQFT_ROUNDED(float, __f, __fmaf_rn, __builtin_fmaf, __builtin_sqrtf)
NNQFT_ROUNDED(double, __d, __fma_rn, __builtin_fma, __builtin_sqrt)
#undef NNQFT_ROUNDED

namespace nnqft::emulation {
template <class To, class From>
To cast_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace nnqft::emulation
static inline int __float_as_int(float x) { return nnqft::emulation::cast_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return nnqft::emulation::cast_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return nnqft::emulation::cast_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return nnqft::emulation::cast_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return nnqft::emulation::cast_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return nnqft::emulation::cast_bits<double>(x); }
static inline int __double2hiint(double x) { return static_cast<int>(__double_as_longlong(x) >> 32); }
static inline int __double2loint(double x) { return static_cast<int>(__double_as_longlong(x)); }
static inline double __hiloint2double(int hi, int lo) {
    return __longlong_as_double(static_cast<long long>(static_cast<uint64_t>(static_cast<uint32_t>(hi)) << 32 | static_cast<uint32_t>(lo)));
}

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
    return y;
}
static inline unsigned long long __brevll(unsigned long long x) {
    return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 | __brev(static_cast<unsigned>(x >> 32));
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
static inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<int64_t>(a) * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
    return static_cast<unsigned>(((static_cast<uint64_t>(hi) << 32 | lo) << (n & 31)) >> 32);
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
    return static_cast<unsigned>((static_cast<uint64_t>(hi) << 32 | lo) >> (n & 31));
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; ++i) r |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return r;
}

#define NNQFT_MIN_MAX(T)                                      \
    static inline T min(T a, T b) { return b < a ? b : a; }   \
    static inline T max(T a, T b) { return a < b ? b : a; }
NNQFT_MIN_MAX(int)
NNQFT_MIN_MAX(unsigned)
NNQFT_MIN_MAX(long)
NNQFT_MIN_MAX(unsigned long)
NNQFT_MIN_MAX(long long)
NNQFT_MIN_MAX(unsigned long long)
#undef NNQFT_MIN_MAX

// ---- memory -------------------------------------------------------------------------------------------------------------

template <class T>
T __ldg(const T* p) { return *p; }
template <class T>
T __ldcg(const T* p) { return *p; }
template <class T>
T __ldcs(const T* p) { return *p; }
template <class T>
void __stcg(T* p, T value) { *p = value; }
template <class T>
void __stcs(T* p, T value) { *p = value; }

// Atomic for the race detector's sake: one thread runs at a time.
#define NNQFT_ATOMIC(name, expression)                                                           \
    template <class T>                                                                           \
    T name(T* p, typename std::enable_if<true, T>::type v) {                                     \
        T old;                                                                                   \
        __atomic_load(p, &old, __ATOMIC_RELAXED);                                                \
        T changed = expression;                                                                  \
        __atomic_store(p, &changed, __ATOMIC_RELAXED);                                           \
        return old;                                                                              \
    }
NNQFT_ATOMIC(atomicAdd, static_cast<T>(old + v))
NNQFT_ATOMIC(atomicSub, static_cast<T>(old - v))
NNQFT_ATOMIC(atomicMax, old < v ? v : old)
NNQFT_ATOMIC(atomicMin, v < old ? v : old)
NNQFT_ATOMIC(atomicExch, v)
NNQFT_ATOMIC(atomicOr, static_cast<T>(old | v))
NNQFT_ATOMIC(atomicAnd, static_cast<T>(old & v))
NNQFT_ATOMIC(atomicXor, static_cast<T>(old ^ v))
NNQFT_ATOMIC(atomicInc, old >= v ? T(0) : static_cast<T>(old + 1))
#undef NNQFT_ATOMIC
template <class T>
T atomicCAS(T* p, typename std::enable_if<true, T>::type expected, typename std::enable_if<true, T>::type wanted) {
    T old;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    if (old == expected) __atomic_store(p, &wanted, __ATOMIC_RELAXED);
    return old;
}
