// Where the panels of a batch come from: index tuples over one kernel, or many matrices. Everything that comes in is checked here.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "wick/small.hpp"
#include "wick/small_batch.hpp"

namespace nnqft {

class IndexSource {
public:
    IndexSource(const IndexBatch& batch, const BatchPoll& poll);

    // K with one value for K_ij and K_ji.
    const double* K() const { return K_; }

    // Tuples first .. last - 1; in range, or ArgumentError.
    void read(std::int64_t first, std::int64_t last, std::int32_t* to) const;

    // For 1 <= n <= 12, n even without a mean: the hafnians of tuples first .. last - 1 ..
    void values(const PanelWork& work, std::int64_t first, std::int64_t last, double* out) const;
    // .. and g_b times their derivatives, added to K_sum (m, m) in the slots (i, j) as the tuples name them, and to mu_sum (m).
    void add_derivatives(const PanelWork& work, std::int64_t first, std::int64_t last, const double* g, double* K_sum, double* mu_sum) const;

private:
    static constexpr std::int64_t kChunk = 256;  // tuples that are checked and packed together

    std::int32_t points() const { return static_cast<std::int32_t>(batch_.m); }
    std::int64_t read_groups(std::int64_t first, std::int64_t count, std::int32_t* tuples) const;

    const IndexBatch& batch_;
    const SmallKernels& kernels_;
    const double* K_;
    std::vector<double> copy_;
    Magnitudes entries_;  // of all of K and mu
};

class MatrixSource {
public:
    explicit MatrixSource(const MatrixBatch& batch);  // n <= 12

    void values(const PanelWork& work, std::int64_t first, std::int64_t last, double* out) const;
    // g_b times the derivatives of matrix b, into its part of K_bar, like K, and mu_bar, like mu.
    void derivatives(const PanelWork& work, std::int64_t first, std::int64_t last, const double* g, double* K_bar, double* mu_bar) const;

private:
    struct alignas(64) Panels {
        double at[2 * kPanelSlots * kLanes];  // what lies above the diagonals, and, from the middle on, what lies below
    };
    void read(std::int64_t first, Panels& panels) const;
    [[noreturn]] void refuse(std::int64_t first) const;

    const MatrixBatch& batch_;
    const SmallKernels& kernels_;
    int n_, entries_;
    short place_[kSmallPoints * kSmallPoints], mu_place_[kSmallPoints];  // slots in Panels
};

}  // namespace nnqft
