"""Fits of several couplings to the connected 4-point function, and what such a fit can know.

    G_c^(4) = -+ sum_k c_k T_k        (- in sign="action", + in sign="table")

    local0       24 int prod_4 K_W(x_i, y)                                             f^4
    local2       24 int |y|^2 prod_4 K_W(x_i, y)                                       |y|^2 f^4
    nonlocal22   8 sum_3 [int K_W(a, y) K_W(b, y)] [int K_W(c, z) K_W(d, z)]           f(y)^2 f(z)^2

The terms are nearly proportional to each other at close inputs, so a good fit need not know its coefficients: with unit
columns t_k, the collinearity 1 / |t_k - its projection on the others| says by how much relative errors grow on their way
from G to c_k. Halverson, Maiti and Stoner, arXiv:2008.08601, Table 5 (whose M2 and M3 are minimum-norm points).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf
from numbers import Real
from types import MappingProxyType

import numpy as np

from .._correlators import Correlators
from ..errors import ArgumentError, NNQFTWarning
from ..tensor import Estimate, SymmetricTensor
from ._couplings import check_sign
from ._data import distinct_inputs, integral_values, read_connected
from ._errors import Errors
from ._vertex import vertex_integral

__all__ = ["CouplingFit", "coupling_terms", "fit_couplings"]

MODELS = {"M0": (), "M1": ("local0",), "M2": ("local0", "local2"), "M3": ("local0", "local2", "nonlocal22")}
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
        """The fitted connected 4-point function, with the error of `covariance`.

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
            If terms are missing, or the fit has none.
        """
        if not self.names:
            raise ArgumentError("a fit without terms predicts 0 everywhere")
        terms = self.terms if terms is None else terms
        first = _named(terms, self.names[0])
        J = self._jacobian(terms, first)
        layout = {key: value for key, value in first._state().items() if key in ("order", "size", "index")}
        return SymmetricTensor(J @ self.values, self._errors.through(J).stderr(), n=self.n, how=self.how, **layout)

    def to_dict(self):
        """Plain `dict` of numbers, lists and names, ready for JSON (inf and nan stay); the terms are left out."""
        names = [f.name for f in fields(self) if f.name not in ("terms", "how", "_errors")]
        plain = {name: getattr(self, name) for name in names}
        plain = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in plain.items()}
        return plain | {"names": list(self.names), "how": dict(self.how)}

    def _jacobian(self, terms, tensor):
        """d G_c^(4) / d coefficient at the tuples of `tensor`: (tuples, terms)."""
        sign = -1.0 if self.sign == "action" else 1.0
        columns = [integral_values(_named(terms, name), tensor, name)[0] for name in self.names]
        return sign * np.column_stack(columns) if columns else np.zeros((len(tensor), 0))

    def __repr__(self):
        test = "" if self.mape_test is None else f", test {self.mape_test:.3g} %"
        rank = f"rank {self.rank} of {len(self.names)}, condition={self.condition:.3g}"
        lines = [f"CouplingFit(solver={self.solver!r}, sign={self.sign!r}, {rank}, MAPE {self.mape:.3g} %{test})"]
        for name, value, known in zip(self.names, self.values, self.identified, strict=True):
            lines.append(f"  {name}  {self[name]!r}" if known else f"  {name}  {value:.3g}  not identified")
        if self.inputs == 1:
            lines.append("  inputs degenerate: one random variable")
        return "\n".join(lines)


def coupling_terms(net, x, *, model="M3", cutoff=inf):
    """The terms of a model at given inputs, with their factors 24 and 8.

    Parameters
    ----------
    net : Network
        One hidden layer, one output.
    x : array, shape (n_points, dim_in), real
    model : {"M0", "M1", "M2", "M3"}
        "M1": local0; "M2": and local2; "M3": and nonlocal22.
    cutoff : float

    Returns
    -------
    dict {name: SymmetricTensor}
        Order 4; stderr is the bound of the quadrature error.

    Raises
    ------
    ArgumentError
        Unknown model, and whatever `vertex_integral` raises.

    Notes
    -----
    One `vertex_integral` per term; the formulas stand in the module header and in docs/couplings.md.

    Examples
    --------
    >>> from nnqft.networks import gauss_net
    >>> T = coupling_terms(gauss_net(100, dim_in=1), [[0.0]], model="M2")
    >>> [round(float(t.mean[0]), 6) for t in T.values()], (round(24 * (np.pi / 2) ** 0.5, 6), round(6 * (np.pi / 2) ** 0.5, 6))
    ([30.079539, 7.519885], (30.079539, 7.519885))
    """
    if model not in MODELS:
        raise ArgumentError(f"unknown model {model!r}; expected one of {', '.join(MODELS)}")
    return {name: _term(name, net, x, cutoff) for name in MODELS[model]}


def _term(name, net, x, cutoff):
    if name == "nonlocal22":
        return vertex_integral(net, x, order=4, cutoff=cutoff, pairs=True) * 8
    return vertex_integral(net, x, order=4, cutoff=cutoff, power=2 if name == "local2" else 0) * 24


def fit_couplings(
    G,
    terms="M1",
    *,
    cutoff=inf,
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
    cutoff : float
        For terms by name.
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
        Relative singular value below which a direction is left out. Default: 1e-3 for min_norm (a million steps);
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
        Unknown names; several outputs; values that are not finite; a term that vanishes everywhere.

    Warns
    -----
    NNQFTWarning
        A coefficient is not identified: the terms are collinear, or the solver leaves its direction out. The inputs are
        all one random variable (within 1e-3): then the tuples repeat one number, and no error of fit tests the model.

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
    if solver not in SOLVERS:
        raise ArgumentError(f"unknown solver {solver!r}; expected one of {', '.join(SOLVERS)}")
    for name, value in (("ridge", ridge), ("max_condition", max_condition), ("rcond", 1.0 if rcond is None else rcond)):
        if not (isinstance(value, Real) and 0 < value < inf):
            raise ArgumentError(f"{name} must be one positive finite number, got {value!r}")
    data = read_connected(G, 4, "G")
    terms, named = _terms(G, terms, cutoff)
    T, bounds = _matrix(terms, data.tensor, sign)
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
    values = A @ data.mean / scale
    identified = (collinearity <= max_condition) & (abs(excess).max(axis=1, initial=0.0) < _LEAK)
    bound = abs(A) @ (bounds @ abs(values))
    if solver == "ridge":  # its bias, with the fit for the truth
        bound = np.hypot(bound, excess @ (values * scale))
    errors = (data.errors.through(A) + Errors.of(np.zeros(len(values)), bound=bound)).scale(1 / scale)
    stderr = np.where(identified, errors.stderr(), inf)
    inputs = data.inputs
    if not isinstance(G, Correlators) and {distinct_inputs(t) for t in terms.values()} == {1}:
        inputs = distinct_inputs(data.tensor, noise=True)  # what noise alone tells apart is one input
    mape, mse = _misfit(data.mean, T @ values)
    mape_test, mse_test = (None, None) if test is None else _on_test(test, named, terms, values, sign, cutoff)
    with np.errstate(over="ignore"):
        noise = float(np.mean(data.errors.variance()))
    _warn(tuple(terms), identified, condition, rank, inputs, len(data.mean))
    return CouplingFit(
        names=tuple(terms), values=values, stderr=stderr, covariance=errors.covariance(), identified=identified,
        rank=rank, condition=condition, collinearity=collinearity, inputs=inputs, mape=mape, mse=mse, mape_test=mape_test,
        mse_test=mse_test, mse_noise=noise, solver=solver, sign=sign,
        terms=MappingProxyType(terms), n=data.tensor.n, how=data.tensor.how, _errors=errors,
    )  # fmt: skip


def _terms(G, terms, cutoff):
    """(terms as a dict, how they were named or None)."""
    named = terms
    if isinstance(terms, str):
        if terms not in MODELS:
            raise ArgumentError(f"unknown model {terms!r}; expected one of {', '.join(MODELS)}, or your own terms")
        names = MODELS[terms]
    elif isinstance(terms, tuple | list):
        names = tuple(terms)
        if any(name not in MODELS["M3"] or names.count(name) > 1 for name in names):
            raise ArgumentError(f"terms must be different ones of {', '.join(MODELS['M3'])}, got {names!r}")
    else:
        if not isinstance(terms, Mapping) or not all(isinstance(name, str) for name in terms):
            message = "terms must be a model, names of terms, or a mapping {name: SymmetricTensor}"
            raise ArgumentError(f"{message}, got {type(terms).__name__}")
        return dict(terms), None
    if names and not isinstance(G, Correlators):
        raise ArgumentError(
            f"terms {named!r} need the network: pass Correlators as G, or terms=coupling_terms(net, x, ...)"
        )
    return {name: _term(name, G.net, G.x, cutoff) for name in names}, named


def _named(terms, name):
    try:
        return terms[name]
    except (KeyError, TypeError):
        raise ArgumentError(f"terms must be a mapping that holds the fitted term {name!r}") from None


def _matrix(terms, tensor, sign):
    """Columns +-T_k at the tuples of `tensor`, and bounds of their quadrature errors."""
    columns = [integral_values(term, tensor, f"term {name!r}") for name, term in terms.items()]
    if not columns:
        return np.zeros((len(tensor), 0)), np.zeros((len(tensor), 0))
    T, bounds = (np.column_stack(part) for part in zip(*columns, strict=True))
    return (-T if sign == "action" else T), bounds


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
    test_terms, _ = _terms(G, test_terms, cutoff)
    T, _ = _matrix({name: _named(test_terms, name) for name in terms}, data.tensor, sign)
    return _misfit(data.mean, T @ values)


def _warn(names, identified, condition, rank, inputs, n_tuples):
    if not identified.all():
        which = ", ".join(name for name, known in zip(names, identified, strict=True) if not known)
        warnings.warn(
            f"not identified: {which} (rank {rank} of {len(names)}, condition {condition:.2g}): only combinations of these "
            "coefficients are known; use fewer terms or inputs that are further apart",
            NNQFTWarning, stacklevel=3,
        )  # fmt: skip
    if inputs == 1 and names:
        warnings.warn(
            f"the inputs are one random variable to 1e-3, so the {n_tuples} tuples repeat one number: the fit's errors say "
            "nothing about the model; use inputs that are further apart",
            NNQFTWarning, stacklevel=3,
        )  # fmt: skip
