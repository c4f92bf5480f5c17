"""Hafnians of a matrix with all repeats of its rows below a cutoff: the multidimensional Hermite recursion, row by row."""

import os

import numpy as np

from ..errors import ArgumentError


def box(A, mu, cutoff, renorm):
    """H[k] = haf(A, mu; k), or H[k] / sqrt(prod k!) if renorm, for all 0 <= k_i < cutoff; flat, the last k fastest.

    H[k + e_i] = mu_i H[k] + sum_j A_ij k_j H[k - e_j]. Axes are filled from the last to the first, so that every H[.., k_i, ..] with
    zeros before it is one contiguous row, and k - e_j a shift of it.
    """
    n = len(A)
    _check_memory(cutoff, n, A.itemsize)
    H = np.zeros(cutoff**n, A.dtype)
    H[0] = 1.0
    k = np.arange(cutoff, dtype=np.float64)
    weight = np.sqrt(k) if renorm else k  # the norms of k and of k - e_j differ by sqrt(k_j)
    for i in reversed(range(n)):
        rows = H[: cutoff ** (n - i)].reshape(cutoff, -1)
        for t in range(cutoff - 1):
            new = rows[t + 1]
            if mu is not None:
                new += mu[i] * rows[t]
            if t:
                new += A[i, i] * weight[t] * rows[t - 1]
            for j in range(i + 1, n):
                shape = (-1, cutoff, cutoff ** (n - 1 - j))
                new.reshape(shape)[:, 1:] += (A[i, j] * weight[1:, np.newaxis]) * rows[t].reshape(shape)[:, :-1]
            if renorm:
                new /= weight[t + 1]
    return H


def _check_memory(cutoff, n, itemsize):
    need = 2 * itemsize * cutoff**n  # Python integers do not wrap
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 40
    if need > have:
        raise ArgumentError(f"all repeats below {cutoff} of {n} rows take {need:.1e} bytes, and this machine has {have:.1e}; "
                            "nnqft.wick.wick_all gives those of one total order, nnqft.wick.hafnian a single one")  # fmt: skip
