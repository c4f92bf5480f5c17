"""Exact correlators of one hidden layer at any width.

    f(x) = b1 + sigma_w N^(-1/2) sum_j v_j h_j(x):   i.i.d. neurons, so their joint cumulants add,

    G_c^(n) = sigma_w^n N^(1 - n/2) kappa_n[v h(x_1), ..., v h(x_n)]   (+ kappa_n[b1]: sigma_b^2 at n = 2),

and everything follows from the moments M_n = E[h(x_1) ... h(x_n)] of ONE neuron. With normal v,
G_c^(4) = (sigma_w^4 / N) [3 M_4 - sum_3 M_2 M_2], G_c^(6) = (sigma_w^6 / N^2) [15 M_6 - 3 sum_15 M_4 M_2 + 2 sum_15 M_2 M_2 M_2].
Background: Halverson, Maiti and Stoner, arXiv:2008.08601; the recipes per activation stand in `_exact_closed`,
`_exact_cones` (relu) and `_exact_grid` (smooth activations).
"""

from collections import namedtuple
from itertools import combinations
from math import comb, factorial

import numpy as np

from . import _exact_closed as closed
from ._duals import dual
from ._exact_cones import cone_moments
from ._exact_grid import ACTIVATION_FUNCTIONS, hermite_moments, span, trapezoid_moments
from ._kernels import check_law, check_points
from ._packed import packed_index, packed_number, packed_rank, packed_size
from .errors import ArgumentError

__all__ = ["Moments", "exact_moments", "joint_cumulant", "neuron_moments"]

ORDERS = (2, 4, 6, 8)
_CHUNK = 1 << 15  # entries at a time: 127 blocks of 8 legs make 33 MB
_LARGEST = 1e150  # pre-activation of which the square is a double
NORMAL_MOMENTS = (1.0, 3.0, 15.0, 105.0)  # E v^2, E v^4, ... of a unit normal

Moments = namedtuple("Moments", ["full", "connected"])
Moments.__doc__ = "Packed full and connected n-point functions over the sorted multi-indices of fields."


def neuron_moments(net, x, order, method="auto"):
    """M_n(x_i1, ..., x_in) = E[h(x_i1) ... h(x_in)] of one hidden neuron.

    Parameters
    ----------
    net : object
        Law of the ensemble, with one hidden layer; attributes as for `nngp_kernel`.
    x : array, shape (n_points, dim_in), real
    order : {2, 4, 6, 8}
    method : str
        "auto", or one route: "kernel" (order 2), "closed" (gauss, exp, sin, cos, identity), "cones" (relu, leaky_relu),
        "hermite" (polynomial, identity), "grid" (smooth activations), "orthant" (erf, order <= 6).

    Returns
    -------
    array, shape (C(n_points + n - 1, n),), float64
        Packed over sorted multi-indices i1 <= ... <= in, lexicographic.

    Raises
    ------
    ShapeError, ArgumentError
        Bad inputs; odd order; deep networks; a route that does not exist or would take longer than about a minute.

    Notes
    -----
    Relative error 1e-11 or better (of the largest moment with the same points; relu and closed forms: of each moment).
    Points and bias span D dimensions. Cost: closed forms microseconds per entry, orthants 50 us (order 4) or 5 ms (order 6)
    per entry, relu and grids 0.1 s at D <= 2, 1 s at D = 3, 1-20 s at D = 4. Beyond, order 4 goes entry by entry (four
    points span D <= 4). Sources: module header.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> net = SimpleNamespace(dim_in=1, widths=(20,), activation="relu", activation_params=(), sigma_w=1.0, sigma_b=0.0)
    >>> neuron_moments(net, [[1.0], [2.0]], 4)
    array([ 1.5,  3. ,  6. , 12. , 24. ])
    """
    params = check_law(net)
    x = check_points(net, x)
    _check_order(order)
    if len(net.widths) != 1:
        raise ArgumentError(f"neuron moments exist for one hidden layer; {len(net.widths)} hidden layers came: neurons of deep "
                            "networks are correlated; use nnqft.ensemble.correlators")
    packed_size(len(x), order)
    if getattr(net, "phase", False):
        _check_method(method, ("closed",), "a cos-net")
        return closed.cos_net(net, x, packed_index(len(x), order))
    with np.errstate(over="ignore"):  # _moments looks for what overflows
        rows = np.column_stack([net.sigma_w / np.sqrt(net.dim_in) * x, np.full(len(x), float(net.sigma_b))])
    return _moments(net.activation, params, rows, int(order), method)


