"""Numbers with error bars: one (`Estimate`) and a whole symmetric tensor of them (`SymmetricTensor`).

An n-point function G(x_i1, .., x_in) does not depend on the order of its arguments, so only the sorted
multi-indices i1 <= .. <= in are stored, in lexicographic order: C(m+n-1, n) numbers for m arguments.
"""

import hashlib
import operator
from functools import cached_property
from math import comb, factorial, nan
from numbers import Real
from types import MappingProxyType

import numpy as np

from . import _core
from ._estimate import Estimate, parenthesis
from ._packed import multiplicities
from .errors import ArgumentError, ShapeError

__all__ = ["Estimate", "SymmetricTensor"]

_MEANING = ("kind", "factor", "method", "power", "loops", "pairs")  # notes that say what the values are: sums and maps end them


class EntryError(ArgumentError, IndexError):
    """`T[...]` names an entry that the tensor does not hold, or names it wrongly."""


class SymmetricTensor:
    """A symmetric tensor with a standard error per entry, packed over sorted multi-indices.

    Parameters
    ----------
    mean : array, shape (count,)
        Values at the rows of `index`, stored as float64.
    stderr : array, shape (count,), or float, optional
        Standard errors in the units of `mean`; 0 means exact. Without it there is no error bar (nan).
    order : int
        Number n of indices.
    size : int
        Number m of values an index takes: the number of fields, points * d_out.
    d_out : int
        Outputs per point; field = point * d_out + out.
    index : integer array, shape (count, order), optional
        Listed multi-indices, rows sorted within and strictly increasing among each other. Without it the tensor
        is dense: all C(size+order-1, order) rows in the order of `itertools.combinations_with_replacement`.
    n : int, optional
        Number of samples (networks) behind every entry.
    how : mapping, optional
        Free notes (estimator, sampler, seed, version), passed on to each `Estimate`. What the values are ("kind", such as
        connected or vertex) is noted until they are added to others; multiples also note their "factor".

    Raises
    ------
    ShapeError
        If an array's shape or dtype does not fit order and size.
    ArgumentError
        If `index` is not sorted, a standard error is negative, or `d_out` does not divide `size`.

    Notes
    -----
    Frozen: the arrays are read-only copies. `T[i, j, k, l]` takes the indices in any order, negative ones from
    the end, and with several outputs also pairs `T[(i, a), (j, b)]`. The entry of a sorted multi-index lies at its
    lexicographic rank C(m+n-1, n) - 1 - sum_k C(m-1-i_k + n-k, n-k+1), k = 1..n; lookup costs O(n), and O(log count)
    more in a listed tensor.

    Scalars multiply, divide, add and subtract with the right error. A sum of two tensors keeps an error bar only
    where one of them is exact: two measured tensors usually come from the same networks, and their correlation
    is not stored.

    Examples
    --------
    >>> T = SymmetricTensor([1.0, 0.5, 2.0], [0.1, 0.02, 0.3], order=2, size=2, n=1000)
    >>> T
    SymmetricTensor(order=2, size=2, entries=3, n=1000)
      [0, 0]  1.00(10)
      [0, 1]  0.50(2)
      [1, 1]  2.0(3)
    >>> T[1, 0], T[-1, -1].mean
    (0.50(2), 2.0)
    >>> T.dense().tolist()
    [[1.0, 0.5], [0.5, 2.0]]
    """

    __array_ufunc__ = None  # numpy scalars and arrays defer to the operators below
    __iter__ = None  # T[0], T[1], .. is no sequence: see items()
    __hash__ = None

    def __init__(self, mean, stderr=None, *, order, size, d_out=1, index=None, n=None, how=None):
        order, size, d_out = (operator.index(x) for x in (order, size, d_out))
        if order < 1 or size < 1 or d_out < 1 or size % d_out:
            raise ArgumentError(
                f"order, size and d_out must be positive and d_out divide size, got {order}, {size} and {d_out}"
            )
        count = comb(size + order - 1, order)
        ranks = None
        if index is not None:
            index = np.array(index)
            if index.size == 0:
                index = np.empty((0, order), dtype=np.int32)
            if index.ndim != 2 or index.shape[1] != order or index.dtype.kind not in "iu":
                raise ShapeError(
                    f"index has dtype {index.dtype} and shape {index.shape}; "
                    f"expected integers of shape (count, {order})"
                )
            ranks = _core.multiset_ranks(index.astype(np.int64), size)
            if np.any(ranks[1:] <= ranks[:-1]):
                raise ArgumentError("the rows of index must increase strictly: pass _core.canonical_index(index, size)")
            if len(ranks) == count:
                index = ranks = None
            else:
                count = len(ranks)
                index = _frozen(index.astype(np.int32))
        mean = _packed(mean, count, "mean")
        stderr = _packed(nan if stderr is None else stderr, count, "stderr")
        if np.any(stderr < 0):
            raise ArgumentError(f"standard errors must not be negative, got {np.nanmin(stderr)}")
        self.__dict__.update(
            mean=mean, stderr=stderr, order=order, size=size, d_out=d_out, _ranks=ranks,
            n=None if n is None else operator.index(n), how=MappingProxyType(dict(how or {})),
        )  # fmt: skip
        if index is not None:
            self.__dict__["index"] = index

    @classmethod
    def exact(cls, mean, *, order, size, how=None):
        """A dense tensor without errors that takes over a float64 array, which becomes read-only: no copy is made.

        Raises
        ------
        ShapeError
            If `mean` is not a float64 array of C(size+order-1, order) entries.

        Examples
        --------
        >>> SymmetricTensor.exact(np.array([1.0, 0.5, 2.0]), order=2, size=2)[0, 1]
        0.5(0)
        """
        if mean.shape != (comb(size + order - 1, order),) or mean.dtype != np.float64:
            raise ShapeError(
                f"mean has dtype {mean.dtype} and shape {mean.shape}; expected float64 of shape "
                f"({comb(size + order - 1, order)},)"
            )
        tensor = object.__new__(cls)
        tensor.__dict__.update(
            mean=_frozen(mean), order=order, size=size, d_out=1, _ranks=None, n=None, how=MappingProxyType(how or {})
        )
        return tensor

    @cached_property
    def stderr(self):
        """Standard errors, shape (count,): zeros, where `exact` made the tensor."""
        return _frozen(np.zeros(len(self.mean)))

    def __setattr__(self, name, value):
        raise AttributeError(f"SymmetricTensor is frozen: cannot set {name}")

    def __delattr__(self, name):
        raise AttributeError(f"SymmetricTensor is frozen: cannot delete {name}")

    # ------------------------------------------------------------------ layout

    @cached_property
    def index(self):
        """Sorted multi-indices of the entries, int32, shape (count, order), read-only."""
        return _frozen(_core.multiset_index(self.size, self.order))

    @property
    def is_dense(self):
        """True if every multi-index is stored, False for a listed subset."""
        return self._ranks is None

    @cached_property
    def multiplicity(self):
        """Number of distinct orderings n! / prod r_i! of each multi-index, int64, shape (count,)."""
        n, m = self.order, min(self.size, self.order)
        each, more = divmod(n, m)  # the most orderings are those of legs spread evenly
        most = factorial(n) // (factorial(each + 1) ** more * factorial(each) ** (m - more))
        if most > np.iinfo(np.int64).max // n:
            raise ArgumentError(f"multiplicities of order {n} over {self.size} values exceed the 64-bit range")
        return _frozen(multiplicities(self.index))

    def rank(self, index):
        """Positions of multi-indices in `mean`, `stderr` and `index`.

        Parameters
        ----------
        index : integer array, shape (order,) or (count, order)
            Fields in any order, negative ones from the end.

        Returns
        -------
        int, or array of shape (count,), int64

        Raises
        ------
        ShapeError
            If `index` does not hold integers, or not `order` of them per row.
        ArgumentError, IndexError
            If a field is out of range, or the multi-index is not among those listed.

        Notes
        -----
        Cost O(order * log(order)) each, and O(log count) more in a listed tensor.

        Examples
        --------
        >>> T = SymmetricTensor(np.arange(10.0), 0, order=3, size=3)
        >>> T.rank((2, 0, 1)), T.rank([[0, 0, 0], [2, 2, -1]]).tolist()
        (4, [0, 9])
        """
        rows = np.asarray(index)
        if rows.dtype.kind not in "iu" or rows.ndim not in (1, 2) or rows.shape[-1] != self.order:
            raise ShapeError(
                f"index has dtype {rows.dtype} and shape {rows.shape}; expected integers of shape "
                f"({self.order},) or (count, {self.order})"
            )
        outside = (rows >= self.size) | (rows < -self.size)
        if outside.any():
            raise EntryError(f"index {rows[outside][0]} is out of range for {self.size} values")
        rows = rows.astype(np.int64)
        rows = np.sort(np.atleast_2d(np.where(rows < 0, rows + self.size, rows)), axis=1)
        at = _core.multiset_ranks(rows, self.size)
        if self._ranks is not None:
            ranks, at = at, np.searchsorted(self._ranks, at)
            missing = np.append(self._ranks, -1)[at] != ranks
            if missing.any():
                row = tuple(rows[missing][0].tolist())
                raise EntryError(f"{row} is not among the {len(self)} listed multi-indices: see T.index")
        return at if np.ndim(index) == 2 else int(at[0])

    def __len__(self):
        return len(self.mean)

    def _field(self, leg):
        """One index of `T[...]`, an int or (point, out), as a field number."""
        parts = ((leg, self.size),)
        if isinstance(leg, tuple):
            if len(leg) != 2:
                raise EntryError(f"an index is a field or (point, out), got {leg!r}")
            parts = ((leg[0], self.size // self.d_out), (leg[1], self.d_out))
        out = 0
        for value, bound in parts:
            if isinstance(value, slice) or value is Ellipsis:
                raise TypeError("T[...] returns one Estimate: slice T.dense() or select rows of T.index instead")
            i = operator.index(value)
            if not -bound <= i < bound:
                raise EntryError(f"index {i} is out of range for {bound} values")
            out = out * bound + i % bound
        return out

    def __getitem__(self, key):
        legs = key if isinstance(key, tuple) else (key,)
        if len(legs) != self.order:
            raise EntryError(f"a tensor of order {self.order} takes {self.order} indices, got {len(legs)}")
        row = sorted(self._field(leg) for leg in legs)
        n, m = self.order, self.size
        at = comb(m + n - 1, n) - 1 - sum(comb(m - 1 - i + n - 1 - k, n - k) for k, i in enumerate(row))
        if self._ranks is not None:
            rank, at = at, int(np.searchsorted(self._ranks, at))
            if at == len(self) or self._ranks[at] != rank:
                raise EntryError(f"{tuple(row)} is not among the {len(self)} listed multi-indices: see T.index")
        return Estimate(self.mean[at], self.stderr[at], self.n, self.how)

    def items(self):
        """Iterate over (multi-index, `Estimate`), in storage order.

        Examples
        --------
        >>> list(SymmetricTensor([4.0, 5.0], 0, order=1, size=2).items())
        [((0,), 4.0(0)), ((1,), 5.0(0))]
        """
        for row, mean, stderr in zip(self.index.tolist(), self.mean, self.stderr, strict=True):
            yield tuple(row), Estimate(mean, stderr, self.n, self.how)

    # ------------------------------------------------------------------ expansion

    def dense(self):
        """All size**order entries of the mean.

        Returns
        -------
        array, shape (size,) * order, float64

        Raises
        ------
        ArgumentError
            If only listed multi-indices are stored, or the array would have more than 2**40 entries.

        Notes
        -----
        Cost O(order * log(order) * size**order); for order 8 over 20 values that is 2.6e10 entries: work with
        `mean`, `index` and `multiplicity` instead.

        Examples
        --------
        >>> SymmetricTensor([0.0, 1.0, 2.0, 3.0], 0, order=3, size=2).dense()[1].tolist()
        [[1.0, 2.0], [2.0, 3.0]]
        """
        return self._expand(self.mean)

    def dense_stderr(self):
        """All size**order standard errors; otherwise like `dense`."""
        return self._expand(self.stderr)

    def _expand(self, packed):
        if not self.is_dense:
            raise ArgumentError(
                f"dense() needs all {comb(self.size + self.order - 1, self.order)} multi-indices, this tensor lists "
                f"{len(self)}: use mean with index, or ask for all indices"
            )
        entries = self.size**self.order
        if entries > 2**40:
            raise ArgumentError(f"dense() would have {self.size}**{self.order} entries: use mean with index")
        out = np.empty(entries)
        for first in range(0, entries, 1 << 18):  # bounds the index arrays to some 20 MB
            flat = np.arange(first, min(first + (1 << 18), entries))
            rows = np.sort(np.stack(np.unravel_index(flat, (self.size,) * self.order), axis=1), axis=1)
            out[flat] = packed[_core.multiset_ranks(rows, self.size)]
        return out.reshape((self.size,) * self.order)

    # ------------------------------------------------------------------ arithmetic

    def _weights(self, over, name):
        if over not in ("unique", "ordered"):
            raise ArgumentError(f'{name}() over {over!r}; expected over="unique" or over="ordered"')
        return self.multiplicity if over == "ordered" else np.ones(len(self))

    def sum(self, *, over="unique"):
        """Sum of the stored entries.

        Parameters
        ----------
        over : {"unique", "ordered"}
            Every multi-index once, or once for each of its `multiplicity` orderings: a dense tensor's sum over all
            size**order ordered tuples.

        Returns
        -------
        Estimate
            Its `stderr` is the upper bound sum w_i stderr_i, reached when all entries fluctuate together, as those at
            close points do; their correlations are not stored.

        Raises
        ------
        ArgumentError
            If `over` is unknown.

        Notes
        -----
        Cost O(count).

        Examples
        --------
        >>> T = SymmetricTensor([1.0, 0.5, 2.0], 0, order=2, size=2)
        >>> T.sum(), T.sum(over="ordered")
        (3.5(0), 4.0(0))
        """
        weights = self._weights(over, "sum")
        return Estimate(np.sum(weights * self.mean), np.sum(weights * self.stderr), self.n, self.how)

    def average(self, *, over="unique"):
        """Mean over the stored entries: `sum` divided by the number of multi-indices, or of their orderings.

        Raises
        ------
        ArgumentError
            If `over` is unknown or the tensor is empty.

        Notes
        -----
        Cost O(count). The papers' plots average over all ordered tuples or over unique ones, and the two differ.

        Examples
        --------
        >>> T = SymmetricTensor([1.0, 0.5, 2.0], 0, order=2, size=2)
        >>> T.average(), T.average(over="ordered")
        (1.1666666666666667(0), 1.0(0))
        """
        if not len(self):
            raise ArgumentError("average() of 0 entries")
        weights = self._weights(over, "average")
        return Estimate(
            np.average(self.mean, weights=weights), np.average(self.stderr, weights=weights), self.n, self.how
        )

    def contract(self, v):
        """Sum over all ordered tuples of T[i, j, ..] v_i v_j ..: for moments of f, the moment E[(v.f)^order].

        Parameters
        ----------
        v : array, shape (size,), real
            One weight per field, in any units.

        Returns
        -------
        Estimate
            In units of `mean` times those of v ** order; `stderr` is an upper bound as for `sum`.

        Raises
        ------
        ShapeError
            If v is not a vector of `size` real numbers.
        ArgumentError
            If only listed multi-indices are stored.

        Notes
        -----
        Cost O(order * count). Where terms cancel, the error is a few ulp of their absolute sum.

        Examples
        --------
        >>> K = SymmetricTensor([1.0, 0.5, 2.0], 0, order=2, size=2)
        >>> K.contract(np.array([1.0, -1.0]))                # K_00 - 2 K_01 + K_11
        2.0(0)
        """
        v = np.asarray(v)
        if v.shape != (self.size,) or v.dtype.kind not in "fiu":
            raise ShapeError(
                f"v has dtype {v.dtype} and shape {v.shape}; expected real numbers of shape ({self.size},)"
            )
        if not self.is_dense:
            raise ArgumentError(f"contract() needs all multi-indices, this tensor lists {len(self)}")
        weights = self.multiplicity.astype(np.float64)
        for leg in self.index.T:
            weights *= v[leg]
        return Estimate(np.sum(weights * self.mean), np.sum(abs(weights) * self.stderr), self.n, self.how)

    def _like(self, mean, stderr, source=None):
        """Other values in this layout: the notes of `source` (default: this one) on where they come from, none on what they are."""
        source = self if source is None else source
        return self._with(mean, stderr, source.n, provenance(source.how))

    def _with(self, mean, stderr, n, how):
        layout = {k: v for k, v in self._state().items() if k in ("order", "size", "d_out", "index")}
        return SymmetricTensor(mean, stderr, n=n, how=how, **layout)

    def _same_layout(self, other):
        mine, theirs = ((t.order, t.size, t.d_out, len(t)) for t in (self, other))
        return mine == theirs and np.array_equal(self._ranks, other._ranks)

    def _combine(self, other, sign):
        if isinstance(other, Real):
            return self._like(self.mean + sign * float(other), self.stderr)
        if not isinstance(other, SymmetricTensor):
            return NotImplemented
        if not self._same_layout(other):
            raise ArgumentError(f"the tensors hold different entries: {self._head()} and {other._head()}")
        stderr = np.where(self.stderr == 0, other.stderr, np.where(other.stderr == 0, self.stderr, nan))
        total = self._like(self.mean + sign * other.mean, stderr)
        exact = tuple(not t.stderr.any() for t in (self, other))
        if (self.n, total.how) == (other.n, provenance(other.how)) or exact == (False, True):
            return total
        if exact == (True, False):
            return self._like(total.mean, stderr, other)
        terms = {"terms": (dict(self.how), dict(other.how))}
        return self._with(total.mean, stderr, None, terms)

    def __add__(self, other):
        return self._combine(other, 1)

    def __sub__(self, other):
        return self._combine(other, -1)

    def __rsub__(self, other):
        return (-self)._combine(other, 1)

    def __mul__(self, factor):
        if not isinstance(factor, Real):
            return NotImplemented
        factor = float(factor)
        return self._scaled(self.mean * factor, self.stderr * abs(factor), self.how.get("factor", 1.0) * factor)

    def __truediv__(self, divisor):
        if not isinstance(divisor, Real):
            return NotImplemented
        divisor = float(divisor)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = float(np.divide(self.how.get("factor", 1.0), divisor))
        return self._scaled(self.mean / divisor, self.stderr / abs(divisor), factor)

    def __neg__(self):
        return self._scaled(-self.mean, self.stderr, -self.how.get("factor", 1.0))

    def _scaled(self, mean, stderr, factor):
        """A multiple: notes that say what the values are get the factor from what they say."""
        how = {k: v for k, v in self.how.items() if k != "factor"}
        return self._with(mean, stderr, self.n, how | {"factor": factor} if "kind" in how and factor != 1 else how)

    __radd__ = __add__
    __rmul__ = __mul__

    def __eq__(self, other):
        if not isinstance(other, SymmetricTensor):
            return NotImplemented
        return (
            self._same_layout(other)
            and (self.n, self.how) == (other.n, other.how)
            and np.array_equal(self.mean, other.mean, equal_nan=True)
            and np.array_equal(self.stderr, other.stderr, equal_nan=True)
        )

    # ------------------------------------------------------------------ output

    def _head(self):
        parts = {"order": self.order, "size": self.size, "d_out": self.d_out, "entries": len(self), "n": self.n}
        parts |= {k: self.how[k] for k in ("estimator", "sampler") if k in self.how}
        hidden = {"d_out": 1, "n": None}
        text = ", ".join(f"{k}={v}" for k, v in parts.items() if k not in hidden or v != hidden[k])
        return f"SymmetricTensor({text}{'' if self.is_dense else ', listed'})"

    def __repr__(self):
        shown = min(len(self), 6)
        rows = _core.multiset_unrank(np.arange(shown), self.size, self.order) if self.is_dense else self.index[:shown]
        lines = [
            f"  {row.tolist()}  {parenthesis(float(a), float(s))}"
            for row, a, s in zip(rows, self.mean, self.stderr, strict=False)
        ]
        more = [f"  ... {len(self) - shown} more"] if len(self) > shown else []
        return "\n".join([self._head(), *lines, *more])

    def to_dict(self):
        """Plain `dict` of lists and numbers, ready for JSON; `SymmetricTensor.from_dict` reads it back.

        Examples
        --------
        >>> T = SymmetricTensor([1.0, 0.5, 2.0], 0.1, order=2, size=2)
        >>> SymmetricTensor.from_dict(T.to_dict()) == T
        True
        """
        state = self._state()
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}

    @classmethod
    def from_dict(cls, state):
        """The tensor that `to_dict` wrote."""
        return cls(**state)

    def _state(self):
        return {
            "mean": self.mean, "stderr": self.stderr, "order": self.order, "size": self.size, "d_out": self.d_out,
            "index": None if self.is_dense else self.index, "n": self.n, "how": dict(self.how),
        }  # fmt: skip

    def __reduce__(self):
        return SymmetricTensor.from_dict, (self._state(),)

    def to_xarray(self):
        """`xarray.Dataset` with `mean`, `stderr` (entry) and the coordinate `index` (entry, leg).

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise ImportError("to_xarray() needs the package xarray: pip install xarray") from error
        notes = {k: v for k, v in self._state().items() if k in ("order", "size", "d_out", "n") and v is not None}
        return xarray.Dataset(
            {"mean": ("entry", self.mean), "stderr": ("entry", self.stderr)},
            coords={"index": (("entry", "leg"), self.index)},
            attrs=notes | {f"how_{k}": v for k, v in self.how.items()},
        )


def provenance(how):
    """The notes on where numbers come from, without those on what they are."""
    return {k: v for k, v in how.items() if k not in _MEANING}


def points_note(x):
    """A short name of points, the same for points that agree to 9 digits."""
    text = " ".join(f"{value + 0.0:.9g}" for value in np.ravel(x).tolist())
    return hashlib.sha256(f"{np.shape(x)} {text}".encode()).hexdigest()[:12]


def _frozen(array):
    array.setflags(write=False)
    return array


def _packed(values, count, name):
    """A read-only float64 copy of shape (count,); a scalar fills it."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiu" or values.shape not in ((), (count,)):
        raise ShapeError(
            f"{name} has dtype {values.dtype} and shape {values.shape}; expected real numbers of shape ({count},)"
        )
    return _frozen(np.full(count, values, dtype=np.float64))
