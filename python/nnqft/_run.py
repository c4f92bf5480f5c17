"""Runs of the ensemble kernels: threads or executors, progress, Ctrl-C, checkpoints."""

import concurrent.futures
import os
import time
from contextlib import contextmanager, nullcontext

import numpy as np

from . import _core, _store
from ._checks import integer
from ._device import DeviceEnsemble
from .errors import ArgumentError, StateError

__all__ = ["integer", "measure", "progress_bar", "thread_count"]

CHECKPOINT_SECONDS = 30.0
_TASKS_PER_WORKER = 8


class _CheckpointDue(Exception):
    """Raised from the progress callback to end a run at the next block."""


def thread_count(threads):
    """`threads`, or what this process may use."""
    return _core.default_threads() if threads is None else integer("threads", threads, 1, 4096)


@contextmanager
def progress_bar(progress, total, unit="net"):
    """A callable(done) for `progress` = None | True | callable(done, total)."""
    if not progress:
        yield None
        return
    if callable(progress):
        yield lambda done: progress(int(done), total)
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ArgumentError('progress=True needs tqdm: pip install ".[experiments]" in the source folder, or pass progress=callable(done, total)') from None
    with tqdm(total=total, unit=unit, unit_scale=True) as bar:
        yield lambda done: bar.update(int(done) - bar.n)


def measure(result, first, last, *, threads, executor, checkpoint, progress, devices=()):
    """Adds networks first ... last - 1 to `result` (a Correlators), less those that its checkpoint holds already.

    devices: CUDA devices to run on; none for the CPU.
    """
    with _store.Lock(checkpoint) if checkpoint is not None else nullcontext():
        if checkpoint is not None and (os.path.exists(checkpoint) or os.path.exists(f"{os.fspath(checkpoint)}.previous")):
            _resume(result, checkpoint)
        missing = sum(int(b) - int(a) for a, b in result._sums.missing(first, last))
        with progress_bar(progress, last - first) as report:
            done_before = last - first - missing
            if report is not None:
                report(done_before)
            if missing:
                if executor is None:
                    _with_threads(result, first, last, threads, devices, checkpoint, report, done_before)
                else:
                    _with_executor(result, first, last, executor, checkpoint, report, done_before)
            if report is not None:
                report(last - first)


def _resume(result, checkpoint):
    from ._correlators import _expected_members

    header, arrays = _store.load_with_fallback(checkpoint, expect=_expected_members)
    if header.get("spec_hash") != result.spec_hash:
        mine, theirs = result.spec(), header["spec"]
        different = [key for key in mine if mine[key] != theirs.get(key)] or ["weight arrays"]
        raise StateError(f"checkpoint {os.fspath(checkpoint)!r} belongs to another run (it differs in {', '.join(different)}): "
                         "give another path, or delete it to start again")
    result._restore(arrays)


def _with_threads(result, first, last, threads, devices, checkpoint, report, done_before):
    kernel = DeviceEnsemble(result._bind(), devices) if devices else result._bind()
    due = time.monotonic() + CHECKPOINT_SECONDS

    def watch(done):
        if report is not None:
            report(base + done)
        if checkpoint is not None and time.monotonic() >= due:
            raise _CheckpointDue

    while True:
        base = done_before + _counted(result, first, last, done_before)
        try:
            if not kernel.run(result._plan.program, first, last, threads, result._sums, watch):
                raise StateError("the process is ending: the run was stopped before its last network")
            finished = True
        except _CheckpointDue:
            finished = False
        except BaseException:
            if checkpoint is not None and result.n_nets:
                result.save(checkpoint, keep_previous=True)
            raise
        if checkpoint is not None:
            result.save(checkpoint, keep_previous=True)
        if finished:
            return
        due = time.monotonic() + CHECKPOINT_SECONDS


def _counted(result, first, last, done_before):
    missing = sum(int(b) - int(a) for a, b in result._sums.missing(first, last))
    return last - first - missing - done_before


def _with_executor(result, first, last, executor, checkpoint, report, done_before):
    workers = getattr(executor, "_max_workers", None) or 4
    gaps = [(int(a), int(b)) for a, b in result._sums.missing(first, last)]
    total = sum(b - a for a, b in gaps)
    size = max(result.block, -(-total // (workers * _TASKS_PER_WORKER) // result.block) * result.block)
    payload = _payload(result)
    futures = {}
    due = time.monotonic() + CHECKPOINT_SECONDS
    try:
        for start, stop in gaps:
            for a in range(start, stop, size):
                futures[executor.submit(_part, payload, a, min(a + size, stop))] = min(size, stop - a)
        done = done_before
        for future in concurrent.futures.as_completed(futures):
            result._sums.merge(_sums_from(result, future.result()))
            done += futures[future]
            if report is not None:
                report(done)
            if checkpoint is not None and time.monotonic() >= due:
                result.save(checkpoint, keep_previous=True)
                due = time.monotonic() + CHECKPOINT_SECONDS
    finally:
        for future in futures:
            future.cancel()
        if checkpoint is not None and result.n_nets:
            result.save(checkpoint, keep_previous=True)


def _payload(result):
    """The run as bytes: spec and user arrays, for a worker process."""
    arrays = {}
    for name in ("input", "hidden", "output", "bias", "output_bias"):
        law = getattr(result.net.laws, name)
        if law.kind == "array":
            arrays[name] = np.asarray(law.values)
    return _store.to_bytes({"spec": result.spec()}, arrays)


def _part(payload, first, last):
    """One task: pure, from bytes to bytes."""
    from ._correlators import Correlators
    from ._laws import TensorLaw

    header, arrays = _store.from_bytes(payload)
    empty = {"limbs": np.zeros(0, np.int64), "planes": np.zeros(64, np.int64), "bases": np.zeros(64, np.int64), "nets": np.zeros(64, np.uint64),
             "blocks": np.zeros(64, np.uint64), "covered": np.zeros((0, 2), np.uint64), "bad": np.array([0, 2**64 - 1], np.uint64)}  # fmt: skip
    result = Correlators._from_state(header, empty)
    for name, values in arrays.items():
        object.__setattr__(result.net.laws, name, TensorLaw("array", values=values))
    measure(result, first, last, threads=1, executor=None, checkpoint=None, progress=None)
    return _store.to_bytes(*result._state())


def _sums_from(result, data):
    from ._correlators import _expected_members

    header, arrays = _store.from_bytes(data, expect=_expected_members)
    other = result._with()
    other._restore(arrays)
    return other._sums
