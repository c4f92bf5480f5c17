"""What a deformation of the parameter density is made of: a potential, and a rule for its integral over inputs."""

from collections import namedtuple
from collections.abc import Iterable, Mapping
from math import prod

import numpy as np

from .._checks import integer, number, real_array, shown
from ..errors import ArgumentError, ShapeError

__all__ = ["Region", "box", "check_potential", "check_region"]

_MAX_NODES = 1 << 16

Region = namedtuple("Region", ["points", "weights"])
Region.__doc__ = (
    "A rule for integrals over inputs: int g(y) d^d y = sum_q weights[q] g(points[q]); points (Q, d), weights (Q,)."
)


def box(low, high, *, nodes=16):
    """Gauss-Legendre rule on the box low <= y <= high.

    Parameters
    ----------
    low, high : float or array, shape (d,)
        Corners; numbers for d = 1.
    nodes : int or sequence of d ints
        Nodes per axis. An action of power p in fields with momenta below Lambda has momenta below p Lambda: it takes
        about p Lambda (high - low) / 4 + 10 of them.

    Returns
    -------
    Region
        `.points` (nodes ** d, d) and `.weights` (nodes ** d,), in units of the inputs and of their volume.

    Raises
    ------
    ShapeError, ArgumentError
        Corners that do not fit each other, are not finite or not in order; no node, or more than 65536.

    Notes
    -----
    Exact for polynomials of degree 2 nodes - 1 per axis.

    Examples
    --------
    >>> region = box([0, 0], [1, 2], nodes=4)
    >>> region.points.shape, round(float(region.weights @ region.points.prod(axis=1)), 12)  # int xy dx dy
    ((16, 2), 1.0)
    """
    low, high = (
        np.atleast_1d(real_array(name, corner, finite=False)) for name, corner in (("low", low), ("high", high))
    )
    if low.shape != high.shape or low.ndim != 1 or not len(low):
        raise ShapeError(
            f"the corners of a box are two numbers or two vectors (d,), got shapes {low.shape} and {high.shape}"
        )
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ArgumentError(f"a box needs finite corners with low < high, got {low.tolist()} and {high.tolist()}")
    counts = list(nodes) if isinstance(nodes, Iterable) and getattr(nodes, "ndim", 1) else [nodes] * len(low)
    if len(counts) != len(low):
        raise ShapeError(f"{len(counts)} numbers of nodes came for {len(low)} axes")
    counts = [integer("nodes", n, 1, 4096) for n in counts]
    if prod(counts) > _MAX_NODES:
        raise ArgumentError(
            f"a box of {' x '.join(map(str, counts))} nodes is more than {_MAX_NODES}: use fewer per axis"
        )
    axes, weights = [], []
    for a, b, n in zip(low, high, counts, strict=True):
        t, w = np.polynomial.legendre.leggauss(n)
        half = b / 2 - a / 2  # b - a may overflow
        axes.append(a / 2 + b / 2 + half * t)
        weights.append(half * w)
    grid = lambda parts: np.stack(np.meshgrid(*parts, indexing="ij"), axis=-1).reshape(-1, len(low))
    with np.errstate(over="ignore", under="ignore"):
        points, weights = grid(axes), grid(weights).prod(axis=1)
    if not (np.isfinite(weights).all() and (weights > 0).all() and all((np.diff(axis) > 0).all() for axis in axes)):
        raise ArgumentError(
            f"float64 does not resolve the nodes of a box from {low.tolist()} to {high.tolist()}, or its volume: rescale "
            "the inputs"
        )
    return Region(points, weights)


def check_potential(potential):
    """{power: coefficient} with ascending even powers, bounded below."""
    if not isinstance(potential, Mapping) or not potential:
        raise ArgumentError(f"a potential is a mapping {{power: coefficient}}, like {{4: 0.1}}, got {shown(potential)}")
    out = {}
    for power, coefficient in potential.items():
        power = integer("a power of the field", power, 0, 1 << 31)
        if power % 2 or not 2 <= power <= 16:
            raise ArgumentError(
                f"powers of the field must be even and in 2 .. 16, got {power}: odd ones would give the field a mean"
            )
        out[power] = number(f"the coefficient of power {power}", coefficient)
    out = dict(sorted(out.items()))
    if any(out.values()) and [c for c in out.values() if c][-1] < 0:
        raise ArgumentError(
            f"the potential {out} has no lower bound: the coefficient of the highest power must be positive"
        )
    return out


def check_region(region, dim_in):
    """The region with float64 arrays."""
    try:
        points, weights = region
    except (TypeError, ValueError):
        raise ArgumentError(
            f"region must be box(low, high) or (points, weights), got {type(region).__name__}"
        ) from None
    points = real_array("the region's points", points, finite=False)
    weights = real_array("the region's weights", weights, finite=False)
    if points.ndim != 2 or points.shape[1] != dim_in or weights.shape != points.shape[:1] or not len(points):
        raise ShapeError(
            f"the region has points of shape {points.shape} and weights of shape {weights.shape}; expected "
            f"(Q, {dim_in}) and (Q,), Q >= 1"
        )
    if len(points) > _MAX_NODES:
        raise ArgumentError(f"a region of {len(points)} points is more than {_MAX_NODES}: use fewer")
    if not (np.isfinite(points).all() and np.isfinite(weights).all() and (weights > 0).all()):
        raise ArgumentError("the region's points must be finite and its weights positive and finite")
    return Region(points, weights)
