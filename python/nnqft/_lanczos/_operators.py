"""Symmetric operators of any origin, in one form: shape, dtype, matvec, matmat, and a handle for the kernels."""

import math
import operator

import numpy as np
import scipy.sparse

from .. import _backend, _core
from .._blas import matmul
from .._checks import shown
from .._run import thread_count
from ..errors import ArgumentError, ShapeError

__all__ = ["Operator", "as_operator", "gram"]

_REAL = (np.dtype(np.float64), np.dtype(np.float32))


class Operator:
    """A symmetric linear operator; made by `as_operator`.

    Sums, differences, multiples by numbers and products of operators are operators: `A + B`, `2 * A`, `A - 3.0` (a shift: A - 3 I),
    `A @ B @ A`. A product is symmetric only if its factors arrange for it; `lanczos` checks. An array behind @ is vectors, whatever its
    shape: `A @ x` is `A.matvec(x)`, `A @ X` is `A.matmat(X)`, and `A @ as_operator(X)` is the product of operators.

    Attributes
    ----------
    shape : (n, n)
    dtype : float64 or float32
        Of the vectors it takes and returns.
    native : object or None
        Handle of an operator in C++ (dense, CSR, Hessian), by which whole runs do without Python.

    Examples
    --------
    >>> A = as_operator(np.diag([1.0, 2.0, 3.0]))
    >>> (2 * A - 1.0).matvec(np.ones(3))
    array([1., 3., 5.])
    """

    surely_symmetric = False  # by construction, up to rounding

    def __init__(self, n, dtype, matmat, *, native=None, keep=None, triangles=()):
        self.shape = (n, n)
        self.dtype = np.dtype(dtype)
        self.native = native
        # Dense matrices that it is made of: of each the upper triangle is read, so that no product shows what the lower one holds.
        self.triangles = (native,) if hasattr(native, "asymmetry") else triangles
        self._matmat = matmat
        self._keep = keep

    def __repr__(self):
        return f"<Operator of shape {self.shape}, {self.dtype}, {'C++' if self.native is not None else 'Python'}>"

    def matvec(self, x):
        """A x.

        Parameters
        ----------
        x : array, shape (n,), dtype of the operator

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        ShapeError
            If x has another shape or dtype.

        Examples
        --------
        >>> as_operator(np.diag([1.0, 2.0])).matvec(np.ones(2))
        array([1., 2.])
        """
        x = np.asarray(x)
        if x.ndim != 1:
            raise ShapeError(f"x has shape {x.shape}; expected ({self.shape[0]},)")
        return self.matmat(x[:, None])[:, 0]

    def matmat(self, X):
        """A X, several vectors at once.

        Parameters
        ----------
        X : array, shape (n, columns), dtype of the operator

        Returns
        -------
        array, shape (n, columns)

        Raises
        ------
        ShapeError
            If X has another shape or dtype, or a Python operator returns something else.

        Examples
        --------
        >>> as_operator(np.diag([1.0, 2.0])).matmat(np.ones((2, 3))).shape
        (2, 3)
        """
        X = np.asarray(X)
        if X.ndim != 2 or X.shape[0] != self.shape[0] or X.dtype != self.dtype:
            raise ShapeError(f"X has shape {X.shape} and dtype {X.dtype}; expected ({self.shape[0]}, columns) and {self.dtype}")
        if self.native is not None:
            return self.native.matmat(_plain(X), thread_count(None))
        return self._matmat(X)

    def restrict(self, index):
        """The block A[index][:, index], as an operator.

        Parameters
        ----------
        index : slice, or array of int or bool, 1-D
            Without repetition.

        Returns
        -------
        Operator

        Raises
        ------
        ArgumentError
            If nothing is selected, or an element twice.

        Examples
        --------
        >>> as_operator(np.diag([1.0, 2.0, 3.0])).restrict(slice(1, None)).matvec(np.ones(2))
        array([2., 3.])
        """
        try:
            rows = np.arange(self.shape[0])[index]
        except IndexError as error:
            raise ArgumentError(f"index is {shown(index)}; expected a slice, or integers or flags within {self.shape[0]} rows ({error})") from None
        if rows.ndim != 1 or rows.size == 0 or len(np.unique(rows)) != rows.size:
            raise ArgumentError(f"index selects an array of shape {rows.shape} with {len(np.unique(rows))} different rows; expected one or more rows, each once")

        there = self._put(rows)

        def matmat(X):
            wide = self._xp.zeros((self.shape[0], X.shape[1]), self.dtype)
            wide[there] = X
            return self.matmat(wide)[there]

        return self._made(rows.size, matmat)

    _xp = np  # the library of the vectors
    _put = staticmethod(np.asarray)  # an array to where they live

    def _made(self, n, matmat, other=None):
        triangles = self.triangles if other is None else tuple(dict.fromkeys((*self.triangles, *other.triangles)))
        return Operator(n, self.dtype, matmat, triangles=triangles)

    def _with(self, other, matmat):
        other = as_operator(other)
        homes = ["in main memory" if device is None else f"on cuda:{device}" for device in (getattr(op, "device", None) for op in (self, other))]
        if homes[0] != homes[1]:
            raise ArgumentError(f"one operator lives {homes[0]}, the other {homes[1]}: expected the same")
        if other.shape != self.shape or other.dtype != self.dtype:
            raise ShapeError(f"operators of shapes {self.shape} and {other.shape}, dtypes {self.dtype} and {other.dtype}: expected the same")
        return self._made(self.shape[0], lambda X: matmat(other, X), other)

    def __add__(self, other):
        if (c := _number(other)) is not None:
            return self._made(self.shape[0], lambda X: self.matmat(X) + self.dtype.type(c) * X)
        return self._with(other, lambda B, X: self.matmat(X) + B.matmat(X))

    def __sub__(self, other):
        if (c := _number(other)) is not None:
            return self + -c
        return self._with(other, lambda B, X: self.matmat(X) - B.matmat(X))

    def __mul__(self, factor):
        if (c := _number(factor)) is None:
            return NotImplemented
        return self._made(self.shape[0], lambda X: self.dtype.type(c) * self.matmat(X))

    def __matmul__(self, other):
        if isinstance(other, self._xp.ndarray):
            return self.matvec(other) if other.ndim == 1 else self.matmat(other)
        if isinstance(other, list | tuple) or hasattr(other, "__dlpack__"):
            array, given = (f"{kind.__module__}.{kind.__qualname__}" for kind in (self._xp.ndarray, type(other)))
            raise ArgumentError(f"A @ x takes a {array} or an operator; x is a {given}: convert it, or pass as_operator(x)")
        return self._with(other, lambda B, X: self.matmat(B.matmat(X)))

    def __neg__(self):
        return -1.0 * self

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        return -self + other

    __array_ufunc__ = None  # numpy numbers and arrays on the left leave the operation to __radd__ and its like


