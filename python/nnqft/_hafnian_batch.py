"""Many small hafnians at once, and the derivatives of their sums; the kernels are csrc/wick/small*."""

import numpy as np

from . import _backend, _core
from ._device import _wick
from ._run import thread_count
from .errors import ArgumentError, ShapeError

__all__ = ["hafnian_batch", "hafnian_batch_vjp"]


def hafnian_batch(K, index=None, *, mu=None, packed=False, device=None, threads=None, max_seconds=3600.0):
    """Hafnians of many index tuples over one kernel, or of many matrices.

    out_b = haf(K_b) = sum over the (n-1)!! pairings of prod K_ij: the moment E[f_i1 .. f_in] of Gaussian f with covariance K. With a
    mean, the loop hafnian: sum over partial pairings of prod K_ij * prod mu of the points left over.

    Parameters
    ----------
    K : array, float64
        With `index`: one symmetric kernel, shape (m, m), m up to 46340. Without: symmetric matrices, shape (batch, n, n), whose
        diagonals are not read. Any units.
    index : array, shape (batch, n), int32 or int64, optional
        Index tuples into K, in any order; where an index repeats, K_ii stands between its copies.
    mu : array, float64, optional
        Mean in units of K ** (1/2): shape (m,) with `index`, (batch, n) without.
    packed : bool
        K has shape (batch, n (n-1) / 2): the entries above the diagonal, row by row, as `K[:, *np.triu_indices(n, 1)]`.
    device : str, optional
        "cpu", "cuda" or "cuda:N"; default: where the arrays are. On a device n is at most 12; K and mu of index tuples are
        checked on the host, all else on the device, and the call waits for that. Same bits.
    threads : int, optional
        Of the CPU. Default: all CPUs this process may use. Work below half a millisecond is not shared out. Changes no bit.
    max_seconds : float
        For n > 12: refuse work that is estimated to last longer; `math.inf` insists.

    Returns
    -------
    array, shape (batch,), float64
        In units of K ** (n/2). 1 for n = 0; 0 for odd n without a mean. CuPy if K, or else index, is on a device.

    Raises
    ------
    ShapeError
        If an array has another shape or dtype.
    ArgumentError
        If an entry is not finite, a matrix is not symmetric (\\|K_ij - K_ji\\| may reach 1e-12 of the smaller of the two rows' largest
        entries; the upper triangle is used), an index is out of range, the work would last longer than `max_seconds`, or n is
        above 12 on a device.
    DeviceError
        If the device is missing, or its memory too small.

    Notes
    -----
    For n <= 12 the points are removed in the order given, lowest first, with minors shared: 3, 20, 87, 317, 1055 multiply-adds at
    n = 4, 6, 8, 10, 12 (with a mean 10, 49, 187, 635, 2025), for eight matrices at a time. Nothing is subtracted: the error is below
    n ulp of the same sum over \\|K\\| and \\|mu\\|, and integers below 2**53 are exact. Entries of any scale are right wherever the
    result is a normal number. On one AVX-512 core, index tuples: 1.5, 3.5, 6.5, 15, 38 ns each at n = 4, 6, 8, 10, 12. Beyond, the
    method of `hafnian`, one by one. A result has the same bits in any batch and on every machine. For all multisets of one order
    `wick_all` is faster. Isserlis, Biometrika 12 (1918) 134.

    Examples
    --------
    >>> K = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> hafnian_batch(K, np.array([[0, 1, 0, 1], [1, 1, 1, 1]])).tolist()   # K_00 K_11 + 2 K_01^2, 3 K_11^2
    [8.0, 27.0]
    >>> hafnian_batch(np.ones((2, 6, 6)), mu=np.zeros((2, 6))).tolist()     # 5!! pairings
    [15.0, 15.0]
    """
    where = _backend.place(device, K=K, index=index, mu=mu)
    if where != "cpu":
        return _on_device(K, index, mu, packed, where)
    K, index, mu = _arrays(K, index, mu, packed, "hafnian_batch()")
    return _core.hafnian_batch(K, index, mu, packed, *_limits(threads, max_seconds))


def _on_device(K, index, mu, packed, where):
    home = K if index is None or _backend.lives_on_device(K) else index
    who = "hafnian_batch()"
    if index is None:
        K, _, mu = _arrays(K, None, mu, packed, who, _Device(where))
        n = K.shape[1] if not packed else mu.shape[1] if mu is not None else (1 + round(np.sqrt(1 + 8 * K.shape[1]))) // 2
    else:
        K, mu = _backend.on_host(K), _backend.on_host(mu)
        tuples = _Device(where)(index, None)
        none = np.empty((0, *tuples.shape[1:]) if tuples.ndim == 2 else tuples.shape, tuples.dtype)  # the CPU's checks, on no tuples
        K, _, mu = _arrays(K, none, mu, packed, who)
        index, n = tuples, tuples.shape[1]
    if n > 12:
        raise ArgumentError(f"hafnians of {n} points; on a device a batch has at most 12: call hafnian() for each")
    result = _wick.hafnian_batch(K, index, mu, packed, index=int(where.removeprefix("cuda:")))
    return _backend.like(result, home)


