"""The tree of two quartic vertices: what lambda^2 contributes to the six-point function.

    T(x_1, .., x_6) = sum over 10 splits  G(abc, def),
    G(abc, def) = int int d^d y d^d z  K_W(a, y) K_W(b, y) K_W(c, y)  K_W(y, z)  K_W(d, z) K_W(e, z) K_W(f, z)

On nodes with weights w, G = F K F^T with F = w times products of three legs. K is the covariance of one hidden neuron, a
positive and smooth matrix, so a pivoted Cholesky decomposition K = L L^T + E of low rank does, and only its columns of K
are ever computed.
"""

from itertools import combinations
from math import inf, isfinite

import numpy as np

from .. import _core
from .._version import __version__
from ..errors import ArgumentError
from ..tensor import SymmetricTensor, points_note
from ._cubature import ROUNDING, halved, nodes_of
from ._gaussian_vertex import gaussian_tree
from ._legs import Legs
from ._surface import on_surface, surface_boxes, unit_legs
from ._vertex import check_vertex, diverge, warn_missed

__all__ = ["tree_integral"]

_RULES = {1: (16, 12), 2: (9, 7), 3: (6, 5)}  # nodes per axis, fine and coarse
_MOST_NODES = 16_000  # refinement ends there
_TOO_MANY_NODES = 500_000  # a gigabyte
_MOST_RANK = 512
_MOST_BYTES = 400_000_000
_BLOCK = 32
_SAFETY = 8.0  # where the kernel is not smooth, the two rules are about equally wrong


def tree_integral(net, x, *, cutoff=inf, tolerance=1e-8):
    """Two quartic vertices joined by a propagator, six legs: the tree term of order lambda^2.

    T(x_1, .., x_6) = sum over the 10 splits abc|def of
    int int K_W(a, y) K_W(b, y) K_W(c, y) K_W(y, z) K_W(d, z) K_W(e, z) K_W(f, z), y and z in [-cutoff, cutoff]^d.

    Parameters
    ----------
    net : Network
        One hidden layer, dim_in 1, 2 or 3.
    x : array, shape (n_points, dim_in), real
    cutoff : float
        Half the side of the box; inf for all of space.
    tolerance : float
        Aim for the error, relative to the integral of the absolute value of the legs, 1e-12 to 0.1.

    Returns
    -------
    SymmetricTensor
        Order 6, in units of K_W ** 7 * y ** (2 d). `stderr` estimates the error of quadrature; closed forms (Gaussian
        kernel without cutoff, relu without bias in one dimension) have 0.

    Raises
    ------
    DivergenceError
        If the integral without cutoff is infinite.
    ShapeError, ArgumentError
        As for `vertex_integral`.

    Warns
    -----
    NNQFTWarning
        If the tolerance was not reached; `stderr` says what was.

    Notes
    -----
    In the action S_GP + lambda int f^4 the connected six-point function gains + (24 lambda)^2 T. Cost: 0.1 s (d = 1) to
    20 s (d = 3), milliseconds for Gaussian kernels. Kernels that are not smooth reach 1e-8 (d = 2) and 1e-6 (d = 3).
    Derivation: docs/vertices.md.

    Examples
    --------
    >>> from nnqft.networks import gauss_net, relu_net
    >>> T = tree_integral(relu_net(20, dim_in=1), np.array([[1.0]]), cutoff=1.0)
    >>> bool(np.isclose(T[0, 0, 0, 0, 0, 0].mean, 10 * (1 / 8 / 5) ** 2 / 2))       # K_W = x y / 2 for x, y > 0
    True
    >>> tree_integral(gauss_net(20, dim_in=1), np.array([[0.0], [0.1]])).how["method"]
    'closed'
    """
    legs = Legs(net, x)
    _, cutoff, _, _ = check_vertex(legs, 6, cutoff, 0, 0, tolerance)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        value, error, route = _trees(legs, cutoff, tolerance)
    if not np.isfinite(value).all():
        raise ArgumentError("the tree integral overflows float64: use a smaller cutoff or smaller inputs")
    how = {
        "kind": "tree",
        "method": route,
        "cutoff": cutoff,
        "power": 0.0,
        "loops": 0,
        "pairs": False,
        "points": points_note(legs.x),
        "version": __version__,
    }
    return SymmetricTensor(value, error, order=6, size=len(legs.x), how=how)


def _trees(legs, cutoff, tolerance):
    m = len(legs.x)
    if legs.gaussian:
        G, error = gaussian_tree(legs, cutoff)
        return _splits(G, m), _splits(error, m), "quadrature" if isfinite(cutoff) else "closed"
    if legs.homogeneous and isfinite(cutoff):
        unit, length = unit_legs(legs)
        value, error = _on_surface(unit, tolerance)
        power, cutoff = legs.dim + 4, np.float64(cutoff)  # degree 3 of the legs and 1 of the propagator, at either end
        factor = (
            (length * cutoff)[_core.multiset_index(m, 6)].prod(axis=1) * cutoff**2 * (cutoff**legs.dim / power) ** 2
        )
        return value * factor, error * factor, "closed" if legs.dim == 1 else "homogeneous"
    reach, rest = legs.truncation(3, cutoff, 0.0, tolerance)
    if rest:
        rest = rest * np.sqrt(legs.diagonal(legs.x[:1])[0])
    if not isfinite(reach):
        leg, loop = legs.growth()
        if leg.max() == -inf:
            zero = np.zeros(_core.multiset_count(m, 6))
            return zero, zero, "closed"
        growth = 2 * (legs.dim + 3 * leg.max()) + loop.max()
        if not growth < 0:
            diverge("the tree integral", growth)
        reach, rest = legs.tail(3, 0.0, 0.5, growth / 2, tolerance)
    value, error, _ = _refined(legs, legs.boxes(reach), lambda y, _: y, tolerance, rest)
    return value, error, "quadrature"


