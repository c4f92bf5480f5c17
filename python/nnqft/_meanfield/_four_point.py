"""Averages <phi_a phi_b phi_c phi_d> over all choices of four out of many jointly normal z = A g, with A of any rank.

An entry depends on as many of the points as differ in it. Choices of two are left to the rules of `exact_correlators`;
products over three or four different points are done one by one:

    smooth phi   the factor that is freest of the others is averaged first: E[psi(z_d) | the others] is psi smoothed by
                 a normal law, one function of one variable (a spline), so the trapezoid rule needs one dimension less
    relu         only the cone on which all z are positive contributes: one out of 2^4
"""

from itertools import combinations
from math import comb, gamma, pi

import numpy as np
from scipy.interpolate import make_interp_spline

from .._exact import _moments
from .._exact_cones import _cones, _narrowed, _orders, _simplex_rule
from .._exact_grid import _PARITY, ACTIVATION_FUNCTIONS, _ball, _radius, _step, _tensor_rule, span
from .._packed import check_nodes, packed_index, packed_number, packed_size

__all__ = ["four_point"]

_ONE_BY_ONE = ("tanh", "sigmoid", "softplus", "swish", "gelu", "relu")
_PATTERNS = {3: ((2, 1, 1), (1, 2, 1), (1, 1, 2)), 4: ((1, 1, 1, 1),)}
_KNOTS = 32  # per unit of the argument, or of the smoothing if that is wider: the spline then errs by less than 1e-12


def four_point(activation, params, rows):
    """Packed averages, array (C(m + 3, 4),), for rows (m, D); error 1e-11 of the largest with the same points."""
    m = len(rows)
    if activation not in _ONE_BY_ONE or min(span(rows).shape) < 3:
        return _moments(activation, params, rows, 4, "auto")
    number = packed_number(packed_index(m, 4), m)
    out = np.empty(packed_size(m, 4))

    def put(index, values):
        out[np.searchsorted(number, packed_number(index, m))] = values

    pair = packed_index(2, 4)
    for points in combinations(range(m), 2):
        put(np.array(points)[pair], _moments(activation, params, rows[list(points)], 4, "auto"))
    product = _positive_product if activation == "relu" else _smooth_product
    for k in (3, 4):
        share = comb(m, k) * len(_PATTERNS[k])
        for points in combinations(range(m), k):
            for powers in _PATTERNS[k]:
                value = product(activation, rows[list(points)], np.array(powers), share)
                put(np.repeat(points, powers)[None], value)
    return out


class _Product:
    """Stands in for `PackedMoments`: the weighted sum of the product of all factors."""

    def __init__(self):
        self.total = 0.0

    def add(self, factors, weights):
        self.total += np.prod(factors, axis=0) @ weights


def _smooth_product(activation, a, powers, share):
    """E prod phi(z_i)^power_i for 3 or 4 rows."""
    phi = ACTIVATION_FUNCTIONS[activation]
    k, given, std = _freest(a)
    rest = np.delete(np.arange(len(a)), k)
    powers = np.append(powers[rest], powers[k])
    b = span(np.vstack([a[rest], given]))
    dim = b.shape[1]
    radius, steps = _radius(activation, b, 4), [_step(activation, b, j, 4) for j in range(dim)]
    even = activation in _PARITY
    nodes = _ball(dim) * radius**dim / np.prod(steps) / (2 if even else 1)
    check_nodes(nodes, 4, 4, share, f"the trapezoid rule for {activation} in {dim} dimensions")
    smooth = _smoothed(lambda z: phi(z) ** powers[-1], std, radius * np.linalg.norm(b[-1]) + 1.0)
    axes = [h * (np.arange(-np.ceil(radius / h), np.ceil(radius / h)) + 0.5) for h in steps]
    if even:
        axes[0] = axes[0][axes[0] > 0]
    weights = [h / np.sqrt(2 * pi) * np.exp(-g * g / 2) for h, g in zip(steps, axes, strict=True)]
    result = _Product()
    _tensor_rule(
        lambda z: np.vstack([phi(z[:-1]) ** powers[:-1, None], smooth(z[-1:])]), b, axes, weights, radius, result
    )
    return result.total * (2 if even else 1)


def _freest(a):
    """The row that is least in the span of the others: its number, its projection, the length of what is orthogonal."""
    found = []
    for k in range(len(a)):
        _, size, axes = np.linalg.svd(np.delete(a, k, axis=0), full_matrices=False)
        axes = axes[size > 1e-14 * size.max()]
        given = a[k] @ axes.T @ axes
        found.append((k, given, float(np.linalg.norm(a[k] - given))))
    return max(found, key=lambda item: item[2])


def _smoothed(psi, std, reach):
    """s -> E psi(s + std xi) on |s| <= reach."""
    xi = np.linspace(
        -9.0, 9.0, 2 * int(np.ceil(32 * max(1.0, std))) + 1
    )  # errs as the trapezoid rule: exp(-31) or less
    weight = np.exp(-xi * xi / 2) / np.sqrt(2 * pi) * (xi[1] - xi[0])
    knots = np.linspace(-reach, reach, 2 * int(np.ceil(reach * _KNOTS / max(1.0, std))) + 9)
    return make_interp_spline(knots, psi(knots[:, None] + std * xi) @ weight, k=7)


def _positive_product(activation, a, powers, share):
    """E prod relu(z_i)^power_i: the cone on which all z are positive, cut into narrow ones."""
    a = span(a)
    length, dim = np.linalg.norm(a, axis=1), a.shape[1]
    if not length.all():
        return 0.0
    vertices, heights = _cones(a / length[:, None])
    positive = (heights >= 0).all(axis=(1, 2)) & (heights > 0).any(axis=1).all(axis=1)
    if not positive.any():
        return 0.0
    vertices, heights = _narrowed(vertices[positive], heights[positive])
    orders = _orders(vertices, 4)
    check_nodes(
        (orders.astype(float) ** (dim - 1)).sum(), 4, 4, share, f"cutting {dim} dimensions into {len(orders)} cones"
    )
    total = 0.0
    for corners, height, order in zip(vertices, heights, orders, strict=True):
        bary, weight = _simplex_rule(int(order), dim)
        radius = np.linalg.norm(bary @ corners, axis=1)
        product = np.prod((bary @ height) ** powers, axis=1)
        total += abs(np.linalg.det(corners)) * (weight * product / radius ** (dim + 4)).sum()
    factor = 2 ** ((4 + dim) / 2 - 1) * gamma((4 + dim) / 2) / (2 * pi) ** (dim / 2)
    return total * np.prod(length**powers) * factor
