"""Benches on a device: short, in turns, clocks warm. `benches/gpu_all` runs them and keeps the results."""

import importlib
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # last: `conftest` is the one of benches
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
        return duel(title, ours, rivals, **{"seconds": SECONDS, "rounds": 2 if emulated else 7} | options)

    return run
