// Operators on memory of the caller, which must outlive them.
#pragma once

#include <cstdint>
#include <vector>

#include "lanczos/kernels.hpp"
#include "lanczos/operator.hpp"

namespace nnqft {

// Symmetric n x n, row i at a + i * stride; the upper triangle alone is read, once for up to 8 vectors.
template <class T>
class DenseOperator : public Operator<T> {
public:
    DenseOperator(std::int64_t n, const T* a, std::int64_t stride);
    std::int64_t size() const override { return n_; }
    void apply(const T* X, T* Y, int columns, Team& team) override;
    bool apply_many(const T* X, T* Y, std::int64_t columns, Team& team) override;  // by BLAS, in panels of fixed shape

    // max |a_ij - a_ji| and max |a_ij|; NaN if one is in A.
    void asymmetry(Team& team, double* difference, double* largest) const;

private:
    const LanczosKernels<T>& kernels_ = lanczos_kernels<T>(resolve_isa(""));
    std::int64_t n_;
    const T* a_;
    std::int64_t stride_;
};

// Row i has its entries value[e], e in [start[i], start[i + 1]), in columns column[e]. Index is int32 or int64.
// Runs of rows that are one row, moved (stencils on lattices) are found once, and no longer read: a step of Lanczos on a
// five-point Laplacian, n = 1e6, moves 56 MB instead of 120.
template <class T, class Index>
class CsrOperator : public Operator<T> {
public:
    // ArgumentError if an index points outside of what there is.
    CsrOperator(std::int64_t n, std::int64_t entries, const Index* start, const Index* column, const T* value);
    std::int64_t size() const override { return n_; }
    void apply(const T* X, T* Y, int columns, Team& team) override;
    bool by_rows() const override { return true; }
    void apply_rows(const T* X, int columns, std::int64_t first, std::int64_t last, double* Y) const override;

private:
    struct Run {
        std::int64_t first, last;  // rows
        std::int64_t terms, at;    // of offset_ and coefficient_; no terms: read from the matrix
    };
    void add_run(std::int64_t first, std::int64_t last);
    void find_runs();

    const LanczosKernels<T>& kernels_ = lanczos_kernels<T>(resolve_isa(""));
    std::int64_t n_;
    const Index *start_, *column_;
    const T* value_;
    std::vector<Run> runs_;             // of all rows, in order
    std::vector<std::int64_t> offset_;  // column less row
    std::vector<double> coefficient_;
};

}  // namespace nnqft
