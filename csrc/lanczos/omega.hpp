// Simon's recurrence for the loss of orthogonality: omega_{j,i} estimates q_j . q_i from alpha and beta alone
// (H. D. Simon, Math. Comp. 42 (1984) 115). Orthogonality to sqrt(eps) is enough for T to be right to eps.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace nnqft {

class Omega {
public:
    Omega(double eps, std::int64_t n) : noise_(0.5 * eps * std::sqrt(static_cast<double>(n))), bound_(std::sqrt(eps)) {}

    // alpha_0 ... alpha_{j-1}, beta_0 ... beta_{j-1}, then alpha_j and beta_j of the step under way. True if q_{j+1} is to
    // be made orthogonal to q_0 ... q_j: where an estimate exceeds sqrt(eps), and at the step after, since the recurrence
    // carries two vectors.
    //   beta_j omega_{j+1,i} = beta_i omega_{j,i+1} + (alpha_i - alpha_j) omega_{j,i} + beta_{i-1} omega_{j,i-1} - beta_{j-1} omega_{j-1,i} + rounding
    bool advance(const std::vector<double>& alpha, const std::vector<double>& beta, double alpha_j, double beta_j) {
        const std::size_t j = alpha.size();
        size_ = std::max(size_, std::abs(alpha_j) + beta_j);
        std::vector<double> next(j + 2, noise_);
        next[j + 1] = 1.0;
        if (j == 0) now_ = {1.0};
        double largest = 0.0;
        for (std::size_t i = 0; i < j && beta_j > 0.0; ++i) {
            double x = beta[i] * now_[i + 1] + (alpha[i] - alpha_j) * now_[i] - beta[j - 1] * before_[i];
            if (i > 0) x += beta[i - 1] * now_[i - 1];
            next[i] = (x + std::copysign(2.0 * noise_ * size_, x)) / beta_j;
            largest = std::max(largest, std::abs(next[i]));
        }
        const bool needed = again_ || largest > bound_;
        again_ = needed && !again_;
        if (needed) std::fill(next.begin(), next.end() - 1, noise_);
        before_ = std::exchange(now_, std::move(next));
        return needed;
    }

private:
    double noise_, bound_;
    double size_ = 0.0;                // max |alpha| + beta
    std::vector<double> before_, now_;  // omega_{j-1}, omega_j
    bool again_ = false;
};

}  // namespace nnqft
