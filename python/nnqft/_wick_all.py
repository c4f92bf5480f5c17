"""Gaussian n-point functions of all sorted index tuples at once, with a mean; the kernel is csrc/wick/all_multisets.cpp."""

import operator
import os

import numpy as np

from . import _core
from .errors import ArgumentError, ShapeError
from .tensor import SymmetricTensor

__all__ = ["wick_all"]

_HOW = {"estimator": "wick"}
# The system would rather kill a process than refuse it memory.
_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 62


def wick_all(K, order, *, mu=None, threads=None):
    """Gaussian n-point functions of all sorted index tuples: E[f_i1 .. f_in] for f with mean `mu` and covariance `K`.

    G_{i1..in} = sum over pairings of prod K_{ia ib}, e.g. G_{ijkl} = K_ij K_kl + K_ik K_jl + K_il K_jk; with a mean, the sum
    over pairings of any part of the legs, the others carrying mu_i. These are hafnians and loop hafnians with repeated rows.

    Parameters
    ----------
    K : array, shape (m, m), float64
        Symmetric kernel (two-point function), any units; it need not be positive. The upper triangle is used.
    order : int
        Number of legs n, 1 to 64. Without a mean odd orders are zero.
    mu : array, shape (m,), float64, optional
        Mean, in units of sqrt(K). Its square is not part of K.
    threads : int, optional
        Threads at most; by default as many as this process may use. One thread below some 10^6 entries. Changes no bit.

    Returns
    -------
    SymmetricTensor
        `.mean` packed over the C(m+n-1, n) sorted multi-indices, float64, in units of K ** (n/2); `.stderr` is 0.

    Raises
    ------
    ShapeError
        If K is not a square float64 matrix, or mu no float64 vector of the same length.
    ArgumentError
        If the order is out of range, the result does not fit this machine's memory (the message says how many bytes), K or mu is
        not finite, or K is not symmetric: |K_ij - K_ji| may reach 1e-12 of the smaller of the two rows' largest entries.

    Notes
    -----
    G_n(i1..in) = mu_in G_{n-1}(i1..i_{n-1}) + sum_j K(ij, in) G_{n-2}(without ij, in), by contiguous rows: at most n-1 (with a mean
    n) multiply-adds per entry, about half a nanosecond at n = 6, m = 20 on one core. Memory: the result and the two lower orders.
    Nothing cancels: the error is below 2 n ulp of the same sum over \\|K\\| and \\|mu\\|, and integers below 2**53 come out exact. Same
    bits on every machine. A power of two multiplied into K comes out exactly; values between 1e-300 and 1e300 may be mixed.
    Isserlis, Biometrika 12 (1918) 134.

    Examples
    --------
    >>> K = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> nnqft.wick.wick_all(K, 4)[0, 0, 1, 1].mean             # K_00 K_11 + 2 K_01^2
    8.0
    >>> nnqft.wick.wick_all(K, 3, mu=np.array([1.0, 5.0]))[0, 0, 1].mean    # mu_0^2 mu_1 + mu_1 K_00 + 2 mu_0 K_01
    17.0
    """
    K = K if isinstance(K, np.ndarray) else np.asarray(K, dtype=np.float64)
    mu = mu if mu is None or isinstance(mu, np.ndarray) else np.asarray(mu, dtype=np.float64)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or not len(K):
        raise ShapeError(f"K has shape {K.shape}; wick_all() takes a square matrix (m, m)")
    if K.dtype != np.float64:
        raise ShapeError(f"K has dtype {K.dtype}; wick_all() takes float64: call K.astype(np.float64)")
    if mu is not None:
        if mu.shape != K.shape[:1]:
            raise ShapeError(f"mu has shape {mu.shape}; K of shape {K.shape} takes a mean of shape ({len(K)},)")
        if mu.dtype != np.float64:
            raise ShapeError(f"mu has dtype {mu.dtype}; wick_all() takes float64: call mu.astype(np.float64)")
    order = operator.index(order)
    if not 1 <= order <= 64:
        raise ArgumentError(f"order must be from 1 to 64, got {order}")
    if threads is None:
        threads = 0
    elif not 1 <= (threads := operator.index(threads)) <= 4096:
        raise ArgumentError(f"threads must be from 1 to 4096, got {threads}")
    mean = _core.wick_all(K, order, mu, threads, _MEMORY)
    if mean is None:
        _refuse(K, mu)
    return SymmetricTensor.exact(mean, order=order, size=len(K), how=_HOW)


def _refuse(K, mu):
    for name, array in (("K", K), ("mu", mu)):
        if array is not None and not np.isfinite(array).all():
            raise ArgumentError(f"{name} has {np.count_nonzero(~np.isfinite(array))} entries that are not finite")
    scale = np.abs(K).max(axis=1)
    with np.errstate(over="ignore"):
        gap = np.abs(K - K.T)
    i, j = np.unravel_index(np.argmax(np.where(gap > 1e-12 * np.minimum.outer(scale, scale), gap, 0)), K.shape)
    raise ArgumentError(
        f"K is not symmetric: K[{i}, {j}] = {K[i, j]} but K[{j}, {i}] = {K[j, i]}; pass (K + K.T) / 2 if that is meant"
    )
