"""Hafnians, batches of small ones, all multisets and moments on a device, against CuPy, torch and JAX there and against two and all cores of
the CPU.

Limits on an H200 (132 multiprocessors at 1.98 GHz, 64 multiply-adds in double precision a clock each: 1.67e13/s; memory 4.8 TB/s):

    hafnian     its multiply-adds (hafnian_cost) at 1.67e13/s: 2.4 ms at n = 50. Shared memory gives 16 numbers a clock, of which the kernel takes one
                per 2.2 multiply-adds, all in all: 55 % of that.
    tuples      n = 6: 24 bytes of index and 8 of result, 1.5e11/s; 15 gathers from the first-level cache, some 6 clocks a warp each: 9e10/s.
    moments     a multiply-add per sum and sample at 1.67e13/s, half of that by shared memory; two reads of the samples.
    multisets   8 bytes an entry: 6e11/s; some 40 n instructions at 128 a clock: 1.4e11/s at n = 6.

Rivals of the hafnian (wick_forms.sieve) are left out at n = 50: 2^24 matrices of 50 x 50 with eight products each, 3.4e13 operations, are half a
second on tensor cores at full speed, and several as they are.
"""

import os
from functools import partial
from math import comb

import numpy as np
import pytest
import wick_forms
from conftest import Contender, imported, repeated
from nnqft.wick import hafnian, hafnian_batch, hafnian_cost, moments, pairings, wick_all
from rivals.all_multisets import JaxRecursion

pytestmark = pytest.mark.gpu

MULTIPLY_ADDS, BYTES, ISSUE = 132 * 64 * 1.98e9, 4.8e12, 132 * 128 * 1.98e9


def on_cpu(call, *, size=1):
    """call(threads) on two cores, in which the bar counts, and on all that this machine has."""
    cores = len(os.sched_getaffinity(0))
    names = {"two cores": 2} | ({f"{cores} cores": cores} if cores > 2 else {})
    return [Contender(name, repeated(partial(call, threads), size=size)) for name, threads in names.items()]


def jax64():
    """JAX in double precision, or None."""
    jax = imported("jax")
    if jax is not None:
        jax.config.update("jax_enable_x64", True)
    return jax


def put_in_torch(x):
    import torch

    return torch.from_numpy(x).cuda()


def kernel(m):
    A = np.random.default_rng(m).standard_normal((m, 2 * m))
    return A @ A.T / (2 * m)


@pytest.mark.parametrize("n", [32, 40, 50])
def test_hafnian(device_duel, cupy, emulated, n):
    rivals, barred, few = [], n == 50, n <= 40
    if emulated:
        n = n // 4 * 2  # 16, 20, 24
    K = kernel(n)
    value = hafnian(K, device="cuda")
    if few:
        assert value == hafnian(K)
        forms = {"CuPy": wick_forms.sieve(cupy, K)}
        if not emulated and imported("torch"):
            import torch

            forms["torch"] = wick_forms.sieve(torch, K, put=put_in_torch)
        if not emulated and (jax := jax64()):
            forms["JAX"] = wick_forms.sieve(jax.numpy, K, compiled=jax.jit)
        for name, form in forms.items():  # sums of either sign cost a digit for three points, or so
            assert form() == pytest.approx(value, rel=0.01)
            rivals.append(Contender(f"{name}, sieve of traces", repeated(form)))
    device_duel(
        f"hafnian n={n}",
        Contender("nnqft", repeated(lambda: hafnian(K, device="cuda"))),
        [*on_cpu(lambda threads: hafnian(K, threads=threads)), *rivals],
        unit="hafnians/s", bar=">= 20x two cores" if barred else None, limit=f"{MULTIPLY_ADDS / hafnian_cost(K)['multiply_adds']:.3g}/s",
    )  # fmt: skip


