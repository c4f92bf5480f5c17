"""Averages over the momentum w of a neuron A(|w|) cos(w.x + c): the free theory's spectrum.

    E[A(|w|)^n exp(i w.r)] = int p(k) A(k)^n C_d(k |r|) dk,   C_d(t) = 0F1(d/2; -t^2/4):  cos t, J_0(t), sin(t)/t

for d = 1, 2, 3; p is the law of k = |w|: "normal" (w ~ N(0, sigma_w^2/d)) or ("ball", Lambda), w uniform in the ball.
A(k)^2 ~ 1/(k^2 + m^2) makes the free massive scalar below Lambda (Halverson, arXiv:2112.04527). A function A that is
not smooth, an interpolated table for one, names the places in its attribute `kinks`.
"""

from math import lgamma, log

import numpy as np
from scipy.special import hyp0f1, j0

from ._pair_quadrature import gauss_legendre, panels
from .errors import ArgumentError

__all__ = ["amplitude_and_momentum", "spectral_average"]

_CHUNK = 1 << 21  # (distance, node) pairs at a time: 16 MB
_MAX_NODES = 1 << 19
_SLACK = 1e-9  # accepted difference of two orders; smooth amplitudes reach 1e-13


def amplitude_and_momentum(net):
    """(A or None, None or Lambda) of a cos-net, checked; None stands for sqrt(2) and for normal momenta."""
    amplitude, momentum = getattr(net, "amplitude", None), getattr(net, "momentum", "normal")
    if amplitude is not None and not callable(amplitude):
        raise ArgumentError(f"amplitude must be None (the constant sqrt 2) or a function A(|w|); {type(amplitude).__name__} came")
    if momentum in ("normal", None):
        return amplitude, None
    if not (isinstance(momentum, (tuple, list)) and len(momentum) == 2 and momentum[0] == "ball"):
        raise ArgumentError(f'momentum must be "normal" or ("ball", radius); {momentum!r} came')
    radius = float(momentum[1])
    if not (np.isfinite(radius) and radius > 0):
        raise ArgumentError(f"the radius of the momentum ball must be positive and finite; {radius} came")
    return amplitude, radius


def spectral_average(net, power, distance):
    """E[A(|w|)^power cos(w.r)] at each |r| = distance, relative to E|A|^power checked to 1e-9.

    Closed form for A = sqrt(2) and normal momenta; else panels graded towards k = 0 (a pole at k = i m with small m).
    """
    amplitude, ball = amplitude_and_momentum(net)
    width = net.sigma_w / np.sqrt(net.dim_in)
    distance = np.asarray(distance, dtype=np.float64)
    if amplitude is None and ball is None:
        return 2 ** (power / 2) * np.exp(-((width * distance) ** 2) / 2)
    r, inverse = np.unique(distance, return_inverse=True)
    coarse, _ = _average(net.dim_in, amplitude, ball, width, power, r, 16)
    fine, size = _average(net.dim_in, amplitude, ball, width, power, r, 24)
    if not (np.isfinite(fine).all() and (np.abs(fine - coarse) <= _SLACK * size).all()):
        raise ArgumentError(f"E[A(|w|)^{power} cos(w.r)] does not converge: A(|w|) must be smooth for |w| > 0 "
                            f"but at its .kinks, and A^{power} integrable at |w| = 0 in dimension {net.dim_in}")
    return fine[inverse].reshape(distance.shape)


def _average(dim, amplitude, ball, width, power, r, order):
    reach = ball if ball is not None else 12.0 * width
    if reach == 0:
        raise ArgumentError("an amplitude A(|w|) with normal momenta needs sigma_w > 0")
    step = min(reach / 12.0, 8.0 / r[-1] if r[-1] > 0 else np.inf)  # 8 radians of oscillation in a panel
    if reach / step * order > _MAX_NODES:
        raise ArgumentError(f"|x - y| |w| up to {r[-1] * reach:.3g} needs more than {_MAX_NODES} momenta: use closer points")
    uniform = np.linspace(0.0, reach, int(np.ceil(reach / step)) + 1)
    graded = panels(np.zeros(1), np.array([2.0**-60]), 1.0)
    kinks = np.asarray(getattr(amplitude, "kinks", ()), dtype=np.float64)
    edges = np.concatenate([uniform, reach * graded[graded > 0], kinks[(kinks > 0) & (kinks < reach)]])
    k, weight = gauss_legendre(np.unique(edges), order)
    if ball is not None:
        weight = weight * dim * k ** (dim - 1) / reach**dim
    else:
        log_norm = (1 - dim / 2) * log(2) - lgamma(dim / 2)
        q = k / width
        weight = weight / width * np.exp(log_norm + (dim - 1) * np.log(q) - q * q / 2)
    factor = _amplitude(amplitude, k) ** power
    weight, size = weight * factor, (weight * np.abs(factor)).sum()
    out = np.empty(len(r))
    rows = max(1, _CHUNK // len(k))
    for start in range(0, len(r), rows):
        out[start:start + rows] = _angular(dim, r[start:start + rows, None] * k) @ weight
    return out, size


def _amplitude(amplitude, k):
    if amplitude is None:
        return np.full_like(k, np.sqrt(2.0))
    value = np.asarray(amplitude(k))
    if value.shape != k.shape or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise ArgumentError(f"amplitude must map an array of |w| to finite real numbers of the same shape; {k.shape} gave "
                            f"{value.dtype} {value.shape}" + ("" if value.shape != k.shape else ", not all of them finite"))
    return value.astype(np.float64)


def _angular(dim, t):
    """Average of cos(t e.n) over the unit sphere."""
    if dim == 1:
        return np.cos(t)
    if dim == 2:
        return j0(t)
    if dim == 3:
        return np.sinc(t / np.pi)
    return hyp0f1(dim / 2, -t * t / 4)
