"""Derivatives of Gaussian pair averages F = E[phi(u) phi(v)] with respect to the covariance (kxx, kxy, kyy) of (u, v).

Price's theorem, d/dK_ab = (1/2) E d_a d_b ..., makes them averages of derivatives of phi:

    dF/dkxy = E phi' phi'      dF/dkxx = (1/2) E phi'' phi      d2F/dkxx dkyy = (1/4) E phi'' phi''   ...

The literature's <phi phi (z_a z_b - K_ab)> with legs amputated by K^-1 are these derivatives: nothing is inverted, and
points may coincide. Activations are seen as in `_duals`: three shapes whose first derivatives are algebraic, mixtures
of them, and entire functions.
"""

import numpy as np
from scipy.special import factorial

from .._duals import _clamp, _logistic_noise, _mean
from ._jets import Jet

__all__ = ["pair_derivatives"]

_CHUNK = 1 << 9  # pairs at a time: jets of a 48-node mixture stay at 25 MB
_PARALLEL = 1e-13  # 1 - correlation^2 below this: u and v are proportional


def pair_derivatives(activation, params, kxx, kxy, kyy):
    """Gradient (3, pairs) and Hessian (3, 3, pairs) in (kxx, kxy, kyy), for 1-d arrays of covariances.

    relu, leaky_relu: where u and v are proportional the second derivatives diverge along directions that no fluctuating
    covariance takes (it stays positive semidefinite); along the others they vanish, so zeros are returned.
    Relative error 1e-10 of the largest entry; cost per pair as for `dual`, times ten.
    """
    kxx, kxy, kyy, det = _clamp(*(np.asarray(k, dtype=np.float64) for k in (kxx, kxy, kyy)))
    grad, hess = np.empty((3, len(kxx))), np.empty((3, 3, len(kxx)))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, len(kxx), _CHUNK):
            part = slice(start, start + _CHUNK)
            jet = _JETS[activation](params, kxx[part], kxy[part], kyy[part], det[part])
            grad[:, part], hess[..., part] = jet.grad, jet.hess
    return grad, hess


# ---- the three shapes seen through noise of variances s (on u) and t (on v) ----


def _noisy(kxx, kxy, kyy, det, s, t):
    """Jets of the noisy covariance (a, c, b) and of its determinant, whose value is a sum of positive terms."""
    a, c, b = Jet.variables(kxx + s, kxy + 0 * t, kyy + t)
    d = a * b + -1.0 * (c * c)
    return a, c, b, Jet(det + kxx * t + kyy * s + s * t, d.grad, d.hess)


def _step(kxx, kxy, kyy, det, s, t):
    """E step step: d/dc = 1 / (2 pi root), d/da = -c / (4 pi a root)."""
    a, c, b, d = _noisy(kxx, kxy, kyy, det, s, t)
    inverse = d**-0.5 * (1 / (2 * np.pi))
    slopes = [-0.5 * (c * inverse) * a**-1.0, inverse, -0.5 * (c * inverse) * b**-1.0]
    return Jet.integral(np.arctan2(np.sqrt(d.value), -kxy) / (2 * np.pi), slopes)


def _ramp(kxx, kxy, kyy, det, s, t):
    """E relu relu: d/dc = E step step, d/da = root / (4 pi a)."""
    a, _, b, d = _noisy(kxx, kxy, kyy, det, s, t)
    root = d**0.5 * (1 / (4 * np.pi))
    return Jet.integral(0.0, [root * a**-1.0, _step(kxx, kxy, kyy, det, s, t), root * b**-1.0])


def _gate(kxx, kxy, kyy, det, s, t):
    """E[u Phi(u / sqrt s) v Phi(v / sqrt t)] = (c + 2 x c d_a + (x y + c^2) d_c + 2 y c d_b) E step step, by parts;
    x and y are the variances without noise."""
    a, c, b, d = _noisy(kxx, kxy, kyy, det, s, t)
    x, _, y = Jet.variables(kxx + 0 * t, kxy + 0 * t, kyy + 0 * t)
    inverse = d**-0.5 * (1 / (2 * np.pi))
    # d_a = -(c / 2 a) d_c, likewise d_b
    bend = x * y + c * c + -1.0 * (c * c) * (x * a**-1.0 + y * b**-1.0)
    return c * _step(kxx, kxy, kyy, det, s, t) + bend * inverse


