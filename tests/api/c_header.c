/* Calls every function of nnqft.h as a C program does; test_c_header.py compiles it, runs it and compares what it prints. */
#include <math.h>
#include <nnqft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) \
    if (!(condition)) { \
        fprintf(stderr, "line %d: %s\n%s\n", __LINE__, #condition, message); \
        return 1; \
    }

static char message[200];

static void print(const char* name, const double* x, int64_t count) {
    printf("%s", name);
    for (int64_t i = 0; i < count; ++i) printf(" %a", x[i]);
    printf("\n");
}

static int give_up(double share, void* context) {
    *(double*)context = share;
    return 1;
}

int main(void) {
    enum { M = 4, SAMPLES = 1000 };
    double K[M * M], complex_K[2 * M * M], mu[M], complex_mu[2 * M], F[SAMPLES * M], weights[SAMPLES];
    float narrow[SAMPLES * M];
    for (int i = 0; i < M; ++i) {
        mu[i] = complex_mu[2 * i] = 1.0 / (i + 3);
        complex_mu[2 * i + 1] = 0.5;
        for (int j = 0; j < M; ++j) {
            K[i * M + j] = complex_K[2 * (i * M + j)] = 1.0 / (i + j + 1);
            complex_K[2 * (i * M + j) + 1] = (i - j) * (i - j) / 8.0;
        }
    }
    for (int r = 0; r < SAMPLES * M; ++r) narrow[r] = (float)(F[r] = (r * 7 % 31 - 15) / 8.0);
    for (int r = 0; r < SAMPLES; ++r) weights[r] = 1 + r % 3;
    const int32_t repeats[M] = {3, 0, 2, 5}, index[2][6] = {{0, 1, 2, 3, 0, 0}, {3, 3, 2, 2, 1, 1}};

    CHECK(strcmp(nnqft_version(), NNQFT_VERSION) == 0 && nnqft_abi_version() == NNQFT_ABI_VERSION)

    double out[2], batch[2];
    CHECK(nnqft_hafnian(M, K, NULL, NULL, NULL, out, message, sizeof message) == NNQFT_OK && message[0] == '\0')
    print("hafnian", out, 1);
    CHECK(nnqft_hafnian(M, K, mu, repeats, NULL, out, NULL, 0) == NNQFT_OK)
    print("loop", out, 1);
    CHECK(nnqft_hafnian_complex(M, complex_K, complex_mu, repeats, NULL, out, NULL, 0) == NNQFT_OK)
    print("complex", out, 2);
    CHECK(nnqft_hafnian_batch(M, K, mu, 2, 6, index[0], NULL, batch, message, sizeof message) == NNQFT_OK)
    print("batch", batch, 2);

    const int64_t count = nnqft_multiset_count(M, 6);
    CHECK(count == 84 && nnqft_multiset_count(-1, 2) == -1 && nnqft_multiset_count(1 << 20, 60) == -1)
    double tensor[84];
    CHECK(nnqft_wick_all(M, 6, K, mu, NULL, tensor, message, sizeof message) == NNQFT_OK)
    print("wick_all", tensor, count);
    const nnqft_run two = {.threads = 2};
    CHECK(nnqft_moments(SAMPLES, M, F, weights, 4, &two, tensor, message, sizeof message) == NNQFT_OK)
    print("moments", tensor, nnqft_multiset_count(M, 4));
    double same[35];
    CHECK(nnqft_moments_float(SAMPLES, M, narrow, weights, 4, NULL, same, message, sizeof message) == NNQFT_OK)
    CHECK(memcmp(same, tensor, sizeof same) == 0)

    /* errors: a code, a message that ends where it must, and no crash */
    CHECK(nnqft_hafnian(M, NULL, NULL, NULL, NULL, out, message, sizeof message) == NNQFT_ARGUMENT_ERROR && strcmp(message, "K is NULL") == 0)
    CHECK(nnqft_hafnian(M, K, NULL, NULL, NULL, NULL, message, 8) == NNQFT_ARGUMENT_ERROR && strcmp(message, "out is ") == 0)
    K[1] += 1e-3;
    CHECK(nnqft_hafnian(M, K, NULL, NULL, NULL, out, message, sizeof message) == NNQFT_ARGUMENT_ERROR && strstr(message, "not symmetric"))
    K[1] = K[4] = NAN;
    CHECK(nnqft_wick_all(M, 2, K, NULL, NULL, tensor, message, sizeof message) == NNQFT_ARGUMENT_ERROR && strstr(message, "finite"))

    /* time: refused, and given up */
    double* large = malloc(sizeof(double) * 44 * 44);
    for (int i = 0; i < 44 * 44; ++i) large[i] = 1.0 / (i / 44 + i % 44 + 1);
    const nnqft_run hasty = {.max_seconds = 1e-3};
    CHECK(nnqft_hafnian(44, large, NULL, NULL, &hasty, out, message, sizeof message) == NNQFT_ARGUMENT_ERROR && strstr(message, "max_seconds"))
    double share = -1.0;
    const nnqft_run polled = {.threads = 1, .max_seconds = INFINITY, .poll = give_up, .context = &share};
    CHECK(nnqft_hafnian(44, large, NULL, NULL, &polled, out, message, sizeof message) == NNQFT_STOPPED && share >= 0.0 && share <= 1.0)
    free(large);
    return 0;
}
