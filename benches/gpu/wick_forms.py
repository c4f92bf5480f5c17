"""Rivals on a device for the Wick engine: one hafnian, all multisets, moments, as users of CuPy, torch and JAX write them.

    sieve      haf K = 2^(1-m) sum over signs d of d_1 ... d_m f(X K D), n = 2 m, D = diag(d_1, d_1, d_2, d_2, ...), X swaps partners, and f the
               coefficient of x^m in det(1 - x C)^(-1/2) = exp(sum_k x^k tr C^k / 2k); A. Bjorklund, B. Gupt, N. Quesada, J. Exp. Algorithmics 24
               (2019) 1.11. Signs by the chunk, traces from some 2 sqrt(m) batched products: nothing but matrix products at full speed.
    recursion  all multisets, order by order (benches/rivals/all_multisets.py), every table on the device beforehand
    products   moments: unique half-products, one matrix product of them with themselves

Libraries are arguments, so that one text serves all of them; numpy checks it without a device.
"""

from itertools import combinations_with_replacement
from math import comb, isqrt

import numpy as np
from rivals.all_multisets import _tables

__all__ = ["CupyRecursion", "products", "sieve"]

CHUNK = 1 << 14  # signs at a time: some 2 GB at n = 40


def sieve(xp, K, *, put=None, compiled=None, chunk=CHUNK):
    """A function that returns the hafnian of K, (n, n), float64 numpy; `put` moves to the device, `compiled` compiles a step."""
    put = put or xp.asarray
    n, m = len(K), len(K) // 2
    swapped = put(np.ascontiguousarray(K[np.arange(n) ^ 1]))  # X K
    bits, pairs = put(np.arange(m - 1)), put(np.arange(n) // 2)
    baby = max(1, isqrt(m))
    count = min(chunk, 1 << (m - 1))
    ones = put(np.ones((count, 1)))

    def step(index):
        signs = 1.0 - 2.0 * ((index[:, None] >> bits) & 1)
        signs = xp.concatenate((ones, signs), 1)
        powers = [swapped * signs[:, pairs][:, None, :]]  # C, C^2, ..., C^baby
        while len(powers) < baby:
            powers.append(powers[-1] @ powers[0])
        traces, giant = [xp.einsum("bii->b", C) for C in powers], powers[-1]
        turned = [C.swapaxes(1, 2) for C in powers]
        while len(traces) < m:  # tr C^(q baby + j)
            traces += [(giant * C).sum((1, 2)) for C in turned[: m - len(traces)]]
            giant = giant @ powers[-1] if len(traces) < m else giant
        series = [ones[:, 0]]
        for j in range(1, m + 1):
            series.append(sum(traces[k - 1] * series[j - k] for k in range(1, j + 1)) / (2 * j))
        return (signs.prod(1) * series[m]).sum()

    step = compiled(step) if compiled else step
    starts = [put(np.arange(first, first + count)) for first in range(0, 1 << (m - 1), count)]
    return lambda: float(sum(step(index) for index in starts)) / (1 << (m - 1))


class CupyRecursion:
    """`packed()` gives all entries as numpy."""

    def __init__(self, cupy, K, order):
        m = len(K)
        self.K, self.pairs = cupy.asarray(K.ravel()), cupy.asarray(np.ravel_multi_index(np.triu_indices(m), K.shape))
        self.steps = []
        for legs, ranks, starts in _tables(m, order):
            first = np.concatenate([np.full(legs.shape[1] - s, i) for i, s in enumerate(starts)])
            behind = np.concatenate([np.arange(s, legs.shape[1]) for s in starts])
            self.steps.append([tuple(map(cupy.asarray, (first * m + legs[j][behind], ranks[j][behind]))) for j in range(len(legs))])
        assert len(self.steps[-1][0][0]) == comb(m + order - 1, order)

    def packed(self):
        G = self.K[self.pairs]
        for step in self.steps:
            G = sum(self.K[pair] * G[rank] for pair, rank in step)
        return G.get()


def products(xp, m, order):
    """A function of samples F (samples, m): a matrix that holds all their moments of order 4 or 6."""
    half = list(combinations_with_replacement(range(m), order // 2))

    def moments(F):
        columns = [F[:, i] for i in range(m)]
        stripes = []
        for i, *rest in half:
            stripe = columns[i]
            for j in rest:
                stripe = stripe * columns[j]
            stripes.append(stripe)
        P = xp.stack(stripes)
        return P @ P.T / len(F)

    return moments
