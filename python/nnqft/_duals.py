"""Gaussian pair averages E[phi(u) phi(v)] and E[phi'(u) phi'(v)], (u, v) centred Gaussian.

Most activations are one of three shapes, seen through Gaussian noise xi of variance t (xi ~ N(0, 1)):

    sign   E sign(z + sqrt(t) xi) = erf(z / sqrt(2 t))     erf: t = 1/2    tanh, sigmoid: a mixture over t
    ramp   E relu(z + sqrt(t) xi)                          relu: t = 0     softplus:      a mixture over t
    gate   z E step(z + sqrt(t) xi) = z Phi(z / sqrt(t))   gelu: t = 1     swish:         a mixture over t

The mixture is exact: the logistic law is a normal law whose standard deviation is 2 k, k ~ Kolmogorov
(Andrews and Mallows, J. R. Stat. Soc. B 36 (1974) 99). Noise only adds t to a variance, so each shape needs
one closed form: arcsine (Williams, NIPS 1996) and arc-cosine (Cho and Saul, NIPS 2009) kernels.
Derivatives are d/dkxy of the average (Price's theorem).
"""

from functools import lru_cache

import numpy as np
from scipy.special import factorial

from ._pair_quadrature import pair_quadrature
from .errors import ArgumentError

__all__ = ["ACTIVATIONS", "dual", "dual_derivative"]

_CHUNK = 1 << 14  # pairs at a time: temporaries of a 64-node mixture stay at 8 MB


def dual(activation, params, kxx, kxy, kyy):
    """E[phi(u) phi(v)] for (u, v) ~ N(0, [[kxx, kxy], [kxy, kyy]]).

    Parameters
    ----------
    activation : str or callable
        A name in `ACTIVATIONS`, or a vectorised function of one float64 array.
        "gauss" is exp(z - Var z), the activation of the Gauss-net with its normaliser.
    params : sequence of float
        leaky_relu: (slope,); polynomial: (c0, c1, ...); a callable: the positions of its kinks or jumps,
        () for a smooth one; otherwise ().
    kxx, kxy, kyy : array_like, broadcastable, float64
        Covariance entries, in units of the pre-activation squared. A correlation outside [-1, 1] is clamped.

    Returns
    -------
    array, broadcast shape, float64

    Raises
    ------
    ArgumentError
        Unknown name, wrong `params`, negative or non-finite covariance, overflow, or a callable that
        the quadrature cannot resolve.

    Notes
    -----
    Relative error about 1e-13 for named activations at any variance and correlation; 1e-10 is checked for
    callables, 1e-12 usual. Cost per pair: 0.1 us closed form, 60 us mixture, 5-50 ms callable. Sources: module header.

    Examples
    --------
    >>> float(dual("relu", (), 1.0, 1.0, 1.0))
    0.5
    """
    return _average(_DUALS, activation, params, kxx, kxy, kyy)


def dual_derivative(activation, params, kxx, kxy, kyy):
    """E[phi'(u) phi'(v)], the pair average of the tangent kernel. Parameters as for `dual`.

    Steps count 1/2 at zero, so relu' averages to 1/4 where a variance vanishes. For a callable, pass its derivative
    to `dual` instead.

    Examples
    --------
    >>> float(dual_derivative("relu", (), 1.0, 0.0, 1.0))
    0.25
    """
    if callable(activation):
        raise ArgumentError("dual_derivative() takes the name of an activation: for a callable, pass its derivative to dual()")
    return _average(_DERIVATIVES, activation, params, kxx, kxy, kyy)


def check_activation(activation, params):
    """`params` as a tuple of floats, if the activation exists and takes that many."""
    params = tuple(float(p) for p in (params if params is not None else ()))
    if not all(np.isfinite(params)):
        raise ArgumentError(f"activation_params = {params} must be finite")
    if callable(activation):
        return params
    if activation not in _DUALS:
        raise ArgumentError(f"unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}, or a callable")
    if activation == "leaky_relu" and len(params) != 1:
        raise ArgumentError(f"leaky_relu takes one parameter, its slope; {len(params)} came")
    if activation == "polynomial" and not params:
        raise ArgumentError("polynomial takes its coefficients (c0, c1, ...) as parameters; none came")
    if activation not in ("leaky_relu", "polynomial") and params:
        raise ArgumentError(f"{activation} takes no parameters; {params} came")
    return params


