"""The density of a network's outputs at finite width: the Edgeworth series, a Gaussian times a polynomial.

    P(f) / N(f; 0, G2) = 1 + (1/4!) G4c . He4 + (1/6!) G6c . He6 + 1/2 (1/4!)^2 (G4c G4c) . He8 + O(1/N^3)

He_n are Hermite tensors with respect to G2: with u = Xi f, Xi = G2^-1,
He4_ijkl = u_i u_j u_k u_l - [6 of Xi_ij u_k u_l] + [3 of Xi_ij Xi_kl]. The cumulants of P are G2, G4c, G6c and 0 at
order 8, exactly. In z = whiten @ f, of unit covariance, He_n factorises, and the polynomial is exp(-Laplacian/2) of
1 + c4(z) + c6(z) + c4(z)^2 / 2 with c_n(z) = G_n(z) / n!. Demirtas et al., arXiv:2307.03223.
"""

from dataclasses import dataclass
from functools import cached_property
from math import comb, factorial, log, pi, sqrt

import numpy as np
from scipy import special

from .._checks import integer, real_array, shown
from ..errors import ArgumentError
from ..tensor import Estimate, SymmetricTensor
from ..wick import cumulants as cumulants_from_moments
from ..wick import wick_all
from ._cumulants_in import Theory, check_strength, read_fields, read_theory, whitened
from ._negativity import Negativity, negative_shells
from ._symmetric import EvenPolynomial, check_size, hermite, monomial_sum, multiplicity, symmetrized, transform

_MAX_TERMS = 320_000
_FAR = 40.0  # standard deviations beyond which the Gaussian is 0 in float64
_HIGHEST = 64  # order of a moment

__all__ = ["EdgeworthDensity", "edgeworth_density"]


