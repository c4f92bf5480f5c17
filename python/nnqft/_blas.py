"""Gives scipy's BLAS to the kernels, once, when a module with dense products is imported; dense products of its own for Python code.

Numpy brings a BLAS too, whose threads split sums as the machine has them and cannot be held back from here.
"""

import ctypes

from scipy.linalg import cython_blas, get_blas_funcs

from . import _core

__all__ = ["connect", "matmul"]

# Setter and getter of the number of threads, by library; the name is looked up in cython_blas and what it links to.
_SWITCHES = (
    ("scipy_openblas_set_num_threads", "scipy_openblas_get_num_threads"),
    ("openblas_set_num_threads", "openblas_get_num_threads"),
    ("MKL_Set_Num_Threads", "MKL_Get_Max_Threads"),
)


def connect():
    """Points the kernels to scipy.linalg.cython_blas and to the switch of its threads, where one is known."""
    setter, getter = _switch()
    _core.use_blas(cython_blas.__pyx_capi__, setter, getter)


def matmul(A, B):
    """A B of two matrices, the same bits for any number of threads."""
    (a, a_turned), (b, b_turned) = ((M, 0) if M.flags.f_contiguous else (M.T, 1) for M in (A, B))
    with _core.BlasThreadsOff():
        return get_blas_funcs("gemm", (A, B))(1.0, a, b, trans_a=a_turned, trans_b=b_turned)


def _switch():
    try:
        library = ctypes.CDLL(cython_blas.__file__)
    except OSError:
        return 0, 0
    for names in _SWITCHES:
        if all(hasattr(library, name) for name in names):
            return tuple(ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names)
    return 0, 0


connect()
