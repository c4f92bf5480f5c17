"""What this build is and what it found on this machine."""

from pathlib import Path

from . import _backend, _core
from ._version import __version__
from .errors import StateError

__all__ = ["build_info", "get_include", "get_library"]


def build_info():
    """Version, instruction sets, threads and devices, as a dict.

    Returns
    -------
    dict
        version, isa (in use), isas (available), threads (default), cuda (built or not), devices (visible; each with index, name,
        compute_capability, multiprocessors and memory in bytes), blas.

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



def get_include():
    """Folder of the C header `nnqft.h`, for `-I`.

    Returns
    -------
    str

    Raises
    ------
    StateError
        If this copy of the package was built without it.

    Notes
    -----
    The header says what each function takes and returns. Link with `get_library`.

    Examples
    --------
    >>> import os
    >>> os.listdir(get_include())
    ['nnqft.h']
    """
    return str(_beside_core("include", "nnqft.h").parent)


def get_library():
    """Path of the shared library behind `nnqft.h`, for a linker, ctypes, Julia's ccall or R's dyn.load.

    Returns
    -------
    str

    Raises
    ------
    StateError
        If this copy of the package was built without it.

    Notes
    -----
    A program linked with it finds it at run time by the rpath given to the linker, `-Wl,-rpath,<its folder>`.

    Examples
    --------
    >>> import ctypes
    >>> ctypes.CDLL(get_library()).nnqft_abi_version()
    1
    """
    return str(_beside_core("lib", "libnnqft.*"))


def _beside_core(folder, pattern):
    """The only file of that name in a folder beside the extension module; in a build tree too, where that is a link."""
    folder = Path(_core.__file__).resolve().parent / folder
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise StateError(f"{folder} has {len(found)} files called {pattern}, expected 1: build nnqft again (pip install .)")
    return found[0]
