"""Random vectors by address: element i of probe p is a pure function of (seed, p, i)."""

import operator

import numpy as np

from .. import _core
from .._checks import shown
from ..errors import ArgumentError

__all__ = ["count_argument", "probe_vectors"]

_LAWS = ("rademacher", "gaussian", "sphere")
_MOST = 2**62


def probe_vectors(n, probes, *, seed, first=0, distribution="rademacher"):
    """Columns of independent random vectors with E[v v^T] = 1: float64, shape (n, probes), the start vectors of `lanczos`.

    seed : int key (`networks.as_key`); first : number of the first probe.
    "rademacher": +-1. "gaussian": standard normal. "sphere": uniform with |v|^2 = n.
    """
    if not isinstance(distribution, str) or distribution not in _LAWS:
        raise ArgumentError(f"distribution is {shown(distribution)}; expected one of {', '.join(map(repr, _LAWS))}")
    out = np.empty((n, probes), order="F")
    for p in range(probes):
        out[:, p] = _core.lanczos_start(distribution, seed, first + p, n)
    return out


def count_argument(value, name, least=1):
    """`value` as an int, at least `least`; ArgumentError names the argument otherwise."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name} is {shown(value)}; expected an integer of at least {least}") from None
    if count > _MOST:
        raise ArgumentError(f"{name} is {shown(count)}; expected at most 2^62")
    if count < least:
        raise ArgumentError(f"{name} is {count}; expected at least {least}")
    return count
