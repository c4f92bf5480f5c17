"""Normals per second on a device, into its memory, against the generators of torch, JAX and CuPy, and ours on all cores of the CPU.

Limits on an H200 (132 multiprocessors at 1.98 GHz): 200 instructions for four normals (cuda/core/random.cu), 128 a clock: 6.7e11/s; memory,
4 bytes a normal at 4.8 TB/s: 1.2e12/s.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import forms
import numpy as np
import pytest
from conftest import Contender, imported, repeated
from nnqft import _backend, _core

pytestmark = pytest.mark.gpu


def check(cupy, z):
    """4.2e6 normals or more: five standard errors of the second and fourth moment."""
    z = z.astype(cupy.float64)
    assert abs(float((z**2).mean()) - 1) < 5 * np.sqrt(2 / z.size)
    assert abs(float((z**4).mean()) - 3) < 5 * np.sqrt(96 / z.size)


def test_normals(device_duel, cupy, emulated):
    rows, columns = 64, 4096
    nets = 1 if emulated else 1024  # 1 GiB
    size = nets * rows * columns
    check(cupy, _backend.normals(7, 0, n_nets=16, rows=rows, columns=columns, device="cuda"))
    module, out = _backend.cuda_module(), cupy.empty((nets, rows, columns), cupy.float32)

    def ours(n):
        calls = max(1, n // size)
        stream = cupy.cuda.get_current_stream()
        for k in range(calls):
            module.normals(0, 7, 0, k * nets, nets, rows, columns, 1.0, out.data.ptr, stream.ptr)
        stream.synchronize()
        return calls * size

    cores = len(os.sched_getaffinity(0))

    def on_cpu():  # a net for each task: 1 MiB, which stays in the cache
        list(pool.map(lambda net: _core.normals(7, 0, net, 1, rows, columns), range(4 * cores)))

    rivals = [Contender(f"nnqft on {cores} CPU cores", repeated(on_cpu, size=4 * cores * rows * columns))]
    if not emulated:
        for library in filter(imported, ("torch", "jax", "cupy")):
            rivals += [Contender(name, run) for name, run in forms.normals_of(library, size).items()]
    with ThreadPoolExecutor(cores) as pool:
        device_duel("normals, into memory", Contender("nnqft", ours), rivals, unit="normals/s", bar=">= 5e11/s", limit="6.7e11/s")
