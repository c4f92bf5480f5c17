"""`evaluate_diagrams`: what diagrams are worth, vertices integrated over quadrature nodes.

A diagram is a product of pieces, and each piece a sum over the nodes of its vertices,

    T_{I J ..} = sum_{y,y',..} w_y w_y' ..  prod_{i in I} K(x_i, y)  prod_{j in J} K(x_j, y') ..  prod K(y, y')^e ..

I, J, .. being the external points that hang on each vertex. Pieces are computed once for all multi-indices that occur
and looked up for every diagram.
"""

from collections import Counter
from collections.abc import Mapping
from math import comb, factorial, prod
from numbers import Number, Real

import numpy as np

from .. import _core
from ..errors import ArgumentError, ShapeError
from ..tensor import SymmetricTensor
from ._classes import Diagram
from ._pieces import Pieces, Propagators, checked, scaled
from ._theory import parse_vertex, show

DROPS = ("vacuum", "self_energy")
MAX_INDICES = 2**26


def evaluate_diagrams(
    diagrams, *, K_xx, K_xy=None, K_yy=None, weights=None, couplings=None, index=None, N=1,
    drop=("vacuum", "self_energy"), sign="action", divide_by="nothing", max_work=1e12,
):  # fmt: skip
    """Sum of diagrams, with every vertex integrated over quadrature nodes.

    For the weight exp(-S_free - sum_d g_d int dy f(y)^d), expanded in the couplings, a diagram with V vertices is worth

        (-1)^V / prod_d V_d!  x  prod g  x  pairings  x  N^index_loops  x  sum_{nodes} prod w  prod K(end, end)

    with V_d equal vertices of each kind.

    Parameters
    ----------
    diagrams : sequence of Diagram
        From `diagrams`; orders may be mixed: diagrams(4, []) + diagrams(4, [4]) is free theory plus first order.
    K_xx : array, shape (m, m)
        Propagator among the m external points. With several fields a mapping {(a, b): array}, entry [i, j] being
        <a(x_i) b(x_j)>; this holds for the next two as well.
    K_xy : array, shape (m, P), optional
        Between external points and the P nodes. In a mapping the first field is the one at x.
    K_yy : array, shape (P, P) or (P,), optional
        Among nodes; the diagonal alone is enough where no line joins different vertices.
    weights : array, shape (P,), optional
        Quadrature weights of int dy.
    couplings : mapping, optional
        {4: lambda, 6: kappa}, or {vertex: g} with the vertex written as for `diagrams`. Default: 1 each. A numpy
        array of shape (P,) is a coupling that depends on the position.
    index : integer array, shape (B, n_ext), optional
        External points of each row. Default: all sorted multi-indices over the m points.
    N : number
        Range of the indices. Open indices are taken equal.
    drop : sequence of {"vacuum", "self_energy"}
        Classes to leave out; see Notes. `()` keeps everything.
    sign : {"action", "weight"}
        "action": S contains + g f^d, each vertex counts -g. "weight": the weight contains exp(+g f^d).
    divide_by : {"nothing", "factorials"}
        "factorials": vertices are g f^d / d! (in general g over the symmetry of the vertex); then the number in front
        is 1 / symmetry_factor.
    max_work : float
        Largest number of multiply-adds of one sum over nodes.

    Returns
    -------
    SymmetricTensor, array (B,) or float
        Without `index`: the tensor over all sorted multi-indices (a number for n_ext = 0), exact in the sense of
        `.stderr` = 0. With `index`: one number per row. Units of the product of propagators, couplings and weights.

    Raises
    ------
    ShapeError
        If an array's shape or dtype does not fit: float64, or complex128 with `index`.
    ArgumentError
        If a propagator, coupling or the weights are missing, not finite or not symmetric; if the diagrams differ in
        their external legs, or without `index` are not symmetric under their exchange; if a causal propagator does
        not vanish at equal points, a delta line closes on itself, or a sum would take too long.

    Notes
    -----
    What to drop is a statement about K. Vacuum pieces cancel against the normalisation Z, order by order: drop them
    for correlators, keep them for moments of the unnormalised weight. If K is the exact or measured two-point function it holds
    all its corrections already: drop "self_energy". If K is the propagator of S_free alone (the kernel at infinite
    width), keep them.

    Cost: one vertex with k external legs costs P C(m+k-1, k) multiply-adds, with `index`, complex or several fields
    P C(m+k/2-1, k/2)^2; two with k <= l legs cost P^2 C(m+k-1, k), more are eliminated one at a time, cheapest first;
    each piece is computed once for all diagrams that share it. All four-point functions of 20 inputs in f^4: to first
    order on 10,000 nodes 20 ms, to second order on 1000 nodes 0.1 s. Rounding errors are below (legs + P) ulp of the
    same sum over absolute values. Halverson et al., arXiv:2008.08601, section 3; symmetry factors as in Peskin and
    Schroeder, section 4.4.

    Examples
    --------
    First-order four-point function of lambda f^4 on two nodes, -24 lambda sum_y w_y prod K(x_i, y):

    >>> from nnqft.wick import diagrams
    >>> K_xx, K_xy = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> G = evaluate_diagrams(diagrams(4, [4]), K_xx=K_xx, K_xy=K_xy, K_yy=np.ones(2), weights=np.array([0.5, 0.5]),
    ...                       couplings={4: 0.01})
    >>> G[0, 0, 0, 0].mean, -24 * 0.01 * (0.5 * 1.0**4 + 0.5 * 0.5**4)
    (-0.1275, -0.1275)
    """
    diagrams = list(diagrams)
    external = _common_legs(diagrams)
    kept = [d for d in diagrams if not any(getattr(d, name) for name in _drops(drop))]
    if sign not in ("action", "weight") or divide_by not in ("nothing", "factorials"):
        raise ArgumentError(
            f'sign is "action" or "weight" and divide_by "nothing" or "factorials", got {sign!r} and {divide_by!r}'
        )
    if not isinstance(N, Number) or not np.isfinite(N):
        raise ArgumentError(f"N must be a finite number, the range of the indices; got {N!r}")
    if not isinstance(max_work, Real) or not max_work > 0:
        raise ArgumentError(f"max_work must be a positive number of multiply-adds, got {max_work!r}")
    fields = {leg.field for d in diagrams for edge in d.edges for leg in edge.legs}
    propagators = Propagators(K_xx, K_xy, K_yy, weights, fields)
    if index is None:
        _check_exchange(kept, external)
    rows = _rows(index, propagators.m, len(external))
    couplings = _couplings(couplings, kept, propagators.n_nodes)
    pieces = Pieces(propagators, couplings, rows, max_work)
    plan = [(_number(d, couplings, N, sign, divide_by), [pieces.add(d, piece) for piece in d.components]) for d in kept]
    by_lines = {}  # scaled propagators: diagrams with n lines lack the factor 2 ** (n * exponent)
    for d, (number, parts) in zip(kept, plan, strict=True):
        n = sum(edge.multiplicity for edge in d.edges if edge.kind != "delta")
        value = prod((pieces.value(part) for part in parts), start=number)
        by_lines[n] = by_lines.get(n, 0.0) + value
    total = np.zeros(len(rows))
    for n, value in by_lines.items():
        total = total + scaled(value, n * propagators.exponent)
    if index is not None:
        return total
    if np.iscomplexobj(total):
        raise ShapeError("complex diagrams do not fit into a SymmetricTensor: pass index=")
    if not external:
        return float(total[0])
    return SymmetricTensor(total, 0.0, order=len(external), size=propagators.m, how={"estimator": "diagrams"})


