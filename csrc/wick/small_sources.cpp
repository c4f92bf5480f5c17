#include "wick/small_sources.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/checks.hpp"
#include "core/error.hpp"

namespace nnqft {
namespace {

// Takes more numbers into the smallest magnitude but for zeros and the largest.
void extend(const double* x, std::int64_t count, double& least, double& most) {
    for (std::int64_t i = 0; i < count; ++i) {
        const double size = std::fabs(x[i]);
        most = std::max(most, size);
        least = std::min(least, size > 0.0 ? size : 1.0);
    }
}

}  // namespace

// ---------------------------------------------------------------- index tuples

IndexSource::IndexSource(const IndexBatch& batch, const BatchPoll& poll)
    : batch_(batch), kernels_(small_kernels()), K_(batch.K) {
    constexpr std::int64_t kMostPoints = 46340;  // m * m < 2^31, for the gathers
    const std::int64_t m = batch.m;
    if (m > kMostPoints) throw ArgumentError("K has " + std::to_string(m) + " points; index tuples take at most " + std::to_string(kMostPoints));
    if (!is_symmetric(K_, m, 1, poll)) {
        check_symmetric(K_, m, 1, poll);
        copy_.assign(K_, K_ + m * m);
        for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < i; ++j) copy_[static_cast<std::size_t>(i * m + j)] = copy_[static_cast<std::size_t>(j * m + i)];
        }
        K_ = copy_.data();
    }
    if (batch.mu) check_finite("mu", batch.mu, m);
    for (std::int64_t i = 0; i < m; ++i) {
        extend(K_ + i * m, m, entries_.least_K, entries_.most_K);
        if (poll && m > 4096) poll();
    }
    if (batch.mu) extend(batch.mu, m, entries_.least_mu, entries_.most_mu);
}

void IndexSource::read(std::int64_t first, std::int64_t last, std::int32_t* to) const {
    const std::int64_t at = first * batch_.n, count = (last - first) * batch_.n;
    const auto* const narrow = static_cast<const std::int32_t*>(batch_.index);
    const auto* const wide = static_cast<const std::int64_t*>(batch_.index);
    if (batch_.wide ? kernels_.narrow64(wide + at, count, points(), to) : kernels_.narrow32(narrow + at, count, points(), to)) return;
    for (std::int64_t k = at; k < at + count; ++k) {
        const std::int64_t value = batch_.wide ? wide[k] : narrow[k];
        if (value >= 0 && value < batch_.m) continue;
        throw ArgumentError("index[" + std::to_string(k / batch_.n) + ", " + std::to_string(k % batch_.n) + "] is " + std::to_string(value) +
                            "; K has " + (batch_.m > 0 ? "the points 0 to " + std::to_string(batch_.m - 1) : "no points"));
    }
    throw ArgumentError("index was changed while it was read");
}

// The last group is filled up with the tuple (0, 0, ..).
std::int64_t IndexSource::read_groups(std::int64_t first, std::int64_t count, std::int32_t* tuples) const {
    const std::int64_t groups = (count + kLanes - 1) / kLanes;
    read(first, first + count, tuples);
    std::fill(tuples + count * batch_.n, tuples + groups * kLanes * batch_.n, 0);
    return groups;
}

void IndexSource::values(const PanelWork& work, std::int64_t first, std::int64_t last, double* out) const {
    const bool plain = work.window.holds(entries_);
    std::int32_t tuples[kChunk * kSmallPoints];
    double part[kChunk];  // the last chunk may end inside a group
    for (; first < last; first += kChunk, out += kChunk) {
        const std::int64_t count = std::min(kChunk, last - first), groups = read_groups(first, count, tuples);
        double* const values = count == kChunk ? out : part;
        if (plain) {
            kernels_.index_value[work.n][work.mean](K_, batch_.mu, points(), tuples, groups, values);
        } else {
            for (std::int64_t group = 0; group < groups; ++group) {
                SmallPanel panel;
                kernels_.index_panel[work.n][work.mean](K_, batch_.mu, points(), tuples + group * kLanes * work.n, 1, panel.at);
                work.hafnians(panel.at, values + group * kLanes);
            }
        }
        if (values == part) std::copy_n(part, count, out);
    }
}

