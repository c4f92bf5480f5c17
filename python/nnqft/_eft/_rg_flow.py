"""Flow of measured couplings: with the cutoff (passive), or from net to net with sigma_w or the width (active).

f(x; sigma_w) = sigma_w F(sigma_w x) for one hidden layer without its output bias, so

    g(x; Lambda, sigma_w) = sigma_w^(d - n) g(sigma_w x; sigma_w Lambda, 1)          (g: the coupling of f^n, n = 4, 6):

a larger sigma_w is a larger cutoff in other units. Derivation: docs/renormalization.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import factorial, inf
from numbers import Real

import numpy as np

from .._checks import integer, number, positive_array, shown
from .._correlators import Correlators, ExactCorrelators
from ..ensemble import exact_correlators
from ..errors import ArgumentError, ShapeError
from ..tensor import Estimate
from ._couplings import check_sign, quartic_coupling, sextic_coupling
from ._data import read_connected
from ._power_law import fit_power_law
from ._rg import beta_function, read_cutoffs
from ._tree import tree_integral
from ._vertex import vertex_integral

__all__ = ["RGFlow", "rg_flow"]


@dataclass(frozen=True, eq=False)
class RGFlow:
    """A coupling along a flow. Made by `rg_flow`.

    Attributes
    ----------
    scale_name : {"cutoff", "sigma_w", "width"}
        What changes; the first is a passive flow, the others are active ones.
    scale : array, shape (n,), ascending
    couplings : tuple of Coupling
        At each scale: mean over tuples with its error, values tuple by tuple, spread.
    order : {4, 6}
        lambda or kappa.
    cutoff : float or None
        The cutoff of an active flow.
    inputs : int or None
        Distinct inputs, the least of all couplings: with 1, all tuples say the same thing and a small `spread` means
        nothing. None if unknown.
    """

    scale_name: str
    scale: np.ndarray
    couplings: tuple
    order: int
    cutoff: object = None
    _source: object = None

    @property
    def passive(self):
        """True for a flow with the cutoff of one net."""
        return self.scale_name == "cutoff"

    @property
    def inputs(self):
        known = [c.inputs for c in self.couplings if c.inputs is not None]
        return min(known, default=None)

    @property
    def mean(self):
        """Coupling, averaged over unique tuples, shape (n,)."""
        return np.array([c.mean.mean for c in self.couplings])

    @property
    def stderr(self):
        """Its standard errors, shape (n,). In a passive flow all scales share the same networks: errors go together."""
        return np.array([c.mean.stderr for c in self.couplings])

    @property
    def spread(self):
        """Standard deviation over tuples, relative to |mean|, shape (n,); 0 for a constant."""
        return np.array([c.spread for c in self.couplings])

    @property
    def pointwise(self):
        """Coupling that each tuple says, shape (n, count)."""
        return np.array([c.pointwise.mean for c in self.couplings])

    def slope(self):
        """The exponent of every tuple: a straight line through log |coupling| against log scale.

        Returns
        -------
        PowerLaw
            In a passive flow a tuple's coupling is one number over I(Lambda): its statistical error is the same factor
            at all scales, drops out, and the errors are those of the scatter about the line.

        Raises
        ------
        ArgumentError
            With fewer than two scales.
        """
        errors = np.array([c.pointwise.stderr for c in self.couplings])
        if self.passive:
            errors = np.zeros_like(errors)
        return fit_power_law(self.scale, self.pointwise, errors, self.couplings[0].pointwise, self.inputs)

    def beta(self):
        """d(mean coupling) / dlog cutoff at each scale of a passive flow, from surface integrals.

        Returns
        -------
        tuple of Estimate, one for each scale
            Errors: those of the couplings, with the correlations between tuples, and the bounds of the quadratures.

        Raises
        ------
        ArgumentError
            For active flows, and for a kappa with its tree term, which runs with more than one integral: use `slope`.
        """
        if not self.passive or getattr(self.couplings[0], "tree", None) is not None:
            raise ArgumentError("one integral carries a passive flow without tree term only: use slope()")
        running = beta_function(self._source.net, self._source.x, order=self.order, cutoffs=self.scale)
        data = read_connected(self._source, self.order, "G")
        return tuple(_mean_beta(c, running.tensor(i), data) for i, c in enumerate(self.couplings))

    def to_dict(self):
        """Plain `dict` of lists and numbers, ready for JSON."""
        plain = {name: getattr(self, name) for name in ("scale_name", "order", "cutoff")}
        return plain | {
            name: getattr(self, name).tolist() for name in ("scale", "mean", "stderr", "spread", "pointwise")
        }

    def __repr__(self):
        symbol = "lambda" if self.order == 4 else "kappa"
        rows = [
            f"  {self.scale_name}={self.scale[i]:g}: {symbol}={self.couplings[i].mean!r}"
            for i in sorted({0, len(self.scale) - 1})
        ]
        kind = "passive" if self.passive else f"active, cutoff={self.cutoff:g}"
        same = ", inputs degenerate: one random variable" if self.inputs == 1 and self.pointwise.shape[1] > 1 else ""
        return "\n".join([f"RGFlow({symbol}({self.scale_name}), {kind}, {len(self.scale)} points{same})", *rows])


def rg_flow(G, cutoff=inf, *, sigma_w=None, width=None, order=4, tree=True, sign="action", tolerance=1e-9):
    """lambda or kappa of given correlators, as the cutoff, sigma_w or the width changes.

    Parameters
    ----------
    G : Correlators (measured or exact), or a sequence of them
        Passive flow: the correlators of one net; they do not know about a cutoff, the couplings do. Active flow: those
        of several nets that differ in sigma_w or in width alone, at the same points; or exact ones, with `sigma_w` or
        `width`.
    cutoff : array (n,) for a passive flow, float (default inf) for an active one
    sigma_w, width : array, optional
        Active flow: exact correlators are computed for these nets (estimator "neuron" serves every width, too).
    order : {4, 6}
        lambda or kappa.
    tree : bool
        Order 6: subtract the tree term of two quartic vertices (`sextic_coupling`).
    sign : {"action", "table"}
        As for `quartic_coupling`.
    tolerance : float
        Of the vertex integrals.

    Returns
    -------
    RGFlow
        `.scale`, `.mean`, `.stderr`, `.spread`, `.pointwise`, `.slope()`, `.beta()`, `.couplings`.

    Raises
    ------
    ShapeError, ArgumentError
        Bad cutoffs; nets that differ in more than one thing, or in none; whatever `quartic_coupling` refuses.
    DivergenceError
        An infinite cutoff for kernels that do not fall off.

    Notes
    -----
    G_c is independent of the cutoff, so lambda(Lambda) = -G_c / (24 I_4(Lambda)): ~ Lambda^-(d+4) for relu, Lambda^-d
    for erf at large Lambda, constant for Gaussian kernels. With sigma_w, all scales together: module header; the Gauss-
    and cos-net near x = 0 give sigma_w^(d - order). With the width: exactly 1/width, and 1/width^2 for kappa. Errors:
    `quartic_coupling`. Cost: one vertex integral per scale (order 6: and a tree integral).
    Halverson, Maiti and Stoner, arXiv:2008.08601, section 4; active flow: Erbin et al., arXiv:2108.01403.

    Examples
    --------
    >>> from nnqft.ensemble import exact_correlators
    >>> from nnqft.networks import relu_net
    >>> G = exact_correlators(relu_net(20, dim_in=1), [[0.5], [1.0]], orders=(2, 4, 6))
    >>> flow = rg_flow(G, [1.0, 10.0, 100.0])
    >>> flow.mean                                             # -0.625 (20 / width) / cutoff^5
    array([-6.25e-01, -6.25e-06, -6.25e-11])
    >>> flow.slope()
    PowerLaw(3 points, slope -5 .. -5, R^2 >= 1, inputs degenerate: one random variable)
    """
    check_sign(sign)
    order = integer("order", order, 1, 8)
    if order not in (4, 6):
        raise ArgumentError(f"order must be 4 (lambda) or 6 (kappa), got {order}")
    if not isinstance(tree, bool | np.bool_):
        raise ArgumentError(f"tree must be True or False, got {shown(tree)}")
    name, scale, sources, cutoffs = _nets(G, cutoff, sigma_w, width, order)
    couplings = tuple(
        _coupling(g, float(L), order, tree, sign, tolerance) for g, L in zip(sources, cutoffs, strict=True)
    )
    return RGFlow(name, scale, couplings, order, None if name == "cutoff" else float(cutoffs[0]), sources[0])


def _coupling(G, cutoff, order, tree, sign, tolerance):
    I4 = vertex_integral(G.net, G.x, order=4, cutoff=cutoff, tolerance=tolerance)
    quartic = quartic_coupling(G, I4, sign=sign)
    if order == 4:
        return quartic
    I6 = vertex_integral(G.net, G.x, order=6, cutoff=cutoff, tolerance=tolerance)
    splits = tree_integral(G.net, G.x, cutoff=cutoff) if tree else None
    return sextic_coupling(G, I6, quartic=quartic, tree=splits, sign=sign)


def _mean_beta(coupling, exponent, data):
    """Mean over tuples of exponent times coupling -+ G_c / (n! I_n); errors of G_c, then bounds of I_n and the exponent."""
    values, order = coupling.pointwise, coupling.pointwise.order
    of_exponent, of_integral = (T.rank(values.index) for T in (exponent, coupling.integral))
    slope, integral = exponent.mean[of_exponent], coupling.integral.mean[of_integral]
    errors = data.errors.scale(slope / (len(values) * factorial(order) * integral)).through(np.ones((1, len(values))))
    relative = coupling.integral.stderr[of_integral] / abs(integral)
    bound = np.mean(abs(values.mean) * (abs(slope) * relative + exponent.stderr[of_exponent]))
    stderr = np.hypot(errors.stderr()[0], bound)
    return Estimate(np.mean(slope * values.mean), stderr, coupling.mean.n, coupling.mean.how)


def _nets(G, cutoff, sigma_w, width, order):
    """(name of the scale, scales ascending, correlators and cutoff at each)."""
    if sigma_w is not None and width is not None:
        raise ArgumentError("one flow changes one thing: give sigma_w or width")
    several = isinstance(G, Sequence) and not isinstance(G, Correlators)
    for g in G if several else [G]:
        if not isinstance(g, Correlators):
            raise ArgumentError(
                f"G must be Correlators, which know their net, or a list of them; got {type(g).__name__}"
            )
        if order not in g.orders:
            raise ArgumentError(f"order {order} is not at hand in {g!r}")
    if several or sigma_w is not None or width is not None:
        cutoff = number("cutoff (one for an active flow)", cutoff, above=0, infinite=True)
        if several and (sigma_w is not None or width is not None):
            raise ArgumentError("a list of correlators brings its own nets: leave out sigma_w and width")
        name, scale, sources = _from_list(G) if several else _made(G, sigma_w, width)
        rank = np.argsort(scale, kind="stable")
        if (np.diff(scale[rank]) == 0).any():
            raise ArgumentError(f"some nets have the same {name}: merge their correlators")
        return name, scale[rank], [sources[i] for i in rank], [cutoff] * len(scale)
    if isinstance(cutoff, Real) or getattr(cutoff, "ndim", 1) == 0:
        raise ShapeError(
            f"cutoff = {shown(cutoff)} is one point of a passive flow: give several cutoffs, sigma_w, width or nets"
        )
    cutoffs = read_cutoffs(cutoff)
    if (np.diff(cutoffs) <= 0).any():
        raise ArgumentError("cutoffs must increase strictly")
    return "cutoff", cutoffs, [G] * len(cutoffs), cutoffs


def _from_list(G):
    if len(G) < 2:
        raise ArgumentError(f"an active flow needs correlators of at least two nets, got {len(G)}")
    nets, first = [g.net for g in G], G[0]
    for g in G[1:]:
        if g.x.shape != first.x.shape or (g.x != first.x).any():
            raise ArgumentError("the correlators are at different points: an active flow compares nets at the same x")
    same = [_alike(net, first.net) for net in nets]
    sigma_w, widths = np.array([net.sigma_w for net in nets]), np.array([float(net.widths[0]) for net in nets])
    changes = {"sigma_w": np.ptp(sigma_w) > 0, "width": np.ptp(widths) > 0}
    if not all(same) or sum(changes.values()) != 1:
        what = ", ".join(name for name, there in changes.items() if there) or "nothing that is a scale"
        raise ArgumentError(
            f"nets of an active flow differ in sigma_w or width alone, these in {what if all(same) else 'their law'}"
        )
    return ("sigma_w", sigma_w, list(G)) if changes["sigma_w"] else ("width", widths, list(G))


def _alike(net, other):
    return replace(net, sigma_w=other.sigma_w, widths=other.widths) == other


def _made(G, sigma_w, width):
    name, values = ("sigma_w", sigma_w) if width is None else ("width", width)
    scale = positive_array(name, values, least=2)
    if name == "width":
        if (scale != np.rint(scale)).any():
            raise ArgumentError(f"widths are integers, got {shown(width)}")
        return name, scale, [G.at_width(int(n)) for n in scale]
    if not isinstance(G, ExactCorrelators):
        raise ArgumentError(
            "sigma_w takes exact correlators to other nets; for measured ones pass a list with one run for every net"
        )
    return name, scale, [exact_correlators(replace(G.net, sigma_w=float(s)), G.x, orders=G.orders) for s in scale]
