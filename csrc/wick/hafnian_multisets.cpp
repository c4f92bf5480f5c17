#include "wick/hafnian_multisets.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

namespace nnqft {
namespace {

using Complex = std::complex<double>;

// haf of all r' <= r.
template <class T>
struct Table {
    std::vector<std::size_t> stride;  // of each point of the request
    std::vector<T> haf;

    T whole() const { return haf.back(); }
    T without(std::size_t i) const { return haf[haf.size() - 1 - stride[i]]; }
    T without(std::size_t i, std::size_t j) const { return haf[haf.size() - 1 - stride[i] - stride[j]]; }
};

// The points in the order of the recursion: the one of highest multiplicity is the fastest index.
std::vector<std::size_t> order_of(const Request& request) {
    std::vector<std::size_t> order(request.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return request.repeats(a) < request.repeats(b); });
    return order;
}

template <class T>
struct Theory {
    std::vector<T> K, mu;
    std::vector<std::int32_t> r;

    Theory(const Request& request, const Scales& s, const std::vector<std::size_t>& order) : K(order.size() * order.size()), mu(order.size(), T(0)) {
        const std::size_t m = order.size();
        const auto number = [&](const double* x, int shift) {
            if constexpr (std::is_same_v<T, double>) return std::ldexp(x[0], shift);
            else return T(std::ldexp(x[0], shift), std::ldexp(x[1], shift));
        };
        for (std::size_t i = 0; i < m; ++i) {
            r.push_back(request.repeats(order[i]));
            for (std::size_t j = 0; j < m; ++j) {
                const std::size_t a = std::min(order[i], order[j]), b = std::max(order[i], order[j]);
                K[i * m + j] = number(request.K(a, b), s(a) + s(b));
            }
            if (request.mean) mu[i] = number(request.mu(order[i]), s(order[i]));
        }
    }
};

template <class T>
Table<T> table_of(const Request& request, const Scales& s) {
    const std::size_t m = request.size();
    const std::vector<std::size_t> order = order_of(request);
    const Theory<T> theory(request, s, order);
    const std::vector<T>&K = theory.K, &mu = theory.mu;
    const std::vector<std::int32_t>& r = theory.r;
    std::vector<std::size_t> stride(m + 1, 1);
    for (std::size_t i = m; i-- > 0;) stride[i] = stride[i + 1] * static_cast<std::size_t>(r[i] + 1);
    // stride[i + 1]: step of point i
    const std::size_t last = m - 1, row = static_cast<std::size_t>(r[last]) + 1;
    std::vector<T> haf(stride[0], T(0));
    haf[0] = T(1);
    for (std::size_t t = 1; t < row; ++t) {
        haf[t] = mu[last] * haf[t - 1];
        if (t > 1) haf[t] += K[last * m + last] * static_cast<double>(t - 1) * haf[t - 2];
    }
    std::vector<std::int32_t> at(m, 0);
    for (std::size_t base = row; base < stride[0]; base += row) {
        for (std::size_t i = last; i-- > 0;) {  // the next prefix
            if (at[i] < r[i]) {
                ++at[i];
                break;
            }
            at[i] = 0;
        }
        std::size_t i = 0;
        while (at[i] == 0) ++i;
        T* out = &haf[base];
        const T* less = out - stride[i + 1];
        if (request.mean)
            for (std::size_t t = 0; t < row; ++t) out[t] = mu[i] * less[t];
        const T* coupling = &K[i * m];
        const auto add = [&](T factor, const T* from) {
            for (std::size_t t = 0; t < row; ++t) out[t] += factor * from[t];
        };
        if (at[i] > 1) add(coupling[i] * static_cast<double>(at[i] - 1), less - stride[i + 1]);
        for (std::size_t j = i + 1; j < last; ++j)
            if (at[j] > 0) add(coupling[j] * static_cast<double>(at[j]), less - stride[j + 1]);
        for (std::size_t t = 1; t < row; ++t) out[t] += coupling[last] * static_cast<double>(t) * less[t - 1];
    }
    Table<T> result{std::vector<std::size_t>(m), std::move(haf)};
    for (std::size_t i = 0; i < m; ++i) result.stride[order[i]] = stride[i + 1];
    return result;
}

template <class T>
void slopes(const Request& request, const Slopes& out) {
    const Scales s(request);
    const Table<T> table = table_of<T>(request, s);
    for (std::size_t i = 0; i < request.size(); ++i) {
        const double r = request.repeats(i);
        const long back = s.exponent_back() + s(i);
        if (request.mean) out.add_mu(i, scaled(r * table.without(i), back));
        if (r > 1) out.add_K(i, i, scaled(0.5 * r * (r - 1) * table.without(i, i), back + s(i)));
        for (std::size_t j = i + 1; j < request.size(); ++j) out.add_K(i, j, scaled(r * request.repeats(j) * table.without(i, j), back + s(j)));
    }
}

double states(const Request& request) {
    double states = 1.0;
    for (std::size_t i = 0; i < request.size(); ++i) states *= request.repeats(i) + 1.0;
    return states;
}

}  // namespace

double multisets_work(const Request& request) {
    double points = 0.0;  // left, on average
    for (std::size_t i = 0; i < request.size(); ++i) points += request.repeats(i) / (request.repeats(i) + 1.0);
    return states(request) * (points / 2 + 2.0) * 4.0 * (request.complex ? 4.0 : 1.0);
}

double multisets_bytes(const Request& request) { return states(request) * sizeof(double) * request.parts; }

std::complex<double> multisets_value(const Request& request) {
    const Scales s(request);
    return scaled(request.complex ? table_of<Complex>(request, s).whole() : Complex(table_of<double>(request, s).whole()), s.exponent_back());
}

HafnianResult multisets_value(const Request& request, const MultisetSum& sum) {
    const Scales s(request);
    const auto run = [&](const auto& theory) -> HafnianResult {
        const auto parts = static_cast<std::size_t>(request.parts);
        const double *K = reinterpret_cast<const double*>(theory.K.data()), *mu = reinterpret_cast<const double*>(theory.mu.data());
        Complex value;
        if (!sum({request.complex, request.mean, {K, K + theory.K.size() * parts}, {mu, mu + theory.mu.size() * parts}, theory.r}, value)) return {0.0, false};
        return {scaled(value, s.exponent_back())};
    };
    const std::vector<std::size_t> order = order_of(request);
    return request.complex ? run(Theory<Complex>(request, s, order)) : run(Theory<double>(request, s, order));
}

void multisets_slopes(const Request& request, const Slopes& out) { request.complex ? slopes<Complex>(request, out) : slopes<double>(request, out); }

}  // namespace nnqft
