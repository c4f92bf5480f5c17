"""Spectral densities as quadratures: nodes and weights per probe, and everything that is read off them.

    rho(x) = (1/n) sum_i delta(x - lambda_i)  ~  mean over probes of sum_k w_k delta(x - theta_k)

Lanczos with k steps from a random vector v gives the Gauss rule of the measure sum_i (u_i . v)^2 / |v|^2 delta(x -
lambda_i): exact for polynomials of degree 2k - 1, and by the inequalities of Chebyshev, Markov and Stieltjes its
running sums enclose the distribution function. What is left is the spread between probes, from which every standard
error comes.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr

from .. import _store
from .._checks import integer, number, real_array, shown
from .._estimate import Estimate
from ..errors import ArgumentError, ShapeError, StateError
from ._distribution import CESM, Count, below, bounds, mean_and_error
from ._smoothing import scale_threshold, smoothed, symlog, symlog_inverse, widths

__all__ = ["SpectralDensity"]

_FORMAT = "nnqft.spectral_density/1"


@dataclass(frozen=True, eq=False, repr=False)
class SpectralDensity:
    """Density of eigenvalues of a symmetric operator, per unit mass, as quadratures with error bars.

    Attributes
    ----------
    nodes : array, shape (probes, k), float64
        Ritz values, increasing, in the operator's units; nan behind the steps a probe took.
    weights : array, shape (probes, k), float64
        Their shares; a row sums to 1, padding is 0.
    n : int
        Dimension of the operator.
    exact : bool
        The nodes are all eigenvalues: no errors.
    complete : array, shape (probes,), bool
        The Krylov space of the probe closed: its rule is its whole measure.
    how : dict
        How it was made: steps, probes, seed, distribution.

    Sums `S + T` take the probes of both: runs of one operator with different seeds, on other machines say.

    Notes
    -----
    Standard errors are those of the mean over probes; one probe gives nan. They know nothing of what k steps cannot
    resolve: `cdf_bounds` and `count` say that. L. Lin, Y. Saad, C. Yang, SIAM Review 58 (2016) 34; T. Chen, T. Trogdon,
    S. Ubaru, arXiv:2105.06595 (k >= 12 / t + 1/2 and probes >= 4 log(2 n / eta) / ((n + 2) t^2) give a Wasserstein
    error of t times the spectrum's range with probability 1 - eta).

    Examples
    --------
    >>> S = SpectralDensity.from_eigenvalues([-1.0, 0.0, 1.0, 2.0])
    >>> S.moment(2), float(S.cdf(0.5)), round(float(S.trace(np.exp)), 6)
    (1.5(0), 0.5, 11.475217)
    """

    nodes: np.ndarray
    weights: np.ndarray
    n: int
    exact: bool = False
    complete: np.ndarray | None = None
    how: dict = field(default_factory=dict)

    def __post_init__(self):
        nodes, weights = (np.atleast_2d(real_array(name, getattr(self, name), finite=False)) for name in ("nodes", "weights"))
        n = integer("n", self.n, 1, 2**62)
        if nodes.ndim != 2 or nodes.shape != weights.shape or not nodes.size:
            raise ShapeError(
                f"nodes and weights need one common shape (probes, k); got {nodes.shape} and {weights.shape}"
            )
        used = ~np.isnan(nodes)
        if not (
            np.isfinite(nodes[used]).all() and np.isfinite(weights).all() and (weights >= 0).all() and used[:, 0].all()
        ):
            raise ArgumentError("nodes must be finite (nan only as padding), weights finite and not negative")
        if (weights[~used] != 0).any() or abs(weights.sum(axis=1) - 1).max() > 1e-6:
            raise ArgumentError("the weights of every probe must sum to 1, and be 0 where the node is nan")
        if not isinstance(self.how, dict):
            raise ArgumentError(f"how is {shown(self.how)}; expected a dict")
        complete = np.full(len(nodes), bool(self.exact)) if self.complete is None else np.array(self.complete, dtype=bool)
        if complete.shape != (len(nodes),):
            raise ShapeError(f"complete has shape {complete.shape}; expected ({len(nodes)},), one per probe")
        fields = {"nodes": nodes, "weights": weights, "n": n, "complete": complete, "how": dict(self.how)}
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    @classmethod
    def from_eigenvalues(cls, eigenvalues):
        """The exact density of known eigenvalues: array, shape (n,), any order."""
        values = real_array("eigenvalues", eigenvalues)
        if values.ndim != 1 or not values.size:
            raise ShapeError(f"eigenvalues have shape {values.shape}; expected (n,) with n >= 1")
        values.sort()
        return cls(
            values[None], np.full((1, len(values)), 1 / len(values)), len(values), True, how={"estimator": "exact"}
        )

    def __add__(self, other):
        """The density by the probes of both: of one operator, with different seeds."""
        if not isinstance(other, SpectralDensity):
            return NotImplemented
        if self.n != other.n or self.exact or other.exact:
            kinds = " and ".join(f"n={S.n}{', exact' if S.exact else ''}" for S in (self, other))
            raise ArgumentError(f"only densities by probes of one operator can be added; these have {kinds}")
        seeds = [seed for S in (self, other) for seed in S.how.get("seeds", [S.how.get("seed")]) if seed is not None]
        if len(set(seeds)) < len(seeds):
            raise ArgumentError(f"seed {max(seeds, key=seeds.count)} is in both: its probes would count twice; give another seed, or a state, to slq")
        k = max(self.nodes.shape[1], other.nodes.shape[1])
        rows = [np.concatenate([np.pad(getattr(S, name), ((0, 0), (0, k - S.nodes.shape[1])), constant_values=padding) for S in (self, other)])
                for name, padding in (("nodes", np.nan), ("weights", 0.0))]  # fmt: skip
        how = {**self.how, "k": max(self.how.get("k", 0), other.how.get("k", 0)), "seed": None, "seeds": seeds}
        return SpectralDensity(*rows, self.n, complete=np.concatenate([self.complete, other.complete]), how=how)

    @property
    def probes(self):
        return len(self.nodes)

    @property
    def edges(self):
        """Smallest and largest node."""
        return float(np.nanmin(self.nodes)), float(np.nanmax(self.nodes))

    @property
    def _x(self):
        """The nodes with padding moved onto a probe's first one, where its weight 0 does no harm."""
        return np.where(np.isnan(self.nodes), self.nodes[:, :1], self.nodes)

    def _estimate(self, values, factor=1.0):
        mean, error = mean_and_error(values, self.exact)
        return Estimate(factor * mean, abs(factor) * error, len(values), self.how)

    # ---- averages

    def mean(self, f):
        """Average of f over the spectrum, tr f(A) / n.

        Parameters
        ----------
        f : callable
            Vectorised, float64 in, real out.

        Returns
        -------
        Estimate
            In the units of f.

        Raises
        ------
        ArgumentError
            If f is not finite on the nodes: log at eigenvalues that are not positive, say.
        """
        x = self._x
        if not callable(f):
            raise ArgumentError(f"f is {shown(f)}; expected a function of the eigenvalues")
        with np.errstate(all="ignore"):
            values = real_array("f(x)", f(x), finite=False)
        if values.shape != x.shape:
            raise ShapeError(f"f returned shape {values.shape} for {x.shape}: it must act element by element")
        bad = ~np.isfinite(values) & (self.weights > 0)
        if bad.any():
            raise ArgumentError(
                f"f is {values[bad][0]} at the node {x[bad][0]:.6g}; it must be finite on the whole spectrum"
            )
        return self._estimate((np.where(bad | (self.weights == 0), 0.0, values) * self.weights).sum(axis=1))

    def moment(self, j):
        """Moment tr A^j / n, per unit mass: an Estimate, exact in each probe up to j = 2k - 1."""
        if isinstance(j, bool) or not isinstance(j, int | np.integer) or not 0 <= j <= 2**31:
            raise ArgumentError(f"j is {shown(j)}; expected an integer >= 0")
        return self.mean(lambda x: x ** int(j))

    def trace(self, f=None):
        """Trace of f(A), of A itself by default: an Estimate in the units of f. `f` as for `mean`."""
        share = self.mean((lambda x: x) if f is None else f)
        return Estimate(self.n * share.mean, self.n * share.stderr, share.n, self.how)

    def logdet(self):
        """log det A = tr log A, an Estimate. ArgumentError if a node is not positive."""
        low = self.edges[0]
        if low <= 0:
            raise ArgumentError(
                f"the smallest node is {low:.6g}: the log-determinant needs a positive definite operator"
            )
        return self.trace(np.log)

    # ---- distribution

    def cdf(self, x, *, sigma="auto", stderr=False):
        """Share of eigenvalues up to x.

        Parameters
        ----------
        x : float or array
            In the operator's units.
        sigma : "auto", "global", float > 0 or 0
            Widths of the nodes, as for `density`: the curve is its integral. 0: the steps of the quadrature, a node
            counting half at its own place. Exact densities and spectra of one point have steps anyway, whole ones if
            exact.
        stderr : bool
            Return (values, standard errors over probes).

        Returns
        -------
        float or array, shape of x; a pair of them with `stderr`

        Notes
        -----
        For a continuous spectrum "auto" is two to four times closer than steps, whose error is half a weight.
        """
        at, shape = _points(x)
        low, high = self.edges
        if self.exact:
            values = below(self.nodes, self.weights, at, "right")
        elif (not isinstance(sigma, str) and number("sigma", sigma, infinite=True) == 0) or high - low <= 1e-12 * max(abs(low), abs(high)):
            values = sum(below(self.nodes, self.weights, at, side) for side in ("right", "left")) / 2
        else:
            values = smoothed(self._x, self.weights, self._widths(self._x, sigma), at, ndtr)
        mean, error = (y.reshape(shape)[()] for y in mean_and_error(values, self.exact))
        return (mean, error) if stderr else mean

    def cdf_bounds(self, x):
        """Lower and upper bound on the share of eigenvalues up to x, from finite k: two arrays of the shape of x.

        They enclose the distribution of each probe's own measure (means over probes are returned); the spread between
        probes comes on top.
        """
        at, shape = _points(x)
        low, high = bounds(self.nodes, self.weights, self.complete, at)
        return low.mean(axis=0).reshape(shape)[()], high.mean(axis=0).reshape(shape)[()]

    def cesm(self):
        """Cumulative empirical spectral measure: every step of the quadratures, with its error over probes.

        Returns
        -------
        CESM
            `.x`, `.share`, `.above`, `.stderr`, `.low`, `.high`: nothing is binned or smoothed.

        Notes
        -----
        Cost O(probes m log k) for the m = probes k nodes. T. Chen, T. Trogdon, S. Ubaru, arXiv:2105.06595.

        Examples
        --------
        >>> steps = SpectralDensity.from_eigenvalues([2.0, 1.0, 2.0, 5.0]).cesm()
        >>> steps.x.tolist(), steps.share.tolist(), steps.above.tolist()
        ([1.0, 2.0, 5.0], [0.25, 0.75, 1.0], [0.75, 0.25, 0.0])
        """
        return CESM.of(self.nodes, self.weights, self.complete, self.exact)

    def count(self, low, high):
        """Number of eigenvalues in [low, high]: a `Count`, with probe error and bounds from finite k."""
        low, high = (number(name, x, infinite=True) for name, x in (("low", low), ("high", high)))
        if not low <= high:
            raise ArgumentError(f"the interval [{low}, {high}] is empty")
        at_low, at_high = (np.array([float(x)]) for x in (low, high))
        up, down = ((at_high, "right"), (at_low, "left"))
        share = (below(self.nodes, self.weights, *up) - below(self.nodes, self.weights, *down))[:, 0]
        estimate = self._estimate(share, self.n)
        if ((share == 0) & ~self.complete).any():  # nothing there, or nothing yet: k steps cannot tell
            estimate = Estimate(estimate.mean, np.nan, estimate.n, estimate.how)
        (least_high, most_high), (least_low, most_low) = map(self.cdf_bounds, (at_high, np.nextafter(at_low, -np.inf)))
        least, most = max(least_high - most_low, [0.0])[0], min(most_high - least_low, [1.0])[0]
        return Count(estimate, self.n * float(least), self.n * float(most), (float(low), float(high)))

    def near_zero(self, tol):
        """Number of eigenvalues with |lambda| <= tol: a `Count`. tol > 0 in the operator's units."""
        tol = number("tol", tol, above=0.0)
        return self.count(-tol, tol)

    @property
    def stderr(self):
        """Largest standard error of the distribution function over probes: how well the whole curve is known."""
        x = np.unique(self.nodes[~np.isnan(self.nodes)])
        return float(np.max(self.cdf(x, stderr=True)[1]))

    # ---- densities

    def threshold(self):
        """Default size below which the signed logarithm is linear: 1e-4 of the largest |node|."""
        return 1e-4 * max(map(abs, self.edges)) or 1.0

    def grid(self, points=512, *, scale="linear", threshold=None):
        """Points in the operator's units that cover the spectrum and its smoothing, evenly in x or in symlog(x)."""
        points = integer("points", points, 1, 1 << 28)
        t = scale_threshold(scale, threshold, self.threshold)
        u = self._x if t is None else symlog(self._x, t)
        margin = 4 * self._widths(u, "auto", scale).max()
        u = np.linspace(u.min() - margin, u.max() + margin, points)
        return u if t is None else symlog_inverse(u, t)

    def density(self, grid, *, sigma="auto", scale="linear", threshold=None, stderr=False):
        """Smoothed density on a grid.

        Parameters
        ----------
        grid : float or array
            In the operator's units, whatever the scale.
        sigma : "auto", "global" or float > 0
            Standard deviation of the Gaussian at a node. "auto": 0.6 of the distance between neighbouring nodes, so
            that the curve shows what k steps resolve, in the bulk and at outliers. "global": one width for all,
            range / ((k - 1) sqrt(8 log 3)). A float is in the operator's units ("linear") or in decades ("symlog").
        scale : "linear" or "symlog"
            "symlog": density per unit of u = symlog(x, threshold), a decade on either side of zero.
        threshold : float, optional
            Size below which symlog is linear. Default: `threshold()`.
        stderr : bool
            Return (values, standard errors over probes).

        Returns
        -------
        array, shape of grid; a pair of them with `stderr`
            Integrates to 1 over x, or over u.

        Raises
        ------
        ArgumentError
            If all nodes coincide and `sigma` is not given: a spectrum of one point has no width.

        Notes
        -----
        Cost O(grid probes k). The width "global" is that of V. Papyan, arXiv:1811.07062.
        """
        t = scale_threshold(scale, threshold, self.threshold)
        x, shape = _points(grid)
        u, at = (self._x, x) if t is None else (symlog(self._x, t), symlog(x, t))
        width = self._widths(u, sigma, scale)
        values = smoothed(u, self.weights / width, width, at, lambda t: np.exp(-0.5 * t * t))
        mean, error = (y.reshape(shape)[()] for y in mean_and_error(values / np.sqrt(2 * np.pi), self.exact))
        return (mean, error) if stderr else mean

    def _widths(self, u, sigma, scale="linear"):
        return widths(u, self.weights, ~np.isnan(self.nodes), sigma, scale)

    # ---- storage

    def to_dict(self):
        """Plain dict of lists, ready for JSON (padding is None)."""
        nodes = [[None if np.isnan(x) else x for x in row] for row in self.nodes.tolist()]
        return {
            "nodes": nodes,
            "weights": self.weights.tolist(),
            "n": self.n,
            "exact": self.exact,
            "how": dict(self.how),
        }

    def save(self, path):
        """Write everything to one .npz file, atomically; no pickle."""
        header = {"format": _FORMAT, "n": self.n, "exact": self.exact, "how": self.how}
        _store.save(path, header, {"nodes": self.nodes, "weights": self.weights, "complete": self.complete})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. StateError for any file that is not whole and consistent."""
        header, arrays = _store.load(path, expect=_expected_members)
        try:
            return cls(**arrays, n=header["n"], exact=header["exact"], how=header["how"])
        except (LookupError, TypeError, ValueError) as error:
            raise StateError(f"{path} is whole, but holds no spectral density ({error})") from error

    def __repr__(self):
        low, high = self.edges
        return f"SpectralDensity(n={self.n}, probes={self.probes}, k={self.nodes.shape[1]}, nodes from {low:.6g} to {high:.6g})"


def _points(x):
    """x as a flat float64 array, checked, and its shape."""
    x = real_array("x", x, finite=False)
    if np.isnan(x).any():
        raise ArgumentError("x holds nan; expected numbers")
    return x.ravel(), x.shape


def _expected_members(header):
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise StateError(f"this is not a file of {_FORMAT}")
    return {"nodes": (np.float64, (None, None)), "weights": (np.float64, (None, None)), "complete": (np.bool_, (None,))}
