#include "lanczos/lanczos.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "lanczos/step.hpp"

namespace nnqft {
namespace {

// |v| = norm 2^e, without overflow: e is that of the largest element. Zero or NaN: no direction.
template <class T>
double scaled_norm(const T* v, std::int64_t n, int* e) {
    double largest = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = std::abs(static_cast<double>(v[i]));
        if (!(x <= std::numeric_limits<double>::max())) return std::numeric_limits<double>::quiet_NaN();
        largest = std::max(largest, x);
    }
    *e = exponent(largest);
    std::vector<double> partial(static_cast<std::size_t>((n + 31) / 32), 0.0);  // one long sum would be off by sqrt(n) eps
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = std::ldexp(static_cast<double>(v[i]), -*e);
        partial[static_cast<std::size_t>(i / 32)] += x * x;
    }
    double sum = 0.0;
    sum_rows(partial.data(), (n + 31) / 32, 1, &sum);
    return std::sqrt(sum);
}

// Vector c of several: element i at data[i * stride].
template <class T>
struct Column {
    T* data;
    std::int64_t stride;
};

}  // namespace

template <class T>
Lanczos<T>::Lanczos(std::int64_t n, Reorth reorth, bool keep_basis, bool restart) : n_(n), reorth_(reorth), keep_basis_(keep_basis), restart_(restart) {
    if (n < 1) throw ArgumentError("the operator has size " + std::to_string(n) + "; Lanczos needs at least one dimension");
    if (restart && reorth != Reorth::full) throw ArgumentError("restart=True needs reorth='full': the new vector is made orthogonal to all others");
}
template <class T>
Lanczos<T>::~Lanczos() = default;

template <class T>
std::int64_t Lanczos<T>::size() const {
    return n_;
}
template <class T>
bool Lanczos<T>::has_basis() const {
    return keep_basis_ || reorth_ != Reorth::none;
}
template <class T>
std::int64_t Lanczos<T>::probes() const {
    std::int64_t count = 0;
    for (const auto& block : blocks_) count += block->P;
    return count;
}
template <class T>
const Tridiagonal& Lanczos<T>::probe(std::int64_t i) const {
    for (const auto& block : blocks_) {
        if (i < block->P) return block->probes[static_cast<std::size_t>(i)];
        i -= block->P;
    }
    throw ArgumentError("there is no such probe");
}

template <class T>
void Lanczos<T>::add(std::int64_t count, const T* v) {
    std::vector<std::unique_ptr<Block>> added;
    const std::int64_t most = has_basis() ? 1 : kMaxColumns, known = probes();
    for (std::int64_t begin = 0; begin < count; begin += most) {
        auto block = std::make_unique<Block>();
        const int P = block->P = static_cast<int>(std::min(most, count - begin));
        block->number = known + begin;
        block->probes.resize(static_cast<std::size_t>(P));
        block->vectors.emplace_back(static_cast<std::size_t>(n_ * P));
        for (int c = 0; c < P; ++c) {
            const T* from = v + (begin + c) * n_;
            T* to = block->vectors[0].data() + c;
            int e = 0;
            const double norm = scaled_norm(from, n_, &e);
            if (!(norm > 0.0))
                throw ArgumentError("start vector " + std::to_string(begin + c) + (norm == 0.0 ? " is zero" : " holds a NaN or an infinity") +
                                    "; Lanczos needs a direction to start from");
            Tridiagonal& t = block->probes[static_cast<std::size_t>(c)];
            t.norm = std::ldexp(norm, e);
            t.norm2 = std::ldexp(norm * norm, 2 * e);
            for (std::int64_t i = 0; i < n_; ++i) to[i * P] = static_cast<T>(std::ldexp(static_cast<double>(from[i]), -e) / norm);
            block->scale[static_cast<std::size_t>(c)] = 1.0;
        }
        added.push_back(std::move(block));
    }
    for (auto& block : added) blocks_.push_back(std::move(block));
}

template <class T>
void Lanczos<T>::draw(std::int64_t count, StartLaw law, std::uint64_t seed) {
    const std::int64_t known = probes();
    std::vector<double> v(static_cast<std::size_t>(n_));
    std::vector<T> narrow(static_cast<std::size_t>(n_ * std::min<std::int64_t>(count, kMaxColumns)));
    for (std::int64_t begin = 0; begin < count; begin += kMaxColumns) {
        const std::int64_t P = std::min<std::int64_t>(kMaxColumns, count - begin);
        double norm2[kMaxColumns];
        for (std::int64_t c = 0; c < P; ++c) {
            norm2[c] = draw_start(law, seed, static_cast<std::uint64_t>(known + begin + c), n_, v.data());
            std::transform(v.begin(), v.end(), narrow.begin() + c * n_, [](double x) { return static_cast<T>(x); });
        }
        add(P, narrow.data());
        for (std::int64_t c = 0; c < P; ++c) {
            auto& t = const_cast<Tridiagonal&>(probe(known + begin + c));
            t.norm2 = norm2[c];
            t.norm = std::sqrt(norm2[c]);
        }
    }
}

