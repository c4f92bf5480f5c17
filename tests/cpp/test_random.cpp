// Random words and numbers, one lane (the code that a CUDA thread runs) and every instruction set of this machine.
// Built without -mfma: madd is then the emulation. Maths is swept over a lattice of words; `--all` takes all 2^32
// (about 20 minutes; with -mfma 4). The bounds are the worst errors over all of them, rounded up.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "check.hpp"
#include "core/normal.hpp"
#include "core/philox.hpp"
#include "random_tools.hpp"

namespace {

using random_unit::Unit;
using random_unit::units;
using random_unit::Words;

bool sweep_all = false;
constexpr uint64_t kWords = uint64_t{1} << 32;

// Errors in units of the last place of a float with the size of `want`.
double ulps(float got, double want) {
    int exponent;
    std::frexp(want, &exponent);
    return std::fabs(static_cast<double>(got) - want) / std::ldexp(1.0, std::max(exponent, -125) - 24);
}

bool same(float a, float b) { return nnqft::bits(a) == nnqft::bits(b) || (std::isnan(a) && std::isnan(b)); }

// Calls f(k) on a lattice of words and on 2^16 words on either side of every multiple of 2^29, where branches meet.
template <class Body>
void for_words(const Body& f) {
    const uint64_t stride = sweep_all ? 1 : 1021;
    for (uint64_t k = 0; k < kWords; k += stride) f(static_cast<uint32_t>(k));
    for (uint32_t edge = 0; edge < 8; ++edge)
        for (uint32_t i = 0; i < 1u << 17; ++i) f((edge << 29) + i - (1u << 16));
}

}  // namespace

