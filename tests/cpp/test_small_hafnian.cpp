// Hafnians of up to 12 points alone: exact integers, entries of any scale, derivatives, and one set of bits on every instruction set.
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "core/isa.hpp"
#include "wick/small.hpp"

using namespace nnqft;

namespace {

using Complex = std::complex<double>;
using Matrix = std::vector<double>;

const double kNaN = std::numeric_limits<double>::quiet_NaN();

// Symmetric, with whole numbers up to 5; the part below the diagonal and the diagonal must not be read.
Matrix integers(int n, std::int64_t stride, unsigned seed) {
    std::mt19937 engine(seed);
    Matrix K(static_cast<std::size_t>(n * stride), kNaN);
    for (int i = 0; i < n; ++i) {
        for (int j = i + 1; j < n; ++j) K[static_cast<std::size_t>(i * stride + j)] = static_cast<double>(engine() % 11) - 5.0;
    }
    return K;
}
std::vector<double> vector_of_integers(int n, unsigned seed) {
    std::mt19937 engine(seed);
    std::vector<double> mu(static_cast<std::size_t>(n));
    for (double& x : mu) x = static_cast<double>(engine() % 7) - 3.0;
    return mu;
}

// By definition, of the points in `left`.
template <class T>
T expand(const T* K, std::int64_t stride, const T* mu, std::vector<int> left) {
    if (left.empty()) return T(1);
    const int i = left[0];
    left.erase(left.begin());
    T sum = mu ? mu[i] * expand(K, stride, mu, left) : T(0);
    for (std::size_t k = 0; k < left.size(); ++k) {
        std::vector<int> rest = left;
        rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(k));
        sum += K[i * stride + left[k]] * expand(K, stride, mu, rest);
    }
    return sum;
}
std::vector<int> points(int n) {
    std::vector<int> all;
    for (int i = 0; i < n; ++i) all.push_back(i);
    return all;
}

std::vector<SmallKernels> every_instruction_set() {
    std::vector<SmallKernels> all{scalar::small_kernels()};
#if defined(__x86_64__)
    for (const Isa isa : available_isas()) {
        if (isa == Isa::avx2) all.push_back(avx2::small_kernels());
        if (isa == Isa::avx512) all.push_back(avx512::small_kernels());
    }
#endif
    return all;
}

TEST(integers_come_out_exact_and_only_the_upper_triangle_is_read) {
    for (int n = 0; n <= 10; ++n) {
        const std::int64_t stride = n + 3;
        const Matrix K = integers(n, stride, 7);
        const std::vector<double> mu = vector_of_integers(n, 8);
        CHECK(small_hafnian(n, K.data(), stride, nullptr) == expand<double>(K.data(), stride, nullptr, points(n)));
        CHECK(small_hafnian(n, K.data(), stride, mu.data()) == (n ? expand<double>(K.data(), stride, mu.data(), points(n)) : 1.0));
    }
    const Matrix ones(144, 1.0);
    CHECK(small_hafnian(12, ones.data(), 12, nullptr) == 10395.0);
    CHECK(small_hafnian(12, ones.data(), 12, ones.data()) == 140152.0);  // involutions of 12 letters
}

TEST(gaussian_integers_come_out_exact_and_real_ones_have_the_bits_of_doubles) {
    std::mt19937 engine(3);
    std::uniform_real_distribution<double> uniform(-1.0, 1.0);
    for (int n = 1; n <= 9; ++n) {
        const Matrix re = integers(n, n, 1), im = integers(n, n, 2);
        std::vector<Complex> K(re.size()), mu;
        for (std::size_t i = 0; i < K.size(); ++i) K[i] = {re[i], im[i]};
        for (int i = 0; i < n; ++i) mu.emplace_back(i % 3 - 1.0, i % 2);
        CHECK(small_hafnian_complex(n, K.data(), n, nullptr) == expand<Complex>(K.data(), n, nullptr, points(n)));
        CHECK(small_hafnian_complex(n, K.data(), n, mu.data()) == expand<Complex>(K.data(), n, mu.data(), points(n)));

        Matrix x(re.size());
        std::vector<double> m(mu.size());
        for (double& entry : x) entry = uniform(engine);
        for (double& entry : m) entry = uniform(engine);
        const std::vector<Complex> z(x.begin(), x.end()), zm(m.begin(), m.end());
        CHECK(small_hafnian_complex(n, z.data(), n, zm.data()) == small_hafnian(n, x.data(), n, m.data()));
        CHECK(small_hafnian_complex(n, z.data(), n, nullptr) == small_hafnian(n, x.data(), n, nullptr));
    }
}

