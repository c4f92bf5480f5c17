"""What the functions of `nnqft.eft` accept: connected functions with their errors, and the integrals they are divided by.

Tensors say in `how` what they are ("kind", "power", "loops", "pairs", "factor"), of which "points" and, for integrals, which
"cutoff". What is said must fit; tensors made by hand say nothing and are taken as they are.
"""

from dataclasses import dataclass
from math import isfinite, isinf
from numbers import Real

import numpy as np

from .._checks import choice, number
from .._correlators import Correlators, ExactCorrelators
from .._jackknife import replicates
from ..errors import ArgumentError, ShapeError
from ..tensor import Estimate, SymmetricTensor
from ._errors import Errors

__all__ = [
    "FOUR", "LOOP", "SIX", "TREE", "Data", "Expected", "as_tensor", "check_integral", "check_sign", "distinct_inputs", "finite",
    "kernel_inputs", "integral_values", "known", "nonzero", "read_connected", "read_integral", "same_action",
    "same_cutoff", "same_points",
]  # fmt: skip

_DISTINCT = 1e-3  # inputs closer than this to being one random variable count as one
_MOST_DENSE = 1 << 22


# ---- conventions


def check_sign(sign):
    """s in G_c^(4) = s 24 lambda I_4, G_c^(6) = s 720 kappa I_6: -1 for sign="action", couplings of exp(-S); +1 for "table"."""
    return -1.0 if choice("sign", sign, ("action", "table")) == "action" else 1.0


@dataclass(frozen=True)
class Expected:
    """An integral of the diagrams: its name, order, number of contractions, what its notes say, the call that makes it."""

    name: str
    order: int
    count: int
    notes: tuple
    call: str


def _vertex(name, order, count, **notes):
    notes = {"kind": "vertex", "factor": 1.0, "power": 0, "loops": 0, "pairs": False} | notes
    options = "".join(f", {key}={value}" for key, value in notes.items() if key == "loops" and value)
    return Expected(
        name, order, count, tuple(notes.items()), f"vertex_integral(net, x, order={order}{options}, cutoff=...)"
    )


FOUR = _vertex("I_4", 4, 24)
SIX = _vertex("I_6", 6, 720)
LOOP = _vertex("I_4,loop", 4, 360, loops=1)
TREE = Expected("T", 6, 576, (("kind", "tree"), ("factor", 1.0)), "tree_integral(net, x, cutoff=...)")


# ---- connected functions


@dataclass(frozen=True, eq=False)
class Data:
    """Connected n-point functions: values at the rows of `index`, and their errors."""

    tensor: SymmetricTensor
    errors: Errors
    inputs: int | None  # that differ

    @property
    def mean(self):
        return self.tensor.mean


def read_connected(G, order, name):
    """Connected functions of one order, from `Correlators`, a `SymmetricTensor` or (one tuple) an `Estimate`."""
    if isinstance(G, Correlators):
        if G.net.dim_out != 1:
            raise ArgumentError(
                f"{name}: couplings of one output are known, this network has dim_out = {G.net.dim_out}"
            )
        if len(np.unique(G.x, axis=0)) < len(G.x):
            raise ArgumentError(
                f"{name}: some points coincide, and their tuples would count several times: pass each point once"
            )
        tensor = G.connected(order)
        errors = _jackknife_errors(G, order, tensor)
    elif isinstance(G, Estimate):
        tensor = SymmetricTensor([G.mean], [G.stderr], order=order, size=1, n=G.n, how=G.how)
        errors = Errors.of(tensor.stderr)
    elif isinstance(G, SymmetricTensor):
        if G.d_out != 1:
            raise ArgumentError(f"{name}: couplings of one output are known, this tensor has d_out = {G.d_out}")
        if G.order != order:
            raise ShapeError(f"{name} has order {G.order}; the connected {order}-point function is expected")
        tensor, errors = G, Errors.of(G.stderr)
    else:
        raise ArgumentError(
            f"{name} must be Correlators, a SymmetricTensor of connected functions or an Estimate, got {type(G).__name__}"
        )
    if tensor.how.get("kind", "connected") != "connected":
        raise ArgumentError(
            f"{name} is {_said(tensor)}; the connected {order}-point function is expected: connected({order})"
        )
    if not len(tensor):
        raise ArgumentError(f"{name} holds no tuples")
    _check_finite(tensor.mean, tensor, name)
    if np.isinf(tensor.stderr).any():
        raise ArgumentError(f"{name} has infinite errors: leave such tuples out")
    return Data(tensor, errors, kernel_inputs(G, tensor) if isinstance(G, Correlators) else distinct_inputs(tensor))


def kernel_inputs(G, tensor=None):
    """Distinct inputs of Correlators: by the kernel, or by `tensor` for laws without one."""
    try:
        K = G._kernel - G.net.sigma_b**2  # the output bias is in no leg
    except ArgumentError:
        return None if tensor is None else distinct_inputs(tensor)
    return distinct_inputs(SymmetricTensor(K[np.triu_indices(len(K))], 0.0, order=2, size=len(K)))


def distinct_inputs(tensor, *, noise=False):
    """Rank of T_{i, jkl..} with rows of unit length, singular values below 1e-3 taken as 0; None if T is listed or very large.

    With `noise`, singular values that independent errors of the entries could make are 0, too.
    """
    if not tensor.is_dense or tensor.size**tensor.order > _MOST_DENSE:
        return None
    rows = tensor.dense().reshape(tensor.size, -1)
    largest = abs(rows).max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1)
    rows = rows / largest
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    length = np.where(length > 0, length, 1)
    s = np.linalg.svd(rows / length, compute_uv=False)
    floor = _DISTINCT * s[0]
    if noise:
        errors = tensor.dense_stderr().reshape(tensor.size, -1) / largest / length
        floor = max(floor, np.linalg.norm(np.nan_to_num(errors)))
    return int(np.count_nonzero(s > floor))


