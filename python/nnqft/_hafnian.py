"""Hafnians and loop hafnians: moments of a Gaussian vector, one number at a time."""

import cmath
import math
import operator
import warnings

import numpy as np

from . import _backend, _core
from ._device import _wick
from ._run import progress_bar, thread_count
from .errors import ArgumentError, NNQFTWarning, ShapeError

__all__ = ["hafnian", "hafnian_cost", "hafnian_vjp"]

_MAX_BYTES = 1 << 36  # per thread; asked for in one piece, so an absurd size would fail late


def hafnian(K, *, mu=None, repeats=None, device=None, threads=None, max_seconds=3600.0, progress=None):
    """Hafnian of a symmetric matrix: a moment E[f_1 ... f_n] of Gaussian f with covariance K and mean mu.

    haf(K) = sum over the (n-1)!! pairings of prod K_ij. With a mean, the loop hafnian: sum over partial pairings of
    prod K_ij * prod mu of the points left over. With repeats, E[f_1^r_1 ... f_m^r_m].

    Parameters
    ----------
    K : array, shape (m, m), float64 or complex128
        Symmetric matrix, any units; it need not be positive. The diagonal counts only where a point repeats: it is no
        loop weight.
    mu : array, shape (m,), dtype of K, optional
        Mean, in units of K ** (1/2).
    repeats : array of int, shape (m,), optional
        How often each point occurs; default once.
    device : str, optional
        "cpu", "cuda" or "cuda:N"; default: where K is. On a device the sum over signs runs in launches of some 30 ms; the
        result has the bits of the CPU's and comes to the host, for which it waits.
    threads : int, optional
        Of the CPU. Default: all CPUs this process may use. Only work above a millisecond is shared out; the result is the
        same to the bit for any number.
    max_seconds : float
        Refuse work that is estimated to last longer; `math.inf` insists.
    progress : bool or callable, optional
        True: a bar (tqdm). A callable gets (percent done, 100).

    Returns
    -------
    float or complex
        As K. 1 for no points; 0 for an odd number of points without a mean; infinite, with an `NNQFTWarning`, beyond the
        range of doubles.

    Raises
    ------
    ShapeError
        If K is not square or not float64 or complex128, or mu or repeats do not fit it.
    ArgumentError
        If a value is not finite, K is not symmetric (|K_ij - K_ji| may reach 1e-12 of the smaller of the two rows' largest
        entries; the upper triangle is used), a count is negative or fractional, or the work or memory cannot be afforded;
        or a device is asked for a complex hafnian of up to 12 points.
    DeviceError
        If the device is missing, or its memory too small (a sieve takes about a gigabyte).

    Notes
    -----
    About n^2 2^(n/2) multiply-adds: 0.05 ms at n = 24, 25 ms at n = 40, 2 s at n = 50 on one AVX-512 core (complex: four
    times that); with repeats prod (r/2 + 1) takes the place of 2^(n/2). Nothing is divided and badly scaled rows are
    rescaled by powers of two, exactly: the error is below 1e-13 of haf(\\|K\\|) to n = 40, integers below 2^53 are exact, and
    all bits are the same on every machine. Signed pair sieve: A. Bjorklund, SODA 2012, in the form of D. Glynn, Eur. J.
    Comb. 31 (2010) 1887; repeats: R. Kan, J. Multivariate Anal. 99 (2008) 542.

    Examples
    --------
    >>> K = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> hafnian(K), hafnian(K, repeats=[2, 2])              # K_01; K_00 K_11 + 2 K_01^2
    (1.0, 8.0)
    >>> hafnian(K, mu=np.array([1.0, -1.0]), repeats=[1, 2])  # mu_0 mu_1^2 + mu_0 K_11 + 2 mu_1 K_01
    2.0
    >>> hafnian(np.ones((20, 20))) == math.prod(range(1, 20, 2))
    True
    """
    threads = None if threads is None else thread_count(threads)
    if progress is None and device is None:
        value = _core.hafnian_fast(K, mu, repeats)
        if value is not None:
            return value
    where = _backend.place(device, K=K, mu=mu, repeats=repeats)
    if where != "cpu":
        index = int(where.removeprefix("cuda:"))
        K, mu, repeats = (_backend.on_host(x) for x in (K, mu, repeats))
    K, mu, repeats = _checked(K, mu, repeats)
    with progress_bar(progress, 100, unit="%") as report:
        if where == "cpu":
            threads = thread_count(threads)
            _affordable(K, mu, repeats, threads, max_seconds)
            poll = None if report is None else lambda share: report(100 * share)
            value = _core.hafnian(K, mu, repeats, threads, poll)
        else:
            _affordable(K, mu, repeats, 1, max_seconds, rate=_wick.multiply_adds_per_second(index))
            value = _wick.hafnian(K, mu, repeats, index=index, report=report)
    if not cmath.isfinite(value):
        warnings.warn(f"the hafnian exceeds the range of {K.dtype}: {value}", NNQFTWarning, stacklevel=2)
    return value


