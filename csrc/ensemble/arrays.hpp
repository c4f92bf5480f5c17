// Arrays of random numbers and of activations: the same functions as inside the ensemble kernels, by address.
#pragma once

#include "core/normal.hpp"
#include "core/philox.hpp"
#include "core/activations.hpp"
#include "ensemble/spec.hpp"

namespace nnqft {
namespace {

// Words of net `net` at rows 4 group ... + 3 and 16 columns from `column`: lanes run over columns here.
NNQFT_HD void philox_columns(const PhiloxKey& key, uint32_t tensor, uint64_t net, uint32_t group, uint32_t column,
                             typename Types<VF>::U words[4]) {
    using U = typename Types<VF>::U;
    auto c0 = widen(U::iota(column));
    auto c1 = widen(U(group)), c2 = widen(U(static_cast<uint32_t>(net)));
    auto c3 = widen(U(static_cast<uint32_t>(net >> 32) | (tensor << 16)));
    philox_rounds(c0, c1, c2, c3, key, 0);
    words[0] = narrow(c0);
    words[1] = narrow(c1);
    words[2] = narrow(c2);
    words[3] = narrow(c3);
}

// Fills (n_nets, rows, columns) with what `four` makes of each block: four vectors, rows 4 g ... 4 g + 3.
template <class V, class T, class Four>
NNQFT_HD void fill_columns(uint64_t seed, uint32_t tensor, uint64_t first, uint64_t n_nets, uint64_t rows, uint64_t columns, T* out,
                           Four&& four) {
    const PhiloxKey key = philox_key(seed);
    for (uint64_t net = 0; net < n_nets; ++net, out += rows * columns)
        for (uint64_t row = 0; row < rows; row += 4)
            for (uint64_t column = 0; column < columns; column += kTile) {
                typename Types<VF>::U w[4];
                philox_columns(key, tensor, first + net, static_cast<uint32_t>(row / 4), static_cast<uint32_t>(column), w);
                V v[4];
                four(w, v);
                for (uint64_t n = 0; n < 4 && row + n < rows; ++n) {
                    T* to = out + (row + n) * columns + column;
                    if (columns - column >= kTile) {
                        v[n].store(to);
                    } else {
                        T lane[kTile];
                        v[n].store(lane);
                        for (uint64_t l = 0; l < columns - column; ++l) to[l] = lane[l];
                    }
                }
            }
}

static void normals(uint64_t seed, uint32_t tensor, uint64_t first, uint64_t n_nets, uint64_t rows, uint64_t columns, float sigma,
                    float* out) {
    fill_columns<VF>(seed, tensor, first, n_nets, rows, columns, out, [sigma](const typename Types<VF>::U* w, VF* z) {
        normal_pair(w[0], w[1], VF(sigma), z[0], z[1]);
        normal_pair(w[2], w[3], VF(sigma), z[2], z[3]);
    });
}

static void words(uint64_t seed, uint32_t tensor, uint64_t first, uint64_t n_nets, uint64_t rows, uint64_t columns, uint32_t* out) {
    using U = typename Types<VF>::U;
    fill_columns<U>(seed, tensor, first, n_nets, rows, columns, out, [](const U* w, U* v) {
        for (int n = 0; n < 4; ++n) v[n] = w[n];
    });
}

// y = phi(x), and where dy is not null phi'(x) and phi''(x).
template <class F>
static void activate_array(Activation activation, const double* values, int n, const typename Types<F>::Real* x, int64_t count,
                           typename Types<F>::Real* y, typename Types<F>::Real* dy, typename Types<F>::Real* d2y) {
    using Real = typename Types<F>::Real;
    const auto params = activation_params<Real>(values, n);
    with_activation(activation, [&](auto kind) {
        constexpr Activation A = decltype(kind)::value;
        for (int64_t i = 0; i < count; i += kTile) {
            const int64_t here = count - i < kTile ? count - i : kTile;
            Real in[kTile] = {}, out[3][kTile];
            for (int64_t l = 0; l < here; ++l) in[l] = x[i + l];
            F v, dv(Real(0)), d2v(Real(0));
            if (dy != nullptr)
                activate_derivatives<A>(F::load(in), params, v, dv, d2v);
            else
                v = activate<A>(F::load(in), params);
            v.store(out[0]);
            dv.store(out[1]);
            d2v.store(out[2]);
            for (int64_t l = 0; l < here; ++l) {
                y[i + l] = out[0][l];
                if (dy == nullptr) continue;
                dy[i + l] = out[1][l];
                d2y[i + l] = out[2][l];
            }
        }
    });
}

}  // namespace
}  // namespace nnqft
