"""What the functions of `nnqft.eft` accept: connected functions with their errors, and integrals at the same tuples."""

from dataclasses import dataclass

import numpy as np

from .._correlators import Correlators, ExactCorrelators
from ..errors import ArgumentError, ShapeError
from ..tensor import Estimate, SymmetricTensor
from ._errors import Errors

__all__ = ["Data", "distinct_inputs", "integral_values", "read_connected"]

_DISTINCT = 1e-3  # inputs closer than this to being one random variable count as one


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
    if not len(tensor):
        raise ArgumentError(f"{name} holds no tuples")
    if not np.isfinite(tensor.mean).all():
        row = tuple(tensor.index[np.argmin(np.isfinite(tensor.mean))].tolist())
        raise ArgumentError(f"{name} is not finite at {row}")
    return Data(tensor, errors, _inputs(G, tensor))


def _inputs(G, tensor):
    """Distinct inputs: by the kernel if the network is known, else by the data."""
    if isinstance(G, Correlators):
        try:
            K = G._kernel - G.net.sigma_b**2  # the output bias is in no leg
        except ArgumentError:  # a law without a kernel
            return distinct_inputs(tensor)
        rows, columns = np.triu_indices(len(K))
        return distinct_inputs(SymmetricTensor(K[rows, columns], 0.0, order=2, size=len(K)))
    return distinct_inputs(tensor)


def _jackknife_errors(G, order, tensor):
    """Deviations of the delete-one-replica jackknife (formulas: `nnqft.wick.jackknife`), whose squares add to stderr^2."""
    if isinstance(G, ExactCorrelators):
        return Errors.of(np.zeros(len(tensor)))
    if not np.isfinite(tensor.stderr).all():  # fewer than 8 replicas
        return Errors.of(tensor.stderr)
    sums, counts = G._replicas
    sums, counts = sums[counts > 0], counts[counts > 0]
    total, n = sums.sum(axis=0), counts.sum()
    theta = G._plan.connected(total[None] / n, order)[0]
    step = max(1, (1 << 25) // max(sums.shape[1], len(theta)))
    means = ((total - sums[g : g + step]) / (n - counts[g : g + step, None]) for g in range(0, len(counts), step))
    left_out = np.concatenate([G._plan.connected(np.ascontiguousarray(part), order) for part in means])
    h = n / counts[:, None]
    d = left_out - theta
    rows = (np.sum((1 - 1 / h) * d, axis=0) - (h - 1) * d) / np.sqrt(len(h) * (h - 1))
    # Runs of one seed over the same networks fluctuate together, whatever else differs between them.
    source = (G.seed, G.block, np.asarray(G.intervals).tobytes())
    return Errors.of(np.zeros(len(theta)), parts={source: rows})


def integral_values(integral, tensor, name, *, order=None):
    """(values, error bounds) of an integral or term at the tuples of `tensor`; one number stands for one tuple."""
    order = tensor.order if order is None else order
    if isinstance(integral, Estimate | int | float):
        integral = SymmetricTensor([float(integral)], [getattr(integral, "stderr", 0.0)], order=order, size=1)
    if not isinstance(integral, SymmetricTensor):
        raise ArgumentError(f"{name} must be a SymmetricTensor (see vertex_integral), got {type(integral).__name__}")
    if (integral.order, integral.size) != (order, tensor.size):
        raise ShapeError(
            f"{name} has order {integral.order} over {integral.size} points; order {order} over {tensor.size} points is expected"
        )
    at = slice(None) if integral._same_layout(tensor) else integral.rank(tensor.index)
    values, bounds = integral.mean[at], integral.stderr[at]
    if not np.isfinite(values).all():
        raise ArgumentError(f"{name} is not finite at {tuple(tensor.index[np.argmin(np.isfinite(values))].tolist())}")
    return values, np.where(np.isfinite(bounds), bounds, 0.0)


def distinct_inputs(tensor, *, noise=False):
    """Rank of T_{i, jkl..} with rows of unit length, singular values below 1e-3 taken as 0; None if T is not dense.

    With `noise`, singular values that independent errors of the entries could make are 0, too.
    """
    if not tensor.is_dense or tensor.size**tensor.order > 1 << 22:
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
