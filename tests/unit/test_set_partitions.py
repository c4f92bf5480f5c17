"""The recursion over set partitions: its bits depend on the numbers alone. Values: test_partition_sums.py."""

import math
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nnqft import _core

STEP = {"even_cumulants": 2, "moments_from_cumulants": 2, "vector_cumulants": 1, "vector_moments": 1}
WORK = """
import hashlib, math, numpy as np
from nnqft import _core
digest = hashlib.sha256()
for kernel, m, step, top, batch in [("even_cumulants", 10, 2, 8, 9), ("moments_from_cumulants", 4, 2, 8, 1),
                                    ("vector_cumulants", 5, 1, 7, 12), ("vector_moments", 2, 1, 8, 3)]:
    rng = np.random.default_rng(top)
    rows = [rng.normal(size=(batch, math.comb(m + n - 1, n))) for n in range(step, top + 1, step)]
    for x in getattr(_core, kernel)(rows, m):
        digest.update(x.tobytes())
print(digest.hexdigest())
"""


def digest(**settings):
    done = subprocess.run(
        [sys.executable, "-c", WORK], env=os.environ | settings, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def random_rows(m, orders, batch):
    rng = np.random.default_rng(m)
    return [rng.normal(size=(batch, math.comb(m + n - 1, n))) for n in orders]


@pytest.mark.parametrize("kernel", STEP)
@pytest.mark.parametrize("batch", [2, 7, 8, 9, 17])
def test_rows_of_a_batch_do_not_see_each_other(kernel, batch):
    # Eight rows share a register, and the last group may be short.
    call, orders = getattr(_core, kernel), range(STEP[kernel], 7, STEP[kernel])
    rows = random_rows(3, orders, batch)
    rows[-1][0] = np.nan
    together = call(rows, 3)
    for b in range(batch):
        alone = call([np.ascontiguousarray(x[b : b + 1]) for x in rows], 3)
        assert all(np.array_equal(x[b : b + 1], y, equal_nan=True) for x, y in zip(together, alone, strict=True))


@pytest.mark.parametrize("kernel", STEP)
def test_reversed_and_repeated_rows_are_read_in_place(kernel):
    call = getattr(_core, kernel)
    rows = random_rows(4, range(STEP[kernel], 5, STEP[kernel]), 5)
    assert all(np.array_equal(x[::-1], y) for x, y in zip(call(rows, 4), call([x[::-1] for x in rows], 4), strict=True))
    same = call([np.broadcast_to(x[:1], (20, x.shape[1])) for x in rows], 4)
    assert all(np.array_equal(x, np.repeat(x[:1], 20, axis=0)) for x in same)


def test_the_bits_are_these_on_every_machine():
    assert digest() == "0c55b54454d9e99e6747142df01b432f007bcde7f898867e1d2fa451772c3e8b"


@pytest.mark.parametrize("isa", _core.isas())
def test_every_instruction_set_gives_the_same_bits(isa):
    assert digest(NNQFT_ISA=isa) == digest()


@pytest.mark.parametrize("threads", ["1", "2", "7"])
def test_any_number_of_threads_gives_the_same_bits(threads):
    assert digest(NNQFT_NUM_THREADS=threads) == digest()


def test_no_rows_give_no_rows():
    assert [x.shape for x in _core.even_cumulants([np.empty((0, 6)), np.empty((0, 15))], 3)] == [(0, 6), (0, 15)]


@pytest.mark.parametrize("m", [4, 10])  # small jobs stay on the calling thread, large ones go to workers
def test_ctrl_c_stops_a_long_job_within_half_a_second(m):
    batch = 40_000_000 // math.comb(m + 7, 8)  # a second and more, if nobody stopped it
    rows = [np.broadcast_to(x, (batch, x.shape[1])) for x in random_rows(m, (2, 4, 6, 8), 1)]
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    threading.Timer(0.1, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        _core.even_cumulants(rows, m)
    assert time.monotonic() - sent[0] < 0.5