// One product for the vectors q_j of several steps, in the layout that the operator asks for.
template <class T>
void Lanczos<T>::product(Operator<T>& A, std::vector<Step>& steps, Team& team, Array<T>& X, Array<T>& Y) {
    const std::lock_guard<std::recursive_mutex> lock(A.busy);
    const int P = steps[0].P;
    const bool rows = A.layout() == Layout::rows;
    if (steps.size() == 1 && (P == 1 || rows)) return A.apply(steps[0].q(), steps[0].w(), P, team);
    std::vector<Column<T>> from, to, in, out;
    for (const Step& step : steps) {
        for (int c = 0; c < P; ++c) {
            from.push_back({step.q() + c, P});
            to.push_back({step.w() + c, P});
        }
    }
    const auto columns = static_cast<std::int64_t>(from.size());
    if (X.size() < static_cast<std::size_t>(n_ * columns)) X = Array<T>(static_cast<std::size_t>(n_ * columns)), Y = Array<T>(X.size());
    for (std::int64_t c = 0; c < columns; ++c) {
        in.push_back({X.data() + (rows ? c : c * n_), rows ? columns : 1});
        out.push_back({Y.data() + (rows ? c : c * n_), rows ? columns : 1});
    }
    const auto copy = [&](const std::vector<Column<T>>& source, const std::vector<Column<T>>& target) {
        team.run(block_count(n_), [&](std::int64_t task, unsigned) {
            const std::int64_t begin = task * kBlockRows, end = std::min(n_, begin + kBlockRows);
            for (std::size_t c = 0; c < source.size(); ++c)
                for (std::int64_t i = begin; i < end; ++i) target[c].data[i * target[c].stride] = source[c].data[i * source[c].stride];
        });
    };
    copy(from, in);
    A.apply(X.data(), Y.data(), static_cast<int>(columns), team);
    copy(out, to);
}

template <class T>
void Lanczos<T>::advance(Operator<T>& A, std::int64_t steps, Team& team, const std::function<bool(std::int64_t)>& after) {
    if (A.size() != n_)
        throw ShapeError("the operator has size " + std::to_string(A.size()) + ", the state " + std::to_string(n_) + ": resume with the operator it began with");
    steps = std::min(steps, n_);
    const BlasThreadsOff single;
    const LanczosKernels<T>& kernels = lanczos_kernels<T>(resolve_isa(""));
    const double eps = std::max(A.epsilon(), sizeof(T) == 4 ? 0x1p-23 : 0x1p-52);
    const Operator<T>* const by_rows = A.by_rows() ? &A : nullptr;
    const std::size_t together = has_basis() && !by_rows ? kMaxColumns : 1;
    Array<T> X, Y;
    for (const auto& block : blocks_) {
        for (Tridiagonal& t : block->probes) {
            t.alpha.reserve(static_cast<std::size_t>(steps));
            t.beta.reserve(static_cast<std::size_t>(steps));
        }
    }
    for (;;) {
        std::int64_t least = steps;
        for (const auto& block : blocks_)
            if (!block->done(steps)) least = std::min(least, block->step);
        if (least == steps) return;
        for (auto block = blocks_.begin(); block != blocks_.end();) {
            std::vector<Step> group;
            for (; block != blocks_.end() && group.size() < together; ++block) {
                if ((*block)->done(steps) || (*block)->step > least) continue;
                group.push_back({*this, **block, kernels, team, eps});
                group.back().begin(has_basis() || !by_rows);
            }
            if (group.empty()) continue;
            if (!by_rows) product(A, group, team, X, Y);
            for (Step& step : group) step.finish(by_rows);
        }
        if (after && after(least + 1)) return;
    }
}

template <class T>
void Lanczos<T>::settle(Team& team) {
    if (reorth_ != Reorth::full) return;
    const LanczosKernels<T>& kernels = lanczos_kernels<T>(resolve_isa(""));
    for (const auto& block : blocks_) Step{*this, *block, kernels, team, 0.0}.settle();
}

template <class T>
void Lanczos<T>::basis(std::int64_t probe, std::int64_t step, T* out) const {
    if (!has_basis()) throw StateError("the basis was not kept: call with basis=True");
    for (const auto& block : blocks_) {
        if (probe >= block->P) {
            probe -= block->P;
            continue;
        }
        std::copy_n(block->vector(step), n_, out);
        return;
    }
}

template <class T>
void Lanczos<T>::residual(std::int64_t probe, T* out) const {
    for (const auto& block : blocks_) {
        if (probe >= block->P) {
            probe -= block->P;
            continue;
        }
        const double scale = block->scale[static_cast<std::size_t>(probe)];
        const T* v = (has_basis() ? block->vector(block->step) : block->vectors[block->current].data()) + probe;
        for (std::int64_t i = 0; i < n_; ++i) out[i] = scale == 0.0 ? T(0) : static_cast<T>(scale * static_cast<double>(v[i * block->P]));
        return;
    }
}

template <class T>
double Lanczos<T>::bytes(std::int64_t n, std::int64_t probes, std::int64_t steps, Reorth reorth, bool keep_basis) {
    // Full: a panel is orthogonalised into new vectors.
    const double kept = static_cast<double>(std::min(steps, n)), spare = reorth == Reorth::full ? kPanelVectors : 1;
    const double vectors = keep_basis ? 2 * kept + spare : reorth == Reorth::none ? 3.0 : kept + spare;
    return static_cast<double>(n) * static_cast<double>(probes) * vectors * sizeof(T);
}

template class Lanczos<float>;
template class Lanczos<double>;

template <>
const LanczosKernels<double>& lanczos_kernels<double>(Isa isa) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return avx512::lanczos_f64;
    if (isa == Isa::avx2) return avx2::lanczos_f64;
#endif
    (void)isa;
    return scalar::lanczos_f64;
}
template <>
const LanczosKernels<float>& lanczos_kernels<float>(Isa isa) {
#if defined(NNQFT_X86)
    if (isa == Isa::avx512) return avx512::lanczos_f32;
    if (isa == Isa::avx2) return avx2::lanczos_f32;
#endif
    (void)isa;
    return scalar::lanczos_f32;
}

}  // namespace nnqft
