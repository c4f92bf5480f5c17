#include "lanczos/operators.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "core/array.hpp"
#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"

namespace nnqft {
namespace {

std::int64_t block_count(std::int64_t n) { return (n + kBlockRows - 1) / kBlockRows; }

// Rows of the triangle go to groups of equal area, each with a Y of its own: as many as n says, never the threads.
constexpr std::int64_t kGroupRows = 400, kMaxGroups = 32;
constexpr std::int64_t kRowMultiple = 8;  // rows of a kernel's tile

std::vector<std::int64_t> group_starts(std::int64_t n) {
    const std::int64_t groups = std::clamp<std::int64_t>(n / kGroupRows, 1, kMaxGroups);
    std::vector<std::int64_t> starts{0};
    for (std::int64_t g = 1; g < groups; ++g) {
        const double share = static_cast<double>(g) / static_cast<double>(groups);
        const auto row = static_cast<std::int64_t>(static_cast<double>(n) * (1.0 - std::sqrt(1.0 - share)));
        starts.push_back(std::max(starts.back(), row / kRowMultiple * kRowMultiple));
    }
    starts.push_back(n);
    return starts;
}

}  // namespace

template <class T>
DenseOperator<T>::DenseOperator(std::int64_t n, const T* a, std::int64_t stride) : n_(n), a_(a), stride_(stride) {}

template <class T>
void DenseOperator<T>::apply(const T* X, T* Y, int columns, Team& team) {
    const std::vector<std::int64_t> starts = group_starts(n_);
    const auto groups = static_cast<std::int64_t>(starts.size()) - 1;
    const std::int64_t wide = n_ * columns;
    Array<double> x(static_cast<std::size_t>(wide)), y(static_cast<std::size_t>(wide * groups));
    team.run(block_count(n_), [&](std::int64_t task, unsigned) {
        for (std::int64_t i = task * kBlockRows; i < std::min(n_, (task + 1) * kBlockRows); ++i)
            for (int c = 0; c < columns; ++c) x.data()[c * n_ + i] = static_cast<double>(X[i * columns + c]);
    });
    team.run(groups, [&](std::int64_t g, unsigned) {  // group g reaches rows starts[g] ... n - 1 of Y
        double* to = y.data() + g * wide;
        const std::int64_t begin = starts[static_cast<std::size_t>(g)], end = starts[static_cast<std::size_t>(g) + 1];
        for (int c = 0; c < columns; ++c) std::fill(to + c * n_ + begin, to + (c + 1) * n_, 0.0);
        kernels_.symmetric(n_, begin, end, columns, a_, stride_, x.data(), to);
    });
    team.run(block_count(n_), [&](std::int64_t task, unsigned) {
        for (std::int64_t i = task * kBlockRows; i < std::min(n_, (task + 1) * kBlockRows); ++i) {
            for (int c = 0; c < columns; ++c) {
                double sum = 0.0;
                for (std::int64_t g = 0; g < groups && starts[static_cast<std::size_t>(g)] <= i; ++g) sum += y.data()[g * wide + c * n_ + i];
                Y[i * columns + c] = static_cast<T>(sum);
            }
        }
    });
}

// Y_I = sum_J A_IJ X_J in blocks of kPanelRows, A_IJ being the transpose of A_JI below the diagonal. From 48 columns (24 in
// single precision) on BLAS wins, with its full matrix from the cache, over half the matrix from memory.
template <class T>
bool DenseOperator<T>::apply_many(const T* X, T* Y, std::int64_t columns, Team& team) {
    constexpr std::int64_t kPanelRows = 256, kFewest = sizeof(T) == 4 ? 24 : 48;
    if (columns < kFewest || !blas_is_external()) return false;
    const BlasThreadsOff single;
    team.run((n_ + kPanelRows - 1) / kPanelRows, [&](std::int64_t panel, unsigned) {
        const std::int64_t i = panel * kPanelRows, rows = std::min(kPanelRows, n_ - i);
        std::vector<T> diagonal(static_cast<std::size_t>(rows * rows));
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t c = r; c < rows; ++c)
                diagonal[static_cast<std::size_t>(r * rows + c)] = diagonal[static_cast<std::size_t>(c * rows + r)] = a_[(i + r) * stride_ + i + c];
        T* const y = Y + i * columns;
        gemm('N', 'N', columns, rows, rows, T(1), X + i * columns, columns, diagonal.data(), rows, T(0), y, columns);
        for (std::int64_t j = 0; j < n_; j += kPanelRows) {
            const std::int64_t inner = std::min(kPanelRows, n_ - j);
            if (j < i) gemm('N', 'T', columns, rows, inner, T(1), X + j * columns, columns, a_ + j * stride_ + i, stride_, T(1), y, columns);
            if (j > i) gemm('N', 'N', columns, rows, inner, T(1), X + j * columns, columns, a_ + i * stride_ + j, stride_, T(1), y, columns);
        }
    });
    return true;
}

