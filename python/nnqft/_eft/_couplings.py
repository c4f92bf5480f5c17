"""Quartic and sextic couplings, tuple by tuple, from connected functions and vertex integrals.

    S = S_GP + int d^d y [lambda f(y)^4 + kappa f(y)^6]                     (no 1/4!, 1/6!; positive kurtosis: lambda < 0)

    G_c^(4) = -24 lambda I_4 - 360 kappa I_4,loop           I_n = int prod_i K_W(x_i, y) d^d y,  loop: times K_W(y, y)
    G_c^(6) = -720 kappa I_6 + (24 lambda)^2 T              T = sum over 10 splits  int int KKK(y) K_W(y, z) KKK(z)

with all attachments of 4 legs counted, 24, and of 6, 720; 360 of the ways leave two legs of f^6 for a loop. In 1/width:
lambda ~ 1, kappa, loop and tree ~ 2. Halverson, Maiti and Stoner, arXiv:2008.08601 (without the tree).
"""

from dataclasses import dataclass, field
from math import inf, nan

import numpy as np

from .._checks import number
from .._correlators import Correlators
from ..errors import ArgumentError
from ..tensor import Estimate, SymmetricTensor, provenance
from ._data import (
    FOUR,
    LOOP,
    SIX,
    TREE,
    Data,
    as_tensor,
    check_sign,
    finite,
    integral_values,
    known,
    nonzero,
    read_connected,
    read_integral,
    same_action,
)
from ._errors import Errors
from ._tree import tree_integral
from ._vertex import vertex_integral

__all__ = [
    "Coupling",
    "SexticCoupling",
    "check_sign",
    "quartic_coupling",
    "read_quartic",
    "sextic_coupling",
]


@dataclass(frozen=True, eq=False, repr=False)
class Coupling:
    """A coupling measured at every tuple of inputs. Made by `quartic_coupling` and `sextic_coupling`.

    Attributes
    ----------
    mean : Estimate
        Average over the unique tuples; its error includes correlations between tuples.
    pointwise : SymmetricTensor
        The coupling that each tuple says.
    spread : float
        Standard deviation of the tuples' values over |mean|; nan for one tuple. A constant coupling has 0.
    noise : float
        The spread that the errors alone would make.
    sign : {"action", "table"}
        Convention, as asked for.
    inputs : int or None
        Distinct inputs: with 1, all tuples say the same thing and a small `spread` means nothing.
    integral : SymmetricTensor
        The vertex integral it was divided by.
    """

    mean: Estimate
    pointwise: SymmetricTensor
    spread: float
    noise: float
    sign: str
    inputs: int | None
    integral: SymmetricTensor
    _errors: Errors = field(default=None)

    @property
    def stderr(self):
        """Standard error of the mean."""
        return self.mean.stderr

    def __float__(self):
        return self.mean.mean

    def to_dict(self):
        """Plain `dict` of numbers and lists, ready for JSON (nan stays); the integral is left out."""
        plain = {"mean": self.mean.to_dict(), "pointwise": self.pointwise.to_dict()}
        return plain | {name: getattr(self, name) for name in ("spread", "noise", "sign", "inputs")}

    def _parts(self):
        symbol = "lambda" if self.pointwise.order == 4 else "kappa"
        parts = [f"{symbol}={self.mean!r}", f"sign={self.sign!r}", f"tuples={len(self.pointwise)}"]
        if self.spread == self.spread:
            parts.append(f"spread={self.spread:.2g}, noise={self.noise:.2g}")
        if self.inputs == 1:
            parts.append("inputs degenerate: one random variable")
        return parts

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(self._parts())})"


@dataclass(frozen=True, eq=False, repr=False)
class SexticCoupling(Coupling):
    """A sextic coupling: with the tree term in it if `tree` is not None.

    Attributes
    ----------
    tree : SymmetricTensor or None
        The tree integral T that was used.
    without_tree : Coupling
        kappa from G_c^(6) alone: what one finds for an action whose lambda is set to 0 at second order.
    loop : SymmetricTensor or None
        What kappa contributes to G_c^(4): -+ 360 kappa I_4,loop, of order 1/width^2.
    quartic_shift : Coupling or None
        15 kappa I_4,loop / I_4: the share of this loop in a lambda = -+ G_c^(4) / (24 I_4), in the sign of kappa.
    """

    tree: SymmetricTensor | None = None
    without_tree: Coupling | None = None
    loop: SymmetricTensor | None = None
    quartic_shift: Coupling | None = None

    def _parts(self):
        return super()._parts() + [f"tree {'subtracted' if self.tree is not None else 'not subtracted'}"]


