"""The list of rivals, the tuner that picks among them, and paired timings."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from . import pool
from .workloads import WORKLOADS, PairBlocks

__all__ = ["NORMALS", "Rival", "best", "candidates", "measure", "measure_normals"]

# Generators of normals, in the notation of the libraries' modules.
NORMALS = {"numpy": ("ziggurat/SFC64", "ziggurat/PCG64", "boxmuller/SFC64", "boxmuller/PCG64"),
           "torch": ("normal_",), "jax": ("normal", "rbg", "boxmuller", "threefry")}


@dataclass(frozen=True)
class Rival:
    """One way to measure G2 and G4 of a workload with a library.

    Attributes
    ----------
    workload : {"W1", "W2", "W3", "W4"}
    library : {"numpy", "torch", "jax"}
    form : str
        Form, or form/generator; the modules of the libraries say what each does.
    chunk : int
        Nets in flight at a time.
    """

    workload: str
    library: str
    form: str
    chunk: int

    @property
    def sampler(self):
        """"weights": every weight is drawn; "layer": pre-activations from their exact law."""
        return "layer" if self.form.startswith("layer") else "weights"

    @property
    def estimator(self):
        """"gram": exact sum over Gaussian output weights; "direct": products of outputs."""
        return "gram" if "gram" in self.form else "direct"

    @property
    def hand_written(self):
        """True where the generator is no longer the library's own, only compiled by it."""
        return self.form.endswith("/threefry")

    def __call__(self, n_nets, *, threads):
        """Moments of at least `n_nets` nets on `threads` worker processes of one thread.

        Returns
        -------
        dict
            "n_nets" (what was done: whole batches), "G2" (pairs,) and "G4" (C(m+3, 4),) means over nets in float64,
            packed over sorted indices, "G2_stderr" (pairs,), "gram" (bool), "cpu_seconds" (sum over workers).
        """
        parts, seconds = pool.sample(self.library, self.workload, self.form, self.chunk, n_nets, threads=threads)
        blocks = PairBlocks(WORKLOADS[self.workload].n_points, gram=self.estimator == "gram")
        n = sum(part[0] for part in parts)
        g2 = sum(part[1] for part in parts) / n
        g4, square = blocks.moments([sum(block) / n for block in zip(*(part[2] for part in parts))])
        return {"n_nets": n, "G2": g2, "G4": g4, "G2_stderr": np.sqrt((square - g2**2) / n), "gram": blocks.gram,
                "cpu_seconds": seconds}


def _forms(workload):
    """(library, form, chunk sizes worth trying): the losers of trials are left out, the plain forms kept."""
    work = WORKLOADS[workload]
    if work.scalar_layer:
        def chunks(low, high):
            return tuple(c for c in (16, 32, 64, 128, 256, 512, 1024, 2048) if low <= c * work.widths[0] <= high)

        yield from (("numpy", f"{form}/{g}", chunks(25_000, 150_000)) for form in ("points", "vecdot")
                    for g in ("ziggurat", "boxmuller"))
        yield from (("torch", form, chunks(25_000, 150_000)) for form in ("points", "compiled", "baddbmm"))
        yield from (("jax", f"neurons/{g}", chunks(12_000, 130_000)) for g in NORMALS["jax"])
        yield from (("jax", f"{form}/normal", chunks(12_000, 60_000)) for form in ("points", "vmap"))
        return
    yield from (("numpy", f"matmul/{g}", (2, 4, 8)) for g in ("ziggurat", "boxmuller"))
    yield "torch", "baddbmm", (1, 2, 4, 8)
    yield from (("jax", f"batched/{g}", (1, 2, 4)) for g in NORMALS["jax"])
    for kind in ("direct", "gram"):
        yield "torch", f"layer-{kind}", (16, 32, 64)
        yield from (("jax", f"layer-{kind}/{g}", (8, 16, 32)) for g in ("normal", "boxmuller", "threefry"))


