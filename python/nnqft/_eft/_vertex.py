"""Vertex integrals: what one vertex contributes to an n-point function, apart from coupling and combinatorics.

    I(x_1, .., x_n) = int_{[-Lambda, Lambda]^d} d^d y |y|^p K_W(y, y)^loops K_W(x_1, y) .. K_W(x_n, y)

K_W is the kernel without the output bias. Three routes: closed forms for the Gaussian kernel (Gauss-net, cos-net); kernels
that are homogeneous of degree one (relu without bias) reduce to the surface of the unit box, I ~ Lambda^(d + n + p + 2 loops);
adaptive cubature for everything else. After Halverson, Maiti and Stoner, arXiv:2008.08601; derivations in docs/vertices.md.
"""

import sys
import warnings
from math import comb, inf, isfinite

import numpy as np

from .. import _core
from .._checks import choice, integer, number, shown
from .._version import __version__
from .._wick_all import wick_all
from ..errors import ArgumentError, DivergenceError, NNQFTWarning
from ..tensor import SymmetricTensor, points_note
from ._cubature import ROUNDING, cubature, first_nodes
from ._gaussian_vertex import gaussian_vertex
from ._legs import SLOW, Legs
from ._surface import on_surface, surface_boxes, unit_legs

__all__ = ["vertex_integral"]

_METHODS = ("auto", "closed", "homogeneous", "quadrature")
_MOST_POINTS = 1000
_MOST_ENTRIES = 500_000
_MOST_POWER = 300.0
_MOST_PAIRS = 30_000_000  # kernel evaluations, a few seconds


def vertex_integral(net, x, *, order=4, cutoff=inf, power=0, loops=0, pairs=False, tolerance=1e-10, method="auto"):
    """Integral over the position of a vertex with one leg to each of n points.

    I(x_1, .., x_n) = int_{[-cutoff, cutoff]^d} d^d y |y|^power K_W(y, y)^loops prod_i K_W(x_i, y).

    Parameters
    ----------
    net : Network
        One hidden layer, dim_in 1, 2 or 3, any activation with a kernel.
    x : array, shape (n_points, dim_in), real
        External points, at most 1000.
    order : int
        Number n of legs, 1 to 8.
    cutoff : float
        Half the side of the box; inf for all of space.
    power : float
        Real number p from 0 to 300: a position-dependent coupling |y|^p.
    loops : int
        Loops on the vertex; 1 for f^6 seen by four legs.
    pairs : bool
        Instead the non-local term, in which pairs of legs meet at different places: with P_ab the integral of order 2,
        the sum over all pairings, for order 4 P_ab P_cd + P_ac P_bd + P_ad P_bc. Needs power = 0, loops = 0 and an even
        order.
    tolerance : float
        Aim for the error, relative to the integral of the absolute value, 1e-12 to 0.1.
    method : {"auto", "closed", "homogeneous", "quadrature"}
        The route: "closed" exists for the Gaussian kernel and for homogeneous ones in one dimension, "homogeneous" for
        relu, leaky_relu and identity with sigma_b = 0, "quadrature" for all.

    Returns
    -------
    SymmetricTensor
        Over the points, in units of K_W ** (n + loops) * y ** (d + power). `stderr` bounds the error of quadrature;
        closed forms have 0. `how` holds `kind` ("vertex"), `method` (the route), `cutoff`, `power`, `loops`, `pairs` and `points`.

    Raises
    ------
    DivergenceError
        If the integral without cutoff is infinite; the message tells how it grows.
    ShapeError, ArgumentError
        Bad points or arguments, a deep network, a kernel that vanishes or overflows.

    Warns
    -----
    NNQFTWarning
        If the tolerance was not reached; `stderr` says what was.

    Notes
    -----
    Cost with six points: 0.2 ms for closed forms; otherwise 1 ms (d = 1), 10 ms (d = 2), 0.3 s (d = 3), growing with the
    logarithm of the cutoff; tanh, sigmoid, softplus and swish 0.1 s, 1 s and 4 s. Formulas: docs/vertices.md.

    Examples
    --------
    >>> from nnqft.networks import erf_net, relu_net
    >>> x = np.array([[0.5], [1.0]])
    >>> I = vertex_integral(relu_net(20, dim_in=1), x, cutoff=10.0)
    >>> bool(np.isclose(I[0, 0, 1, 1].mean, 10.0**5 * 0.5 * 0.5 / 80))
    True
    >>> vertex_integral(erf_net(5, dim_in=1), x)
    Traceback (most recent call last):
    nnqft.errors.DivergenceError: the vertex integral of order 4 grows as Lambda^1 with the cutoff Lambda: give a finite cutoff
    """
    legs = Legs(net, x)
    order, cutoff, power, loops = check_vertex(legs, order, cutoff, power, loops, tolerance)
    choice("method", method, _METHODS)
    if not isinstance(pairs, bool | np.bool_):
        raise ArgumentError(f"pairs must be True or False, got {shown(pairs)}")
    if pairs and (order % 2 or power or loops):
        raise ArgumentError(
            f"pairs=True takes an even order, power=0 and loops=0; order={order}, power={power:g}, loops={loops} came"
        )
    value, error, route = integrals(legs, 2 if pairs else order, cutoff, power, loops, tolerance, method)
    if pairs:
        value, error = _paired(value, error, len(legs.x), order)
    if not np.isfinite(value).all():
        raise ArgumentError(
            "the vertex integral overflows float64: use a smaller cutoff, smaller inputs or a lower order"
        )
    how = {
        "kind": "vertex",
        "method": route,
        "cutoff": cutoff,
        "power": power,
        "loops": loops,
        "pairs": bool(pairs),
        "points": points_note(legs.x),
        "version": __version__,
    }
    return SymmetricTensor(value, error, order=order, size=len(legs.x), how=how)