TEST(entries_of_any_scale_give_the_right_number) {
    std::mt19937 engine(5);
    std::uniform_real_distribution<double> uniform(0.5, 1.0);
    for (int n = 2; n <= 12; ++n) {
        const auto size = static_cast<std::size_t>(n);
        Matrix K(size * size), stretched(size * size);
        std::vector<double> mu(size), stretched_mu(size);
        std::vector<int> power(size);  // their sum is 0
        for (std::size_t i = 0; i + 1 < size; i += 2) {
            power[i] = 100 * static_cast<int>(i % 10);
            power[i + 1] = -power[i];
        }
        for (std::size_t i = 0; i < size; ++i) {
            stretched_mu[i] = std::ldexp(mu[i] = uniform(engine), power[i] / 2);
            for (std::size_t j = i + 1; j < size; ++j) stretched[i * size + j] = std::ldexp(K[i * size + j] = uniform(engine), power[i] / 2 + power[j] / 2);
        }
        CHECK(small_hafnian(n, stretched.data(), n, nullptr) == small_hafnian(n, K.data(), n, nullptr));
        CHECK(small_hafnian(n, stretched.data(), n, stretched_mu.data()) == small_hafnian(n, K.data(), n, mu.data()));

        for (const int s : {-500, -150, 150, 450}) {  // n s / 2 places in all, which a double may have or not
            Matrix scaled = K;
            for (double& x : scaled) x = std::ldexp(x, s);
            const double want = std::ldexp(small_hafnian(n, K.data(), n, nullptr), n * s / 2);
            CHECK(n % 2 || small_hafnian(n, scaled.data(), n, nullptr) == want);
            const std::vector<Complex> complex(scaled.begin(), scaled.end());
            CHECK(n % 2 || small_hafnian_complex(n, complex.data(), n, nullptr) == want);
        }
    }
}

TEST(numbers_that_are_not_finite_are_not_hidden) {
    Matrix K(36, 1.0);
    K[0 * 6 + 5] = kNaN;
    CHECK(std::isnan(small_hafnian(6, K.data(), 6, nullptr)));
    K[0 * 6 + 5] = INFINITY;
    CHECK(std::isnan(small_hafnian(6, K.data(), 6, nullptr)));
}

TEST(derivatives_are_hafnians_without_the_points) {
    for (int n = 0; n <= 10; ++n) {
        for (const bool mean : {false, true}) {
            const auto size = static_cast<std::size_t>(n);
            const Matrix K = integers(n, n, 4);
            const std::vector<double> mu = vector_of_integers(n, 5);
            const double* m = mean ? mu.data() : nullptr;
            Matrix K_bar(size * size + 1, kNaN);
            std::vector<double> mu_bar(size + 1, kNaN);
            small_hafnian_derivative(n, K.data(), n, m, K_bar.data(), mu_bar.data());
            const auto without = [&](int a, int b) {
                std::vector<int> left;
                for (int k = 0; k < n; ++k) {
                    if (k != a && k != b) left.push_back(k);
                }
                return expand(K.data(), n, m, left);
            };
            const auto at = [&](int i, int j) { return K_bar[static_cast<std::size_t>(i * n + j)]; };
            for (int i = 0; i < n; ++i) {
                CHECK(at(i, i) == 0.0);
                for (int j = i + 1; j < n; ++j) CHECK(2.0 * at(i, j) == without(i, j) && at(i, j) == at(j, i));
                CHECK(!mean || mu_bar[static_cast<std::size_t>(i)] == without(i, i));
            }
        }
    }
}

