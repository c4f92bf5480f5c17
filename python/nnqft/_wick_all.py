"""Gaussian n-point functions of all sorted index tuples at once, with a mean, and their derivatives.

The kernels are csrc/wick/all_multisets*.cpp.
"""

import operator
import os
from math import comb

import numpy as np

from . import _backend, _core
from ._device import _wick
from .errors import ArgumentError, ShapeError
from .tensor import SymmetricTensor

__all__ = ["wick_all", "wick_all_vjp"]

_HOW = {"estimator": "wick"}
# The system would rather kill a process than refuse it memory.
_MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 62


def wick_all(K, order, *, mu=None, device=None, threads=None):
    """Gaussian n-point functions of all sorted index tuples: E[f_i1 .. f_in] for f with mean `mu` and covariance `K`.

    G_{i1..in} = sum over pairings of prod K_{ia ib}, e.g. G_{ijkl} = K_ij K_kl + K_ik K_jl + K_il K_jk; with a mean,
    the sum over pairings of any part of the legs, the others carrying mu_i. These are the hafnians and loop hafnians of
    K with repeated rows.

    Parameters
    ----------
    K : array, shape (m, m), float64
        Symmetric kernel (two-point function), any units; it need not be positive. The upper triangle is used.
    order : int
        Number of legs n, 1 to 64. Without a mean odd orders are zero.
    mu : array, shape (m,), float64, optional
        Mean, in units of sqrt(K). Its square is not part of K.
    device : str, optional
        "cpu", "cuda" or "cuda:N"; default: where K is. On a device, whose memory must hold the result and two lower orders, the
        tensor has the bits of the CPU's and comes to the host.
    threads : int, optional
        Threads of the CPU at most; by default as many as this process may use. One thread below some 10^6 entries. Changes no bit.

    Returns
    -------
    SymmetricTensor
        `.mean` packed over the C(m+n-1, n) sorted multi-indices, float64, in units of K ** (n/2); `.stderr` is 0.

    Raises
    ------
    ShapeError
        If K is not a square float64 matrix, or mu no float64 vector of the same length.
    ArgumentError
        If the order is out of range, the result does not fit this machine's memory (the message says how many bytes),
        K or mu is not finite, or K is not symmetric: abs(K_ij - K_ji) may reach 1e-12 of the smaller of the two rows'
        largest entries.
    DeviceError
        If the device is missing, or its memory too small.

    Notes
    -----
    G_n(i1..in) = mu_in G_{n-1}(i1..i_{n-1}) + sum_j K(ij, in) G_{n-2}(without ij, in), by contiguous rows: at most n-1
    multiply-adds per entry (n with a mean), half a nanosecond at n = 6, m = 20 on one core. Memory: the result and two
    lower orders. The error is below 2 n ulp of the same sum over abs(K) and abs(mu), and integers below 2**53 come out
    exact. Same bits on every machine. Points on different scales, 1e-150 and 1e150 say, cost no digit: each is scaled
    by a power of two. Isserlis, Biometrika 12 (1918) 134.

    Examples
    --------
    >>> K = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> nnqft.wick.wick_all(K, 4)[0, 0, 1, 1].mean             # K_00 K_11 + 2 K_01^2
    8.0
    >>> nnqft.wick.wick_all(K, 3, mu=np.array([1.0, 5.0]))[0, 0, 1].mean    # mu_0^2 mu_1 + mu_1 K_00 + 2 mu_0 K_01
    17.0
    """
    where = _backend.place(device, K=K, mu=mu)
    K, order, mu = _arguments("wick_all", _backend.on_host(K), order, _backend.on_host(mu))
    if threads is None:
        threads = 0
    elif not 1 <= (threads := operator.index(threads)) <= 4096:
        raise ArgumentError(f"threads must be from 1 to 4096, got {threads}")
    if where == "cpu":
        mean = _core.wick_all(K, order, mu, threads, _MEMORY)
    else:
        K_there, mu_there, exponents = _core.wick_all_theory(K, order, mu, _MEMORY)
        mean = _wick.all_multisets(K_there, order, mu_there, exponents, index=int(where.removeprefix("cuda:")))
    return SymmetricTensor.exact(mean, order=order, size=len(K), how=_HOW)


