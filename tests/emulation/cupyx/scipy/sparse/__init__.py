"""CSR matrices of device arrays, multiplied by scipy."""

import cupy
import scipy.sparse as _host
from cupy._array import shell

__all__ = ["csr_matrix", "isspmatrix_csr", "issparse"]


class csr_matrix:
    format = "csr"

    def __init__(self, arg1, shape=None, dtype=None, copy=False):
        if _host.issparse(arg1):
            arg1, shape = (arg1.tocsr().data, arg1.tocsr().indices, arg1.tocsr().indptr), arg1.shape
            arg1 = tuple(cupy.asarray(x) for x in arg1)
        elif not all(isinstance(x, cupy.ndarray) for x in arg1):
            raise TypeError("csr_matrix takes (data, indices, indptr) on the device, or a matrix of scipy")
        self.data, self.indices, self.indptr = arg1
        if dtype is not None:
            self.data = self.data.astype(dtype)
        rows = len(self.indptr) - 1
        self.shape = tuple(shape) if shape is not None else (rows, int(self.indices.max()) + 1)

    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: 2)
    nnz = property(lambda self: self.data.size)
    _inner = property(
        lambda self: _host.csr_matrix((self.data._inner, self.indices._inner, self.indptr._inner), self.shape)
    )

    def get(self, stream=None):
        return self._inner.copy()

    def dot(self, other):
        return self @ other

    def __matmul__(self, other):
        if not isinstance(other, cupy.ndarray):
            raise TypeError(f"unsupported operand of @: {type(other)}")
        return shell(self._inner @ other._inner)

    def astype(self, dtype):
        return csr_matrix((self.data.astype(dtype), self.indices, self.indptr), self.shape)

    def diagonal(self):
        return shell(self._inner.diagonal())


def issparse(x):
    return isinstance(x, csr_matrix)


isspmatrix_csr = issparse
