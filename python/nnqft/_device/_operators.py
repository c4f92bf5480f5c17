"""Symmetric operators on vectors that live on a CUDA device, in the form that `lanczos` takes."""

import numpy as np

from .. import _backend
from .._lanczos._operators import Operator, callable_size
from ..errors import ArgumentError, ShapeError

__all__ = ["DeviceOperator", "device_gram", "device_operator", "on_this_device"]

_REAL = (np.dtype(np.float64), np.dtype(np.float32))
_PANEL = 1 << 24  # elements of a dense matrix that are compared with their mirror images at a time


class DeviceOperator(Operator):
    """An operator on CuPy arrays; made by `as_operator`. Numpy arrays are an error: nothing moves by itself.

    Attributes
    ----------
    device : int
        Index of the device.
    """

    def __init__(self, n, dtype, device, product, *, bind=None, asymmetry=None, cost=0.0, keep=None):
        super().__init__(n, dtype, None, keep=keep)
        self.device = device
        self.product = product  # product(X, out): rows of X (vectors, n) to those of out
        self.bind = bind  # bind(vectors): what `_cuda` multiplies by, and what must outlive it
        self.cost = cost  # operations per vector, about
        self.asymmetry = asymmetry  # (max |A_ij - A_ji|, max |A_ij|), where entries can be seen

    def __repr__(self):
        return f"<Operator of shape {self.shape}, {self.dtype}, cuda:{self.device}>"

    @property
    def home(self):
        from ._lanczos import Home

        return Home(self.device)

    @property
    def _xp(self):
        return _backend.cupy_module()

    def _put(self, x):
        with _backend.on_device(self.device):
            return self._xp.asarray(x)

    def matmat(self, X):
        X = on_this_device(X, self.device, "X")
        if X.ndim != 2 or X.shape[0] != self.shape[0] or X.dtype != self.dtype:
            raise ShapeError(
                f"X has shape {X.shape} and dtype {X.dtype}; expected ({self.shape[0]}, columns) and {self.dtype}"
            )
        with _backend.on_device(self.device):
            out = _backend.empty(X.shape[::-1], self.dtype)
            if out.size:
                self.product(self._xp.ascontiguousarray(X.T), out)
        return out.T

    def matvec(self, x):
        x = on_this_device(x, self.device, "x")
        if x.ndim != 1:
            raise ShapeError(f"x has shape {x.shape}; expected ({self.shape[0]},)")
        return self.matmat(x[:, None])[:, 0]

    def _made(self, n, matmat, other=None):
        def product(X, out):
            out[...] = matmat(X.T).T

        return DeviceOperator(n, self.dtype, self.device, product)


def on_this_device(x, device, name):
    """`x` as a CuPy array; ArgumentError if it lives elsewhere."""
    if isinstance(x, np.ndarray) or not (hasattr(x, "__cuda_array_interface__") or hasattr(x, "__dlpack__")):
        raise ArgumentError(
            f"{name} is a {type(x).__module__}.{type(x).__name__}, the operator lives on cuda:{device}: pass cupy.asarray({name})"
        )
    return _backend.asarray(x, device=f"cuda:{device}", name=name)


def device_operator(A, *, n=None, dtype=None, device=None):
    """`A` as a DeviceOperator if it lives on a CUDA device, or takes vectors there as `device` says; else None."""
    if hasattr(A, "device_operator"):
        return A.device_operator()
    sparse = type(A).__module__.startswith("cupyx.scipy.sparse") and hasattr(A, "indptr")
    where = _backend.place(device, A=A.data if sparse else A)
    if where == "cpu" and not type(A).__module__.startswith("cupyx"):
        return None
    index = _backend.require_cuda("cuda" if where == "cpu" else where)
    if sparse:
        return _sparse(A, index)
    if isinstance(A, np.ndarray) or hasattr(A, "toarray"):
        raise ArgumentError(
            f"A is a {type(A).__module__}.{type(A).__name__}; on a device Lanczos takes CuPy arrays and cupyx CSR matrices"
        )
    if hasattr(A, "__cuda_array_interface__") or hasattr(A, "__dlpack__"):
        return _dense(_backend.asarray(A.detach() if hasattr(A, "detach") else A, device=where, name="A"), index)
    if hasattr(A, "matvec") or hasattr(A, "matmat"):
        return _object(A, dtype, index)
    return _callable(A, n, dtype, index)


def device_gram(J, dtype):
    """J^T J as a DeviceOperator, by cuBLAS, from a CuPy matrix of real numbers."""
    cupy = _backend.cupy_module()

    def product(X, out):
        out[...] = cupy.matmul(cupy.matmul(X, J.T), J)

    return DeviceOperator(J.shape[1], dtype, J.device.id, product, cost=4.0 * J.size, keep=J)


