// NNQFT_HD marks maths that host and device share: the CPU tests exercise the very lines a GPU runs.
// Internal linkage, always: these functions are compiled once per instruction set, and the linker
// must never pick one set's copy for another.
#pragma once

#if defined(__CUDACC__)
#define NNQFT_HD static __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define NNQFT_HD static inline __attribute__((always_inline))
#else
#define NNQFT_HD static inline
#endif

// The same for members, and for constant expressions of unnamed namespaces: their linkage is right as it is.
#if defined(__CUDACC__)
#define NNQFT_HD_MEMBER __host__ __device__ __forceinline__
#else
#define NNQFT_HD_MEMBER
#endif

// The same for functions that the compiler may inline or not.
#if defined(__CUDACC__)
#define NNQFT_BOTH static __host__ __device__
#else
#define NNQFT_BOTH [[maybe_unused]] static
#endif

// A function that must not be inlined, to keep unrolled code in one place.
#if defined(__GNUC__)
#define NNQFT_APART static __attribute__((noinline))
#else
#define NNQFT_APART static
#endif
