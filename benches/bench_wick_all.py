"""All multisets: every n-point function of a Gaussian theory, entries per second on one core.

    order 4   m = 6, 20             126 and 8855 entries
    order 6   m = 6, 10, 20         462, 5005 and 177,100
    order 8   m = 6, 10             1287 and 24,310

Limits. An entry takes at most n-1 multiply-adds. A row of entries, contiguous in the last index, has (m+n-1)/n of them on
average and takes whole registers: at n = 6, m = 20 the 42,504 rows are 46,928 registers of 8, 47 % full. With two multiply-add
units at 3.5 GHz that is 11 G entries/s for full registers and 5.3 G/s for these rows; reached: 2.1 G/s (0.47 ns per entry). What
is missing: registers that lie across two cache lines when they are stored, and the short loops over triangles of rows.
"""

import os
from math import comb

import numpy as np
import pytest
from conftest import Contender
from rivals import all_multisets as forms

from nnqft.wick import wick_all, wick_all_vjp

MULTIPLY_ADDS = 57e9  # per second: 16 in a cycle of 3.5 GHz, measured
SIZES = [(4, 6), (4, 20), (6, 6), (6, 10), (6, 20), (8, 6), (8, 10)]


@pytest.fixture(autouse=True, scope="module")
def one_core():
    """Everybody on one processor, thread pools made meanwhile included."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


def theory(m):
    rng = np.random.default_rng(m)
    F = rng.normal(size=(m, 2 * m))
    K = F @ F.T / (2 * m)
    return (K + K.T) / 2, rng.normal(size=m)


def ours(name, function, count):
    def run(n):
        rounds = -(-n // count)
        for _ in range(rounds):
            function()
        return rounds * count

    return Contender(name, run)


def check(form, G, weight):
    ranks, values = form.values()
    # Each of the (n-1)!! products of n/2 factors rounds, theirs in their own order.
    assert (abs(values - G.mean[ranks]) <= 1e-12 * weight.mean[ranks]).all(), form.name
    return Contender(form.name, form.run)


@pytest.mark.parametrize(("order", "m"), SIZES)
def test_all_multisets(duel, order, m):
    K, _ = theory(m)
    G, weight = wick_all(K, order), wick_all(abs(K), order)
    chosen = [*forms.LOOPS, forms.NumpyRecursion, forms.JaxRecursion]
    if (order + 1) ** m < 10**7:
        chosen.append(forms.thewalrus_box)
    peers = [check(form(K, order), G, weight) for form in chosen]
    bar = ">= 1000x piquasso in a loop" if (order, m) == (6, 20) else None
    limit = f"{MULTIPLY_ADDS / (order - 1) / 1e9:.3g} G (full registers)"
    duel(f"all multisets, order {order}, m={m}, one core", ours("nnqft wick_all", lambda: wick_all(K, order, threads=1), len(G)), peers,
         unit="entries/s", bar=bar, limit=limit)  # fmt: skip


@pytest.mark.parametrize(("order", "m"), [(4, 6), (6, 10), (6, 20), (5, 20)])
def test_all_multisets_with_a_mean(duel, order, m):
    K, mu = theory(m)
    G, weight = wick_all(K, order, mu=mu), wick_all(abs(K), order, mu=abs(mu))
    peers = [check(form(K, order, mu), G, weight) for form in forms.LOOPS]
    duel(f"all multisets with a mean, order {order}, m={m}, one core",
         ours("nnqft wick_all", lambda: wick_all(K, order, mu=mu, threads=1), len(G)), peers, unit="entries/s")  # fmt: skip


@pytest.mark.parametrize(("order", "m"), [(4, 6), (4, 20), (6, 10), (6, 20)])
def test_the_gradient(duel, order, m):
    """Ours counts one sweep for given weights; JAX computes the function as well, so ours does too."""
    K, _ = theory(m)
    rival = forms.JaxRecursion(K, order, gradient=True)
    K_bar, _ = wick_all_vjp(K, order, wick_all(K, order))
    theirs = rival.values()[1]
    np.testing.assert_allclose((theirs + theirs.T) / 2, K_bar, rtol=1e-10, atol=1e-12 * abs(K_bar).max())
    duel(f"gradient of sum G^2 / 2, order {order}, m={m}, one core",
         ours("nnqft wick_all_vjp", lambda: wick_all_vjp(K, order, wick_all(K, order, threads=1)), comb(m + order - 1, order)),
         [Contender(rival.name, rival.run)], unit="entries/s")  # fmt: skip
