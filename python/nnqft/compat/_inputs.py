"""What the peers accept, made into what `nnqft.wick.hafnian` takes: exactly symmetric matrices of doubles, counts as int64."""

import math

import numpy as np

from .. import _core, wick
from ..errors import ArgumentError, ShapeError


def hafnian(A, mu, counts, rtol=1e-5, atol=1e-8):
    """wick.hafnian for a matrix that is symmetric up to rounding, numbers of any dtype and counts of any integer type.

    Like the peers it refuses nothing for lasting long.
    """
    value = _core.hafnian_fast(A, mu, counts)  # None unless all is in order already: half a microsecond
    if value is not None:
        return value
    A = symmetric(A, rtol, atol)
    if mu is not None:
        A, mu = common(A, vector(mu, len(A), "mu"))
    if counts is not None:
        counts = whole(counts, len(A))
    return wick.hafnian(A, mu=mu, repeats=counts, max_seconds=math.inf)


def numbers(array, name):
    """The array as aligned C-contiguous float64 or complex128; integers and float32 are converted, exactly below 2**53."""
    array = np.asarray(array)
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16 or array.dtype == np.longdouble:
        raise ShapeError(f"{name} has dtype {array.dtype}; expected integers, floats or complex numbers of at most double precision")
    array = np.require(array, np.complex128 if array.dtype.kind == "c" else np.float64, ["C", "A"])
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name} has {np.count_nonzero(~np.isfinite(array))} entries that are not finite")
    return array


def square(A):
    A = np.asarray(A)
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ShapeError(f"the matrix has shape {A.shape}; expected a square one (n, n)")
    return A


def symmetric(A, rtol=1e-5, atol=1e-8):
    """The matrix as float64 or complex128 with A_ij = A_ji to the bit: their mean, if they agree within tolerance.

    |A_ij - A_ji| may reach rtol |A_ji| + atol max|A|. The peers' atol is absolute, which lets any matrix of small numbers pass.
    """
    A = numbers(square(A), "the matrix")
    if np.array_equal(A, A.T):
        return A
    with np.errstate(over="ignore"):
        gap, size = np.abs(A - A.T), np.abs(A)
    excess = gap - (rtol * size.T + atol * size.max())
    if (excess > 0).any():
        i, j = np.unravel_index(np.argmax(excess), A.shape)
        raise ArgumentError(f"the matrix is not symmetric: A[{i}, {j}] = {A[i, j]} but A[{j}, {i}] = {A[j, i]}; "
                            "the hafnian takes A.T = A, without conjugation")  # fmt: skip
    return np.where(A == A.T, A, 0.5 * A + 0.5 * A.T)


def vector(x, n, name):
    x = numbers(x, name)
    if x.shape != (n,):
        raise ShapeError(f"{name} has shape {x.shape}; a matrix of {n} rows takes ({n},)")
    return x


def common(A, x):
    """Both complex if one is."""
    dtype = np.result_type(A, x)
    return A.astype(dtype, copy=False), x.astype(dtype, copy=False)


def whole(counts, n):
    """How often each of n rows occurs, int64."""
    counts = np.asarray(counts)
    if counts.shape != (n,):
        raise ShapeError(f"the repeats have shape {counts.shape}; a matrix of {n} rows takes ({n},)")
    with np.errstate(invalid="ignore"):
        result = counts.astype(np.int64) if n and counts.dtype.kind in "biuf" else np.zeros(n, np.int64)
    if n and (counts.dtype.kind not in "biuf" or (result != counts).any() or (result < 0).any()):
        raise ArgumentError(f"repeats must be non-negative whole numbers, got {counts.tolist()[:8]}")
    return result
