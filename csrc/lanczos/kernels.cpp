#include "lanczos/kernels.hpp"

#include "core/vec_double.hpp"

namespace nnqft {
namespace {

using std::int64_t;

constexpr int kLanes = 8;                     // rows that are summed apart
constexpr int kParts = kLanes / VD::width;    // registers per column of kLanes rows

// `P` registers' worth of rows: flat positions f = 0 ... 8 P - 1 of a block, lane f / P, column f % P.
template <int P>
struct Stripe {
    static constexpr int size = kLanes * P, parts = kParts * P;
};

// One coefficient per column, repeated along a stripe.
template <int P>
struct Coefficients {
    double c[Stripe<P>::size];
    explicit Coefficients(const double* per_column) {
        for (int f = 0; f < Stripe<P>::size; ++f) c[f] = per_column[f % P];
    }
    VD operator[](int part) const { return VD::load(c + part * VD::width); }
};

template <int P>
struct Sums {
    VD s[Stripe<P>::parts];
    Sums() {
        for (VD& x : s) x = VD(0.0);
    }
    void add_product(int part, VD a, VD b) { s[part] = madd(a, b, s[part]); }
    // Per column: ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
    void store(double* out) const {
        double lane[Stripe<P>::size];
        for (int part = 0; part < Stripe<P>::parts; ++part) s[part].store(lane + part * VD::width);
        for (int half = kLanes / 2; half > 0; half /= 2)
            for (int f = 0; f < half * P; ++f) lane[f] += lane[f + half * P];
        for (int column = 0; column < P; ++column) out[column] = lane[column];
    }
};

// The last rows of a block, fewer than 8, as a stripe filled up with zeros.
template <int P, class T>
struct Tail {
    T x[Stripe<P>::size];
    Tail(const T* from, int64_t count) {
        for (int f = 0; f < Stripe<P>::size; ++f) x[f] = f < count ? from[f] : T(0);
    }
    void store(T* to, int64_t count) const {
        for (int f = 0; f < count; ++f) to[f] = x[f];
    }
};

#define NNQFT_PARTS for (int part = 0; part < Stripe<P>::parts; ++part)

template <int P, class T, class U>
void recur(int64_t rows, const U* u, const double* c_, const T* prev, const double* d_, const T* q, T* w, double* s) {
    const Coefficients<P> c(c_), d(d_);
    Sums<P> sums;
    const auto stripe = [&](const U* u, const T* prev, const T* q, T* w) {
        NNQFT_PARTS {
            const int at = part * VD::width;
            (c[part] * VD::load(u + at) + d[part] * VD::load(prev + at)).store(w + at);
            sums.add_product(part, VD::load(q + at), VD::load(w + at));
        }
    };
    const int64_t count = rows * P, whole = count - count % Stripe<P>::size;
    for (int64_t f = 0; f < whole; f += Stripe<P>::size) stripe(u + f, prev + f, q + f, w + f);
    if (whole < count) {
        const Tail<P, U> tail_u(u + whole, count - whole);
        const Tail<P, T> tail_prev(prev + whole, count - whole), tail_q(q + whole, count - whole);
        Tail<P, T> tail_w(prev + whole, 0);
        stripe(tail_u.x, tail_prev.x, tail_q.x, tail_w.x);
        tail_w.store(w + whole, count - whole);
    }
    sums.store(s);
}

template <int P, class T>
void update(int64_t rows, const double* c_, const T* q, T* w, double* s) {
    const Coefficients<P> c(c_);
    Sums<P> sums;
    const auto stripe = [&](const T* q, T* w) {
        NNQFT_PARTS {
            const int at = part * VD::width;
            madd(c[part], VD::load(q + at), VD::load(w + at)).store(w + at);
            const VD x = VD::load(w + at);
            sums.add_product(part, x, x);
        }
    };
    const int64_t count = rows * P, whole = count - count % Stripe<P>::size;
    for (int64_t f = 0; f < whole; f += Stripe<P>::size) stripe(q + f, w + f);
    if (whole < count) {
        const Tail<P, T> tail_q(q + whole, count - whole);
        Tail<P, T> tail_w(w + whole, count - whole);
        stripe(tail_q.x, tail_w.x);
        tail_w.store(w + whole, count - whole);
    }
    sums.store(s);
}

template <int P, class T>
void scale(int64_t rows, const double* c_, const T* in, T* out, double* s) {
    const Coefficients<P> c(c_);
    Sums<P> sums;
    const auto stripe = [&](const T* in, T* out) {
        NNQFT_PARTS {
            const int at = part * VD::width;
            (c[part] * VD::load(in + at)).store(out + at);
            const VD x = VD::load(out + at);
            sums.add_product(part, x, x);
        }
    };
    const int64_t count = rows * P, whole = count - count % Stripe<P>::size;
    for (int64_t f = 0; f < whole; f += Stripe<P>::size) stripe(in + f, out + f);
    if (whole < count) {
        const Tail<P, T> tail_in(in + whole, count - whole);
        Tail<P, T> tail_out(in + whole, 0);
        stripe(tail_in.x, tail_out.x);
        tail_out.store(out + whole, count - whole);
    }
    sums.store(s);
}

// M vectors of the basis times m of the panel, from registers.
template <int M, int m, class T>
void dots_of(int64_t rows, const T* const* Q, const double* const* W, int stride, double* h) {
    Sums<1> sums[M][m];
    const int64_t whole = rows - rows % kLanes;
    const auto stripe = [&](const T* const* q, const double* const* w, int64_t f) {
        for (int part = 0; part < kParts; ++part) {
            const int64_t at = f + part * VD::width;
            VD x[m];
            for (int s = 0; s < m; ++s) x[s] = VD::load(w[s] + at);
            for (int i = 0; i < M; ++i) {
                const VD y = VD::load(q[i] + at);
                for (int s = 0; s < m; ++s) sums[i][s].add_product(part, y, x[s]);
            }
        }
    };
    for (int64_t f = 0; f < whole; f += kLanes) stripe(Q, W, f);
    if (whole < rows) {
        T q[M][kLanes] = {};
        double w[m][kLanes] = {};
        const T* q_at[M];
        const double* w_at[m];
        for (int i = 0; i < M; ++i) {
            for (int64_t f = whole; f < rows; ++f) q[i][f - whole] = Q[i][f];
            q_at[i] = q[i];
        }
        for (int s = 0; s < m; ++s) {
            for (int64_t f = whole; f < rows; ++f) w[s][f - whole] = W[s][f];
            w_at[s] = w[s];
        }
        stripe(q_at, w_at, 0);
    }
    for (int i = 0; i < M; ++i)
        for (int s = 0; s < m; ++s) sums[i][s].store(h + i * stride + s);
}

template <int M, int m, class T>
void project_on(int64_t rows, const T* const* Q, const double* h, int stride, double* const* W) {
    double c[M][m];
    for (int i = 0; i < M; ++i)
        for (int s = 0; s < m; ++s) c[i][s] = h[i * stride + s];
    int64_t f = 0;
    for (; f + VD::width <= rows; f += VD::width) {
        VD q[M];
        for (int i = 0; i < M; ++i) q[i] = VD::load(Q[i] + f);
        for (int s = 0; s < m; ++s) {
            VD x = VD::load(W[s] + f);
            for (int i = 0; i < M; ++i) x = nmadd(VD(c[i][s]), q[i], x);
            x.store(W[s] + f);
        }
    }
    for (; f < rows; ++f) {
        for (int s = 0; s < m; ++s) {
            double x = W[s][f];
            for (int i = 0; i < M; ++i) x = __builtin_fma(-c[i][s], static_cast<double>(Q[i][f]), x);
            W[s][f] = x;
        }
    }
}

// body<M>(first vector of the basis, its m): two at a time against eight of the panel, four against fewer.
#define NNQFT_PANEL(CALL)                                        \
    int s = 0;                                                   \
    for (; m - s >= 8; s += 8) CALL(2, 8)                        \
    for (; m - s >= 4; s += 4) CALL(4, 4)                        \
    for (; m - s >= 2; s += 2) CALL(8, 2)                        \
    for (; m - s >= 1; s += 1) CALL(8, 1)

// The vectors that are left over go four, two and one at a time: a sum alone waits for its own additions.
template <class T>
void dots(int64_t rows, int64_t count, const T* const* Q, int m, const double* const* W, double* h) {
#define SOME(M, N) \
    for (; i + M <= count; i += M) dots_of<M, N>(rows, Q + i, W + s, m, h + i * m + s)
#define CALL(M, N)                                                                                 \
    {                                                                                              \
        int64_t i = 0;                                                                             \
        SOME(M, N);                                                                                \
        if (M > 4) SOME(4, N);                                                                     \
        if (M > 2) SOME(2, N);                                                                     \
        SOME(1, N);                                                                                \
        for (int t = 0; t < m; ++t) dots_of<1, N>(rows, W + t, W + s, m, h + (count + t) * m + s); \
    }
    NNQFT_PANEL(CALL)
#undef CALL
#undef SOME
}

template <class T>
double project(int64_t rows, int64_t count, const T* const* Q, int m, const double* h, const double* r, double* const* W) {
#define SOME(M, N) \
    for (; i + M <= count; i += M) project_on<M, N>(rows, Q + i, h + i * m + s, m, W + s)
#define CALL(M, N)             \
    {                          \
        int64_t i = 0;         \
        SOME(M, N);            \
        if (M > 4) SOME(4, N); \
        if (M > 2) SOME(2, N); \
        SOME(1, N);            \
    }
    NNQFT_PANEL(CALL)
#undef CALL
#undef SOME
    for (int t = 1; t < m; ++t)
        for (int u = 0; u < t; ++u) project_on<1, 1>(rows, W + u, r + u * m + t, m, W + t);
    double square;
    dots_of<1, 1>(rows, W + m - 1, W + m - 1, 1, &square);
    return square;
}

// A short row is one chain of additions, since those of neighbouring rows overlap; in a long one, entries 0, 4, 8, ... add
// up apart from 1, 5, ... and so on. The length alone decides, whatever P.
template <int P, class T, class I>
void csr(int64_t first, int64_t last, const I* start, const I* column, const T* value, const T* X, double* Y) {
    for (int64_t i = first; i < last; ++i, Y += P) {
        double s0[P] = {};
        const auto add = [&](double* s, int64_t e) {
            const T* x = X + static_cast<int64_t>(column[e]) * P;
            const double a = static_cast<double>(value[e]);
            for (int c = 0; c < P; ++c) s[c] = __builtin_fma(a, static_cast<double>(x[c]), s[c]);
        };
        int64_t e = start[i];
        const int64_t end = start[i + 1];
        if (end - e >= kLongRow) {
            double s1[P] = {}, s2[P] = {}, s3[P] = {};
            for (; e + 4 <= end; e += 4) {
                add(s0, e);
                add(s1, e + 1);
                add(s2, e + 2);
                add(s3, e + 3);
            }
            for (int c = 0; c < P; ++c) s0[c] = (s0[c] + s1[c]) + (s2[c] + s3[c]);
        }
        for (; e < end; ++e) add(s0, e);
        for (int c = 0; c < P; ++c) Y[c] = s0[c];
    }
}

// Several registers at a time, so that their chains of additions overlap.
template <class T>
void stencil(int64_t count, int64_t terms, const int64_t* offset, const double* c, const T* X, double* Y) {
    constexpr int kTogether = 8;
    int64_t f = 0;
    for (; f + kTogether * VD::width <= count; f += kTogether * VD::width) {
        VD y[kTogether];
        for (VD& s : y) s = VD(0.0);
        for (int64_t t = 0; t < terms; ++t) {
            const VD a(c[t]);
            const T* x = X + f + offset[t];
            for (int i = 0; i < kTogether; ++i) y[i] = madd(a, VD::load(x + i * VD::width), y[i]);
        }
        for (int i = 0; i < kTogether; ++i) y[i].store(Y + f + i * VD::width);
    }
    for (; f < count; ++f) {
        double s = 0.0;
        for (int64_t t = 0; t < terms; ++t) s = __builtin_fma(c[t], static_cast<double>(X[f + offset[t]]), s);
        Y[f] = s;
    }
}

// Tiles of a symmetric matrix: kTileRows rows times kTileColumns columns, which stay in the L1 cache with their part of C
// columns of X and Y at a time. Every a_ij serves y_i += a_ij x_j and y_j += a_ij x_i from one register. R rows at a time
// share the loads of x_j and y_j; y_j adds them up in order, so neither R nor C is seen in a bit.
constexpr int kTileRows = 8;
constexpr int64_t kTileColumns = 256;

template <bool Ahead, int R, int C, class T>
void tile(const T* a, int64_t stride, int64_t n, int64_t i, int64_t first, int64_t last, const double* X, double* Y) {
    double xi[R][C];
    VD yi[R][C];
    for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) {
            xi[r][c] = X[c * n + i + r];
            yi[r][c] = VD(0.0);
        }
    }
    int64_t j = first;
    for (; j + VD::width <= last; j += VD::width) {
        VD xj[C], yj[C];
        for (int c = 0; c < C; ++c) {
            xj[c] = VD::load(X + c * n + j);
            yj[c] = VD::load(Y + c * n + j);
        }
        for (int r = 0; r < R; ++r) {
            const VD entry = VD::load(a + r * stride + j);
            if (Ahead) __builtin_prefetch(a + (r + kTileRows) * stride + j, 0, 2);
            for (int c = 0; c < C; ++c) {
                yi[r][c] = madd(entry, xj[c], yi[r][c]);
                yj[c] = madd(entry, VD(xi[r][c]), yj[c]);
            }
        }
        for (int c = 0; c < C; ++c) yj[c].store(Y + c * n + j);
    }
    for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) {
            double lane[VD::width];
            yi[r][c].store(lane);
            for (int half = VD::width / 2; half > 0; half /= 2)
                for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
            double sum = lane[0];
            for (int64_t k = j; k < last; ++k) {
                const double entry = static_cast<double>(a[r * stride + k]);
                sum = __builtin_fma(entry, X[c * n + k], sum);
                Y[c * n + k] = __builtin_fma(entry, xi[r][c], Y[c * n + k]);
            }
            Y[c * n + i + r] += sum;
        }
    }
}