def _square(shape):
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ShapeError(f"A has shape {tuple(shape)}; expected a square matrix")


def _real(dtype):
    if dtype not in _REAL:
        raise ShapeError(f"A has dtype {dtype}; expected float64 or float32: call A.astype(np.float64)")


def _dense(A, index):
    """X A by cuBLAS; all of a symmetric A is read, once for all vectors."""
    _square(A.shape)
    _real(A.dtype)
    cupy = _backend.cupy_module()
    with _backend.on_device(index):
        A = A.T if A.flags.f_contiguous else cupy.ascontiguousarray(A)

    def product(X, out):
        if len(X) == 1:
            cupy.dot(A, X[0], out=out[0])
        else:
            cupy.matmul(X, A, out=out)

    def asymmetry():
        rows = max(1, _PANEL // len(A))
        worst = largest = 0.0
        for start in range(0, len(A), rows):
            here = A[start : start + rows]
            difference = float(abs(here - A[:, start : start + rows].T).max())
            worst, largest = np.maximum((worst, largest), (difference, float(abs(here).max())))  # a NaN stays
        return worst, largest

    return DeviceOperator(len(A), A.dtype, index, product, asymmetry=asymmetry, cost=2.0 * A.size, keep=A)


def _sparse(A, index):
    """Own kernels for CSR: cuSPARSE's default algorithm does not repeat its bits."""
    _square(A.shape)
    if A.format not in ("csr", "csc"):  # A = A^T: the two are one
        raise ArgumentError(f"A is a sparse matrix in {A.format} format; expected CSR: call A.tocsr()")
    _real(A.dtype)
    start, column, value = A.indptr, A.indices, A.data
    if start.dtype != column.dtype or start.dtype not in (np.int32, np.int64):
        raise ShapeError(f"indices are {column.dtype}, indptr is {start.dtype}; expected one dtype, int32 or int64")
    n, cuda = A.shape[0], _backend.cuda_module()
    with _backend.on_device(index):
        start, column, value = map(_backend.cupy_module().ascontiguousarray, (start, column, value))
        entries = int(column.size)
        if (
            start.size != n + 1
            or value.size != entries
            or int(start[0]) != 0
            or int(start[-1]) != entries
            or not bool((start[1:] >= start[:-1]).all())
        ):
            raise ArgumentError("indptr is not that of a CSR matrix: it rises from 0 to the number of entries")
        if entries and not 0 <= int(column.min()) <= int(column.max()) < n:
            raise ArgumentError(
                f"indices reach from {int(column.min())} to {int(column.max())}; the matrix has columns 0 .. {n - 1}"
            )
    make = cuda.csr64 if value.dtype == np.float64 else cuda.csr32
    handle = make(n, entries, start.dtype == np.int64, start.data.ptr, column.data.ptr, value.data.ptr)

    def product(X, out):
        with _backend.on_device(index) as stream:
            handle.apply(index, len(X), X.data.ptr, out.data.ptr, stream)

    return DeviceOperator(
        n, value.dtype, index, product, bind=lambda vectors: (handle, None), keep=(start, column, value)
    )


def _returned(y, shape, index, name):
    """What a user's function gave back, as a CuPy array of real numbers."""
    y = on_this_device(y, index, f"what {name} returned")
    if y.size != int(np.prod(shape)) or (y.shape != shape and y.ndim > 1 and 1 not in shape):
        raise ShapeError(f"{name} returned shape {y.shape}; expected {shape}")
    if y.dtype.kind not in "fiu":
        raise ShapeError(f"{name} returned dtype {y.dtype}; expected real numbers")
    return y.reshape(shape)


def _object(A, dtype, index):
    shape = tuple(getattr(A, "shape", ()))
    _square(shape)
    dtype = np.dtype(dtype or getattr(A, "dtype", None) or np.float64)
    _real(dtype)

    def product(X, out):
        if hasattr(A, "matmat") and (len(X) > 1 or not hasattr(A, "matvec")):
            out[...] = _returned(A.matmat(X.T.copy()), X.shape[::-1], index, "matmat").T
        else:
            for x, y in zip(X, out, strict=True):
                y[...] = _returned(A.matvec(x.copy()), x.shape, index, "matvec")

    return DeviceOperator(int(shape[0]), dtype, index, product, keep=A)


def _callable(f, n, dtype, index):
    if not callable(f):
        raise ArgumentError(
            f"{type(f).__name__} is no operator; expected an array, a CSR matrix, an object with matvec, or a callable"
        )
    n = callable_size(n, ', device="cuda"')

    def product(X, out):
        for x, y in zip(X, out, strict=True):
            y[...] = _returned(f(x.copy()), x.shape, index, "the callable")

    return DeviceOperator(n, np.dtype(dtype or np.float64), index, product)
