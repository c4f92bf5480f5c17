"""Limit densities of large symmetric matrices with independent entries of given variances.

    -1 / m_i(z) = z + sum_j S_ij w_j m_j(z),   rho(x) = (1/pi) sum_i w_i Im m_i(x + i 0)

the quadratic vector equation of block types i, each a share w_i of the rows, with E|H_kl|^2 = S_ij / n for k of type i
and l of type j. O. Ajanki, L. Erdos, T. Krueger, arXiv:1506.05095. One solution lies in the upper half-plane. It is
followed from far above the axis, where it is -1/z, down to it by Newton steps for all points at once.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from .._checks import integer, number, real_array
from ..errors import ArgumentError, NNQFTWarning, ShapeError
from ._profile import VarianceProfile

__all__ = ["DysonDensity", "dyson_density", "dyson_moments"]

_LOWEST = 1e-11  # last height above the axis, over the spectrum's radius, before the axis itself
_SHRINK = 0.2  # one step down
_NO_ATOM = 1e-7  # density that diverges at 0 without an atom has eta |m| ~ eta^(2/3): 2e-9 at the height 1e-13
_BATCH = 1 << 22  # complex numbers of the Jacobians that are held at a time: 64 MB


@dataclass(frozen=True, eq=False)
class DysonDensity:
    """What `dyson_density` returns; `np.asarray(result)` is its density.

    Attributes
    ----------
    x : array, float64
        The grid.
    pdf : array, shape of x
        Density without the atom, per unit mass, at height `eta` above the axis.
    atom : float
        Share of eigenvalues at 0.
    block_pdf : array, shape of x + (blocks,)
        Densities of the blocks, each per unit mass of its own; pdf = block_pdf @ weights.
    block_atoms : array, shape (blocks,)
    variance, weights : arrays
        S and w.
    eta : float
    """

    x: np.ndarray
    pdf: np.ndarray
    atom: float
    block_pdf: np.ndarray
    block_atoms: np.ndarray
    variance: np.ndarray
    weights: np.ndarray
    eta: float = 0.0

    def __array__(self, dtype=None, copy=None):
        return np.array(self.pdf, dtype=dtype)

    @property
    def radius(self):
        """Bound on the spectrum: |lambda| <= 2 sqrt(max_i sum_j S_ij w_j)."""
        return 2 * float(np.sqrt((self.variance @ self.weights).max()))

    def moment(self, j):
        """Exact moment of the limit law, per unit mass, the atom included; odd ones are 0."""
        j = integer("j", j, 0, 10_000)
        return float(dyson_moments(self.variance, self.weights, j)[j])

    def __repr__(self):
        return f"DysonDensity({len(self.weights)} blocks, {self.x.size} points, radius {self.radius:.6g}, atom {self.atom:.4g})"


def dyson_density(variance_profile, grid, *, weights=None, eta=0.0):
    """Density of eigenvalues of a large symmetric matrix with a block profile of variances.

    Parameters
    ----------
    variance_profile : array, shape (blocks, blocks), float64, or VarianceProfile
        S, symmetric, not negative: n times the variance of an entry, in squared units of the matrix. Zero diagonal
        blocks are those of a network's Hessian with hinge loss.
    grid : float or array
        Points x, in the matrix's units.
    weights : array, shape (blocks,), optional
        Shares of the rows, positive; scaled to sum to 1. Default: equal. Give the widths of the blocks of a measured
        profile; a `VarianceProfile` brings its own.
    eta : float
        Height above the real axis: the density is smoothed by a Lorentzian of this half-width, the atom at 0 included.
        0, the default, is the limit itself, with the atom apart.

    Returns
    -------
    DysonDensity
        `.pdf` on the grid, `.atom` at 0, `.moment(j)`.

    Raises
    ------
    ShapeError
        A profile that is not square, weights of another length.
    ArgumentError
        A profile that is not symmetric, negative, zero or not finite; weights that are not positive; eta < 0.

    Warns
    -----
    NNQFTWarning
        If a point could not be followed down to the axis: it is smoothed over the height that is named.

    Notes
    -----
    Error: 1e-12 or so in the bulk; near a square-root edge or a cubic cusp, where solutions merge, the square or cube
    root of rounding, or of the height 1e-11 where Newton's method stops short of the axis. At x = 0 itself the limit of
    small x is given, which may be infinite next to an atom. Cost O(50 points blocks^3); group the rows of a large
    measured profile into blocks of equal variance.

    Examples
    --------
    >>> x = np.array([0.0, 1.0, 1.9])
    >>> dyson_density([[1.0]], x).pdf.round(6).tolist()               # Wigner's semicircle
    [0.31831, 0.275664, 0.099392]
    >>> law = dyson_density([[0.0, 1.0], [1.0, 0.0]], x, weights=[0.25, 0.75])
    >>> round(law.atom, 9), law.moment(4)
    (0.5, 0.375)
    """
    if isinstance(variance_profile, VarianceProfile):
        weights = variance_profile.weights if weights is None else weights
        variance_profile = variance_profile.variance
    S, w = read_profile(variance_profile, weights)
    x = real_array("grid", grid, finite=False)
    if not np.isfinite(x).all():
        raise ArgumentError("grid must be finite")
    eta = number("eta", eta, low=0.0)
    scale = np.sqrt((S @ w).max())
    K, at, height = S * w / scale**2, x.ravel() / scale, eta / scale
    atoms = kernel_shares(K)
    if height == 0:  # m diverges at an atom
        at = np.where(abs(at) < 1e-7, 1e-7, at)
    m, top = np.empty((len(at), len(w)), dtype=np.complex128), 0.0
    rows = max(1, _BATCH // len(w) ** 2)
    for first in range(0, len(at), rows):
        block = slice(first, first + rows)
        m[block], reached = follow(K, at[block], height)
        top = max(top, reached.max(initial=0.0))
    if top > max(height, _LOWEST):
        text = f"some points next to an edge or a cusp were solved at a height of {top * scale:.1e} above the axis only"
        warnings.warn(text, NNQFTWarning, stacklevel=2)
    blocks = np.maximum(m.imag, 0.0) / (np.pi * scale)
    return DysonDensity(
        x, (blocks @ w).reshape(x.shape), float(atoms @ w), blocks.reshape(x.shape + (len(w),)), atoms, S, w, eta
    )


def dyson_moments(variance, weights, order):
    """Moments 0 .. order of the limit law: a_0 = 1, a_n = sum_{p+q=n-2} a_p b_q with b_i = sum_j S_ij w_j a_j."""
    S, w = read_profile(variance, weights)
    a, b = np.zeros((2, order + 1, len(w)))
    for n in range(order + 1):
        a[n] = np.sum(a[: max(n - 1, 0)] * b[: max(n - 1, 0)][::-1], axis=0) if n else 1.0
        b[n] = S @ (w * a[n])
    return a @ w


def read_profile(variance, weights):
    S = real_array("variance_profile", variance, finite=False)
    if S.ndim != 2 or S.shape[0] != S.shape[1] or not S.size:
        raise ShapeError(f"variance_profile has shape {S.shape}; expected a square one, (blocks, blocks)")
    if not (np.isfinite(S).all() and (S >= 0).all() and S.any()):
        raise ArgumentError("variance_profile must be finite, not negative and not zero throughout")
    if abs(S - S.T).max() > 1e-10 * S.max():
        raise ArgumentError("variance_profile must be symmetric: entry (i, j) of the matrix is entry (j, i)")
    w = np.ones(len(S)) if weights is None else real_array("weights", weights, finite=False)
    if w.shape != (len(S),):
        raise ShapeError(f"weights have shape {w.shape}; expected ({len(S)},), one per block")
    if not (np.isfinite(w).all() and (w > 0).all()):
        raise ArgumentError("weights must be positive and finite")
    return S, w / w.sum()


def kernel_shares(K):
    """Share of every block that sits at 0: lim eta Im m(i eta)."""
    height = 1e-13
    shares = height * follow(K, np.zeros(1), height)[0][0].imag
    return np.where(shares < _NO_ATOM, 0.0, np.minimum(shares, 1.0))


def follow(K, x, height):
    """m (points, blocks) at x + i height, and the heights that were reached. K = S w, scaled to rows that sum to 1 or less."""
    lowest = height or _LOWEST
    h, factor = np.full(len(x), 4.0), np.full(len(x), _SHRINK)
    start = np.repeat(-1 / (x + 1j * h)[:, None], len(K), axis=1)
    m, residual = newton(K, x + 1j * h, start)
    active = np.arange(len(x))
    while active.size:
        lower = np.maximum(h[active] * factor[active], lowest)
        z, here = x[active] + 1j * lower, m[active]
        tried, error = newton(K, z, here)
        good = solves(tried, error)
        if not good.all():
            again = ~good
            tried[again], error[again] = newton(K, z[again], averaged(K, z[again], here[again]))
            good = solves(tried, error)
        done = active[good]
        m[done], h[done], residual[done] = tried[good], lower[good], error[good]
        factor[active] = np.where(good, np.maximum(factor[active] ** 2, _SHRINK), np.sqrt(factor[active]))
        # Rounding may end the way down at an edge or a cusp: then what has been reached must do.
        active = active[(h[active] > lowest) & (factor[active] < 0.9999)]
    if height == 0:
        final, error = newton(K, x + 0j, m)
        near = abs(final - m).max(axis=1) <= 1e-3 * (1 + abs(m).max(axis=1))
        good = near & (error <= residual + 1e-13) & (final.imag >= -1e-8 * (1 + abs(final))).all(axis=1)
        m[good] = final[good]
    return m, h


def solves(m, residual):
    """Above the axis only one solution has Im m > 0 throughout: whatever converged there is the right one."""
    return (residual <= 1e-12) & (m.imag > 0).all(axis=1)


def residuals(K, z, m):
    return abs(1 + m * (z[:, None] + m @ K.T)).max(axis=1)


def averaged(K, z, m, iterations=200):
    """Half-way fixed-point steps, which contract everywhere in the upper half-plane, if slowly near the axis."""
    for _ in range(iterations):
        m = 0.5 * (m - 1 / (z[:, None] + m @ K.T))
    return m


def newton(K, z, m, iterations=30):
    """Solutions of 1 + m (z + K m) = 0 near m, with their residuals: steps go on while those fall or are large."""
    best, lowest = m.copy(), residuals(K, z, m)
    live, diagonal = np.arange(len(z)), np.arange(len(K))
    for _ in range(iterations):
        field = z[live, None] + m @ K.T
        jacobian = m[:, :, None] * K
        jacobian[:, diagonal, diagonal] += field
        with np.errstate(all="ignore"):
            m = m - solve(jacobian, 1 + m * field)
            residual = residuals(K, z[live], m)
        better = residual < lowest[live]
        best[live[better]] = m[better]
        lowest[live] = np.where(better, residual, lowest[live])
        go_on = np.isfinite(residual) & (better | (residual > 1e-10))
        live, m = live[go_on], m[go_on]
        if not live.size:
            break
    return best, lowest


def solve(jacobian, right):
    """Batched solution; a singular matrix, at an edge, gets a little on its diagonal."""
    try:
        return np.linalg.solve(jacobian, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        nudge = 1e-13 * (1 + abs(jacobian).max(axis=(1, 2)))
        return np.linalg.solve(jacobian + nudge[:, None, None] * np.eye(right.shape[-1]), right[..., None])[..., 0]