template <bool Ahead, int C, class T>
void rows_of_tiles(const T* a, int64_t stride, int64_t n, int64_t i, int64_t first, int64_t last, const double* X, double* Y) {
    constexpr int R = (VD::width == 8 ? 8 : 4) / C;  // y_i, x_i, x_j and y_j fit into registers
    for (int r = 0; r < kTileRows; r += R) tile<Ahead, R, C>(a + (i + r) * stride, stride, n, i + r, first, last, X, Y);
}

template <class T>
void symmetric(int64_t n, int64_t first, int64_t last, int columns, const T* a, int64_t stride, const double* X, double* Y) {
    const int64_t whole = first + (last - first) / kTileRows * kTileRows;
    // The triangles on the diagonal, entry by entry, and the rows that are left over at the end.
    for (int64_t i = first; i < last; ++i) {
        const int64_t end = i < whole ? first + ((i - first) / kTileRows + 1) * kTileRows : n;
        for (int c = 0; c < columns; ++c) {
            const double* x = X + c * n;
            double* y = Y + c * n;
            y[i] = __builtin_fma(static_cast<double>(a[i * stride + i]), x[i], y[i]);
            for (int64_t j = i + 1; j < end; ++j) {
                const double entry = static_cast<double>(a[i * stride + j]);
                y[i] = __builtin_fma(entry, x[j], y[i]);
                y[j] = __builtin_fma(entry, x[i], y[j]);
            }
        }
    }
    for (int64_t begin = first + kTileRows; begin < n; begin += kTileColumns) {
        const int64_t end = begin + kTileColumns < n ? begin + kTileColumns : n;
        for (int64_t i = first; i < whole; i += kTileRows) {
            const int64_t from = i + kTileRows > begin ? i + kTileRows : begin;
            if (from >= end) break;
            int c = 0;  // the first to pass calls the tile below into the L2 cache
#define COLUMNS(AHEAD, C) rows_of_tiles<AHEAD, C>(a, stride, n, i, from, end, X + c * n, Y + c * n), c += C
            if (columns >= 4) COLUMNS(true, 4);
            else if (columns >= 2) COLUMNS(true, 2);
            else COLUMNS(true, 1);
            while (c + 4 <= columns) COLUMNS(false, 4);
            while (c + 2 <= columns) COLUMNS(false, 2);
            while (c < columns) COLUMNS(false, 1);
#undef COLUMNS
        }
    }
}