def wick_all_vjp(K, order, G_bar, *, mu=None):
    """Derivatives of sum_I G_bar[I] G_I by K and by the mean, for G = `wick_all(K, order, mu=mu)`: one reverse sweep.

    Parameters
    ----------
    K, order, mu :
        As for `wick_all`.
    G_bar : array, shape (C(m+n-1, n),), float64, or SymmetricTensor
        Weight of every sorted multi-index, packed as `wick_all(..).mean`, in any units. Each counts once: for sums over
        ordered tuples multiply by `SymmetricTensor.multiplicity`. What is not finite spreads as in any product.

    Returns
    -------
    K_bar : array, shape (m, m), float64
        Symmetric. K_ij and K_ji are one variable: each of the two places has half of the derivative by it, the diagonal
        all of it, so that sum(K_bar * dK) is the change for a symmetric dK. In units of G_bar * G / K.
    mu_bar : array, shape (m,), float64, or None
        None without a mean. In units of G_bar * G / mu.

    Raises
    ------
    ShapeError
        As for `wick_all`, or if G_bar does not have its shape and dtype.
    ArgumentError
        As for `wick_all`.

    Notes
    -----
    With p(f) = sum_I G_bar[I] f_i1 .. f_in: K_bar_ij = E[d_i d_j p] / 2 (Price, IRE Trans. Inf. Theory 4 (1958) 69) and
    mu_bar_i = E[d_i p], which are sums of G_bar with the functions of order n-2 and n-1. Cost one to seven times that of
    `wick_all`, on one thread; memory: these two lower orders. Integers below 2**53 come out exact; same bits on every
    machine.

    Examples
    --------
    >>> K = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> G_bar = np.array([0.0, 0.0, 1.0, 0.0, 0.0])          # G_0011 = K_00 K_11 + 2 K_01^2
    >>> nnqft.wick.wick_all_vjp(K, 4, G_bar)[0].tolist()     # d/dK_00 = K_11; d/dK_01 = 4 K_01, half in each place
    [[3.0, 2.0], [2.0, 2.0]]
    """
    K, order, mu = _arguments("wick_all_vjp", K, order, mu)
    if isinstance(G_bar, SymmetricTensor):
        if (G_bar.order, G_bar.size) != (order, len(K)) or not G_bar.is_dense:
            raise ShapeError(
                f"G_bar is a tensor of order {G_bar.order} over {G_bar.size} fields; "
                f"expected a dense one of order {order} over {len(K)}"
            )
        G_bar = G_bar.mean
    G_bar = G_bar if isinstance(G_bar, np.ndarray) else np.asarray(G_bar, dtype=np.float64)
    count = comb(len(K) + order - 1, order)
    if G_bar.shape != (count,):
        raise ShapeError(f"G_bar has shape {G_bar.shape}; order {order} over {len(K)} points has ({count},) entries")
    if G_bar.dtype != np.float64:
        raise ShapeError(f"G_bar has dtype {G_bar.dtype}; wick_all_vjp() takes float64: call G_bar.astype(np.float64)")
    return _core.wick_all_vjp(K, order, G_bar, mu, _MEMORY)


def _arguments(who, K, order, mu):
    K = K if isinstance(K, np.ndarray) else np.asarray(K, dtype=np.float64)
    mu = mu if mu is None or isinstance(mu, np.ndarray) else np.asarray(mu, dtype=np.float64)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or not len(K):
        raise ShapeError(f"K has shape {K.shape}; {who}() takes a square matrix (m, m)")
    if K.dtype != np.float64:
        raise ShapeError(f"K has dtype {K.dtype}; {who}() takes float64: call K.astype(np.float64)")
    if mu is not None:
        if mu.shape != K.shape[:1]:
            raise ShapeError(f"mu has shape {mu.shape}; K of shape {K.shape} takes a mean of shape ({len(K)},)")
        if mu.dtype != np.float64:
            raise ShapeError(f"mu has dtype {mu.dtype}; {who}() takes float64: call mu.astype(np.float64)")
    order = operator.index(order)
    if not 1 <= order <= 64:
        raise ArgumentError(f"order must be from 1 to 64, got {order}")
    return K, order, mu
