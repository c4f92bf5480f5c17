// Lanczos tridiagonalisation of a symmetric operator from many start vectors in lockstep.
//
// Paige's order A(2,7) (C. C. Paige, J. Inst. Maths Applics 10 (1972) 373), with q_0 = v / |v|:
//   w = A q_j - beta_{j-1} q_{j-1};   alpha_j = q_j . w;   w -= alpha_j q_j;   [w made orthogonal to q_0 ... q_j];
//   beta_j = |w|;   q_{j+1} = w / beta_j.
// T_k = tridiag(alpha_0 ... alpha_{k-1}; beta_0 ... beta_{k-2}); beta_{k-1} is the norm of the residual.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/array.hpp"
#include "lanczos/operator.hpp"

namespace nnqft {

enum class Reorth {
    none,    // three vectors per probe
    full,    // every vector orthogonal to all others to rounding: Gram-Schmidt in panels of up to kPanelVectors
    partial  // one vector at a time, where Simon's recurrence estimates |q_i . w| above sqrt(eps)
};
enum class StartLaw { rademacher, gaussian, sphere };

// Probe `probe` under `seed`: element i is a function of (seed, probe, i). Returns |v|^2 as it is reported: exactly n for
// rademacher and sphere (a point of the sphere of radius sqrt(n)).
double draw_start(StartLaw law, std::uint64_t seed, std::uint64_t probe, std::int64_t n, double* v);

// One column of T, per probe.
struct Tridiagonal {
    std::vector<double> alpha, beta;
    double norm = 0.0, norm2 = 0.0;  // |v|, |v|^2
    bool breakdown = false;          // beta <= 32 eps max(|alpha| + beta) sqrt(j): the Krylov space is complete
    std::int64_t restarts = 0;       // how often it was, and a random vector went on: beta = 0
    std::int64_t steps() const { return static_cast<std::int64_t>(alpha.size()); }
};

template <class T>
class Lanczos {
public:
    // keep_basis: the vectors q_j are stored even where no reorthogonalisation needs them. restart (with Reorth::full only):
    // go on past a breakdown with a random vector orthogonal to all others.
    Lanczos(std::int64_t n, Reorth reorth, bool keep_basis, bool restart = false);
    ~Lanczos();
    Lanczos(const Lanczos&) = delete;
    Lanczos& operator=(const Lanczos&) = delete;

    std::int64_t size() const;
    std::int64_t probes() const;
    bool has_basis() const;
    const Tridiagonal& probe(std::int64_t i) const;

    // More probes, which begin at step 0: from v (count x n), or drawn with the numbers probes() ... as addresses.
    // ArgumentError if a vector is zero or not finite; then none is added.
    void add(std::int64_t count, const T* v);
    void draw(std::int64_t count, StartLaw law, std::uint64_t seed);

    // Every probe to `steps` steps, or to its breakdown. after(step), may be empty, is called where no probe has fewer than
    // `step` steps left to do, and returns true to stop. An exception leaves every finished step, and advance() goes on
    // from there. ArgumentError if the operator returns something that is not finite.
    void advance(Operator<T>& A, std::int64_t steps, Team& team, const std::function<bool(std::int64_t step)>& after);

    // Makes copies of the vectors that wait for their panel to fill, orthogonal to all others, for basis() and residual():
    // they then stand for a basis that is orthogonal to rounding.
    void settle(Team& team);
    void basis(std::int64_t probe, std::int64_t step, T* out) const;  // q_step, step <= steps of the probe
    void residual(std::int64_t probe, T* out) const;                  // q of the next step; zeros after a breakdown

    // Bytes of the vectors of `probes` probes at `steps` steps; with keep_basis, of the copy that is returned, too.
    static double bytes(std::int64_t n, std::int64_t probes, std::int64_t steps, Reorth reorth, bool keep_basis);

private:
    struct Block;
    struct Step;
    void product(Operator<T>& A, std::vector<Step>& steps, Team& team, Array<T>& X, Array<T>& Y);

    std::int64_t n_;
    Reorth reorth_;
    bool keep_basis_, restart_;
    std::vector<std::unique_ptr<Block>> blocks_;  // of up to kMaxColumns probes each; of one, where the basis is stored
};

extern template class Lanczos<float>;
extern template class Lanczos<double>;

}  // namespace nnqft
