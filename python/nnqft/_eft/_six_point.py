"""The 6-point function that couplings predict, term by term, in powers of 1/width.

    G^(6) =  sum_15 K K K                             free        width^0
          -  24 lambda sum_15 I_4 K                   quartic     width^-1     spectator K: the full kernel, output bias included
          -  720 kappa I_6                            sextic      width^-2
          +  (24 lambda)^2 T                          tree        width^-2
          -  360 kappa sum_15 I_4,loop K              loop        width^-2     only for a bare lambda, see below
          +  O(width^-3)

A lambda from the whole G_c^(4) contains the loop of kappa (and those of lambda^2) already: adding `loop` would count it
twice. For one hidden layer the quartic term is the identity  sum_15 G_c^(4) K, so it tests that lambda is one constant, and
nothing else. Halverson, Maiti and Stoner, arXiv:2008.08601.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from types import SimpleNamespace

import numpy as np

from .. import _core
from .._checks import integer, real_array
from .._correlators import Correlators
from ..errors import ArgumentError, ShapeError
from ..tensor import Estimate, SymmetricTensor, points_note
from ._couplings import Coupling, read_quartic, tree_term
from ._data import (
    FOUR,
    LOOP,
    SIX,
    as_tensor,
    check_sign,
    distinct_inputs,
    finite,
    integral_values,
    kernel_inputs,
    known,
    read_integral,
    same_cutoff,
    same_points,
)
from ._errors import Errors
from ._fit import CouplingFit
from ._terms import check_term

__all__ = ["SixPoint", "predict_six_point"]

POWERS = {"free": 0, "quartic": 1, "sextic": 2, "tree": 2, "loop": 2}


@dataclass(frozen=True, eq=False, repr=False)
class SixPoint:
    """A 6-point function by terms. Made by `predict_six_point`.

    Attributes
    ----------
    terms : dict {name: SymmetricTensor}
        "free", "quartic", and as far as asked for "sextic", "tree", "loop", in units of f^6.
    powers : dict {name: int}
        The power of 1/width that each term is of.
    complete : int
        The highest power of 1/width of which no term is missing.
    inputs : int or None
        Distinct inputs: with 1, all tuples say the same thing, and a ratio of 1 everywhere tests one number.
    """

    terms: dict
    powers: dict
    complete: int
    inputs: int | None = None
    _errors: dict = field(default_factory=dict)

    @property
    def total(self):
        """Sum of all terms, with their correlations."""
        return self.up_to(2)

    def up_to(self, power):
        """Sum of the terms up to width^-power.

        Parameters
        ----------
        power : {0, 1, 2}

        Returns
        -------
        SymmetricTensor
            In units of f^6.

        Raises
        ------
        ArgumentError
            For another power.
        """
        mean, errors = self._sum(power)
        return self.terms["free"]._like(mean, errors.stderr(), self.terms.get("quartic"))

    def ratio(self, G, power=2):
        """The prediction up to width^-power over a 6-point function.

        Parameters
        ----------
        G : Correlators or SymmetricTensor
            The full 6-point function.
        power : {0, 1, 2}

        Returns
        -------
        SymmetricTensor
            1 where the prediction is right; nan where G is 0. Errors of both, taken as independent: those of a
            prediction and a measurement on the same networks partly cancel.
        """
        if isinstance(G, Correlators):
            G = G.full(6)
        mean, errors = self._sum(power)
        values, stderr = _at(G, self.terms["free"], "G")
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(values == 0, np.nan, mean / values)
            error = np.hypot(errors.stderr() / values, ratio * stderr / values)
        return self.terms["free"]._like(ratio, abs(error), G)

    def _sum(self, power):
        power = integer("power", power, 0, 2)
        names = [name for name in self.terms if self.powers[name] <= power]
        errors = self._errors["free"]
        for name in names[1:]:
            errors = errors + self._errors[name]
        return sum(self.terms[name].mean for name in names), errors

    def __repr__(self):
        total = self.total.mean
        degenerate = ", inputs degenerate: one random variable" if self.inputs == 1 and len(total) > 1 else ""
        lines = [f"SixPoint({len(total)} tuples, complete to 1/width^{self.complete}{degenerate})"]
        for name, term in self.terms.items():
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.nanmean(np.where(total == 0, np.nan, term.mean / total)) if total.any() else np.nan
            lines.append(f"  {name:8s} 1/width^{self.powers[name]}  mean share {share:.4g}")
        return "\n".join(lines)


def predict_six_point(
    quartic, kernel, *, terms=None, sextic=None, sextic_integral=None, tree=None, loop=None, sign="action"
):
    """G^(6) from couplings, ordered by powers of 1/width, with the errors of the couplings.

    Parameters
    ----------
    quartic : Coupling, CouplingFit, Estimate or None
        lambda, or fitted couplings with their covariance, with the sign they carry; an Estimate has the sign `sign`.
        None: the free theory.
    kernel : array, shape (points, points), or Correlators
        The full 2-point function K = nngp(net, x), output bias included.
    terms : SymmetricTensor or mapping {name: SymmetricTensor}, optional
        I_4 = vertex_integral(net, x, order=4, ...), or for a fit coupling_terms(net, x, ...), at the points of `kernel`.
        Default: what the coupling was measured with.
    sextic : SexticCoupling, Coupling or Estimate, optional
        kappa. A SexticCoupling with a tree brings its tree term along; a Coupling without one has absorbed the tree.
    sextic_integral, tree : SymmetricTensor, optional
        I_6 and T at the points of `kernel`. Default: what kappa was measured with. A tree needs a single lambda.
    loop : SymmetricTensor, optional
        I_4,loop, only if `quartic` is a bare coupling: a lambda from the whole G_c^(4) contains this term.
    sign : {"action", "table"}
        Of couplings given as Estimate.

    Returns
    -------
    SixPoint
        `.terms`, `.powers`, `.up_to(power)`, `.total`, `.ratio(G)`.

    Raises
    ------
    ShapeError
        Points or orders that do not fit.
    ArgumentError
        Missing integrals, or integrals of other kinds, points or cutoffs, as far as they say so; a tree without a single
        lambda, or with a kappa that has absorbed it; values that are not finite; several outputs; overflow.

    Notes
    -----
    Errors to first order in those of the couplings; the terms share them, so their correlations count (also that of lambda
    and kappa, if both were measured on the same networks). Errors of K and model errors (omitted orders, lambda not
    constant) are not included. Cost 15 lookups per 6-tuple. arXiv:2008.08601, with the full K as spectator.

    Examples
    --------
    The paper's relu-net of width 20: 54 % of G^(6) without couplings, 94 % with lambda.

    >>> x = np.array([1.0, 2.0])
    >>> I4 = nnqft.tensor.SymmetricTensor(np.array([1.0, 2.0, 4.0, 8.0, 16.0]) / 80, 0, order=4, size=2)     # cutoff 1
    >>> prediction = predict_six_point(nnqft.tensor.Estimate(-0.625, 0), np.outer(x, x) / 2, terms=I4)
    >>> exact = nnqft.tensor.SymmetricTensor(3.4875 * 2.0 ** np.arange(7), 0, order=6, size=2)
    >>> [round(float(prediction.ratio(exact, power).mean[0]), 6) for power in (0, 1)]
    [0.537634, 0.94086]
    """
    check_sign(sign)
    K = _kernel(kernel)
    terms = _own(quartic, "terms", "integral") if terms is None else terms
    if sextic is not None:
        kappa, of_kappa, factor = _sextic(sextic, sign)
        sextic_integral = _own(sextic, "integral") if sextic_integral is None else sextic_integral
        if isinstance(sextic, Coupling) and tree is not None and _own(sextic, "tree") is None:
            raise ArgumentError(
                "kappa was measured without the tree, so it makes the tree's share of G_c^(6) already: leave out tree, or "
                "use sextic_coupling(..., tree=...)"
            )
        tree = _own(sextic, "tree") if tree is None else tree
    _check_notes(kernel, quartic, sextic, terms, sextic_integral, tree, loop)
    with np.errstate(over="ignore", invalid="ignore"):
        free = SymmetricTensor(_core.pairing_sums(K[None], 6, None)[0], 0.0, order=6, size=len(K))
        made = {"free": (free.mean, Errors.of(np.zeros(len(free))))}
        strength = None
        if quartic is not None:
            made["quartic"], strength = _quartic(quartic, terms, K, sign)
        if sextic is not None:
            if sextic_integral is None:
                raise ArgumentError(f"sextic_integral is missing: pass {SIX.call}")
            I6, bounds = integral_values(sextic_integral, free, "sextic_integral", SIX)
            made["sextic"] = _linear(720 * factor * I6, kappa, of_kappa, 720 * bounds)
        if tree is not None:
            if strength is None:
                raise ArgumentError(
                    "the tree term needs a single lambda: quartic as a Coupling, an Estimate or a fit of local0 alone"
                )
            made["tree"] = tree_term(*strength, tree, free)
        if loop is not None:
            if sextic is None:
                raise ArgumentError("the loop term needs kappa: pass sextic=...")
            spread, bounds = _spectators(loop, K, "loop", LOOP)
            made["loop"] = _linear(360 * factor * spread, kappa, of_kappa, 360 * bounds)
        for name, (mean, errors) in made.items():
            finite(f"the {name} term of G^(6)", mean, errors.stderr())
    measured = quartic.pointwise if isinstance(quartic, Coupling) else None
    tensors = {name: free._like(mean, errors.stderr(), measured) for name, (mean, errors) in made.items()}
    complete = 2 if {"quartic", "sextic", "tree"} <= set(made) else 1 if "quartic" in made else 0
    result = SixPoint(
        tensors,
        {name: POWERS[name] for name in made},
        complete,
        _inputs(kernel, K, terms),
        {name: errors for name, (_, errors) in made.items()},
    )
    with np.errstate(over="ignore", invalid="ignore"):
        mean, errors = result._sum(2)
        finite("G^(6)", mean, errors.stderr())
    return result


def _own(coupling, *names):
    """What a coupling was measured with."""
    return next((getattr(coupling, name) for name in names if hasattr(coupling, name)), None)


def _listed(terms, name):
    """Named tensors of one tensor or a mapping of them."""
    if isinstance(terms, Mapping):
        return {f"{name}[{key!r}]": term for key, term in terms.items()}
    return {name: terms}


def _check_notes(kernel, quartic, sextic, terms, sextic_integral, tree, loop):
    """Points are those of the kernel, cutoffs those that the couplings were measured with."""
    here = {**_listed(terms, "terms"), "sextic_integral": sextic_integral, "tree": tree, "loop": loop}
    at = SimpleNamespace(how={"points": points_note(kernel.x)} if isinstance(kernel, Correlators) else {})
    same_points(kernel=at, **here)
    measured = (
        _listed(_own(quartic, "terms", "integral"), "quartic")
        if not isinstance(quartic, Estimate)
        else {"quartic": quartic}
    )
    same_cutoff(**measured, sextic=sextic if isinstance(sextic, Estimate) else _own(sextic, "integral"), **here)


def _inputs(kernel, K, terms):
    """Distinct inputs: of Correlators by their kernel, else as the quartic terms show, or without them K."""
    if isinstance(kernel, Correlators):
        return kernel_inputs(kernel)
    terms = [as_tensor(term, 4) for term in _listed(terms, "terms").values() if term is not None]
    terms = terms or [SymmetricTensor(K[np.triu_indices(len(K))], 0.0, order=2, size=len(K))]
    return max((n for n in map(distinct_inputs, terms) if n is not None), default=None)


def _linear(weight, value, errors, bounds):
    """weight * value, tuple by tuple, and its errors; `bounds` of the weight's quadrature errors."""
    return weight * value, errors.through(weight[:, None]).with_bound(abs(value) * bounds)


