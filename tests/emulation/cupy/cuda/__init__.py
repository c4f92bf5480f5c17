"""Devices, streams, events and memory of the stand-in."""

import os
import threading
import time

from . import runtime
from .runtime import CUDARuntimeError

__all__ = ["CUDARuntimeError", "Device", "Event", "ExternalStream", "MemoryPool", "MemoryPointer", "OutOfMemoryError", "Stream", "get_current_stream",
           "get_elapsed_time", "is_available", "runtime"]  # fmt: skip

_MEMORY = int(os.environ.get("NNQFT_EMULATED_MEMORY", 16 << 30))
_local = threading.local()


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class MemoryPool:
    """Counts what lives; memory is numpy's."""

    def __init__(self):
        self._used, self._most, self._limit, self._lock = 0, 0, _MEMORY, threading.Lock()

    def _take(self, size):
        with self._lock:
            if self._used + size > self._limit:
                raise OutOfMemoryError(size, self._used)
            self._used += size

    def _give(self, size):
        with self._lock:
            self._used -= size

    def used_bytes(self):
        return self._used

    def total_bytes(self):
        return self._used

    def free_bytes(self):
        return 0

    def free_all_blocks(self, stream=None):
        pass

    def set_limit(self, size=None, fraction=None):
        self._limit = int(_MEMORY * fraction) if fraction is not None else size or _MEMORY

    def get_limit(self):
        return self._limit


_pool = MemoryPool()


class MemoryPointer:
    def __init__(self, ptr, device_id):
        self.ptr, self.device_id = ptr, device_id

    @property
    def device(self):
        return Device(self.device_id)


class Device:
    def __init__(self, device=None):
        self.id = runtime.getDevice() if device is None else device.id if isinstance(device, Device) else int(device)

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def __enter__(self):
        stack = _local.__dict__.setdefault("devices", [])
        stack.append(runtime.getDevice())
        self.use()
        return self

    def __exit__(self, *error):
        runtime.setDevice(_local.devices.pop())

    def use(self):
        runtime.setDevice(self.id)
        return self

    def synchronize(self):
        pass

    mem_info = property(lambda self: (_pool.get_limit() - _pool.used_bytes(), _MEMORY))
    attributes = property(
        lambda self: {
            "MultiProcessorCount": 4,
            "MaxSharedMemoryPerBlockOptin": 227 << 10,
            "WarpSize": 32,
            "ClockRate": 1980000,
        }
    )
    compute_capability = property(lambda self: "90")


class _BaseStream:
    def __init__(self, ptr, device_id):
        self.ptr, self.device_id = ptr, device_id

    def __enter__(self):
        stack = _local.__dict__.setdefault("entered", [])
        stack.append(_streams())
        self.use()
        return self

    def __exit__(self, *error):
        _local.streams = _local.entered.pop()

    def __eq__(self, other):
        return isinstance(other, _BaseStream) and self.ptr == other.ptr

    __hash__ = None

    def use(self):
        if self.device_id not in (-1, runtime.getDevice()):
            raise RuntimeError(f"This stream was not created on device {runtime.getDevice()}")
        _local.streams = _streams() | {runtime.getDevice(): self}
        return self

    done = property(lambda self: True)
    is_capturing = lambda self: False

    def synchronize(self):
        pass

    def record(self, event=None):
        event = Event() if event is None else event
        event._time = time.perf_counter()
        return event

    def wait_event(self, event):
        if event._time is None:
            raise RuntimeError("the event was never recorded")

    def launch_host_func(self, callback, arg):
        callback(arg)

    def begin_capture(self, mode=None):
        raise CUDARuntimeError(801, "graphs are not emulated")

    def end_capture(self):
        raise CUDARuntimeError(801, "graphs are not emulated")


class Stream(_BaseStream):
    _next = 0x5000

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        if not null:
            Stream._next += 16
        super().__init__(0 if null else Stream._next, -1 if null else runtime.getDevice())


Stream.null = Stream(null=True)


class ExternalStream(_BaseStream):
    def __init__(self, ptr, device_id=-1):
        super().__init__(int(ptr), device_id)


def _streams():
    return getattr(_local, "streams", {})


def get_current_stream(device_id=-1):
    return _streams().get(runtime.getDevice() if device_id == -1 else device_id, Stream.null)


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._time = None

    done = property(lambda self: True)

    def record(self, stream=None):
        (get_current_stream() if stream is None else stream).record(self)

    def synchronize(self):
        pass


def get_elapsed_time(start_event, end_event):
    return 1e3 * (end_event._time - start_event._time)


def is_available():
    return runtime.getDeviceCount() > 0