def _common_legs(diagrams):
    for d in diagrams:
        if not isinstance(d, Diagram):
            raise ArgumentError(f"expected diagrams as `diagrams` returns them, got {type(d).__name__}")
    if not diagrams:
        raise ArgumentError("there are no diagrams to evaluate: an odd number of legs has none")
    for d in diagrams:
        if d.external != diagrams[0].external:
            raise ArgumentError(f"diagrams differ in their external legs: {diagrams[0].external} and {d.external}")
    return diagrams[0].external


def _drops(drop):
    names = () if drop is None else (drop,) if isinstance(drop, str) else tuple(drop)
    for name in names:
        if name not in DROPS:
            raise ArgumentError(f"drop names classes among {DROPS}, got {name!r}")
    return names


def _check_exchange(diagrams, external):
    """A packed tensor holds one order of its indices: the sum must not depend on it."""
    letters = Counter(letter for leg in external for letter in leg.indices if not letter.isdigit())
    kinds = {(leg.field, tuple("" if i in letters else i for i in leg.indices)) for leg in external}
    if len(kinds) > 1 or (len(external) > 2 and any(n > 1 for n in letters.values())):
        raise ArgumentError(
            f"the external legs {external} cannot be exchanged: pass index=, one row per choice of points"
        )
    labelled = {}
    for d in diagrams:
        labelled.setdefault((d.vertices, d.topology, d.labellings), Counter())[d.text] += 1
    for (_, topology, expected), texts in labelled.items():
        if len(texts) != expected or len(set(texts.values())) > 1:
            raise ArgumentError(
                f"{len(texts)} of the {expected} labellings of {topology} are there: their sum depends on the order of "
                "the external points; pass index=, one row per choice of points"
            )


