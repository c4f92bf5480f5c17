"""Lanczos on a device: the memory of a run, and its steps without a look at the device in between.

`alpha`, `beta` and all decisions stay there (cuda/lanczos/lanczos.hpp). The host reads a few bytes every `_LOOK` steps, to see
whether all probes have broken down or one has met a NaN; kernels skip their work by themselves from there on.
"""

import threading
import time
from collections import namedtuple
from contextlib import contextmanager

import numpy as np

from .. import _backend
from ..errors import ArgumentError, ShapeError, StateError
from ._operators import on_this_device
from ._runs import paced

__all__ = ["Home"]

_LOOK = 32  # steps between two looks
_PIECE = 5e-3  # s of work that is queued together: Ctrl-C comes between
_SPEED = 2e13  # operations per second, to guess the first piece; later ones are measured
_TOGETHER = 256  # probes that march in lockstep
# Of |u.Av - v.Au| relative to |Au| + |Av|, u and v Gaussian: above the rounding of an operator's products, by far.
_SYMMETRY = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-3}

Handle = namedtuple("Handle", "operator")


class Home:
    """What `lanczos` asks of the place where a run's vectors live."""

    def __init__(self, device):
        self.device = device

    def __repr__(self):
        return f"cuda:{self.device}"

    def __eq__(self, other):
        return isinstance(other, Home) and other.device == self.device

    __hash__ = None

    def handle(self, op, dtype):
        if dtype != op.dtype:
            raise ArgumentError(
                f"the operator's vectors are {op.dtype}, dtype={dtype} was asked for: convert the matrix, A.astype(np.{dtype})"
            )
        return Handle(op)

    def kernels(self, n, dtype, reorth, basis, restart):
        if restart:
            raise ArgumentError("restart=True runs on the CPU only: leave it out, or pass the operator in main memory")
        return DeviceLanczos(n, dtype, reorth, basis, self.device)

    def asarray(self, v0):
        return on_this_device(v0, self.device, "v0")

    def contiguous(self, rows):
        with _backend.on_device(self.device):
            return _backend.cupy_module().ascontiguousarray(rows)

    def available_memory(self):
        cupy = _backend.cupy_module()
        with _backend.on_device(self.device):
            return float(cupy.cuda.Device().mem_info[0] + cupy.get_default_memory_pool().free_bytes())

    def check_symmetric(self, op, threads):
        if op.asymmetry is not None:
            with _backend.on_device(self.device):
                difference, largest = op.asymmetry()
            if difference > 64 * np.finfo(op.dtype).eps * largest:
                raise ArgumentError(f"A is not symmetric: max |A_ij - A_ji| is {difference:.3g}, max |A_ij| is {largest:.3g}; pass (A + A.T) / 2, "
                                    "or check_symmetric=False")  # fmt: skip
            return
        with _backend.on_device(self.device) as stream:
            group = _Group(DeviceLanczos(op.shape[0], op.dtype, "none", False, self.device), 2)
            group.run.draw(self.device, "gaussian", 0x5E1F, 0, stream)
            u, v = group.vectors[0].astype(np.float64)
            op.product(group.vectors[0], group.vectors[2])
            product = group.vectors[2].astype(np.float64)
            size = float(abs(product).max())
            if not np.isfinite(size) or size == 0.0:
                return  # the first step says what is wrong
            product = product / size
            difference = abs(float((u * product[1]).sum()) - float((v * product[0]).sum()))
            scale = float(((product**2).sum(axis=1) ** 0.5).sum())
        if difference > _SYMMETRY[op.dtype] * scale:
            raise ArgumentError(f"the operator is not symmetric: |u.Av - v.Au| is {difference / scale:.3g} of |Au| + |Av| for random u, v; "
                                "symmetrise it, or pass check_symmetric=False")  # fmt: skip


def _record(layout):
    size, *fields = layout
    names, offsets, formats = zip(*fields, strict=True)
    return np.dtype({"names": names, "offsets": offsets, "formats": formats, "itemsize": size})


