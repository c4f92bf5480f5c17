// Exact sums against a slow model that counts bits one by one, and against themselves: order, split, merge, growth.
#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "core/exact_sum.hpp"
#include "core/isa.hpp"

using nnqft::ExactSums;

namespace {

using Row = std::vector<double>;
constexpr double kMax = std::numeric_limits<double>::max();
constexpr double kTiny = 0x1p-1074;  // the smallest subnormal
constexpr double kInf = std::numeric_limits<double>::infinity();

// The model: one counter per bit from 2^-1074 up. Signs of exact sums, and nothing else, decide every question.
class Bits {
public:
    void add(double x, int times = 1) {
        int exponent;
        const double fraction = std::frexp(x, &exponent);
        auto mantissa = static_cast<std::int64_t>(std::ldexp(std::fabs(fraction), 53));
        exponent -= 53;
        for (; exponent < -1074; ++exponent) mantissa /= 2;  // subnormals: these bits are zero
        for (int b = 0; b < 53; ++b)
            if (mantissa >> b & 1) count_[static_cast<std::size_t>(exponent + b + 1074)] += x < 0 ? -times : times;
    }
    int sign() const {
        bool zero = true;
        std::int64_t rest = 0;
        for (std::int64_t c : count_) {
            rest += c;
            zero &= rest % 2 == 0;
            rest = (rest - (rest & 1)) / 2;
        }
        return rest < 0 ? -1 : zero && rest == 0 ? 0 : 1;
    }
    // x is the nearest double, ties to even: 2 S lies between the sums of x with its two neighbours.
    bool rounds_to(double x) const {
        const double up = std::nextafter(x, kInf), down = std::nextafter(x, -kInf);
        if (!std::isfinite(up) || !std::isfinite(down)) return false;
        std::uint64_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        const bool even = bits % 2 == 0;
        const auto side = [&](double neighbour) {
            Bits twice;
            for (std::size_t i = 0; i < count_.size(); ++i) twice.count_[i] = 2 * count_[i];
            twice.add(x, -1);
            twice.add(neighbour, -1);
            return twice.sign();
        };
        const int above = side(up), below = side(down);
        return (above < 0 || (above == 0 && even)) && (below > 0 || (below == 0 && even));
    }

private:
    std::vector<std::int64_t> count_ = std::vector<std::int64_t>(2300);
};

std::vector<Row> random_rows(unsigned seed, std::size_t rows, std::size_t size, double decades) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> exponent(-decades, decades);
    std::vector<Row> result(rows, Row(size));
    for (Row& row : result)
        for (double& x : row) x = normal(engine) * std::pow(10.0, exponent(engine));
    return result;
}

ExactSums sum_of(const std::vector<Row>& rows, std::uint32_t max_weight = ExactSums::kMaxWeight) {
    ExactSums sums(rows.at(0).size(), max_weight);
    for (const Row& row : rows) CHECK(sums.add(row.data()));
    return sums;
}

bool same_bytes(ExactSums a, ExactSums b) {
    a.canonicalise();
    b.canonicalise();
    return a.size() == b.size() && a.base() == b.base() && a.planes() == b.planes() &&
           std::equal(a.data(), a.data() + a.planes() * a.size(), b.data());
}

Row rounded(const ExactSums& sums) {
    Row out(sums.size());
    sums.round(out.data());
    return out;
}

double sum(const Row& terms) {
    ExactSums one(1);
    for (double x : terms) CHECK(one.add(&x));
    return rounded(one)[0];
}

TEST(sums_of_doubles_of_every_size_round_as_the_bit_model_says) {
    std::mt19937_64 engine(1);
    for (int trial = 0; trial < 400; ++trial) {
        Bits model;
        ExactSums sums(1);
        // Bit patterns: every exponent, subnormals too, but the largest, whose sums are tested below.
        for (int i = 0; i < 1 + trial % 20; ++i) {
            std::uint64_t bits = engine();
            if ((bits >> 52 & 0x7ff) >= 0x7f0) bits &= ~(std::uint64_t{0x400} << 52);
            if (trial % 4 == 0) bits &= ~(std::uint64_t{0x7f8} << 52);  // crowd around the subnormals
            double x;
            std::memcpy(&x, &bits, sizeof x);
            model.add(x);
            CHECK(sums.add(&x));
        }
        CHECK(model.rounds_to(rounded(sums)[0]));
    }
}

