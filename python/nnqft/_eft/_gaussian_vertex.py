"""Vertex integrals of the Gaussian kernel K_W = s exp(-alpha |x - y|^2), s = sigma_w^2, alpha = sigma_w^2 / 2 d.

With the centre c and the spread S = sum |x_i - c|^2 = (1 / n) sum_{i < j} |x_i - x_j|^2 of n legs, and a = n alpha,

    prod_i K_W(x_i, y) = s^n exp(-alpha S) exp(-a |y - c|^2).
"""

import numpy as np
from scipy.special import erf, erfc, gammaln, hyp1f1

from .. import _core
from ._cubature import ROUNDING, graded_boxes, nodes_of

__all__ = ["gaussian_tree", "gaussian_vertex"]

_GAUSS = np.polynomial.legendre.leggauss(24)


def gaussian_vertex(legs, order, cutoff, power, loops):
    """Packed integrals of |y|^power K_W(y, y)^loops prod K_W(x_i, y); a finite cutoff only with power 0.

    Infinite: s^(n + loops) exp(-alpha S) (pi / a)^(d/2) a^(-p/2) Gamma((d + p)/2) / Gamma(d/2) M, with Kummer's function
    M = 1F1(-p/2; d/2; -a |c|^2). Finite: masses of intervals instead of powers of pi / a.
    """
    s, alpha, d = legs.weight, legs.weight / (2 * legs.dim), legs.dim
    centre, spread = _tuples(legs.x, order)
    a = order * alpha
    if np.isinf(cutoff):  # powers of s together: each alone may overflow
        scale = np.exp((order + loops - (d + power) / 2) * np.log(s) - alpha * spread)
        return scale * (np.pi * s / a) ** (d / 2) * _mean_power(power, d, a / s, a * (centre * centre).sum(axis=1))
    scale = np.exp((order + loops - d / 2) * np.log(s) - alpha * spread)
    mass = _interval(np.sqrt(a) * centre, np.sqrt(a) * cutoff)
    return scale * (mass / np.sqrt(a / s)).prod(axis=1)


def gaussian_tree(legs, cutoff):
    """G[abc, def] = int int K K K(y) K_W(y, z) K K K(z) and its error.

    Infinite: s^7 (pi / (alpha sqrt 15))^d exp(-alpha [S_abc + S_def + (3/5) |c_abc - c_def|^2]), springs 3, 1, 3 in
    series. Finite: a product over the axes, each done by quadrature.
    """
    s, alpha, d = legs.weight, legs.weight / (2 * legs.dim), legs.dim
    if np.isfinite(cutoff):
        legs.check_resolved()
        fine, coarse = (
            np.prod([s ** (7 / d) * _tree_on_axis(legs, x, cutoff, points) for x in legs.x.T], axis=0)
            for points in (20, 14)
        )
        return fine, np.abs(fine - coarse) + d * ROUNDING * fine
    centre, spread = _tuples(legs.x, 3)
    apart = ((centre[:, None, :] - centre) ** 2).sum(axis=2)
    value = (
        np.exp((7 - d) * np.log(s) - alpha * (spread[:, None] + spread + 0.6 * apart))
        * (2 * np.pi * d / np.sqrt(15.0)) ** d
    )
    return value, np.zeros_like(value)


def _tree_on_axis(legs, x, cutoff, points):
    alpha = legs.weight / (2 * legs.dim)
    reach = min(cutoff, np.abs(x).max() + 9 * legs.length)
    y, _, weight = nodes_of(graded_boxes([-reach], [reach], x[:, None], legs.length / 2), points)
    rows = np.exp(-alpha * (y - x) ** 2)
    F = weight * rows[:, _core.multiset_index(len(x), 3)].prod(axis=2).T
    return F @ np.exp(-alpha * (y - y.T) ** 2) @ F.T


def _tuples(x, order):
    """Centres (count, d) and spreads (count,) of all sorted multi-indices."""
    points = x[_core.multiset_index(len(x), order)]
    centre = points.mean(axis=1)
    return centre, ((points - centre[:, None, :]) ** 2).sum(axis=(1, 2))


def _mean_power(power, d, a, z):
    """E |y|^p for y ~ N(c, 1 / 2a), z = a |c|^2: Kummer's function, terminating for even p."""
    front = np.exp(gammaln((d + power) / 2) - gammaln(d / 2) - power / 2 * np.log(a))
    if power == 2 * round(power / 2):
        term = total = np.ones_like(z)
        for k in range(int(power) // 2):
            term = term * (power / 2 - k) / ((d / 2 + k) * (k + 1)) * z
            total = total + term
        return front * total
    near = np.exp(-np.minimum(z, 300.0)) * hyp1f1((d + power) / 2, d / 2, np.minimum(z, 300.0))
    far, term, large = 0.0, 1.0, np.maximum(z, 300.0)
    for k in range(12 + int(power / 2)):  # terms shrink from k > p/2 on; for k > z they would grow
        # Gamma(b) / Gamma(b - a) z^(-a) sum_k (a)_k (a - b + 1)_k / (k! z^k), a = -p/2, b = d/2
        far = far + term
        term = term * (k - power / 2) * (k + 1 - power / 2 - d / 2) / ((k + 1) * large)
    far = far * np.exp(gammaln(d / 2) - gammaln((d + power) / 2) + power / 2 * np.log(large))
    return front * np.where(z < 300.0, near, far)


def _interval(centre, half):
    """int exp(-t^2) dt over [centre - half, centre + half], without cancellation."""
    centre = np.abs(centre)
    p, q = centre - half, centre + half
    node, weight = _GAUSS
    short = 2 * half * (1 + np.maximum(p, 0)) < 4
    t = centre[..., None] + np.minimum(half, 2.0) * node
    quadrature = half * (np.exp(-t * t) @ weight)
    closed = np.sqrt(np.pi) / 2 * np.where(p > 0, erfc(p) - erfc(q), erf(q) - erf(p))
    return np.where(short, quadrature, closed)
