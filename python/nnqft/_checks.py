"""Readers of arguments: the exact type or an error that says what came, what was expected and what to do."""

import math
import numbers
import operator
import reprlib
import warnings

import numpy as np

from .errors import ArgumentError, ShapeError

__all__ = ["choice", "integer", "number", "positive_array", "real_array", "shown"]


def shown(value):
    """`value` in a few words for an error message: short, and never itself an error."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        return reprlib.repr(value)
    except ValueError:  # an int of more digits than Python prints
        return f"a value of type {type(value).__name__}"


def number(name, value, *, low=-math.inf, high=math.inf, above=None, below=None, infinite=False):
    """`value` as a float with low <= value <= high and above < value < below; `infinite` admits an infinity that these bounds admit.

    bool, str, complex, None and arrays (0-d ones too) are refused; integers, fractions and NumPy's real scalars are read.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise ArgumentError(f"{name} must be a real number, got {shown(value)} of type {type(value).__name__}")
    try:
        result = float(value)
    except OverflowError:
        raise ArgumentError(f"{name} = {shown(value)} overflows float64: rescale") from None
    fits = low <= result <= high and (above is None or result > above) and (below is None or result < below)
    if not fits or (math.isinf(result) and not infinite):
        raise ArgumentError(
            f"{name} must be a {'' if infinite else 'finite '}number{_range(low, high, above, below)}, got {result!r}"
        )
    return result


def _range(low, high, above, below):
    sides = [
        f"{sign} {bound:g}"
        for sign, bound in ((">", above), (">=", low), ("<", below), ("<=", high))
        if bound is not None and math.isfinite(bound)
    ]
    return " " + " and ".join(sides) if sides else ""


def integer(name, value, low, high):
    """`value` as an int within [low, high]; `name` opens the message. bool is refused."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        value = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} must be an integer, got {type(value).__name__}") from None
    if not low <= value <= high:
        raise ArgumentError(f"{name} must lie in [{low}, {high}], got {shown(value)}")
    return value


def real_array(name, value, *, ndim=None, shape=None, finite=True, cast=True):
    """`value` as a new float64 array of `ndim` axes, or of `shape` (None in it: any length).

    Arrays and nested lists of integers, float32 or float64 are read; ragged, bool, string, complex, object, longer floats and masked arrays
    are a ShapeError, NaN and infinities (unless finite=False) an ArgumentError. cast=False: what is an array already must be float64.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ShapeError(f"{name} is a masked array: pass the values to be used, as a plain array")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy.ma.masked in a list
            array = np.asarray(value)
    except (TypeError, ValueError, OverflowError, Warning):
        raise ShapeError(
            f"{name} must be an array of real numbers, got {shown(value)} (rows of different lengths?)"
        ) from None
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise ShapeError(
            f"{name} must be an array of real numbers (float64), got {shown(value)} of dtype {array.dtype}"
        )
    if not cast and isinstance(value, np.ndarray) and array.dtype != np.float64:
        raise ShapeError(f"{name} has dtype {array.dtype}; float64 is expected: call .astype(np.float64)")
    array = array.astype(np.float64)
    expected = (None,) * ndim if shape is None and ndim is not None else shape
    if expected is not None and not _fits(array.shape, expected):
        sizes = ", ".join("any" if n is None else str(n) for n in expected) + ("," if len(expected) == 1 else "")
        wanted = f"have {ndim} axes" if shape is None else f"have shape ({sizes})"
        raise ShapeError(f"{name} must {wanted}, got shape {array.shape}")
    if finite and not np.isfinite(array).all():
        raise ArgumentError(
            f"{name} must be finite, got NaN or an infinity ({int(np.sum(~np.isfinite(array)))} of {array.size} values)"
        )
    return array


def positive_array(name, value, *, least=0):
    """A float64 array of positive, finite numbers: one number (with least=0), or (n,) with n >= `least` and n >= 1."""
    array = real_array(name, value, finite=False)
    if array.ndim > 1 or array.ndim < min(least, 1) or array.size < max(least, 1):
        expected = f"({'n' if least < 2 else f'n >= {least}'},)"
        raise ShapeError(f"{name} has shape {array.shape}; positive numbers of shape {expected} are expected")
    if not ((array > 0) & (array < np.inf)).all():
        raise ArgumentError(f"{name} must be positive and finite, got {shown(value)}")
    return array


def _fits(shape, expected):
    return len(shape) == len(expected) and all(
        want is None or have == want for have, want in zip(shape, expected, strict=True)
    )


def choice(name, value, known):
    """`value` if it is one of the strings `known`; `name` opens the message."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{name} must be one of {', '.join(map(repr, known))}, got {shown(value)}")
    return value
