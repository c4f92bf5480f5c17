"""Moment tensors in numpy, torch and JAX: the einsum that people write, and the matrix products that experts write.

    einsum      E[f_i f_j ..] over all m**n ordered index tuples
    gemm        half-products over sorted index tuples, X; then X.T @ X: each moment a few times
    staircase   only the blocks of X.T @ X that hold sorted tuples: each moment once

Sums over samples in float64, packed over sorted multi-indices (lexicographic).
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

__all__ = ["FORMS", "build", "samples"]

FORMS = {"numpy": ("gemm", "staircase"), "torch": ("einsum", "gemm"), "jax": ("einsum", "gemm")}

_PANEL = 2048  # samples whose half-products stay in the second-level cache


def samples(m, n_samples):
    """What every contender is given."""
    return np.random.default_rng(0).standard_normal((n_samples, m))


def _rows(m, n):
    return np.array(list(combinations_with_replacement(range(m), n)))


def _subscripts(order):
    letters = "ijklopqs"[:order]
    return ",".join("r" + i for i in letters) + "->" + letters


def _place(m, order):
    """For every sorted tuple: its row and column among the half-products."""
    a = order // 2
    left, right = ({tuple(row): k for k, row in enumerate(_rows(m, n))} for n in (a, order - a))
    rows = _rows(m, order)
    return [left[tuple(r[:a])] for r in rows], [right[tuple(r[a:])] for r in rows]


def build(library, form, order, m, n_samples, *, seed):
    """A function of n that sums over the samples once, whatever n, and returns (n_samples, packed sums)."""
    F = samples(m, n_samples)
    total = {"numpy": _numpy, "torch": _torch, "jax": _jax}[library](form, order, m, F)
    return lambda n: (n_samples, total())


def _numpy(form, order, m, F):
    a, b = order // 2, order - order // 2
    left, right, place = _rows(m, a), _rows(m, b), _place(m, order)
    panels = [np.ascontiguousarray(F[r : r + _PANEL].T) for r in range(0, len(F), _PANEL)]
    # Rows by last index, columns by descending first index: a row that ends in k meets the first columns only.
    by_last = [np.flatnonzero(left[:, -1] == k) for k in range(m)]
    descending = np.argsort(-right[:, 0], kind="stable")
    width = [int((right[:, 0] >= k).sum()) for k in range(m)]

    def halves(f, rows):
        x = f[rows[:, 0]]
        for k in range(1, rows.shape[1]):
            x *= f[rows[:, k]]
        return x

    def gemm():
        return sum(halves(f, left) @ halves(f, right).T for f in panels)

    def staircase():
        sums = np.zeros((len(left), len(right)))
        for f in panels:
            x, y = halves(f, left), halves(f, right[descending])
            for k in range(m):
                sums[by_last[k], : width[k]] += x[by_last[k]] @ y[: width[k]].T
        return sums[:, np.argsort(descending)]

    run = {"gemm": gemm, "staircase": staircase}[form]
    return lambda: run()[place]


def _torch(form, order, m, F):
    import torch

    torch.set_num_threads(1)
    left, right = (torch.tensor(_rows(m, n)) for n in (order // 2, order - order // 2))
    place, rows = _place(m, order), tuple(_rows(m, order).T)
    F = torch.tensor(F)
    panels = [p.T.contiguous() for p in F.split(_PANEL)]

    def halves(f, index):
        x = f[index[:, 0]]
        for k in range(1, index.shape[1]):
            x *= f[index[:, k]]
        return x

    if form == "einsum":
        return lambda: torch.einsum(_subscripts(order), *[F] * order).numpy()[rows]
    return lambda: sum(halves(f, left) @ halves(f, right).T for f in panels).numpy()[place]


def _jax(form, order, m, F):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    left, right = _rows(m, order // 2), _rows(m, order - order // 2)
    place, rows = _place(m, order), tuple(_rows(m, order).T)

    def half_gemm(F):
        def panel(total, f):
            def halves(index):
                x = f[:, index[:, 0]]
                for k in range(1, index.shape[1]):
                    x = x * f[:, index[:, k]]
                return x

            return total + halves(left).T @ halves(right), None

        whole = len(F) // _PANEL * _PANEL
        total, _ = jax.lax.scan(panel, jnp.zeros((len(left), len(right))), F[:whole].reshape(-1, _PANEL, m))
        return panel(total, F[whole:])[0]

    F = jnp.asarray(F)
    if form == "einsum":
        run = jax.jit(lambda F: jnp.einsum(_subscripts(order), *[F] * order))
        return lambda: np.asarray(run(F).block_until_ready())[rows]
    run = jax.jit(half_gemm)
    return lambda: np.asarray(run(F).block_until_ready())[place]
