"""For all tests."""

import signal


def pytest_configure(config):
    # A shell starts what runs in the background with SIGINT ignored, and so would the tests' subprocesses: Ctrl-C would hang.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
