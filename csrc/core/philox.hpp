// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
//
// A draw is a pure function of its address. Element (row, column) of tensor t of net n under seed s is
//   word row % 4 of philox(counter = {column, row / 4, n mod 2^32, n / 2^32 + 2^16 t}, key = s),
// with n < 2^48 and t < 2^16. The address holds no width, so narrower nets are cut out of wider ones.
#pragma once

#include "core/lane.hpp"

namespace nnqft {
namespace {

constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

// Round keys, one 64-bit word each: the form that vector code can broadcast straight from memory.
struct PhiloxKey {
    uint64_t k0[kPhiloxRounds], k1[kPhiloxRounds];
};
NNQFT_HD PhiloxKey philox_key(uint64_t seed) {
    PhiloxKey key;
    uint32_t a = static_cast<uint32_t>(seed), b = static_cast<uint32_t>(seed >> 32);
    for (int r = 0; r < kPhiloxRounds; ++r, a += kPhiloxW0, b += kPhiloxW1) {
        key.k0[r] = a;
        key.k1[r] = b;
    }
    return key;
}

// Any four counter words, each a lane vector. W is the wide form of U (lane.hpp).
template <class W>
NNQFT_HD void philox_round(W& c0, W& c1, W& c2, W& c3, const PhiloxKey& key, int r) {
    W h0, l0, h1, l1;
    mul_wide(c0, kPhiloxM0, h0, l0);
    mul_wide(c2, kPhiloxM1, h1, l1);
    c0 = xor3(h1, c1, key.k0[r]);
    c1 = l1;
    c2 = xor3(h0, c3, key.k1[r]);
    c3 = l0;
}
template <class W>
NNQFT_HD void philox_rounds(W& c0, W& c1, W& c2, W& c3, const PhiloxKey& key, int first) {
    for (int r = first; r < kPhiloxRounds; ++r) philox_round(c0, c1, c2, c3, key, r);
}

// 16 consecutive nets: what the first round makes of the lanes' net numbers is the same for every draw.
template <class F>
struct NetLanes {
    typename Types<F>::W h1, l1;
    uint32_t high;  // bits 32..47 of the net number
};
template <class F, class U>
NNQFT_HD NetLanes<F> net_lanes(U low_words, uint64_t first_net) {
    NetLanes<F> lanes;
    mul_wide(widen(low_words), kPhiloxM1, lanes.h1, lanes.l1);
    lanes.high = static_cast<uint32_t>(first_net >> 32);
    return lanes;
}

// The state after rounds 1 to 3 for the block (row_group, column) of a tensor. Rounds 1 and 2 in their cheap form: all
// counter words but the net are the same in every lane.
constexpr int kPhiloxOpened = 3;
template <class F>
NNQFT_HD void philox_open(const NetLanes<F>& nets, const PhiloxKey& key, uint32_t tensor, uint32_t row_group, uint32_t column,
                          typename Types<F>::W c[4]) {
    using W = typename Types<F>::W;
    uint32_t h, l;
    mul_wide(column, kPhiloxM0, h, l);
    const uint32_t s2 = h ^ (nets.high | (tensor << 16)) ^ static_cast<uint32_t>(key.k1[0]), s3 = l;
    const W v0 = xor_word(nets.h1, row_group ^ static_cast<uint32_t>(key.k0[0]));

    uint32_t hb, lb;
    mul_wide(s2, kPhiloxM1, hb, lb);
    W ha, la;
    mul_wide(v0, kPhiloxM0, ha, la);
    const W c0 = xor_word(nets.l1, hb ^ static_cast<uint32_t>(key.k0[1]));
    const W c2 = xor_word(ha, s3 ^ static_cast<uint32_t>(key.k1[1]));

    W h0, h1;
    mul_wide(c0, kPhiloxM0, h0, c[3]);
    mul_wide(c2, kPhiloxM1, h1, c[1]);
    c[0] = xor_word(h1, lb ^ static_cast<uint32_t>(key.k0[2]));
    c[2] = xor3(h0, la, key.k1[2]);
}

// Four words per net for the block.
template <class F>
NNQFT_HD void philox_nets(const NetLanes<F>& nets, const PhiloxKey& key, uint32_t tensor, uint32_t row_group, uint32_t column,
                          typename Types<F>::U words[4]) {
    typename Types<F>::W c[4];
    philox_open(nets, key, tensor, row_group, column, c);
    philox_rounds(c[0], c[1], c[2], c[3], key, kPhiloxOpened);
    for (int i = 0; i < 4; ++i) words[i] = narrow(c[i]);
}

// One counter, one lane: the definition, and what known-answer tests check.
NNQFT_HD void philox(const uint32_t counter[4], uint64_t seed, uint32_t out[4]) {
    for (int i = 0; i < 4; ++i) out[i] = counter[i];
    philox_rounds(out[0], out[1], out[2], out[3], philox_key(seed), 0);
}

}  // namespace
}  // namespace nnqft
