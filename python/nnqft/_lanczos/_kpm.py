"""Kernel polynomial method: the density of eigenvalues from its Chebyshev moments, smoothed by Jackson's kernel.

    mu_m = (1/n) tr T_m((A - c) / r),   rho(x) = [g_0 mu_0 + 2 sum g_m mu_m T_m(t)] / (pi sqrt(r^2 - (x - c)^2))

with t = (x - c) / r. Damping g_m makes the density positive, with a resolution of pi r / degree everywhere.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial import chebyshev

from .. import _store
from .._checks import integer, number, real_array, shown
from .._estimate import Estimate
from .._run import progress_bar
from ..errors import ArgumentError, DivergenceError, ShapeError, StateError
from ..networks import as_key
from ._distribution import mean_and_error
from ._driver import affordable, lanczos, require_symmetric
from ._operators import as_operator, counted, host_operator
from ._probes import count_argument, probe_vectors

__all__ = ["ChebyshevDensity", "kpm", "spectral_bounds"]

_FORMAT = "nnqft.chebyshev_density/1"
_ELEMENTS = 1 << 24  # of the vectors of one batch of probes: 128 MB, four times


def jackson(degree):
    """Jackson's damping factors g_0 .. g_degree. Weisse et al., eq. (71)."""
    m, N = np.arange(degree + 1), degree + 1
    phi = np.pi / (N + 1)
    return ((N - m + 1) * np.cos(phi * m) + np.sin(phi * m) / np.tan(phi)) / (N + 1)