@pytest.mark.parametrize("n", [4, 6, 8, 12])
def test_index_batch(device_duel, cupy, emulated, n):
    m, size = 20, 1 << 10 if emulated else 1 << 24
    K = kernel(m)
    index = cupy.asarray(np.random.default_rng(n).integers(0, m, (size, n)).astype(np.int32))
    some = index[:1000].get()
    assert np.array_equal(hafnian_batch(K, index[:1000]).get(), hafnian_batch(K, some))

    def wait():
        cupy.cuda.get_current_stream().synchronize()

    def matchings():  # the form that vectorises: gathers, products and a sum over the (n-1)!! pairings
        total = 0
        for pairing in pairings(n):
            term = 1
            for a, b in pairing.tolist():
                term = term * K_there[index[:, a], index[:, b]]
            total = total + term
        return total

    K_there = cupy.asarray(K)
    host = index.get()
    rivals = on_cpu(lambda threads: hafnian_batch(K, host, threads=threads), size=size)
    if n <= 6:
        np.testing.assert_allclose(matchings().get(), hafnian_batch(K, host), rtol=1e-12)
        rivals.append(Contender("CuPy, pairings", repeated(matchings, wait=wait, size=size)))
    limit = BYTES / (4 * n + 8)
    device_duel(f"index batch n={n}", Contender("nnqft", repeated(lambda: hafnian_batch(K, index), wait=wait, size=size)), rivals,
                unit="hafnians/s", limit=f"{limit:.2g}/s by memory")  # fmt: skip


@pytest.mark.parametrize(("order", "m"), [(4, 6), (4, 20), (6, 6), (6, 10)])
def test_moments(device_duel, cupy, emulated, order, m):
    sums = comb(m + order - 1, order)
    size = 5000 if emulated else (1 << 34) // sums // 4096 * 4096
    F = cupy.asarray(np.random.default_rng(m).standard_normal((size, m)))
    forms = {"CuPy": (wick_forms.products(cupy, m, order), F, cupy.cuda.get_current_stream().synchronize)}
    if not emulated and imported("torch"):
        import torch

        forms["torch"] = wick_forms.products(torch, m, order), torch.from_dlpack(F), torch.cuda.synchronize
    if not emulated and (jax := jax64()):
        run, there = jax.jit(wick_forms.products(jax.numpy, m, order)), jax.dlpack.from_dlpack(F)
        forms["JAX"] = lambda F: run(F).block_until_ready(), there, None
    ours = moments(F, orders=order, stderr=False)[order]
    last = (m - 1,) * order  # f_m^order
    rivals = []
    for name, (form, samples, wait) in forms.items():
        assert float(form(samples)[-1, -1]) == pytest.approx(ours[last].mean, rel=1e-10)
        rivals.append(Contender(f"{name}, matrix product", repeated(partial(form, samples), wait=wait, size=size)))
    host = F[: 1 << 20].get()
    rivals += on_cpu(lambda threads: moments(host, orders=order, stderr=False, threads=threads), size=len(host))
    device_duel(f"moments order={order} m={m}", Contender("nnqft", repeated(lambda: moments(F, orders=order, stderr=False), size=size)), rivals,
                unit="samples/s", limit=f"{min(MULTIPLY_ADDS / sums / 2, BYTES / m / 16):.2g}/s")  # fmt: skip


@pytest.mark.parametrize(("order", "m"), [(4, 20), (6, 20), (8, 20)])
def test_all_multisets(device_duel, cupy, emulated, order, m):
    m = 5 if emulated else m
    K, count = kernel(m), comb(m + order - 1, order)
    ours = wick_all(K, order, device="cuda").mean
    assert np.array_equal(ours, wick_all(K, order).mean)
    rivals = on_cpu(lambda threads: wick_all(K, order, threads=threads), size=count)
    form = wick_forms.CupyRecursion(cupy, K, order)
    np.testing.assert_allclose(form.packed(), ours, rtol=1e-10, atol=1e-14)
    rivals.append(Contender("CuPy, recursion", repeated(form.packed, size=count)))
    if not emulated and order < 8 and jax64():  # whose tables are constants of the program: at order 8 it compiles for minutes
        form = JaxRecursion(K, order)
        np.testing.assert_allclose(form.values()[1], ours, rtol=1e-10, atol=1e-14)
        rivals.append(Contender("JAX, recursion", repeated(form.values, size=count)))
    device_duel(f"all multisets order={order} m={m}, to the host", Contender("nnqft", repeated(lambda: wick_all(K, order, device="cuda"), size=count)),
                rivals, unit="entries/s", limit=f"{min(BYTES / 8, ISSUE / 40 / order):.2g}/s on the device")  # fmt: skip