def exact_moments(net, x, orders):
    """Full and connected n-point functions of the network's fields at its width, exactly.

    Parameters
    ----------
    net : object
        As for `neuron_moments`, with dim_out and optionally output_weight_moments = (E v^2, E v^4, E v^6, E v^8) of the
        output weights in units of sigma_w / sqrt(width), default normal, and laws.output_bias, default normal.
    x : array, shape (n_points, dim_in), real
    orders : iterable of {2, 4, 6, 8}

    Returns
    -------
    dict {order: Moments(full, connected)}
        Packed arrays over the sorted multi-indices of fields, field = point * dim_out + out; units of the output ** order.

    Raises
    ------
    ShapeError, ArgumentError
        As for `neuron_moments`; also where the output weights lack a finite moment.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> net = SimpleNamespace(dim_in=1, widths=(20,), dim_out=1, activation="relu", activation_params=(), sigma_w=1.0, sigma_b=0.0)
    >>> exact_moments(net, [[1.0]], (2, 4))[4].connected
    array([0.1875])
    """
    orders = sorted({_check_order(n) for n in orders})
    if not orders:
        raise ArgumentError("orders is empty; give some of 2, 4, 6, 8")
    dim_out, width = int(net.dim_out), net.widths[-1]
    fields = len(check_points(net, x)) * dim_out
    weight_moments = _weight_moments(net, orders[-1])
    index = {n: packed_index(fields, n) for n in range(2, orders[-1] + 1, 2)}
    neuron = {n: _field_moments(neuron_moments(net, x, n), tuples, len(x), dim_out, weight_moments)
              for n, tuples in index.items()}

    connected, full = {}, {}
    with np.errstate(over="ignore", invalid="ignore"):
        for n, tuples in index.items():
            connected[n] = np.float64(net.sigma_w) ** n * float(width) ** (1 - n / 2) * joint_cumulant(neuron, tuples, fields)
            one_output = (tuples % dim_out == tuples[:, :1] % dim_out).all(axis=1)
            connected[n] += _bias_cumulant(net, n) * one_output
            full[n] = _sum_over_partitions(connected, tuples, fields, lambda blocks: 1)
    return {n: Moments(_finite(full[n], n), _finite(connected[n], n)) for n in orders}


def joint_cumulant(moments, index, m):
    """kappa(X_i1, ..., X_in) = sum over partitions into B blocks of (-1)^(B-1) (B-1)! prod E[block]; odd moments vanish.

    moments : dict {order: packed moments over m variables} for all even orders up to n; index : array (entries, n).
    """
    return _sum_over_partitions(moments, index, m, lambda blocks: (-1) ** (blocks - 1) * factorial(blocks - 1))


def _sum_over_partitions(parts, index, m, coefficient):
    """sum over partitions of the n positions into even blocks of coefficient(number of blocks) prod parts[block]."""
    n = index.shape[1]
    numbers = {size: packed_number(packed_index(m, size), m) for size in range(2, n + 1, 2)}
    partitions = _even_partitions(tuple(range(n)))
    out = np.empty(len(index))
    for start in range(0, len(index), _CHUNK):
        part, value = index[start:start + _CHUNK], {}
        for size in numbers:
            for block in combinations(range(n), size):
                value[block] = parts[size][np.searchsorted(numbers[size], packed_number(part[:, block], m))]
        out[start:start + _CHUNK] = sum(coefficient(len(blocks)) * np.prod([value[b] for b in blocks], axis=0)
                                        for blocks in partitions)
    return out


def _even_partitions(legs):
    """Partitions of `legs` into blocks of even size: 1, 4, 31, 379 of them for 2, 4, 6, 8 legs."""
    if not legs:
        return [()]
    return [((legs[0], *others), *rest)
            for size in range(1, len(legs), 2) for others in combinations(legs[1:], size)
            for rest in _even_partitions(tuple(k for k in legs[1:] if k not in others))]


