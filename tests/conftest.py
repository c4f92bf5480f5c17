"""For all tests."""

import importlib
import signal
import sys
from pathlib import Path

import pytest


def pytest_configure(config):
    # A shell starts what runs in the background with SIGINT ignored, and so would the tests' subprocesses: Ctrl-C would hang.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # CuPy says so where it finds no toolkit beside the driver; no kernel of ours needs one.
    config.addinivalue_line("filterwarnings", "ignore:CUDA path could not be detected")
    # Where the kernels are emulated, so is CuPy.
    try:
        emulated = importlib.import_module("nnqft._cuda").emulated
    except ImportError:
        return
    if emulated:
        sys.path.insert(0, str(Path(__file__).parent / "emulation"))


@pytest.fixture
def cupy():
    """CuPy with a device behind it; else the test is skipped, and the reason says what is missing."""
    from nnqft import _backend
    from nnqft.errors import DeviceError

    try:
        _backend.require_cuda("cuda")
    except DeviceError as error:
        pytest.skip(str(error))
    return importlib.import_module("cupy")
