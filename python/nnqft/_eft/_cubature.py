"""Adaptive cubature of products of legs over boxes: all sorted multi-indices at once.

    I(i1, .., in) = sum over boxes of int density(y) leg_i1(y) .. leg_in(y) d^d y

Every box gets two tensor Gauss-Legendre rules; their difference is its error, an overestimate by far for smooth legs.
Boxes whose error is too large for any multi-index are halved along the axes in which the integrand is rough.
"""

from collections import namedtuple
from functools import lru_cache
from math import comb

import numpy as np

from .. import _core
from .._run import thread_count

__all__ = ["ROUNDING", "Boxes", "Sums", "cubature", "first_nodes", "graded_boxes", "halved", "nodes_of"]

_RULES = {1: (20, 14), 2: (12, 9), 3: (9, 7)}  # nodes per axis of the two rules
_NODES = 1 << 15  # nodes at a time
_ENTRIES = 1 << 22  # per-box sums at a time
_WORK = 1 << 20  # products, from which on threads are worth their start
_SHARE = 1 / 512  # of the tolerated error, for a box that contributes nothing
_ROUGH = 0.1  # axes with that part of the largest roughness are halved, too
_SAFETY = 8.0  # where a leg is not smooth, the two rules are about equally wrong
_DEEPEST = 60
_MOST_BOXES = 1 << 15
_FINEST = 1e-13  # side of a box relative to its distance from the origin: float64 has some nodes in it
ROUNDING = 2e-14  # of the integral of the absolute value: legs are good to some 1e-15

Boxes = namedtuple("Boxes", ["lower", "upper", "tag"])  # (B, d), (B, d), (B,): the tag is handed to the integrand
Sums = namedtuple("Sums", ["value", "error", "size", "nodes"])
Sums.__doc__ = "Packed integrals, error bounds and integrals of the absolute value; number of nodes used."


def cubature(integrand, boxes, order, *, tolerance, most_nodes):
    """All packed integrals over a list of boxes.

    Parameters
    ----------
    integrand : callable
        (nodes (N, d), tags (N,)) -> legs (N, m), density (N,) >= 0.
    boxes : Boxes
        Fine enough to see every structure: nothing is refined where both rules see zero.
    order : int
        Number n of legs, 1 to 8.
    tolerance : float
        Of the error, relative to the integral of the absolute value.
    most_nodes : int
        Refinement ends before it would use more; the error then says what was reached.

    Returns
    -------
    Sums
    """
    dim = boxes.lower.shape[1]
    high, low = (_rule(dim, points) for points in _RULES[dim])
    m = integrand(boxes.lower[:1], boxes.tag[:1])[0].shape[1]
    parts = _parts(boxes, len(low.weight), comb(m + order - 1, order))
    size = sum(
        _core.moment_sums(np.abs(rows), order, threads=1)
        for part in parts
        for rows in _rows(integrand, part, order, low)
    )
    if not np.isfinite(size).all():
        return Sums(size, size, size, len(boxes.tag) * len(low.weight))
    value, error = np.zeros_like(size), np.zeros_like(size)
    cost = len(low.weight) + len(high.weight)
    nodes = len(boxes.tag) * len(low.weight)
    for _ in range(_DEEPEST):
        nodes += len(boxes.tag) * cost
        rough, rough_value, rough_error = [], 0.0, 0.0
        for part in _parts(boxes, len(high.weight), len(size)):
            fine, directions = _block_sums(integrand, part, order, high, directions=True)
            coarse, _ = _block_sums(integrand, part, order, low)
            difference = _SAFETY * np.abs(fine - coarse)
            done = (difference <= tolerance * (np.abs(fine) + _SHARE * size)).all(axis=1)
            value += fine[done].sum(axis=0)
            error += difference[done].sum(axis=0)
            rough_value = rough_value + fine[~done].sum(axis=0)
            rough_error = rough_error + difference[~done].sum(axis=0)
            rough.append(halved(Boxes(*(array[~done] for array in part)), directions[~done]))
        boxes = _joined(rough)
        if not len(boxes.tag) or nodes + len(boxes.tag) * cost > most_nodes:
            break
    return Sums(value + rough_value, error + rough_error + ROUNDING * size, size, nodes)


def first_nodes(boxes):
    """Nodes that `cubature` takes before it refines anything."""
    high, low = (points ** boxes.lower.shape[1] for points in _RULES[boxes.lower.shape[1]])
    return len(boxes.tag) * (high + 2 * low)