// Random123's kat_vectors: zeros, ones, digits of pi.
TEST(philox_gives_the_published_known_answers) {
    const struct {
        uint32_t counter[4];
        uint64_t key;
        uint32_t answer[4];
    } known[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822u, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (const auto& k : known) {
        uint32_t out[4];
        nnqft::philox(k.counter, k.key, out);
        CHECK(std::equal(out, out + 4, k.answer));
    }
}

TEST(sixteen_nets_get_the_words_of_the_documented_address_on_every_instruction_set) {
    Words word;
    for (int trial = 0; trial < 2000; ++trial) {
        const uint64_t seed = word.wide(), first_net = word.wide() >> 16 & ~uint64_t{15};
        const uint32_t tensor = word() >> 16, group = word(), column = word();
        uint32_t want[4][16], one_lane[4];
        for (uint32_t l = 0; l < 16; ++l) {
            const uint64_t net = first_net + l;
            const uint32_t counter[4] = {column, group, static_cast<uint32_t>(net), static_cast<uint32_t>(net >> 32) + (tensor << 16)};
            uint32_t out[4];
            nnqft::philox(counter, seed, out);
            for (int i = 0; i < 4; ++i) want[i][l] = out[i];
            nnqft::philox_nets<float>(nnqft::net_lanes<float>(static_cast<uint32_t>(net), net), nnqft::philox_key(seed), tensor, group,
                                      column, one_lane);
            CHECK(std::equal(out, out + 4, one_lane));
        }
        for (const Unit* unit : units()) {
            uint32_t got[4][16];
            unit->words(seed, tensor, first_net, group, column, got[0]);
            CHECK(std::equal(got[0], got[0] + 64, want[0]));
        }
    }
}

TEST(every_law_has_the_same_bits_on_every_instruction_set) {
    using namespace random_unit;
    const float nus[] = {0.3f, 1.0f, 3.0f, 10.0f, 1e6f, std::numeric_limits<float>::infinity()};
    Words word;
    for (int trial = 0; trial < 20000; ++trial) {
        uint32_t k0[16], k1[16];
        float want[n_laws][16];
        const float sigma = 0.37f, nu = nus[trial % 6];
        for (int l = 0; l < 16; ++l) {
            k0[l] = trial % 3 ? word() : word() >> (word() & 31);
            k1[l] = word();
            want[log_u][l] = nnqft::minus_two_log<float>(k0[l]);
            nnqft::circle_point(k1[l], want[cosine][l], want[sine][l]);
            nnqft::normal_pair(k0[l], k1[l], sigma, want[normal_0][l], want[normal_1][l]);
            want[uniform][l] = nnqft::uniform_symmetric(k0[l], sigma);
            want[sign][l] = nnqft::random_sign(k0[l], sigma);
            want[student][l] = nnqft::student_t(k0[l], k1[l], nu, sigma);
            want[exp_m1][l] = nnqft::exp_minus_one(nnqft::as_float(k0[l]));
        }
        for (const Unit* unit : units()) {
            float got[n_laws][16];
            unit->laws(k0, k1, sigma, nu, got[0]);
            CHECK(std::equal(got[0], got[0] + n_laws * 16, want[0], same));
        }
    }
}

// FNV-1a over the bits of 2^16 draws of every law: results stored by one release can be repeated by the next.
TEST(draws_keep_their_bits_for_ever) {
    uint64_t hash = 0xcbf29ce484222325u;
    const auto add = [&](float x) { hash = (hash ^ nnqft::bits(x)) * 0x100000001b3u; };
    Words word;
    for (int i = 0; i < 1 << 16; ++i) {
        const uint32_t k0 = word(), k1 = word();
        float z0, z1;
        nnqft::normal_pair(k0, k1, 0.37f, z0, z1);
        add(z0);
        add(z1);
        add(nnqft::uniform_symmetric(k0, 0.37f));
        add(nnqft::random_sign(k0, 0.37f));
        add(nnqft::student_t(k0, k1, 3.5f, 0.37f));
    }
    CHECK(hash == 0x3d272065bd696b78u);
}

// Three families of a, b, c, where one rounding and two would differ:
//   any bits, subnormals, infinities and NaN among them; c next to -a b, so that the sum cancels;
//   a b a hair below half an ulp of c, too little for a double: c + a b looks like a tie, and is none.
TEST(emulated_madd_rounds_once_like_the_hardware) {
    Words word;
    const auto list = units();
    for (int trial = 0; trial < 640000; ++trial) {
        float a[16], b[16], c[16], want[16], got[16];
        for (int l = 0; l < 16; ++l) {
            a[l] = nnqft::as_float(word());
            b[l] = nnqft::as_float(word());
            c[l] = nnqft::as_float(word());
            if (trial % 3 == 1) c[l] = -nnqft::as_float(nnqft::bits(a[l] * b[l]) + ((word() & 7u) << (word() & 15u)));
            if (trial % 3 == 2) {
                const uint32_t w = word();
                const float hair = std::ldexp(static_cast<float>(w & 255u), -23);
                const int exponent = static_cast<int>(w >> 8 & 255u) - 149;
                // 2^exponent <= |c| < 2^(exponent + 1), or c is subnormal and its ulp 2^-149.
                c[l] = std::ldexp(nnqft::as_float((w & 0x80000000u) | 0x3f800000u | (nnqft::bits(c[l]) & 0x7fffffu)), exponent);
                const int half_ulp = std::max(exponent - 24, -150);
                a[l] = std::ldexp(1.0f + hair, half_ulp / 2);
                b[l] = std::ldexp(w & 0x40000000u ? hair - 1.0f : 1.0f - hair, half_ulp - half_ulp / 2);
            }
            want[l] = std::fmaf(a[l], b[l], c[l]);
            CHECK(same(nnqft::madd(a[l], b[l], c[l]), want[l]));
        }
        for (const Unit* unit : list) {
            unit->madd(a, b, c, got);
            CHECK(std::equal(got, got + 16, want, same));
        }
    }
}

TEST(logarithm_of_a_uniform_word_is_accurate_to_two_ulp) {
    double worst = 0.0;
    for_words([&](uint32_t k) { worst = std::max(worst, ulps(nnqft::minus_two_log<float>(k), -2.0 * std::log((k + 0.5) * 0x1p-32))); });
    std::printf("minus_two_log: %.3f ulp\n", worst);
    CHECK(worst < 2.33);
}

TEST(points_on_the_circle_are_accurate_to_three_ulp) {
    double worst = 0.0, norm = 0.0;
    for_words([&](uint32_t k) {
        float c, s;
        nnqft::circle_point(k, c, s);
        const double angle = ((k & 0x1fffffffu) + 0.5) * (M_PI / 4 * 0x1p-29);
        const bool swap = (k >> 29) & 1u;
        const double sine = swap ? std::cos(angle) : std::sin(angle), cosine = swap ? std::sin(angle) : std::cos(angle);
        worst = std::max({worst, ulps(s, k >> 31 ? -sine : sine), ulps(c, (k >> 30) & 1u ? -cosine : cosine)});
        norm = std::max(norm, std::fabs(static_cast<double>(c) * c + static_cast<double>(s) * s - 1.0));
    });
    std::printf("circle_point: %.3f ulp, |c^2 + s^2 - 1| <= %.3g\n", worst, norm);
    CHECK(worst < 2.78);
    CHECK(norm < 4 * 0x1p-24);
}

TEST(exp_minus_one_is_accurate_to_one_and_a_half_ulp_for_every_argument) {
    double worst = 0.0;
    for_words([&](uint32_t k) {
        const float y = nnqft::as_float(k);
        if (std::fabs(y) < 88.72f) worst = std::max(worst, ulps(nnqft::exp_minus_one(y), std::expm1(static_cast<double>(y))));
    });
    // The interval where expm1 leaves its linear part, densely.
    for (float y = 1e-5f; y < 2.0f; y *= 1.000003f)
        for (const float x : {y, -y}) worst = std::max(worst, ulps(nnqft::exp_minus_one(x), std::expm1(static_cast<double>(x))));
    std::printf("exp_minus_one: %.3f ulp\n", worst);
    CHECK(worst < 1.45);
    const float infinity = std::numeric_limits<float>::infinity();
    CHECK(nnqft::exp_minus_one(infinity) == infinity && nnqft::exp_minus_one(88.7229f) == infinity);
    CHECK(nnqft::exp_minus_one(-infinity) == -1.0f && nnqft::exp_minus_one(-200.0f) == -1.0f);
    CHECK(std::isnan(nnqft::exp_minus_one(std::numeric_limits<float>::quiet_NaN())));
}

TEST(uniform_is_symmetric_and_stays_inside_its_interval) {
    for_words([&](uint32_t k) {
        const float u = nnqft::uniform_symmetric(k, 1.0f);
        CHECK(std::fabs(u) <= 1.0f);
        CHECK(std::fabs(u - (static_cast<int32_t>(k) + 0.5) * 0x1p-31) <= 0x1p-25 + 0x1p-32);
        CHECK(std::fabs(u + nnqft::uniform_symmetric(~k, 1.0f)) <= 0x1p-24);  // k rounds to even, ~k away from it
    });
}

TEST(sign_is_the_top_bit_of_the_word) {
    for_words([](uint32_t k) { CHECK(nnqft::random_sign(k, 1.5f) == (k >> 31 ? -1.5f : 1.5f)); });
}

int main(int argc, char** argv) {
    std::vector<char*> names;
    for (int i = 0; i < argc; ++i)
        if (std::strcmp(argv[i], "--all") == 0)
            sweep_all = true;
        else
            names.push_back(argv[i]);
    return check::run(static_cast<int>(names.size()), names.data());
}
