"""Algebra of symmetric tensors packed over sorted multi-indices, and of the even polynomials they stand for.

    T_n  <->  T_n(z) = sum over ordered tuples T_{i1..in} z_i1 .. z_in     (coefficient of a monomial: multiplicity * T)

A polynomial is a dict {degree: packed tensor}. `hermite` turns powers into Hermite tensors, H[p] = exp(-Laplacian / 2)
p.
"""

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np

from .. import _core
from .._packed import multiplicities, packed_rank
from ..errors import ArgumentError

__all__ = ["EvenPolynomial", "hermite", "multiplicity", "packed_index", "symmetrized", "trace", "transform"]

_MAX_ENTRIES = 2_500_000
_BLOCK = 1 << 17  # doubles of features at a time: 1 MB stays in cache


def check_size(m, order):
    """Refuse tensors of which the index tables alone would fill the memory of a small machine."""
    if comb(m + order - 1, order) > _MAX_ENTRIES:
        raise ArgumentError(
            f"a tensor of order {order} over {m} values has {comb(m + order - 1, order)} entries; at most "
            f"{_MAX_ENTRIES} are handled here: use fewer points, a larger rcond or a lower order"
        )


@lru_cache(maxsize=32)
def packed_index(m, order):
    """Sorted multi-indices (count, order), int32; one empty row at order 0."""
    check_size(m, order)
    return _core.multiset_index(m, order) if order else np.zeros((1, 0), np.int32)


@lru_cache(maxsize=32)
def multiplicity(m, order):
    """Orderings n! / prod r_i! of each multi-index, float64."""
    return multiplicities(packed_index(m, order)).astype(np.float64)


@lru_cache(maxsize=32)
def _extended(m, order):
    """Positions of every multi-index of one order less with j = 0 .. m-1 added: (count, m)."""
    rows = packed_index(m, order - 1).astype(np.int64)
    return np.stack(
        [packed_rank(np.sort(np.column_stack([rows, np.full(len(rows), j)]), axis=1), m) for j in range(m)], axis=1
    )


@lru_cache(maxsize=32)
def _appended(m, order):
    """The multi-indices of this order as (position of the first order - 1 legs, last leg)."""
    if order == 1:
        return np.zeros(m, np.int64), np.arange(m)
    index = packed_index(m, order)
    return packed_rank(index[:, :-1], m), index[:, -1]


@lru_cache(maxsize=8)
def _halves(m, half):
    """Positions of both halves of every multi-index, for all C(2 half, half) / 2 ways to halve its legs."""
    index, legs = packed_index(m, 2 * half), range(2 * half)
    parts = [((0, *a), [k for k in legs[1:] if k not in a]) for a in combinations(legs[1:], half - 1)]
    return [tuple(packed_rank(index[:, list(part)], m).astype(np.int32) for part in both) for both in parts]


