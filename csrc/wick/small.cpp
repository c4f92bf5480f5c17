#include "wick/small.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/isa.hpp"
#include "wick/wide.hpp"

namespace nnqft {
namespace {

// The recursion of small_plan.hpp on one lane, term by term in its order.
class WideRecursion {
public:
    WideRecursion(int n, bool mean, const double* lane) : n_(n), mean_(mean), lane_(lane), known_(std::size_t{1} << n), value_(known_.size()) {}

    double hafnian() { return narrow(of((1u << n_) - 1)); }

private:
    Wide of(unsigned whole) {
        if (whole == 0) return wide(1.0);
        if (known_[whole]) return value_[whole];
        int low = 0;
        while (!(whole >> low & 1)) ++low;
        const unsigned rest = whole & (whole - 1);
        Wide sum = wide(0.0);
        for (int j = low + 1; j < n_; ++j) {
            if (rest >> j & 1) sum = madd(input(pair_place(n_, low, j)), of(rest ^ 1u << j), sum);
        }
        if (mean_) sum = madd(input(pair_count(n_) + low), of(rest), sum);
        known_[whole] = true;
        return value_[whole] = sum;
    }
    Wide input(int slot) const { return wide(lane_[slot * kLanes]); }

    int n_;
    bool mean_;
    const double* lane_;
    std::vector<bool> known_;
    std::vector<Wide> value_;
};

// ---------------------------------------------------------------- scaling

// The lanes of a panel that leave the window of the plain recursion, and the s of each.
struct Outside {
    bool finite = true, any = false, lane[kLanes];
    int exponent[kLanes];

    Outside(const PanelWork& work, const double* panel) {
        SmallRange K, mu;
        work.kernels.range(panel, work.pairs, &K);
        work.kernels.range(panel + work.pairs * kLanes, work.inputs - work.pairs, &mu);
        for (int i = 0; i < kLanes; ++i) {
            finite &= std::isfinite(K.most[i]) && std::isfinite(mu.most[i]);
            lane[i] = !work.window.holds({K.least[i], K.most[i], mu.least[i], mu.most[i]});
            any |= lane[i];
        }
        for (int i = 0; i < kLanes && finite && any; ++i) exponent[i] = lane[i] ? scale_exponent(K.most[i], mu.most[i]) : 0;
    }