def hafnian_vjp(K, g=1.0, *, mu=None, repeats=None, threads=None, max_seconds=3600.0, progress=None):
    """Derivatives of g * hafnian(K, mu=mu, repeats=repeats): the vector-Jacobian product that automatic differentiation asks for.

    d haf / d K_ij = r_i r_j haf without one of each of i and j;  d haf / d mu_i = r_i haf without one of i.

    Parameters
    ----------
    K, mu, repeats, threads, max_seconds, progress
        As for `hafnian`.
    g : float or complex
        The cotangent. Complex derivatives are those of a holomorphic function: nothing is conjugated.

    Returns
    -------
    K_bar : array, shape (m, m), dtype of K
        Symmetric. K_ij and K_ji are one variable, and each of the two places holds half of its derivative, so that
        sum(K_bar * dK) is the change for a symmetric dK. The diagonal holds the whole derivative: zero for points that occur once.
    mu_bar : array, shape (m,), or None without a mean

    Raises
    ------
    ShapeError, ArgumentError
        As for `hafnian`.

    Notes
    -----
    All entries together cost about four hafnians, by reverse accumulation down the tree of signs; the results are polynomials, so nothing
    is lost where eigenvalues of K meet. Same bits for any number of threads and on every machine.

    Examples
    --------
    >>> K_bar, mu_bar = hafnian_vjp(np.array([[2.0, 1.0], [1.0, 3.0]]), mu=np.array([1.0, -1.0]))
    >>> K_bar.tolist(), mu_bar.tolist()                     # haf = K_01 + mu_0 mu_1
    ([[0.0, 0.5], [0.5, 0.0]], [-1.0, 1.0])
    """
    K, mu, repeats = _checked(K, mu, repeats)
    if not (np.ndim(g) == 0 and np.isfinite(g) and np.result_type(g, K.dtype) == K.dtype):
        raise ArgumentError(f"g must be a finite number that {K.dtype} holds, got {g!r}")
    threads = thread_count(threads)
    _affordable(K, mu, repeats, threads, max_seconds, derivatives=True)
    with progress_bar(progress, 100, unit="%") as report:
        poll = None if report is None else lambda share: report(100 * share)
        K_bar, mu_bar = _core.hafnian_derivative(K, mu, repeats, threads, poll)
    K_bar *= g
    return K_bar, None if mu_bar is None else mu_bar * g


def hafnian_cost(K, *, mu=None, repeats=None):
    """What `hafnian` would do with these arguments: method, operations, time and memory.

    Parameters
    ----------
    K, mu, repeats
        As for `hafnian`; the values do not matter.

    Returns
    -------
    dict
        `method` ("minors", "multisets", "sieve", or "none" for what is 0 or 1 at sight), `multiply_adds` (real), `seconds` (on one thread, to a factor of two or so), `bytes`
        (per thread).

    Raises
    ------
    ShapeError, ArgumentError
        As for `hafnian`.

    Examples
    --------
    >>> hafnian_cost(np.minimum.outer(np.arange(1.0, 41), np.arange(1.0, 41)))["method"]
    'sieve'
    """
    return dict(zip(("method", "multiply_adds", "seconds", "bytes"), _core.hafnian_work(*_checked(K, mu, repeats)), strict=True))


