"""All n-point functions of a Gaussian theory at once, as users of other libraries write it; every form counts entries.

A form takes (K, order) once and returns run(n) -> number of entries done, n at least, and values() -> some packed entries
with their ranks, for the check. The recursion in numpy and JAX takes the first leg i away: with the legs t behind it,
    G_n(i, t) = sum_j K(i, t_j) G_{n-2}(t without t_j),
where the second factor does not know i and is gathered once; index tables are made beforehand and not timed.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb

import numpy as np

__all__ = ["LOOPS", "thewalrus_box", "NumpyRecursion", "JaxRecursion"]

SAMPLED = 300  # multisets that a loop over single hafnians visits


def _sample(m, order):
    ranks = np.sort(np.random.default_rng(1).permutation(comb(m + order - 1, order))[:SAMPLED])
    wanted, rows = set(ranks.tolist()), []
    for rank, legs in enumerate(combinations_with_replacement(range(m), order)):
        if rank in wanted:
            rows.append(legs)
    return ranks, np.array(rows)


class _Loop:
    """A Python loop over multisets, the arguments of every call made beforehand."""

    def __init__(self, K, order, mu=None):
        self.ranks, rows = _sample(len(K), order)
        self.calls = [self.prepare(K, mu, legs) for legs in rows]

    def values(self):
        return self.ranks, np.array([np.real(self.call(*arguments)) for arguments in self.calls])

    def run(self, n):
        rounds = -(-n // len(self.calls))
        for _ in range(rounds):
            for arguments in self.calls:
                self.call(*arguments)
        return rounds * len(self.calls)


class Piquasso(_Loop):
    name = "piquasso, loop over multisets"

    def prepare(self, K, mu, legs):
        from piquasso._math.hafnian import hafnian_with_reduction, loop_hafnian_with_reduction

        repeats = np.bincount(legs, minlength=len(K))
        self.call = hafnian_with_reduction if mu is None else loop_hafnian_with_reduction
        return (K, repeats) if mu is None else (K, mu, repeats)


class TheWalrus(_Loop):
    name = "thewalrus recursive, loop over multisets"

    def prepare(self, K, mu, legs):
        from thewalrus import hafnian

        if mu is None:
            self.call = lambda A: hafnian(A, method="recursive")
            return (np.ascontiguousarray(K[np.ix_(legs, legs)]),)
        self.call = lambda A: hafnian(A, loop=True)  # takes the mean from the diagonal; "recursive" has no loops
        A = K[np.ix_(legs, legs)]
        np.fill_diagonal(A, mu[legs])
        return (A,)


LOOPS = (Piquasso, TheWalrus)


class thewalrus_box:
    """`hafnian_batched`: every tuple of repeats below the cutoff, of which those that sum to `order` are wanted."""

    name = "thewalrus hafnian_batched"

    def __init__(self, K, order):
        from thewalrus import hafnian_batched

        self.call = lambda: hafnian_batched(K, order + 1)
        self.count = comb(len(K) + order - 1, order)
        self.ranks, rows = _sample(len(K), order)
        self.repeats = tuple(np.array([np.bincount(legs, minlength=len(K)) for legs in rows]).T)

    def values(self):
        return self.ranks, np.real(self.call()[self.repeats])

    def run(self, n):
        rounds = -(-n // self.count)
        for _ in range(rounds):
            self.call()
        return rounds * self.count


def _tables(m, order):
    """For orders 4, 6, ..: the legs t behind the first, the ranks of t without t_j, and where those with t_1 >= i begin."""
    tables = []
    for n in range(4, order + 1, 2):
        lower = {legs: rank for rank, legs in enumerate(combinations_with_replacement(range(m), n - 2))}
        rows = list(combinations_with_replacement(range(m), n - 1))
        legs = np.array(rows).T
        ranks = np.array([[lower[t[:j] + t[j + 1 :]] for t in rows] for j in range(n - 1)])
        tables.append((legs, ranks, np.searchsorted(legs[0], np.arange(m))))
    return tables


class NumpyRecursion:
    name = "numpy, vectorised recursion"
    BLOCK = 8192  # entries at a time: operands stay in the L2 cache

    def __init__(self, K, order):
        self.K, self.m, self.count = K, len(K), comb(len(K) + order - 1, order)
        self.pairs = np.triu_indices(len(K))
        self.tables = _tables(len(K), order)
        self.out = [np.empty(comb(len(K) + n - 1, n)) for n in range(4, order + 1, 2)]

    def packed(self):
        G = self.K[self.pairs]
        for (legs, ranks, starts), out in zip(self.tables, self.out, strict=True):
            behind = [G.take(r) for r in ranks]
            at = 0
            for i in range(self.m):
                for first in range(starts[i], legs.shape[1], self.BLOCK):
                    last = min(first + self.BLOCK, legs.shape[1])
                    part = out[at : at + last - first]
                    np.multiply(self.K[i].take(legs[0, first:last]), behind[0][first:last], out=part)
                    for j in range(1, len(legs)):
                        product = self.K[i].take(legs[j, first:last])
                        product *= behind[j][first:last]
                        part += product
                    at += last - first
            G = out
        return G

    def values(self):
        return np.arange(self.count), self.packed().copy()

    def run(self, n):
        rounds = -(-n // self.count)
        for _ in range(rounds):
            self.packed()
        return rounds * self.count


class JaxRecursion:
    """The same recursion, jitted in float64; `gradient=True` differentiates sum G^2 / 2 instead."""

    def __init__(self, K, order, gradient=False):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        self.name = "jax.grad of the jitted recursion" if gradient else "jax.jit of the recursion"
        self.count = comb(len(K) + order - 1, order)
        m, pairs, tables = len(K), np.triu_indices(len(K)), _tables(len(K), order)
        first = [np.concatenate([np.full(legs.shape[1] - s, i) for i, s in enumerate(starts)]) for legs, _, starts in tables]
        behind = [np.concatenate([np.arange(s, legs.shape[1]) for s in starts]) for legs, _, starts in tables]

        def packed(K):
            G = K[pairs]
            for (legs, ranks, _), i, t in zip(tables, first, behind, strict=True):
                G = sum(K.ravel()[i * m + legs[j][t]] * G[ranks[j][t]] for j in range(len(legs)))
            return G

        self.packed = jax.jit(jax.grad(lambda K: 0.5 * jnp.sum(packed(K) ** 2)) if gradient else packed)
        self.K = jnp.asarray(K)

    def values(self):
        return np.arange(self.count), np.asarray(self.packed(self.K))

    def run(self, n):
        rounds = -(-n // self.count)
        for _ in range(rounds):
            self.packed(self.K).block_until_ready()
        return rounds * self.count
