"""The terms of models for the connected 4-point function: G_c^(4) = -+ sum_k c_k T_k.

local0       24 int prod_4 K_W(x_i, y)                                             f^4
local2       24 int |y|^2 prod_4 K_W(x_i, y)                                       |y|^2 f^4
nonlocal22   8 sum_3 [int K_W(a, y) K_W(b, y)] [int K_W(c, z) K_W(d, z)]           f(y)^2 f(z)^2
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf

import numpy as np

from .._checks import choice
from .._correlators import Correlators
from ..errors import ArgumentError
from ..tensor import SymmetricTensor
from ._data import FOUR, check_integral, check_sign, integral_values
from ._vertex import vertex_integral

__all__ = ["called", "check_term", "coupling_terms", "named", "read_terms", "term_matrix"]

MODELS = {"M0": (), "M1": ("local0",), "M2": ("local0", "local2"), "M3": ("local0", "local2", "nonlocal22")}
_POWERS = {"local0": 0, "local2": 2, "nonlocal22": 0}  # of |y|
_FACTORS = {"local0": 24, "local2": 24, "nonlocal22": 8}
_TERMS = {
    name: replace(
        FOUR,
        name=name,
        notes=FOUR.notes + (("power", _POWERS[name]), ("pairs", name == "nonlocal22")),
        call=f"coupling_terms(net, x)[{name!r}]",
    )
    for name in _POWERS
}


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
    choice("model", model, MODELS)
    return {name: _term(name, net, x, cutoff) for name in MODELS[model]}


def _term(name, net, x, cutoff):
    pairs = name == "nonlocal22"
    return vertex_integral(net, x, order=4, cutoff=cutoff, power=_POWERS[name], pairs=pairs) * _FACTORS[name]


def read_terms(G, terms, cutoff):
    """(terms as a dict, how they were asked for by name or None)."""
    asked = terms
    if isinstance(terms, str):
        names = MODELS[choice("terms", terms, MODELS)]
    elif isinstance(terms, tuple | list):
        names = tuple(terms)
        if any(not isinstance(name, str) or name not in MODELS["M3"] or names.count(name) > 1 for name in names):
            raise ArgumentError(f"terms must be different ones of {', '.join(MODELS['M3'])}, got {names!r}")
    else:
        if not isinstance(terms, Mapping) or not all(isinstance(name, str) for name in terms):
            message = "terms must be a model, names of terms, or a mapping {name: SymmetricTensor}"
            raise ArgumentError(f"{message}, got {type(terms).__name__}")
        if cutoff is not None:
            raise ArgumentError(f"cutoff = {cutoff!r} belongs to terms by name, but terms were given: leave it out")
        return dict(terms), None
    if names and not isinstance(G, Correlators):
        raise ArgumentError(
            f"terms {asked!r} need the network: pass Correlators as G, or terms=coupling_terms(net, x, ...)"
        )
    return {name: _term(name, G.net, G.x, inf if cutoff is None else cutoff) for name in names}, asked


def named(terms, name):
    """The term of this name."""
    try:
        return terms[name]
    except (KeyError, TypeError):
        raise ArgumentError(f"terms must be a mapping that holds the fitted term {name!r}") from None


def called(terms, which=""):
    """Terms by the names that messages give them."""
    return {f"{which}term {name!r}": term for name, term in terms.items()}


def check_term(term, name):
    """Refuse a tensor under the name of a term that it says it is not."""
    if name in _TERMS and isinstance(term, SymmetricTensor):
        check_integral(term, f"term {name!r}", _TERMS[name], factor=_FACTORS[name])


def term_matrix(terms, tensor, sign):
    """Columns +-T_k = d G_c^(4) / d c_k at the tuples of `tensor`, and bounds of their quadrature errors."""
    columns = []
    for name, term in terms.items():
        columns.append(integral_values(term, tensor, f"term {name!r}"))
        check_term(term, name)
    if not columns:
        return np.zeros((len(tensor), 0)), np.zeros((len(tensor), 0))
    T, bounds = (np.column_stack(part) for part in zip(*columns, strict=True))
    return check_sign(sign) * T, bounds