// The number of columns as a template argument.
#define NNQFT_COLUMNS(CALL)        \
    switch (P) {                   \
        case 1: CALL(1); break;    \
        case 2: CALL(2); break;    \
        case 3: CALL(3); break;    \
        case 4: CALL(4); break;    \
        case 5: CALL(5); break;    \
        case 6: CALL(6); break;    \
        case 7: CALL(7); break;    \
        default: CALL(8); break;   \
    }

template <class T, class U>
void any_recur(int P, int64_t rows, const U* u, const double* c, const T* prev, const double* d, const T* q, T* w, double* s) {
#define CALL(N) recur<N>(rows, u, c, prev, d, q, w, s)
    NNQFT_COLUMNS(CALL)
#undef CALL
}
template <class T>
void any_update(int P, int64_t rows, const double* c, const T* q, T* w, double* s) {
#define CALL(N) update<N>(rows, c, q, w, s)
    NNQFT_COLUMNS(CALL)
#undef CALL
}
template <class T>
void any_scale(int P, int64_t rows, const double* c, const T* in, T* out, double* s) {
#define CALL(N) scale<N>(rows, c, in, out, s)
    NNQFT_COLUMNS(CALL)
#undef CALL
}
template <class T, class I>
void any_csr(int P, int64_t first, int64_t last, const I* start, const I* column, const T* value, const T* X, double* Y) {
#define CALL(N) csr<N>(first, last, start, column, value, X, Y)
    NNQFT_COLUMNS(CALL)
#undef CALL
}

}  // namespace

namespace NNQFT_UNIT {

extern const LanczosKernels<double> lanczos_f64;
extern const LanczosKernels<float> lanczos_f32;
const LanczosKernels<double> lanczos_f64{any_recur<double, double>, any_recur<double, double>, any_update<double>, dots<double>, project<double>,
                                         any_scale<double>,         any_csr<double>,           any_csr<double>, stencil<double>, symmetric<double>};
const LanczosKernels<float> lanczos_f32{any_recur<float, float>, any_recur<float, double>, any_update<float>, dots<float>, project<float>,
                                        any_scale<float>,        any_csr<float>,           any_csr<float>,  stencil<float>, symmetric<float>};

}  // namespace NNQFT_UNIT
}  // namespace nnqft
