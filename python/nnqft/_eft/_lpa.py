"""The Wetterich-Morris equation in the local potential approximation, for polynomial potentials.

With the optimised regulator R_k(p) = (k^2 - p^2) theta(k^2 - p^2) the loop integral is the volume of a ball,

    k dU/dk = V_d k^(d+2) / (k^2 + U''(phi)),      V_d = 1 / (2^d pi^(d/2) Gamma(d/2 + 1)),
    U(phi)  = sum_(m=1)^M u_2m phi^(2m) / (2m)!

(Wetterich, Phys. Lett. B 301 (1993) 90; Morris, Int. J. Mod. Phys. A 9 (1994) 2411; Litim, hep-th/0103195). Both sides
are power series in z = phi^2. With 1 / (k^2 + U'') = sum_m b_m z^m:  k du_2m/dk = V_d k^(d+2) (2m)! b_m.
"""

import warnings
from dataclasses import dataclass
from math import pi

import numpy as np

from .._checks import integer, number, positive_array, real_array, shown
from .._estimate import Estimate, parenthesis
from ..errors import ArgumentError, DivergenceError, NNQFTWarning, ShapeError
from ._fixed_points import check_dimension, check_order, lpa_fixed_points
from ._potential import dimensionless_beta, dimensions, integrate, sample

__all__ = ["LPAFlow", "lpa_couplings", "lpa_flow"]


@dataclass(frozen=True, eq=False)
class LPAFlow:
    """What `lpa_flow` returns.

    Attributes
    ----------
    mode : "passive" or "active"
        Flow in the scale k of one net, or in sigma_w from net to net at one scale.
    d : float
        Dimension of the input space.
    k : array, shape (n,)
        Scale of each row; all equal for an active flow.
    sigma_w : array, shape (n,), or None
        Of each row; None if u2 was given instead.
    couplings : array, shape (n, M), float64
        u2, u4, .. (columns) in units of momentum ** (d - m (d - 2)).
    stderr : array, shape (n, M)
        Errors that the given couplings carried, to first order; 0 for exact ones.
    singular_k : float or None
        Where the flow ended early.
    reason : str or None
        Why it did.
    """

    mode: str
    d: float
    k: np.ndarray
    sigma_w: object
    couplings: np.ndarray
    stderr: np.ndarray
    singular_k: object = None
    reason: object = None
    _solution: object = None

    @property
    def orders(self):
        """Powers of the field that the columns belong to: (2, 4, ..)."""
        return tuple(range(2, 2 * self.couplings.shape[1] + 1, 2))

    @property
    def dimensionless(self):
        """u_2m / k^(d - m (d - 2)), shape (n, M): what comes to rest at fixed points."""
        return self.couplings / self.k[:, None] ** dimensions(self.d, self.couplings.shape[1])

    @property
    def beta(self):
        """k d(dimensionless)/dk at every row, shape (n, M)."""
        return dimensionless_beta(self.dimensionless, self.d)

    def coupling(self, order):
        """The column of phi^order, shape (n,); ArgumentError if the truncation has none."""
        order = integer("order", order, 2, 40)
        if order not in self.orders:
            raise ArgumentError(f"this flow has couplings of orders {self.orders}, not {order}")
        return self.couplings[:, self.orders.index(order)]

    def at(self, k):
        """Couplings at a scale between the first and the last, shape (M,); ArgumentError outside or for active flows.

        Examples
        --------
        >>> flow = lpa_flow(3, 1.0, u4=1.0, k=(10, 0.1))
        >>> bool(abs(flow.at(1.0)[0] - np.interp(1.0, flow.k[::-1], flow.couplings[::-1, 0])) < 1e-4)
        True
        """
        if self._solution is None:
            raise ArgumentError("an active flow stands at one scale: ask lpa_flow for another one")
        k, (low, high) = number("k", k), sorted((self.k[0], self.k[-1]))
        if not low <= k <= high:
            raise ArgumentError(f"k = {k!r} lies outside the flow, {low:g} .. {high:g}")
        unit, solution = self._solution
        return solution(np.log(k / unit)) * unit ** dimensions(self.d, self.couplings.shape[1])

    def fixed_points(self):
        """Fixed points of this truncation in this dimension: `lpa_fixed_points`."""
        return lpa_fixed_points(self.d, order=self.orders[-1])

    def to_dict(self):
        """Plain `dict` of lists and numbers, ready for JSON."""
        plain = {
            name: getattr(self, name)
            for name in ("mode", "d", "k", "sigma_w", "couplings", "stderr", "singular_k", "reason")
        }
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in plain.items()}

    def __repr__(self):
        name, scale = ("k", self.k) if self.mode == "passive" else ("sigma_w", self.sigma_w)
        ends = [
            ", ".join(f"u{n}={parenthesis(float(u), float(s))}" if s else f"u{n}={u:.6g}"
                      for n, u, s in zip(self.orders, self.couplings[row], self.stderr[row], strict=True))
            for row in (0, -1)
        ]  # fmt: skip
        end = "" if self.singular_k is None else f", singular at k={self.singular_k:.6g}"
        return (
            f"LPAFlow({self.mode}, d={self.d:g}, {len(scale)} points{end})\n"
            f"  {name}={scale[0]:.6g}: {ends[0]}\n  {name}={scale[-1]:.6g}: {ends[1]}"
        )