TEST(sums_that_cancel_to_few_bits_round_as_the_bit_model_says) {
    std::mt19937_64 engine(2);
    for (int trial = 0; trial < 200; ++trial) {
        Bits model;
        ExactSums sums(1, 2 + static_cast<std::uint32_t>(trial % 3));
        double left = std::ldexp(static_cast<double>(engine() >> 11), static_cast<int>(engine() % 1900) - 1000);
        for (int i = 0; i < 30; ++i) {  // random terms, each followed by minus what has piled up
            const double term = i % 2 ? -left : left * std::ldexp(1.0 + 1e-3 * i, -static_cast<int>(engine() % 60));
            model.add(term);
            CHECK(sums.add(&term));
            left = rounded(sums)[0];
        }
        CHECK(model.rounds_to(left));
    }
}

TEST(a_large_term_that_cancels_leaves_the_small_one) {
    CHECK(sum({1e300, 1.0, -1e300}) == 1.0);
    CHECK(sum({1.0, 1e300, kTiny, -1e300, -1.0}) == kTiny);
    CHECK(sum({kMax, kMax, -kMax, -kMax, -3.0}) == -3.0);
}

TEST(subnormal_sums_are_exact) {
    CHECK(sum({kTiny, kTiny, kTiny}) == 3 * kTiny);
    CHECK(sum({0x1p-1022, -kTiny}) == 0x1p-1022 - kTiny);
    CHECK(sum({0x1p-1022 - kTiny, kTiny}) == 0x1p-1022);
    CHECK(sum({-0x1p-1022, 0x1p-1030}) == -0x1p-1022 + 0x1p-1030);
}

TEST(ties_go_to_even_and_anything_beyond_a_tie_does_not) {
    CHECK(sum({0x1p53, 1.0}) == 0x1p53);
    CHECK(sum({0x1p53, 3.0}) == 0x1p53 + 4.0);
    CHECK(sum({-0x1p53, -1.0}) == -0x1p53);
    CHECK(sum({0x1p53, 1.0, kTiny}) == 0x1p53 + 2.0);
    CHECK(sum({0x1p53, 3.0, -kTiny}) == 0x1p53 + 2.0);
    CHECK(sum({0x1p54 - 2.0, 1.0}) == 0x1p54);  // the mantissa overflows into the exponent
}

TEST(sums_beyond_the_largest_double_round_to_infinity) {
    const double half_ulp = 0x1p970;
    CHECK(sum({kMax, kMax}) == kInf);
    CHECK(sum({-kMax, -kMax}) == -kInf);
    CHECK(sum({kMax, half_ulp}) == kInf);  // the tie, and infinity is the even one
    CHECK(sum({kMax, half_ulp, -kTiny}) == kMax);
}

TEST(doubling_a_hundred_times_by_merging_with_itself_is_exact) {
    for (double x : {1.0 + 0x1p-52, -0x1.fffffffffffffp19, kTiny}) {  // few, most and no bits in the top plane
        ExactSums sums(1);
        CHECK(sums.add(&x));
        for (int i = 1; i <= 100; ++i) {
            sums.merge(sums);
            CHECK(rounded(sums)[0] == std::ldexp(x, i));
        }
    }
    ExactSums large(1);
    CHECK(large.add(&kMax));
    for (int i = 1; i <= 100; ++i) {
        large.merge(large);
        CHECK(rounded(large)[0] == kInf);
    }
}

