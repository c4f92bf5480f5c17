"""A stand-in for CuPy where there is no device: arrays whose memory the emulated kernels can reach, and CuPy's manners.

What CuPy refuses, this refuses: to become a numpy array without being asked, to mix with numpy arrays, to read a mask. Reductions
stay on the device as arrays without axes, an empty array has no address, fresh memory holds no zeros. Only the names below
exist; `tests/gpu/test_cupy_names.py` compares them with the real ones. Streams have done their work at once.
"""

import numpy as _np

from . import cuda, linalg
from ._array import array, asarray, ascontiguousarray, asnumpy, empty, empty_like, from_dlpack, ndarray, wrapped

emulated = True
__version__ = "14.0.0"

# Functions that do what numpy's do, and types and constants that are numpy's.
_FUNCTIONS = """
    abs absolute add all allclose amax amin any arange argmax argmin argsort array_equal ascontiguousarray atleast_1d atleast_2d
    broadcast_to clip concatenate conj copyto cos count_nonzero cumsum diag diagonal divide dot einsum equal exp expand_dims eye
    flip floor full full_like hypot identity imag inner isfinite isnan isinf linspace log log1p matmul max maximum mean median min
    minimum moveaxis multiply negative nonzero ones ones_like outer power prod ravel real reciprocal repeat reshape result_type
    roll sign sin sort sqrt square squeeze stack std subtract sum swapaxes take tanh tensordot tile trace transpose tril triu
    true_divide unique var vdot vstack hstack where zeros zeros_like nan_to_num may_share_memory shares_memory
""".split()
_SAME = """
    bool_ complex64 complex128 dtype e float32 float64 inf int8 int16 int32 int64 nan newaxis pi uint8 uint16 uint32 uint64 finfo
    iinfo issubdtype floating integer
""".split()


def __getattr__(name):
    if name in _FUNCTIONS:
        return wrapped(getattr(_np, name))
    if name in _SAME:
        return getattr(_np, name)
    raise AttributeError(f"the stand-in for CuPy has no {name}: add it to _FUNCTIONS if CuPy does what numpy does")


def get_array_module(*arrays):
    import sys

    return sys.modules[__name__] if any(isinstance(a, ndarray) for a in arrays) else _np


def is_available():
    return cuda.runtime.getDeviceCount() > 0


def get_default_memory_pool():
    return cuda._pool


__all__ = [
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "cuda",
    "empty",
    "empty_like",
    "from_dlpack",
    "linalg",
    "ndarray",
]
