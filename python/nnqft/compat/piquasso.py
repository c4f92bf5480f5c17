"""Hafnians in the form in which the calculators of `piquasso` take them, computed by `nnqft.wick.hafnian`.

Signatures and meanings as in piquasso 8.0.2: the functions of `piquasso._math.hafnian`, which a connector hands to the simulators.
To use them there, override `hafnian`, `loop_hafnian` and `loop_hafnian_batch` of a connector (`docs/hafnians.md` shows how).

Differences: a fractional occupation number is an error instead of being cut off, and so is a matrix that is not symmetric
beyond rounding (piquasso averages whatever comes); integers, lists and float32 are accepted.
"""

import operator

import numpy as np

from ..errors import ArgumentError
from . import _inputs

__all__ = ["hafnian_with_reduction", "loop_hafnian_with_reduction", "hafnian_with_reduction_batch", "loop_hafnian_with_reduction_batch"]


def hafnian_with_reduction(matrix, occupation_numbers):
    """Hafnian of the matrix whose row and column i occur occupation_numbers[i] times.

    Parameters
    ----------
    matrix : array, shape (n, n), real or complex
        Symmetric up to rounding. The diagonal counts where a row repeats.
    occupation_numbers : array of int, shape (n,)
        Photon numbers.

    Returns
    -------
    float or complex
        As the matrix.

    Raises
    ------
    ShapeError, ArgumentError
        If the shapes do not fit, a value is not finite, the matrix is not symmetric or a number is negative or fractional.

    Notes
    -----
    Cost as `nnqft.wick.hafnian`, to which arrays of float64 or complex128 and int64 go directly.

    Examples
    --------
    >>> hafnian_with_reduction(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([2, 2]))    # A_00 A_11 + 2 A_01^2
    8.0
    """
    return _inputs.hafnian(matrix, None, occupation_numbers)


def loop_hafnian_with_reduction(matrix, diagonal, occupation_numbers):
    """Loop hafnian of the matrix whose row and column i occur occupation_numbers[i] times, with loop weights `diagonal`.

    Parameters
    ----------
    matrix : array, shape (n, n), real or complex
        Symmetric up to rounding. Its diagonal joins two copies of a row; the loops weigh `diagonal`.
    diagonal : array, shape (n,), real or complex
        Loop weights.
    occupation_numbers : array of int, shape (n,)
        Photon numbers.

    Returns
    -------
    float or complex
        Complex if the matrix or the diagonal is.

    Raises
    ------
    ShapeError, ArgumentError
        As `hafnian_with_reduction`.

    Notes
    -----
    Cost as `nnqft.wick.hafnian` with a mean.

    Examples
    --------
    >>> loop_hafnian_with_reduction(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, -1.0]), np.array([1, 2]))
    2.0
    """
    return _inputs.hafnian(matrix, diagonal, occupation_numbers)


def hafnian_with_reduction_batch(matrix, occupation_numbers, cutoff):
    """`hafnian_with_reduction` for 0 .. cutoff - 1 more photons in the last mode.

    Parameters
    ----------
    matrix, occupation_numbers
        As `hafnian_with_reduction`, n >= 1.
    cutoff : int
        Number of values, at least 1.

    Returns
    -------
    array, shape (cutoff,), float64 or complex128

    Raises
    ------
    ShapeError, ArgumentError
        As `hafnian_with_reduction`, and if cutoff < 1.

    Notes
    -----
    One hafnian each: the last one, of the most photons, costs most.

    Examples
    --------
    >>> hafnian_with_reduction_batch(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([2, 0]), 3)    # A_00; 0; A_00 A_11 + 2 A_01^2
    array([2., 0., 8.])
    """
    return _batch(matrix, None, occupation_numbers, cutoff)


def loop_hafnian_with_reduction_batch(matrix, diagonal, occupation_numbers, cutoff):
    """`loop_hafnian_with_reduction` for 0 .. cutoff - 1 more photons in the last mode.

    Parameters
    ----------
    matrix, diagonal, occupation_numbers
        As `loop_hafnian_with_reduction`, n >= 1.
    cutoff : int
        Number of values, at least 1.

    Returns
    -------
    array, shape (cutoff,), float64 or complex128

    Raises
    ------
    ShapeError, ArgumentError
        As `hafnian_with_reduction`, and if cutoff < 1.

    Notes
    -----
    One hafnian each: the last one, of the most photons, costs most.

    Examples
    --------
    >>> loop_hafnian_with_reduction_batch(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, -1.0]), np.array([1, 0]), 3)
    array([1., 0., 2.])
    """
    return _batch(matrix, diagonal, occupation_numbers, cutoff)


def _batch(matrix, diagonal, occupation_numbers, cutoff):
    matrix = _inputs.symmetric(matrix)
    if diagonal is not None:
        matrix, diagonal = _inputs.common(matrix, _inputs.vector(diagonal, len(matrix), "diagonal"))
    counts = _inputs.whole(occupation_numbers, len(matrix))
    cutoff = operator.index(cutoff)
    if cutoff < 1 or not len(counts):
        raise ArgumentError(f"cutoff is {cutoff} and there are {len(counts)} modes; expected at least 1 of each")
    values = np.empty(cutoff, matrix.dtype)
    for more in range(cutoff):
        counts[-1] += more > 0
        values[more] = _inputs.hafnian(matrix, diagonal, counts)
    return values