def graded_boxes(lower, upper, special, length):
    """Boxes within one box, as large as `length` or as their distance from the special points, whichever is larger.

    special : array (points, d). The first cut is in the middle of every axis; in one dimension, at the special points.
    """
    lower, upper = np.atleast_2d(lower).astype(float), np.atleast_2d(upper).astype(float)
    special = np.asarray(special, dtype=float).reshape(-1, lower.shape[1])
    boxes = Boxes(lower, upper, np.zeros(1, dtype=np.int64))
    if lower.shape[1] == 1:
        edges = np.unique(np.concatenate([lower[0], upper[0], special[(special > lower) & (special < upper)]]))[:, None]
        boxes = Boxes(edges[:-1], edges[1:], np.zeros(len(edges) - 1, dtype=np.int64))
    else:
        boxes = halved(boxes)
    ready, count = [], 0
    while len(boxes.tag) and count + len(boxes.tag) < _MOST_BOXES:
        side = (boxes.upper - boxes.lower).max(axis=1)
        place = np.maximum(np.abs(boxes.lower), np.abs(boxes.upper)).max(axis=1)
        gap = np.full(len(side), np.inf)
        for point in special:
            gap = np.minimum(gap, np.maximum(np.maximum(boxes.lower - point, point - boxes.upper), 0.0).max(axis=1))
        split = side > np.maximum(np.maximum(2 * length, gap * (1 + 1e-9)), _FINEST * place)
        count += np.count_nonzero(~split)
        ready.append(Boxes(*(array[~split] for array in boxes)))
        boxes = Boxes(*(array[split] for array in boxes))
        boxes = halved(boxes)
    return _joined([*ready, boxes])


def halved(boxes, axes=None):
    """Every box cut in half along each of its marked axes (default: all)."""
    axes = np.ones(boxes.lower.shape, dtype=bool) if axes is None else axes
    for axis in range(boxes.lower.shape[1]):
        chosen = axes[:, axis]
        middle = (boxes.lower[chosen, axis] + boxes.upper[chosen, axis]) / 2
        lower, upper = boxes.lower[chosen].copy(), boxes.upper.copy()
        lower[:, axis] = middle
        upper[chosen, axis] = middle
        halves = Boxes(boxes.lower, upper, boxes.tag), Boxes(lower, boxes.upper[chosen], boxes.tag[chosen])
        boxes = _joined(halves)
        axes = np.concatenate([axes, axes[chosen]])
    return boxes


def nodes_of(boxes, points):
    """Nodes (N, d) of tensor Gauss-Legendre rules in all boxes, the tag of each, and the weights."""
    side = boxes.upper - boxes.lower
    rule = _rule(side.shape[1], points)
    nodes = boxes.lower[:, None, :] + side[:, None, :] * rule.node
    weight = side.prod(axis=1)[:, None] * rule.weight
    return nodes.reshape(-1, side.shape[1]), np.repeat(boxes.tag, len(rule.weight)), weight.ravel()


# ---- parts

_Rule = namedtuple("_Rule", ["points", "node", "weight", "highest"])


@lru_cache
def _rule(dim, points):
    """Tensor rule on [0, 1]^dim, and the two highest Legendre modes of one axis."""
    node, weight = np.polynomial.legendre.leggauss(points)
    modes = np.polynomial.legendre.legvander(node, points - 1)[:, -2:] * weight[:, None]
    grid = np.stack(np.meshgrid(*[(node + 1) / 2] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.stack(np.meshgrid(*[weight / 2] * dim, indexing="ij"), axis=-1).reshape(-1, dim).prod(axis=1)
    return _Rule(points, grid, weights, modes)


def _joined(parts):
    return Boxes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _parts(boxes, nodes_each, entries_each):
    step = max(1, min(_NODES // nodes_each, _ENTRIES // entries_each))
    for first in range(0, len(boxes.tag), step):
        yield Boxes(*(array[first : first + step] for array in boxes))


def _rows(integrand, boxes, order, rule):
    """Legs at the nodes, each times the n-th root of weight and density; a part of the boxes at a time."""
    for part in _parts(boxes, len(rule.weight), 1):
        nodes, tags, weight = nodes_of(part, rule.points)
        legs, density = integrand(nodes, tags)
        yield legs * ((weight * density) ** (1.0 / order))[:, None]


def _block_sums(integrand, boxes, order, rule, directions=False):
    """Sums of every box, and along which axes it is to be halved."""
    sums, axes = [], []
    for rows in _rows(integrand, boxes, order, rule):
        threads = thread_count(None) if len(rows) * comb(rows.shape[1] + order - 1, order) > _WORK else 1
        sums.append(_core.moment_block_sums(rows, (order,), len(rule.weight), threads))
        if directions:
            axes.append(_rough_axes((rows * rows).sum(axis=1) ** (order / 2), rule, boxes.lower.shape[1]))
    return np.concatenate(sums), np.concatenate(axes) if directions else None


def _rough_axes(proxy, rule, dim):
    """Axes along which the highest Legendre modes of a proxy (sum of squared legs)^(n / 2) are largest."""
    if dim == 1:
        return np.ones((len(proxy) // rule.points, 1), dtype=bool)
    proxy = (proxy.reshape(-1, len(rule.weight)) / rule.weight).reshape((-1,) + (rule.points,) * dim)
    modes = [np.tensordot(proxy, rule.highest, axes=(axis + 1, 0)).reshape(len(proxy), -1) for axis in range(dim)]
    rough = np.stack([(mode * mode).sum(axis=1) for mode in modes], axis=1)
    return rough >= _ROUGH**2 * rough.max(axis=1, keepdims=True)