def as_operator(A, *, n=None, dtype=None, device=None):
    """A matrix or a function as the symmetric operator that `lanczos` takes.

    Parameters
    ----------
    A : array, sparse CSR or CSC matrix, object with `matvec`, `matmat`, `to_scipy` or @, callable, or Operator
        Arrays (numpy, or what numpy takes through DLPack on the CPU, such as torch tensors) are float64 or float32 and must be
        symmetric: the upper triangle is read, and not copied. An object (scipy LinearOperator, ...) has `shape`; what has `native` is
        used through that, what has no `matvec` or `matmat` through `to_scipy()` (curvlinops, ...) or its product with numpy arrays,
        A @ X. A callable gets a vector (n,) and returns one.
    n : int, optional
        Size, for a callable.
    dtype : float64 or float32, optional
        Of the vectors that an object or a callable takes; default its own, else float64. Matrices keep theirs.
    device : {"cpu", "cuda", "cuda:N"}, optional
        Where the vectors are that A takes; default: where A is, the CPU for objects and callables. On a device A is a CuPy array
        (or what CuPy takes without a copy: torch tensors, ...; all of it is read), a cupyx CSR matrix, or takes and returns CuPy arrays.

    Returns
    -------
    Operator

    Raises
    ------
    ShapeError
        If A is not square, or is a matrix of another dtype.
    ArgumentError
        If A is no operator, a sparse matrix in another format, or lives on another device.
    DeviceError
        If the device is missing.

    Notes
    -----
    Dense and sparse matrices are multiplied in C++ without the GIL; dense ones at half the memory traffic of a full matrix, and four
    vectors at little more than the price of one, eight at less than twice. Runs of sparse rows that are one row, moved (stencils on
    lattices), are found here and no longer read, so a matrix must not change while its operator is in use. Symmetry is checked by `lanczos`.

    Examples
    --------
    >>> A = as_operator(lambda x: 2 * x, n=3)
    >>> A.matvec(np.ones(3))
    array([2., 2., 2.])
    """
    if isinstance(A, Operator):
        return A
    if isinstance(A, type):
        raise ArgumentError(f"the class {A.__name__} is no operator; expected one of its objects")
    dtype = None if dtype is None else real_dtype(dtype)
    if not isinstance(A, np.ndarray) or device is not None:
        from .._device._operators import device_operator

        found = device_operator(A, n=n, dtype=dtype, device=device)
        if found is not None:
            return found
    native = getattr(A, "native", None)
    if native is not None:
        kind = np.float64 if isinstance(native, _core.Operator64) else np.float32
        op = Operator(native.size, kind, None, native=native, keep=A)
        op.surely_symmetric = True  # a Hessian
        return op
    if scipy.sparse.issparse(A):
        return _sparse(A)
    if isinstance(A, np.ndarray):
        return _dense(A)
    if hasattr(A, "matvec") or hasattr(A, "matmat"):
        return _object(A, dtype)
    if hasattr(A, "__dlpack__"):
        try:
            array = np.from_dlpack(A.detach() if hasattr(A, "detach") else A)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise ArgumentError(f"{type(A).__name__} cannot be read as an array in main memory ({error}): move it there, or pass its product as a callable") from None
        return _dense(array)
    if hasattr(A, "to_scipy"):
        return _object(A.to_scipy(), dtype or _own_dtype(A))
    if hasattr(A, "shape") and hasattr(A, "__matmul__"):
        return _object(A, dtype)
    if callable(A):
        return _callable(A, n, dtype)
    raise ArgumentError(f"{type(A).__name__} is no operator; expected an array, a CSR matrix, an object with matvec or @, or a callable")