TEST(the_order_of_the_rows_changes_no_byte) {
    std::vector<Row> rows = random_rows(3, 200, 7, 40);
    const ExactSums reference = sum_of(rows);
    std::mt19937_64 engine(4);
    for (int trial = 0; trial < 5; ++trial) {
        std::shuffle(rows.begin(), rows.end(), engine);
        CHECK(same_bytes(sum_of(rows), reference));
    }
}

TEST(every_split_and_every_order_of_merging_gives_the_same_bytes) {
    const std::vector<Row> rows = random_rows(5, 120, 5, 60);
    const ExactSums reference = sum_of(rows);
    std::mt19937_64 engine(6);
    for (std::size_t parts : {2u, 3u, 64u}) {
        std::vector<ExactSums> part(parts, ExactSums(5));
        for (const Row& row : rows) CHECK(part[engine() % parts].add(row.data()));
        while (part.size() > 1) {  // merge a random pair, sometimes after canonicalising one of them
            std::swap(part[engine() % part.size()], part.back());
            const ExactSums last = part.back();
            part.pop_back();
            ExactSums& into = part[engine() % part.size()];
            if (engine() % 2) into.canonicalise();
            into.merge(last);
        }
        CHECK(same_bytes(part[0], reference));
    }
}

TEST(carries_come_in_time_and_change_no_byte) {
    const std::vector<Row> rows = random_rows(7, 3000, 3, 5);
    const ExactSums reference = sum_of(rows);
    for (std::uint32_t max_weight : {2u, 3u, 100u}) {
        const ExactSums sums = sum_of(rows, max_weight);
        ExactSums merged(3, max_weight);
        for (int i = 0; i < 3; ++i) merged.merge(sums);
        for (const ExactSums* s : {&sums, static_cast<const ExactSums*>(&merged)})
            for (std::size_t i = 0; i < s->planes() * 3; ++i) CHECK(std::llabs(s->data()[i]) < max_weight * (1LL << 32));
        CHECK(same_bytes(sums, reference));
    }
}

TEST(a_carry_beyond_the_top_plane_opens_a_new_one) {
    ExactSums sums(2, 2);
    const double row[] = {kMax, -0x1.fffffffffffffp31};
    const int n = 100000;
    for (int i = 0; i < n; ++i) CHECK(sums.add(row));
    CHECK(rounded(sums)[0] == kInf);
    CHECK(rounded(sums)[1] == -0x1.fffffffffffffp31 * n);
    const double back[] = {-kMax, 0.0};
    for (int i = 1; i < n; ++i) CHECK(sums.add(back));
    CHECK(rounded(sums)[0] == kMax);
}

TEST(the_window_grows_at_both_ends_and_shrinks_when_it_may) {
    ExactSums sums(1);
    double x = 1.0;
    CHECK(sums.add(&x));
    const std::size_t small = sums.bytes();
    CHECK(sums.add(&(x = 1e-300)) && sums.add(&(x = 1e300)));
    CHECK(sums.bytes() > small && sums.base() <= -32 && sums.planes() >= 62);
    CHECK(sums.add(&(x = -1e-300)) && sums.add(&(x = -1e300)));
    sums.canonicalise();
    CHECK(sums.base() == 0 && sums.planes() == 1 && sums.data()[0] == 1);
}

TEST(sums_with_disjoint_windows_merge) {
    const double high = 1e200, low = 1e-200;
    ExactSums a(1), b(1);
    CHECK(a.add(&high) && b.add(&low));
    ExactSums ab = a, ba = b;
    ab.merge(b);
    ba.merge(a);
    CHECK(same_bytes(ab, ba));
    CHECK(rounded(ab)[0] == 1e200);
    const double minus = -1e200;
    CHECK(ab.add(&minus) && rounded(ab)[0] == 1e-200);
}

TEST(canonical_limbs_are_the_twos_complement_digits_of_the_sums) {
    ExactSums sums(2);
    const double row[] = {-1.0, 0x1p31};
    CHECK(sums.add(row));
    sums.canonicalise();
    CHECK(sums.base() == 0 && sums.planes() == 2);
    CHECK(sums.data()[0] == 0xffffffff && sums.data()[2] == -1);  // -1 = 0xffffffff - 2^32
    CHECK(sums.data()[1] == 0x80000000 && sums.data()[3] == 0);   // 2^31 needs the second plane for its sign
}

