"""What this build is and what it found on this machine."""

from . import _backend, _core
from ._version import __version__

__all__ = ["build_info"]


def build_info():
    """Version, instruction sets, threads and devices, as a dict.

    Returns
    -------
    dict
        version, isa (in use), isas (available), threads (default), cuda (built or not), devices (visible), blas.

    Examples
    --------
    >>> info = build_info()
    >>> info["isa"] in info["isas"]
    True
    """
    return {
        "version": __version__,
        "isa": _core.isa(),
        "isas": _core.isas(),
        "threads": _core.default_threads(),
        "cuda": _backend._load_cuda()[0] is not None,
        "devices": _backend.devices(),
        "blas": "scipy.linalg.cython_blas",
    }

