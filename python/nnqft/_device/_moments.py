"""Moment tensors of samples on a CUDA device: block sums there, with the bits of the CPU; exact sums of them on the host."""

import numpy as np

from .. import _backend, _core

__all__ = ["push", "total"]

_SUMS = 1 << 23  # numbers that come back at a time, 64 MiB
_WORK = 1e10  # multiply-adds of a launch, milliseconds
_BLOCK = 4096  # of total()


def push(accumulator, F, weights, *, index, orders, report):
    """Adds samples F (samples, m) on the device to a `_core.MomentAccumulator`, with the bits of a push on the CPU."""
    block, waiting = accumulator.block, accumulator.n_waiting
    first = min(len(F), block - waiting) if waiting else 0
    whole = (len(F) - first) // block * block
    _push_on_host(accumulator, F, weights, slice(0, first))
    for rows, sums, bad in _block_sums(F, weights, first, first + whole, block, orders, index):
        accumulator.push_sums(sums, bad)
        if report is not None:
            report(rows.stop)
    _push_on_host(accumulator, F, weights, slice(first + whole, len(F)))


def total(F, weights, *, index, orders, report):
    """(sums of the orders over all samples, correctly rounded; the first row that made them NaN, or -1)."""
    exact = None
    for rows, sums, bad in _block_sums(F, weights, 0, len(F), _BLOCK, orders, index):
        exact = exact or _core.ExactTotal(sums.shape[1])
        wrong = exact.add(sums, bad)
        if wrong >= 0:
            return np.full(sums.shape[1], np.nan), rows.start + wrong * _BLOCK + max(int(bad[wrong]), 0)
        if report is not None:
            report(rows.stop)
    return exact.round(), -1


def _push_on_host(accumulator, F, weights, rows):
    if rows.start < rows.stop:
        accumulator.push(F[rows].get(), None if weights is None else weights[rows].get(), 1, None)


def _block_sums(F, weights, first, last, block, orders, index):
    """(rows, sums (blocks, n_sums), first bad sample of each block or -1) for rows first .. last - 1, part by part."""
    cupy, cuda = _backend.cupy_module(), _backend.cuda_module()
    m = F.shape[1]
    tables = cuda.MomentTables(m, orders, weights is not None)
    with _backend.on_device(index) as stream:
        there = [cupy.asarray(np.frombuffer(part, dtype=np.uint8)) for part in (tables.halves, tables.cells, tables.groups)]
        step = max(1, min(_SUMS // tables.n_sums, int(_WORK / tables.n_sums / block))) * block
        for begin in range(first, last, step):
            rows = slice(begin, min(begin + step, last))
            part, of_part = F[rows], None if weights is None else weights[rows]
            count = len(part)
            blocks = -(-count // block)
            sums = _backend.empty((blocks, tables.n_sums), np.float64)
            bad = cupy.full((blocks,), 2**63 - 1, dtype=np.int64)
            scratch = _backend.workspace(cuda.moment_workspace_size(m, count, block))
            cuda.moment_blocks(
                index, m, tables, count, block, part.dtype == np.float32, part.data.ptr, *part.strides,
                0 if of_part is None else of_part.data.ptr, 0 if of_part is None else of_part.strides[0],
                *map(_backend.address, there), *map(_backend.address, (scratch, sums, bad)), stream,
            )  # fmt: skip
            bad = bad.get()
            bad[bad == 2**63 - 1] = -1
            yield rows, sums.get(), bad