TEST(every_instruction_set_gives_the_same_bits) {
    std::mt19937 engine(11);
    std::uniform_real_distribution<double> uniform(-1.0, 1.0);
    constexpr std::int32_t m = 9;
    Matrix K(m * m), mu(m);
    for (int i = 0; i < m; ++i) {
        mu[static_cast<std::size_t>(i)] = uniform(engine);
        for (int j = 0; j <= i; ++j) K[static_cast<std::size_t>(i * m + j)] = K[static_cast<std::size_t>(j * m + i)] = uniform(engine);
    }
    for (int n = 1; n <= kSmallPoints; ++n) {
        for (int mean = 0; mean < 2; ++mean) {
            constexpr int kGroups = 3;
            std::vector<std::int32_t> tuples(static_cast<std::size_t>(kGroups * kLanes * n));
            for (std::int32_t& i : tuples) i = static_cast<std::int32_t>(engine() % m);
            const int pairs = pair_count(n), inputs = pairs + mean * n;
            Matrix first;
            for (const SmallKernels& kernels : every_instruction_set()) {
                CHECK((kernels.value[n][mean] != nullptr) == (mean || n % 2 == 0));
                if (!kernels.value[n][mean]) continue;
                SmallPanel panel, bar;
                Matrix out(kGroups * kLanes + kLanes);
                kernels.index_value[n][mean](K.data(), mu.data(), m, tuples.data(), kGroups, out.data());
                kernels.index_panel[n][mean](K.data(), mu.data(), m, tuples.data(), 1, panel.at);
                kernels.value[n][mean](panel.at, out.data() + kGroups * kLanes);
                CHECK(std::memcmp(out.data(), out.data() + kGroups * kLanes, kLanes * sizeof(double)) == 0);
                kernels.derivative[n][mean](panel.at, bar.at);
                out.insert(out.end(), panel.at, panel.at + inputs * kLanes);
                out.insert(out.end(), bar.at, bar.at + inputs * kLanes);
                SmallRange range;
                kernels.range(panel.at, inputs, &range);
                out.insert(out.end(), range.least, range.least + kLanes);
                out.insert(out.end(), range.most, range.most + kLanes);
                if (first.empty()) first = out;
                CHECK(first.size() == out.size() && std::memcmp(first.data(), out.data(), out.size() * sizeof(double)) == 0);
            }
        }
    }
}

TEST(packing_moves_every_entry_to_its_place_on_every_instruction_set) {
    for (const SmallKernels& kernels : every_instruction_set()) {
        for (const int count : {1, 3, 4, 7, 8, 9, 16, 66, 144}) {
            std::vector<Matrix> arrays(kLanes, Matrix(static_cast<std::size_t>(count)));  // sanitizers watch their ends
            const double* from[kLanes];
            std::vector<short> place(static_cast<std::size_t>(count));
            for (int k = 0; k < count; ++k) place[static_cast<std::size_t>(k)] = static_cast<short>(k % 5 == 2 ? -1 : count - 1 - k);
            for (int lane = 0; lane < kLanes; ++lane) {
                from[lane] = arrays[static_cast<std::size_t>(lane)].data();
                for (int k = 0; k < count; ++k) arrays[static_cast<std::size_t>(lane)][static_cast<std::size_t>(k)] = 1000.0 * lane + k;
            }
            Matrix to(static_cast<std::size_t>(count * kLanes), -1.0);
            kernels.transpose(from, count, place.data(), to.data());
            for (int k = 0; k < count; ++k) {
                for (int lane = 0; lane < kLanes; ++lane) {
                    const double got = to[static_cast<std::size_t>((count - 1 - k) * kLanes + lane)];
                    CHECK(got == (k % 5 == 2 ? -1.0 : 1000.0 * lane + k));
                }
            }
        }
    }
}

TEST(indices_out_of_range_are_seen_at_every_place) {
    for (const SmallKernels& kernels : every_instruction_set()) {
        for (const std::size_t count : {1u, 7u, 16u, 40u}) {
            for (std::size_t bad = 0; bad <= count; ++bad) {  // count: none
                for (const std::int64_t value : {std::int64_t{-1}, std::int64_t{5}, std::int64_t{1} << 32, std::numeric_limits<std::int64_t>::min()}) {
                    std::vector<std::int64_t> wide(count, 4);
                    if (bad < count) wide[bad] = value;
                    std::vector<std::int32_t> out(count), narrow(wide.begin(), wide.end());
                    CHECK(kernels.narrow64(wide.data(), static_cast<std::int64_t>(count), 5, out.data()) == (bad == count));
                    CHECK(out == narrow);
                    if (narrow[bad % count] == wide[bad % count]) CHECK(kernels.narrow32(narrow.data(), static_cast<std::int64_t>(count), 5, out.data()) == (bad == count));
                }
            }
        }
    }
}

}  // namespace

CHECK_MAIN()
