"""Worker processes of one thread each, and the calls that measure in them.

Threads are processes here: every rival then scales as far as the machine does, whatever its interpreter lock, its
sequential generator or its thread pool would cost it, and a count of threads means the same for all of them.
A worker builds a sampler once (compilation included) and keeps it, so later calls measure the sampling alone.
"""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import time
import traceback
from contextlib import contextmanager

from . import moment_forms

__all__ = ["LIBRARIES", "sample", "normals", "moments", "close"]

LIBRARIES = ("numpy", "torch", "jax")

# Read by the libraries when they are loaded. NPROC is the size of XLA's thread pool; XLA prefers 256-bit vectors
# unless told otherwise; torch compiles in the worker itself, without a pool of its own.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NPROC": "1",
                "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_prefer_vector_width=512",
                "TORCHINDUCTOR_COMPILE_THREADS": "1"}


@contextmanager
def _environment():
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe, library, slot):
    """Answer (kind, arguments, n) with (result, processor seconds); one sampler per (kind, arguments)."""
    forms = importlib.import_module(f"{__package__}.{library}_forms")
    make = {"sample": forms.build, "normals": forms.normals, "moments": moment_forms.build}
    built = {}
    while True:
        request = pipe.recv()
        if request is None:
            return
        kind, arguments, n = request
        try:
            key = (kind, arguments)
            if key not in built:
                built[key] = make[kind](*arguments, seed=slot)
                built[key](1)                                          # compiles, touches the buffers
            start = time.process_time()
            result = built[key](n)
            pipe.send((result, time.process_time() - start))
        except Exception:  # noqa: BLE001  (whatever it was, the caller hears of it)
            pipe.send((RuntimeError(f"rival {library} {arguments} failed:\n{traceback.format_exc()}"), 0.0))


class _Worker:
    def __init__(self, library, slot):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, library, slot), daemon=True)
        with _environment():
            self.process.start()


_workers: dict[tuple[str, int], _Worker] = {}


def _call(library, threads, request):
    """The answers of `threads` workers to one request, side by side."""
    for slot in range(threads):
        if (library, slot) not in _workers:
            _workers[library, slot] = _Worker(library, slot)
    crew = [_workers[library, slot] for slot in range(threads)]
    try:
        for worker in crew:
            worker.pipe.send(request)
        answers = [worker.pipe.recv() for worker in crew]
    except BaseException:
        # Interrupted, or a worker died: an answer left in a pipe would be taken for the next one.
        for slot in range(threads):
            _workers.pop((library, slot)).process.terminate()
        raise
    for result, _ in answers:
        if isinstance(result, Exception):
            raise result
    return [result for result, _ in answers], sum(seconds for _, seconds in answers)


def sample(library, workload, form, chunk, n_nets, *, threads):
    """Partial sums of `n_nets` or a few more nets, shared between workers, and the processor seconds of all."""
    return _call(library, threads, ("sample", (workload, form, chunk), -(-n_nets // threads)))


def normals(library, form, n, *, threads):
    """[(count, second moment, fourth moment) of every worker] and the processor seconds of all."""
    return _call(library, threads, ("normals", (form,), -(-n // threads)))


def moments(library, form, order, m, n_samples):
    """Packed sums over `n_samples` samples, on one worker of one thread."""
    ((_, sums),), _ = _call(library, 1, ("moments", (library, form, order, m, n_samples), 1))
    return sums


@atexit.register
def close():
    """End all workers."""
    for worker in _workers.values():
        if worker.process.is_alive():
            worker.pipe.send(None)
            worker.process.join(5)
    _workers.clear()