TEST(sums_that_come_back_to_zero_leave_no_plane) {
    ExactSums sums(2);
    const double row[] = {1e100, -1e-100}, back[] = {-1e100, 1e-100};
    CHECK(sums.add(row) && sums.add(back));
    sums.canonicalise();
    CHECK(sums.base() == 0 && sums.planes() == 0);
    CHECK(rounded(sums) == Row({0.0, 0.0}));
    CHECK(sums.add(row) && rounded(sums)[1] == -1e-100);
}

TEST(zeros_of_either_sign_change_nothing_and_sum_to_plus_zero) {
    ExactSums sums(2);
    const double zeros[] = {-0.0, 0.0}, row[] = {1e200, -0.0};
    CHECK(sums.add(zeros) && sums.planes() == 0);
    CHECK(!std::signbit(rounded(sums)[0]));
    CHECK(sums.add(row) && sums.add(zeros) && sums.planes() <= 3);
    CHECK(rounded(sums)[0] == 1e200 && rounded(sums)[1] == 0.0 && !std::signbit(rounded(sums)[1]));
}

TEST(a_row_with_a_value_that_is_not_finite_is_refused_and_changes_nothing) {
    const std::vector<Row> rows = random_rows(8, 10, 4, 3);
    ExactSums sums = sum_of(rows);
    const ExactSums before = sums;
    for (double bad : {kInf, -kInf, std::nan(""), -std::nan("")})
        for (std::size_t i = 0; i < 4; ++i) {
            Row row(4, 1e300);
            row[i] = bad;
            CHECK(!sums.add(row.data()));
        }
    CHECK(sums.planes() == before.planes() && same_bytes(sums, before));
}

TEST(rounding_mode_does_not_change_a_byte) {
    const std::vector<Row> rows = random_rows(9, 50, 3, 100);
    const ExactSums reference = sum_of(rows);
    const Row expected = rounded(reference);
    for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        std::fesetround(mode);
        const ExactSums sums = sum_of(rows);
        const Row out = rounded(sums);
        std::fesetround(FE_TONEAREST);
        CHECK(same_bytes(sums, reference) && out == expected);
    }
}

TEST(saved_sums_come_back_and_go_on) {
    const std::vector<Row> rows = random_rows(10, 40, 6, 30);
    ExactSums half = sum_of({rows.begin(), rows.begin() + 20});
    half.canonicalise();
    ExactSums restored = ExactSums::restore(half.size(), half.base(), half.planes(), half.data());
    CHECK(same_bytes(restored, half));
    for (std::size_t i = 20; i < 40; ++i) CHECK(restored.add(rows[i].data()));
    CHECK(same_bytes(restored, sum_of(rows)));
    CHECK(same_bytes(ExactSums::restore(3, 0, 0, nullptr), ExactSums(3)));
}

TEST(damaged_saved_sums_are_refused) {
    using nnqft::StateError;
    const std::int64_t limbs[] = {5, 1LL << 32, 0, 1};
    CHECK_THROWS(StateError, "limb 0 of sum 1 is 4294967296, expected 0 .. 4294967295", ExactSums::restore(2, 0, 2, limbs));
    CHECK_THROWS(StateError, "limb 0 of sum 1 is 4294967296, expected -2147483648", ExactSums::restore(2, 0, 1, limbs));
    const std::int64_t negative[] = {-1, 1};
    CHECK_THROWS(StateError, "limb 0 of sum 0 is -1", ExactSums::restore(1, 0, 2, negative));
    const std::int64_t loose_top[] = {1, 0}, loose_bottom[] = {0, 1};
    CHECK_THROWS(StateError, "a plane that no sum needs", ExactSums::restore(1, 0, 2, loose_top));
    CHECK_THROWS(StateError, "a plane that no sum needs", ExactSums::restore(1, 0, 2, loose_bottom));
    CHECK_THROWS(StateError, "base -35 with 1 planes", ExactSums::restore(1, -35, 1, loose_top));
    CHECK_THROWS(StateError, "base 30 with 8 planes", ExactSums::restore(1, 30, 8, loose_top));
    CHECK_THROWS(StateError, "base 3 and 0 planes, expected 0 and 0", ExactSums::restore(1, 3, 0, nullptr));
}

