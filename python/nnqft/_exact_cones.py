"""Gaussian moments of rectified linear forms: E[phi(z_1) ... phi(z_n)], z_i = a_i.g, g ~ N(0, 1_D), phi = relu, leaky relu.

The m hyperplanes a_i.g = 0 cut space into cones on which the integrand is a homogeneous polynomial. They are cut
further into simplicial cones {sum_k t_k v_k, t >= 0}; there the radial integral is a Gamma function,

    int_cone p(g) N(g) dg = 2^((n + D)/2 - 1) Gamma((n + D)/2) (2 pi)^(-D/2) |det V| int_simplex p(y) |y|^-(n + D),

y = sum_k lambda_k v_k on the flat simplex, and the rest is analytic: Gauss-Jacobi in collapsed coordinates (Duffy)
converges geometrically, faster for narrow cones. Every term is >= 0 for relu, so even tiny moments keep their digits.
"""

from functools import lru_cache
from math import gamma, pi

import numpy as np
from scipy.linalg import qr
from scipy.special import roots_jacobi

from ._packed import PackedMoments, check_nodes, packed_index, packed_rank, packed_size
from .errors import ArgumentError

__all__ = ["cone_moments"]

_ZERO = 1e-14  # a unit vertex this close to a hyperplane lies on it
_WIDEST = np.cos(np.radians(100.0))  # wider edges are bisected: cheaper than the nodes they would need
_MAX_CONES = 1 << 17


def cone_moments(a, order, slope=0.0, *, share=1):
    """Packed moments of phi(z) = max(z, 0) + slope min(z, 0) for rows `a` (m, D) that span D dimensions.

    Relative error of each moment 1e-12. Cost: cones * nodes(angle)^(D - 1); `share` divides the time limit.
    """
    m, dim = a.shape
    length = np.linalg.norm(a, axis=1)
    if dim == 0:
        return np.zeros(packed_size(m, order))
    unit = np.divide(a, length[:, None], out=np.zeros_like(a), where=length[:, None] > 0)
    vertices, heights = _narrowed(*_cones(unit))
    orders = _orders(vertices, order)
    active = (heights > 0).any(axis=1)
    groups = active if slope == 0.0 and dim > 2 else np.ones_like(active)  # with few nodes, grouping costs more than it saves
    nodes = (orders[active.any(axis=1)].astype(float) ** (dim - 1)).sum()
    check_nodes(nodes, m, order, share, f"cutting {dim} dimensions into {len(orders)} cones")
    out = np.zeros(packed_size(m, order))
    for pattern in np.unique(groups, axis=0):  # forms that vanish on a cone stay out of its products
        forms = np.flatnonzero(pattern)
        if not len(forms):
            continue
        moments = PackedMoments(len(forms), order)
        for s in np.flatnonzero((groups == pattern).all(axis=1)):
            bary, weight = _simplex_rule(int(orders[s]), dim)
            radius = np.linalg.norm(bary @ vertices[s], axis=1)
            z = (bary @ heights[s][:, forms]).T / radius
            z = np.where(active[s, forms, None], z, slope * z)
            moments.add(z * length[forms, None], weight * abs(np.linalg.det(vertices[s])) / radius**dim)
        out[packed_rank(forms[packed_index(len(forms), order)], m)] += moments.result()
    return out * (2 ** ((order + dim) / 2 - 1) * gamma((order + dim) / 2) / (2 * pi) ** (dim / 2))