def quartic_coupling(G, integral=None, *, cutoff=None, sign="action"):
    """The quartic coupling lambda at every tuple of inputs, its mean and its spread.

    sign="action": lambda_m = -G_c^(4) / (24 I_4), the coefficient in exp(-int lambda f^4); sign="table": +G_c^(4) / (24 I_4),
    the positive number that the paper's Table 5 lists.

    Parameters
    ----------
    G : Correlators, SymmetricTensor or Estimate
        Correlators of a network with one output, or its connected 4-point function in units of f^4 (for one hidden
        layer that is G^(4) - G_GP^(4)), or that of one tuple.
    integral : SymmetricTensor, optional
        I_4 = vertex_integral(net, x, order=4, cutoff=cutoff); its stderr is taken as a bound of the quadrature error,
        and without one the integral counts as exact.
        Default: computed, if G is Correlators.
    cutoff : float, optional
        Of the integral that is computed here: the box [-cutoff, cutoff]^d. Default: all of space.
    sign : {"action", "table"}

    Returns
    -------
    Coupling
        `.mean`, `.pointwise`, `.spread`, `.noise`; in units of 1 / (f^4 volume).

    Raises
    ------
    ShapeError
        If order or number of points differ.
    ArgumentError
        Unknown sign; several outputs; values that are not finite; coincident points; an integral that vanishes, or that says
        (in `how`) that it is another one, or of another cutoff, or belongs to other points; overflow.
    DivergenceError
        If the integral has no limit (erf and relu without a cutoff).

    Notes
    -----
    Errors: Correlators carry a jackknife over replicas, so that correlations between tuples count; the entries of a
    SymmetricTensor are taken as independent, which they are not if they come from the same networks: prefer Correlators.
    Quadrature bounds are added in quadrature, with equal signs for all tuples. Cost O(tuples * replicas).
    Halverson, Maiti and Stoner, arXiv:2008.08601; the 24 counts the contractions of 4 legs with f^4.

    Examples
    --------
    For this relu-net every tuple says lambda = -0.625 (20 / width) / cutoff^5: I_4 = cutoff^5 x1 x2 x3 x4 / 80.

    >>> from nnqft.ensemble import exact_correlators
    >>> from nnqft.networks import relu_net
    >>> G = exact_correlators(relu_net(20, dim_in=1), [[1.0], [2.0]])
    >>> I4 = nnqft.tensor.SymmetricTensor(np.array([1.0, 2.0, 4.0, 8.0, 16.0]) / 80, 0, order=4, size=2)   # cutoff 1
    >>> coupling = nnqft.eft.quartic_coupling(G, I4)
    >>> print(f"{coupling.mean.mean:.6f} +- {coupling.stderr}, spread {coupling.spread:.0e}, {coupling.inputs} distinct input")
    -0.625000 +- 0.0, spread 0e+00, 1 distinct input
    """
    check_sign(sign)
    data = read_connected(G, 4, "G")
    integral = _integral(G, integral, cutoff, FOUR)
    same_action(G=data.tensor, integral=integral)
    return _coupling(data, data.mean, data.errors, integral, FOUR, sign)