class _Host:
    """Arrays as the CPU's kernels take them."""

    def __call__(self, x, dtype):
        return x if isinstance(x, np.ndarray) else np.asarray(x, dtype=dtype)

    def contiguous(self, x):
        return np.require(x, requirements="CA")


_HOST = _Host()


class _Device:
    """Arrays as a device's kernels take them."""

    def __init__(self, where):
        self.where = where

    def __call__(self, x, dtype):
        x = x if hasattr(x, "dtype") or _backend.lives_on_device(x) else np.asarray(x, dtype=dtype)
        return _backend.asarray(x, device=self.where)

    def contiguous(self, x):
        with _backend.on_device(_backend.require_cuda(self.where)):
            return _backend.cupy_module().ascontiguousarray(x)


def hafnian_batch_vjp(K, index, g, *, mu=None, packed=False, threads=None, max_seconds=3600.0):
    """Derivatives of sum_b g_b haf_b: the vector-Jacobian product of `hafnian_batch`.

    d haf(K) / d K_ij = haf of K without i and j;  d haf / d mu_i = haf without i.

    Parameters
    ----------
    K, index, mu, packed, threads, max_seconds
        As for `hafnian_batch`; `index` may be None.
    g : array, shape (batch,), float64
        Weights, the derivatives by the results.

    Returns
    -------
    K_bar : array, shape of K, float64
        K_ij and K_ji are one variable, and the returned matrix is symmetric: each of the two slots holds **half** of the derivative
        by it, so that sum(K_bar * dK) is the change for any symmetric dK. The diagonal holds the whole derivative by K_ii, which
        counts where an index repeats; it is 0 without `index`. Packed entries hold the whole derivative.
    mu_bar : array, shape of mu, float64, or None
        None without a mean.

    Raises
    ------
    ShapeError, ArgumentError
        As for `hafnian_batch`, and if a weight is not finite.

    Notes
    -----
    Reverse mode through the recursion: some four to eight times the cost of the values for n <= 12, ten times at n = 11, 12 with a
    mean, four times beyond. Sums run over parts of the tuples that do not depend on `threads`, so the bits do not either.

    Examples
    --------
    >>> K = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> hafnian_batch_vjp(K, np.array([[0, 1, 0, 1]]), np.ones(1))[0].tolist()   # of K_00 K_11 + 2 K_01^2
    [[3.0, 2.0], [2.0, 2.0]]
    """
    K, index, mu = _arrays(K, index, mu, packed, "hafnian_batch_vjp()")
    g = _array(g, "g", (len(K if index is None else index),), "hafnian_batch_vjp()")
    return _core.hafnian_batch_vjp(K, index, g, mu, packed, *_limits(threads, max_seconds))


def _limits(threads, max_seconds):
    if not max_seconds > 0:
        raise ArgumentError(f"max_seconds is {max_seconds}; expected a positive number, or math.inf")
    return 0 if threads is None else thread_count(threads), max_seconds


def _arrays(K, index, mu, packed, who, take=_HOST):
    """C-contiguous arrays of matching shapes, or an error that says what is wrong. Values are checked by the kernels."""
    K = _array(K, "K", None, who, take)
    if index is not None:
        if packed:
            raise ArgumentError(f"packed=True is for batches of matrices: {who} takes one kernel (m, m) with index tuples")
        if K.ndim != 2 or K.shape[0] != K.shape[1]:
            raise ShapeError(f"K has shape {K.shape}; with index tuples {who} takes one kernel (m, m)")
        index = take(index, None)
        if index.ndim != 2 or index.dtype not in (np.int32, np.int64):
            raise ShapeError(f"index has dtype {index.dtype} and shape {index.shape}; {who} takes int32 or int64 of shape (batch, n)")
        index = take.contiguous(index)
        mu_shape = K.shape[:1]
    elif packed:
        if K.ndim != 2:
            raise ShapeError(f"K has shape {K.shape}; packed, {who} takes (batch, n (n-1) / 2)")
        n = (1 + round(np.sqrt(1 + 8 * K.shape[1]))) // 2
        if n * (n - 1) // 2 != K.shape[1]:
            raise ShapeError(f"K has {K.shape[1]} entries a row; {who} takes n (n-1) / 2 of them packed: 1, 3, 6, 10, 15, ..")
        if K.shape[1] == 0 and mu is None:
            raise ShapeError(f"K has no entries, which could be 0 or 1 points: {who} needs mu to tell")
        mu_shape = (len(K), n) if K.shape[1] or np.shape(mu)[-1:] != (0,) else (len(K), 0)
    else:
        if K.ndim != 3 or K.shape[1] != K.shape[2]:
            raise ShapeError(f"K has shape {K.shape}; {who} takes matrices (batch, n, n), or one kernel (m, m) with index tuples")
        mu_shape = K.shape[:2]
    return K, index, None if mu is None else _array(mu, "mu", mu_shape, who, take)


def _array(x, name, shape, who, take=_HOST):
    if x is None:
        raise ShapeError(f"{name} is missing: {who} takes a float64 array")
    x = take(x, np.float64)
    if x.dtype != np.float64:
        raise ShapeError(f"{name} has dtype {x.dtype}; {who} takes float64: call {name}.astype(np.float64)")
    if shape is not None and x.shape != shape:
        raise ShapeError(f"{name} has shape {x.shape}; {who} takes {shape} here")
    return take.contiguous(x)