def check_vertex(legs, order, cutoff, power, loops, tolerance):
    """The arguments, checked: (order, cutoff, power, loops)."""
    if legs.dim not in (1, 2, 3):
        raise ArgumentError(f"vertex integrals exist in 1, 2 and 3 dimensions; dim_in is {legs.dim}")
    order, loops = integer("order", order, 1, 8), integer("loops", loops, 0, 64)
    cutoff = number("cutoff", cutoff, infinite=True)
    if not cutoff > 0:
        raise ArgumentError(f"cutoff must be positive, got {cutoff!r}")
    power = number("power", power, low=0.0, high=_MOST_POWER)
    number("tolerance", tolerance, low=1e-12, high=0.1)
    if len(legs.x) > _MOST_POINTS:
        raise ArgumentError(f"{len(legs.x)} points came, at most {_MOST_POINTS} are taken: compute them in parts")
    entries = comb(len(legs.x) + order - 1, order)
    if entries > _MOST_ENTRIES:
        raise ArgumentError(
            f"order {order} over {len(legs.x)} points has {entries} entries, at most {_MOST_ENTRIES} are computed: "
            "use fewer points"
        )
    return order, cutoff, power, loops


def integrals(legs, order, cutoff, power, loops, tolerance, method="auto"):
    """(packed values, error bounds, name of the route); what overflows is infinite or nan."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _integrals(legs, order, cutoff, power, loops, tolerance, method)


def _integrals(legs, order, cutoff, power, loops, tolerance, method):
    if legs.gaussian and method in ("auto", "closed") and (not isfinite(cutoff) or power == 0):
        value = gaussian_vertex(legs, order, cutoff, power, loops)
        return value, np.zeros_like(value), "closed"
    reach, rest = legs.truncation(order, cutoff, power, tolerance)
    if rest:
        rest = rest * legs.diagonal(legs.x[:1])[0] ** loops
    if not isfinite(reach):
        growth = _growth(legs, order, power, loops)
        if growth == -inf:  # all legs vanish everywhere
            zero = np.zeros(_core.multiset_count(len(legs.x), order))
            return zero, zero, "closed"
        if not growth < 0:
            diverge(f"the vertex integral of order {order}", growth)
        reach, rest = legs.tail(order, power, loops, growth, tolerance)
    if legs.homogeneous and method in (("auto", "closed", "homogeneous") if legs.dim == 1 else ("auto", "homogeneous")):
        return _homogeneous(legs, order, cutoff, power, loops, tolerance)
    if method in ("closed", "homogeneous"):
        raise ArgumentError(
            f"there is no route {method!r} for {legs.net!r} with cutoff={cutoff:g}, power={power:g}: "
            'use method="auto" or "quadrature"'
        )
    return _quadrature(legs, order, reach, rest, power, loops, tolerance)


# ---- routes


def _homogeneous(legs, order, cutoff, power, loops, tolerance):
    """A kernel of degree 1: with D = n + p + 2 loops, Lambda^(d + D) / (d + D) int over the surface of the unit box."""
    unit, length = unit_legs(legs)
    dim, degree = legs.dim, order + power + 2 * loops
    integrand = _integrand(unit, power, loops)
    if dim == 1:
        values, density = integrand(np.array([[-1.0], [1.0]]), None)
        value = _core.moment_sums(values, order, density, threads=1)
        error, route = np.zeros_like(value), "closed"
    else:
        on_faces = lambda nodes, face: integrand(on_surface(nodes, face), face)
        sums = _sums(unit, on_faces, surface_boxes(unit.x), order, tolerance)
        warn_missed(sums.error, sums.size, sums.nodes, tolerance, "a vertex integral")
        value, error, route = sums.value, sums.error, "homogeneous"
    factor = (length * cutoff)[_core.multiset_index(len(length), order)].prod(axis=1)
    factor = factor * (np.float64(cutoff) ** (power + 2 * loops) * np.float64(cutoff) ** dim / (dim + degree))
    return value * factor, error * factor, route


def _quadrature(legs, order, reach, rest, power, loops, tolerance):
    sums = _sums(legs, _integrand(legs, power, loops), legs.boxes(reach), order, tolerance)
    error = sums.error + rest
    warn_missed(error, sums.size, sums.nodes, tolerance, "a vertex integral")
    return sums.value, error, "quadrature"


def _sums(legs, integrand, boxes, order, tolerance):
    most = _MOST_PAIRS // (100 if legs.net.activation in SLOW and legs.dim == 1 else 1)
    least = first_nodes(boxes) * len(legs.x)
    if least > 10 * most:
        raise ArgumentError(
            f"{len(legs.x)} points take {least:.1g} values of the kernel, at most {10 * most:.1g} are computed: use fewer points"
        )
    return cubature(integrand, boxes, order, tolerance=tolerance, most_nodes=most // len(legs.x))


def _integrand(legs, power, loops):
    def integrand(y, _):
        density = np.ones(len(y))
        if power:
            density = np.linalg.norm(y, axis=1) ** power
        if loops:
            density = density * legs.diagonal(y) ** loops
        return legs(y), density

    return integrand


def _growth(legs, order, power, loops):
    """Exponent of the cutoff with which the largest entry grows; -inf if every leg vanishes far away."""
    leg, loop = legs.growth()
    largest = (order * leg.max(axis=1) + (loops * loop if loops else 0.0)).max()
    return legs.dim + power + largest


def diverge(what, growth):
    """Refuse, growth >= 0 (0: a logarithm)."""
    if np.isnan(growth):
        raise ArgumentError(f"the kernel overflows float64 far away, {what} is out of reach: use other units")
    power = f"Lambda^{growth:g}" if growth else "log Lambda"
    how = "faster than any power of the cutoff" if growth == inf else f"as {power} with the cutoff Lambda"
    raise DivergenceError(f"{what} grows {how}: give a finite cutoff")


def _paired(value, error, m, order):
    """Sums over pairings of the order-2 integrals; the error is that of all factors at once."""
    i, j = np.triu_indices(m)

    def symmetric(packed):
        P = np.empty((m, m))
        P[i, j] = P[j, i] = packed
        return P

    sums = lambda packed: wick_all(symmetric(packed), order).mean
    total, size = sums(value), np.abs(value)
    if not error.any():
        return total, np.zeros_like(total)
    return total, np.maximum(sums(size + error) - sums(size), 0.0) + ROUNDING * np.abs(total)


def warn_missed(error, size, nodes, tolerance, what):
    """Warn, in the name of the public function, where the error is above tolerance * size."""
    missed = error > 2 * (tolerance + ROUNDING) * size
    if missed.any():
        worst = np.max(error[missed] / size[missed])
        warnings.warn(
            f"{what} reached a relative error of {worst:.1e} with {nodes} nodes, not {tolerance:g}: stderr says what was "
            "reached",
            NNQFTWarning,
            stacklevel=_outside(),
        )


def _outside():
    """Stack level, as the caller counts, of the first frame outside the package."""
    frame, level = sys._getframe(1), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("nnqft."):
        frame, level = frame.f_back, level + 1
    return level
