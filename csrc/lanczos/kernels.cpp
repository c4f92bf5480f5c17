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

// `M` vectors at a time share the loads of w.
template <int P, int M, class T>
void dots_of(int64_t rows, const T* const* Q, const T* w, double* h) {
    Sums<P> sums[M];
    const int64_t count = rows * P, whole = count - count % Stripe<P>::size;
    for (int64_t f = 0; f < whole; f += Stripe<P>::size) {
        NNQFT_PARTS {
            const int64_t at = f + part * VD::width;
            const VD x = VD::load(w + at);
            for (int i = 0; i < M; ++i) sums[i].add_product(part, VD::load(Q[i] + at), x);
        }
    }
    if (whole < count) {
        const Tail<P, T> tail_w(w + whole, count - whole);
        for (int i = 0; i < M; ++i) {
            const Tail<P, T> tail_q(Q[i] + whole, count - whole);
            NNQFT_PARTS {
                const int at = part * VD::width;
                sums[i].add_product(part, VD::load(tail_q.x + at), VD::load(tail_w.x + at));
            }
        }
    }
    for (int i = 0; i < M; ++i) sums[i].store(h + i * P);
}
template <int P, class T>
void dots(int64_t rows, int64_t count, const T* const* Q, const T* w, double* h) {
    constexpr int M = P == 1 ? 8 : P <= 3 ? 4 : 2;
    int64_t i = 0;
    for (; i + M <= count; i += M) dots_of<P, M>(rows, Q + i, w, h + i * P);
    for (; i < count; ++i) dots_of<P, 1>(rows, Q + i, w, h + i * P);
}

template <int P, int M, class T>
void project_on(int64_t rows, const T* const* Q, const double* h_, T* w) {
    double h[M][Stripe<P>::size];
    for (int i = 0; i < M; ++i)
        for (int f = 0; f < Stripe<P>::size; ++f) h[i][f] = h_[i * P + f % P];
    const int64_t count = rows * P, whole = count - count % Stripe<P>::size;
    for (int64_t f = 0; f < whole; f += Stripe<P>::size) {
        NNQFT_PARTS {
            const int64_t at = f + part * VD::width;
            VD x = VD::load(w + at);
            for (int i = 0; i < M; ++i) x = nmadd(VD::load(h[i] + part * VD::width), VD::load(Q[i] + at), x);
            x.store(w + at);
        }
    }
    for (int64_t f = whole; f < count; ++f) {
        double x = static_cast<double>(w[f]);
        for (int i = 0; i < M; ++i) x = __builtin_fma(-h[i][f - whole], static_cast<double>(Q[i][f]), x);
        w[f] = static_cast<T>(x);
    }
}
template <int P, class T>
void project(int64_t rows, int64_t count, const T* const* Q, const double* h, T* w, double* s) {
    constexpr int M = 8;
    int64_t i = 0;
    for (; i + M <= count; i += M) project_on<P, M>(rows, Q + i, h + i * P, w);
    for (; i < count; ++i) project_on<P, 1>(rows, Q + i, h + i * P, w);
    double one[P];
    for (double& x : one) x = 1.0;
    scale<P>(rows, one, w, w, s);
}

// A short row is one chain of additions, since those of neighbouring rows overlap; in a long one, entries 0, 4, 8, ... add
// up apart from 1, 5, ... and so on. The length alone decides, whatever P.
constexpr int64_t kLongRow = 32;

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

// R rows of A against a run of its columns: every a_ij serves y_i += a_ij x_j and y_j += a_ij x_i from one register.
constexpr int kColumnParts = kMaxColumns / VD::width;
constexpr int kRows = VD::width == 8 ? 12 : VD::width == 4 ? 4 : 2;
constexpr int64_t kPanel = 512;  // columns whose x_j and y_j stay in the L2 cache while rows of A pass by
constexpr int64_t kRun = 64;     // columns that are copied together: then one address register serves all rows

