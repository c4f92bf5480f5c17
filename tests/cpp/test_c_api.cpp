#include "nnqft.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.hpp"

namespace {

char message[128];

bool says(int code, int expected, const char* text) { return code == expected && std::strstr(message, text) != nullptr; }

std::vector<double> ones(std::int64_t n) { return std::vector<double>(static_cast<std::size_t>(n), 1.0); }

}  // namespace

TEST(all_ones_give_double_factorials_and_involutions) {
    double out[2];
    const auto K = ones(64), mu = ones(8);
    CHECK(nnqft_hafnian(8, K.data(), nullptr, nullptr, nullptr, out, message, sizeof message) == NNQFT_OK && out[0] == 105.0 && message[0] == '\0');
    CHECK(nnqft_hafnian(8, K.data(), mu.data(), nullptr, nullptr, out, nullptr, 0) == NNQFT_OK && out[0] == 764.0);
    const int32_t repeats[2] = {5, 3};
    CHECK(nnqft_hafnian(2, K.data(), nullptr, repeats, nullptr, out, nullptr, 0) == NNQFT_OK && out[0] == 105.0);
    const double i[2] = {0.0, 1.0};
    const int32_t four[1] = {4};
    CHECK(nnqft_hafnian_complex(1, i, nullptr, four, nullptr, out, nullptr, 0) == NNQFT_OK && out[0] == -3.0 && out[1] == 0.0);
}

TEST(batches_tensors_and_moments_of_ones) {
    const auto K = ones(9), mu = ones(3), F = ones(30), weights = ones(10);
    const std::vector<float> narrow(30, 1.0F);
    const int32_t index[2][4] = {{0, 1, 2, 0}, {2, 2, 2, 2}};
    double out[15];
    CHECK(nnqft_hafnian_batch(3, K.data(), mu.data(), 2, 4, index[0], nullptr, out, message, sizeof message) == NNQFT_OK);
    CHECK(out[0] == 10.0 && out[1] == 10.0);
    CHECK(nnqft_multiset_count(3, 4) == 15);
    CHECK(nnqft_wick_all(3, 4, K.data(), nullptr, nullptr, out, message, sizeof message) == NNQFT_OK);
    for (double x : out) CHECK(x == 3.0);
    CHECK(nnqft_moments(10, 3, F.data(), weights.data(), 4, nullptr, out, message, sizeof message) == NNQFT_OK);
    for (double x : out) CHECK(x == 1.0);
    CHECK(nnqft_moments_float(10, 3, narrow.data(), nullptr, 4, nullptr, out, message, sizeof message) == NNQFT_OK);
    for (double x : out) CHECK(x == 1.0);
}

TEST(bad_arguments_come_back_as_codes_and_messages) {
    double out[2];
    auto K = ones(9);
    const int32_t repeats[3] = {1, -1, 2}, index[2] = {0, 3};
    const nnqft_run many = {-1, 0, 0.0, nullptr, nullptr};
    CHECK(says(nnqft_hafnian(3, nullptr, nullptr, nullptr, nullptr, out, message, sizeof message), NNQFT_ARGUMENT_ERROR, "K is NULL"));
    CHECK(says(nnqft_hafnian(3, K.data(), nullptr, nullptr, nullptr, nullptr, message, sizeof message), NNQFT_ARGUMENT_ERROR, "out is NULL"));
    CHECK(says(nnqft_hafnian(3, K.data(), nullptr, repeats, nullptr, out, message, sizeof message), NNQFT_ARGUMENT_ERROR, "a repeat is -1"));
    CHECK(says(nnqft_hafnian(3, K.data(), nullptr, nullptr, &many, out, message, sizeof message), NNQFT_ARGUMENT_ERROR, "threads is -1"));
    CHECK(says(nnqft_hafnian_batch(3, K.data(), nullptr, 1, 2, index, nullptr, out, message, sizeof message), NNQFT_ARGUMENT_ERROR, "index[0, 1] is 3"));
    CHECK(says(nnqft_wick_all(3, 65, K.data(), nullptr, nullptr, out, message, sizeof message), NNQFT_ARGUMENT_ERROR, "order is 65"));
    K[5] = 2.0;
    CHECK(says(nnqft_wick_all(3, 2, K.data(), nullptr, nullptr, out, message, sizeof message), NNQFT_ARGUMENT_ERROR, "K[1, 2] = 2 but K[2, 1] = 1"));
    K[5] = std::numeric_limits<double>::infinity();
    CHECK(says(nnqft_moments(3, 3, K.data(), nullptr, 2, nullptr, out, message, sizeof message), NNQFT_ARGUMENT_ERROR, "sample 1 is not finite"));
    CHECK(says(nnqft_hafnian_complex(std::numeric_limits<std::int64_t>::max(), K.data(), nullptr, nullptr, nullptr, out, message, sizeof message),
               NNQFT_ARGUMENT_ERROR, "m is "));
    char small[4] = {'a', 'b', 'c', 'd'};
    CHECK(nnqft_hafnian(-1, nullptr, nullptr, nullptr, nullptr, nullptr, small, 3) == NNQFT_ARGUMENT_ERROR && std::memcmp(small, "m \0d", 4) == 0);
}

TEST(a_poll_that_gives_up_stops_the_work) {
    std::vector<double> K;
    for (int i = 0; i < 50 * 50; ++i) K.push_back(1.0 / (1 + i / 50 + i % 50));
    double out, share = -1.0;
    nnqft_run run = {2, 0, INFINITY, [](double done, void* context) { return *static_cast<double*>(context) = done, 1; }, &share};
    CHECK(says(nnqft_hafnian(50, K.data(), nullptr, nullptr, &run, &out, message, sizeof message), NNQFT_STOPPED, "gave up"));
    CHECK(share >= 0.0 && share < 1.0);
}

CHECK_MAIN()
