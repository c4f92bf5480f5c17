"""Moment tensors of samples: packed symmetric means of products, in one go or streaming."""

import os
import warnings
from collections.abc import Iterable

import numpy as np

from . import _backend, _core, _store
from ._device import _moments as on_device
from ._jackknife import jackknife
from ._run import integer, progress_bar, thread_count
from ._version import __version__
from .errors import ArgumentError, NNQFTWarning, ShapeError, StateError
from .tensor import SymmetricTensor

__all__ = ["MomentAccumulator", "moments"]

_FORMAT = "nnqft.moments/1"
_MIN_GROUPS = 8
_LARGE = 2**48  # the kernels check the rest


def moments(F, *, orders=(2, 4), weights=None, stderr=True, block=None, device=None, threads=None, progress=None):
    """Moment tensors of samples, with error bars.

    M_{i1..in} = sum_r w_r F_{r,i1} .. F_{r,in} / sum_r w_r for all sorted multi-indices i1 <= .. <= in.

    Parameters
    ----------
    F : array, shape (samples, fields), float32 or float64
        One row per independent sample, any units; any strides, read-only or not. It is not copied.
    orders : int or iterable of int
        Numbers n of legs, 1 to 8. Several cost little more than the largest.
    weights : array, shape (samples,), float64, optional
        Real weights; means are normalised by their sum. Default: 1.
    stderr : bool
        False: no error bars (nan), and memory for one tensor instead of 64.
    block : int, optional
        Consecutive samples per block sum; blocks are dealt to 64 groups for the jackknife. Default: the power of two
        from 16 to 4096 that gives about 64 blocks.
    device : str, optional
        "cpu", "cuda" or "cuda:N"; default: where F is. On a device the sums over blocks are formed there, with the bits of the
        CPU, and come to the host, where the results are.
    threads : int, optional
        Of the CPU. Default: `nnqft.build_info()["threads"]`. Changes no bit of the result.
    progress : True or callable(done, total), optional
        Progress in samples; True draws a bar (tqdm).

    Returns
    -------
    dict of int to SymmetricTensor
        For each order `.mean`, `.stderr` packed over the C(m+n-1, n) multi-indices, in units of F ** n; `.n` samples.

    Raises
    ------
    ShapeError
        If F is not a matrix of float32 or float64, or the weights do not fit it.
    ArgumentError
        If there are no samples, an order is outside 1 to 8, or the tensors do not fit into memory.
    DeviceError
        If the device is missing, or its memory too small.

    Notes
    -----
    C(m+n-1, n) multiply-adds per sample and order n, none twice, in float64, at 40 % of the speed of a matrix product
    for n = 4, m = 6 and 60 % and more from n = 6, m = 8 on (benches/bench_moments.py). Rounding below 1e-14 of the same
    sums over |F|; the same bits for any number of threads and any instruction set. Fewer than 8 blocks give no error
    bar and an `NNQFTWarning`; a NaN or infinity anywhere makes all results nan, and the warning names its row.

    Standard errors hold for independent samples, by the delete-one-group jackknife (`jackknife`); without weights it
    says stderr^2 = sum_g n_g / (n - n_g) (M_g - M)^2 / groups, with M_g the mean over the n_g samples of group g.

    Examples
    --------
    >>> F = np.random.default_rng(0).standard_normal((10_000, 3))
    >>> M = moments(F, orders=(2, 4))
    >>> M[4].mean.shape, abs(M[4][0, 0, 1, 1].mean - 1) < 5 * M[4][0, 0, 1, 1].stderr
    ((15,), True)
    """
    where = _backend.place(device, F=F, weights=weights)
    F, weights = _samples(F, weights, "moments()", where)
    if not len(F):
        raise ArgumentError("F has no rows: a mean needs at least one sample")
    orders = _orders(orders)
    if stderr:
        block = _block(len(F)) if block is None else block
        accumulator = MomentAccumulator(F.shape[1], orders=orders, block=block, threads=threads)
        accumulator.push(F, weights=weights, progress=progress)
        return accumulator._finalize(stacklevel=3)
    with progress_bar(progress, len(F), unit="sample") as report:
        if where == "cpu":
            sums, bad = _core.all_moment_sums(F, (0, *orders), weights, thread_count(threads), report)
        else:
            sums, bad = on_device.total(F, weights, index=_index(where), orders=[0, *orders], report=report)
        if report is not None:
            report(len(F))
    if bad >= 0:
        _warn_bad(1, bad, 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {n: part / sums[0] for n, part in _split(sums, F.shape[1], orders).items()}
    return {n: _tensor(means[n], None, n, F.shape[1], len(F)) for n in orders}


class MomentAccumulator:
    """Moment tensors of a stream of samples: push, merge, finalize.

    Blocks of consecutive samples are summed in float64 and dealt to 64 groups, whose sums are exact. So however the
    stream is cut into pushes, and whatever the number of threads, the results have the same bits.

    Parameters
    ----------
    m : int
        Number of fields, the length of a row.
    orders : int or iterable of int
        Numbers of legs, 1 to 8.
    block : int, optional
        Samples per block; accumulators that are merged need the same. Default: 256, or 4096 for more than 4096 moments.
    start : int
        Samples of the whole stream before the first one pushed here, a multiple of `block`. Parts of one stream, each
        begun at its place, merge to the bits of one accumulator that saw it all.
    threads : int, optional
        Default: `nnqft.build_info()["threads"]`.

    Raises
    ------
    ArgumentError
        If m or an order is out of range, the sums do not fit into memory, or `start` is no multiple of the block.

    Notes
    -----
    Memory: up to 64 groups of 40 bytes per moment, whatever the number of samples; cost per push as in `moments`, a
    tenth to a quarter more with blocks of 256. One call at a time: another thread that uses the accumulator meanwhile
    gets a StateError.

    Examples
    --------
    >>> F = np.random.default_rng(0).standard_normal((10_000, 3))
    >>> acc = MomentAccumulator(3, orders=(2, 4))
    >>> for part in np.array_split(F, 7):
    ...     acc.push(part)
    >>> acc
    MomentAccumulator(m=3, orders=(2, 4), block=256, n_samples=10000)
    >>> acc.finalize() == moments(F, orders=(2, 4), block=256)
    True
    """

    def __init__(self, m, *, orders=(2, 4), block=None, start=0, threads=None):
        self._orders = _orders(orders)
        self._threads = thread_count(threads)
        m = integer("m", m, 0, _LARGE)
        if block is None:
            block = 4096 if _core.moment_count(m, self._orders) > 4096 else 256
        block, start = integer("block", block, 1, _LARGE), integer("start", start, 0, _LARGE)
        self._sums = _core.MomentAccumulator(m, self._orders, block, start)
        self._start = start

    # ---- what it is

    @property
    def m(self):
        """Number of fields."""
        return self._sums.m

    @property
    def orders(self):
        """Numbers of legs, ascending."""
        return self._orders

    @property
    def block(self):
        """Samples per block."""
        return self._sums.block

    @property
    def n_samples(self):
        """Samples counted so far."""
        return self._sums.n_samples

    @property
    def nbytes(self):
        """Memory of the sums; independent of the number of samples."""
        return self._sums.nbytes

    def __repr__(self):
        return f"MomentAccumulator(m={self.m}, orders={self.orders}, block={self.block}, n_samples={self.n_samples})"

    # ---- adding

    def push(self, F, *, weights=None, progress=None):
        """Adds samples.

        Parameters
        ----------
        F : array, shape (samples, m), float32 or float64
            Any strides, any number of rows, none included.
        weights : array, shape (samples,), float64, optional
            Default: 1.
        progress : True or callable(done, total), optional
            Progress in samples of this push.

        Notes
        -----
        Samples on a CUDA device (CuPy, or anything with DLPack) are summed over blocks there; the bits are those of the CPU, so that
        parts of one stream may be pushed from either.

        Raises
        ------
        ShapeError
            If shape or dtype do not fit.
        KeyboardInterrupt
            Within half a second of Ctrl-C; `n_samples` tells how many rows were counted, the first ones of F.
        """
        where = _backend.place(None, F=F, weights=weights)
        F, weights = _samples(F, weights, "push()", where)
        with progress_bar(progress, len(F), unit="sample") as report:
            if where == "cpu":
                self._sums.push(F, weights, self._threads, report)
            elif F.shape[1] != self.m:
                raise ShapeError(f"F has dtype {F.dtype} and shape {F.shape}; this accumulator takes {self.m} fields per row")
            else:
                on_device.push(self._sums, F, weights, index=_index(where), orders=[0, *self._orders], report=report)
            if report is not None:
                report(len(F))

    def merge(self, other):
        """Adds the samples of another accumulator; its unfinished block stays a short one.

        Raises
        ------
        StateError
            If it has another m, other orders or another block, or is this one.
        """
        self._same(other)
        self._sums.merge(other._sums)

    def __add__(self, other):
        if not isinstance(other, MomentAccumulator):
            return NotImplemented
        self._same(other)
        total = self._like(self._start)
        total._sums.merge(self._sums)
        total._sums.merge(other._sums)
        return total

    def _like(self, start):
        return MomentAccumulator(self.m, orders=self.orders, block=self.block, start=start, threads=self._threads)

    def _same(self, other):
        mine, theirs = ({"m": a.m, "orders": a.orders, "block": a.block} for a in (self, other))
        different = [f"{k} ({mine[k]} and {theirs[k]})" for k in mine if mine[k] != theirs[k]]
        if different:
            raise StateError("cannot merge: the accumulators differ in " + ", ".join(different))

    # ---- what it says

    def sums(self):
        """Sums of the groups of samples, ready for `jackknife` and `bootstrap`.

        Returns
        -------
        values : dict of int to array, shape (groups, count), float64
            Packed sums of every order. If weights were given, also order 0, shape (groups, 1): the sums of the weights,
            by which means are to be divided.
        counts : array, shape (groups,), float64
            Samples of each group; groups without samples are left out.

        Notes
        -----
        nan everywhere, and an `NNQFTWarning` that names the row, if a sample was not finite.

        Examples
        --------
        >>> acc = MomentAccumulator(2, orders=(2, 4), block=16)
        >>> acc.push(np.random.default_rng(0).standard_normal((2048, 2)))
        >>> kurtosis = nnqft.wick.jackknife(*acc.sums(), function=lambda M: M[4][:, 0] / M[2][:, 0] ** 2)
        >>> bool(abs(kurtosis.corrected - 3) < 5 * kurtosis.stderr)
        True
        """
        return self._groups(stacklevel=3)

    def _groups(self, stacklevel):
        sums, samples, bad_blocks, first_bad = self._sums.replica_sums()
        if not samples.any():
            raise StateError("no sample has been pushed yet")
        if bad_blocks:
            _warn_bad(bad_blocks, first_bad, stacklevel + 1)
            sums[:] = np.nan
        sums, samples = sums[samples > 0], samples[samples > 0].astype(np.float64)
        values = _split(sums, self.m, self.orders)
        if not (bad_blocks or np.array_equal(sums[:, 0], samples)):
            values = {0: sums[:, :1]} | values
        return values, samples

    def finalize(self):
        """Means and standard errors so far; pushing may go on afterwards.

        Returns
        -------
        dict of int to SymmetricTensor
            As `moments` returns it.

        Raises
        ------
        StateError
            If there are no samples.
        """
        return self._finalize(stacklevel=3)

    def _finalize(self, stacklevel):
        mean, error, n, groups, weighted, bad_blocks, first_bad = self._sums.means(_MIN_GROUPS)
        if not n:
            raise StateError("no sample has been pushed yet")
        if bad_blocks:
            _warn_bad(bad_blocks, first_bad, stacklevel + 1)
            mean[:] = error[:] = np.nan
        elif weighted:
            result = jackknife(*self._groups(stacklevel + 1), function=_normalised)
            return {k: _tensor(result.estimate[k], result.stderr[k], k, self.m, n) for k in self.orders}
        elif groups < _MIN_GROUPS:
            message = f"{groups} groups of samples give no error bar: {_MIN_GROUPS} are needed"
            warnings.warn(message, NNQFTWarning, stacklevel=stacklevel)
        means, errors = (_split(x, self.m, self.orders) for x in (mean, error))
        return {k: _tensor(means[k], errors[k], k, self.m, n) for k in self.orders}

    # ---- keeping

    def _state(self):
        next_block, limbs, bases, samples, waiting, bad = self._sums.state()
        header = {
            "format": _FORMAT, "m": self.m, "orders": list(self.orders), "block": self.block, "start": self._start,
            "version": __version__,
        }  # fmt: skip
        arrays = {
            "limbs": np.concatenate([planes.reshape(-1) for planes in limbs]),
            "planes": np.array([len(planes) for planes in limbs], dtype=np.int64),
            "bases": bases, "samples": samples, "waiting": waiting,
            "counters": np.array([next_block, *bad], dtype=np.uint64),
        }  # fmt: skip
        return header, arrays

    @classmethod
    def _from_state(cls, header, arrays):
        self = cls(header["m"], orders=header["orders"], block=header["block"], start=header["start"])
        n, planes = self._sums.n_sums, arrays["planes"]
        if not ((0 <= planes) & (planes <= 128)).all() or planes.sum() * n != len(arrays["limbs"]):
            raise StateError(f"the stored sums have {len(arrays['limbs'])} limbs, not as many as {n} moments need")
        ends = np.concatenate([[0], np.cumsum(planes)]) * n
        limbs = [arrays["limbs"][a:b].reshape(-1, n) for a, b in zip(ends, ends[1:])]
        next_block, bad_blocks, first_bad = arrays["counters"].tolist()
        lists = (arrays[name].tolist() for name in ("bases", "samples", "waiting"))
        self._sums.restore(next_block, limbs, *lists, bad_blocks, first_bad)
        return self

    def save(self, path, *, keep_previous=False):
        """Write everything to one .npz file, atomically; no pickle.

        Parameters
        ----------
        path : str or Path
        keep_previous : bool
            Keep the file that was there as `<path>.previous`.
        """
        header, arrays = self._state()
        _store.save(path, header, arrays, keep_previous=keep_previous)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote, to go on pushing. StateError for any file that is not whole and consistent."""
        header, arrays = _store.load(path, expect=_expected_members)
        try:
            return cls._from_state(header, arrays)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise StateError(f"{os.fspath(path)!r} is whole, but holds no moments ({reason})") from error

    def __reduce__(self):
        return _from_bytes, (_store.to_bytes(*self._state()),)


def _from_bytes(data):
    return MomentAccumulator._from_state(*_store.from_bytes(data, expect=_expected_members))


def _expected_members(header):
    """Names, dtypes and ranks or shapes that a file with this header must have."""
    if header.get("format") != _FORMAT:
        raise StateError(f"this is not a file of {_FORMAT}")
    return {
        "limbs": (np.int64, (None,)), "planes": (np.int64, (64,)), "bases": (np.int64, (64,)),
        "samples": (np.uint64, (64,)), "waiting": (np.float64, (None,)), "counters": (np.uint64, (3,)),
    }  # fmt: skip


# ---- parts


def _orders(orders):
    orders = orders if isinstance(orders, Iterable) else (orders,)
    orders = tuple(sorted({integer("an order", n, 0, 64) for n in orders}))
    if not orders or orders[0] < 1 or orders[-1] > 8:
        raise ArgumentError(f"orders must be among 1 to 8, got {orders}")
    return orders


def _index(where):
    return int(where.removeprefix("cuda:"))


def _samples(F, weights, who, where="cpu"):
    def floats(x, name, dtypes, takes):
        if isinstance(x, np.ma.MaskedArray):
            raise ShapeError(f"{name} is a masked array; {who} takes plain arrays: select the rows that count")
        if where != "cpu":
            x = _backend.asarray(x if hasattr(x, "dtype") or _backend.lives_on_device(x) else np.asarray(x, dtype=np.float64), device=where, name=name)
        elif not isinstance(x, np.ndarray):
            x = np.asarray(x) if hasattr(x, "__array__") else np.asarray(x, dtype=np.float64)
        if x.dtype not in dtypes:
            raise ShapeError(f"{name} has dtype {x.dtype}; {who} takes {takes}: call {name}.astype(np.float64)")
        return x

    F = floats(F, "F", (np.float32, np.float64), "float32 or float64")
    if F.ndim != 2:
        raise ShapeError(f"F has shape {F.shape}; {who} takes a matrix (samples, fields)")
    if weights is not None:
        weights = floats(weights, "weights", (np.float64,), "float64")
        if weights.shape != F.shape[:1]:
            raise ShapeError(f"weights has shape {weights.shape}; expected ({len(F)},), one per row of F")
    return F, weights


def _block(n_samples):
    """About 64 blocks: more would not sharpen the error bars, and every block costs an exact addition."""
    return min(max(16, 1 << (max(n_samples - 1, 1) // 64).bit_length()), 4096)


def _split(sums, m, orders):
    """Views of the packed orders in rows that hold order 0 first."""
    ends = np.cumsum([1] + [_core.multiset_count(m, n) for n in orders])
    return {n: sums[..., a:b] for n, a, b in zip(orders, ends, ends[1:])}


def _normalised(means):
    with np.errstate(invalid="ignore", divide="ignore"):
        return {n: M / means[0] for n, M in means.items()}


def _tensor(mean, stderr, order, m, n):
    how = {"estimator": "moments", "version": __version__}
    return SymmetricTensor(mean, stderr, order=order, size=m, n=n, how=how)


def _warn_bad(blocks, row, stacklevel):
    what = "NaN or infinity, or products that overflow"
    message = f"{blocks} block(s) of samples have {what}, the first from row {row} on: the results are NaN"
    warnings.warn(message, NNQFTWarning, stacklevel=stacklevel + 1)
