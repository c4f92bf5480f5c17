"""Cumulants of a batch of moment tensors, and bootstrap weights: against the same algorithms in numpy.

The rival does not sum over all set partitions (31 terms per entry at order 6, 379 at order 8) but knows the recursion
over the block of the first leg (15 and 63 products), has its tables of positions beforehand and the batch along the
contiguous axis, which is numpy's best.
"""

import math

import numpy as np
import pytest
from conftest import Contender

from nnqft import _core
from nnqft._bootstrap import _weights


def numpy_recursion(m, top):
    """even cumulants: {order: (count, batch)} -> the same, with all positions looked up in advance."""
    tables = {}
    for n in range(2, top + 1, 2):
        index = _core.multiset_index(m, n)
        tables[n] = []
        for mask in range(1, 2**n - 1, 2):  # blocks with leg 0, in the order of the kernel
            legs = [[leg for leg in range(n) if mask >> leg & 1 == side] for side in (1, 0)]
            if len(legs[0]) % 2 == 0:
                positions = [_core.multiset_ranks(np.ascontiguousarray(index[:, part]), m) for part in legs]
                tables[n].append((len(legs[0]), *positions))

    def cumulants(moments):
        kappa = {}
        for n, terms in tables.items():
            kappa[n] = moments[n].copy()
            for size, block, rest in terms:
                kappa[n] -= kappa[size][block] * moments[n - size][rest]
        return kappa

    return cumulants


@pytest.mark.parametrize(("m", "top", "batch"), [(6, 6, 64), (20, 4, 64), (20, 6, 64), (8, 8, 64), (12, 8, 1)])
def test_even_cumulants(duel, m, top, batch):
    orders = range(2, top + 1, 2)
    rows = [np.random.default_rng(n).normal(size=(batch, math.comb(m + n - 1, n))) for n in orders]
    columns = {n: np.ascontiguousarray(x.T) for n, x in zip(orders, rows, strict=True)}
    rival = numpy_recursion(m, top)
    np.testing.assert_array_equal(_core.even_cumulants(rows, m)[-1].T, rival(columns)[top])  # the same roundings

    def entries(call):
        def run(n):
            calls = max(1, n // rows[-1].size)
            for _ in range(calls):
                call()
            return calls * rows[-1].size

        return run

    ours = Contender("nnqft", entries(lambda: _core.even_cumulants(rows, m)))
    numpy = Contender("numpy", entries(lambda: rival(columns)))
    duel(
        f"even cumulants n={top}, m={m}, batch {batch}, {_core.default_threads()} threads",
        ours,
        [numpy],
        unit="entries/s",
    )


def test_bootstrap_weights_of_64_groups(duel):
    rng = np.random.default_rng(1)
    assert (_weights(1, slice(0, 100), 64).sum(axis=1) == 64).all()
    ours = Contender("nnqft", lambda n: len(_weights(1, slice(0, n), 64)))
    numpy = Contender(
        "numpy multinomial", lambda n: len(rng.multinomial(64, np.full(64, 1 / 64), size=n).astype(float))
    )
    duel("bootstrap weights, 64 groups", ours, [numpy], unit="replicates/s")
