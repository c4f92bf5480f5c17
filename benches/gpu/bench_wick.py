"""Hafnians, batches of small ones, all multisets and moments on a device, against CuPy and torch there and against two cores of the CPU.

Limits on an H200 (132 multiprocessors at 1.98 GHz, 64 multiply-adds in double precision a clock each: 1.67e13/s; memory 4.8 TB/s):

    hafnian     its multiply-adds (hafnian_cost) at 1.67e13/s: 2.4 ms at n = 50. Shared memory gives 16 numbers a clock, of which the kernel takes one
                per 2.2 multiply-adds, all in all: 55 % of that.
    tuples      n = 6: 24 bytes of index and 8 of result, 1.5e11/s; 15 gathers from the first-level cache, some 6 clocks a warp each: 9e10/s.
    moments     a multiply-add per sum and sample at 1.67e13/s, half of that by shared memory; two reads of the samples.
    multisets   8 bytes an entry: 6e11/s; some 40 n instructions at 128 a clock: 1.4e11/s at n = 6.
"""

from math import comb

import numpy as np
import pytest
from conftest import Contender, imported, repeated
from nnqft.wick import hafnian, hafnian_batch, hafnian_cost, moments, pairings, wick_all

pytestmark = pytest.mark.gpu

MULTIPLY_ADDS, BYTES = 132 * 64 * 1.98e9, 4.8e12


def kernel(m):
    A = np.random.default_rng(m).standard_normal((m, 2 * m))
    return A @ A.T / (2 * m)


@pytest.mark.parametrize("n", [32, 40, 50])
def test_hafnian(device_duel, emulated, n):
    if emulated:
        n = n // 4 * 2  # 16, 20, 24
    K = kernel(n)
    if n <= 40:
        assert hafnian(K, device="cuda") == hafnian(K)
    device_duel(
        f"hafnian n={n}",
        Contender("nnqft", repeated(lambda: hafnian(K, device="cuda"))),
        [Contender("two cores", repeated(lambda: hafnian(K, threads=2)))],
        unit="hafnians/s", bar=">= 20x two cores" if n == 50 else None, limit=f"{MULTIPLY_ADDS / hafnian_cost(K)['multiply_adds']:.3g}/s",
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
    rivals = [Contender("two cores", repeated(lambda: hafnian_batch(K, host, threads=2), size=size))]
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
    half = np.array(np.triu_indices(m)).T if order == 4 else np.array([(i, j, k) for i in range(m) for j in range(i, m) for k in range(j, m)])

    def products(library, F):  # unique half-products, one matrix product of them with themselves
        columns = [F[:, i] for i in range(m)]
        stripes = [columns[h[0]] * columns[h[1]] if order == 4 else columns[h[0]] * columns[h[1]] * columns[h[2]] for h in half.tolist()]
        P = library.stack(stripes)
        return P @ P.T / len(F)

    def wait():
        cupy.cuda.get_current_stream().synchronize()

    first = tuple(half[-1].tolist()) * 2  # f_m^order
    ours = moments(F, orders=order, stderr=False)[order]
    rivals = [Contender("CuPy, matrix product", repeated(lambda: products(cupy, F), wait=wait, size=size))]
    np.testing.assert_allclose(float(products(cupy, F)[-1, -1]), ours[first].mean, rtol=1e-10)
    if not emulated and imported("torch"):
        import torch

        G = torch.from_dlpack(F)
        rivals.append(Contender("torch, matrix product", repeated(lambda: products(torch, G), wait=torch.cuda.synchronize, size=size)))
    host = F[: 1 << 20].get()
    rivals.append(Contender("two cores", repeated(lambda: moments(host, orders=order, stderr=False, threads=2), size=len(host))))
    device_duel(f"moments order={order} m={m}", Contender("nnqft", repeated(lambda: moments(F, orders=order, stderr=False), size=size)), rivals,
                unit="samples/s", limit=f"{min(MULTIPLY_ADDS / sums / 2, BYTES / m / 16):.2g}/s")  # fmt: skip


@pytest.mark.parametrize(("order", "m"), [(4, 20), (6, 20), (8, 20)])
def test_all_multisets(device_duel, emulated, order, m):
    m = 5 if emulated else m
    K, count = kernel(m), comb(m + order - 1, order)
    assert np.array_equal(wick_all(K, order, device="cuda").mean, wick_all(K, order).mean)
    device_duel(f"all multisets order={order} m={m}, to the host", Contender("nnqft", repeated(lambda: wick_all(K, order, device="cuda"), size=count)),
                [Contender("two cores", repeated(lambda: wick_all(K, order, threads=2), size=count))], unit="entries/s")  # fmt: skip
