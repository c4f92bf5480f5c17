// Dense products through BLAS pointers, which Python takes from scipy.linalg.cython_blas; before, and in C++ tests, a
// plain reference behind the same names. Fortran's conventions: matrices column by column, element (i, j) at
// a[i + j * lda]. A row-major C = A B (m x n, inner k) is gemm('N', 'N', n, m, k, 1, B, ldb, A, lda, 0, C, ldc).
//
// BLAS counts in 32-bit integers: sizes and leading dimensions beyond them are an ArgumentError, never a wrong product.
// The bits of a product depend on its shape (and on the CPU, by the library's choice of kernels), so cut work into
// panels of fixed shape, whatever the number of threads; and hold a BlasThreadsOff while your own threads call these.
#pragma once

#include <cstdint>

namespace nnqft {

// C <- alpha op(A) op(B) + beta C, op(A) m x k, op(B) k x n; transposed where its letter is 'T' instead of 'N'.
void gemm(char a_op, char b_op, std::int64_t m, std::int64_t n, std::int64_t k, double alpha, const double* a, std::int64_t lda, const double* b,
          std::int64_t ldb, double beta, double* c, std::int64_t ldc);
void gemm(char a_op, char b_op, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda, const float* b,
          std::int64_t ldb, float beta, float* c, std::int64_t ldc);
// y <- alpha op(A) x + beta y, A m x n.
void gemv(char op, std::int64_t m, std::int64_t n, double alpha, const double* a, std::int64_t lda, const double* x, double beta, double* y);
void gemv(char op, std::int64_t m, std::int64_t n, float alpha, const float* a, std::int64_t lda, const float* x, float beta, float* y);
// y <- alpha A x + beta y, A symmetric n x n, of which the triangle 'U' or 'L' is read.
void symv(char triangle, std::int64_t n, double alpha, const double* a, std::int64_t lda, const double* x, double beta, double* y);
void symv(char triangle, std::int64_t n, float alpha, const float* a, std::int64_t lda, const float* x, float beta, float* y);

// The library's own threads are switched off while one of these lives, anywhere in the process; the last to go restores
// the count that the first one found. Without effect on a library whose switch is not known (blas_threads_known()).
class BlasThreadsOff {
public:
    BlasThreadsOff();
    ~BlasThreadsOff();
    BlasThreadsOff(const BlasThreadsOff&) = delete;
    BlasThreadsOff& operator=(const BlasThreadsOff&) = delete;
};
bool blas_threads_known();

// Fortran entry points, all arguments by address. A null member leaves the function that is in use.
template <class T>
struct BlasFunctions {
    void (*gemm)(const char*, const char*, const int* m, const int* n, const int* k, const T* alpha, const T* a, const int* lda, const T* b,
                 const int* ldb, const T* beta, T* c, const int* ldc);
    void (*gemv)(const char*, const int* m, const int* n, const T* alpha, const T* a, const int* lda, const T* x, const int* incx, const T* beta,
                 T* y, const int* incy);
    void (*symv)(const char*, const int* n, const T* alpha, const T* a, const int* lda, const T* x, const int* incx, const T* beta, T* y,
                 const int* incy);
};
// Call before any product is under way. set_threads and get_threads may be null.
void use_blas(const BlasFunctions<double>& d, const BlasFunctions<float>& s, void (*set_threads)(int), int (*get_threads)());
bool blas_is_external();

}  // namespace nnqft
