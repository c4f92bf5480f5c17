"""The array: a numpy array inside, reachable only in the ways that CuPy allows."""

import functools
import weakref

import numpy as np

from . import cuda


def _inner(x, *, what="an operation on device arrays"):
    """Arguments without their shells; numpy arrays among them, or arrays of another device, are an error, as in CuPy."""
    if isinstance(x, ndarray):
        if x.size and x._device != cuda.runtime.getDevice():  # CuPy needs peer access for that, and warns where it has it
            raise ValueError(f"{what}: an array of device {x._device}, while device {cuda.runtime.getDevice()} is current")
        return x._inner
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type <class 'numpy.ndarray'> in {what}")
    if isinstance(x, (tuple, list)):
        return type(x)(_inner(y, what=what) for y in x)
    return x


def shell(x):
    """Results with their shells: numpy's scalars become arrays without axes."""
    if isinstance(x, (np.ndarray, np.generic)):
        return ndarray._around(np.asarray(x))
    return tuple(shell(y) for y in x) if isinstance(x, tuple) else x


def wrapped(function):
    """A function of numpy for device arrays. Infinities and NaN come without a warning."""

    @functools.wraps(function)
    def on_device(*arguments, out=None, **options):
        options = {k: _inner(v) for k, v in (options if out is None else options | {"out": out}).items()}
        with np.errstate(all="ignore"):
            result = function(*_inner(arguments, what=function.__name__), **options)
        return out if out is not None else shell(result)

    return on_device


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in allocates, and nothing else")
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        cuda._pool._take(size)
        self._inner = np.empty(shape, dtype, order)
        weakref.finalize(self._inner, cuda._pool._give, size)
        self._inner.reshape(-1, order="A").view(np.uint8)[...] = 0xFF  # nobody may count on zeros
        self._device = cuda.runtime.getDevice()

    @classmethod
    def _around(cls, inner, device=None):
        made = cls.__new__(cls)
        made._inner, made._device = inner, cuda.runtime.getDevice() if device is None else device
        return made

    def _view(self, inner):
        return ndarray._around(inner, self._device)

    # --- what it is
    shape = property(lambda self: self._inner.shape, lambda self, shape: setattr(self._inner, "shape", shape))
    dtype = property(lambda self: self._inner.dtype)
    ndim = property(lambda self: self._inner.ndim)
    size = property(lambda self: self._inner.size)
    itemsize = property(lambda self: self._inner.itemsize)
    nbytes = property(lambda self: self._inner.nbytes)
    strides = property(lambda self: self._inner.strides)
    flags = property(lambda self: self._inner.flags)
    T = property(lambda self: self._view(self._inner.T))
    mT = property(lambda self: self._view(self._inner.swapaxes(-1, -2)))
    real = property(lambda self: self._view(self._inner.real))
    imag = property(lambda self: self._view(self._inner.imag))
    device = property(lambda self: cuda.Device(self._device))
    data = property(lambda self: cuda.MemoryPointer(self._inner.ctypes.data if self.size else 0, self._device))

    def __len__(self):
        return len(self._inner)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self._inner)

    # --- off the device: by name only
    def get(self, stream=None, order="C", out=None, blocking=True):
        if out is None:
            return self._inner.copy(order)
        out[...] = self._inner
        return out

    def set(self, arr, stream=None):
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError(f"set() of {arr.dtype} {arr.shape} into {self.dtype} {self.shape}")
        self._inner[...] = arr

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    item = lambda self, *index: self._inner.item(*index)
    tolist = lambda self: self._inner.tolist()
    __float__ = lambda self: float(self._inner)
    __int__ = lambda self: int(self._inner)
    __index__ = lambda self: self._inner.__index__()
    __bool__ = lambda self: bool(self._inner)
    __complex__ = lambda self: complex(self._inner)

    # --- to others on the device
    @property
    def __cuda_array_interface__(self):
        interface = {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.data.ptr, False),
            "version": 3,
            "descr": self.dtype.descr,
        }
        return interface | {
            "strides": None if self.flags.c_contiguous else self.strides,
            "stream": cuda.get_current_stream().ptr or 1,
        }

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return self._inner.__dlpack__()

    def __dlpack_device__(self):
        return (2, self._device)

    # --- arithmetic and access
    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if method not in ("__call__", "reduce", "outer", "accumulate"):
            return NotImplemented
        if out is not None:
            options["out"] = _inner(out)
        with np.errstate(all="ignore"):
            result = getattr(ufunc, method)(*_inner(inputs, what=ufunc.__name__), **options)
        return out[0] if out is not None else shell(result)

    def __array_function__(self, function, types, args, kwargs):
        import cupy

        return getattr(cupy, function.__name__)(*args, **kwargs)

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        if all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts):
            return self._view(np.asarray(self._inner[key]) if ... in parts else self._inner[(*parts, ...)])  # a view, always
        return shell(_inner(self)[_inner(key, what="an index")])

    def __setitem__(self, key, value):
        _inner(self, what="an assignment")[_inner(key, what="an index")] = _inner(value, what="an assignment")

    def view(self, dtype=None):
        return self._view(self._inner.view() if dtype is None else self._inner.view(dtype))


