"""Gaussian moments E[phi(z_1) ... phi(z_n)], z_i = a_i.g, g ~ N(0, 1_D), of smooth activations by tensor rules.

Midpoint trapezoid with step h_j along principal axis j. Shifting g_j by i y multiplies the integrand by at most
exp(y^2/2 + n growth(a y)), a = |a_ij|, so aliasing is exp(-2 pi y/h + y^2/2 + n growth(a y)) for every y:
the step is the largest that makes this exp(-31) (for erf, h^2 = 2 pi^2/(31 (1 + 2 n a^2))). Nodes outside a ball are dropped.
Polynomials: Gauss-Hermite, exact. Trefethen and Weideman, SIAM Rev. 56 (2014) 385.
"""

from math import gamma, log, pi

import numpy as np
from scipy.special import erf, expit, gammaincc, ndtr

from ._packed import PackedMoments, check_nodes

__all__ = ["ACTIVATION_FUNCTIONS", "hermite_moments", "span", "trapezoid_moments"]

_ALIASING = 31.0  # exp(-31) = 3e-14
_TAIL = 1e-13
_INNER = 1 << 21  # numbers in one block of forms: 16 MB
_RANK = 1e-7  # a direction of unit rows below this changes averages by its square

ACTIVATION_FUNCTIONS = {
    "erf": erf,
    "tanh": np.tanh,
    "sigmoid": expit,
    "softplus": lambda z: np.logaddexp(0.0, z),
    "swish": lambda z: z * expit(z),
    "gelu": lambda z: z * ndtr(z),
    "sin": np.sin,
    "cos": np.cos,
}
# Growth exponent of |phi(x + i y)|; tanh has poles at y = pi/2, the sigmoid family at y = pi.
_GROWTH = {
    "erf": lambda y: y * y,
    "gelu": lambda y: y * y / 2,
    "sin": lambda y: y,
    "cos": lambda y: y,
    "tanh": lambda y: np.where(y < pi / 2, -np.log(np.maximum(np.cos(y), 1e-300)), np.inf),
    **dict.fromkeys(("sigmoid", "softplus", "swish"),
                    lambda y: np.where(y < pi, -np.log(np.maximum(np.cos(y / 2), 1e-300)), np.inf)),
}
_BOUNDED = ("erf", "tanh", "sigmoid", "sin", "cos")
_VANISHING = ("erf", "tanh", "sin", "gelu", "swish")
_PARITY = ("erf", "tanh", "sin", "cos")  # odd or even: a product of an even number of factors is even in g


def span(a):
    """Coordinates of the rows of `a` in the space they span, along its principal axes: shape (m, D), same Gram matrix."""
    length = np.linalg.norm(a, axis=1, keepdims=True)
    unit = np.divide(a, length, out=np.zeros_like(a), where=length > 0)
    _, size, axes = np.linalg.svd(unit, full_matrices=False)
    b = a @ axes[size > _RANK].T
    return b @ np.linalg.svd(b, full_matrices=False)[2].T if b.size else b


def trapezoid_moments(activation, a, order, *, share=1):
    """Packed moments for rows `a` (m, D). Relative error about 1e-12; `share` divides the time limit (`check_nodes`)."""
    dim = a.shape[1]
    radius = _radius(activation, a, order)
    steps = [_step(activation, a, j, order) for j in range(dim)]
    even = activation in _PARITY and dim > 0
    nodes = _ball(dim) * radius**dim / np.prod(steps) / (2 if even else 1)
    check_nodes(nodes, len(a), order, share, f"the trapezoid rule for {activation} in {dim} dimensions")
    axes = [h * (np.arange(-np.ceil(radius / h), np.ceil(radius / h)) + 0.5) for h in steps]
    if even:
        axes[0] = axes[0][axes[0] > 0]
    weights = [h / np.sqrt(2 * pi) * np.exp(-g * g / 2) for h, g in zip(steps, axes)]
    moments = PackedMoments(len(a), order)
    _tensor_rule(ACTIVATION_FUNCTIONS[activation], a, axes, weights, radius, moments)
    return moments.result() * (2 if even else 1)


