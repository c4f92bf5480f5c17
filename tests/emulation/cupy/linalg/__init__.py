"""numpy's linear algebra, for device arrays."""

import numpy as _np

from .._array import wrapped

_FUNCTIONS = "cholesky eigh eigvalsh norm qr solve svd".split()


def __getattr__(name):
    if name in _FUNCTIONS:
        return wrapped(getattr(_np.linalg, name))
    raise AttributeError(f"the stand-in for CuPy has no linalg.{name}")