def _kernel(kernel):
    if isinstance(kernel, Correlators):
        if kernel.net.dim_out != 1:
            raise ArgumentError(f"couplings of one output are known, this network has dim_out = {kernel.net.dim_out}")
        if kernel.net.depth != 1:
            raise ArgumentError(
                f"the 2-point function of {kernel.net.depth} hidden layers is not the kernel at finite width: pass it as an array"
            )
        kernel = kernel._kernel
    K = real_array("kernel", kernel, ndim=2, finite=False)
    if K.shape[0] != K.shape[1] or not len(K):
        raise ShapeError(f"kernel has shape {K.shape}; expected (points, points)")
    K = np.ascontiguousarray(K)
    if not np.isfinite(K).all() or abs(K - K.T).max() > 1e-12 * abs(K).max():
        raise ArgumentError(
            "kernel must be finite and symmetric: the 2-point function nngp(net, x), output bias included"
        )
    return K


def _quartic(quartic, terms, K, sign):
    """((term, its errors), (lambda, its errors) or None): sum_15 G_c^(4) K for the fitted G_c^(4)."""
    if not isinstance(quartic, CouplingFit):
        value, errors = read_quartic(quartic)
        if terms is None:
            raise ArgumentError(f"terms is missing: pass I_4 = {FOUR.call} at the points of kernel")
        sums, bounds = _spectators(terms, K, "terms", FOUR)
        factor = 24 * check_sign(getattr(quartic, "sign", sign))
        return _linear(factor * sums, value, errors, 24 * bounds), (value, errors)
    missing = [name for name in quartic.names if isinstance(terms, SymmetricTensor) or name not in terms]
    if missing:
        raise ArgumentError(
            f"terms must be a mapping with {', '.join(missing)}: coupling_terms(net, x, ...) at the points of kernel"
        )
    factor = check_sign(quartic.sign)
    columns = []
    for name in quartic.names:
        columns.append(_spectators(terms[name], K, f"term {name!r}"))
        check_term(terms[name], name)
    if not columns:
        zero = np.zeros(len(_core.multiset_index(len(K), 6)))
        return (zero, Errors.of(zero)), None
    J, bounds = (np.column_stack(part) for part in zip(*columns, strict=True))
    errors = quartic._errors.through(factor * J).with_bound(bounds @ abs(quartic.values))
    # local0 = 24 I_4: its coefficient is lambda.
    strength = (quartic.values[0], quartic._errors) if quartic.names == ("local0",) else None
    return (factor * J @ quartic.values, errors), strength