template <class T>
void DenseOperator<T>::asymmetry(Team& team, double* difference, double* largest) const {
    constexpr std::int64_t kTile = 64;
    const std::int64_t tiles = (n_ + kTile - 1) / kTile;
    std::vector<double> found(static_cast<std::size_t>(2 * tiles), 0.0);
    const auto grow = [](double& most, double x) {
        if (x > most || x != x) most = x;  // a NaN stays
    };
    team.run(tiles, [&](std::int64_t tile, unsigned) {
        double d = 0.0, l = 0.0;
        for (std::int64_t other = tile; other < tiles; ++other) {
            for (std::int64_t i = tile * kTile; i < std::min(n_, (tile + 1) * kTile); ++i) {
                for (std::int64_t j = std::max(i, other * kTile); j < std::min(n_, (other + 1) * kTile); ++j) {
                    const double upper = static_cast<double>(a_[i * stride_ + j]), lower = static_cast<double>(a_[j * stride_ + i]);
                    if (upper != lower) grow(d, std::abs(upper - lower));
                    grow(l, std::max(std::abs(upper), std::abs(lower)));
                }
            }
        }
        found[static_cast<std::size_t>(2 * tile)] = d;
        found[static_cast<std::size_t>(2 * tile + 1)] = l;
    });
    *difference = *largest = 0.0;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
        grow(*difference, found[static_cast<std::size_t>(2 * tile)]);
        grow(*largest, found[static_cast<std::size_t>(2 * tile + 1)]);
    }
}

template <class T, class Index>
CsrOperator<T, Index>::CsrOperator(std::int64_t n, std::int64_t entries, const Index* start, const Index* column, const T* value)
    : n_(n), start_(start), column_(column), value_(value) {
    if (start[0] != 0) throw ArgumentError("indptr begins with " + std::to_string(start[0]) + ", expected 0");
    for (std::int64_t i = 0; i < n; ++i) {
        if (start[i + 1] < start[i] || start[i + 1] > entries)
            throw ArgumentError("indptr[" + std::to_string(i + 1) + "] is " + std::to_string(start[i + 1]) + "; expected " + std::to_string(start[i]) + " to " +
                                std::to_string(entries) + ", the number of entries");
    }
    for (std::int64_t e = 0; e < start[n]; ++e) {
        if (column[e] < 0 || column[e] >= n)
            throw ArgumentError("indices[" + std::to_string(e) + "] is " + std::to_string(column[e]) + "; expected 0 to " + std::to_string(n - 1));
    }
    find_runs();
}

template <class T, class Index>
void CsrOperator<T, Index>::find_runs() {
    const auto follows = [&](std::int64_t i) {  // row i is row i - 1, moved by one
        const std::int64_t before = start_[i - 1], here = start_[i], terms = here - before;
        if (terms == 0 || terms >= kLongRow || start_[i + 1] - here != terms) return false;
        bool same = true;
        for (std::int64_t t = 0; t < terms; ++t) same &= column_[here + t] == column_[before + t] + 1;
        return same && std::memcmp(value_ + here, value_ + before, static_cast<std::size_t>(terms) * sizeof(T)) == 0;
    };
    for (std::int64_t first = 0, last; first < n_; first = last) {
        for (last = first + 1; last < n_ && follows(last);) ++last;
        add_run(first, last);
    }
}

