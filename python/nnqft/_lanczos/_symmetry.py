"""How symmetric a spectrum or a sample is under x -> -x.

    skew3 = m3 / m2^(3/2),   W1 = int |F(x) - (1 - F(-x))| dx / E|x|,   KS = sup |F(x) - (1 - F(-x))|

Hessians of ReLU networks with a piecewise linear loss have zero diagonal blocks, hence trace 0; one hidden layer makes
them exactly symmetric, more only about: tr H^3 = 6 sum tr(H_ab H_bc H_ca) is the honest measure.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.signal import fftconvolve
from scipy.special import xlogy

from .._checks import number, real_array
from .._estimate import Estimate
from ..errors import ArgumentError, ShapeError
from ._density import SpectralDensity
from ._probes import count_argument
from ._smoothing import widths

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
    odd_energy : |rho_odd|^2 / |rho|^2 of the smoothed density, 0 to 1/2
    participation : m2^2 / m4, the share of eigenvalues that carry tr A^2
    entropy : -sum_i p_i log p_i with p_i = x_i^2 / sum x^2; at most log n, and exp(entropy) counts who carries tr A^2
    sign_test : (positive - negative) sqrt(n), standard normal for independent symmetric samples without zeros
    chi2 : sum over `bins` classes of |x| of (N_+ - N_-)^2 / (N_+ + N_-): of mean `bins` and the law chi^2 with as many
        degrees of freedom for independent symmetric samples. Of samples alone: nan for a SpectralDensity
    tol : float
        Size below which a value counts as zero, and values of opposite sign as a pair.
    n : int
        Number of eigenvalues or samples.
    bins : int
        Classes of chi2, equally filled with the values that are not zero.
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
    entropy: Estimate
    sign_test: Estimate
    chi2: Estimate
    tol: float
    n: int
    bins: int

    def to_dict(self):
        """name -> {"mean", "stderr"} of every statistic, and tol, n, bins."""
        out = {}
        for field in fields(self):
            value = getattr(self, field.name)
            out[field.name] = {"mean": value.mean, "stderr": value.stderr} if isinstance(value, Estimate) else value
        return out


_NAMES = [field.name for field in fields(SpectralSymmetry)][:-3]
_BINS, _FILLED = 20, 10  # classes of chi2 at most, values in each at least
_PAIRS = 400  # nodes up to which the smoothed density is not put on a grid
_FINEST = 2000  # smoothing widths to the largest value at most
_PER_WIDTH = 10  # points of the grid: variances larger by 1 / 400 of their own at most


def spectral_symmetry(spectrum, *, groups=None, tol=None, bins=None, width=None):
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
    bins : int, optional
        Classes of `chi2`. Default: 20, fewer where they would hold less than 10 values each.
    width : float, optional
        Standard deviation of the smoothing for `odd_energy`. Default: as for `SpectralDensity.density`; for values
        Silverman's, 0.9 min(deviation, quartile distance / 1.34) n^(-1/5).

    Returns
    -------
    SpectralSymmetry

    Raises
    ------
    ShapeError, ArgumentError
        Empty or not finite values, `groups` below 2 or above n, `bins` or `width` that are not positive.

    Notes
    -----
    Cost O(rows n log n). Moments up to 5 are exact in each probe for k >= 3; W1, KS and the shares see Ritz values, not
    eigenvalues, and have the resolution of k steps. Through x -> c x nothing changes (up to the sign of the odd ones).
    With two rows or more, `odd_energy` leaves out the pairs within a row, so that its noise does not count as odd: the
    estimate is unbiased, and may be slightly negative. The error of a maximum (`edge_ratio`, `ks` without asymmetry) is
    an order of magnitude.

    Examples
    --------
    >>> s = spectral_symmetry([-2.0, -1.0, 0.0, 1.0, 3.0])
    >>> s.negative, s.ks, round(s.skew3.mean, 3)
    (0.4(0), 0.2(0), 0.731)
    """
    x, weights, owner, n, exact = read(spectrum, groups)
    top = abs(x).max()
    sharp = exact or not isinstance(spectrum, SpectralDensity)
    tol = float((1e-10 if sharp else 1e-6) * top) if tol is None else number("tol", tol, low=0.0)
    scale = np.ldexp(1.0, int(np.frexp(top)[1])) if top > 0 else 1.0  # no power of x overflows or vanishes
    order = np.argsort(abs(x), kind="stable")
    x, weights, owner = x[order] / scale, weights[order], owner[order]
    rows = int(owner.max()) + 1
    counted = not isinstance(spectrum, SpectralDensity)
    nonzero = int(np.count_nonzero(abs(x) > tol / scale))
    bins = max(1, min(_BINS, nonzero // _FILLED)) if bins is None else count_argument(bins, "bins")
    # Classes are the same in all samples of the jackknife: given |x|, signs are the only chance.
    classes = (np.arange(len(x)) - (len(x) - nonzero)) * bins // max(nonzero, 1) if counted else None

    def all_but(g):
        w = weights if g is None else np.where(owner == g, 0.0, weights)
        return statistics(x, w, n, tol / scale, classes, bins)

    width = None if width is None else number("width", width, above=0.0)
    smoothing = node_widths(spectrum, width, scale)[order] if not counted else sample_width(x, tol / scale, width, scale)
    own, other = overlaps(x, weights, owner, rows, smoothing)
    value = np.insert(all_but(None), _NAMES.index("odd_energy"), odd_energy(own, other))
    if exact:
        error = np.zeros_like(value)
    elif rows < 2:
        error = np.full_like(value, np.nan)
    else:
        without = []
        for g in range(rows):
            rest = np.delete(np.arange(rows), g)
            odd = odd_energy(own[np.ix_(rest, rest)], other[np.ix_(rest, rest)])
            without.append(np.insert(all_but(g), _NAMES.index("odd_energy"), odd))
        without = np.array(without)
        error = np.sqrt((rows - 1) / rows * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    estimates = {a: Estimate(v, e, rows) for a, v, e in zip(_NAMES, value, error, strict=True)}
    return SpectralSymmetry(**estimates, tol=tol, n=n, bins=bins)


def read(spectrum, groups):
    """Values, weights, the row each belongs to, number of eigenvalues or samples, and whether they are exact."""
    if isinstance(spectrum, SpectralDensity):
        if groups is not None:
            raise ArgumentError("groups is for samples; a SpectralDensity has its probes")
        used = ~np.isnan(spectrum.nodes)
        owner = np.broadcast_to(np.arange(spectrum.probes)[:, None], used.shape)
        return spectrum.nodes[used], spectrum.weights[used], owner[used], spectrum.n, spectrum.exact
    x = real_array("spectrum", spectrum, finite=False)
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


def statistics(x, weights, n, tol, classes, bins):
    """The numbers of `SpectralSymmetry`, without odd_energy, for values that increase in modulus; classes below 0 are zeros."""
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
    ks = abs(difference[:-1][apart]).max(initial=0.0)

    live = x[w > 0]
    low, high = live.min(), live.max()
    edge = -low / high if low < -tol and high > tol else np.nan
    flat = m2 <= tol * tol or m2 == 0
    return np.array([
        0.0 if flat else m1 / root, 0.0 if flat else m3 / root**3, 0.0 if flat else m5 / root**5, w1, ks,
        negative, max(1 - negative - positive, 0.0), positive, edge,
        1.0 if flat else m2 * m2 / m4, np.log(n) - (0.0 if flat else w @ xlogy(x * x / m2, x * x / m2)),
        (positive - negative) * np.sqrt(n), np.nan if classes is None else n * chi_square(x, w, classes, bins),
    ])  # fmt: skip


def chi_square(x, w, classes, bins):
    """Sum over classes of (w_+ - w_-)^2 / (w_+ + w_-)."""
    live = classes >= 0
    both = np.bincount(classes[live], weights=w[live], minlength=bins)
    difference = np.bincount(classes[live], weights=(w * np.sign(x))[live], minlength=bins)
    return np.sum(np.divide(difference**2, both, out=np.zeros(bins), where=both > 0))


def odd_energy(own, other):
    """(1 - <rho, rho_-> / <rho, rho>) / 2 with rho_-(x) = rho(-x), from the overlaps of rows; of different rows if there are any."""
    pairs = ~np.eye(len(own), dtype=bool) if len(own) > 1 else np.ones((1, 1), dtype=bool)
    norm = own[pairs].sum()
    return (1 - other[pairs].sum() / norm) / 2 if norm > 0 else np.nan


def overlaps(x, weights, owner, rows, width):
    """<rho_p, rho_q> and <rho_p, rho_q(-x)> of the smoothed densities of all rows p, q: two arrays (rows, rows)."""
    if not x.any():
        return np.ones((rows, rows)), np.ones((rows, rows))
    if len(x) <= _PAIRS:
        square = width**2 + np.zeros(len(x))
        variance = square[:, None] + square
        row = np.zeros((rows, len(x)))
        row[owner, np.arange(len(x))] = weights
        gauss = lambda d: np.exp(-0.5 * d * d / variance) / np.sqrt(variance)
        return tuple(row @ gauss(x[:, None] - sign * x) @ row.T for sign in (1, -1))
    width = float(np.max(width))
    step = width / _PER_WIDTH
    half = int(abs(x).max() / step) + 2
    at = np.floor(x / step).astype(np.int64)
    part = x / step - at  # between two points: as much for each as keeps the mean
    place = owner * (2 * half + 1) + at + half
    count = rows * (2 * half + 1)
    histogram = np.bincount(place, weights * (1 - part), count + 1) + np.bincount(place + 1, weights * part, count + 1)
    histogram = histogram[:-1].reshape(rows, 2 * half + 1)
    reach = 12 * _PER_WIDTH  # overlaps have the variance 2 width^2: exp(-36) is left out
    kernel = np.exp(-0.25 * (np.arange(-reach, reach + 1) / _PER_WIDTH) ** 2)[None]
    smooth = fftconvolve(histogram, kernel, mode="full", axes=1)[:, reach : reach + 2 * half + 1]
    return histogram @ smooth.T, histogram @ smooth[:, ::-1].T


def sample_width(x, tol, width, scale):
    if width is not None:
        return np.float64(width / scale)
    top, live = abs(x).max(), x[abs(x) > tol]
    if top == 0:
        return np.float64(1.0)
    quartiles = np.subtract(*np.percentile(live, [75, 25])) / 1.34 if len(live) else 0.0
    spread = min(s for s in (live.std() if len(live) else 0.0, quartiles, top) if s > 0 or s is top)
    return np.float64(max(0.9 * spread * len(x) ** -0.2, top / _FINEST))


def node_widths(density, width, scale):
    """Of the nodes of a density that are no padding, in units of `scale`."""
    used = ~np.isnan(density.nodes)
    x = np.where(used, density.nodes, density.nodes[:, :1])
    one_point = np.ptp(x) <= 1e-12 * abs(x).max()
    sigma = width if width is not None else (abs(x).max() / _FINEST or 1.0) if one_point else "auto"
    return widths(x, density.weights, used, sigma)[used] / scale
