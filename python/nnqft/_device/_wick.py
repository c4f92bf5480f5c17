"""Hafnians on a CUDA device, with the bits of the CPU: sieves in steps, batches of small ones and all multisets in one go."""

import math
import re

import numpy as np

from .. import _backend, _core
from ..errors import ArgumentError
from ._runs import paced

__all__ = ["all_multisets", "hafnian", "hafnian_batch", "multiply_adds_per_second"]

_STEP = 0.03  # s of work per launch of a sieve
_SLICE = 1 << 24  # hafnians per launch of a batch: milliseconds
_WIDE_SLICE = 1 << 16  # of those beyond the window, which are slow
_ENTRIES = 1 << 27  # of a tensor per launch


def multiply_adds_per_second(index):
    """In double precision, roughly, as these kernels reach them: a quarter of what the device has."""
    properties = _backend.cuda_module().device_properties(index)
    major, minor = properties["compute_capability"]
    fast = minor == 0 and major in (6, 7, 8, 9, 10)  # others have 2 units for 64
    return properties["multiprocessors"] * (3e10 if fast else 2e9)


# ---- one hafnian


def hafnian(K, mu, repeats, *, index, report):
    """haf(K, mu; repeats) of checked arrays on the host."""
    method, *_ = _core.hafnian_work(K, mu, repeats)
    if method == "none":
        return _core.hafnian(K, mu, repeats, 1, None)
    if method == "minors" and K.dtype == np.float64:
        tuples = np.arange(len(K), dtype=np.int32)[None]
        return float(hafnian_batch(K, tuples, mu, False, index=index).get()[0])
    if method == "multisets":
        return _core.hafnian_with_multisets(K, mu, repeats, lambda *theory: _sum_over_multisets(*theory, index))
    if method != "sieve":
        raise ArgumentError(f"no kernel of a device does complex hafnians of {len(K)} points: call hafnian() without device")
    return _core.hafnian_with(
        K, mu, repeats, lambda shape, numbers, values: _sum_over_signs(shape, numbers, values, index, report)
    )


def _sum_over_multisets(complex_numbers, mean, K, mu, repeats, index):
    cupy, cuda = _backend.cupy_module(), _backend.cuda_module()
    parts, repeats = 2 if complex_numbers else 1, repeats.tolist()
    with _backend.on_device(index) as stream:
        K, mu = cupy.asarray(K), cupy.asarray(mu)
        table = _backend.empty((cuda.recursion_size(repeats), parts), np.float64)
        cuda.hafnian_multisets(index, repeats, complex_numbers, mean, *map(_backend.address, (K, mu, table)), stream)
        return complex(*table[-1].get())


def _sum_over_signs(shape, numbers, values, index, report):
    cupy, walk = _backend.cupy_module(), _backend.cuda_module().SieveWalk(index, *shape, numbers)
    step = _STEP * multiply_adds_per_second(index)
    with _backend.on_device(index) as stream:
        tasks = cupy.asarray(np.frombuffer(walk.tasks, dtype=np.uint8))
        numbers_there = cupy.asarray(values)
        scratch = _backend.workspace(walk.workspace_size)
        sums = _backend.empty((walk.sums_size,), np.float64)
        done = 0.0

        def launched(_):
            nonlocal done
            before, done = done, walk.done
            return done - before

        def steps():
            while not walk.finished:
                yield walk

        tell = None if report is None or numbers == "integer" else lambda work: report(100 * work / walk.multiply_adds)
        for _ in paced(steps(), report=tell, size=launched):
            walk.advance(index, step, *map(_backend.address, (tasks, numbers_there, scratch, sums)), stream)
        host = sums.get()
    walk.fold(host.ctypes.data)
    return host[: 2 if numbers == "complex" else 1]


# ---- many small ones


def hafnian_batch(K, tuples, mu, packed, *, index):
    """Hafnians of index tuples over K (m, m), or of matrices K where `tuples` is None; C-contiguous arrays of right shapes, n <= 12.

    K and mu of index tuples are on the host, all others on the device. Waits for the device, to know that the input is sound.
    """
    batch = _Matrices(K, mu, packed, index) if tuples is None else _Tuples(K, tuples, mu, index)
    with _backend.on_device(index) as stream:
        return batch.run(stream)


class _Batch:
    """`launch` and `launch_wide` of a part of the batch; `refuse` says what is wrong with one."""

    def run(self, stream):
        cupy, cuda = _backend.cupy_module(), _backend.cuda_module()
        out = _backend.empty((self.count,), np.float64)
        if self.n == 0 or self.count == 0:
            out[...] = 1.0
            return out
        terms = cupy.asarray(np.frombuffer(cuda.small_terms(self.n, self.mean), dtype=np.uint8))
        parts = [slice(a, min(a + _SLICE, self.count)) for a in range(0, self.count, _SLICE)]
        status = cupy.asarray(np.tile(np.array([2**63 - 1, 0]), (len(parts), 1)))
        for i, part in enumerate(paced(parts)):
            self.launch(cuda, part, _backend.address(terms), _backend.address(status[i]), _backend.address(out[part]), stream)
        for part, (bad, out_of_window) in zip(parts, status.get().tolist(), strict=True):
            if bad < 2**63 - 1:
                self.refuse(part.start + bad)
            if out_of_window:
                scratch = _backend.workspace(cuda.wide_workspace_size(self.n))
                few = [slice(a, min(a + _WIDE_SLICE, part.stop)) for a in range(part.start, part.stop, _WIDE_SLICE)]
                for piece in paced(few):
                    self.launch_wide(cuda, piece, _backend.address(out[piece]), _backend.address(scratch), stream)
        if self.zero:
            out[...] = 0.0
        return out