def _rows(index, m, n_ext):
    if index is None:
        if comb(m + n_ext - 1, n_ext) * n_ext > MAX_INDICES:
            raise ArgumentError(f"{comb(m + n_ext - 1, n_ext)} multi-indices are too many: pass some of them as index=")
        return _core.multiset_index(m, n_ext) if n_ext else np.zeros((1, 0), dtype=np.int32)
    index = np.asarray(index)
    if index.ndim != 2 or index.shape[1] != n_ext or index.dtype.kind not in "iu":
        raise ShapeError(f"index has dtype {index.dtype} and shape {index.shape}; expected integers (B, {n_ext})")
    if index.size and not (0 <= index.min() and index.max() < m):
        raise ArgumentError(f"index runs from {index.min()} to {index.max()}; there are {m} external points")
    return index.astype(np.intp)


def _couplings(given, diagrams, n_nodes):
    """{vertex: number or array (P,)}."""
    needed = {vertex for d in diagrams for vertex in d.vertices}
    if given is None:
        return dict.fromkeys(needed, 1.0)
    if not isinstance(given, Mapping):
        raise ArgumentError(f"couplings must map vertices to numbers, as in {{4: 0.1}}, got {type(given).__name__}")
    result = {}
    for key, g in given.items():
        vertex = parse_vertex(key)
        if isinstance(g, np.ndarray) and g.ndim:
            result[vertex] = checked(g, (n_nodes,), f"the coupling of {key}")
            if len({p for leg in vertex for p in leg.points}) > 1:
                raise ArgumentError(f"the vertex {key} has several points: its coupling must be one number")
        elif isinstance(g, Number | np.ndarray) and np.isfinite(g):
            result[vertex] = g.item() if isinstance(g, np.ndarray | np.generic) else g
        else:
            raise ArgumentError(f"the coupling of {key} must be a finite number or an array (P,), got {g!r}")
    for vertex in needed - result.keys():
        raise ArgumentError(f"couplings has no entry for the vertex {show(vertex)}")
    return result


def _number(d, couplings, N, sign, divide_by):
    """What stands in front of the sums over nodes."""
    repeats = prod(factorial(n) for n in Counter(d.vertices).values())
    number = 1 / d.symmetry_factor if divide_by == "factorials" else d.pairings / repeats
    for vertex in d.vertices:
        if not isinstance(couplings[vertex], np.ndarray):
            number *= couplings[vertex]
    return number * (-1 if sign == "action" else 1) ** d.order * N**d.index_loops