def hermite_moments(coefficients, a, order, *, share=1):
    """Packed moments of phi(z) = sum_k c_k z^k: exact up to rounding."""
    degree = len(coefficients) - 1
    nodes, weights = np.polynomial.hermite_e.hermegauss(order * degree // 2 + 1)
    count = float(len(nodes)) ** a.shape[1]
    check_nodes(count, len(a), order, share, f"the Gauss-Hermite rule for degree {degree} in {a.shape[1]} dimensions")
    moments = PackedMoments(len(a), order)
    _tensor_rule(lambda z: np.polynomial.polynomial.polyval(z, coefficients), a, [nodes] * a.shape[1],
                 [weights / np.sqrt(2 * pi)] * a.shape[1], np.inf, moments)
    return moments.result()


def _tensor_rule(phi, a, axes, weights, radius, moments):
    """Sum over the product grid inside |g| < radius: an outer loop over leading axes, whole planes of trailing axes."""
    dim, first = len(axes), len(axes)
    limit, size = _INNER // len(a), 1
    while first > 0 and (first == dim or size * len(axes[first - 1]) <= limit):
        first -= 1
        size *= len(axes[first])
    outer, outer_weight, outer_r2 = _product(axes[:first], weights[:first])
    inner, inner_weight, inner_r2 = _product(axes[first:], weights[first:])
    nearest = np.argsort(inner_r2, kind="stable")
    inner, inner_weight, inner_r2 = inner[:, nearest], inner_weight[nearest], inner_r2[nearest]
    inner_z = a[:, first:] @ inner
    ends = np.searchsorted(inner_r2, radius**2 - outer_r2)
    for z, weight, end in zip((a[:, :first] @ outer).T, outer_weight, ends):
        if end:
            moments.add(phi(z[:, None] + inner_z[:, :end]), weight * inner_weight[:end])


def _product(axes, weights):
    """Nodes (axes, Q), weights (Q,) and squared radii (Q,) of a product grid; one node for no axis."""
    nodes, weight = np.empty((0, 1)), np.ones(1)
    for g, w in zip(axes, weights):
        nodes = np.vstack([np.repeat(nodes, len(g), axis=1), np.tile(g, nodes.shape[1])])
        weight = np.outer(weight, w).ravel()
    return nodes, weight, (nodes * nodes).sum(0)


def _step(activation, a, axis, order):
    """Largest step whose aliasing stays below exp(-31) of E prod |phi(z_i)|, whatever the factors."""
    y = np.geomspace(1e-3, 40.0, 2000)
    worst = np.zeros_like(y)
    with np.errstate(over="ignore"):
        for slope, length in zip(np.abs(a[:, axis]), np.linalg.norm(a, axis=1)):
            growth = _GROWTH[activation](slope * y)
            if activation in _VANISHING and length > 0:  # small z: |phi| grows from about |a_i| to |a_i| + |a_ij| y
                growth = growth + np.log(np.hypot(1.0, np.minimum(1.0, slope * y) / min(1.0, length)))
            worst = np.maximum(worst, growth)
    return float((2 * pi * y / (_ALIASING + y * y / 2 + order * worst)).max())


def _radius(activation, a, order):
    """Beyond it lies less than 1e-13 of E prod min(1, |z_i|) (bounded phi) or of E prod |z_i| (growing phi)."""
    length = np.linalg.norm(a, axis=1)
    least = min(1.0, length[length > 0].min(initial=1.0))
    r = np.arange(6.0, 16.0, 0.05)
    growth = np.log(np.minimum(1.0, least * r) / least) if activation in _BOUNDED else np.log(r)
    tail = np.log(gammaincc(max(a.shape[1], 1) / 2, r * r / 2)) + order * growth
    return float(r[np.argmax(tail < log(_TAIL))])


def _ball(dim):
    return pi ** (dim / 2) / gamma(dim / 2 + 1)
