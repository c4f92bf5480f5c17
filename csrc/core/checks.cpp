#include "core/checks.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "core/error.hpp"

namespace nnqft {
namespace {

std::string number(const double* x, int parts) { return parts == 1 ? text(x[0]) : "(" + text(x[0]) + ", " + text(x[1]) + ")"; }
double size(const double* x, int parts) { return parts == 1 ? std::fabs(x[0]) : std::hypot(x[0], x[1]); }

// name[row, i], name[i, j], name[row, i, j]: whatever is not kAlone.
std::string entry(const char* name, std::int64_t row, std::int64_t i, std::int64_t j) {
    std::string list;
    for (const std::int64_t index : {row, i, j}) {
        if (index != kAlone) list += (list.empty() ? "" : ", ") + std::to_string(index);
    }
    return name + ("[" + list + "]");
}

void check_entry(const char* name, std::int64_t row, std::int64_t i, std::int64_t j, const double* x, int parts) {
    if (std::isfinite(x[0]) && std::isfinite(x[parts - 1])) return;
    throw ArgumentError(entry(name, row, i, j) + " is " + number(x, parts) + ": every entry must be finite");
}

template <int Parts>
bool is_symmetric(const double* K, std::int64_t m, const CheckPoll& poll) {
    constexpr std::int64_t kTile = 64, kLarge = 4096;  // tiles fit the cache
    int sound = 1;
    for (std::int64_t i0 = 0; i0 < m; i0 += kTile) {
        for (std::int64_t j0 = i0; j0 < m; j0 += kTile) {
            for (std::int64_t i = i0; i < std::min(m, i0 + kTile); ++i) {
                for (std::int64_t j = std::max(i, j0); j < std::min(m, j0 + kTile); ++j) {
                    const double *x = K + (i * m + j) * Parts, *y = K + (j * m + i) * Parts;
                    for (int part = 0; part < Parts; ++part) sound &= x[part] - y[part] == 0.0;  // of finite and equal numbers only
                }
            }
        }
        if (poll && m > kLarge) poll();
    }
    return sound;
}

}  // namespace

std::string text(double x) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.17g", x);
    return digits;
}

void check_finite(const char* name, const double* x, std::int64_t count, std::int64_t row, int parts) {
    for (std::int64_t i = 0; i < count; ++i) check_entry(name, row, i, kAlone, x + i * parts, parts);
}

bool is_symmetric(const double* K, std::int64_t m, int parts, const CheckPoll& poll) {
    return parts == 1 ? is_symmetric<1>(K, m, poll) : is_symmetric<2>(K, m, poll);
}

void check_symmetric(const double* K, std::int64_t m, int parts, const CheckPoll& poll, std::int64_t matrix) {
    if (is_symmetric(K, m, parts, poll)) return;
    const auto at = [&](std::int64_t i, std::int64_t j) { return K + (i * m + j) * parts; };
    std::vector<double> largest(static_cast<std::size_t>(m), 0.0);
    for (std::int64_t i = 0; i < m; ++i) {
        double& most = largest[static_cast<std::size_t>(i)];
        for (std::int64_t j = 0; j < m; ++j) {
            if (i == j && matrix != kAlone) continue;
            check_entry("K", matrix, i, j, at(i, j), parts);
            most = std::max(most, size(at(i, j), parts));
        }
        if (poll) poll();
    }
    for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = i + 1; j < m; ++j) {
            const double *x = at(i, j), *y = at(j, i), gap[2] = {x[0] - y[0], x[parts - 1] - y[parts - 1]};
            if (size(gap, parts) <= 1e-12 * std::min(largest[static_cast<std::size_t>(i)], largest[static_cast<std::size_t>(j)])) continue;
            throw ArgumentError("K is not symmetric: " + entry("K", matrix, i, j) + " = " + number(x, parts) + " but " +
                                entry("K", matrix, j, i) + " = " + number(y, parts) + "; pass (K + K^T) / 2 if that is meant");
        }
        if (poll) poll();
    }
}

}  // namespace nnqft
