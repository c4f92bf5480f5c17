// Nets of one output whose last hidden layer m is linear between its kinks, h_{m+1} = g * (W h_m + b), f = w . h_{m+1} + c: their R-passes
// take two products with matrices in layer m where passes.hpp takes six. With the samples' l' = dL/df, r = d2L/df2 Rf and
//
//     A = diag(w) V + diag(v) W        D = g l'        E = (diag(w) W)^T g = df/dh_m        K = sum over samples of D h_m^T
//
// (V, v: the direction where the parameters have W, w; D, E and K do not know it, and are kept) all that is left is A^T g and a sum Q:
//
//     Rf = (A^T g) . h_m + E . Rh_m + sum_n g_n (v_n b_n + w_n Rb_n) + Rc
//     Re_m = l' A^T g + r E        Q = sum over samples of g (l' Rh_m + r h_m)^T,  q = sum of g r
//     Hv in layer m: diag(v) K + diag(w) Q        in layer m + 1: row sums of V * K + W * Q, + Rb * (sum of D) + b * q;  sum of r
//
// as g * z is h, and sums over samples of g l' z_m and g r z_m, which layer m + 1 asks for, are row sums of W times K and Q.
#pragma once

#include <cstdint>

#include "nets/passes.hpp"

namespace nnqft {

// A as the way back reads it (null if it is zero or not asked for), and the numbers of g in Rf, of a direction that is laid out; then a
// part of A itself.
template <class T>
void fold(const Network& net, const Weights<T>& w, bool ask, Weights<T>& v);
template <class T>
void fill_fold(const Network& net, const Weights<T>& w, const Weights<T>& v, const Share& share);

// The rows [first, first + rows) and columns [column, column + columns) of Hv in layer m from Q there, in place; their part of the sums of
// layer m + 1 goes to dots[first] and on. `row`: numbers between rows; k: K at the same place, or null.
template <class T>
void unfold(const Network& net, const Weights<T>& w, const Weights<T>& v, std::int64_t first, std::int64_t rows, std::int64_t column,
            std::int64_t columns, const T* k, T* q, T* dots);

}  // namespace nnqft
