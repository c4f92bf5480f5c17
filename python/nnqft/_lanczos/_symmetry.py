"""How symmetric a spectrum or a sample is under x -> -x.

    skew3 = m3 / m2^(3/2),   W1 = int |F(x) - (1 - F(-x))| dx / E|x|,   KS = sup |F(x) - (1 - F(-x))|

Hessians of ReLU networks with a piecewise linear loss have zero diagonal blocks, hence trace 0; one hidden layer makes
them exactly symmetric, more only about: tr H^3 = 6 sum tr(H_ab H_bc H_ca) is the honest measure.
"""

from dataclasses import dataclass, fields

import numpy as np

from .._estimate import Estimate
from ..errors import ArgumentError, ShapeError
from ._density import SpectralDensity
from ._probes import count_argument

__all__ = ["SpectralSymmetry", "spectral_symmetry"]


@dataclass(frozen=True)
class SpectralSymmetry:
    """Statistics of the symmetry x -> -x; every field is an `Estimate` but `tol` and `n`.

    Attributes
    ----------
    trace_ratio : m1 / sqrt(m2)
    skew3, skew5 : m3 / m2^(3/2), m5 / m2^(5/2)
    w1 : Wasserstein distance between the laws of x and -x, over E|x|; between 0 and 2
    ks : largest difference of their distribution functions
    negative, zero, positive : shares of x < -tol, |x| <= tol, x > tol; `negative` is the spectral index
    edge_ratio : -min / max; nan without both signs
    odd_energy : share of the squared norm of the density, smoothed to a thousandth of its range, that is odd
    participation : m2^2 / m4, the share of eigenvalues that carry tr A^2
    sign_test : (positive - negative) sqrt(n), standard normal for independent symmetric samples without zeros
    tol : float
        Size below which a value counts as zero, and values of opposite sign as a pair.
    n : int
        Number of eigenvalues or samples.
    """

    trace_ratio: Estimate
    skew3: Estimate
    skew5: Estimate
    w1: Estimate
    ks: Estimate
    negative: Estimate
    zero: Estimate
    positive: Estimate
    edge_ratio: Estimate
    odd_energy: Estimate
    participation: Estimate
    sign_test: Estimate
    tol: float
    n: int

    def to_dict(self):
        """name -> {"mean", "stderr"} of every statistic, and tol, n."""
        out = {}
        for field in fields(self):
            value = getattr(self, field.name)
            out[field.name] = {"mean": value.mean, "stderr": value.stderr} if isinstance(value, Estimate) else value
        return out


_NAMES = [field.name for field in fields(SpectralSymmetry)][:-2]
_BINS = 2001
_SMOOTH = 2.0  # standard deviation of the smoothing, in bins


