"""Benches on a device: short, in turns, clocks warm. `benches/gpu_all` runs them and keeps the results."""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # last: `conftest` is the one of benches
ROWS_FILE = os.environ.get("NNQFT_BENCH_ROWS")  # of gpu_all: rows survive a bench that is cut off
SECONDS = float(os.environ.get("NNQFT_BENCH_SECONDS", "0.05"))  # of a round of one contender


@pytest.fixture(scope="session")
def cupy():
    """CuPy with a device behind it, or a skip that says what is missing."""
    from nnqft import _backend
    from nnqft.errors import DeviceError

    try:
        _backend.require_cuda("cuda")
    except DeviceError as error:
        pytest.skip(str(error))
    return importlib.import_module("cupy")


@pytest.fixture
def emulated(cupy):
    """Whether this is a rehearsal: sizes shrink, rivals stay away."""
    return getattr(cupy, "emulated", False)


@pytest.fixture
def device_duel(duel, emulated):
    """`duel` with rounds for a device: each contender's run(n) ends with a wait for the device."""

    def run(title, ours, rivals, **options):
        row = duel(title, ours, rivals, **{"seconds": SECONDS, "rounds": 2 if emulated else 7} | options)
        if ROWS_FILE:
            with open(ROWS_FILE, "a") as file:
                print(json.dumps(row), file=file)
        return row

    return run
