"""Hafnians of a matrix with all repeats of its rows below a cutoff; the recursion is csrc/wick/box.cpp."""

import os

from .. import _core
from ..errors import ArgumentError


def box(A, mu, cutoff, renorm):
    """haf(A, mu; k), over sqrt(prod k!) if renorm, for all 0 <= k_i < cutoff; flat, the last k fastest."""
    need = A.itemsize * cutoff ** max(1, len(A))  # Python integers do not wrap
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 40
    if need > have:
        raise ArgumentError(f"all repeats below {cutoff} of {len(A)} rows take {need:.1e} bytes, and this machine has {have:.1e}; "
                            "nnqft.wick.wick_all gives those of one total order, nnqft.wick.hafnian a single one")  # fmt: skip
    return _core.hafnian_box(A, mu, cutoff, renorm)