def _sharp_ramp(kxx, kxy, kyy, det):
    """The ramp without noise."""
    jet = _ramp(kxx, kxy, kyy, det, 0.0, 0.0)
    proportional = det <= _PARALLEL * kxx * kyy
    slope = np.where((kxx == 0) | (kyy == 0), 0.25, np.where(kxy > 0, 0.5, 0.0))
    exact = np.stack([np.zeros_like(slope), slope, np.zeros_like(slope)])
    return Jet(jet.value, np.where(proportional, exact, jet.grad), np.where(proportional, 0.0, jet.hess))


def _leaky(params, kxx, kxy, kyy, det):
    """phi = slope z + (1 - slope) relu: slope kxy + (1 - slope)^2 E relu relu."""
    ramp = _sharp_ramp(kxx, kxy, kyy, det)
    linear = np.array([0.0, params[0], 0.0])[:, None]
    return Jet(None, linear + (1 - params[0]) ** 2 * ramp.grad, (1 - params[0]) ** 2 * ramp.hess)


def _smoothed(shape, t, scale=1.0):
    return lambda params, kxx, kxy, kyy, det: shape(kxx, kxy, kyy, det, t, t) * scale


def _mixture(shape, *, scale=1.0, noise=1.0):
    """The shape averaged over the logistic mixture of noise variances, both scaled by `noise`."""

    def average(params, kxx, kxy, kyy, det):
        variances, weights = _logistic_noise()
        columns = [k[:, None] for k in (kxx, kxy, kyy, det)]
        grad, hess = 0.0, 0.0
        for s, w in zip(variances, weights):
            jet = shape(*columns, noise * s, noise * variances)
            grad, hess = grad + w * scale * (jet.grad @ weights), hess + w * scale * (jet.hess @ weights)
        return Jet(None, grad, hess)

    return average


# ---- entire functions ----


def _exponentials(*terms):
    """F = sum of coefficient exp(direction . (kxx, kxy, kyy))."""

    def average(params, kxx, kxy, kyy, det):
        grad, hess = 0.0, 0.0
        for coefficient, direction in terms:
            q = np.array(direction)[:, None]
            value = coefficient * np.exp(q[0] * kxx + q[1] * kxy + q[2] * kyy)
            grad, hess = grad + value * q, hess + value * q[:, None] * q
        return Jet(None, grad, hess)

    return average


def _polynomial(params, kxx, kxy, kyy, det):
    """E P^(i)(u) P^(j)(v) = sum_k kxy^k / k! E[P^(k+i)(u)] E[P^(k+j)(v)]; d/dkxx lifts i by 2, d/dkxy i and j by 1."""
    degree = len(params) - 1
    p = [np.polynomial.Polynomial(params).deriv(k) for k in range(degree + 1)]
    u, v = ([_mean(q, variance) for q in p] for variance in (kxx, kyy))
    zero = np.zeros_like(kxx)

    def moment(i, j):
        return sum((kxy**k / factorial(k) * u[k + i] * v[k + j] for k in range(degree + 1 - max(i, j))), zero)

    lifts, halves = ((2, 0), (1, 1), (0, 2)), (0.5, 1.0, 0.5)
    grad = [h * moment(*lift) for h, lift in zip(halves, lifts)]
    hess = [[h * g * moment(i + k, j + n) for g, (k, n) in zip(halves, lifts)] for h, (i, j) in zip(halves, lifts)]
    return Jet(None, np.array(grad), np.array(hess))


_JETS = {
    "relu": lambda params, *covariance: _sharp_ramp(*covariance),
    "leaky_relu": _leaky,
    "erf": _smoothed(_step, 0.5, 4.0),  # E sign sign = 4 E step step - 1
    "tanh": _mixture(_step, noise=0.25, scale=4.0),
    "sigmoid": _mixture(_step),
    "softplus": _mixture(_ramp),
    "gelu": _smoothed(_gate, 1.0),
    "swish": _mixture(_gate),
    "exp": _exponentials((1.0, (0.5, 1.0, 0.5))),
    "gauss": _exponentials((1.0, (-0.5, 1.0, -0.5))),  # exp(z - Var z): the normaliser follows the covariance
    "sin": _exponentials((0.5, (-0.5, 1.0, -0.5)), (-0.5, (-0.5, -1.0, -0.5))),
    "cos": _exponentials((0.5, (-0.5, 1.0, -0.5)), (0.5, (-0.5, -1.0, -0.5))),
    "identity": lambda params, *covariance: _polynomial((0.0, 1.0), *covariance),
    "polynomial": _polynomial,
}