    // K 4^-s and mu 2^-s, in steps of 2^-s: a double always holds that.
    SmallPanel scaled(const PanelWork& work, const double* panel) const {
        SmallPanel out;
        double step[kLanes];
        for (int i = 0; i < kLanes; ++i) step[i] = std::ldexp(1.0, -exponent[i]);
        for (int slot = 0; slot < work.inputs; ++slot) {
            for (int i = 0; i < kLanes; ++i) {
                const int at = slot * kLanes + i;
                out.at[at] = panel[at] * step[i] * (slot < work.pairs ? step[i] : 1.0);
            }
        }
        return out;
    }
};

SmallPanel same_in_all_lanes(int n, const double* K, std::int64_t stride, const double* mu) {
    SmallPanel panel;
    double* to = panel.at;
    for (int i = 0; i < n; ++i) {
        for (int j = i + 1; j < n; ++j, to += kLanes) std::fill_n(to, kLanes, K[i * stride + j]);
    }
    for (int i = 0; mu && i < n; ++i, to += kLanes) std::fill_n(to, kLanes, mu[i]);
    return panel;
}

}  // namespace

const SmallKernels& small_kernels() {
    static const SmallKernels& kernels = []() -> const SmallKernels& {
        switch (resolve_isa("")) {
#if defined(NNQFT_X86)
            case Isa::avx512: return avx512::small_kernels();
            case Isa::avx2: return avx2::small_kernels();
#endif
            default: return scalar::small_kernels();
        }
    }();
    return kernels;
}

// A product of n/2 entries of K, or of pairs of entries of mu, lies within 2^+-900, and there are fewer than 2^18 of them: sums stay
// below 2^918, and a difference may cancel to 2^-120 of its terms before it loses a bit.
SmallWindow::SmallWindow(int n, bool mean) {
    const double mu = std::ldexp(1.0, 900 / n);
    bound.least_K = 1.0 / mu / mu;
    bound.most_K = mu * mu;
    bound.least_mu = mean ? 1.0 / mu : 1.0;
    bound.most_mu = mean ? mu : 0.0;
}

bool PanelWork::hafnians(const double* panel, double* out) const {
    const Outside outside(*this, panel);
    if (!outside.finite) return false;
    if (!outside.any) {
        kernels.value[n][mean](panel, out);
        return true;
    }
    alignas(64) double value[kLanes];
    kernels.value[n][mean](outside.scaled(*this, panel).at, value);
    for (int i = 0; i < kLanes; ++i) {
        const bool lost = outside.lane[i] && !(std::fabs(value[i]) >= kTinyHafnian);
        out[i] = lost ? WideRecursion(n, mean, panel + i).hafnian() : std::ldexp(value[i], n * outside.exponent[i]);
    }
    return true;
}

bool PanelWork::derivatives(const double* panel, double* out) const {
    const Outside outside(*this, panel);
    if (!outside.finite) return false;
    kernels.derivative[n][mean](outside.any ? outside.scaled(*this, panel).at : panel, out);
    for (int slot = 0; slot < inputs && outside.any; ++slot) {
        const int points = slot < pairs ? n - 2 : n - 1;  // that the derivative is a hafnian of
        for (int i = 0; i < kLanes; ++i, ++out) *out = std::ldexp(*out, points * outside.exponent[i]);
    }
    return true;
}

double small_hafnian(int n, const double* K, std::int64_t stride, const double* mu) {
    if (n == 0) return 1.0;
    if (n % 2 && !mu) return 0.0;
    alignas(64) double out[kLanes];
    const bool finite = PanelWork(n, mu != nullptr).hafnians(same_in_all_lanes(n, K, stride, mu).at, out);
    return finite ? out[0] : std::numeric_limits<double>::quiet_NaN();
}

void small_hafnian_derivative(int n, const double* K, std::int64_t stride, const double* mu, double* K_bar, double* mu_bar) {
    std::fill_n(K_bar, n * n, 0.0);
    if (mu) std::fill_n(mu_bar, n, 0.0);
    if (n == 0 || (n % 2 && !mu)) return;
    SmallPanel out;
    if (!PanelWork(n, mu != nullptr).derivatives(same_in_all_lanes(n, K, stride, mu).at, out.at)) {
        std::fill_n(out.at, kPanelSlots * kLanes, std::numeric_limits<double>::quiet_NaN());
    }
    const double* from = out.at;
    for (int i = 0; i < n; ++i) {
        for (int j = i + 1; j < n; ++j, from += kLanes) K_bar[i * n + j] = K_bar[j * n + i] = 0.5 * *from;
    }
    for (int i = 0; mu && i < n; ++i, from += kLanes) mu_bar[i] = *from;
}

std::complex<double> small_hafnian_complex(int n, const std::complex<double>* K, std::int64_t stride, const std::complex<double>* mu) {
    if (n == 0) return 1.0;
    if (n % 2 && !mu) return 0.0;
    double inputs[2 * kPanelSlots], *to = inputs;
    Magnitudes size;
    const auto put = [&](std::complex<double> z, double& least, double& most) {
        for (const double part : {z.real(), z.imag()}) {
            *to++ = part;
            if (part != 0.0) least = std::min(least, std::fabs(part));
            most = std::max(most, std::fabs(part));
        }
    };
    for (int i = 0; i < n; ++i) {
        for (int j = i + 1; j < n; ++j) put(K[i * stride + j], size.least_K, size.most_K);
    }
    for (int i = 0; mu && i < n; ++i) put(mu[i], size.least_mu, size.most_mu);

    int exponent = 0;
    if (std::isfinite(size.most_K) && std::isfinite(size.most_mu) && !SmallWindow(n, mu != nullptr).holds(size)) {
        exponent = scale_exponent(size.most_K, size.most_mu);
        const double step = std::ldexp(1.0, -exponent);
        for (double* x = inputs; x != to; ++x) *x = *x * step * (x - inputs < 2 * pair_count(n) ? step : 1.0);
    }
    double out[2];
    small_kernels().complex_value[n][mu != nullptr](inputs, out);
    return {std::ldexp(out[0], n * exponent), std::ldexp(out[1], n * exponent)};
}

}  // namespace nnqft