template <class T, class Index>
void CsrOperator<T, Index>::add_run(std::int64_t first, std::int64_t last) {
    constexpr std::int64_t kShortest = 16;
    if (last - first < kShortest) {
        if (runs_.empty() || runs_.back().terms > 0) runs_.push_back({first, last, 0, 0});
        runs_.back().last = last;
        return;
    }
    const std::int64_t terms = start_[first + 1] - start_[first];
    Run run{first, last, terms, static_cast<std::int64_t>(offset_.size())};
    for (std::int64_t e = start_[first]; e < start_[first + 1]; ++e) {
        offset_.push_back(static_cast<std::int64_t>(column_[e]) - first);
        coefficient_.push_back(static_cast<double>(value_[e]));
    }
    // The rows of a lattice begin alike: one copy of each kind stays in the cache.
    const auto alike = [&](const Run& other) {
        return other.terms == terms && std::equal(offset_.begin() + run.at, offset_.end(), offset_.begin() + other.at) &&
               std::memcmp(coefficient_.data() + run.at, coefficient_.data() + other.at, static_cast<std::size_t>(terms) * sizeof(double)) == 0;
    };
    const auto known = std::find_if(runs_.rbegin(), runs_.rbegin() + std::min<std::ptrdiff_t>(4, static_cast<std::ptrdiff_t>(runs_.size())), alike);
    if (known != runs_.rend() && alike(*known)) {
        offset_.resize(static_cast<std::size_t>(run.at));
        coefficient_.resize(static_cast<std::size_t>(run.at));
        run.at = known->at;
    }
    runs_.push_back(run);
}

template <class T, class Index>
void CsrOperator<T, Index>::apply_rows(const T* X, int columns, std::int64_t first, std::int64_t last, double* Y) const {
    auto run = std::upper_bound(runs_.begin(), runs_.end(), first, [](std::int64_t row, const Run& r) { return row < r.last; });
    for (; first < last; ++run) {
        const std::int64_t end = std::min(last, run->last);
        if (run->terms > 0) {
            std::int64_t offset[kLongRow];
            for (std::int64_t t = 0; t < run->terms; ++t) offset[t] = offset_[static_cast<std::size_t>(run->at + t)] * columns;
            kernels_.stencil((end - first) * columns, run->terms, offset, coefficient_.data() + run->at, X + first * columns, Y);
        } else if constexpr (std::is_same_v<Index, std::int32_t>) {
            kernels_.csr32(columns, first, end, start_, column_, value_, X, Y);
        } else {
            kernels_.csr64(columns, first, end, start_, column_, value_, X, Y);
        }
        Y += (end - first) * columns;
        first = end;
    }
}

template <class T, class Index>
void CsrOperator<T, Index>::apply(const T* X, T* Y, int columns, Team& team) {
    if (columns > kMaxColumns) throw ArgumentError("a sparse product takes up to " + std::to_string(kMaxColumns) + " columns at a time");
    team.run(block_count(n_), [&](std::int64_t task, unsigned) {
        const std::int64_t first = task * kBlockRows, last = std::min(n_, first + kBlockRows);
        double rows[kBlockRows * kMaxColumns];
        apply_rows(X, columns, first, last, rows);
        std::transform(rows, rows + (last - first) * columns, Y + first * columns, [](double x) { return static_cast<T>(x); });
    });
}

template class DenseOperator<float>;
template class DenseOperator<double>;
template class CsrOperator<float, std::int32_t>;
template class CsrOperator<float, std::int64_t>;
template class CsrOperator<double, std::int32_t>;
template class CsrOperator<double, std::int64_t>;

}  // namespace nnqft
