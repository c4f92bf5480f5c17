"""Batches of small hafnians, results per second on one core: index tuples over one kernel, matrices, and their derivatives.

    pip install jax thewalrus piquasso

Rivals: the sum over matchings in numpy, by fancy indexing as people write it and by rows of a chunk that fits the
cache; numpy and jitted JAX with the minors shared as ours are (JAX to n = 8: compiling takes it half a minute at n = 12,
and minutes for derivatives); thewalrus and piquasso call by call. Answers are checked first. About 40 s.

Limit of index tuples: the gathers. A core of this machine takes 0.15 ns for each of the n (n-1) / 2 entries (AVX-512;
sums of gathered doubles, 0.20 ns for scalar loads and shuffles): 0.9, 2.3, 4.2 ns at n = 4, 6, 8. The multiply-adds
(3, 20, 87, sixteen to a cycle) use the same two ports and come on top: 0.05, 0.3, 1.4 ns. From n = 12 on they rule: 17
of 27 ns. The bar of 200x at n = 8 holds against fancy indexing; by rows numpy needs some 270 ns, and a two hundredth of
that is less than the multiply-adds alone take.
"""

import functools
import os
import warnings

import numpy as np
import pytest
from conftest import Contender, imported

from nnqft.wick import hafnian_batch, hafnian_batch_vjp, pairings

GATHER, MULTIPLY_ADD = 0.151e-9, 1 / (16 * 3.8e9)  # seconds
TERMS = {4: 3, 6: 20, 8: 87, 10: 317, 12: 1055}
BARS = {6: ">= 15x the sum over matchings in numpy", 8: ">= 200x the sum over matchings in numpy"}
M = 20
SHORT = {"seconds": 0.05, "rounds": 9}  # per contender: millions a second need no more


thewalrus, piquasso, jax = imported("thewalrus"), imported("piquasso._math.hafnian"), imported("jax")


def theory(n, count):
    rng = np.random.default_rng(n)
    F = rng.normal(size=(M, 2 * M))
    return F @ F.T / (2 * M), rng.normal(size=M), rng.integers(0, M, size=(count, n)).astype(np.int32)


def shared_minors(entry, n):
    """The recursion over subsets, on whole arrays entry(i, j)."""

    @functools.cache
    def of(points):
        i, *rest = points
        if len(rest) == 1:
            return entry(i, rest[0])
        return functools.reduce(lambda a, b: a + b, (entry(i, j) * of(tuple(k for k in rest if k != j)) for j in rest))

    return of(tuple(range(n)))


def matchings_by_fancy_index(K, index):
    p = pairings(index.shape[1])
    return K[index[:, p[:, :, 0]], index[:, p[:, :, 1]]].prod(axis=2).sum(axis=1)


def matchings_by_rows(K, index):
    rows = np.ascontiguousarray(index.T)
    k = {(i, j): K[rows[i], rows[j]] for i in range(len(rows)) for j in range(i + 1, len(rows))}
    total, product = np.zeros(len(index)), np.empty(len(index))
    for matching in pairings(len(rows)).tolist():
        pairs = [k[tuple(pair)] for pair in matching]
        np.multiply(pairs[0], pairs[1], out=product)
        for more in pairs[2:]:
            product *= more
        total += product
    return total


def minors_by_rows(K, index):
    rows = np.ascontiguousarray(index.T)
    k = functools.cache(lambda i, j: K[rows[i], rows[j]])
    return shared_minors(k, len(rows))


def jitted_minors(n):
    jax.config.update("jax_enable_x64", True)
    return jax.jit(lambda K, index: shared_minors(lambda i, j: K[index[:, i], index[:, j]], n))


def chunks(function, index, chunk):
    """run(count) for a function of chunks of the list, over and over."""

    def run(count):
        done = 0
        while done < count:
            first = done % (len(index) - chunk + 1)
            np.asarray(function(index[first : first + chunk]))
            done += chunk
        return done

    return run


def contender(name, function, K, index, chunk):
    want, size = hafnian_batch(K, index[:chunk]), hafnian_batch(abs(K), index[:chunk])
    assert (abs(np.asarray(function(K, index[:chunk])) - want) <= 1e-9 * size).all(), name
    return Contender(name, chunks(functools.partial(function, K), index, chunk))