def lpa_flow(
    d, sigma_w=None, *, u2=None, u4=0.0, u6=0.0, higher=(), order=None, k=(1.0, 1e-3), n_points=101, tolerance=1e-9
):
    """Flow of a polynomial potential under the Wetterich-Morris equation in the local potential approximation.

    k du2/dk = -V k^(d-2) u4 / D^2,   k du4/dk = V k^(d-2) [-u6 / D^2 + 6 u4^2 / (k^2 D^3)],
    k du6/dk = V k^(d-2) [-u8 / D^2 + 30 u4 u6 / (k^2 D^3) - 90 u4^3 / (k^4 D^4)],  D = 1 + u2/k^2,  and so on.

    Parameters
    ----------
    d : float
        Dimension of the input space, >= 0, not only an integer.
    sigma_w : float, or array (n,), optional
        Fixes u2 = 2 sigma_w^2 / d, the mass^2 of the Gaussian kernel, unless `u2` is given. An array of at least two
        asks for the active flow: from net to net, seen at the scale k_stop.
    u2, u4, u6, higher : float or Estimate (higher: a sequence u8, u10, ..)
        Couplings at k_start of a canonically normalised field, in units of momentum ** (d - m (d - 2)):
        `lpa_couplings` makes them from lambda and kappa. In an active flow those of the first sigma_w; the others
        follow by homogeneity, u_2m ~ sigma_w^(d - m (d - 2)) at k_start ~ sigma_w, which is exact for one hidden layer
        whose sigma_b stays. u4 and u6 may also be arrays (n,): measured in every net.
    order : int, optional
        Even power of the field that truncates the potential, 2 .. 40; default 6, or as far as couplings are given.
    k : (k_start, k_stop), or longer array
        Towards smaller k fluctuations are integrated out; k_start < k_stop goes back to the microscopic potential. A
        longer, strictly monotonic array lists the scales of the result.
    n_points : int
        Logarithmically spaced scales of the result.
    tolerance : float
        Relative, of the integrator (Radau, fifth order, with the exact Jacobian), 1e-12 .. 1e-3.

    Returns
    -------
    LPAFlow
        `.k`, `.couplings`, `.dimensionless`, `.beta`, `.at(k)`, `.fixed_points()`, `.stderr` (of couplings given with
        errors: half the difference of two flows), `.singular_k`, `.reason`.

    Raises
    ------
    ArgumentError, ShapeError
        Parameters that are not finite or out of range, arrays of the wrong length.
    DivergenceError
        If 1 + u2/k^2 <= 0 at the start, or an active flow ends early.

    Warns
    -----
    NNQFTWarning
        If the flow ends before k_stop, in one of two ways: 1 + u2/k^2 -> 0, where phi = 0 has become unstable and the
        expansion around it stops; or u4 -> infinity (of a negative u4 downwards, of a large positive one upwards).

    Notes
    -----
    d = 0 has no momenta to approximate: there the flow is exact up to the truncation. The global error is some 10 times
    the tolerance; what the truncation leaves out shows when `order` is raised. About 0.2 s a flow. The same equations
    up to u6: Erbin, Lahoche, Ousmane Samary, arXiv:2108.01403, who start with u2 = 2 sigma_w^2.

    Examples
    --------
    >>> flow = lpa_flow(3, 1.0, u4=2.0, k=(20.0, 0.01))
    >>> flow
    LPAFlow(passive, d=3, 101 points)
      k=20: u2=0.666667, u4=2, u6=0
      k=0.01: u2=1.25176, u4=1.82885, u6=0.627504
    """
    try:
        higher = list(higher)
    except TypeError:
        raise ShapeError(f"higher must be a sequence of couplings u8, u10, .., got {shown(higher)}") from None
    d, order = check_dimension(d), check_order(order, 6 + 2 * len(higher))
    scales = _scales(k, n_points)
    tolerance = number("tolerance", tolerance, low=1e-12, high=1e-3)
    widths = None if sigma_w is None else positive_array("sigma_w", sigma_w)
    if widths is not None and widths.shape == (1,):
        raise ShapeError("sigma_w is an array of one net; an active flow takes at least two, a passive one a number")
    active = widths is not None and widths.ndim == 1
    if u2 is None:
        if widths is None:
            raise ArgumentError("the mass is missing: give sigma_w (u2 = 2 sigma_w^2 / d) or u2")
        if d == 0:
            raise ArgumentError("in d = 0 there is no kernel of width 1/sigma_w: give u2")
        with np.errstate(over="ignore"):
            u2 = 2 * widths.flat[0] ** 2 / d
    given = [u2, u4, u6, *higher]
    if len(given) > order // 2 and any(np.any(_parts(u)[0] != 0) for u in given[order // 2 :]):
        raise ArgumentError(f"order={order} leaves no room for the couplings given up to u{2 * len(given)}")
    given = (given + [0.0] * (order // 2))[: order // 2]
    if active:
        return _active(d, widths, given, scales, tolerance)
    means, errors = _numbers(given)
    flow, singular, reason = integrate(d, means, scales, tolerance)
    couplings, grid, stderr = _with_errors(d, means, errors, scales, tolerance, flow, singular)
    if reason:
        warnings.warn(
            f"{reason} at k = {singular:.6g}, before k_stop = {scales[-1]:.6g}: the flow ends there",
            NNQFTWarning,
            stacklevel=2,
        )
    width = None if widths is None else np.full(len(grid), float(widths))
    return LPAFlow("passive", d, grid, width, couplings, stderr, singular, reason, flow)


def lpa_couplings(net, quartic, sextic=0.0):
    """(u2, u4, u6) of the canonically normalised field, from lambda and kappa of a net with a Gaussian kernel.

    1/K(p) = Z (m^2 + p^2 + O(p^4)),   m^2 = 2 sigma_w^2 / d,   Z = d (sigma_w^2 / (2 pi d))^(d/2) / (2 sigma_w^4),
    phi = sqrt(Z) f,   u2 = m^2,   u4 = 24 lambda / Z^2,   u6 = 720 kappa / Z^3.

    Parameters
    ----------
    net : Network
        gauss_net, or cos_net with normal momenta.
    quartic, sextic : float or Estimate
        lambda and kappa of the action e^{-S}, S = S_GP + int [lambda f^4 + kappa f^6], kappa without its tree term.

    Returns
    -------
    tuple of 3 floats or Estimates
        What `lpa_flow` takes; units of momentum ** (2, 4 - d, 6 - 2 d).

    Raises
    ------
    ArgumentError
        If the kernel is not Gaussian, sigma_w = 0, or a coupling leaves the range of float64.

    Notes
    -----
    Correlators of the net are those of the full theory: the couplings belong to k -> 0, and a flow that starts there
    and goes up leads to the microscopic potential. With the field's normalisation left out, u4 would come out as
    24 lambda instead, in other units. Derivation: docs/renormalization.md. Cost: none.

    Examples
    --------
    >>> from nnqft.networks import gauss_net
    >>> lpa_couplings(gauss_net(1000, dim_in=1), -1e-4)[:2]
    (2.0, -0.06031857894892403)
    """
    gaussian = getattr(net, "activation", None) == "gauss" and len(net.widths) == 1
    cosine = getattr(net, "phase", False) and net.momentum == "normal" and net.amplitude is None
    if not (gaussian or cosine):
        raise ArgumentError(
            f"{net!r} has no Gaussian kernel: a mass and a normalisation are known for gauss_net and cos_net"
        )
    if not net.sigma_w > 0:
        raise ArgumentError("sigma_w = 0: the kernel is constant and has no mass")
    d, s = net.dim_in, np.float64(net.sigma_w)
    with np.errstate(all="ignore"):  # _scaled looks for what leaves the range of float64
        z = d / 2 * (2 * pi * d) ** (-d / 2) * s ** (d - 4)
        mass2, four, six = 2 * s**2 / d, 24 / z**2, 720 / z**3
    scaled = (
        _scaled(u, f, name)
        for u, f, name in ((1.0, mass2, "mass"), (quartic, four, "quartic"), (sextic, six, "sextic"))
    )
    return tuple(scaled)


def _with_errors(d, means, errors, scales, tolerance, flow, singular):
    """(couplings, scales reached, errors): every given error moves the start by one standard error up and down."""
    n = len(means)
    grid = scales
    if singular is not None:
        grid = np.append(scales[(scales - singular) * (scales[0] - singular) > 0], singular)
    variance = np.zeros((len(grid), n))
    for i in np.flatnonzero(errors):
        moved = []
        for sign in (1, -1):
            start = means.copy()
            start[i] += sign * errors[i]
            try:
                other, end, _ = integrate(d, start, grid, tolerance)
            except DivergenceError:
                end = grid[0]
            moved.append(np.full((len(grid), n), np.nan) if end is not None else sample(d, other, grid, n))
        variance += ((moved[0] - moved[1]) / 2) ** 2
    return sample(d, flow, grid, n), grid, np.sqrt(variance)


def _active(d, widths, given, scales, tolerance):
    """Net by net: start at k_start * sigma_w / sigma_w[0] with couplings scaled or measured, stop at k_stop."""
    count, n = len(widths), len(given)
    rows, errors = np.empty((count, n)), np.empty((count, n))
    factor = (widths / widths[0])[:, None] ** dimensions(d, n)
    for m, u in enumerate(given):
        mean, error = _parts(u)
        if mean.ndim and (m not in (1, 2) or mean.shape != (count,)):
            raise ShapeError(
                f"u{2 * m + 2} has shape {mean.shape}; expected a number, or (u4, u6) one for each of {count} sigma_w"
            )
        rows[:, m], errors[:, m] = (mean, error) if mean.ndim else (mean * factor[:, m], error * factor[:, m])
    couplings, stderr = np.empty((count, n)), np.empty((count, n))
    for i, s in enumerate(widths):
        ends = np.array([scales[0] * s / widths[0], scales[-1]])
        means, _ = _numbers(rows[i])
        if ends[0] == ends[1]:
            couplings[i], stderr[i] = means, errors[i]
            continue
        flow, singular, reason = integrate(d, means, ends, tolerance)
        if reason:
            raise DivergenceError(f"sigma_w = {s:g}: {reason} at k = {singular:.6g}, before k_stop = {ends[1]:.6g}")
        values, _, error = _with_errors(d, means, errors[i], ends, tolerance, flow, None)
        couplings[i], stderr[i] = values[-1], error[-1]
    return LPAFlow("active", d, np.full(count, scales[-1]), widths, couplings, stderr)


# ---------------------------------------------------------------------------------------------- arguments


def _scales(k, n_points):
    k, n_points = positive_array("k", k), integer("n_points", n_points, 2, 10**6)
    if k.ndim != 1 or len(k) < 2:
        raise ShapeError(f"k has shape {k.shape}; (k_start, k_stop) or a longer list of scales is expected")
    steps = np.diff(k)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ArgumentError("k must increase or decrease strictly")
    if len(k) == 2:
        k = np.geomspace(k[0], k[1], n_points)
    return k


def _parts(u):
    """(mean, stderr) of a number, an Estimate or an array; float64 arrays."""
    mean, error = (u.mean, u.stderr) if isinstance(u, Estimate) else (u, 0.0)
    return real_array("a coupling", mean), real_array("the error of a coupling", error)


def _numbers(given):
    parts = [_parts(u) for u in given]
    if any(mean.ndim for mean, _ in parts):
        raise ShapeError("a passive flow starts from one number for every coupling; arrays need as many sigma_w")
    return np.array([float(mean) for mean, _ in parts]), np.array([float(error) for _, error in parts])


def _scaled(u, factor, name):
    mean, error = _parts(u)
    if mean.ndim:
        raise ShapeError(f"{name} has shape {mean.shape}; one number is expected")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        value, error = float(mean * factor) if mean else 0.0, float(error * factor) if error else 0.0
    if not (np.isfinite(value) and np.isfinite(error)) or (value == 0) != (mean == 0):
        raise ArgumentError(
            f"the {name} coupling times {factor:.3g} leaves the range of float64: rescale the inputs (sigma_w)"
        )
    return Estimate(value, error, u.n, u.how) if isinstance(u, Estimate) else value