class _Tuples(_Batch):
    def __init__(self, K, tuples, mu, index):
        self.count, self.n = tuples.shape
        self.zero = self.n % 2 == 1 and mu is None
        _core.hafnian_batch(K, np.empty((0, self.n), np.int32), mu, False, 1, np.inf)  # finite, symmetric, not too large
        self.points, self.mean = len(K), mu is not None or self.zero
        if self.points == 0 and self.count and self.n:
            raise ArgumentError("index names points, but K has none")
        self.window_holds = _window_holds(self.n, K, mu)
        self.index = index
        with _backend.on_device(index):
            cupy = _backend.cupy_module()
            self.K, self.tuples = cupy.asarray(K), cupy.asarray(tuples)
            self.mu = cupy.asarray(np.zeros(len(K)) if self.zero else mu) if self.mean else None
        self.numbers = [_backend.address(self.K), _backend.address(self.mu) if self.mean else 0]

    def launch(self, cuda, part, terms, status, out, stream):
        tuples, wide = self.tuples[part], self.tuples.dtype == np.int64
        cuda.tuple_hafnians(self.index, self.n, len(tuples), self.points, wide, self.window_holds, *self.numbers,
                            _backend.address(tuples), terms, status, out, stream)  # fmt: skip

    def launch_wide(self, cuda, part, out, scratch, stream):
        tuples, wide = self.tuples[part], self.tuples.dtype == np.int64
        cuda.wide_tuple_hafnians(self.index, self.n, len(tuples), self.points, wide, *self.numbers, _backend.address(tuples),
                                 out, scratch, stream)  # fmt: skip

    def refuse(self, b):
        row = self.tuples[b].get()
        k = int(np.flatnonzero((row < 0) | (row >= self.points))[0])
        raise ArgumentError(f"index[{b}, {k}] is {row[k]}; K has the points 0 to {self.points - 1}")


class _Matrices(_Batch):
    def __init__(self, K, mu, packed, index):
        self.packed, self.index, self.count = packed, index, len(K)
        self.n = mu.shape[1] if mu is not None else (1 + round(np.sqrt(1 + 8 * K.shape[1]))) // 2 if packed else K.shape[1]
        self.zero = self.n % 2 == 1 and mu is None
        self.mean = mu is not None or self.zero
        with _backend.on_device(index):
            cupy = _backend.cupy_module()
            self.K, self.given = cupy.asarray(K), mu
            self.mu = cupy.zeros((self.count, self.n)) if self.zero else None if mu is None else cupy.asarray(mu)

    def numbers(self, part):
        return [_backend.address(self.K[part]), _backend.address(self.mu[part]) if self.mean else 0]

    def launch(self, cuda, part, terms, status, out, stream):
        cuda.matrix_hafnians(self.index, self.n, part.stop - part.start, self.packed, *self.numbers(part), terms, status, out, stream)

    def launch_wide(self, cuda, part, out, scratch, stream):
        cuda.wide_matrix_hafnians(self.index, self.n, part.stop - part.start, self.packed, *self.numbers(part), out, scratch, stream)

    def refuse(self, b):
        one = slice(b, b + 1)
        try:
            _core.hafnian_batch(self.K[one].get(), None, None if self.given is None else self.mu[one].get(), self.packed, 1, np.inf)
        except ArgumentError as error:
            raise ArgumentError(re.sub(r"\b(K|mu)\[0, ", rf"\1[{b}, ", str(error))) from None
        raise ArgumentError(f"K[{b}] or mu[{b}] was changed while it was read")


def _window_holds(n, K, mu):
    """Whether no tuple can leave the range in which the plain recursion is exact to the last bits (csrc/wick/small.hpp)."""
    most = 2.0 ** (900 // max(n, 1))
    for x, bound in ((K, most * most), (mu, most)):
        if x is not None and x.size:
            size = np.abs(x)
            if size.max() > bound or size[size > 0].min(initial=1.0) < 1.0 / bound:
                return False
    return True


# ---- all multisets


def all_multisets(K, order, mu, exponents, *, index):
    """G of all multisets of `order` legs, numpy, from what `_core.wick_all_theory` gives."""
    m = math.isqrt(len(K))
    total = math.comb(m + order - 1, order)
    if order % 2 and mu is None:
        return np.zeros(total)
    with _backend.on_device(index) as stream:
        cupy, cuda = _backend.cupy_module(), _backend.cuda_module()
        counts = cupy.asarray(np.frombuffer(cuda.multiset_counts(m, order), dtype=np.int64))
        K, mu, exponents = (None if x is None else cupy.asarray(x) for x in (K, mu, exponents))
        below = second = None
        for n in range(1 if mu is not None else 2, order + 1, 1 if mu is not None else 2):
            out = _backend.empty((math.comb(m + n - 1, n),), np.float64)
            given = K, mu, counts, below, second, exponents if n == order else None
            places = [0 if x is None else _backend.address(x) for x in given]
            for first in paced(range(0, len(out), _ENTRIES)):
                cuda.all_multisets(index, m, n, first, min(first + _ENTRIES, len(out)), *places, _backend.address(out), stream)
            below, second = out, below if mu is not None else out
        return below.get()