def _on_surface(unit, tolerance):
    if unit.dim > 1:
        return _refined(unit, surface_boxes(unit.x), on_surface, tolerance)[:2]
    value, _, _ = _splits_on_nodes(unit, np.array([[-1.0], [1.0]]), np.ones(2), tolerance)
    return value, np.zeros_like(value)


def _refined(legs, boxes, place, tolerance, rest=0.0):
    """Two rules on ever smaller boxes, until they agree or the nodes are used up.

    rest : bounds of the integrals of |K K K(y)| K_W(y, y)^(1/2) outside the boxes, packed.
    """
    dim = boxes.lower.shape[1]
    fine, coarse = _RULES[dim]
    if len(boxes.tag) * fine**dim > _TOO_MANY_NODES:
        raise ArgumentError(
            f"a tree over {len(boxes.tag)} boxes takes {len(boxes.tag) * fine**dim} nodes, at most {_TOO_MANY_NODES} are held: "
            "use a smaller cutoff or fewer points"
        )
    while True:
        value, remainder, size = _splits_on_nodes(legs, *_nodes(boxes, fine, place), tolerance, rest)
        other, _, _ = _splits_on_nodes(legs, *_nodes(boxes, coarse, place), tolerance)
        error = _SAFETY * np.abs(value - other) + remainder + ROUNDING * size
        if not np.isfinite(size).all():
            return size, size, size
        if (error <= tolerance * size).all() or len(boxes.tag) * (2 * fine) ** dim > _MOST_NODES:
            break
        boxes = halved(boxes)
    warn_missed(error, size, len(boxes.tag) * fine**dim, tolerance, "a tree integral")
    return value, error, size


def _nodes(boxes, points, place):
    nodes, tags, weight = nodes_of(boxes, points)
    return place(nodes, tags), weight


def _splits_on_nodes(legs, y, weight, tolerance, rest=0.0):
    """Tree sums over nodes, the error of the decomposition and of the rest, and a bound of the sums of absolute values.

    The bounds: K_yz^2 <= K_yy K_zz.
    """
    m = len(legs.x)
    rows = legs(y)
    F = weight * rows[:, _core.multiset_index(m, 3)].prod(axis=2).T
    scale = np.abs(F) @ np.sqrt(legs.diagonal(y))
    size, whole = np.outer(scale, scale), scale + rest
    if not np.isfinite(size).all():
        return (np.full(_core.multiset_count(m, 6), np.inf),) * 3
    G, remainder = _decomposed(legs, y, F, tolerance * size)
    return _splits(G, m), _splits(remainder + np.outer(whole, whole) - size, m), _splits(size, m)


def _decomposed(legs, y, F, tolerated):
    """F K F^T by a pivoted Cholesky decomposition of K on the nodes, a block of pivots at a time, and the error.

    Pivots are drawn with probabilities F_j^2 E_jj, E what is left of K. The error is what the last block changed times
    the number of blocks: the changes fall off at least like 1 / rank^2, as those of kernels with kinks do.
    """
    left = legs.diagonal(y)
    importance, floor = np.abs(F).sum(axis=0), 1e-14 * left.max(initial=0.0)
    importance = (importance / max(importance.max(initial=0.0), np.finfo(float).tiny)) ** 2
    draw = np.random.Generator(np.random.Philox(0))
    L, B = np.empty((len(y), 0)), np.empty((len(F), 0))
    most = min(len(y), _MOST_RANK, _MOST_BYTES // (8 * len(y)))
    while True:
        score = importance * np.where(left > floor, left / left.max(), 0.0)
        candidates = np.count_nonzero(score)
        if not candidates:
            return B @ B.T, np.zeros((len(F), len(F)))
        pivots = draw.choice(len(y), min(_BLOCK, candidates), replace=False, p=score / score.sum())
        columns = legs.between(y, y[pivots]) - L @ L[pivots].T
        values, vectors = np.linalg.eigh(columns[pivots])
        kept = values > floor
        columns = columns @ (vectors[:, kept] / np.sqrt(values[kept]))
        left = np.maximum(left - (columns * columns).sum(axis=1), 0.0)
        left[pivots] = 0.0
        last = F @ columns
        L, B = np.concatenate([L, columns], axis=1), np.concatenate([B, last], axis=1)
        error = np.abs(last @ last.T) * (L.shape[1] / _BLOCK)
        if (error <= tolerated / 4).all() or B.shape[1] >= most:
            return B @ B.T, error


def _splits(G, m):
    """Sum over the 10 ways to split six legs into two triples; G (triples, triples), symmetric."""
    index = _core.multiset_index(m, 6).astype(np.int64)
    total = 0.0
    for rest in combinations(range(1, 6), 2):
        left = (0, *rest)
        right = tuple(k for k in range(6) if k not in left)
        ranks = (_core.multiset_ranks(np.ascontiguousarray(index[:, part]), m) for part in (left, right))
        total = total + G[tuple(ranks)]
    return total