TEST(sizes_that_differ_or_do_not_fit_are_refused) {
    ExactSums two(2);
    CHECK_THROWS(nnqft::ShapeError, "got 3 sums, expected 2", two.merge(ExactSums(3)));
    CHECK_THROWS(nnqft::ArgumentError, "do not fit", ExactSums(std::size_t{1} << 60));
    CHECK_THROWS(nnqft::ArgumentError, "max_weight is 1", ExactSums(1, 1));
}

TEST(no_sums_at_all_are_fine) {
    ExactSums none(0);
    CHECK(none.add(nullptr));
    none.merge(ExactSums(0));
    none.canonicalise();
    none.round(nullptr);
    CHECK(none.planes() == 0);
}

TEST(a_sum_that_is_no_double_leaves_the_others_exact_wherever_it_stands) {
    const std::size_t size = 1100;  // two whole steps of the kernel that looks for such sums, and a part
    for (std::size_t odd : {std::size_t{0}, std::size_t{511}, std::size_t{512}, size - 1}) {
        ExactSums sums(size);
        Row row(size, 0.1), last(size, -0.2);
        CHECK(sums.add(row.data()) && sums.add(row.data()));  // 0.2, a double
        last[odd] = 0x1p-60;
        CHECK(sums.add(last.data()));
        Row expected(size);
        expected[odd] = 0.2;  // 2^-60 is below half of its last bit
        CHECK(rounded(sums) == expected);
        last.assign(size, 0.0);
        last[odd] = -0.2;
        expected[odd] = 0x1p-60;
        CHECK(sums.add(last.data()));
        CHECK(rounded(sums) == expected);
    }
}

TEST(sums_that_are_doubles_take_one_double_each) {
    const Row row(1000, 3.0);
    ExactSums sums(row.size()), other = sums;
    for (int i = 0; i < 1000; ++i) CHECK((i % 3 ? sums : other).add(row.data()));
    sums.merge(other);
    CHECK(sums.bytes() < 10 * row.size());
    CHECK(rounded(sums) == Row(1000, 3000.0));
}

TEST(every_instruction_set_leaves_the_same_limbs) {
    for (std::size_t size = 1; size <= 40; ++size) {
        std::vector<Row> rows = random_rows(static_cast<unsigned>(size), 20, size, 300.0);
        for (Row& row : random_rows(7, 20, size, 4.0)) rows.push_back(row);
        for (std::size_t i = 0; i < size; ++i) rows[i % 20][i] = std::vector<double>{0.0, -0.0, kTiny, -kTiny, kMax, -kMax, -3 * kTiny}[i % 7];
        const char* before = std::getenv("NNQFT_ISA");
        const std::string kept = before != nullptr ? before : "";
        std::vector<std::int64_t> limbs;
        for (const nnqft::Isa isa : nnqft::available_isas()) {
            setenv("NNQFT_ISA", nnqft::isa_name(isa), 1);
            ExactSums sums(size);
            for (const Row& row : rows) CHECK(sums.add(row.data()));
            Row bad = rows[0];
            bad[size - 1] = kInf;
            CHECK(!sums.add(bad.data()));
            sums.canonicalise();
            const std::vector<std::int64_t> got(sums.data(), sums.data() + sums.planes() * size);
            if (limbs.empty()) limbs = got;
            CHECK(got == limbs);
        }
        if (before != nullptr) setenv("NNQFT_ISA", kept.c_str(), 1);
        else unsetenv("NNQFT_ISA");
    }
}

}  // namespace

CHECK_MAIN()
