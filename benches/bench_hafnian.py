"""Hafnians per second on one thread against thewalrus (its recursive method and its default) and piquasso, the same matrices.

    pip install thewalrus piquasso

Real Gram matrices; kernels with a mean, repeated points, complex numbers; boxes of repeats and low ranks. The limit is the rate of
multiply-adds of this machine's dgemm on one thread, in turns with ours; `hafnian_cost` counts ours. Slow rivals stop where a call takes
ten seconds.
"""

import functools
import time
import warnings
from statistics import median

import numpy as np
import pytest
from conftest import Contender, imported
from threadpoolctl import threadpool_limits

from nnqft.compat import thewalrus as drop_in
from nnqft.wick import hafnian, hafnian_cost


thewalrus, piquasso = imported("thewalrus"), imported("piquasso._math.hafnian")
if thewalrus is not None:
    imported("numba").set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def gram(n, seed=0):
    factor = np.random.default_rng(seed).normal(size=(n, n + 3))
    return factor @ factor.T / (n + 3)


def calls(function):
    def run(n):
        for _ in range(n):
            function()
        return n

    return run


def share_of_dgemm(function, multiply_adds):
    """Multiply-adds per second as a share of dgemm's (median of interleaved rounds), and dgemm's best; in this thread's own time."""
    a = np.random.default_rng(0).normal(size=(512, 512))
    contenders = [(multiply_adds, calls(function)), (512**3, calls(lambda: a @ a))]
    rates = []
    for _ in range(15):
        for work, run in contenders:
            n = max(1, round(5e8 / work))  # some 20 ms
            start = time.thread_time()
            run(n)
            rates.append(n * work / (time.thread_time() - start))
    return median(x / y for x, y in zip(rates[::2], rates[1::2])), max(rates[1::2])


def compete(duel, title, K, *, mu=None, repeats=None, walrus=True, recursive=True, pq=True, bar=None, rounds=9):
    counts = np.ones(len(K), int) if repeats is None else np.array(repeats)
    given = {key: value for key, value in (("mu", mu), ("repeats", None if repeats is None else counts)) if value is not None}
    rivals = []
    if thewalrus is not None:
        if recursive:
            expanded = thewalrus.reduction(K, counts)
            rivals.append(Contender("thewalrus recursive", functools.partial(thewalrus.hafnian, expanded, method="recursive")))
        if walrus and mu is None and repeats is None:
            rivals.append(Contender("thewalrus default", functools.partial(thewalrus.hafnian, K)))
        elif walrus:
            rivals.append(Contender("thewalrus default", functools.partial(thewalrus.hafnian_repeated, K, counts, mu=mu, loop=mu is not None)))
    if piquasso is not None and pq and mu is None:
        rivals.append(Contender("piquasso", functools.partial(piquasso.hafnian_with_reduction, K, counts)))
    elif piquasso is not None and pq:
        rivals.append(Contender("piquasso", functools.partial(piquasso.loop_hafnian_with_reduction, K, mu, counts)))

    value = hafnian(K, threads=1, **given)
    scale = hafnian(abs(K), mu=None if mu is None else abs(mu), repeats=given.get("repeats"))
    for rival in rivals:
        assert abs(rival.run() - value) < 1e-6 * scale, rival.name
    ours = functools.partial(hafnian, K, threads=1, **given)
    row = duel(title, Contender("nnqft", calls(ours)), [Contender(r.name, calls(r.run)) for r in rivals], unit="hafnians/s", bar=bar, rounds=rounds)
    if counts.sum() >= 24:
        share, limit = share_of_dgemm(ours, hafnian_cost(K, **given)["multiply_adds"])
        row["limit"] = f"{share:.0%} of dgemm's {limit / 1e9:.1f} G multiply-adds/s"


@pytest.mark.parametrize("n", [4, 8, 12, 16, 20, 24, 28, 32, 36, 40])
def test_real(duel, n):
    bar = ">= 15x" if n == 12 else ">= 25x" if n >= 16 else None
    bar = f"{bar} recursive" + (", >= 250x piquasso" if n >= 20 else "") if bar else None
    compete(duel, f"hafnian, n = {n}", gram(n), walrus=n <= 28, pq=n <= 36, bar=bar, rounds=9 if n <= 28 else 3)


@pytest.mark.parametrize("n", [24, 28])
def test_loop(duel, n):
    compete(duel, f"loop hafnian, n = {n}", gram(n), mu=gram(n, 1)[0], recursive=False, bar=">= 200x piquasso, >= 800x thewalrus", rounds=9 if n == 24 else 5)


@pytest.mark.parametrize("repeats", [[10] * 4, [2] * 12], ids=["10^4", "2^12"])
def test_repeats(duel, repeats):
    compete(duel, f"hafnian, {len(repeats)} points {repeats[0]} times each", gram(len(repeats)), repeats=repeats, recursive=sum(repeats) <= 24)


def test_complex(duel):
    compete(duel, "complex hafnian, n = 24", gram(24) + 1j * gram(24, 1))


@pytest.mark.parametrize("n, cutoff", [(2, 10), (4, 8), (6, 7)])
def test_all_repeats_below_a_cutoff(duel, n, cutoff):
    K, mu = gram(n), gram(n, 1)[0]
    rivals = []
    if thewalrus is not None:
        assert np.allclose(thewalrus.hafnian_batched(K, cutoff, mu=mu), drop_in.hafnian_batched(K, cutoff, mu=mu), rtol=1e-8)
        rivals = [Contender("thewalrus", calls(lambda: thewalrus.hafnian_batched(K, cutoff, mu=mu)))]
    duel(f"loop hafnians of all {cutoff}^{n} repeats", Contender("nnqft", calls(lambda: drop_in.hafnian_batched(K, cutoff, mu=mu))), rivals, unit="boxes/s")


@pytest.mark.parametrize("n, r", [(20, 2), (24, 3)])
def test_low_rank(duel, n, r):
    G = np.random.default_rng(0).normal(size=(n, r))
    rivals = []
    if thewalrus is not None:
        assert np.isclose(thewalrus.low_rank_hafnian(G), drop_in.low_rank_hafnian(G), rtol=1e-9)
        rivals = [Contender("thewalrus", calls(lambda: thewalrus.low_rank_hafnian(G)))]
    duel(f"hafnian of rank {r}, n = {n}", Contender("nnqft", calls(lambda: drop_in.low_rank_hafnian(G))), rivals, unit="hafnians/s", rounds=3)
