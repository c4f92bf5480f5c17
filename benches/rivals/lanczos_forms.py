"""Lanczos by other libraries: plain numpy loops, imate's stochastic Lanczos quadrature, ARPACK in scipy.

The numpy loops are Paige's recurrence with temporaries kept in place; "full" projects on the whole basis by two matrix-vector products
a pass. imate draws its own Rademacher vectors and gives back a trace, so each call makes the same number of steps on as many vectors.
"""

import numpy as np

__all__ = ["imate_slq", "numpy_full", "numpy_none", "products"]


def numpy_none(A, k, v):
    """alpha, beta of k steps from v in three vectors."""
    q, before, alpha, beta = v / np.linalg.norm(v), np.zeros_like(v), np.empty(k), np.empty(k)
    scratch = np.empty_like(v)
    for j in range(k):
        w = A @ q
        if j:
            w -= np.multiply(before, beta[j - 1], out=before)
        alpha[j] = q @ w
        w -= np.multiply(q, w.dtype.type(alpha[j]), out=scratch)
        beta[j] = np.linalg.norm(w)
        w /= w.dtype.type(beta[j])
        before, q = q, w
    return alpha, beta


def numpy_full(A, k, v, passes):
    """The same with `passes` projections on all earlier vectors a step; also the basis, (k + 1, n)."""
    Q, alpha, beta = np.empty((k + 1, v.size), v.dtype), np.empty(k), np.empty(k)
    Q[0] = v / np.linalg.norm(v)
    for j in range(k):
        w = A @ Q[j]
        if j:
            w -= w.dtype.type(beta[j - 1]) * Q[j - 1]
        alpha[j] = Q[j] @ w
        w -= w.dtype.type(alpha[j]) * Q[j]
        for _ in range(passes):
            w -= (Q[: j + 1] @ w) @ Q[: j + 1]
        beta[j] = np.linalg.norm(w)
        np.divide(w, w.dtype.type(beta[j]), out=Q[j + 1])
    return alpha, beta, Q


def imate_slq(imate, A, k, probes, *, full, threads):
    """imate's estimate of tr A from `probes` runs of k steps; full: Gram-Schmidt against all vectors."""
    return imate.trace(A, method="slq", lanczos_degree=k, min_num_samples=probes, max_num_samples=probes, error_rtol=0.0, error_atol=0.0,
                       orthogonalize=-1 if full else 0, num_threads=threads)  # fmt: skip


def products(A, solve):
    """How many products with A scipy's `solve` (a function of a LinearOperator) takes."""
    from scipy.sparse.linalg import LinearOperator

    count = 0

    def matvec(x):
        nonlocal count
        count += 1
        return A @ x

    solve(LinearOperator(A.shape, matvec, dtype=A.dtype))
    return count
