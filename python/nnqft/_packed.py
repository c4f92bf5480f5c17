"""Packed symmetric tensors: all sorted multi-indices i1 <= ... <= in over m values, in lexicographic order.

`PackedMoments` sums weight * h_i1 ... h_in over quadrature nodes.
"""

from math import comb

import numpy as np

from . import _core
from .errors import ArgumentError

__all__ = ["PackedMoments", "check_nodes", "multiplicities", "packed_index", "packed_number", "packed_rank", "packed_size"]

_MAX_BYTES = 200_000_000
_MAX_SECONDS = 60.0
_NODES = 1 << 14  # summed at a time


def packed_size(m, n):
    """Number of sorted multi-indices, checked against memory."""
    size, most = comb(m + n - 1, n), _MAX_BYTES // (8 * (n + 4))  # the indices, and four arrays of values
    if size > most:
        raise ArgumentError(f"order {n} over {m} values has {size} independent entries; at most {most} fit the 200 MB "
                            "set aside for exact moments: use fewer points")
    return size


def packed_index(m, n):
    """All sorted multi-indices, array (C(m + n - 1, n), n), int64."""
    packed_size(m, n)
    return _core.multiset_index(m, n).astype(np.int64)


def packed_number(index, m):
    """Base-m numbers of multi-indices (rows), ascending in packed order."""
    n = index.shape[-1]
    return index @ np.int64(m) ** np.arange(n - 1, -1, -1, dtype=np.int64)


def packed_rank(index, m):
    """Positions of sorted multi-indices (rows of `index`) in packed order; the empty one is at 0."""
    if index.shape[-1] == 0:
        return np.zeros(len(index), np.int64)
    return _core.multiset_ranks(np.ascontiguousarray(index, dtype=np.int64), m)


def multiplicities(index):
    """Orderings n! / prod r_i! of each sorted multi-index (row), int64; exact as long as they fit."""
    run = np.ones(len(index), dtype=np.int64)  # length of the run of equal values that ends at this leg
    orderings = run.copy()  # of the legs so far
    for k in range(1, index.shape[1]):
        run = np.where(index[:, k] == index[:, k - 1], run + 1, 1)
        orderings = orderings * (k + 1) // run
    return orderings


def check_nodes(nodes, m, order, share, rule):
    """Refuse sums over so many nodes that they would take more than a minute / share on one core."""
    seconds = nodes * (20 * m + 0.1 * comb(m + order - 1, order)) * 1e-9
    if seconds > _MAX_SECONDS / share:
        raise ArgumentError(f"{rule} needs {nodes:.2g} nodes, about {seconds:.2g} s; the limit is {_MAX_SECONDS / share:.2g} s")


class PackedMoments:
    """Weighted sums of products of up to 8 factors, over nodes that come in any number of calls."""

    def __init__(self, m, order):
        self.order = order
        self._sums = np.zeros(packed_size(m, order))
        self._pending, self._waiting = [], 0

    def add(self, factors, weights):
        """factors : array (m, n_nodes); weights : array (n_nodes,). Kept until there are many."""
        self._pending.append((factors, weights))
        self._waiting += len(weights)
        if self._waiting >= _NODES:
            self._flush()

    def _flush(self):
        if not self._pending:
            return
        factors, weights = (np.concatenate(part, axis=-1) for part in zip(*self._pending))
        self._pending, self._waiting = [], 0
        self._sums += _core.moment_sums(factors.T, self.order, weights, threads=_core.default_threads())

    def result(self):
        """Packed array of the sums."""
        self._flush()
        return self._sums
