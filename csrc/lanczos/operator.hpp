// A symmetric linear operator on R^n, as Lanczos sees it: something that takes blocks of vectors to blocks of vectors.
#pragma once

#include <cstdint>
#include <mutex>

#include "core/team.hpp"
#include "lanczos/kernels.hpp"

namespace nnqft {

// Where element i of vector c of a block lies: rows: x[i * columns + c]; columns: x[c * n + i].
enum class Layout { rows, columns };

template <class T>  // float or double
class Operator {
public:
    virtual ~Operator() = default;
    virtual std::int64_t size() const = 0;

    // Y = A X for 1 <= columns <= kMaxColumns vectors in layout(); X and Y do not overlap. Work is shared out by team.run(),
    // which throws on Ctrl-C; other exceptions pass through too, and leave Y undefined. The bits of Y must not depend on
    // the number of threads. Callers hold `busy`, so a workspace may be kept.
    virtual void apply(const T* X, T* Y, int columns, Team& team) = 0;
    virtual Layout layout() const { return Layout::rows; }

    // Many vectors at once, layout rows, if that is better than apply() on kMaxColumns at a time; else returns false.
    virtual bool apply_many(const T* X, T* Y, std::int64_t columns, Team& team) {
        (void)X, (void)Y, (void)columns, (void)team;
        return false;
    }

    // An operator whose rows are cheap one by one (sparse matrices) computes rows [first, last) of A X, layout rows, into
    // Y[(i - first) * columns + c]: the driver then makes each row's share of its sums while the row is in the cache.
    // Called by several threads at a time.
    virtual bool by_rows() const { return false; }
    virtual void apply_rows(const T* X, int columns, std::int64_t first, std::int64_t last, double* Y) const {
        (void)X, (void)columns, (void)first, (void)last, (void)Y;
    }

    // Unit roundoff of A's products, where it is coarser than that of T: Lanczos takes what is below for zero.
    virtual double epsilon() const { return sizeof(T) == 4 ? 0x1p-23 : 0x1p-52; }

    std::recursive_mutex busy;  // recursive: a callback may come back to its own operator
};

}  // namespace nnqft