def _average(table, activation, params, kxx, kxy, kyy):
    params = check_activation(activation, params)
    kxx, kxy, kyy = np.broadcast_arrays(*(np.asarray(k, dtype=np.float64) for k in (kxx, kxy, kyy)))
    if not (np.isfinite(kxx).all() and np.isfinite(kxy).all() and np.isfinite(kyy).all()):
        raise ArgumentError("covariances must be finite: kxx, kxy or kyy holds NaN or infinity")
    if (kxx < 0).any() or (kyy < 0).any():
        raise ArgumentError(f"variances must be >= 0; the smallest that came is {min(kxx.min(), kyy.min())}")
    shape = kxx.shape
    kxx, kxy, kyy, det = _clamp(kxx.ravel(), kxy.ravel(), kyy.ravel())
    if callable(activation):
        return pair_quadrature(activation, params, kxx, kxy, kyy).reshape(shape)
    out = np.empty(kxx.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, out.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            out[part] = table[activation](params, kxx[part], kxy[part], kyy[part], det[part])
    if not np.isfinite(out).all():
        raise ArgumentError(f"the average of {activation} overflows float64 at variance "
                            f"{max(kxx.max(), kyy.max()):.3g}: use smaller sigma_w, sigma_b or inputs")
    return out.reshape(shape)


def _clamp(kxx, kxy, kyy):
    """Correlations within 4 ulp of +-1 become +-1 (repeated points), larger ones are cut. Also kxx kyy - kxy^2."""
    bound = np.sqrt(kxx) * np.sqrt(kyy)
    kxy = np.where(np.abs(kxy) >= bound * (1 - 9e-16), np.copysign(bound, kxy), kxy)
    return kxx, kxy, kyy, (bound - kxy) * (bound + kxy)


# ---- the three shapes; kxx, kyy are variances before noise, s and t the noise variances of u and v ----

def _noisy_det(kxx, kyy, det, s, t):
    """Determinant of [[kxx + s, kxy], [kxy, kyy + t]]: a sum of positive terms, no cancellation."""
    return det + kxx * t + kyy * s + s * t


def _step(kxx, kxy, kyy, det, s, t):
    """E step step = (pi - theta) / 2 pi; 1/4 where a variance vanishes (the limit of no correlation)."""
    root = np.sqrt(_noisy_det(kxx, kyy, det, s, t))
    return np.where((root == 0) & (kxy == 0), 0.25, np.arctan2(root, -kxy) / (2 * np.pi))


def _sign(kxx, kxy, kyy, det, s, t):
    """E sign sign = (2 / pi) arcsin(correlation)."""
    return (2 / np.pi) * np.arctan2(kxy, np.sqrt(_noisy_det(kxx, kyy, det, s, t)))


def _delta(kxx, kxy, kyy, det, s, t):
    """E delta delta = d/dkxy E step step."""
    return 1 / (2 * np.pi * np.sqrt(_noisy_det(kxx, kyy, det, s, t)))


def _ramp(kxx, kxy, kyy, det, s, t):
    """E relu relu = [root + kxy (pi - theta)] / 2 pi, root = sqrt(determinant), tan(pi - theta) = root / -kxy."""
    root = np.sqrt(_noisy_det(kxx, kyy, det, s, t))
    direct = root + kxy * np.arctan2(root, -kxy)
    return np.where(kxy < 0, -kxy * _minus_arctan(root, kxy), direct) / (2 * np.pi)


def _gate(kxx, kxy, kyy, det, s, t):
    """E[u Phi(u / sqrt s) v Phi(v / sqrt t)], two integrations by parts:

    kxy E step step + G / (2 pi root), G = kxx kyy + kxy^2 (1 - kxx / a - kyy / b), a = kxx + s, b = kyy + t.
    """
    a, b = kxx + s, kyy + t
    root2 = _noisy_det(kxx, kyy, det, s, t)
    root = np.sqrt(root2)
    direct = kxy * np.arctan2(root, -kxy) + (kyy * (det + kxx * t) / b + kxy**2 * s / a) / root
    far = -kxy * _minus_arctan(root, kxy) - _gate_rest(kxx, kyy, det, s, t) / root  # same; direct cancels at -kxy >> root
    return np.where(-kxy > root, far, direct) / (2 * np.pi)


def _gate_derivative(kxx, kxy, kyy, det, s, t):
    root2 = _noisy_det(kxx, kyy, det, s, t)
    root = np.sqrt(root2)
    bend = 2 * s / (kxx + s) + 2 * t / (kyy + t) - _gate_rest(kxx, kyy, det, s, t) / root2
    return (np.arctan2(root, -kxy) + kxy / root * bend) / (2 * np.pi)


def _gate_rest(kxx, kyy, det, s, t):
    """root^2 - G, a sum of positive terms."""
    return t / (kyy + t) * (det + kxx * t) + s / (kxx + s) * (det + kyy * s) + s * t


def _minus_arctan(root, kxy):
    """x - arctan(x) at x = root / -kxy for kxy < 0, by its series where the difference would cancel."""
    x = np.divide(root, -kxy, out=np.zeros_like(root), where=kxy < 0)
    x2 = np.minimum(x * x, 0.01)
    series = x2 * x * (1 / 3 - x2 * (1 / 5 - x2 * (1 / 7 - x2 * (1 / 9 - x2 * (1 / 11 - x2 * (1 / 13 - x2 / 15))))))
    return np.where(x < 0.1, series, x - np.arctan(x))


@lru_cache
def _logistic_noise():
    """Variances t and weights: sigmoid(z) = sum_j w_j Phi(z / sqrt(t_j)), t = 4 k^2, k ~ Kolmogorov.

    Trapezoid in log k: the density falls off doubly exponentially at both ends, which makes the rule exact to rounding.
    """
    log_k, step = np.linspace(np.log(0.15), np.log(7.0), 48, retstep=True)
    k, j = np.exp(log_k)[:, None], np.arange(1, 13)
    low = np.pi**2 * (2 * j - 1) ** 2 / (8 * k**2)  # the theta function in its two dual series
    density = np.where(k < 1, np.sqrt(2 * np.pi) / k**2 * (2 * low - 1) * np.exp(-low),
                       8 * k * j**2 * (-1.0) ** (j - 1) * np.exp(-2 * (j * k) ** 2)).sum(1)
    return 4 * k[:, 0] ** 2, step * k[:, 0] * density


def _smoothed(shape, t, scale=1.0):
    """Average of a shape at one noise variance."""
    return lambda params, kxx, kxy, kyy, det: scale * shape(kxx, kxy, kyy, det, t, t)


def _mixture(shape, *, scale=1.0, shift=0.0, noise=1.0):
    """shift + scale * average of a shape over the logistic mixture of noise variances, both scaled by `noise`."""
    def average(params, kxx, kxy, kyy, det):
        variances, weights = _logistic_noise()
        kxx, kxy, kyy, det = (k[:, None] for k in (kxx, kxy, kyy, det))
        total = sum(w * (shape(kxx, kxy, kyy, det, noise * s, noise * variances) @ weights)
                    for s, w in zip(variances, weights))
        return shift + scale * total
    return average


# ---- entire functions ----

def _exp(params, kxx, kxy, kyy, det):
    return np.exp((kxx + kyy) / 2 + kxy)


def _gauss(params, kxx, kxy, kyy, det):
    return np.exp(kxy - (kxx + kyy) / 2)


def _sin(params, kxx, kxy, kyy, det):
    """exp(-(kxx + kyy) / 2) sinh(kxy), free of overflow."""
    size = np.abs(kxy)
    return np.copysign(np.exp(size - (kxx + kyy) / 2) * -np.expm1(-2 * size) / 2, kxy)


def _cos(params, kxx, kxy, kyy, det):
    """exp(-(kxx + kyy) / 2) cosh(kxy)."""
    size = np.abs(kxy)
    return np.exp(size - (kxx + kyy) / 2) * (1 + np.exp(-2 * size)) / 2


def _leaky(shape, power):
    """phi = slope z + (1 - slope) relu, and E[u relu(v)] = kxy / 2: slope kxy^power + (1 - slope)^2 shape."""
    return lambda params, kxx, kxy, kyy, det: (
        params[0] * kxy**power + (1 - params[0]) ** 2 * shape(kxx, kxy, kyy, det, 0.0, 0.0))


def _polynomial(derivative):
    """sum_k kxy^k / k! E[P^(k)(u)] E[P^(k)(v)], finite: the Hermite (Mehler) expansion of the pair average."""
    def average(params, kxx, kxy, kyy, det):
        p = np.polynomial.Polynomial(params).deriv(derivative)
        total = 0.0
        for k in range(p.degree() + 1):
            total = total + kxy**k / factorial(k) * _mean(p, kxx) * _mean(p, kyy)
            p = p.deriv()
        return total
    return average


def _mean(p, variance):
    """E P(z) at each variance: E z^(2i) = (2i - 1)!! variance^i."""
    even = p.coef[::2]
    odd_factorials = np.cumprod(np.concatenate([[1.0], np.arange(1.0, 2 * len(even) - 1, 2)]))
    return np.polynomial.polynomial.polyval(variance, even * odd_factorials)


_DUALS = {
    "relu": _smoothed(_ramp, 0.0),
    "leaky_relu": _leaky(_ramp, 1),
    "erf": _smoothed(_sign, 0.5),
    "tanh": _mixture(_sign, noise=0.25),  # tanh(z) = 2 sigmoid(2 z) - 1
    "sigmoid": _mixture(_step),
    "softplus": _mixture(_ramp),
    "swish": _mixture(_gate),
    "gelu": _smoothed(_gate, 1.0),
    "sin": _sin,
    "cos": _cos,
    "exp": _exp,
    "gauss": _gauss,
    "identity": lambda params, kxx, kxy, kyy, det: kxy.copy(),
    "polynomial": _polynomial(0),
}
_DERIVATIVES = {
    "relu": _smoothed(_step, 0.0),
    "leaky_relu": _leaky(_step, 0),
    "erf": _smoothed(_delta, 0.5, scale=4.0),  # erf' is twice a smoothed delta
    "tanh": _mixture(_delta, noise=0.25, scale=4.0),
    "sigmoid": _mixture(_delta),
    "softplus": _mixture(_step),
    "swish": _mixture(_gate_derivative),
    "gelu": _smoothed(_gate_derivative, 1.0),
    "sin": _cos,
    "cos": _sin,
    "exp": _exp,
    "gauss": _gauss,  # the normaliser does not depend on the weights
    "identity": lambda params, kxx, kxy, kyy, det: np.ones_like(kxy),
    "polynomial": _polynomial(1),
}
ACTIVATIONS = tuple(_DUALS)
