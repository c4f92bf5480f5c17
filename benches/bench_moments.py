"""Moment tensors: samples per second against the best forms of numpy, torch and JAX, one core, float64.

The limit is C(m+n-1, n) multiply-adds per sample at the speed of this machine's own matrix product (dgemm, one thread).
"""

import time
from math import comb

import numpy as np
import pytest
from conftest import Contender
from rivals import moment_forms, pool
from threadpoolctl import threadpool_limits

from nnqft import _core
from nnqft.wick import MomentAccumulator, moments

SIZES = [(4, 6, 100_000), (4, 20, 40_000), (6, 6, 20_000), (6, 8, 20_000), (6, 10, 40_000)]  # order, fields, samples
BARS = {(4, 6): ">= 4x", (6, 6): ">= 20x", (6, 8): ">= 20x", (6, 10): ">= 20x"}  # over jitted jax.einsum


def limit(order, m):
    """The best of several products, as it is a limit."""
    a = np.random.default_rng(0).random((768, 768))
    seconds = []
    with threadpool_limits(1):
        for _ in range(10):
            start = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - start)
    return f"{768**3 / min(seconds) / comb(m + order - 1, order):.3g} samples/s"


def contender(name, call, n_samples):
    """`call` takes all the samples; a run repeats it."""

    def run(n):
        times = max(1, round(n / n_samples))
        for _ in range(times):
            call()
        return times * n_samples

    return Contender(name, run)


def ways(F, order):
    """The same kernel behind every front."""

    def stream():
        accumulator = MomentAccumulator(F.shape[1], orders=order, threads=1)
        for part in np.array_split(F, 8):
            accumulator.push(part)
        return accumulator.finalize()

    narrow = F.astype(np.float32)
    return {
        "moments": lambda: moments(F, orders=order, threads=1),
        "MomentAccumulator, 8 pushes": stream,
        "moments, no error bars": lambda: moments(F, orders=order, stderr=False, threads=1),
        "moments, float32": lambda: moments(narrow, orders=order, threads=1),
    }


def rivals(forms, order, m, n_samples, want):
    for library, form in forms:
        arguments = (library, form, order, m, n_samples)
        np.testing.assert_allclose(pool.moments(*arguments), want, atol=1e-9 * np.abs(want).max())
        yield contender(f"{library} {form}", lambda a=arguments: pool.moments(*a), n_samples)


ALL = [(library, form) for library, forms in moment_forms.FORMS.items() for form in forms]
EINSUM = ("jax", "einsum")


@pytest.mark.parametrize("against", ["jitted jax.einsum", "torch.einsum and matrix products"])
@pytest.mark.parametrize(("order", "m", "n_samples"), SIZES)
def test_moments_against_other_libraries(duel, order, m, n_samples, against):
    F = moment_forms.samples(m, n_samples)
    want = _core.moment_sums(F, order)
    for call in ways(F, order).values():
        np.testing.assert_allclose(call()[order].mean * n_samples, want, atol=1e-6 * np.abs(want).max())
    ours = contender("moments", ways(F, order)["moments"], n_samples)
    for_the_bar = against == "jitted jax.einsum"
    forms = [EINSUM] if for_the_bar else [form for form in ALL if form != EINSUM]
    peers = list(rivals(forms, order, m, n_samples, want))
    bar = BARS.get((order, m)) if for_the_bar else None
    title = f"moments, order {order}, m={m}, against {against}, one core"
    duel(title, ours, peers, unit="samples/s", bar=bar, limit=limit(order, m))


@pytest.mark.parametrize(("order", "m", "n_samples"), SIZES)
def test_ways_to_call_it(duel, order, m, n_samples):
    """The first against the others: what error bars, streaming and float32 cost or save."""
    calls = ways(moment_forms.samples(m, n_samples), order)
    first, *others = [contender(name, call, n_samples) for name, call in calls.items()]
    title = f"moments, order {order}, m={m}, ways to call it, one core"
    duel(title, first, others, unit="samples/s", limit=limit(order, m))
