"""Lanczos: runs of k = 100 steps a second on 2-D Laplacians and dense matrices, against numpy loops, imate and ARPACK.

The limit of a run counts what has to come from memory, at the speed at which one core reads it (measured in the same run; vectors that
fit the last cache come faster): for sparse matrices seven passes over vectors a step, as a stencil is not stored; for dense ones half the
matrix a product. Full orthogonalisation reads the basis once for every panel of eight vectors.
"""

import time

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import Contender, imported, repeated
from rivals import lanczos_forms
from threadpoolctl import threadpool_limits

from nnqft import _core
from nnqft.lanczos import lanczos

K = 100
IMATE = imported("imate")


def laplacian(rows, coefficient=None):
    """Five-point Laplacian of a square; with `coefficient` (a generator), every bond has its own strength."""
    n = rows * rows
    if coefficient is None:
        line = sp.diags_array([-np.ones(rows - 1), 2 * np.ones(rows), -np.ones(rows - 1)], offsets=[-1, 0, 1])
        return (sp.kron(line, sp.eye_array(rows)) + sp.kron(sp.eye_array(rows), line)).tocsr()
    right, down = -coefficient.random(n - 1), -coefficient.random(n - rows)
    right[rows - 1 :: rows] = 0.0
    off = sp.diags_array([right, right, down, down], offsets=[1, -1, rows, -rows], shape=(n, n)).tocsr()
    off.eliminate_zeros()
    return (off + sp.diags_array(np.full(n, 4.0))).tocsr()


def shuffled(A):
    """The same graph with its sites in random order."""
    order = np.random.default_rng(1).permutation(A.shape[0])
    return A[order][:, order].tocsr()


def dense(n, dtype=np.float64):
    M = np.random.default_rng(0).standard_normal((n, n))
    return ((M + M.T) / np.sqrt(n)).astype(dtype)


def read_rate(size=400):
    """Bytes/s at which one core reads `size` megabytes of vectors: the best of several sums."""
    x, seconds = np.ones(size * 125_000), []
    with threadpool_limits(1):
        for _ in range(5):
            start = time.perf_counter()
            x @ x
            seconds.append(time.perf_counter() - start)
    return x.nbytes / min(seconds)


def limit(megabytes):
    rate = read_rate()
    return f"{rate / (megabytes * 1e6):.3g} runs/s: {megabytes / 1e3:.3g} GB at {rate / 1e9:.3g} GB/s"


def contender(name, call, threads=1):
    return Contender(name, repeated(call, threads=threads))


def agree(got, want, dtype):
    """T of two runs from one vector: steps before rounding takes over."""
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    for ours, theirs in zip((got.alpha[0], got.beta[0]), want):
        np.testing.assert_allclose(ours[:20], theirs[:20], rtol=0, atol=tolerance * np.abs(theirs).max())


def loss(basis):
    """max |Q Q^T - 1|, in float64."""
    gram = sum(part.astype(np.float64) @ part.T.astype(np.float64) for part in np.array_split(basis, 64, axis=1))
    return np.abs(gram - np.eye(len(gram))).max()


def imate_contenders(A, probes, full, threads):
    if IMATE is None:
        return []
    estimate = lanczos_forms.imate_slq(IMATE, A, K, probes, full=full, threads=threads)
    trace, size = A.trace(), np.sqrt(2 * (A.multiply(A) if sp.issparse(A) else A * A).sum())
    assert abs(estimate - trace) <= 6 * size / np.sqrt(probes) + 1e-6 * abs(trace)
    return [contender(f"imate, {probes} probes" if probes > 1 else "imate",
                      lambda: lanczos_forms.imate_slq(IMATE, A, K, probes, full=full, threads=threads), threads)]  # fmt: skip


SPARSE = {"stencil": laplacian, "own coefficients": lambda rows: laplacian(rows, np.random.default_rng(0)), "shuffled": lambda rows: shuffled(laplacian(rows))}


BOTH = [np.float64, np.float32]
# Sizes, precisions and threads of the plain stencil; the other matrices at one of them.
WITHOUT = [("stencil", rows, dtype, threads) for rows in (316, 1000) for dtype in BOTH for threads in (1, 2)]
WITHOUT += [("own coefficients", 1000, np.float64, 1), ("shuffled", 316, np.float64, 1)]