void IndexSource::add_derivatives(const PanelWork& work, std::int64_t first, std::int64_t last, const double* g, double* K_sum,
                                  double* mu_sum) const {
    std::int32_t tuples[kChunk * kSmallPoints];
    for (; first < last; first += kChunk) {
        const std::int64_t count = std::min(kChunk, last - first), groups = read_groups(first, count, tuples);
        for (std::int64_t group = 0; group < groups; ++group) {
            const std::int32_t* tuple = tuples + group * kLanes * work.n;
            SmallPanel panel, bar;
            kernels_.index_panel[work.n][work.mean](K_, batch_.mu, points(), tuple, 1, panel.at);
            work.derivatives(panel.at, bar.at);
            const auto lanes = static_cast<int>(std::min<std::int64_t>(kLanes, count - group * kLanes));
            const double* weight = g + first + group * kLanes;
            const double* from = bar.at;
            for (int i = 0; i < work.n; ++i) {
                for (int j = i + 1; j < work.n; ++j, from += kLanes) {
                    for (int lane = 0; lane < lanes; ++lane) {
                        const std::int32_t* t = tuple + lane * work.n;
                        K_sum[t[i] * points() + t[j]] += weight[lane] * from[lane];
                    }
                }
            }
            for (int i = 0; work.mean && i < work.n; ++i, from += kLanes) {
                for (int lane = 0; lane < lanes; ++lane) mu_sum[tuple[lane * work.n + i]] += weight[lane] * from[lane];
            }
        }
    }
}

// ---------------------------------------------------------------- matrices

MatrixSource::MatrixSource(const MatrixBatch& batch) : batch_(batch), kernels_(small_kernels()), n_(static_cast<int>(batch.n)) {
    entries_ = batch.packed ? pair_count(n_) : n_ * n_;
    for (int i = 0; i < n_; ++i) {
        for (int j = i + 1; j < n_; ++j) {
            const auto slot = static_cast<short>(pair_place(n_, i, j));
            if (batch.packed) {
                place_[slot] = slot;
            } else {
                place_[i * n_ + j] = slot;
                place_[j * n_ + i] = static_cast<short>(kPanelSlots + slot);
            }
        }
        if (!batch.packed) place_[i * n_ + i] = -1;
        mu_place_[i] = static_cast<short>(pair_count(n_) + i);
    }
}

// Matrices first .. first + kLanes - 1, the last of all in place of those that do not exist.
void MatrixSource::read(std::int64_t first, Panels& panels) const {
    const double *matrix[kLanes], *mean[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
        const std::int64_t number = std::min(first + lane, batch_.count - 1);
        matrix[lane] = batch_.K + number * entries_;
        mean[lane] = batch_.mu ? batch_.mu + number * n_ : nullptr;
    }
    kernels_.transpose(matrix, entries_, place_, panels.at);
    if (batch_.mu) kernels_.transpose(mean, n_, mu_place_, panels.at);
    if (batch_.packed || kernels_.equal(panels.at, panels.at + kPanelSlots * kLanes, pair_count(n_) * kLanes)) return;
    for (int lane = 0; lane < kLanes; ++lane) check_symmetric(matrix[lane], n_, 1, {}, std::min(first + lane, batch_.count - 1));
}

// The panel of matrix `first` is not finite.
void MatrixSource::refuse(std::int64_t first) const {
    for (std::int64_t number = first; number < std::min(first + kLanes, batch_.count); ++number) {
        if (batch_.packed) check_finite("K", batch_.K + number * entries_, entries_, number);
        else check_symmetric(batch_.K + number * entries_, n_, 1, {}, number);
        if (batch_.mu) check_finite("mu", batch_.mu + number * n_, n_, number);
    }
    throw ArgumentError("K or mu was changed while it was read");
}

void MatrixSource::values(const PanelWork& work, std::int64_t first, std::int64_t last, double* out) const {
    alignas(64) double values[kLanes];
    for (; first < last; first += kLanes, out += kLanes) {
        Panels panels;
        read(first, panels);
        if (!work.hafnians(panels.at, values)) refuse(first);
        std::copy_n(values, std::min<std::int64_t>(kLanes, last - first), out);
    }
}

void MatrixSource::derivatives(const PanelWork& work, std::int64_t first, std::int64_t last, const double* g, double* K_bar, double* mu_bar) const {
    for (; first < last; first += kLanes) {
        Panels panels;
        SmallPanel bar;
        read(first, panels);
        if (!work.derivatives(panels.at, bar.at)) refuse(first);
        for (int lane = 0; lane < kLanes && first + lane < last; ++lane) {
            const double weight = g[first + lane], *from = bar.at + lane;
            double* to = K_bar + (first + lane) * entries_;
            for (int i = 0; i < n_; ++i) {
                for (int j = i + 1; j < n_; ++j, from += kLanes) {
                    if (batch_.packed) *to++ = weight * *from;
                    else to[i * n_ + j] = to[j * n_ + i] = 0.5 * (weight * *from);
                }
            }
            for (int i = 0; work.mean && i < n_; ++i, from += kLanes) mu_bar[(first + lane) * n_ + i] = weight * *from;
        }
    }
}

}  // namespace nnqft
