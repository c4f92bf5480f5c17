"""Benches: our kernel and its best rivals in one group and one run, answers checked first, ratios printed at the end.

    pip install ".[bench]" && pip install torch jax
    pytest benches --benchmark-only

Rates are medians over rounds in which all contenders take turns, so a busy machine hits all alike.
"""

import platform
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

sys.path.insert(0, str(Path(__file__).parent))
ROWS = []


def imported(name):
    """A rival's module, whatever it warns of; None if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return __import__(name, fromlist=["_"])
    except ImportError:
        return None


@dataclass
class Contender:
    """`run(n)` does about n units of work and returns how many; `name` appears in the table."""

    name: str
    run: object


def repeated(call, *, size=1, wait=None, threads=None):
    """`run` of a contender whose call() does `size` units of work, on `threads` of BLAS; wait() ends a round on a device."""

    def limits():
        if threads is None:
            return nullcontext()
        from threadpoolctl import threadpool_limits  # a machine with a device may lack it

        return threadpool_limits(threads)

    def run(n):
        calls = -(-n // size)
        with limits():
            for _ in range(calls):
                call()
            if wait:
                wait()
        return calls * size

    return run


def _rate(contender, n):
    time.sleep(0.03)  # threads of the last one's BLAS go on spinning for some 20 ms
    start = time.perf_counter()
    done = contender.run(n)
    return done / (time.perf_counter() - start)


def _size(contender, seconds):
    """Units that take about `seconds`."""
    n = 1
    contender.run(n)  # compiles, fills caches
    while True:
        start = time.perf_counter()
        done = contender.run(n)
        spent = time.perf_counter() - start
        if spent > 0.2 * seconds:
            return max(1, int(done * seconds / spent))
        n = max(2 * n, int(done * 0.4 * seconds / max(spent, 1e-9)))


@pytest.fixture
def rows():
    """The table printed at the end: append a row."""
    return ROWS


@pytest.fixture
def duel(benchmark):
    """duel(title, ours, rivals, unit, bar, limit): times all in turn, prints and records the ratio to the best rival."""

    def run(title, ours, rivals, *, unit, bar=None, limit=None, seconds=0.25, rounds=9):
        everyone = [ours, *rivals]
        sizes = [_size(c, seconds) for c in everyone]
        rates = [[_rate(c, n) for c, n in zip(everyone, sizes)] for _ in range(rounds)]
        columns = list(zip(*rates))
        best = max(range(1, len(everyone)), key=lambda k: median(columns[k])) if rivals else None
        row = {"title": title, "ours": ours.name, "rate": median(columns[0]), "unit": unit, "bar": bar, "limit": limit}
        if best is not None:
            row |= {"rival": everyone[best].name, "rival_rate": median(columns[best]),
                    "ratio": median(a / b for a, b in zip(columns[0], columns[best])),
                    "others": {c.name: median(col) for c, col in zip(everyone[1:], columns[1:])},
                    "ratios": {c.name: median(a / b for a, b in zip(columns[0], col)) for c, col in zip(everyone[1:], columns[1:])}}  # fmt: skip
        ROWS.append(row)
        benchmark.group = title
        benchmark.extra_info.update({k: v for k, v in row.items() if v is not None})
        benchmark.pedantic(ours.run, args=(sizes[0],), rounds=3, iterations=1)
        return row

    return run


def _short(x):
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:.3g} {mark}"
    return f"{x:.3g} "


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    write = terminalreporter.write_line
    write("")
    write(f"Medians of interleaved rounds; {platform.machine()}, {_cpu()}")
    write("| work | ours | best rival | ratio | bar | limit |")
    write("|---|---|---|---|---|---|")
    for r in ROWS:
        rival = f"{_short(r['rival_rate'])}{r['unit']} ({r['rival']})" if "rival" in r else ""
        ratio = f"{r['ratio']:.3g}x" if "ratio" in r else ""
        write(f"| {r['title']} | {_short(r['rate'])}{r['unit']} | {rival} | {ratio} | {r['bar'] or ''} | {r['limit'] or ''} |")
        if "others" in r:
            write("|   | | " + "; ".join(f"{k} {_short(v)}({r['ratios'][k]:.3g}x)" for k, v in r["others"].items()) + " | | | |")


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