class _Group:
    """Probes in lockstep, with their memory."""

    def __init__(self, home, count):
        self.home, self.count, self.capacity, self.step = home, count, 0, 0
        cuda, cupy = _backend.cuda_module(), _backend.cupy_module()
        self._probe_type, self._control_type = _record(cuda.lanczos_probe), _record(cuda.lanczos_control)
        self.vectors = _backend.empty((3, count, home.size), home.dtype)  # q_j, q_{j-1}, w
        self.state = cupy.zeros(
            self._control_type.itemsize + count * self._probe_type.itemsize, np.uint8
        )  # control, probes
        self.alpha = self.beta = cupy.zeros((count, 0), np.float64)
        self.Q = self.omega = None
        self.reserve(0)

    def reserve(self, capacity):
        """Room for `capacity` steps; what there is stays."""
        home, count, cupy = self.home, self.count, _backend.cupy_module()

        def longer(old, shape):
            new = cupy.zeros(shape, np.float64)
            if old is not None and old.size:
                new[..., : old.shape[-1]] = old
            return new

        self.alpha, self.beta = longer(self.alpha, (count, capacity)), longer(self.beta, (count, capacity))
        if home.reorth == "partial":
            self.omega = longer(self.omega, (count, 3, capacity + 2))
        if home.keeps:
            Q = _backend.empty((capacity + 1, count, home.size), home.dtype)
            if self.Q is not None:
                Q[: self.step + 1] = self.Q[: self.step + 1]
            self.Q = Q
        cuda = _backend.cuda_module()
        make = cuda.LanczosRun64 if home.dtype == np.float64 else cuda.LanczosRun32
        self._workspace = _backend.empty((make.workspace_size(home.size, count, capacity, home.reorth),), np.float64)
        q, previous, w = (v.data.ptr for v in self.vectors)
        pointers = [_pointer(a) for a in (self.Q, self.alpha, self.beta, self.omega)]
        control = self.state.data.ptr
        self.run = make(home.size, count, capacity, home.reorth, float(np.finfo(home.dtype).eps), q, previous, w, *pointers,
                        control + self._control_type.itemsize, control, self._workspace.data.ptr)  # fmt: skip
        self.capacity = capacity

    def look(self):
        """What the device has finished; waits for it. True if a probe has met a NaN."""
        control, self.record = np.split(self.state.get(), [self._control_type.itemsize])
        control, self.record = control.view(self._control_type)[0], self.record.view(self._probe_type)
        self.step = int(control["step"])
        return bool(control["halted"])

    def done(self, steps):
        return self.step >= steps or bool(self.record["breakdown"].all())

    def march(self, op, steps, first_probe, stream):
        """To `steps` steps, or until all probes have broken down."""
        device = self.home.device
        handle, _keep = op.bind(self.count) if op.bind else (None, None)
        seconds = self.count * (op.cost + 100.0 * self.home.size) / _SPEED
        while not self.done(steps):
            begin, end = self.step, min(self.step + _LOOK, steps)
            piece = max(1, min(_LOOK, int(_PIECE / seconds)))
            started = time.perf_counter()
            try:
                for first in paced(range(begin, end, piece)):
                    last = min(first + piece, end)
                    if handle:
                        self.run.advance(device, handle, last - first, first == 0, stream)
                        continue
                    for step in range(first, last):
                        op.product(self.vectors[0], self.vectors[2])
                        self.run.step(device, step == 0, stream)
            finally:
                halted = self.look()
            seconds = (time.perf_counter() - started) / (end - begin)
            if halted:
                self.run.clear(device, stream)
                probe = first_probe + int(np.argmax(self.record["bad"]))
                raise ArgumentError(
                    f"the operator returned a NaN or an infinity at step {self.step} (probe {probe}): the steps before it are kept"
                )


def _pointer(array):
    return 0 if array is None or not array.size else array.data.ptr