def sextic_coupling(G, integral=None, *, quartic=None, tree=None, loop=None, cutoff=None, sign="action"):
    """The sextic coupling kappa at every tuple of inputs, with and without the tree of two quartic vertices.

    sign="action": kappa_m = -(G_c^(6) - (24 lambda)^2 T) / (720 I_6), the coefficient in exp(-int kappa f^6);
    sign="table": the same number with the opposite sign.

    Parameters
    ----------
    G : Correlators, SymmetricTensor or Estimate
        With the connected 6-point function, in units of f^6.
    integral : SymmetricTensor, optional
        I_6 = vertex_integral(net, x, order=6, cutoff=cutoff). Default: computed if G is Correlators, and then `quartic`,
        `tree` and `loop`, too, as far as they are not given.
    quartic : Coupling or Estimate, optional
        lambda, of either sign.
    tree : SymmetricTensor, optional
        T = tree_integral(net, x, cutoff=cutoff), order 6; needs `quartic`. Without it kappa absorbs the tree: it
        reproduces the same G_c^(6), but it is the coupling of another scheme, and no constant.
    loop : SymmetricTensor, optional
        I_4,loop = vertex_integral(net, x, order=4, loops=1, cutoff=cutoff), for `.loop` and `.quartic_shift`.
    cutoff : float, optional
        Of the integrals that are computed here. Default: infinite.
    sign : {"action", "table"}

    Returns
    -------
    SexticCoupling
        A `Coupling` with `.without_tree`, `.tree`, `.loop` and `.quartic_shift`.

    Raises
    ------
    ShapeError, ArgumentError, DivergenceError
        As for `quartic_coupling`; a tree without lambda; integrals of different cutoffs.

    Notes
    -----
    kappa and lambda^2 are both of order 1/width^2, so neither can be left out in an action that holds at this order. The
    loop of kappa changes G_c^(4) at order 1/width^2 only; a lambda from the whole G_c^(4) contains it, and
    lambda - quartic_shift is the bare coupling. Errors to first order, with the correlation of G_c^(6) and lambda if both
    come from the same networks; otherwise as for `quartic_coupling`. The tree: second-order perturbation theory,
    (1/2) lambda^2 times 20 * 24 * 24 contractions. Cost that of its integrals: milliseconds where they are closed forms, some
    20 s for the tree of a general kernel in two dimensions (pass tree=tree_integral(..., tolerance=...) for less).
    Halverson, Maiti and Stoner, arXiv:2008.08601, where the tree is missing.

    Examples
    --------
    >>> from nnqft.ensemble import exact_correlators
    >>> from nnqft.networks import relu_net
    >>> G = exact_correlators(relu_net(20, dim_in=1), [[1.0]], orders=(2, 4, 6))
    >>> I6, T = (nnqft.tensor.SymmetricTensor([v], 0, order=6, size=1) for v in (1 / 448, 10 / 3200))       # cutoff 1
    >>> kappa = nnqft.eft.sextic_coupling(G, I6, quartic=nnqft.tensor.Estimate(-0.625, 0), tree=T)
    >>> print(f"{kappa.mean.mean:.4f} with, {kappa.without_tree.mean.mean:.4f} without the tree")
    0.3092 with, -0.1283 without the tree
    """
    check_sign(sign)
    data = read_connected(G, 6, "G")
    if integral is None and isinstance(G, Correlators):
        quartic, tree, loop = _complete(G, quartic, tree, loop, cutoff)
    integral = _integral(G, integral, cutoff, SIX)
    same_action(G=data.tensor, integral=integral, tree=tree, loop=loop, quartic=getattr(quartic, "integral", None))
    mean, errors = data.mean, data.errors
    alone = _coupling(data, mean, errors, integral, SIX, sign)
    if tree is not None:
        if quartic is None:
            raise ArgumentError("the tree term needs lambda: pass quartic=quartic_coupling(...)")
        splits, of_splits = tree_term(*read_quartic(quartic), tree, data.tensor)
        mean, errors = mean - splits, errors + of_splits.scale(-1.0)
    result = _coupling(data, mean, errors, integral, SIX, sign)
    of_loop = shift = None
    if loop is not None:
        of_loop, shift = _loop(result, loop, quartic, data)
    return SexticCoupling(**vars(result), tree=tree, without_tree=alone, loop=of_loop, quartic_shift=shift)


def tree_term(strength, of_strength, tree, tensor):
    """(24 lambda)^2 T at the 6-tuples of `tensor`, and its errors."""
    splits, bounds = integral_values(tree, tensor, "tree", TREE)
    with np.errstate(over="ignore", invalid="ignore"):
        weight = 24 * strength
        term = weight * splits * weight
        slope = 48 * (weight * splits)
        errors = of_strength.through(slope[:, None]).with_bound(abs(weight) * bounds * abs(weight))
        finite("the tree term (24 lambda)^2 T", term, errors.stderr())
    return term, errors