def _field_moments(moments, index, m, dim_out, weight_moments):
    """E prod v_out h(point) over fields: the points' neuron moment times, for every output, E v^(times it occurs)."""
    factor = np.ones(len(index))
    for out in range(dim_out):
        count = (index % dim_out == out).sum(1)
        factor *= np.where(count % 2 == 0, weight_moments[count // 2], 0.0)
    return factor * moments[packed_rank(index // dim_out, m)]


def _weight_moments(net, highest):
    """(1, E v^2, E v^4, ...) up to the highest order needed."""
    given = getattr(net, "output_weight_moments", None)
    moments = np.asarray(NORMAL_MOMENTS if given is None else given, dtype=np.float64)
    needed = moments[:highest // 2] if moments.ndim == 1 else moments
    if moments.ndim != 1 or len(needed) < highest // 2 or not np.isfinite(needed).all() or (needed < 0).any():
        raise ArgumentError(f"order {highest} needs finite moments E v^2 ... E v^{highest} of the output weights; {moments} came "
                            "(Student-t weights have moments below nu only)")
    return np.concatenate([[1.0], needed])


def _bias_cumulant(net, n):
    """Joint cumulant of order n of one output's bias: sigma_b^2 at n = 2 and, if it is normal, nothing else."""
    laws = getattr(net, "laws", None)
    if net.sigma_b == 0 or laws is None or laws.output_bias.kind == "normal":
        return np.float64(net.sigma_b) ** 2 if n == 2 else 0.0
    value = np.float64(net.sigma_b) ** n * laws.output_bias.cumulants(n)[n]
    if not np.isfinite(value):
        raise ArgumentError(f"the output bias of law {laws.output_bias!r} has no moment of order {n}")
    return value


# ---- routes to the moments of one neuron ----

def _moments(activation, params, rows, order, method):
    """Packed moments for pre-activations z = rows.g. Each route says in an ArgumentError why it cannot go on."""
    largest = np.abs(rows).max(initial=0.0)
    if not largest < _LARGEST:
        raise ArgumentError(f"pre-activations of size {largest:.3g} overflow float64: use smaller sigma_w, sigma_b or inputs")
    a = span(rows)
    index = lambda: packed_index(len(a), order)
    slope = params[0] if activation == "leaky_relu" else 0.0
    coefficients = (0.0, 1.0) if activation == "identity" else params
    routes = {
        "kernel": lambda: _kernel_route(activation, params, rows, index()),
        "closed": lambda: _CLOSED[activation](rows, index()),
        "cones": lambda: _by_support(lambda b, share: cone_moments(b, order, slope, share=share), a, order),
        "hermite": lambda: _by_support(lambda b, share: hermite_moments(coefficients, b, order, share=share), a, order),
        "grid": lambda: _by_support(lambda b, share: trapezoid_moments(activation, b, order, share=share), a, order),
        "orthant": lambda: closed.orthant(rows, index()),
    }
    names = _route_names(activation, order, a.shape[1])
    _check_method(method, names, activation)
    reasons = []
    for name in names if method == "auto" else (method,):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return _finite(routes[name](), order)
        except ArgumentError as error:
            reasons.append(f"{name}: {error}")
    raise ArgumentError(f"no exact route to order {order} of {activation} at these {len(a)} points (rank {a.shape[1]}): "
                        + "; ".join(reasons) + ". Alternatives: fewer points or a lower order; "
                        'nnqft.ensemble.correlators(net, x, orders=..., n_nets=..., estimator="neuron") measures any network')


def _route_names(activation, order, rank):
    """Routes of an activation in the order of preference."""
    names = ("kernel",) if order == 2 else ()
    if activation in _CLOSED:
        names += ("closed",)
    if activation in ("relu", "leaky_relu"):
        names += ("cones",)
    if activation in ("polynomial", "identity"):
        names += ("hermite",)
    if activation == "erf":
        return names + (("orthant", "grid") if order == 4 or (order == 6 and rank > 3) else ("grid", "orthant"))
    return names + (("grid",) if activation in ACTIVATION_FUNCTIONS else ())


_CLOSED = {"gauss": closed.gauss_net, "exp": closed.exponential, "cos": closed.cosine, "sin": closed.sine,
           "identity": closed.identity}


def _kernel_route(activation, params, a, index):
    covariance, (i, j) = a @ a.T, index.T
    return dual(activation, params, covariance[i, i], covariance[i, j], covariance[j, j])


def _by_support(route, a, order):
    """All points at once, or, in more dimensions than `order`, every choice of `order` points on its own: cost explodes
    with the rank, and an entry sees at most `order` points."""
    m, rank = a.shape
    if rank <= order:
        return route(a, 1)
    out, index, share = np.empty(packed_size(m, order)), packed_index(order, order), comb(m, order)
    try:
        for points in combinations(range(m), order):
            points = np.array(points)
            out[packed_rank(points[index], m)] = route(span(a[points]), share)
        return out
    except ArgumentError:
        return route(a, 1)


def _finite(values, order):
    if not np.isfinite(values).all():
        raise ArgumentError(f"a moment of order {order} overflows float64: use smaller sigma_w, sigma_b or inputs")
    return values


def _check_order(order):
    if isinstance(order, (bool, np.bool_)) or order not in ORDERS:
        raise ArgumentError(f"order {order!r} is not one of {ORDERS}: odd correlators vanish, higher ones are not implemented")
    return int(order)


def _check_method(method, names, subject):
    if method != "auto" and method not in names:
        raise ArgumentError(f"method {method!r} does not exist for {subject} at this order; "
                            f'use "auto" or one of {", ".join(names)}')