class DeviceLanczos:
    """The state of a run: what `_core.Lanczos64` and `_core.Lanczos32` are on the CPU."""

    def __init__(self, n, dtype, reorth, basis, device):
        self.size, self.dtype, self.reorth, self.device = n, np.dtype(dtype), reorth, device
        self.keeps = basis or reorth != "none"
        self._groups, self._lock = [], threading.Lock()

    probes = property(lambda self: sum(group.count for group in self._groups))
    steps = property(lambda self: self._gathered("steps").astype(np.int64))
    breakdown = property(lambda self: self._gathered("breakdown").astype(bool))
    norm2 = property(lambda self: self._gathered("norm2"))
    norm = property(lambda self: np.sqrt(self.norm2))
    restarts = property(lambda self: np.zeros(self.probes, np.int64))
    alpha = property(lambda self: self._coefficients("alpha"))
    beta = property(lambda self: self._coefficients("beta"))

    def _gathered(self, name):
        return np.concatenate([group.record[name] for group in self._groups]) if self._groups else np.zeros(0)

    def _coefficients(self, name):
        out = np.zeros((self.probes, int(self.steps.max(initial=0))))
        at = 0
        for group in self._groups:
            rows = getattr(group, name).get()[:, : out.shape[1]]
            out[at : at + group.count, : rows.shape[1]] = rows
            at += group.count
        return out

    def _more(self, count, fill):
        added = []
        with _backend.on_device(self.device) as stream:
            for first in range(0, count, _TOGETHER):
                group = _Group(self, min(_TOGETHER, count - first))
                fill(group, first, stream)
                group.look()
                added.append(group)
        return added

    def add(self, vectors):
        """More probes, from step 0; ArgumentError if one of the vectors is zero or not finite, and then none is added."""

        def fill(group, first, stream):
            group.vectors[0] = vectors[first : first + group.count]
            group.run.start(self.device, False, stream)

        added = self._more(len(vectors), fill)
        for c, bad in enumerate(np.concatenate([group.record["bad"] for group in added])):
            if bad:
                raise ArgumentError(
                    f"start vector {c}{' is zero' if bad == 1 else ' holds a NaN or an infinity'}; Lanczos needs a direction to start from"
                )
        self._groups += added

    def draw(self, count, distribution, seed):
        """More probes, with the numbers that follow."""
        begin = self.probes

        def fill(group, first, stream):
            group.run.draw(self.device, distribution, seed, begin + first, stream)
            group.run.start(self.device, True, stream)

        self._groups += self._more(count, fill)

    def advance(self, handle, steps, threads, after):
        """Every probe to `steps` steps; after(step) stops by returning True."""
        op, steps = handle.operator, min(steps, self.size)
        if op.shape[0] != self.size:
            raise ShapeError(
                f"the operator has size {op.shape[0]}, the state {self.size}: resume with the operator it began with"
            )
        with self._alone(), _backend.on_device(self.device) as stream:
            while behind := [group for group in self._groups if not group.done(steps)]:
                least = min(group.step for group in behind)
                for group in behind:
                    if after is None or group.step == least:
                        first_probe = sum(other.count for other in self._groups[: self._groups.index(group)])
                        if group.capacity < steps:
                            group.reserve(steps)
                        group.march(op, steps if after is None else least + 1, first_probe, stream)
                if after is not None and after(least + 1):
                    return

    @contextmanager
    def _alone(self):
        if not self._lock.acquire(blocking=False):
            raise StateError("this Lanczos state is advancing already: wait for it, or use another state")
        try:
            yield
        finally:
            self._lock.release()

    def basis(self, threads=None):
        """(probes, steps, n), zero beyond a probe's steps."""
        if not self.keeps:
            raise StateError("the basis was not kept: call with basis=True")
        steps, at = self.steps, 0
        with _backend.on_device(self.device):
            out = _backend.cupy_module().zeros((self.probes, int(steps.max(initial=0)), self.size), self.dtype)
            for group in self._groups:
                for c in range(group.count):
                    out[at, : steps[at]] = group.Q[: steps[at], c]
                    at += 1
        return out

    def residual(self, threads=None):
        with _backend.on_device(self.device):
            return _backend.cupy_module().concatenate([group.vectors[0] for group in self._groups])

    def bytes(self, n, probes, steps, reorth, basis):
        kept = (min(steps, n) + 1 if basis or reorth != "none" else 0) + (min(steps, n) if basis else 0)  # and its copy
        return float(n) * probes * (3 + kept) * self.dtype.itemsize
