"""Polynomial potentials under the flow k dU/dk = V_d k^(d+2) / (k^2 + U''), U = sum_m u_2m phi^(2m) / (2m)!

With 1 / (k^2 + U'') = sum_m b_m phi^(2m):  k du_2m/dk = V_d k^(d+2) (2m)! b_m.
"""

import warnings
from math import factorial, gamma, pi, sqrt

import numpy as np
from scipy.integrate import solve_ivp

from ..errors import ArgumentError, DivergenceError

__all__ = ["ball", "dimensionless_beta", "dimensions", "factorials", "integrate", "reciprocal", "sample"]

_EDGE = 1e-7  # 1 + u2/k^2 below this: phi = 0 is unstable
_STRONG = 1e6  # V k^(d-4) |u4| / (1 + u2/k^2)^2, the strength of a loop, above this and growing: on its way to infinity
_MAX_COUPLING = 1e100


def ball(d):
    """V_d, the volume of the unit ball over (2 pi)^d."""
    return 1 / (2**d * pi ** (d / 2) * gamma(d / 2 + 1))


def dimensions(d, n):
    """Momentum dimensions d - m (d - 2) of u_2 .. u_2n."""
    return d - np.arange(1, n + 1) * (d - 2)


def factorials(n):
    """(2m)! for m = 0 .. n."""
    return np.array([factorial(2 * m) for m in range(n + 1)], dtype=np.float64)


def dimensionless_beta(u, d):
    """k du/dk of dimensionless couplings u, shape (..., M): canonical scaling and the loop."""
    n = u.shape[-1]
    f = factorials(n)
    curvature = np.concatenate([u / f[:-1], np.zeros(u.shape[:-1] + (1,))], axis=-1)
    curvature[..., 0] += 1
    return -dimensions(d, n) * u + ball(d) * f[1:] * reciprocal(curvature)[..., 1:]


def reciprocal(a):
    """Coefficients of 1 / sum_m a_m z^m, to the same order; the last axis counts m."""
    b = np.empty_like(a)
    b[..., 0] = 1 / a[..., 0]
    for m in range(1, a.shape[-1]):
        b[..., m] = -b[..., 0] * (a[..., 1 : m + 1] * b[..., m - 1 :: -1][..., :m]).sum(axis=-1)
    return b


def integrate(d, u, scales, tolerance):
    """((unit, dense solution in log(k / unit)), scale where it ended early or None, why or None)."""
    # Momenta in units of the largest scale: all numbers of order one or smaller.
    unit = np.float64(max(scales[0], scales[-1], sqrt(abs(u[0]))))
    n = len(u)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        units = unit ** dimensions(d, n)
        y0 = u / units
    if not (np.isfinite(y0).all() and np.isfinite(units).all()) or (abs(y0) > _MAX_COUPLING).any():
        raise ArgumentError(
            f"couplings {u.tolist()} at k = {scales[0]:g} are beyond float64 in units of momentum: rescale them"
        )
    t0, t1 = np.log(scales[0] / unit), np.log(scales[-1] / unit)
    if np.exp(2 * t0) + y0[0] <= 0:
        raise DivergenceError(
            f"1 + u2/k^2 = {1 + u[0] / scales[0] ** 2:.6g} at the start: the propagator 1/(k^2 + u2) is negative"
        )
    f, volume = factorials(n), ball(d)
    at = np.subtract.outer(np.arange(1, n + 1), np.arange(n))  # row m = 1..n, column of a_j, j = 0..n-1

    def series(t, y):
        curvature = np.append(y / f[:-1], 0.0)  # of k^2 + U'': the coupling beyond the truncation is 0
        curvature[0] += np.exp(2 * t)
        return reciprocal(curvature)

    def slope(t, y):
        return volume * np.exp((d + 2) * t) * f[1:] * series(t, y)[1:]

    def jacobian(t, y):
        b = series(t, y)
        square = np.convolve(b, b)[: n + 1]  # d(1/F) = -dF / F^2
        rows = np.where(at >= 0, square[np.maximum(at, 0)], 0.0)
        return -volume * np.exp((d + 2) * t) * f[1:, None] * rows / f[:-1]

    def edge(t, y):
        return 1 + y[0] * np.exp(-2 * t) - _EDGE

    def strength(t, y):
        return volume * np.exp(d * t) * abs(y[1]) / (np.exp(2 * t) + y[0]) ** 2

    def runaway(t, y):
        return limit - strength(t, y)

    edge.terminal = runaway.terminal = True
    limit = max(_STRONG, 1e3 * strength(t0, y0)) if n > 1 else 0.0
    floor = tolerance * 1e-2 * _typical(d, y0, max(min(scales[0], scales[-1]), sqrt(abs(u[0]))) / unit)
    events = [edge, runaway][: min(n, 2)]
    options = {"jac": jacobian, "rtol": tolerance, "atol": floor, "dense_output": True, "events": events}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            result = solve_ivp(slope, (t0, t1), y0, method="Radau", **options)
        except ValueError as error:  # scipy refuses infinite matrices
            raise ArgumentError(
                f"couplings {u.tolist()} between k = {scales[0]:g} and {scales[-1]:g} leave the range of float64: "
                "choose scales closer to the mass, or a lower order"
            ) from error
    if result.status == 0:
        return (unit, result.sol), None, None
    t, y = result.t[-1], result.y[:, -1]
    reason = f"u4 runs to {'-' if n > 1 and y[1] < 0 else ''}infinity"
    if edge(t, y) < 1e-3:
        reason = "1 + u2/k^2 reached 0 (phi = 0 is unstable)"
    return (unit, result.sol), float(unit * np.exp(t)), reason


def _typical(d, y, scale):
    """Couplings that one loop makes of those given, V (2m)! (u4/2)^m, at the smallest scale that matters.

    Far above that scale they are smaller by powers of k, and not worth relative precision.
    """
    m, volume = np.arange(1, len(y) + 1), ball(d)
    powers = scale ** dimensions(d, len(y))
    strength = max(abs(y[1:] / powers[1:]) ** (1 / m[:-1]), default=0.0)  # u_2m ~ u4^(m-1)
    return np.maximum(volume * factorials(len(y))[1:] * (min(strength, 1 / volume) / 2) ** m * powers, 1e-290)


def sample(d, flow, grid, n):
    """Couplings at the scales of `grid`, shape (len(grid), n)."""
    unit, solution = flow
    return solution(np.log(grid / unit)).T * unit ** dimensions(d, n)
