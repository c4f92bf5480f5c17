"""Legs of vertices: K_W(x_i, y) = K(x_i, y) - sigma_b^2 of one hidden layer, without the output bias.

The output bias is a Gaussian constant of its own: it enters the two-point function and no vertex.
"""

from collections.abc import Hashable

import numpy as np

from .. import _core
from .._duals import dual
from .._kernels import check_law, check_points
from .._spectrum import amplitude_and_momentum
from ..errors import ArgumentError, DivergenceError
from ._cubature import graded_boxes
from ._polar_table import PolarTable
from ._radial import RadialKernel, radial_kernel

__all__ = ["SLOW", "Legs"]

SLOW = ("tanh", "sigmoid", "softplus", "swish")  # kernels that take some 30 us per pair
_HOMOGENEOUS = ("relu", "leaky_relu", "identity")  # of degree one, if there is no bias
_OWN_DIRECTIONS = 64
_MOST_LENGTHS = 1e160  # of the kernel, from the origin to the end of a box: beyond, variances overflow
_LONGEST_TAIL = 1e30  # where integrals that hardly converge are cut off, in units of their legs
_MOST_FAR = 1e12  # where kernels of x - y peak, in units of their length
_MOST_FAR_IN_TABLES = 1e3  # beyond, the angle between x and y asks for ever more terms
_FLAT = 1e-2  # at finite distance, exponents are whole numbers only nearly