@dataclass(frozen=True, eq=False, repr=False)
class EdgeworthDensity:
    """Density of the fields f at m points, to order 1/N or 1/N^2; made by `edgeworth_density`.

    Where the kernel is cut (`inverse.rank < size`), it is the density of the modes kept, per volume of their span, at
    the projection of f. Calling it is `pdf`. Points f are float64 arrays (..., m), in units of sqrt(G2).
    """

    _theory: Theory

    # ---- what it is

    @property
    def order(self):
        """1: terms in 1/N; 2: also those in 1/N^2."""
        return self._theory.order

    @property
    def size(self):
        """Number of fields m."""
        return self._theory.size

    @property
    def inverse(self):
        """`KernelInverse`: the rank and eigenvalues of G2, and what was cut off."""
        return self._theory.inverse

    def __repr__(self):
        cut = "" if self.inverse.rank == self.size else f" of {self.size}"
        each = ", ".join(f"{x:.3g}" for x in self.corrections)
        return f"EdgeworthDensity(order={self.order}, rank={self.inverse.rank}{cut}, corrections=[{each}])"

    @cached_property
    def corrections(self):
        """Root mean squares, under the Gaussian, of the terms in 1/N and 1/N^2 of P / N: small if the series is good.

        Term 1: sqrt(|z-cumulant|^2 / 4!), so that the entropy lost to interactions is half its square.
        """
        r = self.inverse.rank
        squares = {n: float(np.sum(multiplicity(r, n) * T**2) * factorial(n)) for n, T in self._powers.items()}
        first = sqrt(squares[4])
        return (first,) if self.order == 1 else (first, sqrt(squares[6] + squares[8]))

    @cached_property
    def _powers(self):
        """The polynomial before Hermite ordering, {0: 1, 4: .., 6: .., 8: ..}."""
        return _series(whitened(self._theory.cumulants, self.inverse), self.inverse.rank)

    @cached_property
    def _parts(self):
        return hermite(self._powers, self.inverse.rank)

    @cached_property
    def _polynomial(self):
        return EvenPolynomial(self._parts, self.inverse.rank)

    # ---- values

    def __call__(self, f):
        return self.pdf(f)

    def ratio(self, f):
        """P(f) / N(f; 0, G2), the Edgeworth factor: dimensionless, negative where the series has broken down.

        Parameters
        ----------
        f : array, shape (..., m), float64

        Returns
        -------
        array, shape (...)

        Examples
        --------
        >>> nnqft.eft.edgeworth_density(1.0, 0.24).ratio(np.array([[0.0], [1.0]]))   # 1 + 0.01 (f^4 - 6 f^2 + 3)
        array([1.03, 0.98])
        """
        z, shape = self._whiten(f)
        value, scale = self._factor(z)
        with np.errstate(over="ignore"):
            return (value * scale**self._polynomial.degree).reshape(shape)

    def gaussian(self, f):
        """N(f; 0, G2), the density at infinite width."""
        z, shape = self._whiten(f)
        return _gaussian(z, self.inverse).reshape(shape)

    def pdf(self, f):
        """The density P(f); it integrates to 1 exactly, and is negative where the series has broken down.

        Parameters
        ----------
        f : array, shape (..., m), float64

        Returns
        -------
        array, shape (...)
            In units of 1 / f ** rank.

        Raises
        ------
        ShapeError
            If the last axis is not m, or the dtype not float64.
        ArgumentError
            If f is not finite.

        Notes
        -----
        Cost per point: C(rank + 4 order, 4 order) multiplications, as matrix products: 2 us at order 2, rank 6 on one
        core, 10 us at rank 10.
        """
        z, shape = self._whiten(f)
        return (_gaussian(z, self.inverse) * self._factor(z)[0]).reshape(shape)

    def log(self, f):
        """log P(f); nan where P is not positive (see `negative`)."""
        z, shape = self._whiten(f)
        ratio, scale = self._factor(z)
        value = self._polynomial.degree * np.log(scale) + np.log(ratio, where=ratio > 0, out=np.full(len(z), np.nan))
        return (value + _log_gaussian(z, self.inverse)).reshape(shape)

    def stderr(self, f):
        """Standard error of `pdf(f)` from that of the cumulants.

        Returns
        -------
        array, shape (...)
            0 for exact cumulants; a jackknife over replicas for Correlators (the whole density is evaluated 65 times);
            for tensors with errors an upper bound, as if all entries fluctuated together (twice for every entry).
        """
        shape = self._whiten(f)[1]
        f = np.asarray(f).reshape(-1, self.size)

        def values(cumulants, inverse):
            z = f @ inverse.whiten.T
            parts = hermite(_series(whitened(cumulants, inverse), inverse.rank), inverse.rank)
            return {"pdf": _gaussian(z, inverse) * _scaled(EvenPolynomial(parts, inverse.rank), z)[0]}

        return self._theory.estimate(values)[1]["pdf"].reshape(shape)

    def cdf(self, f):
        """Probability of a value below f, for one field.

        int He_n N df = -He_{n-1} N: Phi(z) - N(z) [(c4/4!) He3 + (c6/6!) He5 + 1/2 (c4/4!)^2 He7].

        Parameters
        ----------
        f : array, shape (...), float64
            Without the axis of fields; may be infinite.

        Raises
        ------
        ArgumentError
            If there is more than one field: take `.marginal([i])`.
        """
        if self.size != 1:
            raise ArgumentError(f"cdf() is for one field, this density has {self.size}: take .marginal([i]).cdf(f)")
        f = real_array("f", f, finite=False)
        if np.isnan(f).any():
            raise ArgumentError("f holds nan")
        with np.errstate(over="ignore"):
            z = np.clip(f * self.inverse.whiten[0, 0], -_FAR, _FAR)
        terms = sum(T[0] * special.eval_hermitenorm(n - 1, z) for n, T in self._powers.items() if n)
        return special.ndtr(z) - np.exp(-(z**2) / 2) / sqrt(2 * pi) * terms

    # ---- cumulants

    def moments(self, orders=(2, 4, 6)):
        """Full n-point functions of this density, by exact Gaussian integration (`wick_all`) of the polynomial.

        Parameters
        ----------
        orders : iterable of even int >= 0
            0 gives the norm.

        Returns
        -------
        dict {order: SymmetricTensor, or float at order 0}
            Of the fields; where the kernel is cut, of their projections. Without errors of their own.

        Raises
        ------
        ArgumentError
            If an order is odd or negative, or the integrals too large.

        Examples
        --------
        >>> p = nnqft.eft.edgeworth_density(2.0, 0.5, 0.25)
        >>> {n: round(float(np.sum(G if n == 0 else G.mean)), 12) for n, G in p.moments([0, 2, 4]).items()}
        {0: 1.0, 2: 2.0, 4: 12.5}
        """
        orders = _even_orders(orders)
        r, highest = self.inverse.rank, max(orders, default=0) + max(self._parts)
        check_size(r + 1, highest)
        gaussian = {n: wick_all(np.eye(r), n).mean if n else np.ones(1) for n in range(0, highest + 1, 2)}
        out = {}
        for n in orders:
            moment = monomial_sum(self._parts, r, n, gaussian)
            out[n] = float(moment[0]) if n == 0 else SymmetricTensor(
                transform(moment, n, self.inverse.color), 0.0, order=n, size=self.size, d_out=self._theory.d_out
            )  # fmt: skip
        return out

    def cumulants(self, order=6):
        """Connected functions of this density, {2: .., 4: .., ..}: G2, G4c and (at order 2) G6c come back.

        Parameters
        ----------
        order : int
            The highest, even, up to 8.
        """
        order = integer("order", order, 2, 8)
        moments = self.moments(range(2, order + 1, 2))
        return cumulants_from_moments(moments, order, even=True)

    def marginal(self, points):
        """The density of some of the fields: their cumulants are entries of G2, G4c and G6c.

        Parameters
        ----------
        points : sequence of int
            Fields, in the order wanted; negative ones from the end.

        Returns
        -------
        EdgeworthDensity

        Raises
        ------
        ArgumentError
            If a field is out of range or listed twice, or if the fields are degenerate (where the kernel is cut: more
            fields than modes).

        Examples
        --------
        >>> p = nnqft.eft.edgeworth_density(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([0.1, 0.0, 0.2, 0.0, 0.3]))
        >>> p.marginal([1])
        EdgeworthDensity(order=1, rank=1, corrections=[0.0068])
        """
        m = self.size
        try:
            rows = [integer("a field", point, -m, m - 1) % m for point in points]
        except TypeError:
            rows = []
        if not rows:
            raise ArgumentError(f"points must be a sequence of fields from 0 to {m - 1}, got {shown(points)}")
        if len(set(rows)) < len(rows):
            raise ArgumentError(f"a field is listed twice in {shown(points)}: its density would be degenerate")
        return EdgeworthDensity(self._theory.on(np.eye(m)[rows]))

    # ---- where it fails

    def negative(self, f):
        """True where P(f) < 0, array of shape (...)."""
        return self.ratio(f) < 0

    def negativity(self, *, directions=4096, seed=0):
        """Where the density is negative: the nearest such point found, and the mass there.

        Parameters
        ----------
        directions : int
            Random directions looked into; one mode needs but one. Along each the zeros and the mass are exact.
        seed : int

        Returns
        -------
        Negativity

        Notes
        -----
        Along z = rho e the ratio is a polynomial of degree 4 order in rho, its mass between zeros a sum of
        incomplete gamma functions. The radius is an upper bound of the smallest.

        Examples
        --------
        >>> p = nnqft.eft.edgeworth_density(1.0, -0.24)                            # 1 - 0.01 (f^4 - 6 f^2 + 3)
        >>> p.negativity()                                                         # doctest: +ELLIPSIS
        Negativity(radius=3.6463..., where=array([3.6463...]), mass=0.00012...(0))
        """
        r = self.inverse.rank
        directions, seed = integer("directions", directions, 1, 1 << 17), integer("seed", seed, 0, 2**64 - 1)
        e = np.ones((1, 1))
        if r > 1:
            e = np.random.default_rng(seed).standard_normal((directions, r))
            e /= np.linalg.norm(e, axis=1, keepdims=True)
        degrees = range(0, max(self._parts) + 1, 2)
        along = np.stack([EvenPolynomial({n: self._parts.get(n, 0.0)}, r)(e) for n in degrees], axis=1)
        start, mass = negative_shells(along, r)
        at = int(np.argmin(start))
        error = float(mass.std(ddof=1) / sqrt(len(mass))) if r > 1 and len(mass) > 1 else (0.0 if r == 1 else np.nan)
        mass = Estimate(mass.mean(), error, len(mass) if r > 1 else None)
        if not np.isfinite(start[at]):
            return Negativity(float("inf"), None, mass)
        return Negativity(float(start[at]), self.inverse.color @ (start[at] * e[at]), mass)

    def _factor(self, z):
        return _scaled(self._polynomial, z)

    def _whiten(self, f):
        return read_fields(f, self.inverse)