_MAYBE_VIEWS = "astype diagonal ravel reshape squeeze swapaxes transpose".split()  # which any device may make


def _method(name):
    def method(self, *arguments, **options):
        if name in _MAYBE_VIEWS:
            result = getattr(self._inner, name)(*arguments, **options)
            if np.may_share_memory(result, self._inner):
                return self._view(result)
        return wrapped(getattr(np.ndarray, name))(self, *arguments, **options)

    method.__name__ = name
    return method


for _name in """all any argmax argmin argsort astype clip conj copy cumsum diagonal dot fill flatten max mean min nonzero prod ravel repeat
                reshape round sort squeeze std sum swapaxes take trace transpose var""".split():
    setattr(ndarray, _name, _method(_name))


# ---- making arrays ------------------------------------------------------------------------------------------------------


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    return ndarray(prototype.shape if shape is None else shape, dtype or prototype.dtype)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, np.ma.MaskedArray):
        raise TypeError("CuPy has no masked arrays")
    inner = obj._inner if isinstance(obj, ndarray) else _foreign(obj)
    if (
        isinstance(obj, ndarray)
        and not copy
        and obj._device == cuda.runtime.getDevice()  # else it is copied to the current one
        and (dtype is None or obj.dtype == dtype)
        and (order in ("K", "A") or obj.flags.c_contiguous)
    ):
        return obj
    if isinstance(obj, (list, tuple)) and any(isinstance(x, ndarray) for x in obj):
        inner = np.stack([x._inner for x in obj])
    host = np.array(inner, dtype, order=order, ndmin=ndmin)
    made = ndarray(
        host.shape, host.dtype, order="F" if host.flags.f_contiguous and not host.flags.c_contiguous else "C"
    )
    made._inner[...] = host
    return made


def asarray(a, dtype=None, order=None, *, blocking=False):
    if not isinstance(a, ndarray) and hasattr(a, "__cuda_array_interface__") and dtype is None:
        return ndarray._around(_foreign(a))
    return array(a, dtype, copy=False, order=order or "K")


def ascontiguousarray(a, dtype=None):
    if isinstance(a, ndarray):
        if a.flags.c_contiguous and dtype in (None, a.dtype):
            return a
        _inner(a)  # unlike asarray(), this copies by a kernel of the current device
    made = asarray(a, dtype)
    return made if made.flags.c_contiguous else made.copy()


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a, order=order)


class _Memory:
    """Somebody else's memory, as numpy reads it."""

    def __init__(self, owner, interface):
        self.owner = owner
        self.__array_interface__ = {k: interface.get(k) for k in ("shape", "typestr", "data", "strides")} | {
            "version": 3
        }


class _HostCapsule:
    """Somebody else's DLPack capsule, said to be on the host: there it is."""

    def __init__(self, owner):
        self.owner = owner

    def __dlpack__(self, **options):
        return self.owner.__dlpack__()

    def __dlpack_device__(self):
        return (1, 0)


def _foreign(x):
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is None:
        return x
    if not interface["data"][0]:
        return np.empty(interface["shape"], interface["typestr"])
    return np.asarray(_Memory(x, interface))


def from_dlpack(array, *, device=None, copy=None):
    kind, index = array.__dlpack_device__()
    if kind not in (2, 13):
        raise BufferError(
            "CPU arrays cannot be directly imported to CuPy. Use `cupy.array(numpy.from_dlpack(input))` instead."
        )
    made = ndarray._around(array._inner if isinstance(array, ndarray) else np.from_dlpack(_HostCapsule(array)))
    made._device = int(index)
    return made