def gram(J, *, dtype=None):
    """J^T J as an operator: its eigenvalues are the squared singular values of J.

    Parameters
    ----------
    J : array or sparse array, shape (m, n), or object with `matmat` and `rmatmat` (scipy LinearOperator)
        A CuPy array makes an operator on its device.
    dtype : float64 or float32, optional
        Default: that of J.

    Returns
    -------
    Operator, shape (n, n)

    Raises
    ------
    ShapeError
        If J is no matrix of real floating-point numbers.
    ArgumentError
        If J is nothing of the above, or a sparse matrix on a device.

    Examples
    --------
    >>> gram(np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])).matvec(np.ones(2))
    array([ 9., 16.])
    """
    there = _backend.lives_on_device(J)
    if there:
        J = _backend.asarray(J, device=_backend.place(None, J=J), name="J")
    else:
        _backend.only_on_host("gram() of a sparse matrix", J=J)
    own = getattr(J, "dtype", None)
    shape, dtype = _sizes(J), real_dtype(dtype if dtype is not None else np.float64 if own is None else own, "J's dtype")
    if len(shape) != 2 or min(shape) < 1:
        raise ShapeError(f"J has shape {shape} and dtype {dtype}; expected (m, n) and float64 or float32")
    if there:
        from .._device._operators import device_gram

        return device_gram(J, dtype)
    if not (isinstance(J, np.ndarray) or scipy.sparse.issparse(J) or (hasattr(J, "matmat") and hasattr(J, "rmatmat"))):
        raise ArgumentError(f"J is a {type(J).__name__}; expected an array, a sparse array, or an object with matmat and rmatmat")
    if isinstance(J, np.ma.MaskedArray):
        raise ShapeError("J is a masked array: pass the values to be used, as a plain array")
    if hasattr(J, "rmatmat"):
        return Operator(shape[1], dtype, lambda X: _returned(J.rmatmat(np.ascontiguousarray(J.matmat(X))), X, "rmatmat"))
    turned, times = J.T, matmul if isinstance(J, np.ndarray) else operator.matmul
    return Operator(shape[1], dtype, lambda X: times(turned, times(J, X)))