def _sextic(sextic, sign):
    """(kappa, its errors, sign of its term)."""
    if isinstance(sextic, Coupling) and sextic.pointwise.order == 6:
        return sextic.mean.mean, sextic._errors, check_sign(sextic.sign)
    if isinstance(sextic, Estimate):
        return known(sextic, "sextic").mean, Errors.shared(sextic.stderr), check_sign(sign)
    raise ArgumentError(f"sextic must be a Coupling from sextic_coupling or an Estimate, got {type(sextic).__name__}")


def _spectators(four, K, name, expected=None):
    """sum over the 15 pairs (a, b) of six legs of four(other legs) K(a, b), and of its bounds."""
    m = len(K)
    four = read_integral(four, name, 4, m, expected)
    _, bounds = integral_values(four, four, name)
    index = _core.multiset_index(m, 6)
    sums, errors = np.zeros(len(index)), np.zeros(len(index))
    for pair in combinations(range(6), 2):
        rest = [leg for leg in range(6) if leg not in pair]
        at = four.rank(np.ascontiguousarray(index[:, rest]))
        k = K[index[:, pair[0]], index[:, pair[1]]]
        sums += four.mean[at] * k
        errors += bounds[at] * abs(k)
    return sums, errors


def _at(G, tensor, name):
    """Values and errors of a 6-point tensor at the tuples of `tensor`."""
    if not isinstance(G, SymmetricTensor) or (G.order, G.size) != (6, tensor.size):
        raise ShapeError(f"{name} must be a SymmetricTensor of order 6 over {tensor.size} points")
    if G.how.get("kind", "full") != "full":
        raise ArgumentError(f"{name} is of kind {G.how['kind']!r}; the full 6-point function is expected: full(6)")
    at = slice(None) if G._same_layout(tensor) else G.rank(tensor.index)
    return G.mean[at], G.stderr[at]
