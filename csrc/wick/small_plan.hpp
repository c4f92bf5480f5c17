// The hafnian recursion for n <= 12 points, laid out at compile time: which subsets it meets, and the terms of each.
//
//     haf(S) = sum_{j in S, j > l} K_lj haf(S - l - j) + mu_l haf(S - l),   l the lowest point of S; the last term only with a mean
//
// Subsets are shared: n = 4, 6, 8, 10, 12 take 3, 20, 87, 317, 1055 multiply-adds, and 10, 49, 187, 635, 2025 with a mean. Nothing
// is subtracted, so the error stays below n ulp of the same sum over |K| and |mu|, and integers below 2^53 come out exact.
// Terms are added with j rising and the mean last. That order defines the bits of a hafnian, whatever computes it.
#pragma once

#include "core/hd.hpp"

namespace nnqft {

constexpr int kSmallPoints = 12;

namespace {

// Number of K_ij with i < j, and the place of one among them, row by row.
NNQFT_HD_MEMBER constexpr int pair_count(int n) { return n * (n - 1) / 2; }
NNQFT_HD_MEMBER constexpr int pair_place(int n, int i, int j) { return i * (2 * n - i - 1) / 2 + j - i - 1; }

// A value has a slot: first come the inputs, all K_ij with i < j and then mu_i, after them the subsets ("nodes"), by size.
template <int N, bool Mean>
struct SmallPlan {
    static constexpr int kInputs = pair_count(N) + (Mean ? N : 0), kMasks = 1 << N;
    static constexpr int kMaxNodes = 376, kMaxTerms = 2100;  // enough for N = 12 with a mean
    static constexpr short kOne = -1;                        // in place of a slot: haf of nothing
    struct Term {
        short factor, rest;  // slots of an input and of a subset, to be multiplied
    };
    int nodes = 0;                  // subsets that are no input; the last one is the whole, if there is any
    int up_to_size[N + 1] = {};     // of them, those of this size or smaller
    int root = 0;                   // slot of the whole
    int first[kMaxNodes + 1] = {};  // the terms of node k are first[k] .. first[k + 1] - 1
    Term term[kMaxTerms] = {};

    constexpr SmallPlan() {
        bool met[kMasks] = {};
        met[kMasks - 1] = true;
        for (int low = 0; low < N; ++low) {
            for (int rest = 0; rest < kMasks; rest += 2 << low) {  // what a subset holds beyond its lowest point
                if (!met[rest | 1 << low]) continue;
                if (Mean) met[rest] = true;
                for (int j = low + 1; j < N; ++j) {
                    if (rest >> j & 1) met[rest ^ 1 << j] = true;
                }
            }
        }
        int slot[kMasks] = {kOne};
        for (int size = 1; size <= N; ++size) {
            for (int whole = 1; whole < kMasks; ++whole) {
                int low = 0, count = 0;
                for (int j = N - 1; j >= 0; --j) {
                    if (whole >> j & 1) low = j, ++count;
                }
                if (!met[whole] || count != size) continue;
                const int rest = whole ^ 1 << low;
                int end = first[nodes];
                for (int j = low + 1; j < N; ++j) {
                    if (rest >> j & 1) term[end++] = {static_cast<short>(pair_place(N, low, j)), static_cast<short>(slot[rest ^ 1 << j])};
                }
                if (Mean) term[end++] = {static_cast<short>(pair_count(N) + low), static_cast<short>(slot[rest])};
                const Term only = term[first[nodes]];
                const bool is_input = end == first[nodes] + 1 && only.rest == kOne;
                slot[whole] = is_input ? only.factor : kInputs + nodes;
                if (!is_input) first[++nodes] = end;
            }
            up_to_size[size] = nodes;
        }
        root = slot[kMasks - 1];
    }
};

template <int N, bool Mean>
inline constexpr SmallPlan<N, Mean> kSmallPlan{};

}  // namespace
}  // namespace nnqft
