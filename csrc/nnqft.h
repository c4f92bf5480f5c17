/* nnqft from C, and from whatever calls C: hafnians, Gaussian moments of all multisets, moment tensors of samples.
 *
 *     cc program.c -I"$(python -c 'import nnqft; print(nnqft.get_include())')" \
 *        "$(python -c 'import nnqft; print(nnqft.get_library())')"
 *
 * Every function that returns int returns NNQFT_OK or an error code, and explains an error in `message` (NULL, or room for
 * `message_bytes` characters with the closing zero; it is cut where it does not fit, and empty on success). After an error the
 * contents of `out` mean nothing. Nothing is printed, no exception leaves, and calls from several threads do not disturb each other.
 *
 * Arrays are C-contiguous. Sizes are int64_t, indices and counts in arrays int32_t. K (m, m) is symmetric: |K_ij - K_ji| may reach 1e-12
 * of the smaller of the two rows' largest entries, and the upper triangle is used. Its diagonal counts where a point repeats and is no
 * loop weight. Complex numbers are pairs (re, im), as in double _Complex. Results are the same bits on every machine, for any
 * number of threads, and those of the Python functions, whose docstrings state cost, accuracy and sources.
 */
#ifndef NNQFT_H
#define NNQFT_H

#include <stddef.h>
#include <stdint.h>

#define NNQFT_VERSION "0.1.0"
#define NNQFT_ABI_VERSION 1 /* grows when a function or struct of this header changes its meaning or layout */

#if defined(__GNUC__)
#define NNQFT_API __attribute__((visibility("default")))
#else
#define NNQFT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum {
    NNQFT_OK = 0,
    NNQFT_ARGUMENT_ERROR = 1, /* an argument is out of range, not finite, not symmetric, NULL, or the work cannot be afforded */
    NNQFT_MEMORY_ERROR = 2,   /* memory ran out */
    NNQFT_STOPPED = 3,        /* poll() gave up */
    NNQFT_INTERNAL_ERROR = 4  /* a defect of the library */
};

/* How to run; NULL in its place, and zeros in its fields, stand for the defaults. */
typedef struct nnqft_run {
    int32_t threads;    /* at most; 0: all CPUs that this process may use, or NNQFT_NUM_THREADS. Short work takes one. */
    int32_t reserved;   /* 0 */
    double max_seconds; /* hafnians: refuse work that is estimated to last longer; 0: 3600; INFINITY insists */
    /* Called every 50 ms by the thread that called, with the share done, or a negative number where that is unknown; another result
     * than 0 gives up. It must not leave by longjmp or an exception. */
    int (*poll)(double share, void* context);
    void* context;
} nnqft_run;

/* Of the library; compare with the macros above. */
NNQFT_API const char* nnqft_version(void);
NNQFT_API int nnqft_abi_version(void);

/* Hafnian haf(K; r) = E[f_1^r_1 .. f_m^r_m] for Gaussian f with covariance K; with mu (m), its mean, the loop hafnian. mu and repeats
 * (m) may be NULL: no mean; once each. *out: 1 for no points, 0 for an odd number without a mean, infinite beyond the range of double. */
NNQFT_API int nnqft_hafnian(int64_t m, const double* K, const double* mu, const int32_t* repeats, const nnqft_run* run, double* out,
                            char* message, size_t message_bytes);

/* The same of complex symmetric (not Hermitian) K (m, m, 2) and mu (m, 2); out (2). */
NNQFT_API int nnqft_hafnian_complex(int64_t m, const double* K, const double* mu, const int32_t* repeats, const nnqft_run* run, double* out,
                                    char* message, size_t message_bytes);

/* Hafnians (with mu, loop hafnians) of `count` tuples of n points: index (count, n), each 0 .. m - 1; out (count). m <= 46340. */
NNQFT_API int nnqft_hafnian_batch(int64_t m, const double* K, const double* mu, int64_t count, int64_t n, const int32_t* index,
                                  const nnqft_run* run, double* out, char* message, size_t message_bytes);

/* C(m + order - 1, order): how many sorted multi-indices i_1 <= .. <= i_order over m values there are; -1 if m or order is negative or
 * the number exceeds 64 bits. */
NNQFT_API int64_t nnqft_multiset_count(int64_t m, int64_t order);

/* E[f_i1 .. f_in] of all sorted multi-indices i_1 <= .. <= i_n, in lexicographic order: out (nnqft_multiset_count(m, order)). f is
 * Gaussian with covariance K and mean mu, or zero if mu is NULL. m >= 1, order 1 .. 64. */
NNQFT_API int nnqft_wick_all(int64_t m, int32_t order, const double* K, const double* mu, const nnqft_run* run, double* out, char* message,
                             size_t message_bytes);

/* Moment tensor of samples: sum_r w_r F_{r,i1} .. F_{r,in} / sum_r w_r for all sorted multi-indices, as above. F (samples, fields), or
 * float; weights (samples), or NULL: all 1. order 1 .. 8. NaN and infinities are errors. */
NNQFT_API int nnqft_moments(int64_t samples, int64_t fields, const double* F, const double* weights, int32_t order, const nnqft_run* run,
                            double* out, char* message, size_t message_bytes);
NNQFT_API int nnqft_moments_float(int64_t samples, int64_t fields, const float* F, const double* weights, int32_t order,
                                  const nnqft_run* run, double* out, char* message, size_t message_bytes);

#ifdef __cplusplus
}
#endif

#endif