@pytest.mark.parametrize(("kind", "rows", "dtype", "threads"), WITHOUT)
def test_sparse_without_reorthogonalisation(duel, kind, rows, dtype, threads):
    A = SPARSE[kind](rows).astype(dtype)
    n = rows * rows
    v = _core.lanczos_start("rademacher", 0, 0, n).astype(dtype)
    with threadpool_limits(1):
        agree(lanczos(A, K, v0=v, reorth="none", threads=threads), lanczos_forms.numpy_none(A, K, v), dtype)
    ours = contender("lanczos", lambda: lanczos(A, K, v0=v, reorth="none", threads=threads, check_symmetric=False), threads)
    rivals = [contender("numpy", lambda: lanczos_forms.numpy_none(A, K, v), threads), *imate_contenders(A, 1, False, threads)]
    matrix = {"stencil": 0, "own coefficients": 5 * v.itemsize, "shuffled": 5 * v.itemsize + 24}[kind]
    bar = ">= 2.5x imate, >= 1.5x numpy" if rows == 1000 else None
    title = f"Laplacian, {kind}, n={n:.0e}, {np.dtype(dtype)}, none, {threads} thread{'s' if threads > 1 else ''}"
    duel(title, ours, rivals, unit="runs/s", bar=bar, limit=limit(K * n * (7 * v.itemsize + matrix) / 1e6), seconds=0.1, rounds=5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("rows", [316, 1000])
def test_sparse_with_full_reorthogonalisation(duel, rows, dtype, threads):
    A, n = laplacian(rows).astype(dtype), rows * rows
    v = _core.lanczos_start("rademacher", 0, 0, n).astype(dtype)
    run = lanczos(A, K, v0=v, threads=threads, basis=True)
    assert loss(run.basis[0]) <= (1e-12 if dtype == np.float64 else 1e-5)
    with threadpool_limits(1):
        agree(run, lanczos_forms.numpy_full(A, K, v, 2)[:2], dtype)
    del run
    ours = contender("lanczos", lambda: lanczos(A, K, v0=v, threads=threads, check_symmetric=False), threads)
    rivals = [contender(f"numpy, {passes} pass{'es' if passes > 1 else ''}", lambda passes=passes: lanczos_forms.numpy_full(A, K, v, passes), threads)
              for passes in (1, 2)]  # fmt: skip
    rivals += imate_contenders(A, 1, True, threads)
    bar = ">= 1.4x imate, >= 1.9x numpy, 2 passes" if rows == 1000 else None
    title = f"Laplacian, n={n:.0e}, {np.dtype(dtype)}, full, {threads} thread{'s' if threads > 1 else ''}"
    basis = K * K / 16 * n * v.itemsize
    duel(title, ours, rivals, unit="runs/s", bar=bar, limit=limit((K * 7 * n * v.itemsize + basis) / 1e6), seconds=0.1, rounds=3)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("probes", [1, 8])
def test_dense(duel, probes, dtype, threads):
    n = 4000
    A = dense(n, dtype)
    v = np.stack([_core.lanczos_start("rademacher", 0, p, n).astype(dtype) for p in range(probes)])
    run = lanczos(A, K, v0=v, threads=threads, check_symmetric=False)
    with threadpool_limits(threads):
        agree(run, lanczos_forms.numpy_full(A, K, v[0], 2)[:2], dtype)

    def looped(form):
        return lambda: [form(A, K, x) for x in v]

    ours = contender("lanczos, full", lambda: lanczos(A, K, v0=v, threads=threads, check_symmetric=False), threads)
    rivals = [contender("numpy, none", looped(lanczos_forms.numpy_none), threads),
              contender("numpy, full, 2 passes", looped(lambda *a: lanczos_forms.numpy_full(*a, 2)), threads),
              contender("lanczos, none", lambda: lanczos(A, K, v0=v, reorth="none", threads=threads, check_symmetric=False), threads),
              *imate_contenders(A, probes, True, threads)]  # fmt: skip
    title = f"dense n={n}, {probes} probe{'s' if probes > 1 else ''}, {np.dtype(dtype)}, full, {threads} thread{'s' if threads > 1 else ''}"
    duel(title, ours, rivals, unit="runs/s", bar=">= 3x imate" if probes == 8 else None, limit=limit(K * A.nbytes / 2e6), seconds=0.1, rounds=3)
