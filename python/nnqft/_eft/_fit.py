"""Fits of several couplings to the connected 4-point function, and what such a fit can know.

    G_c^(4) = -+ sum_k c_k T_k        (- in sign="action", + in sign="table"; T_k: `_terms`)

The terms are nearly proportional to each other at close inputs, so a good fit need not know its coefficients: with unit
columns t_k, the collinearity 1 / |t_k - its projection on the others| says by how much relative errors grow on their way
from G to c_k. Halverson, Maiti and Stoner, arXiv:2008.08601, Table 5 (whose M2 and M3 are minimum-norm points).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from types import MappingProxyType

import numpy as np

from .._checks import choice, number
from .._correlators import Correlators
from ..errors import ArgumentError, NNQFTWarning
from ..tensor import Estimate, provenance
from ._data import as_tensor, check_sign, distinct_inputs, finite, read_connected, same_action, same_cutoff, same_points
from ._errors import Errors
from ._terms import called, named, read_terms, term_matrix

__all__ = ["CouplingFit", "fit_couplings"]

SOLVERS = ("lstsq", "min_norm", "ridge")
_GRADIENT_STEPS = 1e-3  # default rcond of min_norm: a million steps of gradient descent
_MAX_CONDITION = 1e3
_LEAK = 1e-3  # of the other terms' signal into a coefficient that still counts as identified


@dataclass(frozen=True, eq=False, repr=False)
class CouplingFit:
    """What `fit_couplings` returns. `fit["local0"]` is the `Estimate` of one coefficient.

    Attributes
    ----------
    names : tuple of str
    values : array, shape (terms,)
        In units of f^4 / term.
    stderr : array, shape (terms,)
        Standard errors; inf for a coefficient that is not identified.
    covariance : array, shape (terms, terms)
        Of `values` as functions of the data. Where the solver leaves directions out, or the terms are collinear, it
        says how the printed numbers scatter, not where the couplings of the action may lie.
    identified : array of bool, shape (terms,)
    rank : int
        Directions of coupling space that the solver used.
    condition : float
        Largest over smallest singular value of the terms as unit columns.
    collinearity : array, shape (terms,)
        1 / distance of each unit column from the span of the others.
    inputs : int or None
        Distinct inputs that data and terms show; with 1 the tuples are copies of one number.
    mape, mse : float
        Mean |G - fit| / |G| in percent, and mean (G - fit)^2 in units of f^8, over the unique tuples fitted.
    mape_test, mse_test : float or None
        The same on the test set.
    mse_noise : float
        Mean squared standard error of the data: an `mse` far below it means that the tuples are correlated.
    solver, sign : str
    terms : mapping {name: SymmetricTensor}
    n, how
        Number of networks behind the data, and how they were measured.
    """

    names: tuple
    values: np.ndarray
    stderr: np.ndarray
    covariance: np.ndarray
    identified: np.ndarray
    rank: int
    condition: float
    collinearity: np.ndarray
    inputs: int | None
    mape: float
    mse: float
    mape_test: float | None
    mse_test: float | None
    mse_noise: float
    solver: str
    sign: str
    terms: dict
    n: int | None = None
    how: object = field(default_factory=dict)
    _errors: Errors = field(default=None)

    def __getitem__(self, name):
        if name not in self.names:
            raise ArgumentError(f"no term {name!r} in this fit; it has {', '.join(self.names) or 'none'}")
        k = self.names.index(name)
        return Estimate(self.values[k], self.stderr[k], self.n, self.how)

    def predict(self, terms=None):
        """The fitted connected 4-point function, with the errors of `covariance` and of the terms' quadrature.

        Parameters
        ----------
        terms : mapping {name: SymmetricTensor}, optional
            The same terms at other points. Default: those fitted.

        Returns
        -------
        SymmetricTensor
            In units of f^4.

        Raises
        ------
        ArgumentError
            If terms are missing, or the fit has none; terms that say that they are others, or of another cutoff.
        """
        if not self.names:
            raise ArgumentError("a fit without terms predicts 0 everywhere")
        terms = self.terms if terms is None else terms
        terms = {name: named(terms, name) for name in self.names}
        same_cutoff(**called(self.terms, "fitted "), **called(terms))
        same_points(**called(terms))
        first = as_tensor(terms[self.names[0]], 4)
        J, bounds = term_matrix(terms, first, self.sign)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, errors = J @ self.values, self._errors.through(J).with_bound(bounds @ abs(self.values))
            stderr = errors.stderr()
        finite("the prediction", mean, stderr)
        return first._with(mean, stderr, self.n, provenance(first.how) | dict(self.how))

    def to_dict(self):
        """Plain `dict` of numbers, lists and names, ready for JSON (inf and nan stay); the terms are left out."""
        names = [f.name for f in fields(self) if f.name not in ("terms", "how", "_errors")]
        plain = {name: getattr(self, name) for name in names}
        plain = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in plain.items()}
        return plain | {"names": list(self.names), "how": dict(self.how)}

    def __repr__(self):
        test = "" if self.mape_test is None else f", test {self.mape_test:.3g} %"
        rank = f"rank {self.rank} of {len(self.names)}, condition={self.condition:.3g}"
        lines = [f"CouplingFit(solver={self.solver!r}, sign={self.sign!r}, {rank}, MAPE {self.mape:.3g} %{test})"]
        for name, value, known in zip(self.names, self.values, self.identified, strict=True):
            lines.append(f"  {name}  {self[name]!r}" if known else f"  {name}  {value:.3g}  not identified")
        if self.inputs == 1 and self.names:
            lines.append("  inputs degenerate: one random variable")
        return "\n".join(lines)


def fit_couplings(
    G,
    terms="M1",
    *,
    cutoff=None,
    solver="lstsq",
    sign="action",
    test=None,
    ridge=1e-6,
    rcond=None,
    max_condition=_MAX_CONDITION,
):
    """Fit couplings to the connected 4-point function, and say which of them the data can know.

    Parameters
    ----------
    G : Correlators, SymmetricTensor or Estimate
        As for `quartic_coupling`.
    terms : str, sequence of str, or mapping {name: SymmetricTensor}
        "M0" ... "M3" or names of terms, which needs G as Correlators (else see `coupling_terms`); or terms of your own with
        all their factors.
        Their stderr is a bound of the quadrature error; a term without one counts as exact.
    cutoff : float, optional
        For terms by name. Default: infinite.
    solver : {"lstsq", "min_norm", "ridge"}
        lstsq: least squares over the unique tuples, on unit columns. min_norm: the shortest vector of coefficients, in
        their own units, among those that fit equally well, with singular values below rcond * largest left out. Gradient
        descent on the mean squared error from 0 goes there: after n steps it has moved along directions with singular
        values above about 1/sqrt(n) of the largest only. ridge: least squares plus `ridge` * |c_k|^2 on unit columns.
    sign : {"action", "table"}
        G = -+ sum_k c_k T_k.
    test : Correlators, or pair (G, terms), optional
        Data to predict with the fit; Correlators alone if `terms` are names.
    ridge : float
        Penalty on unit columns (dimensionless), > 0. It pulls coefficients to 0 by about ridge * collinearity^2; this
        bias is part of their errors.
    rcond : float, optional
        Between 0 and 1: relative singular value below which a direction is left out. Default: 1e-3 for min_norm (a million steps);
        otherwise rounding or, if larger, the quadrature errors of the terms.
    max_condition : float
        Coefficients whose collinearity exceeds it are not identified.

    Returns
    -------
    CouplingFit

    Raises
    ------
    ShapeError
        Terms over other points or of another order.
    ArgumentError
        Unknown names; several outputs; values that are not finite; a term that vanishes everywhere; terms of different
        cutoffs or points, or that have the name of another one; a cutoff beside terms; overflow.

    Warns
    -----
    NNQFTWarning
        A coefficient is not identified: the terms are collinear, or the solver leaves its direction out. The inputs are
        all one random variable (within 1e-3): then the tuples repeat one number, and no error of fit tests the model. Or
        that cannot be seen, because data and terms are lists of tuples, or of more than 45 points.

    Notes
    -----
    A coefficient is identified if its collinearity is at most `max_condition`, the solver keeps its direction, and
    less than 1e-3 of the other terms' signal leaks into it. Errors: those of G go through the linear map, correlations
    included for Correlators; entries of a SymmetricTensor are taken as independent. Quadrature bounds of the terms and
    the ridge's bias are added in quadrature. Model error is not: watch `mape`. Cost O(tuples * terms^2 + replicas * tuples).
    Halverson, Maiti and Stoner, arXiv:2008.08601, Table 5, which lists sign="table" and percent.

    Examples
    --------
    >>> G = nnqft.tensor.SymmetricTensor([1.0, 2.0, 4.1, 8.0, 16.0], 0.1, order=4, size=2)
    >>> even = nnqft.tensor.SymmetricTensor([1.0, 2.0, 4.0, 8.0, 16.0], 0, order=4, size=2)
    >>> odd = nnqft.tensor.SymmetricTensor([1.0, 0.0, 0.0, 0.0, -1.0], 0, order=4, size=2)
    >>> fit_couplings(G, {"even": even, "odd": odd}, sign="table")
    CouplingFit(solver='lstsq', sign='table', rank 2 of 2, condition=1.92, MAPE 0.84 %)
      even  1.002(7)
      odd  0.01(9)
    """
    check_sign(sign)
    choice("solver", solver, SOLVERS)
    ridge, max_condition = (
        number(name, value, above=0) for name, value in (("ridge", ridge), ("max_condition", max_condition))
    )
    rcond = None if rcond is None else number("rcond", rcond, above=0, below=1)
    data = read_connected(G, 4, "G")
    terms, asked = read_terms(G, terms, cutoff)
    same_action(G=data.tensor, **called(terms))
    T, bounds = term_matrix(terms, data.tensor, sign)
    largest = abs(T).max(axis=0)
    scale = largest * np.linalg.norm(T / np.where(largest > 0, largest, 1), axis=0)  # no underflow
    if not np.isfinite(scale).all():
        raise ArgumentError("a term overflows float64: rescale it")
    if not scale.all():
        raise ArgumentError(
            f"term {list(terms)[int(np.argmin(scale))]!r} is 0 at every tuple: its coefficient cannot be fitted"
        )
    A, rank, condition, collinearity = _solve(T, scale, bounds, solver, ridge, rcond)
    excess = A @ (T / scale) - np.eye(len(scale))  # 0 for an unbiased solver
    with np.errstate(over="ignore", invalid="ignore"):
        signal = A @ data.mean
        values = signal / scale
        bound = abs(A) @ (bounds @ abs(values))
        if solver == "ridge":  # its bias, with the fit for the truth
            bound = np.hypot(bound, excess @ (values * scale))
        errors = data.errors.through(A).with_bound(bound).over(scale)
        stderr = errors.stderr()
        finite("a coefficient", values, stderr, source=signal)
        mape, mse = _misfit(data.mean, T @ values)
        noise = float(np.mean(data.errors.variance()))
    identified = (collinearity <= max_condition) & (abs(excess).max(axis=1, initial=0.0) < _LEAK)
    stderr = np.where(identified, stderr, inf)
    inputs = _inputs(G, data, terms.values())
    mape_test, mse_test = (None, None) if test is None else _on_test(test, asked, terms, values, sign, cutoff)
    _warn(tuple(terms), identified, condition, rank, inputs, len(data.mean))
    return CouplingFit(
        names=tuple(terms), values=values, stderr=stderr, covariance=errors.covariance(), identified=identified,
        rank=rank, condition=condition, collinearity=collinearity, inputs=inputs, mape=mape, mse=mse, mape_test=mape_test,
        mse_test=mse_test, mse_noise=noise, solver=solver, sign=sign,
        terms=MappingProxyType(terms), n=data.tensor.n, how=data.tensor.how, _errors=errors,
    )  # fmt: skip


def _inputs(G, data, terms):
    """Distinct inputs that data and terms show."""
    seen = {distinct_inputs(as_tensor(term, 4)) for term in terms} - {None}
    if data.inputs is None:
        return max(seen, default=None)
    if seen == {1} and not isinstance(G, Correlators):
        return distinct_inputs(data.tensor, noise=True)  # what noise alone tells apart is one input
    return data.inputs


def _solve(T, scale, bounds, solver, ridge, rcond):
    """(map from data to coefficients of unit columns, rank, condition, collinearity)."""
    n = T.shape[1]
    if n == 0:
        return T.T, 0, 1.0, np.zeros(0)
    u, s, vt = np.linalg.svd(T / scale, full_matrices=False)
    rounding = np.finfo(float).eps * max(T.shape)
    if len(s) < n:  # fewer tuples than terms
        collinearity, condition = np.full(n, inf), inf
    else:
        condition = s[0] / s[-1] if s[-1] else inf
        collinearity = np.linalg.norm(vt.T / np.maximum(s, rounding * s[0]), axis=1)
    if solver == "ridge":
        A = vt.T @ ((s / (s**2 + ridge))[:, None] * u.T)
        return A, int(np.count_nonzero(s**2 > ridge)), float(condition), collinearity
    units = np.ones(n)
    if solver == "min_norm":
        u, s, vt = np.linalg.svd(T, full_matrices=False)
        cut, units = _GRADIENT_STEPS if rcond is None else rcond, scale
    else:
        cut = max(rounding, np.linalg.norm(bounds / scale)) if rcond is None else rcond
    keep = s > cut * s[0]
    A = units[:, None] * vt[keep].T @ (u[:, keep] / s[keep]).T
    return A, int(np.count_nonzero(keep)), float(condition), collinearity


def _misfit(G, fit):
    """(MAPE in percent, MSE)."""
    d = G - fit
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(d == 0, 0.0, abs(d / G))
        return float(100 * ratio.mean()), float(np.mean(d * d))


def _on_test(test, model, terms, values, sign, cutoff):
    if isinstance(test, Correlators) and model is not None:
        test = test, model
    if not (isinstance(test, tuple | list) and len(test) == 2):
        raise ArgumentError("test must be a pair (G, terms), or Correlators if the terms were given by name")
    G, test_terms = test
    data = read_connected(G, 4, "G of the test set")
    test_terms, _ = read_terms(G, test_terms, None if isinstance(test_terms, Mapping) else cutoff)
    test_terms = {name: named(test_terms, name) for name in terms}
    same_points(**{"G of the test set": data.tensor}, **called(test_terms))
    same_cutoff(**called(terms), **called(test_terms, "test "))
    T, _ = term_matrix(test_terms, data.tensor, sign)
    return _misfit(data.mean, T @ values)


def _warn(names, identified, condition, rank, inputs, n_tuples):
    if not identified.all():
        which = ", ".join(name for name, known in zip(names, identified, strict=True) if not known)
        warnings.warn(
            f"not identified: {which} (rank {rank} of {len(names)}, condition {condition:.2g}): only combinations of these "
            "coefficients are known; use fewer terms or inputs that are further apart",
            NNQFTWarning, stacklevel=3,
        )  # fmt: skip
    if not names or n_tuples == 1:
        return
    if inputs == 1:
        warnings.warn(
            f"the inputs are one random variable to 1e-3, so the {n_tuples} tuples repeat one number: the fit's errors say "
            "nothing about the model; use inputs that are further apart",
            NNQFTWarning, stacklevel=3,
        )  # fmt: skip
    if inputs is None:
        warnings.warn(
            "how many inputs differ cannot be seen from lists of tuples, or from more than 45 points: if it is one, the fit's "
            "errors say nothing about the model; pass Correlators, or a term with all tuples",
            NNQFTWarning, stacklevel=3,
        )  # fmt: skip