class Legs:
    """K_W(x_i, y) at many y.

    Parameters
    ----------
    net : Network or law with its attributes
        One hidden layer.
    x : array (m, d), real

    Attributes
    ----------
    length : float
        Scale over which K_W varies.
    gaussian : bool
        K_W = sigma_w^2 exp(-sigma_w^2 |x - y|^2 / 2 d).
    peaked : bool
        K_W falls off with |x - y|, of sin and cos also with |x + y|.
    homogeneous : bool
        K_W(x, t y) = t K_W(x, y) for t > 0.
    """

    def __init__(self, net, x):
        if not hasattr(net, "widths"):
            raise ArgumentError(
                f"net must be the law of an ensemble, a nnqft.networks.Network; got {type(net).__name__}"
            )
        if len(net.widths) != 1:
            raise ArgumentError(f"vertex integrals are defined for one hidden layer; {net!r} has {len(net.widths)}")
        self.params = check_law(net)
        self.net, self.x, self.dim = net, check_points(net, x), net.dim_in
        self.weight, self.bias = (_square(name, getattr(net, name)) for name in ("sigma_w", "sigma_b"))
        if self.weight == 0:
            raise ArgumentError("the kernel without output bias vanishes: sigma_w is 0")
        self.phase = bool(getattr(net, "phase", False))
        amplitude, ball = amplitude_and_momentum(net)
        self.gaussian = net.activation == "gauss" or (self.phase and amplitude is None and ball is None)
        self.peaked = self.phase or net.activation in ("gauss", "sin", "cos")
        self.homogeneous = net.activation in _HOMOGENEOUS and self.bias == 0
        unit = np.sqrt(self.dim) / net.sigma_w
        self.length = unit * (net.sigma_b if net.activation in _HOMOGENEOUS and self.bias > 0 else 1.0)
        self._radial = None
        if amplitude is not None or ball is not None:
            self._radial = radial_kernel(net) if isinstance(net, Hashable) else RadialKernel(net)
            self.length = 1.0 / ball if ball is not None else unit

        self._tables = self._polar_tables() if net.activation in SLOW and self.dim > 1 else None

    @property
    def special(self):
        """Points at which K_W peaks or is not smooth: the origin, x_i, and -x_i for even and odd activations."""
        mirror = [-self.x] if self.net.activation in ("sin", "cos") and not self.phase else []
        return np.unique(np.concatenate([np.zeros((1, self.dim)), self.x, *mirror]), axis=0)

    def __call__(self, y):
        """K_W(x_i, y_r), shape (len(y), m)."""
        if self._tables is None:
            return self.between(y, self.x)
        r = np.linalg.norm(y, axis=1)
        direction = y / np.where(r > 0, r, 1.0)[:, None]
        return np.stack([table(r, np.clip(direction @ unit, -1, 1)) for table, unit in self._tables], axis=1)

    def _polar_tables(self):
        """One table per point, and its direction: K_W depends on |y| and on the angle to x."""

        def on_plane(size):
            def function(r, c):
                pair = self.bias + self.weight / self.dim * size * r * c
                variances = (self.bias + self.weight / self.dim * a * a for a in (size, r))
                near, far = variances
                return self.weight * dual(self.net.activation, self.params, near, pair, far)

            return PolarTable(function, self.length)

        sizes = np.linalg.norm(self.x, axis=1)
        return [(on_plane(size), x / size if size > 0 else x) for size, x in zip(sizes, self.x, strict=True)]

    def between(self, y, z):
        """K_W(y_r, z_i), shape (len(y), len(z))."""
        if self.gaussian or self._radial:
            with np.errstate(over="ignore", under="ignore"):
                distance2 = sum(np.subtract.outer(a, b) ** 2 for a, b in zip(y.T, z.T, strict=True))
                if self._radial:
                    return self._radial(np.sqrt(distance2))
                return self.weight * np.exp(-self.weight / (2 * self.dim) * distance2)
        return self.weight * self._average(y, z)

    def _average(self, y, z):
        """K_W / sigma_w^2 of kernels that are averages over two pre-activations."""
        here, there = self._variance(y), self._variance(z)
        with np.errstate(over="ignore", invalid="ignore"):
            pair = self.bias + self.weight / self.dim * (y @ z.T)
            if not np.isfinite(here.max(initial=0.0) * there.max(initial=0.0)):  # the determinant of the pair
                raise ArgumentError("the kernel overflows float64: use a smaller cutoff, sigma_w, sigma_b or inputs")
        return dual(self.net.activation, self.params, here[:, None], pair, there)

    def diagonal(self, y):
        """K_W(y, y), shape (len(y),)."""
        if self.gaussian or self._radial:
            return np.full(len(y), self.weight if self.gaussian else self._radial.at_zero)
        return self.weight * self._average_at(y)

    def _average_at(self, y):
        variance = self._variance(y)
        if self.net.activation in SLOW:  # a function of |y|
            variance, inverse = np.unique(variance, return_inverse=True)
            return dual(self.net.activation, self.params, variance, variance, variance)[inverse]
        return dual(self.net.activation, self.params, variance, variance, variance)

    def _variance(self, y):
        with np.errstate(over="ignore"):
            variance = self.bias + self.weight / self.dim * (y * y).sum(axis=1)
        if not np.isfinite(variance).all():
            raise ArgumentError(
                f"the kernel overflows float64 at |y| = {np.abs(y).max():.3g}: use a smaller cutoff, sigma_w or inputs"
            )
        return variance

    def boxes(self, reach):
        """The box [-reach, reach]^d in parts as small as the legs ask for."""
        self.check_resolved()
        if not reach <= _MOST_LENGTHS * self.length:
            raise ArgumentError(
                f"the kernel, of length {self.length:.3g}, overflows float64 in a box of half side {reach:.3g}: use a smaller "
                "cutoff, sigma_w or inputs"
            )
        return graded_boxes(np.full(self.dim, -reach), np.full(self.dim, reach), self.special, self.length)

    def check_resolved(self):
        """Refuse points so far out that nodes within a length of the kernel are none in float64, or cost minutes."""
        far, most = np.abs(self.x).max() / self.length, np.inf
        if self.peaked:
            most = _MOST_FAR
        elif self._tables is not None:
            most = _MOST_FAR_IN_TABLES
        if not far <= most:
            raise ArgumentError(
                f"points lie up to {far:.3g} lengths of the kernel ({self.length:.3g}) from the origin, at most "
                f"{most:g} are resolved: use points closer to the origin or a smaller sigma_w"
            )

    def truncation(self, order, cutoff, power, tolerance):
        """(half the side of the box that is integrated, bound of the rest): products of legs may fall off earlier.

        (inf, 0) without a cutoff where the kernel is not a function of x - y; see `growth` and `tail`.
        """
        if self.gaussian or (self.net.activation in ("sin", "cos") and not self.phase):
            return min(cutoff, np.abs(self.x).max() + (9 + np.sqrt(power)) * self.length), 0.0  # exp(-40) per leg
        if self._radial:
            radius, rest, decay = self._radial.truncation(order, power, tolerance)
            radius += np.abs(self.x).max()
            if cutoff > radius and rest < np.inf:
                return radius, rest
            if cutoff == np.inf:
                raise DivergenceError(
                    f"legs fall off as |y|^-{decay:.2g} up to |y| = {radius:.3g}: an integral over {order} of them in "
                    f"{self.dim} dimensions finds no limit as the cutoff grows: give a finite cutoff"
                )
        return cutoff, 0.0

    def growth(self):
        """Exponents g with |K_W(x_i, y)| ~ |y|^g at large |y|, shape (directions, m), and of K_W(y, y).

        From the kernel at two distances; -inf for legs that vanish.
        """
        directions = self._directions()
        for distance in (1e7, 1e3):
            far = distance * max(np.abs(self.x).max(), self._spread) * directions
            try:
                values = (
                    self._average(far, self.x),
                    self._average(2 * far, self.x),
                    self._average_at(far)[:, None],
                    self._average_at(2 * far)[:, None],
                )
            except ArgumentError as overflow:
                error = overflow
                continue
            return _exponent(*values[:2]), _exponent(*values[2:])[:, 0]
        if self.net.activation != "exp":
            raise error
        return np.full((len(directions), len(self.x)), np.inf), np.full(len(directions), np.inf)

    def tail(self, order, power, loops, growth, tolerance):
        """(R, bounds of the integrals of |y|^power K_W(y, y)^loops |order legs| outside the box [-R, R]^d, packed).

        For integrands that fall off as |y|^(growth - d), growth < 0. On the faces, y = R u, and outside, y = t u:
        d^d y = t^(d - 1) dt dS, so each bound is R^d / |growth| times the area of the unit box times the largest
        integrand at |u| = 1; twice that, since it is the largest of some directions only.
        """
        unit = max(np.abs(self.x).max(), self._spread)
        reach = min(10 * tolerance ** (1 / growth), _LONGEST_TAIL) * unit
        y = reach * self._directions()
        index = _core.multiset_index(len(self.x), order)
        largest = np.abs(self.between(y, self.x)).max(axis=0)[index].prod(axis=1)
        largest = largest * (np.sqrt(self.dim) * reach) ** power * (self.diagonal(y).max() ** loops if loops else 1.0)
        return reach, 2 * (2 * self.dim) * (2 * reach) ** self.dim / 2 / -growth * largest

    @property
    def _spread(self):
        """|y| at which the variance of a pre-activation outgrows the bias and 1."""
        return max(self.length, np.sqrt(self.dim * max(self.bias, 1.0) / self.weight))

    def _directions(self):
        """Axes, diagonals and some +-x_i, largest coordinate 1."""
        corners = np.stack(np.meshgrid(*[(-1.0, 0.0, 1.0)] * self.dim, indexing="ij"), axis=-1).reshape(-1, self.dim)
        own = self.x[: _OWN_DIRECTIONS // 2]
        directions = np.concatenate([corners, own, -own])
        directions = directions[(directions != 0).any(axis=1)]
        return directions / np.abs(directions).max(axis=1, keepdims=True)


def _square(name, sigma):
    """sigma^2, a float64 that has neither overflown nor lost digits; that of a bias may vanish."""
    with np.errstate(over="ignore", under="ignore"):
        square = np.float64(sigma) ** 2
    if not np.isfinite(square) or (name == "sigma_w" and sigma > 0 and square < np.finfo(float).tiny):
        raise ArgumentError(
            f"{name} = {sigma:g}: its square {'under' if sigma < 1 else 'over'}flows float64: use other units"
        )
    return square


def _exponent(near, further):
    """log2 |further / near|, whole numbers cleared of corrections at finite distance; -inf where a leg vanishes."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        g = np.where(further != 0, np.log2(np.abs(further / near)), -np.inf)
        return np.where(np.abs(g - np.rint(g)) < _FLAT, np.rint(g), g) + 0.0