template <class T>
void rows_times_panel(const T* a, int64_t stride, int64_t first, int64_t last, const double* Xi, double* Yi, const double* X, double* Y) {
    double run[kRows][kRun];
    for (; first < last; first += kRun) {
        const int64_t count = last - first < kRun ? last - first : kRun;
        for (int r = 0; r < kRows; ++r) {
            const T* from = a + r * stride + first;
            int64_t j = 0;
            for (; j + VD::width <= count; j += VD::width) VD::load(from + j).store(run[r] + j);
            for (; j < count; ++j) run[r][j] = static_cast<double>(from[j]);
        }
        for (int part = 0; part < kColumnParts; ++part) {
            const int at = part * VD::width;
            VD xi[kRows], yi[kRows];
            for (int r = 0; r < kRows; ++r) {
                xi[r] = VD::load(Xi + r * kMaxColumns + at);
                yi[r] = VD::load(Yi + r * kMaxColumns + at);
            }
            const double* x = X + first * kMaxColumns + at;
            double* y = Y + first * kMaxColumns + at;
            for (int64_t j = 0; j < count; ++j, x += kMaxColumns, y += kMaxColumns) {
                const VD xj = VD::load(x);
                VD even = VD::load(y), odd(0.0);
                for (int r = 0; r < kRows; ++r) {
                    const VD entry(run[r][j]);
                    yi[r] = madd(entry, xj, yi[r]);
                    if (r % 2 == 0) even = madd(entry, xi[r], even);
                    else odd = madd(entry, xi[r], odd);
                }
                (even + odd).store(y);
            }
            for (int r = 0; r < kRows; ++r) yi[r].store(Yi + r * kMaxColumns + at);
        }
    }
}

template <class T>
void symmetric(int64_t n, int64_t first, int64_t last, const T* a, int64_t stride, const double* X, double* Y) {
    const int64_t whole = first + (last - first) / kRows * kRows;
    // The triangles on the diagonal, entry by entry, and the rows that are left over at the end.
    for (int64_t i = first; i < last; ++i) {
        const int64_t block_end = i < whole ? first + ((i - first) / kRows + 1) * kRows : n;
        double* yi = Y + i * kMaxColumns;
        const double* xi = X + i * kMaxColumns;
        const double diagonal = static_cast<double>(a[i * stride + i]);
        for (int c = 0; c < kMaxColumns; ++c) yi[c] = __builtin_fma(diagonal, xi[c], yi[c]);
        for (int64_t j = i + 1; j < block_end; ++j) {
            const double entry = static_cast<double>(a[i * stride + j]);
            double* yj = Y + j * kMaxColumns;
            const double* xj = X + j * kMaxColumns;
            for (int c = 0; c < kMaxColumns; ++c) {
                yi[c] = __builtin_fma(entry, xj[c], yi[c]);
                yj[c] = __builtin_fma(entry, xi[c], yj[c]);
            }
        }
    }
    for (int64_t panel = first + kRows; panel < n; panel += kPanel) {
        const int64_t panel_end = panel + kPanel < n ? panel + kPanel : n;
        for (int64_t i = first; i < whole; i += kRows) {
            const int64_t begin = i + kRows > panel ? i + kRows : panel;
            if (begin < panel_end)
                rows_times_panel(a + i * stride, stride, begin, panel_end, X + i * kMaxColumns, Y + i * kMaxColumns, X, Y);
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
void any_dots(int P, int64_t rows, int64_t count, const T* const* Q, const T* w, double* h) {
#define CALL(N) dots<N>(rows, count, Q, w, h)
    NNQFT_COLUMNS(CALL)
#undef CALL
}
template <class T>
void any_project(int P, int64_t rows, int64_t count, const T* const* Q, const double* h, T* w, double* s) {
#define CALL(N) project<N>(rows, count, Q, h, w, s)
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
const LanczosKernels<double> lanczos_f64{any_recur<double, double>, any_recur<double, double>, any_update<double>,    any_dots<double>,  any_project<double>,
                                         any_scale<double>,         any_csr<double>,           any_csr<double>, symmetric<double>};
const LanczosKernels<float> lanczos_f32{any_recur<float, float>, any_recur<float, double>, any_update<float>, any_dots<float>, any_project<float>,
                                        any_scale<float>,        any_csr<float>,           any_csr<float>,  symmetric<float>};

}  // namespace NNQFT_UNIT
}  // namespace nnqft