def real_dtype(dtype, where="dtype"):
    """`dtype` as float64 or float32; ArgumentError for what is no dtype, ShapeError for others."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise ArgumentError(f"{where} is {shown(dtype)}; expected float64 or float32") from None
    if kind not in _REAL:
        raise ShapeError(f"{where} is {kind}; expected float64 or float32")
    return kind


def host_operator(A, who):
    """`A` as an Operator on numpy arrays; ArgumentError if it lives on a device, where `who` has no kernels."""
    op = as_operator(A)
    if (device := getattr(op, "device", None)) is not None:
        raise ArgumentError(f"{who} runs on the CPU only, the operator lives on cuda:{device}: pass it in main memory")
    return op


def counted(op, report):
    """`op`, of which every product is followed by report(products so far), if there is one to tell."""
    if report is None:
        return op
    done = 0

    def matmat(X):
        nonlocal done
        Y = op.matmat(X)
        done += X.shape[1]
        report(done)
        return Y

    return Operator(op.shape[0], op.dtype, matmat)


def native_handle(op, dtype):
    """What the kernels take for `op` with vectors of `dtype`."""
    if op.native is not None:
        if dtype != op.dtype:
            raise ArgumentError(f"the operator's vectors are {op.dtype}, dtype={dtype} was asked for: convert the matrix, A.astype(np.{dtype})")
        return op.native
    make = _core.python64 if dtype == np.float64 else _core.python32

    def matmat(X):
        return _plain(op.matmat(X.astype(op.dtype, copy=False))).astype(dtype, copy=False)

    return make(op.shape[0], matmat, float(np.finfo(op.dtype).eps))


def _sizes(A):
    """A.shape as a tuple of ints; ShapeError for what is none."""
    shape = getattr(A, "shape", ())
    try:
        return tuple(operator.index(n) for n in shape)
    except TypeError:
        raise ShapeError(f"{type(A).__name__} has shape {shown(shape)}; expected whole numbers") from None


def _plain(X):
    """X as it stands if its rows follow one another in memory, else a copy that does."""
    return np.require(X, requirements=["C", "A"])


def _number(x):
    if isinstance(x, (bool, np.bool_)) or np.ndim(x) != 0 or isinstance(x, Operator):
        return None
    try:
        value = float(x)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(value):
        raise ArgumentError(f"an operator cannot be shifted or scaled by {value}")
    return value


def _dense(A):
    if isinstance(A, np.ma.MaskedArray):
        raise ShapeError("A is a masked array: pass the values to be used, as a plain array")
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ShapeError(f"A has shape {A.shape}; expected a square matrix")
    if A.dtype not in _REAL or not A.dtype.isnative:
        raise ShapeError(f"A has dtype {A.dtype}; expected float64 or float32: call A.astype(np.float64)")
    make = _core.dense64 if A.dtype == np.float64 else _core.dense32
    return Operator(A.shape[0], A.dtype, None, native=make(np.asarray(A)))


def _sparse(A):
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ShapeError(f"A has shape {A.shape}; expected a square matrix")
    if A.format not in ("csr", "csc"):  # A = A^T: the two are one
        raise ArgumentError(f"A is a sparse matrix in {A.format} format; expected CSR: call A.tocsr()")
    if A.dtype not in _REAL:
        raise ShapeError(f"A has dtype {A.dtype}; expected float64 or float32: call A.astype(np.float64)")
    if A.indices.dtype != A.indptr.dtype:
        raise ShapeError(f"indices are {A.indices.dtype}, indptr is {A.indptr.dtype}; expected one dtype, int32 or int64")
    make = _core.csr64 if A.dtype == np.float64 else _core.csr32
    return Operator(A.shape[0], A.dtype, None, native=make(A.indptr, A.indices, A.data))


def _object(A, dtype):
    shape = _sizes(A)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
        raise ShapeError(f"{type(A).__name__} has shape {shape}; expected a square operator")
    if dtype is None:
        dtype = _own_dtype(A)
    if np.dtype(dtype) not in _REAL:
        raise ShapeError(f"{type(A).__name__} has dtype {dtype}; expected float64 or float32: pass dtype=np.float64 if its products are real")
    single = getattr(A, "matvec", None)

    def matmat(X):
        if X.shape[1] == 1 and single is not None:
            return _returned(single(X[:, 0].copy()), X, "matvec")
        if hasattr(A, "matmat"):
            return _returned(A.matmat(X), X, "matmat")
        if single is None:
            return _returned(A @ X.copy(), X, "@")
        return np.stack([_returned(single(x.copy()), X[:, :1], "matvec")[:, 0] for x in X.T], axis=1)

    return Operator(int(shape[0]), dtype, matmat, keep=A)


def _own_dtype(A):
    """A.dtype, also by its name (torch.float32); float64 where there is none."""
    own = getattr(A, "dtype", None)
    for name in (np.float64 if own is None else own, str(own).rpartition(".")[2]):
        try:
            return np.dtype(name)
        except TypeError:
            continue
    return np.dtype(np.float64)


def callable_size(n, more=""):
    """The size `n` of a callable as an integer; ArgumentError for what is none. more: other arguments of the example."""
    if n is None:
        raise ArgumentError(f"a callable needs its size: as_operator(f, n=...{more})")
    try:
        n = operator.index(n)
    except TypeError:
        raise ArgumentError(f"n must be an integer, got {type(n).__name__}") from None
    if n < 1:
        raise ArgumentError(f"n is {n}; expected at least 1")
    return n


def _callable(f, n, dtype):
    n = callable_size(n)

    def matmat(X):
        return np.stack([_returned(f(x.copy()), X[:, :1], "the callable")[:, 0] for x in X.T], axis=1)

    return Operator(n, np.float64 if dtype is None else dtype, matmat)


def _returned(Y, X, name):
    """What a user's function gave back for X, as an array of X's shape and dtype."""
    Y = np.asarray(Y)
    if Y.size != X.size or (Y.shape != X.shape and Y.shape not in ((X.shape[0],), (X.shape[0], 1))):
        raise ShapeError(f"{name} returned shape {Y.shape}; expected {X.shape if X.shape[1] > 1 else (X.shape[0],)}")
    if Y.dtype.kind not in "fiu":
        raise ShapeError(f"{name} returned dtype {Y.dtype}; expected real numbers")
    return Y.reshape(X.shape).astype(X.dtype, copy=False)