def edgeworth_density(G2, G4c=None, G6c=None, *, order=None, rcond=None, rank=None, two_point="measured"):
    """Density of a network's outputs at m points, to order 1/N or 1/N^2, from its connected functions.

    P(f) = N(f; 0, G2) [1 + (1/4!) G4c . He4 + (1/6!) G6c . He6 + 1/2 (1/4!)^2 (G4c G4c) . He8], He_n the Hermite
    tensors with respect to G2; the last two terms are of order 1/N^2.

    Parameters
    ----------
    G2 : Correlators, or SymmetricTensor of order 2, array (m, m), or number
        Two-point function, in units of f^2; or measured or exact correlators, which hold the others, too.
    G4c, G6c : SymmetricTensor, or array, packed (count,) or (m, m, ..), or number
        Connected functions of order 4 and 6, in units of f^4 and f^6. Odd ones are taken to vanish.
    order : {1, 2}, optional
        1: terms in 1/N; 2: also in 1/N^2, which needs G6c. Default: 2 if G6c is there.
    rcond, rank : optional
        Cutoff of the kernel's modes, see `regulated_inverse`. Without one a degenerate kernel is refused.
    two_point : {"measured", "exact"}
        "exact": the infinite-width kernel for the measured G2: an identity for Correlators of one hidden layer.

    Returns
    -------
    EdgeworthDensity
        `.pdf(f)` (also by calling it), `.log`, `.ratio`, `.stderr`, `.cdf`, `.moments`, `.cumulants`, `.marginal`,
        `.negative`, `.negativity()`, `.corrections`, `.inverse`.

    Raises
    ------
    ShapeError
        If fields, orders or dtypes do not fit each other.
    ArgumentError
        If something is not finite, G2 is degenerate or no covariance, tensors list only some multi-indices, or the
        modes are too many (beyond 14 at order 2).

    Notes
    -----
    Rounding: eps * condition ** (n/2) in the n-point part. Norm, G2, G4c and (order 2) G6c of the density are those
    given, and its G8c is 0. Measured tensors raise an NNQFTWarning: errors are then upper bounds. Source: module
    header.

    Examples
    --------
    >>> from nnqft.ensemble import exact_correlators
    >>> G = exact_correlators(nnqft.networks.erf_net(30, dim_in=1), [[0.2], [1.0]], orders=(2, 4, 6))
    >>> p = edgeworth_density(G)
    >>> p
    EdgeworthDensity(order=2, rank=2, corrections=[0.064, 0.0198])
    >>> bool(abs(p.cumulants(6)[6].mean - G.connected(6).mean).max() < 1e-12)
    True
    """
    who = "edgeworth_density"
    theory = read_theory(G2, G4c, G6c, order=order, rcond=rcond, rank=rank, two_point=two_point, who=who)
    terms = comb(theory.inverse.rank + 8, 8)
    if theory.order == 2 and terms > _MAX_TERMS:
        raise ArgumentError(
            f"the density of {theory.inverse.rank} modes to order 1/N^2 is a polynomial of {terms} terms; at most "
            f"{_MAX_TERMS} are handled (14 modes): use fewer points, order=1 or a larger rcond"
        )
    check_strength(theory, who)
    return EdgeworthDensity(theory)


