"""One number with its error bar, printed as 0.1234(5)."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite, isinf, isnan, nan
from types import MappingProxyType

from .errors import ArgumentError

__all__ = ["Estimate"]

_MAX_DIGITS = 17  # a double holds no more: an error beyond them is written out beside the value


def parenthesis(mean, stderr):
    """`0.1234(5)`: the error in units of the last digit, one digit of it, two where the first is 1."""
    if not isfinite(mean):
        return str(mean)
    if stderr == 0 or not isfinite(stderr):
        digits, mark = (repr(mean), "0") if stderr == 0 else (f"{mean:.6g}", "inf" if isinf(stderr) else "?")
        mantissa, e, exponent = digits.partition("e")
        return f"{mantissa}({mark}){e}{exponent}"
    value, error = Decimal(repr(mean)), Decimal(repr(stderr))
    last = error.adjusted() - (error.as_tuple().digits[0] == 1)  # exponent of the last digit shown
    if value and value.adjusted() - last >= _MAX_DIGITS:
        return f"{mean!r} +- {stderr:.1e}"
    value = value.quantize(Decimal((0, (1,), last)))
    value = value if value else abs(value)  # no "-0.0"
    units = int(error.scaleb(-last).to_integral_value())
    top = max(value.adjusted() if value else last, last + len(str(units)) - 1)
    if -5 <= top < 6:
        return f"{value:f}({units * 10 ** max(last, 0)})"
    return f"{value.scaleb(-top):f}({units})e{top:+03d}"


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    """A number, its standard error, and how it was made.

    Parameters
    ----------
    mean : float
        The value.
    stderr : float
        One standard error in the units of `mean`; 0 means exact, nan that no error bar is known.
    n : int or None
        Number of samples (networks) behind it.
    how : mapping
        Free notes such as estimator, sampler, seed, version.

    Notes
    -----
    Prints the error in units of the last digit shown: one digit, two where the first would be 1. An exact number
    prints all its digits and `(0)`, one without an error bar six digits and `(?)`. Equality compares value,
    error and count (nan equals nan), not the notes.

    Examples
    --------
    >>> Estimate(0.12341, 0.0005), Estimate(-1234.0, 50.0), Estimate(1.23456e-12, 1.2e-15), Estimate(0.25, 0)
    (0.1234(5), -1230(50), 1.2346(12)e-12, 0.25(0))
    >>> float(Estimate(0.5))
    0.5
    """

    mean: float
    stderr: float = nan
    n: int | None = None
    how: Mapping = field(default_factory=dict)

    def __post_init__(self):
        stderr = float(self.stderr)
        if stderr < 0:
            raise ArgumentError(f"stderr must not be negative, got {stderr}")
        object.__setattr__(self, "mean", float(self.mean))
        object.__setattr__(self, "stderr", stderr)
        object.__setattr__(self, "n", None if self.n is None else operator.index(self.n))
        object.__setattr__(self, "how", MappingProxyType(dict(self.how)))

    def __float__(self):
        return self.mean

    def __repr__(self):
        return parenthesis(self.mean, self.stderr)

    def _key(self):
        return tuple(None if isnan(x) else x for x in (self.mean, self.stderr)) + (self.n,)

    def __eq__(self, other):
        return self._key() == other._key() if isinstance(other, Estimate) else NotImplemented

    def __hash__(self):
        return hash(self._key())

    def __reduce__(self):
        return Estimate, (self.mean, self.stderr, self.n, dict(self.how))

    def to_dict(self):
        """Plain `dict` of the four fields, ready for JSON (a nan stays nan)."""
        return {"mean": self.mean, "stderr": self.stderr, "n": self.n, "how": dict(self.how)}
