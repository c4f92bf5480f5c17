#include "wick/box.hpp"

#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "core/isa.hpp"
#include "wick/hafnian.hpp"

using namespace nnqft;

namespace {

// Small integers, so that every sum is exact; of complex numbers the real and imaginary parts.
std::vector<double> symmetric(std::int64_t n, int parts) {
    std::vector<double> A;
    for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
            for (int part = 0; part < parts; ++part) A.push_back(static_cast<double>((3 * i * j + i + j + 5 * part) % 7 - 3));
        }
    }
    return A;
}

}  // namespace

TEST(every_entry_is_the_hafnian_of_its_repeats_and_nothing_else_is_written) {
    constexpr std::size_t kMargin = 8;
    for (int parts : {1, 2}) {
        for (std::int64_t n = 0; n <= 4; ++n) {
            for (std::int64_t cutoff = 1; cutoff <= 4; ++cutoff) {
                for (bool mean : {false, true}) {
                    const std::vector<double> A = symmetric(n, parts), mu = symmetric(n, parts);  // its first row
                    std::int64_t count = 1;
                    for (std::int64_t i = 0; i < n; ++i) count *= cutoff;
                    const auto size = static_cast<std::size_t>(count * parts);
                    std::vector<double> buffer(size + 2 * kMargin, 123.0);
                    double* const out = buffer.data() + kMargin;
                    hafnian_box({n, cutoff, A.data(), mean ? mu.data() : nullptr, parts == 2, false}, out, {});
                    for (std::size_t i = 0; i < kMargin; ++i) CHECK(buffer[i] == 123.0 && buffer[kMargin + size + i] == 123.0);
                    std::vector<std::int32_t> k(static_cast<std::size_t>(n), 0);
                    for (std::int64_t at = 0; at < count; ++at) {
                        std::int64_t rest = at;
                        for (std::size_t i = k.size(); i-- > 0; rest /= cutoff) k[i] = static_cast<std::int32_t>(rest % cutoff);
                        const std::complex<double> exact = hafnian({n, parts == 2, A.data(), mean ? mu.data() : nullptr, k.data()}, Isa::scalar, 1, {}).value;
                        CHECK(out[at * parts] == exact.real() && (parts == 1 || out[at * parts + 1] == exact.imag()));
                    }
                }
            }
        }
    }
}

TEST(the_norm_divides_by_the_root_of_the_factorials) {
    const std::vector<double> A = symmetric(2, 1), mu = {1.0, -2.0};
    std::vector<double> plain(36), normed(36);
    hafnian_box({2, 6, A.data(), mu.data(), false, false}, plain.data(), {});
    hafnian_box({2, 6, A.data(), mu.data(), false, true}, normed.data(), {});
    for (int i = 0; i < 36; ++i) {
        const double norm = std::sqrt(std::tgamma(i / 6 + 1.0) * std::tgamma(i % 6 + 1.0));
        CHECK_NEAR(normed[static_cast<std::size_t>(i)], plain[static_cast<std::size_t>(i)] / norm, 1e-14 * 1e5 / norm);  // terms reach 1e5
    }
}

TEST(long_work_asks_whether_to_go_on) {
    const std::vector<double> A = symmetric(7, 2);
    std::vector<double> out(20'000'000);
    struct Enough {};
    int asked = 0;
    try {
        hafnian_box({7, 10, A.data(), A.data(), true, true}, out.data(), [&] {  // half a second
            ++asked;
            throw Enough{};
        });
    } catch (const Enough&) {
    }
    CHECK(asked == 1);
}

CHECK_MAIN()