def _cones(unit):
    """Simplicial cones on which no form changes sign: unit vertices (S, D, D) and the forms' values there (S, D, m)."""
    dim = unit.shape[1]
    frame = qr(unit.T, mode="r", pivoting=True)[1][:dim]  # D well-conditioned hyperplanes make the first 2^D cones
    dual = np.linalg.inv(unit[frame]).T
    signs = np.array(np.meshgrid(*[[1.0, -1.0]] * dim, indexing="ij")).reshape(dim, -1).T
    vertices = signs[:, :, None] * (dual / np.linalg.norm(dual, axis=1, keepdims=True))
    heights = _snap(vertices @ unit.T)
    heights[:, :, frame] *= np.eye(dim)  # each vertex lies on all hyperplanes of the frame but its own
    for form in range(len(unit)):
        while True:
            h = heights[:, :, form]
            cut = np.flatnonzero((h.max(axis=1) > 0) & (h.min(axis=1) < 0))
            if not len(cut):
                break
            up, down = h[cut].argmax(axis=1), h[cut].argmin(axis=1)
            vertices, heights = _bisect(vertices, heights, cut, up, down, -h[cut, down], h[cut, up], form)
            if len(vertices) > _MAX_CONES:
                raise ArgumentError(f"{len(unit)} points in {dim} dimensions make more than {_MAX_CONES} cones")
    return vertices, heights


def _narrowed(vertices, heights):
    """Bisect the widest edge until no cone has an edge wider than 100 degrees."""
    dim = vertices.shape[1]
    if dim == 1:
        return vertices, heights
    upper = np.triu_indices(dim, 1)
    while True:
        cosine = np.einsum("skd,sld->skl", vertices, vertices)[:, upper[0], upper[1]]
        wide = np.flatnonzero(cosine.min(axis=1) < _WIDEST)
        if not len(wide):
            return vertices, heights
        edge = cosine[wide].argmin(axis=1)
        one = np.ones(len(wide))
        vertices, heights = _bisect(vertices, heights, wide, upper[0][edge], upper[1][edge], one, one)


def _bisect(vertices, heights, which, p, q, weight_p, weight_q, form=None):
    """Replace each chosen cone by the two that share the new vertex weight_p v_p + weight_q v_q."""
    middle = weight_p[:, None] * vertices[which, p] + weight_q[:, None] * vertices[which, q]
    height = weight_p[:, None] * heights[which, p] + weight_q[:, None] * heights[which, q]
    length = np.linalg.norm(middle, axis=1, keepdims=True)
    middle, height = middle / length, _snap(height / length)
    if form is not None:
        height[:, form] = 0.0
    halves = []
    for corner in (p, q):
        v, h = vertices[which].copy(), heights[which].copy()
        v[np.arange(len(which)), corner], h[np.arange(len(which)), corner] = middle, height
        halves.append((v, h))
    vertices[which], heights[which] = halves[0]
    return np.concatenate([vertices, halves[1][0]]), np.concatenate([heights, halves[1][1]])


def _snap(height):
    return np.where(np.abs(height) < _ZERO, 0.0, height)


def _orders(vertices, order):
    """Nodes per direction. The nearest zero of |y|^2 on an edge of angle t lies on the Bernstein ellipse cot(t / 4)."""
    dim = vertices.shape[1]
    if dim == 1:
        return np.ones(len(vertices), dtype=int)
    cosine = np.einsum("skd,sld->skl", vertices, vertices).min(axis=(1, 2))
    rate = -np.log(np.tan(np.arccos(np.minimum(cosine, 0.999)) / 4))
    return np.ceil((29 + order) / (2 * rate)).astype(int) + 2


@lru_cache(maxsize=64)
def _simplex_rule(q, dim):
    """Barycentric nodes (Q, D) and weights of the collapsed Gauss-Jacobi rule on the simplex of dimension D - 1."""
    bary, weight, rest = np.ones((1, 0)), np.ones(1), np.ones(1)
    for k in range(dim - 1):
        x, w = roots_jacobi(q, dim - 2 - k, 0)
        u, w = (1 + x) / 2, w / 2 ** (dim - 1 - k)
        bary = np.column_stack([np.repeat(bary, q, axis=0), np.outer(rest, u).ravel()])
        weight, rest = np.outer(weight, w).ravel(), np.outer(rest, 1 - u).ravel()
    return np.column_stack([bary, rest]), weight