def _affordable(K, mu, repeats, threads, max_seconds, derivatives=False, rate=None):
    if not max_seconds > 0:
        raise ArgumentError(f"max_seconds is {max_seconds}; expected a positive number, or math.inf")
    _, operations, seconds, memory = _core.hafnian_work(K, mu, repeats, derivatives)
    points = len(K) if repeats is None else int(repeats.sum())
    what = f"a hafnian of {points} points" + (" and its derivatives" if derivatives else "")
    if memory > _MAX_BYTES or not math.isfinite(operations):
        raise ArgumentError(f"{what} needs {memory:.1e} bytes and {operations:.1e} multiply-adds: out of reach")
    seconds = seconds / threads if rate is None else operations / rate
    if seconds > max_seconds:
        raise ArgumentError(f"{what} takes about {_duration(seconds)} on {f'{threads} threads' if rate is None else 'this device'} "
                            f"({operations:.1e} multiply-adds); pass max_seconds=math.inf to insist")  # fmt: skip


def _duration(seconds):
    for unit, size in (("years", 31557600.0), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds"


def _checked(K, mu, repeats):
    """C-contiguous K and mu of one dtype and int64 repeats, or an error that says what is wrong."""
    K = check_kernel(K, "hafnian()")
    m = len(K)
    if mu is not None:
        mu = mu if isinstance(mu, np.ndarray) else np.asarray(mu, dtype=K.dtype)
        if mu.shape != (m,) or mu.dtype != K.dtype:
            raise ShapeError(f"mu has shape {mu.shape} and dtype {mu.dtype}; K needs shape ({m},) and dtype {K.dtype}")
        if not np.isfinite(mu).all():
            raise ArgumentError(f"mu has {np.count_nonzero(~np.isfinite(mu))} entries that are not finite")
        mu = np.require(mu, requirements="CA")
    if repeats is not None:
        given = repeats if isinstance(repeats, np.ndarray) else np.asarray(repeats)
        if given.shape != (m,):
            raise ShapeError(f"repeats has shape {given.shape}; K needs shape ({m},)")
        if given.dtype.kind not in "iu" and m:
            try:
                given = np.array([operator.index(r) for r in given.tolist()])
            except TypeError:
                raise ArgumentError(f"repeats must be whole numbers, got dtype {given.dtype}: {given.tolist()[:8]}") from None
        if m and (given.min() < 0 or given.max() > 1 << 20):
            raise ArgumentError(f"repeats must lie in 0..{1 << 20}, got {given.min()}..{given.max()}")
        repeats = np.require(given, dtype=np.int64, requirements="CA")
    return K, mu, repeats


def check_kernel(K, who):
    """K as a C-contiguous symmetric finite matrix, float64 or complex128."""
    if not isinstance(K, np.ndarray):
        K = np.asarray(K)
        K = K if K.dtype.kind == "c" else np.asarray(K, dtype=np.float64)
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise ShapeError(f"K has shape {K.shape}; {who} takes a square matrix (m, m)")
    if K.dtype not in (np.float64, np.complex128):
        raise ShapeError(f"K has dtype {K.dtype}; {who} takes float64 or complex128: call K.astype(np.float64)")
    if not np.isfinite(K).all():
        raise ArgumentError(f"K has {np.count_nonzero(~np.isfinite(K))} entries that are not finite")
    if len(K):
        with np.errstate(over="ignore"):  # of |x + iy|
            size = np.abs(K)
            gap = np.abs(K - K.T)
        scale = size.max(axis=1)
        if np.any(gap > 1e-12 * np.minimum.outer(scale, scale)):
            i, j = np.unravel_index(np.argmax(gap), K.shape)
            raise ArgumentError(f"K is not symmetric: K[{i}, {j}] = {K[i, j]} but K[{j}, {i}] = {K[j, i]}; pass (K + K.T) / 2 if that is meant")
    return np.require(K, requirements="CA")