def transform(T, order, W):
    """W on every leg: T'_{a b ..} = W_ai W_bj .. T_{ij ..}; T packed over W.shape[1] values, T' over W.shape[0].

    Legs done are packed among themselves, and so are those to do: no tensor of size m ** order arises.
    """
    r, m = W.shape
    check_size(max(r, m), order)
    T = T[np.newaxis]
    for done in range(order):
        legs = _extended(m, order - done)
        first, last = _appended(r, done + 1)
        out = np.empty((len(first), len(legs)))
        step = max(1, _BLOCK * 8 // legs.size)
        for start in range(0, len(T), step):  # T[:, legs] has m copies of every entry
            part = slice(*np.searchsorted(first, (start, start + step)))
            full = T[start : start + step, legs] @ W.T
            out[part] = full[first[part] - start, :, last[part]]
        T = out
    return T[:, 0]


def trace(T, order, m):
    """Two legs contracted: T'_I = sum_k T_{I k k}."""
    ends = np.arange(m)
    return T[_extended(m, order)[_extended(m, order - 1), ends]].sum(axis=1)


def symmetrized(Q, m, half):
    """Mean over all ways to halve the legs of Q[left half, right half]; Q symmetric, or u for Q = u u^T."""
    if half == 0:
        return Q.reshape(1)
    halves = _halves(m, half)
    if Q.ndim == 1:
        return sum(Q[a] * Q[b] for a, b in halves) / len(halves)
    return sum(Q[a, b] for a, b in halves) / len(halves)


def contracted(T, order, m, legs):
    """Q[A, B] = sum over k_1 .. k_legs of T_{A k1 ..} T_{B k1 ..}, both sides packed over order - legs indices."""
    at = np.arange(len(packed_index(m, order - legs)))[:, np.newaxis]
    shared = packed_index(m, legs)
    for k in range(legs):
        at = _extended(m, order - legs + k + 1)[at, shared[:, k]]
    return (T[at] * multiplicity(m, legs)) @ T[at].T


def hermite(parts, m):
    """exp(-Laplacian / 2) of a polynomial: every power z_i1 .. z_in becomes the Hermite tensor He_{i1..in}(z).

    Laplacian of T_n(z): n (n-1) (trace of T_n)(z).
    """
    out = {}
    for n, T in parts.items():
        factor = 1.0
        for k in range(n // 2 + 1):
            out[n - 2 * k] = out.get(n - 2 * k, 0.0) + factor * T
            if k < n // 2:
                factor *= -(n - 2 * k) * (n - 2 * k - 1) / (2 * (k + 1))
                T = trace(T, n - 2 * k, m)
    return dict(sorted(out.items()))


def add(*polynomials):
    """Sum of polynomials."""
    out = {}
    for parts in polynomials:
        for n, T in parts.items():
            out[n] = out.get(n, 0.0) + T
    return dict(sorted(out.items()))


@lru_cache(maxsize=16)
def _blocks(m, half):
    """The multi-indices of order 2 half, each cut in the middle once: for every r, the rows of order `half` that end
    with r, the first row that starts with r or later, and the positions of all their unions."""
    index = packed_index(m, half)
    out = []
    for r in range(m):
        rows, first = np.flatnonzero(index[:, -1] == r), int(np.searchsorted(index[:, 0], r))
        a, b = np.repeat(index[rows], len(index) - first, axis=0), np.tile(index[first:], (len(rows), 1))
        out.append((rows, first, packed_rank(np.hstack([a, b]), m).reshape(len(rows), -1)))
    return out


class EvenPolynomial:
    """An even polynomial {degree: packed tensor} in m variables, to be evaluated at many points by matrix products.

    With z_0 = 1 it is homogeneous: p(z) = sum over r of F[rows] . (M_r F[first:]), F the products of degree / 2
    factors.
    """

    def __init__(self, parts, m):
        self.m, self.degree = m, max(parts)
        self._constant = float(np.sum(parts.get(0, 0.0)))
        if self.degree == 0:
            return
        packed = np.zeros(comb(m + self.degree, self.degree))
        check_size(m + 1, self.degree)
        for n, T in parts.items():
            rows = np.zeros((len(packed_index(m, n)), self.degree), np.int64)
            rows[:, self.degree - n :] = packed_index(m, n) + 1
            packed[packed_rank(rows, m + 1)] = T * multiplicity(m, n)
        self._matrices = [(rows, first, packed[at]) for rows, first, at in _blocks(m + 1, self.degree // 2)]

    def __call__(self, z):
        """Values at points z, array (n_points, m) -> (n_points,)."""
        if self.degree == 0:
            return np.full(len(z), self._constant)
        out = np.empty(len(z))
        step = max(64, _BLOCK // comb(self.m + self.degree // 2, self.degree // 2))
        for start in range(0, len(z), step):
            F = self._features(z[start : start + step])
            out[start : start + step] = sum(
                np.einsum("an,an->n", F[rows], M @ F[first:]) for rows, first, M in self._matrices
            )
        return out

    def _features(self, z):
        F = np.vstack([np.ones(len(z)), z.T])
        h, first = F, np.arange(self.m + 1)
        for _ in range(self.degree // 2 - 1):
            starts = [int(np.searchsorted(first, i)) for i in range(self.m + 1)]
            F = np.concatenate([h[i] * F[s:] for i, s in enumerate(starts)])
            first = np.repeat(np.arange(self.m + 1), [len(first) - s for s in starts])
        return F


def monomial_sum(parts, m, order, moments):
    """E[z_I p(z)] for all sorted I of this order: parts of p, and moments {n: packed E[z_1 .. z_n]}."""
    index = packed_index(m, order)
    out = np.zeros(len(index))
    for n, T in parts.items():
        more, weight = packed_index(m, n), np.broadcast_to(T, len(packed_index(m, n))) * multiplicity(m, n)
        step = max(1, _BLOCK * 8 // (len(more) * max(n + order, 1)))
        for start in range(0, len(index), step):
            part = index[start : start + step]
            a, b = np.repeat(part, len(more), axis=0), np.tile(more, (len(part), 1))
            at = packed_rank(np.sort(np.hstack([a, b]), axis=1), m)
            out[start : start + step] += moments[n + order][at].reshape(len(part), -1) @ weight
    return out
