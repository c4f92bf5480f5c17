"""Packed symmetric tensors: all sorted multi-indices i1 <= ... <= in over m values, in lexicographic order.

`PackedMoments` sums weight * h_i1 ... h_in over quadrature nodes with matrix products and no redundancy: a sorted
multi-index of even length is cut in the middle exactly once, so with F_k the packed products of k = n / 2 factors,

    M_n = union over r of  (rows of F_k that end with r)  W  (rows of F_k that start with r or later)^T.
"""

from itertools import chain, combinations_with_replacement
from math import comb

import numpy as np

from .errors import ArgumentError

__all__ = ["PackedMoments", "check_nodes", "packed_index", "packed_number", "packed_rank", "packed_size"]

_MAX_BYTES = 200_000_000
_MAX_SECONDS = 60.0
_BLOCK = 1 << 17  # doubles in F_k at a time: 1 MB stays in cache
_LEAST_NODES = 256  # nodes at a time at least: the inner dimension of the matrix products


def packed_size(m, n):
    """Number of sorted multi-indices, checked against memory."""
    size, most = comb(m + n - 1, n), _MAX_BYTES // (8 * (n + 4))  # the indices, and four arrays of values
    if size > most:
        raise ArgumentError(f"order {n} over {m} values has {size} independent entries; at most {most} fit the 200 MB "
                            "set aside for exact moments: use fewer points")
    return size


def packed_index(m, n):
    """All sorted multi-indices, array (C(m + n - 1, n), n), int64."""
    size = packed_size(m, n)
    flat = chain.from_iterable(combinations_with_replacement(range(m), n))
    return np.fromiter(flat, np.int64, size * n).reshape(size, n)


def packed_number(index, m):
    """Base-m numbers of multi-indices (rows), ascending in packed order."""
    n = index.shape[-1]
    return index @ np.int64(m) ** np.arange(n - 1, -1, -1, dtype=np.int64)


def packed_rank(index, m):
    """Positions of sorted multi-indices (rows of `index`) in packed order."""
    return np.searchsorted(packed_number(packed_index(m, index.shape[-1]), m), packed_number(index, m))


def check_nodes(nodes, m, order, share, rule):
    """Refuse sums over so many nodes that they would take more than a minute / share on one core."""
    seconds = nodes * (20 * m + 4 * comb(m + order // 2 - 1, order // 2) + 0.3 * comb(m + order - 1, order)) * 1e-9
    if seconds > _MAX_SECONDS / share:
        raise ArgumentError(f"{rule} needs {nodes:.2g} nodes, about {seconds:.2g} s; the limit is {_MAX_SECONDS / share:.2g} s")


class PackedMoments:
    """Weighted sums of products of an even number of factors, over nodes that come in any number of calls."""

    def __init__(self, m, order):
        self.m, self.order, self.half = m, order, order // 2
        packed_size(m, order)
        index = packed_index(m, self.half)
        self._ends = [np.flatnonzero(index[:, -1] == r) for r in range(m)]
        self._starts = [int(np.searchsorted(index[:, 0], r)) for r in range(m)]
        self._blocks = [np.zeros((len(rows), len(index) - first)) for rows, first in zip(self._ends, self._starts)]
        self._index = index
        self._step = max(_LEAST_NODES, _BLOCK // len(index))
        self._pending, self._waiting = [], 0

    def add(self, factors, weights):
        """factors : array (m, n_nodes); weights : array (n_nodes,). Kept until there are enough for one product."""
        self._pending.append((factors, weights))
        self._waiting += len(weights)
        if self._waiting >= self._step:
            self._flush()

    def _flush(self):
        if not self._pending:
            return
        factors, weights = (np.concatenate(part, axis=-1) for part in zip(*self._pending))
        self._pending, self._waiting = [], 0
        for start in range(0, len(weights), self._step):
            part = slice(start, start + self._step)
            features = self._features(factors[:, part])
            weighted = features * weights[part]
            for block, rows, first in zip(self._blocks, self._ends, self._starts):
                block += weighted[rows] @ features[first:].T

    def result(self):
        """Packed array of the sums."""
        self._flush()
        number = packed_number(self._index, self.m)
        numbers = [np.add.outer(number[rows] * self.m**self.half, number[first:]).ravel()
                   for rows, first in zip(self._ends, self._starts)]
        return np.concatenate([block.ravel() for block in self._blocks])[np.argsort(np.concatenate(numbers))]

    def _features(self, h):
        """Packed products of `half` factors, by prepending a first factor to the products that start at it or later."""
        features, first = h, np.arange(self.m)
        for _ in range(self.half - 1):
            starts = [int(np.searchsorted(first, i)) for i in range(self.m)]
            features = np.concatenate([h[i] * features[s:] for i, s in enumerate(starts)])
            first = np.repeat(np.arange(self.m), [len(first) - s for s in starts])
        return features
