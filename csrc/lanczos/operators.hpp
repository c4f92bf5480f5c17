// Operators on memory of the caller, which must outlive them.
#pragma once

#include <cstdint>

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
    void apply_one(const T* x, T* y, Team& team) override;  // through BLAS, for double: four times as fast

    // max |a_ij - a_ji| and max |a_ij|; NaN if one is in A.
    void asymmetry(Team& team, double* difference, double* largest) const;

private:
    std::int64_t n_;
    const T* a_;
    std::int64_t stride_;
};

// Row i has its entries value[e], e in [start[i], start[i + 1]), in columns column[e]. Index is int32 or int64.
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
    std::int64_t n_;
    const Index *start_, *column_;
    const T* value_;
};

}  // namespace nnqft