def spectral_symmetry(spectrum, *, groups=None, tol=None):
    """Symmetry statistics with standard errors.

    Parameters
    ----------
    spectrum : SpectralDensity, or array of shape (n,) or (groups, n)
        From `slq`: the error bars are the jackknife over probes. One row: eigenvalues or samples. Several rows, such as
        bootstrap replicas or independent spectra: the jackknife over rows.
    groups : int, optional
        For one row of independent samples: the jackknife over so many groups of them. Default: the row is the whole
        spectrum and has no error.
    tol : float, optional
        Values up to here count as zero. Default: 1e-10 of the largest, from `slq` 1e-6. A kernel that k steps have not
        resolved sits on a Ritz value somewhere near 0: for the shares of such a spectrum give the distance of nodes
        there.

    Returns
    -------
    SpectralSymmetry

    Raises
    ------
    ShapeError, ArgumentError
        Empty or not finite values, `groups` below 2 or above n.

    Notes
    -----
    Cost O(rows n log n). Moments up to 5 are exact in each probe for k >= 3; W1, KS and the shares see Ritz values, not
    eigenvalues, and have the resolution of k steps. Through x -> c x nothing changes (up to the sign of the odd ones).

    Examples
    --------
    >>> s = spectral_symmetry([-2.0, -1.0, 0.0, 1.0, 3.0])
    >>> s.negative, s.ks, round(s.skew3.mean, 3)
    (0.4(0), 0.2(0), 0.731)
    """
    x, weights, owner, n, exact = read(spectrum, groups)
    top = abs(x).max()
    sharp = exact or not isinstance(spectrum, SpectralDensity)
    tol = float((1e-10 if sharp else 1e-6) * top if tol is None else tol)
    if not (np.isfinite(tol) and tol >= 0):
        raise ArgumentError(f"tol is {tol}; expected a size >= 0")
    scale = np.ldexp(1.0, int(np.frexp(top)[1])) if top > 0 else 1.0  # no power of x overflows or vanishes
    order = np.argsort(abs(x), kind="stable")
    x, weights, owner = x[order] / scale, weights[order], owner[order]
    value = statistics(x, weights, n, tol / scale)
    rows = int(owner.max()) + 1
    if exact:
        error = np.zeros_like(value)
    elif rows < 2:
        error = np.full_like(value, np.nan)
    else:
        without = np.array([statistics(x, np.where(owner == g, 0.0, weights), n, tol / scale) for g in range(rows)])
        error = np.sqrt((rows - 1) / rows * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    estimates = {a: Estimate(v, e, rows) for a, v, e in zip(_NAMES, value, error, strict=True)}
    return SpectralSymmetry(**estimates, tol=tol, n=n)


def read(spectrum, groups):
    """Values, weights, the row each belongs to, number of eigenvalues or samples, and whether they are exact."""
    if isinstance(spectrum, SpectralDensity):
        if groups is not None:
            raise ArgumentError("groups is for samples; a SpectralDensity has its probes")
        used = ~np.isnan(spectrum.nodes)
        owner = np.broadcast_to(np.arange(spectrum.probes)[:, None], used.shape)
        return spectrum.nodes[used], spectrum.weights[used], owner[used], spectrum.n, spectrum.exact
    x = np.asarray(spectrum)
    if x.dtype.kind not in "fiu":
        raise ShapeError(f"spectrum has dtype {x.dtype}; expected real numbers or a SpectralDensity")
    x = x.astype(np.float64)
    if x.ndim not in (1, 2) or not x.size:
        raise ShapeError(f"spectrum has shape {x.shape}; expected (n,) or (groups, n), not empty")
    if not np.isfinite(x).all():
        raise ArgumentError("spectrum holds a number that is not finite")
    if x.ndim == 2:
        if groups is not None:
            raise ArgumentError("groups is for one row of samples; several rows are groups already")
        owner, n, exact = np.repeat(np.arange(len(x)), x.shape[1]), x.shape[1], False
    elif groups is None:
        owner, n, exact = np.zeros(len(x), dtype=np.int64), len(x), True
    else:
        groups = count_argument(groups, "groups", 2)
        if groups > len(x):
            raise ArgumentError(f"groups is {groups}, but there are only {len(x)} samples")
        owner, n, exact = np.arange(len(x)) % groups, len(x), False
    return x.ravel(), np.ones(x.size), owner, n, exact


def statistics(x, weights, n, tol):
    """The numbers of `SpectralSymmetry` for values that increase in modulus."""
    w = weights / weights.sum()
    m1, m2, m3, m4, m5 = (w @ x**j for j in range(1, 6))
    root = np.sqrt(m2)
    negative, positive = w[x < -tol].sum(), w[x > tol].sum()

    # Between two neighbours in modulus, F(x) - (1 - F(-x)) is the share below -x minus the share above x.
    size = abs(x)
    difference = np.append(-np.cumsum((np.sign(x) * w)[::-1])[::-1], 0.0)
    steps = np.diff(size, prepend=0.0)
    apart = steps > tol  # else the two are a pair, and what lies between them is rounding
    w1 = 2 * np.sum(abs(difference[:-1]) * steps) / (w @ size) if m2 > 0 else 0.0
    outside = size > tol
    ks = abs(difference[:-1][apart & outside]).max(initial=0.0)

    live = x[w > 0]
    low, high = live.min(), live.max()
    edge = -low / high if low < -tol and high > tol else np.nan
    flat = m2 <= tol * tol or m2 == 0
    return np.array([
        0.0 if flat else m1 / root, 0.0 if flat else m3 / root**3, 0.0 if flat else m5 / root**5, w1, ks,
        negative, max(1 - negative - positive, 0.0), positive, edge, odd_energy(x, w),
        1.0 if flat else m2 * m2 / m4, (positive - negative) * np.sqrt(n),
    ])  # fmt: skip


def odd_energy(x, w):
    """|rho_odd|^2 / |rho|^2 of the density on a symmetric grid, smoothed by a Gaussian of _SMOOTH bins."""
    top = abs(x[w > 0]).max()
    if top == 0:
        return 0.0
    bins = np.rint(x / top * (_BINS // 2 - 8)).astype(np.int64) + _BINS // 2
    rho = np.bincount(np.clip(bins, 0, _BINS - 1), weights=w, minlength=_BINS)
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / _SMOOTH) ** 2)
    rho = np.convolve(rho, kernel, mode="same")
    odd = (rho - rho[::-1]) / 2
    return (odd @ odd) / (rho @ rho)