def _jackknife_errors(G, order, tensor):
    """Deviations of the delete-one-replica jackknife, whose squares add to stderr^2."""
    if isinstance(G, ExactCorrelators):
        return Errors.of(np.zeros(len(tensor)))
    if not np.isfinite(tensor.stderr).all():  # fewer than 8 replicas
        return Errors.of(tensor.stderr)
    _, _, rows = replicates(*G._replicas, function=lambda means: G._plan.connected(means, order))
    # Runs of one seed over the same networks fluctuate together, whatever else differs between them.
    source = (G.seed, G.block, np.asarray(G.intervals).tobytes())
    return Errors.of(np.zeros(len(tensor)), parts={source: rows})


# ---- integrals


def integral_values(integral, tensor, name, expected=None):
    """(values, error bounds) of an integral at the tuples of `tensor`; one number stands for one tuple.

    `expected`: what it must be; None takes any term of the tensor's order.
    """
    order = tensor.order if expected is None else expected.order
    integral = read_integral(integral, name, order, tensor.size, expected)
    at = slice(None) if integral._same_layout(tensor) else integral.rank(tensor.index)
    values, bounds = integral.mean[at], integral.stderr[at]
    _check_finite(values, tensor, name)
    return values, np.where(np.isfinite(bounds), bounds, 0.0)


def read_integral(integral, name, order, size, expected=None):
    """An integral of this order over so many points, as a tensor."""
    integral = as_tensor(integral, order)
    if not isinstance(integral, SymmetricTensor):
        raise ArgumentError(f"{name} must be a SymmetricTensor (see vertex_integral), got {type(integral).__name__}")
    if (integral.order, integral.size) != (order, size):
        raise ShapeError(
            f"{name} has order {integral.order} over {integral.size} points; order {order} over {size} points is expected"
        )
    if expected is not None:
        check_integral(integral, name, expected)
    return integral


def _check_finite(values, tensor, name):
    if not np.isfinite(values).all():
        raise ArgumentError(f"{name} is not finite at {tuple(tensor.index[np.argmin(np.isfinite(values))].tolist())}")


def check_integral(integral, name, expected, factor=1.0):
    """Refuse a tensor that says it is something else than `factor` times the integral expected."""
    how = integral.how
    if "kind" not in how:
        return
    wanted = dict(expected.notes) | {"factor": factor}
    if any(how.get(key, 1.0 if key == "factor" else value) != value for key, value in wanted.items()):
        times = "" if factor == 1 else f"{factor:g} * "
        raise ArgumentError(f"{name} is {_said(integral)}; {expected.name} is expected: {times}{expected.call}")


def as_tensor(integral, order):
    """One number or `Estimate` as a tensor over one point; anything else as it is."""
    if isinstance(integral, Estimate):
        return SymmetricTensor([integral.mean], [integral.stderr], order=order, size=1, how=integral.how)
    if isinstance(integral, Real) and not isinstance(integral, bool | np.bool_):
        return SymmetricTensor([number("the integral", integral)], 0.0, order=order, size=1)
    return integral


def _said(tensor):
    """What a tensor says it is."""
    how = tensor.how
    factor = how.get("factor", 1.0)
    times = "" if factor == 1 else f"{factor:g} * "
    if how["kind"] == "vertex":
        options = "".join(f", {key}={how[key]:g}" for key in ("power", "loops") if how.get(key))
        pairs = ", pairs=True" if how.get("pairs") else ""
        return f"{times}vertex_integral(order={tensor.order}{options}{pairs})"
    if how["kind"] == "tree":
        return f"{times}tree_integral(...)"
    return f"{times}a tensor of kind {how['kind']!r}"


def same_action(**tensors):
    """Refuse tensors of different cutoffs or points, as far as they say them; None and numbers say nothing."""
    same_cutoff(**tensors)
    same_points(**tensors)


def same_cutoff(**tensors):
    said = _notes("cutoff", tensors)
    if len(set(said.values())) > 1:
        listed = ", ".join(f"{name} {cutoff:g}" for name, cutoff in said.items())
        raise ArgumentError(
            f"the integrals have different cutoffs ({listed}): use one, couplings of different cutoffs do not mix"
        )


def same_points(**tensors):
    said = _notes("points", tensors)
    if len(set(said.values())) > 1:
        first, *others = said
        other = next(name for name in others if said[name] != said[first])
        raise ArgumentError(f"{first} and {other} belong to different points: use the same x for both")


def _notes(note, tensors):
    return {name: t.how[note] for name, t in tensors.items() if note in getattr(t, "how", ())}


# ---- numbers


def nonzero(values, tensor, name):
    """`values`, none of which may be 0."""
    if not values.all():
        row = tuple(tensor.index[np.argmin(values != 0)].tolist())
        raise ArgumentError(
            f"{name} is 0 at {row}: no local vertex connects these points, so no coupling explains their correlator; leave them out"
        )
    return values


def finite(name, values, errors, source=None):
    """Refuse values or errors that overflowed, and zeros where `source` is not 0: those underflowed."""
    if not np.isfinite(values).all() or np.isinf(errors).any():
        raise ArgumentError(f"{name} overflows float64: rescale the fields or the integrals")
    if source is not None and np.any((np.asarray(values) == 0) & (source != 0)):
        raise ArgumentError(f"{name} underflows float64: rescale the fields or the integrals")


def known(value, name):
    """Refuse an `Estimate` that is not finite or has an infinite error; an error of nan is one that nobody knows."""
    if not isfinite(value.mean) or isinf(value.stderr):
        raise ArgumentError(f"{name} must be finite, with a finite error, got {value!r}")
    return value