def call_by_call(function):
    return lambda K, index: [function(K[np.ix_(t, t)]) for t in index]


@pytest.fixture(autouse=True, scope="module")
def one_core():
    """Everybody on one processor, thread pools made meanwhile included."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    if before:
        os.sched_setaffinity(0, {max(before)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    if before:
        os.sched_setaffinity(0, before)


def rivals(n, K, index):
    if n <= 8:
        yield contender("numpy matchings by fancy index", matchings_by_fancy_index, K, index, {4: 1024, 6: 256, 8: 32}[n])
        yield contender("numpy matchings by rows", matchings_by_rows, K, index, 2048)
    yield contender("numpy shared minors by rows", minors_by_rows, K, index, 2048)
    if jax is not None and n <= 8:
        yield contender("jax.jit shared minors", jitted_minors(n), K, index, 8192)
    if piquasso is not None:
        ones = np.ones(n, int)
        yield contender("piquasso call by call", call_by_call(lambda A: piquasso.hafnian_with_reduction(A, ones)), K, index, 16)
    if thewalrus is not None:
        yield contender("thewalrus recursive call by call", call_by_call(functools.partial(thewalrus.hafnian, method="recursive")), K, index, 16)


@pytest.mark.parametrize("n", [4, 6, 8, 10, 12])
def test_index_tuples(duel, n):
    K, _, index = theory(n, 1 << 16)
    ours = Contender("nnqft", chunks(lambda t: hafnian_batch(K, t, threads=1), index, 1 << 15))
    limit = n * (n - 1) / 2 * GATHER + TERMS[n] * MULTIPLY_ADD
    duel(f"hafnians of index tuples, n = {n}, m = {M}", ours, list(rivals(n, K, index)), unit="/s", bar=BARS.get(n), limit=f"{1e-6 / limit:.3g} M/s", **SHORT)


@pytest.mark.parametrize("n", [4, 8])
def test_other_inputs(duel, n):
    """The fastest way in against the others: indices of 64 bits, a mean, matrices, packed matrices, scales at the end of the range."""
    K, mu, index = theory(n, 1 << 13)
    dense, wide, tiny = K[index[:, :, None], index[:, None]], index.astype(np.int64), K * 1e-200
    packed = np.ascontiguousarray(dense[(slice(None), *np.triu_indices(n, 1))])
    forms = {"int64": lambda: hafnian_batch(K, wide, threads=1), "with a mean": lambda: hafnian_batch(K, index, mu=mu, threads=1),
             "matrices": lambda: hafnian_batch(dense, threads=1), "packed matrices": lambda: hafnian_batch(packed, packed=True, threads=1),
             "entries below 1e-200": lambda: hafnian_batch(tiny, index, threads=1)}  # fmt: skip
    everyone = [Contender(name, whole(function, len(index))) for name, function in forms.items()]
    duel(f"hafnian_batch, n = {n}: int32 tuples against", Contender("int32", whole(lambda: hafnian_batch(K, index, threads=1), len(index))), everyone, unit="/s", **SHORT)


@pytest.mark.parametrize("n", [4, 6, 8, 12])
def test_derivatives(duel, n):
    """All derivatives by K and mu, against the values and against JAX's reverse mode."""
    K, mu, index = theory(n, 1 << 13)
    g = np.ones(len(index))
    rivals = [Contender("the values", whole(lambda: hafnian_batch(K, index, threads=1), len(index)))]
    if jax is not None and n <= 8:
        values = jitted_minors(n)
        gradient = jax.jit(jax.grad(lambda k, t: values(k, t).sum()))
        want = np.asarray(gradient(K, index))
        got = hafnian_batch_vjp(K, index, g)[0]
        assert np.allclose((want + want.T) / 2, got, rtol=1e-9, atol=1e-9 * abs(got).max())
        rivals.append(Contender("jax.grad", whole(lambda: gradient(K, index).block_until_ready(), len(index))))
    duel(f"hafnian_batch_vjp, n = {n}", Contender("nnqft", whole(lambda: hafnian_batch_vjp(K, index, g, threads=1), len(index))), rivals, unit="/s", **SHORT)


def whole(function, size):
    def run(count):
        rounds = -(-count // size)
        for _ in range(rounds):
            function()
        return rounds * size

    return run