def candidates(workload, *, libraries=pool.LIBRARIES, sampler=None, estimator=None, hand_written=False):
    """Every `Rival` of a workload, or those of one sampler or estimator.

    `hand_written`: also those whose generator is written out by hand instead of being the library's.
    """
    rivals = (Rival(workload, library, form, chunk) for library, form, chunks in _forms(workload) for chunk in chunks)
    return [r for r in rivals if r.library in libraries and sampler in (None, r.sampler)
            and estimator in (None, r.estimator) and (hand_written or not r.hand_written)]


def _rates(rival, threads, seconds):
    """One timing: nets/s by the clock, and by processor time times the number of threads."""
    n = _size(rival, seconds) * threads
    start = time.perf_counter()
    result = rival(n, threads=threads)
    elapsed = time.perf_counter() - start
    return result["n_nets"] / elapsed, result["n_nets"] / result["cpu_seconds"] * threads


@cache
def _size(rival, seconds):
    """Nets that keep one thread busy for `seconds`."""
    rival(1, threads=1)
    first = rival(1, threads=1)
    n = max(1, int(first["n_nets"] * 0.02 / first["cpu_seconds"]))
    again = rival(n, threads=1)
    return max(1, int(again["n_nets"] * seconds / again["cpu_seconds"]))


def measure(rivals, *, threads, seconds=0.1, repeats=7):
    """Median rates of several rivals, timed in turn so that a busy machine hits all alike.

    Returns
    -------
    list of (float, float)
        Nets per second by the clock, and per second of processor time times `threads` (what an idle machine gives).
    """
    rounds = [[_rates(rival, threads, seconds) for rival in rivals] for _ in range(repeats)]
    return [tuple(median(column) for column in zip(*one)) for one in zip(*rounds)]


def _cache_file():
    libraries = "-".join(version(name) for name in pool.LIBRARIES)
    return Path(tempfile.gettempdir()) / f"nnqft-rivals-{os.getuid()}-{libraries}.json"


@cache
def best(workload, *, library=None, sampler="weights", estimator=None, hand_written=False, seconds=0.05, repeats=3):
    """The fastest rival of a kind on one thread, by processor time; chosen once per machine and kept in a file.

    Cost of the first call: a few seconds for each form, most of it compilation. ValueError if there is none.
    """
    file = _cache_file()
    known = json.loads(file.read_text()) if file.exists() else {}
    label = f"{workload} {library} {sampler} {estimator} {hand_written}"
    if label not in known:
        libraries = pool.LIBRARIES if library is None else (library,)
        field = candidates(workload, libraries=libraries, sampler=sampler, estimator=estimator,
                           hand_written=hand_written)
        if not field:
            raise ValueError(f"no rival for {label!r}: the layer law is written in torch and jax, explicit weights in all")
        rates = [rate for _, rate in measure(field, threads=1, seconds=seconds, repeats=repeats)]
        winner = field[int(np.argmax(rates))]
        known[label] = [winner.library, winner.form, winner.chunk]
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known, indent=1))
        os.replace(fresh, file)
    return Rival(workload, *known[label])


def measure_normals(*, threads, seconds=0.1, repeats=7):
    """{(library, generator): (normals/s by the clock, by processor time times threads, second, fourth moment)}."""
    forms = [(library, form) for library in pool.LIBRARIES for form in NORMALS[library]]
    size, rounds = {}, {form: [] for form in forms}
    for form in forms:
        _, spent = pool.normals(*form, 1 << 22, threads=1)
        size[form] = int((1 << 22) * seconds / spent) * threads
    for _ in range(repeats):
        for form in forms:
            start = time.perf_counter()
            parts, spent = pool.normals(*form, size[form], threads=threads)
            elapsed = time.perf_counter() - start
            n, second, fourth = (sum(column) for column in zip(*parts))
            rounds[form].append((n / elapsed, n / spent * threads, second / threads, fourth / threads))
    return {form: tuple(median(column) for column in zip(*rows)) for form, rows in rounds.items()}