def _loop(kappa, loop, quartic, data):
    """-+ 360 kappa I_4,loop, and the lambda that it alone would mean."""
    loop = read_integral(loop, "loop", 4, data.tensor.size, LOOP)
    values, bounds = integral_values(loop, loop, "loop")
    with np.errstate(over="ignore", invalid="ignore"):
        weight = check_sign(kappa.sign) * 360 * values
        mean = kappa.mean.mean * weight
        errors = kappa._errors.through(weight[:, None]).with_bound(360 * abs(kappa.mean.mean) * bounds)
        finite("360 kappa I_4,loop", mean, errors.stderr())
    share = SymmetricTensor(
        mean, errors.stderr(), order=4, size=loop.size, n=data.tensor.n, how=provenance(data.tensor.how)
    )
    if not isinstance(quartic, Coupling):
        return share, None
    return share, _coupling(Data(share, errors, data.inputs), mean, errors, quartic.integral, FOUR, kappa.sign)


def _complete(G, quartic, tree, loop, cutoff):
    """What `sextic_coupling` can compute itself for the network of G."""
    cutoff = inf if cutoff is None else cutoff
    quartic = quartic_coupling(G, cutoff=cutoff) if quartic is None else quartic
    tree = tree_integral(G.net, G.x, cutoff=cutoff) if tree is None else tree
    loop = vertex_integral(G.net, G.x, order=4, cutoff=cutoff, loops=1) if loop is None else loop
    return quartic, tree, loop


def _integral(G, integral, cutoff, expected):
    if integral is not None:
        integral = as_tensor(integral, expected.order)
        cutoff = None if cutoff is None else number("cutoff", cutoff, above=0, infinite=True)
        if cutoff is not None and cutoff != getattr(integral, "how", {}).get("cutoff"):
            raise ArgumentError(f"cutoff = {cutoff!r} is not known to be that of the integral given: leave it out")
        return integral
    if not isinstance(G, Correlators):
        raise ArgumentError(f"integral is missing: pass {expected.call}")
    return vertex_integral(G.net, G.x, order=expected.order, cutoff=inf if cutoff is None else cutoff)


def _coupling(data, mean, errors, integral, expected, sign):
    """+- mean / (count * integral), tuple by tuple: the coupling whose vertex makes all of `mean`."""
    values, bounds = integral_values(integral, data.tensor, "integral", expected)
    divisor = nonzero(values, data.tensor, expected.name)
    n, count = len(mean), check_sign(sign) * expected.count
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = mean / divisor / count
        errors = errors.over(divisor).over(count).with_bound(abs(ratio) * (bounds / abs(divisor)))
        average, of_mean = ratio.mean(), errors.through(np.full((1, n), 1 / n))
        finite("the coupling", [*ratio, average], [*errors.stderr(), *of_mean.stderr()])
    finite("the coupling", ratio, 0.0, source=mean)
    scale = abs(average) if average and n > 1 else nan
    of_all, of_one = errors.over(scale), of_mean.over(scale)
    # Mean square of (v_m - mean) that the covariance makes: mean variance less the variance of the mean.
    with np.errstate(over="ignore", invalid="ignore"):
        expected_square = np.mean(of_all.variance() - of_all.bound**2) - of_one.variance()[0] + of_one.bound[0] ** 2
    how = (
        provenance(data.tensor.how)
        | {"kind": "coupling"}
        | {k: integral.how[k] for k in ("cutoff",) if k in integral.how}
    )
    pointwise = data.tensor._with(ratio, errors.stderr(), data.tensor.n, how)
    return Coupling(
        mean=Estimate(average, of_mean.stderr()[0], pointwise.n, pointwise.how),
        pointwise=pointwise,
        spread=float((ratio / scale).std()),
        noise=float(np.sqrt(np.maximum(expected_square, 0))),
        sign=sign,
        inputs=data.inputs,
        integral=integral,
        _errors=of_mean,
    )


def read_quartic(quartic):
    """(lambda, its errors) of a `Coupling` or an `Estimate`."""
    if isinstance(quartic, Coupling) and quartic.pointwise.order == 4:
        return quartic.mean.mean, quartic._errors
    if isinstance(quartic, Estimate):
        return known(quartic, "quartic").mean, Errors.shared(quartic.stderr)
    raise ArgumentError(
        f"quartic must be a Coupling from quartic_coupling or an Estimate, got {type(quartic).__name__}"
    )