def _series(whitened, r):
    """1 + c4 + c6 + c4^2 / 2, packed by degree; the last two where there is a sixth cumulant."""
    c4 = whitened[4] / 24
    if 6 not in whitened:
        return {0: np.ones(1), 4: c4}
    return {0: np.ones(1), 4: c4, 6: whitened[6] / 720, 8: symmetrized(c4, r, 4) / 2}


def _scaled(polynomial, z):
    """ratio = value * scale ** degree: beyond 1e30 standard deviations, where powers overflow, its leading term."""
    scale = np.maximum(np.abs(z).max(axis=1, initial=0.0) / 1e30, 1.0)
    return polynomial(z / scale[:, np.newaxis]), scale


def _even_orders(orders):
    try:
        orders = [integer("an order", n, 0, _HIGHEST) for n in orders]
    except TypeError:
        raise ArgumentError(f"orders must be a sequence of even integers, got {shown(orders)}") from None
    if any(n % 2 for n in orders):
        raise ArgumentError(f"moments of odd order vanish; orders must be even and not negative, got {orders}")
    return orders


def _log_gaussian(z, inverse):
    kept = inverse.eigenvalues[: inverse.rank]
    with np.errstate(over="ignore"):
        square = np.einsum("nr,nr->n", z, z)
    return -square / 2 - np.log(kept).sum() / 2 - inverse.rank / 2 * log(2 * pi)


def _gaussian(z, inverse):
    return np.exp(_log_gaussian(z, inverse))
