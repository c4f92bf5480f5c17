// Simon's recurrence for the loss of orthogonality: omega_{j,i} estimates q_j . q_i from alpha and beta alone
// (H. D. Simon, Math. Comp. 42 (1984) 115).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace nnqft {

class Omega {
public:
    // alpha_0 ... alpha_{j-1}, beta_0 ... beta_{j-1}, then alpha_j and beta_j of the step under way: max |omega_{j+1,i}| over i < j.
    //   beta_j omega_{j+1,i} = beta_i omega_{j,i+1} + (alpha_i - alpha_j) omega_{j,i} + beta_{i-1} omega_{j,i-1} - beta_{j-1} omega_{j-1,i} + rounding
    // noise: |q_i . q_j| of vectors just made orthogonal.
    double advance(const std::vector<double>& alpha, const std::vector<double>& beta, double alpha_j, double beta_j, double noise) {
        const std::size_t j = alpha.size();
        size_ = std::max(size_, std::abs(alpha_j) + beta_j);
        std::vector<double> next(j + 2, noise);
        next[j + 1] = 1.0;
        if (j == 0) now_ = {1.0};
        double largest = 0.0;
        for (std::size_t i = 0; i < j && beta_j > 0.0; ++i) {
            double x = beta[i] * now_[i + 1] + (alpha[i] - alpha_j) * now_[i] - beta[j - 1] * before_[i];
            if (i > 0) x += beta[i - 1] * now_[i - 1];
            next[i] = (x + std::copysign(2.0 * noise * size_, x)) / beta_j;
            largest = std::max(largest, std::abs(next[i]));
        }
        before_ = std::exchange(now_, std::move(next));
        return largest;
    }

    // q_{j+1} was made orthogonal to the others; with `both`, q_j too.
    void forget(double noise, bool both) {
        std::fill(now_.begin(), now_.end() - 1, noise);
        if (both && !before_.empty()) std::fill(before_.begin(), before_.end() - 1, noise);
    }

    bool again = false;  // partial reorthogonalisation: at the next step too, since the recurrence carries two vectors

private:
    double size_ = 0.0;                 // max |alpha| + beta
    std::vector<double> before_, now_;  // omega_{j-1}, omega_j
};

}  // namespace nnqft
