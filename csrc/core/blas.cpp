#include "core/blas.hpp"

#include <algorithm>
#include <limits>
#include <mutex>
#include <string>

#include "core/error.hpp"

namespace nnqft {
namespace {

// The definition, for C++ tests and for a process without scipy's pointers.
template <class T>
void reference_gemm(const char* a_op, const char* b_op, const int* m, const int* n, const int* k, const T* alpha, const T* a, const int* lda,
                    const T* b, const int* ldb, const T* beta, T* c, const int* ldc) {
    const std::int64_t a_row = *a_op == 'T' ? *lda : 1, a_col = *a_op == 'T' ? 1 : *lda;
    const std::int64_t b_row = *b_op == 'T' ? *ldb : 1, b_col = *b_op == 'T' ? 1 : *ldb;
    for (std::int64_t j = 0; j < *n; ++j) {
        for (std::int64_t i = 0; i < *m; ++i) {
            T sum = 0;
            for (std::int64_t l = 0; l < *k; ++l) sum += a[i * a_row + l * a_col] * b[l * b_row + j * b_col];
            T& out = c[i + j * std::int64_t{*ldc}];
            out = *alpha * sum + (*beta == 0 ? 0 : *beta * out);  // beta = 0 drops a NaN
        }
    }
}
template <class T>
void reference_gemv(const char* op, const int* m, const int* n, const T* alpha, const T* a, const int* lda, const T* x, const int*, const T* beta,
                    T* y, const int*) {
    const bool turned = *op == 'T';
    const int one = 1, rows = turned ? *n : *m, inner = turned ? *m : *n, ldx = std::max(1, inner), ldy = std::max(1, rows);
    reference_gemm(op, "N", &rows, &one, &inner, alpha, a, lda, x, &ldx, beta, y, &ldy);
}
template <class T>
void reference_symv(const char* triangle, const int* n, const T* alpha, const T* a, const int* lda, const T* x, const int*, const T* beta, T* y,
                    const int*) {
    for (std::int64_t i = 0; i < *n; ++i) {
        T sum = 0;
        for (std::int64_t j = 0; j < *n; ++j) {
            const auto [row, column] = (*triangle == 'U') == (i < j) ? std::pair(i, j) : std::pair(j, i);
            sum += a[row + column * *lda] * x[j];
        }
        y[i] = *alpha * sum + (*beta == 0 ? 0 : *beta * y[i]);
    }
}

template <class T>
BlasFunctions<T> functions{reference_gemm<T>, reference_gemv<T>, reference_symv<T>};
bool external = false;
void (*set_threads_)(int) = nullptr;
int (*get_threads_)() = nullptr;

std::mutex& threads_mutex() {
    static auto* mutex = new std::mutex;  // never destroyed: daemon threads may outlive the statics
    return *mutex;
}
int threads_users = 0, threads_found = 1;

int narrow(std::int64_t size) {
    if (size < 0 || size > std::numeric_limits<int>::max())
        throw ArgumentError("a matrix product has a side of " + std::to_string(size) + "; BLAS takes sizes up to 2^31 - 1: cut it into panels");
    return static_cast<int>(size);
}
int leading(std::int64_t ld) { return std::max(1, narrow(ld)); }

template <class T>
void any_gemm(char a_op, char b_op, std::int64_t m_, std::int64_t n_, std::int64_t k_, T alpha, const T* a, std::int64_t lda_, const T* b,
              std::int64_t ldb_, T beta, T* c, std::int64_t ldc_) {
    const int m = narrow(m_), n = narrow(n_), k = narrow(k_), lda = leading(lda_), ldb = leading(ldb_), ldc = leading(ldc_);
    if (m > 0 && n > 0) functions<T>.gemm(&a_op, &b_op, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
}
template <class T>
void any_gemv(char op, std::int64_t m_, std::int64_t n_, T alpha, const T* a, std::int64_t lda_, const T* x, T beta, T* y) {
    const int m = narrow(m_), n = narrow(n_), lda = leading(lda_), one = 1;
    if ((op == 'T' ? m : n) == 0) {  // BLAS leaves y alone here, although y <- beta y
        for (std::int64_t i = 0, rows = op == 'T' ? n : m; i < rows; ++i) y[i] = beta == 0 ? 0 : beta * y[i];
        return;
    }
    functions<T>.gemv(&op, &m, &n, &alpha, a, &lda, x, &one, &beta, y, &one);
}
template <class T>
void any_symv(char triangle, std::int64_t n_, T alpha, const T* a, std::int64_t lda_, const T* x, T beta, T* y) {
    const int n = narrow(n_), lda = leading(lda_), one = 1;
    if (n > 0) functions<T>.symv(&triangle, &n, &alpha, a, &lda, x, &one, &beta, y, &one);
}

template <class T>
void replace(const BlasFunctions<T>& with) {
    if (with.gemm) functions<T>.gemm = with.gemm;
    if (with.gemv) functions<T>.gemv = with.gemv;
    if (with.symv) functions<T>.symv = with.symv;
}

}  // namespace

void gemm(char a_op, char b_op, std::int64_t m, std::int64_t n, std::int64_t k, double alpha, const double* a, std::int64_t lda, const double* b,
          std::int64_t ldb, double beta, double* c, std::int64_t ldc) {
    any_gemm(a_op, b_op, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void gemm(char a_op, char b_op, std::int64_t m, std::int64_t n, std::int64_t k, float alpha, const float* a, std::int64_t lda, const float* b,
          std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
    any_gemm(a_op, b_op, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void gemv(char op, std::int64_t m, std::int64_t n, double alpha, const double* a, std::int64_t lda, const double* x, double beta, double* y) {
    any_gemv(op, m, n, alpha, a, lda, x, beta, y);
}
void gemv(char op, std::int64_t m, std::int64_t n, float alpha, const float* a, std::int64_t lda, const float* x, float beta, float* y) {
    any_gemv(op, m, n, alpha, a, lda, x, beta, y);
}
void symv(char triangle, std::int64_t n, double alpha, const double* a, std::int64_t lda, const double* x, double beta, double* y) {
    any_symv(triangle, n, alpha, a, lda, x, beta, y);
}
void symv(char triangle, std::int64_t n, float alpha, const float* a, std::int64_t lda, const float* x, float beta, float* y) {
    any_symv(triangle, n, alpha, a, lda, x, beta, y);
}

BlasThreadsOff::BlasThreadsOff() {
    const std::lock_guard<std::mutex> lock(threads_mutex());
    if (threads_users++ > 0 || !blas_threads_known()) return;
    threads_found = get_threads_();
    if (threads_found != 1) set_threads_(1);
}
BlasThreadsOff::~BlasThreadsOff() {
    const std::lock_guard<std::mutex> lock(threads_mutex());
    if (--threads_users == 0 && blas_threads_known() && threads_found != 1) set_threads_(threads_found);
}

bool blas_threads_known() { return set_threads_ && get_threads_; }
bool blas_is_external() { return external; }

void use_blas(const BlasFunctions<double>& d, const BlasFunctions<float>& s, void (*set_threads)(int), int (*get_threads)()) {
    const std::lock_guard<std::mutex> lock(threads_mutex());
    replace(d);
    replace(s);
    external = d.gemm != nullptr && s.gemm != nullptr;
    set_threads_ = set_threads;
    get_threads_ = get_threads;
}

}  // namespace nnqft
