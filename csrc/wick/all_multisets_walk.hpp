// Where the entries of a packed tensor lie, seen from its end: value i as the distance x = m-1-i from the last value, and an
// entry x1 >= x2 >= .. >= xn behind sum_k N(x_k, n-k+1) others, N(x, n) = C(x+n-1, n).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace nnqft {
namespace detail {

// N(x, k) for x <= m, k <= order.
class Counts {
public:
    Counts(std::int64_t m, int order) : width_(m + 1), table_(static_cast<std::size_t>(width_ * (order + 1)), 0) {
        for (std::int64_t x = 0; x <= m; ++x) at(x, 0) = 1;
        for (int k = 1; k <= order; ++k) {
            for (std::int64_t x = 1; x <= m; ++x) at(x, k) = at(x - 1, k) + at(x, k - 1);
        }
    }

    std::int64_t operator()(std::int64_t x, int k) const noexcept { return table_[static_cast<std::size_t>(k * width_ + x)]; }

    // The largest x with N(x, k) <= distance.
    std::int64_t unrank(std::int64_t distance, int k) const noexcept {
        const auto begin = table_.begin() + k * width_, end = begin + width_;
        return std::upper_bound(begin, end, distance) - begin - 1;
    }

    // sum_q N(x, k - q), q = 0 .. count-1: what `count` equal legs contribute, the first of which is followed by k - 1.
    std::int64_t run(std::int64_t x, int k, int count) const noexcept { return (*this)(x + 1, k) - (*this)(x + 1, k - count); }

private:
    std::int64_t& at(std::int64_t x, int k) noexcept { return table_[static_cast<std::size_t>(k * width_ + x)]; }

    std::int64_t width_;
    std::vector<std::int64_t> table_;
};

// Rows of m numbers with zeros in front, which begin and end where a cache line and the widest register do.
class PaddedRows {
public:
    PaddedRows(std::int64_t rows, std::int64_t m)
        : m_(m), stride_((m + kLine - 1) / kLine * kLine), values_(static_cast<std::size_t>(rows * stride_ + kLine), 0.0) {
        void* start = values_.data();
        std::size_t space = values_.size() * sizeof(double);
        first_ = static_cast<double*>(std::align(kLine * sizeof(double), sizeof(double), start, space));
    }
    PaddedRows(const PaddedRows&) = delete;
    PaddedRows& operator=(const PaddedRows&) = delete;

    double* row(std::int64_t i) noexcept { return first_ + i * stride_; }
    double* values(std::int64_t i) noexcept { return row(i) + stride_ - m_; }  // the m numbers
    std::int64_t stride() const noexcept { return stride_; }

private:
    static constexpr std::int64_t kLine = 8;

    std::int64_t m_, stride_;
    std::vector<double> values_;
    double* first_;
};

// `count` legs of the same value x, the first of them at `place`.
struct Run {
    std::int64_t x;
    int count, place;
};

// The leading legs (t, z) of a tensor of order n >= 4: n-4 legs t as runs, x falling, and one more.
struct Prefix {
    std::vector<Run> t;
    std::int64_t z = 0;
    std::int64_t distance = 0;  // of the blocks (t, ..) from the end of the tensor
};

// All prefixes, from the end of the tensor to its beginning.
class Prefixes {
public:
    Prefixes(const Counts& counts, std::int64_t m, int order) : counts_(counts), m_(m), order_(order) {}

    // z < side.
    std::int64_t side(const Prefix& p) const noexcept { return p.t.empty() ? m_ : p.t.back().x + 1; }
    std::int64_t distance(const Prefix& p) const noexcept { return p.distance + counts_(p.z, 4); }

    // The first one whose entries begin at `distance` or farther from the end.
    Prefix first(std::int64_t distance) const {
        Prefix p;
        std::int64_t left = distance;
        for (int k = order_; k > 4; --k) {
            const std::int64_t x = std::min(counts_.unrank(left, k), m_ - 1);
            left -= counts_(x, k);
            append(p, x, 1);
        }
        p.distance = distance - left;
        p.z = counts_.unrank(left, 4);
        p.z += counts_(p.z, 4) < left;
        if (p.z >= side(p)) next(p);
        return p;
    }

    // To the next t with z = 0; false behind the last.
    bool next(Prefix& p) const {
        p.distance += counts_(side(p), 4);
        p.z = 0;
        if (side(p) == m_) return false;
        const Run last = p.t.back();
        p.t.pop_back();
        append(p, last.x + 1, 1);
        if (last.count > 1) append(p, 0, last.count - 1);
        return true;
    }

private:
    static void append(Prefix& p, std::int64_t x, int count) {
        if (p.t.empty() || p.t.back().x != x) p.t.push_back({x, 0, p.t.empty() ? 0 : p.t.back().place + p.t.back().count});
        p.t.back().count += count;
    }

    const Counts& counts_;
    const std::int64_t m_;
    const int order_;
};

}  // namespace detail
}  // namespace nnqft
