"""Ensembles on CUDA devices: what `_core.Ensemble` computes on threads, with the same bits.

Block sums come back row by row and are added to the exact accumulators on the CPU while the next step runs; there is one
row per block of nets, so a device and CPUs, or several devices, may share a run.
"""

import collections
import threading
import time

import numpy as np

from .. import _backend
from . import _runs

__all__ = ["DeviceEnsemble"]

_SCRATCH = 1 << 29  # bytes to aim at: enough nets in flight to fill a device
_ROWS = 1 << 26  # bytes of block sums per step
_FIRST_STEP = 2e10  # instructions: a millisecond of a large device
_STEP = (0.010, 0.040)  # seconds that a step should take
_POLL = 1e-4  # s between looks at a copy


class DeviceEnsemble:
    """`run` and `outputs` of a compiled ensemble, on devices.

    Parameters
    ----------
    kernel : _core.Ensemble
    devices : sequence of int
        Device indices, as `_backend.require_devices` gives them.
    """

    def __init__(self, kernel, devices):
        self._kernel, self._devices = kernel, list(devices)

    def run(self, program, first, last, threads, into, watch=None):
        """Adds what `into` lacks of nets first ... last - 1; `threads` of the CPU add the rows. As `_core.Ensemble.run`."""
        self._kernel.check_run(program, first, last, into)
        plan = self._plan(program, into.block)
        work = _Shares(into.missing(first, last).tolist(), into.block)

        def on_device(index, stop):
            with _backend.on_device(index) as stream:
                _Runner(plan, index, stream, program.n_sums, into, threads, watch, work).run(stop)

        _runs.on_each(self._devices, on_device)
        return True

    def outputs(self, first, last, watch=None):
        """Fields of nets first ... last - 1 as a CuPy array (nets, points, out) on the first of the devices."""
        cuda, plan = _backend.cuda_module(), self._plan(None, 16)
        index, dtype = self._devices[0], np.float64 if self._kernel.float64 else np.float32
        step = max(1, int(_FIRST_STEP / cuda.ensemble_work(plan)))
        starts = range(first, last, step)
        with _backend.on_device(index) as stream:
            out = _backend.empty((last - first, *self._kernel.shape), dtype)
            constants = _uploaded(plan)
            scratch = _backend.workspace(cuda.ensemble_scratch(plan, min(step, last - first), False))
            for start in _runs.paced(starts, report=watch, size=lambda start: min(step, last - start)):
                count = min(step, last - start)
                cuda.ensemble_outputs(
                    index,
                    plan,
                    start,
                    count,
                    constants.data.ptr,
                    out[start - first :].data.ptr,
                    scratch.data.ptr,
                    stream,
                )
        return out

    def _plan(self, program, block):
        capsule = None if program is None else program.capsule
        return _backend.cuda_module().ensemble_plan(
            self._kernel.capsule, capsule, self._kernel.float64, block, _SCRATCH
        )


def _uploaded(plan):
    """The constants of a plan, on the current device."""
    return _backend.cupy_module().asarray(np.frombuffer(_backend.cuda_module().ensemble_constants(plan), np.uint8))


class _Shares:
    """The nets of a run, dealt to the devices step by step."""

    def __init__(self, gaps, block):
        self._gaps, self._block, self._lock = collections.deque(gaps), block, threading.Lock()
        self.done = 0

    def take(self, blocks):
        """(start, stop) of the next nets, at most `blocks` blocks; None when all are dealt."""
        with self._lock:
            if not self._gaps:
                return None
            start, stop = self._gaps.popleft()
            end = min(stop, start + blocks * self._block)
            if end < stop:
                self._gaps.appendleft((end, stop))
            return start, end

    def finish(self, nets, watch):
        """Counts nets that are added, and tells `watch`, one device at a time."""
        with self._lock:
            self.done += nets
            if watch is not None:
                watch(self.done)


class _Runner:
    """One device's part of a run: while it computes a step, the sums of the one before travel and those before that are added."""

    def __init__(self, plan, index, stream, n_sums, into, threads, watch, shares):
        self._plan, self._index, self._stream, self._n_sums = plan, index, stream, n_sums
        self._into, self._threads, self._watch, self._shares = into, threads, watch, shares
        self._module, self._constants = _backend.cuda_module(), _uploaded(plan)
        self._most = max(1, _ROWS // (8 * n_sums))
        per_block = self._module.ensemble_work(plan) * into.block
        self._blocks = min(self._most, max(1, int(_FIRST_STEP / per_block)))
        self._scratch = None
        self._rows = [
            None
        ] * 3  # (on the device, on the host): of the step in flight, of the one that travels, and a free one
        self._flying = collections.deque()
        self._cuda = _backend.cupy_module().cuda
        self._copies = self._cuda.Stream(non_blocking=True)

    def run(self, stop):
        try:
            began = time.perf_counter()
            for step, (start, end) in enumerate(_runs.paced(self._steps(), stop=stop)):
                self._launch(step % len(self._rows), start, end)
                self._land(2)
                now = time.perf_counter()
                self._adapt(now - began)
                began = now
            if not stop.is_set():
                self._land(0)
        finally:
            _backend.synchronize()
            self._copies.synchronize()  # the host's rows are being written until then

    def _steps(self):
        while (share := self._shares.take(self._blocks)) is not None:
            yield share

    def _adapt(self, seconds):
        """Steps so long that launches cost nothing, so short that Ctrl-C is heard."""
        if seconds < _STEP[0]:
            self._blocks = min(self._most, 2 * self._blocks)
        elif seconds > _STEP[1]:
            self._blocks = max(1, self._blocks // 2)

    def _launch(self, slot, start, end):
        blocks = -(-(end - start) // self._into.block)
        need = self._module.ensemble_scratch(self._plan, end - start, True)
        if self._scratch is None or self._scratch.size < need:
            self._scratch = None  # back to the pool before asking for more
            self._scratch = _backend.workspace(need)
        if self._rows[slot] is None or len(self._rows[slot][0]) < blocks:
            shape = (blocks, self._n_sums)
            self._rows[slot] = _backend.empty(shape, np.float64), _backend.pinned(shape, np.float64)
        sums, host = (rows[:blocks] for rows in self._rows[slot])
        addresses = (x.data.ptr for x in (self._constants, sums, self._scratch))
        self._module.ensemble_block_sums(self._index, self._plan, start, end - start, *addresses, self._stream)
        self._copies.wait_event(self._cuda.get_current_stream().record(self._cuda.Event(disable_timing=True)))
        sums.get(stream=self._copies, out=host, blocking=False)
        copied = self._copies.record(self._cuda.Event(disable_timing=True))
        self._flying.append((start, end, host, copied))

    def _land(self, most):
        """Adds the rows of all steps but the last `most`."""
        while len(self._flying) > most:
            start, end, host, copied = self._flying.popleft()
            while not copied.done:
                time.sleep(_POLL)
            self._into.add_rows(start, end, host, self._threads)
            self._shares.finish(end - start, self._watch)
