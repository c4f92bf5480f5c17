"""Running of couplings with the cutoff: beta functions from vertex integrals.

If one coupling g makes the connected n-point function, G_c = const g I_n(Lambda), then dG_c / dlog Lambda = 0 says

    beta(g) = dg / dlog Lambda = -g dlog I_n / dlog Lambda = -g Lambda^d S_n(Lambda) / I_n(Lambda),

S_n: the integrand of I_n over the faces of [-1, 1]^d, at y = Lambda u. Halverson, Maiti and Stoner, arXiv:2008.08601,
section 4.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from .. import _core
from .._checks import choice, integer, positive_array, real_array
from .._version import __version__
from ..errors import ArgumentError, NNQFTWarning, ShapeError
from ..tensor import SymmetricTensor
from ._cubature import Boxes, cubature, graded_boxes
from ._gaussian_vertex import _interval, _tuples
from ._legs import Legs
from ._power_law import fit_power_law
from ._surface import on_surface
from ._vertex import check_vertex, integrals, warn_missed

__all__ = ["BetaFunction", "beta_function", "read_cutoffs"]

_METHODS = ("auto", "closed", "homogeneous", "boundary")
_MOST_PAIRS = 30_000_000  # kernel evaluations of one cutoff


@dataclass(frozen=True, eq=False)
class BetaFunction:
    """beta(g) / g at several cutoffs, for every tuple of inputs. Made by `beta_function`.

    Attributes
    ----------
    cutoffs : array, shape (n,)
    exponent : array, shape (n, count)
        -dlog I / dlog Lambda: beta(g) = exponent g.
    stderr : array, shape (n, count)
        Bound of the quadrature error; 0 for closed forms and homogeneous kernels.
    order, dim : int
        Legs of the vertex, dimension of the inputs.
    method : str
        Route taken.
    """

    cutoffs: np.ndarray
    exponent: np.ndarray
    stderr: np.ndarray
    order: int
    dim: int
    method: str
    _question: object = None

    def __call__(self, coupling):
        """beta(g) = dg / dlog Lambda for a coupling at each cutoff.

        Parameters
        ----------
        coupling : float, or array broadcastable to (n, count)

        Returns
        -------
        array, shape (n, count)
            In the units of the coupling.
        """
        coupling = real_array("coupling", coupling)
        if coupling.ndim > 2 or any(
            n not in (1, m) for n, m in zip(coupling.shape[::-1], self.exponent.shape[::-1], strict=False)
        ):
            raise ShapeError(
                f"coupling has shape {coupling.shape}; one that broadcasts to {self.exponent.shape} is expected"
            )
        return self.exponent * coupling

    def tensor(self, i):
        """The exponents at cutoff number i (from the end if negative) as a `SymmetricTensor`."""
        i = integer("i", i, -len(self.cutoffs), len(self.cutoffs) - 1)
        how = {"method": self.method, "cutoff": float(self.cutoffs[i]), "version": __version__}
        size = len(self._question["x"])
        return SymmetricTensor(self.exponent[i], self.stderr[i], order=self.order, size=size, how=how)

    def regression(self, *, method="auto"):
        """The same exponent as the slope of a straight line: log(1 / I) against log Lambda over all cutoffs.

        Parameters
        ----------
        method : str
            Of `vertex_integral`; "quadrature" checks the other routes.

        Returns
        -------
        PowerLaw
            `.slope`, `.r2` per tuple. For exponents that change with the cutoff this is their average over the range.

        Raises
        ------
        ArgumentError
            With fewer than two cutoffs.

        Examples
        --------
        >>> from nnqft.networks import relu_net
        >>> beta = beta_function(relu_net(20, dim_in=1), [[0.4], [1.0]], cutoffs=np.geomspace(7, 1e5, 21))
        >>> beta.regression()
        PowerLaw(21 points, slope -5 .. -5, R^2 >= 1)
        """
        q = self._question
        legs = Legs(q["net"], q["x"])
        parts = [
            integrals(legs, self.order, float(L), q["power"], q["loops"], q["tolerance"], method) for L in self.cutoffs
        ]
        values, bounds = (np.array([part[k] for part in parts]) for k in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / values
            return fit_power_law(self.cutoffs, inverse, np.abs(bounds * inverse**2), self.tensor(0))

    def __repr__(self):
        low, high = np.nanmin(self.exponent, axis=1), np.nanmax(self.exponent, axis=1)
        ends = sorted({0, len(self.cutoffs) - 1})
        lines = [f"  Lambda={self.cutoffs[i]:g}: beta(g)/g = {low[i]:.6g} .. {high[i]:.6g}" for i in ends]
        head = f"BetaFunction(order={self.order}, d={self.dim}, {self.method}, {len(self.cutoffs)} cutoffs)"
        return "\n".join([head, *lines])


def beta_function(net, x, *, order=4, cutoffs, power=0, loops=0, tolerance=1e-9, method="auto"):
    """beta(g) / g = -dlog I / dlog Lambda of the coupling of f^order, for every tuple of inputs.

    Parameters
    ----------
    net : Network
        One hidden layer, dim_in 1, 2 or 3, any activation with a kernel.
    x : array, shape (n_points, dim_in), real
        External points.
    order : int
        Legs, 1 to 8: 4 for lambda, 6 for kappa, 2k for the operator f^(2k).
    cutoffs : float or array (n,)
        Positive, finite.
    power, loops : float, int
        As for `vertex_integral`: couplings of |y|^power f^order, loops on the vertex.
    tolerance : float
        Of the integrals, relative, 1e-12 to 0.1.
    method : {"auto", "homogeneous", "closed", "boundary"}
        "homogeneous": for relu, leaky_relu, identity without bias, exactly -(d + order + power + 2 loops). "closed":
        for the Gaussian kernel with power 0. "boundary": for all, the integral over the faces of the box over that of
        the box.

    Returns
    -------
    BetaFunction
        `.exponent` (n, count), `.stderr`, `.regression()`, and beta(g) = `result(g)`.

    Raises
    ------
    ShapeError, ArgumentError
        Bad points, cutoffs or arguments; a route that does not exist.

    Warns
    -----
    NNQFTWarning
        If the integral of some tuple is 0 within its error, such as that of points on both sides of 0 for relu in one
        dimension: its exponent is nan.

    Notes
    -----
    Limits for large cutoffs: relu -(d + order), all f^(2k) irrelevant and higher ones more so; erf and other saturating
    activations -d, slowly (as 1/Lambda), except for tuples over which the far kernel averages to 0 by symmetry, such as
    (1, 1) thrice and (1, -1) in d = 2: those grow as log Lambda, and the exponent tends to 0. Gaussian kernels: 0, as
    exp(-Lambda^2). Costs twice a vertex integral for
    each cutoff. Source: module header.

    Examples
    --------
    >>> from nnqft.networks import erf_net, gauss_net, relu_net
    >>> float(beta_function(relu_net(20, dim_in=3), np.eye(3), order=6, cutoffs=10.0).exponent[0, 0])
    -9.0
    >>> beta_function(erf_net(5, dim_in=1), [[1.0]], cutoffs=[10.0, 1e4]).exponent.round(4).tolist()
    [[-0.8316], [-0.9997]]
    """
    legs, cutoffs = Legs(net, x), read_cutoffs(cutoffs)
    for cutoff in cutoffs:
        order, _, power, loops = check_vertex(legs, order, float(cutoff), power, loops, tolerance)
    choice("method", method, _METHODS)
    route = _route(legs, power, method)
    if route == "homogeneous":
        rows = [(_homogeneous(legs, order, power, loops, tolerance), 0.0)] * len(cutoffs)
    elif route == "closed":
        rows = [(_gaussian(legs, order, float(L)), 0.0) for L in cutoffs]
    else:
        rows = [_boundary(legs, order, float(L), power, loops, tolerance) for L in cutoffs]
    exponent = np.array([row[0] for row in rows])
    stderr = np.array([np.broadcast_to(row[1], exponent.shape[1:]) for row in rows])
    empty = np.isnan(exponent).any(axis=0)
    if empty.any():
        row = _core.multiset_index(len(legs.x), order)[np.argmax(empty)].tolist()
        warnings.warn(
            f"the vertex integral of {empty.sum()} tuple(s) of inputs is 0 within its error, the first is {row}",
            NNQFTWarning,
            stacklevel=2,
        )
    question = {"net": net, "x": legs.x, "power": power, "loops": loops, "tolerance": tolerance}
    return BetaFunction(cutoffs, exponent, stderr, order, legs.dim, route, question)


def read_cutoffs(cutoffs):
    """A float64 array (n,) of positive, finite cutoffs, from such an array or one number."""
    return positive_array("cutoffs", cutoffs).reshape(-1)


def _route(legs, power, method):
    possible = {"homogeneous": legs.homogeneous, "closed": legs.gaussian and power == 0, "boundary": True}
    route = next(name for name, there in possible.items() if there) if method == "auto" else method
    if not possible[route]:
        raise ArgumentError(f'there is no route {method!r} for {legs.net!r} with power={power:g}: use method="auto"')
    return route


def _homogeneous(legs, order, power, loops, tolerance):
    """-(d + n + p + 2 loops); nan for tuples whose integral vanishes."""
    if legs.dim > 1 and legs.net.activation == "relu":  # K_W > 0 almost everywhere
        zero = (legs.x == 0).all(axis=1)[_core.multiset_index(len(legs.x), order)].any(axis=1)
    else:
        whole, error, _ = integrals(legs, order, 1.0, power, loops, tolerance)
        zero = np.abs(whole) <= error
    return np.where(zero, np.nan, -float(legs.dim + order + power + 2 * loops))


def _gaussian(legs, order, cutoff):
    """-sum over axes of Lambda [exp(-a (Lambda - c)^2) + exp(-a (Lambda + c)^2)] / int exp(-a (y - c)^2) dy."""
    root = np.sqrt(order * legs.weight / (2 * legs.dim))
    centre, _ = _tuples(legs.x, order)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        ends = np.exp(-((root * (cutoff - centre)) ** 2)) + np.exp(-((root * (cutoff + centre)) ** 2))
        return -(root * cutoff * ends / _interval(root * centre, root * cutoff)).sum(axis=1) + 0.0


def _boundary(legs, order, cutoff, power, loops, tolerance):
    """(-dlog I / dlog Lambda, bound of its error) from the faces of the box."""
    whole, whole_error, _ = integrals(legs, order, cutoff, power, loops, tolerance)
    with np.errstate(over="ignore", invalid="ignore"):
        face, face_error = _faces(legs, order, cutoff, power, loops, tolerance)
    if not (np.isfinite(whole).all() and np.isfinite(face).all()):
        raise ArgumentError(
            f"the vertex integral at cutoff = {cutoff:g} overflows float64: use a smaller cutoff or power"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.abs(whole) > whole_error, face / whole, np.nan)
        return -ratio, np.abs(face_error / whole) + np.abs(ratio * whole_error / whole)


def _faces(legs, order, cutoff, power, loops, tolerance):
    """Lambda dI / dLambda, packed, and its error bound: Lambda^d times the integral over the faces of [-1, 1]^d."""

    def density(y):
        return (
            np.float64(cutoff) ** legs.dim
            * np.linalg.norm(y, axis=1) ** power
            * (legs.diagonal(y) ** loops if loops else 1.0)
        )

    if legs.dim == 1:
        y = np.array([[-cutoff], [cutoff]])
        value = _core.moment_sums(legs(y), order, density(y), threads=1)
        return value, np.zeros_like(value)

    def integrand(nodes, face):
        y = cutoff * on_surface(nodes, face)
        return legs(y), density(y)

    sums = cubature(
        integrand, _face_boxes(legs, cutoff), order, tolerance=tolerance, most_nodes=_MOST_PAIRS // len(legs.x)
    )
    warn_missed(sums.error, sums.size, sums.nodes, tolerance, "the surface integral of a beta function")
    return sums.value, sums.error


def _face_boxes(legs, cutoff):
    """Faces of [-1, 1]^d, cut towards the projections of the special points and the rays through +-x_i.

    Kernels that fall off peak there, with their own length; the others vary over the size of the face.
    """
    peaked = legs.gaussian or legs.phase or legs.net.activation in ("sin", "cos")
    length = legs.length / cutoff if peaked else max(legs.length / cutoff, 0.25)
    dim, parts = legs.dim, []
    for axis in range(dim):
        near = np.delete(legs.special, axis, axis=1) / cutoff
        meets = legs.x[legs.x[:, axis] != 0]
        rays = np.delete(meets, axis, axis=1) / meets[:, [axis]]
        for sign in (-1, 1):
            points = np.concatenate([near, sign * rays])
            points = np.unique(points[(np.abs(points) <= 1).all(axis=1)], axis=0)
            boxes = graded_boxes(np.full(dim - 1, -1.0), np.ones(dim - 1), points, length)
            parts.append(boxes._replace(tag=np.full(len(boxes.tag), 2 * axis + (sign > 0))))
    return Boxes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