@dataclass(frozen=True, eq=False, repr=False)
class ChebyshevDensity:
    """Density of eigenvalues by Chebyshev moments, per unit mass.

    Attributes
    ----------
    moments : array, shape (probes, degree + 1), float64
        mu_m of each probe, without damping; mu_0 = 1.
    bounds : (float, float)
        Interval that is mapped to [-1, 1].
    n : int
        Dimension of the operator.
    how : dict

    Examples
    --------
    >>> S = kpm(np.diag(np.linspace(-1.0, 1.0, 500)), 60, probes=4)
    >>> bool(abs(S.density(0.3) - 0.5) < 0.01), round(float(S.moment(2)), 3)
    (True, 0.335)
    """

    moments: np.ndarray
    bounds: tuple
    n: int
    how: dict = field(default_factory=dict)

    def __post_init__(self):
        moments = np.atleast_2d(real_array("moments", self.moments, finite=False))
        low, high = interval(self.bounds)
        n = integer("n", self.n, 1, 2**62)
        if moments.ndim != 2 or not moments.size or not np.isfinite(moments).all():
            raise ShapeError(
                f"moments have shape {moments.shape}; expected finite numbers of shape (probes, degree + 1)"
            )
        moments.flags.writeable = False
        for name, value in {"moments": moments, "bounds": (low, high), "n": n, "how": dict(self.how)}.items():
            object.__setattr__(self, name, value)

    @property
    def degree(self):
        return self.moments.shape[1] - 1

    @property
    def resolution(self):
        """Width of the kernel in the middle of the interval, pi r / degree; it shrinks towards the ends."""
        return np.pi * self._map[1] / max(self.degree, 1)

    @property
    def _map(self):
        low, high = self.bounds
        return low / 2 + high / 2, high / 2 - low / 2

    def grid(self, points=512):
        """Chebyshev points inside the bounds, increasing."""
        points = integer("points", points, 1, 1 << 28)
        center, radius = self._map
        return center - radius * np.cos(np.pi * (np.arange(points) + 0.5) / points)

    def density(self, grid, *, stderr=False):
        """Smoothed density on a grid, 0 outside the bounds; a pair (values, standard errors over probes) with `stderr`."""
        phi, shape = self._angles(grid)
        terms = self._terms(lambda m: np.cos(np.outer(m, phi)))
        inside = (phi > 0) & (phi < np.pi)
        scale = np.divide(1.0, np.pi * self._map[1] * np.sin(phi), out=np.zeros_like(phi), where=inside)
        return self._reduce(terms * scale, shape, stderr)

    def cdf(self, x, *, stderr=False):
        """Share of eigenvalues up to x, integrated exactly from the smoothed density."""
        phi, shape = self._angles(x)

        def integrals(m):  # of T_m(t) / sqrt(1 - t^2) from -1 to cos(phi)
            m = m[:, None]
            return np.where(m == 0, np.pi - phi, -np.sin(m * phi) / np.maximum(m, 1))

        return self._reduce(self._terms(integrals) / np.pi, shape, stderr)

    def mean(self, f):
        """Average of f over the spectrum, tr f(A) / n, from the moments as they are: exact in each probe for polynomials.

        f is interpolated at degree + 1 Chebyshev points, so it must be smooth on the whole of `bounds`.
        """
        if not callable(f):
            raise ArgumentError(f"f is {shown(f)}; expected a function of the eigenvalues")
        center, radius = self._map

        def values(t):
            y = real_array("f(x)", f(center + radius * t), finite=False)
            if y.shape != t.shape:
                raise ShapeError(f"f returned shape {y.shape} for {t.shape}: it must act element by element")
            return y

        with np.errstate(all="ignore"):
            coefficients = chebyshev.chebinterpolate(values, self.degree)
        if not np.isfinite(coefficients).all():
            raise ArgumentError(
                f"f is not finite on all of [{self.bounds[0]:.6g}, {self.bounds[1]:.6g}], the bounds of the spectrum"
            )
        mean, error = mean_and_error(self.moments @ coefficients)
        return Estimate(mean, error, len(self.moments), self.how)

    def moment(self, j):
        """Moment tr A^j / n, an Estimate; j at most the degree."""
        if isinstance(j, bool) or not isinstance(j, int | np.integer) or not 0 <= j <= self.degree:
            raise ArgumentError(f"j is {shown(j)}; expected an integer from 0 to the degree {self.degree}")
        return self.mean(lambda x: x ** int(j))

    def trace(self, f=None):
        """Trace of f(A), of A itself by default: an Estimate."""
        share = self.mean((lambda x: x) if f is None else f)
        return Estimate(self.n * share.mean, self.n * share.stderr, share.n, self.how)

    def _angles(self, x):
        x = real_array("x", x, finite=False)
        if np.isnan(x).any():
            raise ArgumentError("x holds nan; expected numbers")
        center, radius = self._map
        return np.arccos(np.clip((x.ravel() - center) / radius, -1.0, 1.0)), x.shape

    def _terms(self, basis):
        """sum_m (2 - delta_m0) g_m mu_m basis_m of every probe: shape (probes, points)."""
        m = np.arange(self.degree + 1)
        weights = jackson(self.degree) * np.where(m == 0, 1.0, 2.0)
        return sum((self.moments[:, at] * weights[at]) @ basis(m[at]) for at in np.array_split(m, 1 + len(m) // 64))

    @staticmethod
    def _reduce(values, shape, stderr):
        mean, error = (y.reshape(shape)[()] for y in mean_and_error(values))
        return (mean, error) if stderr else mean

    def save(self, path):
        """Write everything to one .npz file, atomically; no pickle."""
        header = {"format": _FORMAT, "n": self.n, "bounds": list(self.bounds), "how": self.how}
        _store.save(path, header, {"moments": self.moments})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. StateError for any file that is not whole and consistent."""
        header, arrays = _store.load(path, expect=_expected_members)
        try:
            return cls(arrays["moments"], tuple(header["bounds"]), header["n"], header["how"])
        except (LookupError, TypeError, ValueError) as error:
            raise StateError(f"{path} is whole, but holds no Chebyshev density ({error})") from error

    def __repr__(self):
        low, high = self.bounds
        return f"ChebyshevDensity(n={self.n}, probes={len(self.moments)}, degree={self.degree}, bounds {low:.6g} to {high:.6g})"


def spectral_bounds(op, k=30, *, margin=0.02, seed=0, check_symmetric=True):
    """An interval that holds the spectrum: extreme Ritz values of one Lanczos run, plus their residuals, plus a margin.

    Parameters
    ----------
    op : as for `lanczos`
    k : int
        Steps.
    margin : float
        Added at both ends, as a share of the width.
    seed : int, SeedSequence or Generator
    check_symmetric : bool
        As for `lanczos`.

    Returns
    -------
    (low, high) : floats
        In the operator's units; (-1, 1) around the value for a spectrum of one point at 0.

    Notes
    -----
    The residual is no bound for the eigenvalue next to it, but a safe one in practice: Y. Zhou, R.-C. Li, Linear
    Algebra Appl. 435 (2011) 480.

    Examples
    --------
    >>> low, high = spectral_bounds(np.diag(np.linspace(0.0, 1.0, 300)))
    >>> -0.1 < low < 0 and 1 < high < 1.1
    True
    """
    op = as_operator(op)
    margin = number("margin", margin, low=0.0)
    run = lanczos(op, count_argument(k, "k"), seed=seed, distribution="gaussian", check_symmetric=check_symmetric)
    steps = int(run.steps[0])
    T = np.diag(run.alpha[0, :steps]) + np.diag(run.beta[0, : steps - 1], 1) + np.diag(run.beta[0, : steps - 1], -1)
    theta, S = np.linalg.eigh(T)
    rest = 0.0 if run.breakdown[0] or steps == op.shape[0] else float(run.beta[0, steps - 1])
    low, high = theta[0] - rest * abs(S[-1, 0]), theta[-1] + rest * abs(S[-1, -1])
    width = high - low or abs(high) or 1.0
    pad = max(margin, 1e-3) * width
    return float(low - pad), float(high + pad)


def kpm(op, degree=100, *, probes=10, seed=0, distribution="rademacher", bounds=None, margin=0.02,
        progress=None, check_symmetric=True):  # fmt: skip
    """Spectral density of a symmetric operator by the kernel polynomial method.

    Parameters
    ----------
    op : as for `lanczos`
        Symmetric, shape (n, n).
    degree : int
        Highest Chebyshev moment; half as many products per probe.
    probes : int
        Random vectors; error bars come from their spread.
    seed : int, SeedSequence or Generator
    distribution : "rademacher", "gaussian" or "sphere"
    bounds : (float, float), optional
        Interval that holds the spectrum. Default: `spectral_bounds(op, margin=margin)`, 30 more products.
    margin : float
        Share of the width added to the default bounds.
    progress : True or callable(done, total), optional
        A bar (needs tqdm), or a function that is told the products made after those for the bounds.
    check_symmetric : bool
        As for `lanczos`: two more products, or a look at both triangles of an array.

    Returns
    -------
    ChebyshevDensity
        `.density(grid)`, `.cdf(x)`, `.mean(f)`, `.moment(j)`, `.trace(f)`, ...

    Raises
    ------
    DivergenceError
        If moments grow: an eigenvalue lies outside `bounds`.
    ArgumentError
        For arguments out of range, operators that are not symmetric, and products that are not finite.

    Notes
    -----
    mu_2m = 2 t_m.t_m - mu_0 and mu_2m+1 = 2 t_m+1.t_m - mu_1 take two moments from each product. No inner product feeds
    back, so that results are linear in each probe and the probes run in lockstep; Lanczos adapts to the spectrum and
    needs fewer products for the same accuracy. A. Weisse, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78
    (2006) 275.

    Examples
    --------
    >>> S = kpm(np.diag(np.linspace(0.0, 2.0, 400)), 80, probes=3, bounds=(-0.1, 2.1))
    >>> S.cdf(1.0).round(2)
    np.float64(0.5)
    """
    op = host_operator(op, "kpm()")
    n, key = op.shape[0], as_key(seed)
    degree, probes = count_argument(degree, "degree", 1), count_argument(probes, "probes")
    affordable(8.0 * (probes * (degree + 2.0) + 4.0 * n), f"{probes} probes of degree {degree}", "give fewer or less")
    given = None if bounds is None else interval(bounds)
    if check_symmetric:
        require_symmetric(op)
    low, high = given or spectral_bounds(op, margin=margin, seed=key, check_symmetric=False)
    width = max(1, _ELEMENTS // n)
    with progress_bar(progress, probes * ((degree + 1) // 2), unit="product") as report:
        op = counted(op, report)
        moments = [
            chebyshev_moments(
                op,
                degree,
                (low, high),
                probe_vectors(n, min(width, probes - first), seed=key, first=first, distribution=distribution),
            )
            for first in range(0, probes, width)
        ]
    how = {"estimator": "kpm", "degree": degree, "seed": key, "distribution": distribution}
    return ChebyshevDensity(np.concatenate(moments), (low, high), n, how)


def interval(bounds):
    """Two increasing, finite numbers."""
    values = real_array("bounds", bounds, finite=False)
    if values.shape != (2,) or not (np.isfinite(values).all() and np.isfinite(np.diff(values)).all() and values[0] < values[1]):
        raise ArgumentError(f"bounds are {shown(bounds)}; expected two increasing numbers")
    return tuple(values.tolist())


def chebyshev_moments(op, degree, bounds, V):
    """mu_0 .. mu_degree of every column of V, shape (columns, degree + 1); one product for two of them."""
    low, high = bounds
    center, radius = low / 2 + high / 2, high / 2 - low / 2
    V /= np.linalg.norm(V, axis=0)

    def step(X):
        Y = np.asarray(op.matmat(np.ascontiguousarray(X, dtype=op.dtype)), dtype=np.float64)
        return (Y - center * X) / radius

    last, here = V, step(V)
    moments = np.empty((degree + 2, V.shape[1]))
    moments[0], moments[1] = 1.0, np.einsum("ij,ij->j", V, here)
    for m in range(1, degree // 2 + 1):
        moments[2 * m] = 2 * np.einsum("ij,ij->j", here, here) - moments[0]
        top = abs(moments[2 * m]).max()
        if not top <= 1 + 1e-6:
            raise DivergenceError(
                f"moment {2 * m} is {top:.3g}, above 1: an eigenvalue lies outside the bounds ({low:.6g}, {high:.6g}), "
                "or a product is not finite; give wider bounds"
            )
        if 2 * m + 1 <= degree:
            last, here = here, 2 * step(here) - last
            moments[2 * m + 1] = 2 * np.einsum("ij,ij->j", here, last) - moments[1]
    return moments[: degree + 1].T


def _expected_members(header):
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise StateError(f"this is not a file of {_FORMAT}")
    return {"moments": (np.float64, (None, None))}
