"""Where numbers live: numpy arrays and `_core` on the CPU, CuPy arrays and `_cuda` on a CUDA device.

The only module that imports cupy, and only when a device is asked for. Nothing falls back from a device to the CPU:
`require_cuda` says what is missing. Kernels run on CuPy's current stream and return without waiting for it; what they need
comes from CuPy's pool, which hands memory on in the order of that stream, so that arrays may be dropped at once.
"""

import importlib
import operator
import os
import re
from contextlib import contextmanager
from functools import cache

import numpy as np

from . import _core
from .errors import ArgumentError, DeviceError, ShapeError

__all__ = [
    "address", "asarray", "cuda_module", "cupy_module", "devices", "empty", "like", "lives_on_device", "normals", "on_device", "on_host",
    "only_on_host", "philox_words", "pinned", "place", "require_cuda", "require_devices", "synchronize", "workspace",
]  # fmt: skip

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_DLPACK_HOST = (1, 3)  # kDLCPU, kDLCUDAHost
_DLPACK_CUDA = (2, 13)  # kDLCUDA, kDLCUDAManaged


@cache
def _load_cuda():
    """(`nnqft._cuda` or None, why it is missing)."""
    try:
        return importlib.import_module("nnqft._cuda"), ""
    except ModuleNotFoundError:
        hint = "with nvcc on PATH, run pip install . --config-settings=cmake.define.NNQFT_CUDA=ON in its source folder"
        return None, f"this build has no CUDA module ({hint})"
    except ImportError as error:
        return None, f"its CUDA module does not load ({error})"


@cache
def _load_cupy():
    """(cupy or None, why it is missing)."""
    try:
        return importlib.import_module("cupy"), ""
    except ImportError as error:
        return None, str(error)


def cuda_module():
    """`nnqft._cuda`, after `require_cuda` has found it."""
    return _load_cuda()[0]


def cupy_module():
    """cupy, after `require_cuda` has found it."""
    return _load_cupy()[0]


def _why_no_device(cuda):
    """Why `cuda.device_count()` is 0, in words that say what to do."""
    driver, needed = cuda.driver_version(), cuda.runtime_version()
    reason = cuda.no_device_reason()
    if driver == 0:
        return "no driver was found"
    if reason.startswith("cudaErrorInsufficientDriver"):
        release = [f"{v // 1000}.{v % 1000 // 10}" for v in (driver, needed)]
        return f"the driver supports CUDA {release[0]}, this build needs {release[1]}: update the driver"
    if reason.startswith("cudaErrorNoDevice"):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return "the driver reports no device" + (f" (CUDA_VISIBLE_DEVICES={visible!r})" if visible is not None else "")
    return reason


def devices():
    """CUDA devices that kernels can run on.

    Returns
    -------
    list of dict
        `index`, `name`, `compute_capability` (major, minor), `multiprocessors` and `memory` in bytes. Empty without a CUDA
        build, driver or device. The first call starts the driver, about 0.1 s.

    Examples
    --------
    >>> all({"index", "name", "memory"} <= set(d) for d in devices())
    True
    """
    cuda, _ = _load_cuda()
    if cuda is None:
        return []
    return [{"index": i, **cuda.device_properties(i)} for i in range(cuda.device_count())]


def require_cuda(device):
    """Index of the CUDA device that `device` names, or an error that says what is missing.

    Parameters
    ----------
    device : str
        "cuda" for CuPy's current device, or "cuda:N".

    Returns
    -------
    int
        Device index N.

    Raises
    ------
    ArgumentError
        If `device` is anything else.
    DeviceError
        If nnqft was built without CUDA, no driver or device is found, there is no device N, or CuPy is missing.

    Examples
    --------
    >>> require_cuda("gpu")
    Traceback (most recent call last):
    nnqft.errors.ArgumentError: device is 'gpu'; expected "cpu", "cuda" or "cuda:N"
    """
    match = re.fullmatch(r"cuda(?::(\d+))?", device, re.ASCII) if isinstance(device, str) else None
    if not match:
        raise ArgumentError(f'device is {device!r}; expected "cpu", "cuda" or "cuda:N"')
    need = f'device="{device}" needs a CUDA build of nnqft and a visible GPU: '
    cuda, missing = _load_cuda()
    if cuda is None:
        raise DeviceError(need + missing)
    count = cuda.device_count()
    if count == 0:
        raise DeviceError(need + _why_no_device(cuda))
    index = None if match[1] is None else int(match[1])
    if index is not None and index >= count:
        visible = ", ".join(f"cuda:{i}" for i in range(count))
        raise DeviceError(f'device="{device}" does not exist; visible: {visible}')
    cupy, missing = _load_cupy()
    if cupy is None:
        package = f"cupy-cuda{cuda.runtime_version() // 1000}x"
        raise DeviceError(
            f'device="{device}" needs CuPy for the memory of the device: pip install {package} ({missing})'
        )
    if getattr(cuda, "emulated", False) != getattr(cupy, "emulated", False):
        raise DeviceError("kernels and CuPy must both be emulated, or neither: rebuild nnqft with NNQFT_CUDA=ON")
    return cupy.cuda.runtime.getDevice() if index is None else index


def require_devices(device):
    """Indices of the CUDA devices that `device` names: one name, or several different ones.

    Parameters
    ----------
    device : str or sequence of str
        "cuda", "cuda:N", or a list of these.

    Returns
    -------
    list of int

    Raises
    ------
    ArgumentError
        If a name is something else, or names a device twice, or none is given.
    DeviceError
        As `require_cuda`.

    Examples
    --------
    >>> require_devices([])
    Traceback (most recent call last):
    nnqft.errors.ArgumentError: device is an empty list; expected "cpu", "cuda" or "cuda:N", or several of the latter
    """
    if not isinstance(device, (list, tuple)):
        return [require_cuda(device)]
    if not device:
        raise ArgumentError('device is an empty list; expected "cpu", "cuda" or "cuda:N", or several of the latter')
    indices = [require_cuda(name) for name in device]
    if len(set(indices)) < len(indices):
        raise ArgumentError(f"device is {list(device)}; each device can be named once")
    return indices


@contextmanager
def on_device(index):
    """Make device `index` current for CuPy, and give its current stream as an integer for `_cuda`; CuPy's errors are DeviceErrors."""
    cupy, _ = _load_cupy()
    try:
        with cupy.cuda.Device(index):
            yield cupy.cuda.get_current_stream().ptr
    except (MemoryError, RuntimeError) as error:
        if not type(error).__module__.startswith("cupy"):  # cupy_backends, too
            raise
        remedy = ": ask for less at a time, or free some" if isinstance(error, MemoryError) else ""
        raise DeviceError(f"cuda:{index}: {str(error).rstrip('.')}{remedy}") from error


def empty(shape, dtype):
    """Uninitialised CuPy array on the current device and stream; DeviceError, with the size, if memory is short."""
    cupy, _ = _load_cupy()
    try:
        return cupy.empty(shape, dtype)
    except MemoryError as error:
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object))
        raise DeviceError(
            f"no room on the device for {size} bytes, shape {tuple(shape)}: ask for fewer nets at a time"
        ) from error


def pinned(shape, dtype):
    """Uninitialised numpy array in memory that a device copies to without waiting; DeviceError if there is too little."""
    try:
        return importlib.import_module("cupyx").empty_pinned(shape, dtype)
    except (MemoryError, cupy_module().cuda.runtime.CUDARuntimeError) as error:
        raise DeviceError(f"no room for {shape} numbers in pinned memory: ask for fewer at a time") from error


def synchronize():
    """Wait for the current device's current stream."""
    cupy_module().cuda.get_current_stream().synchronize()


def workspace(size):
    """`size` bytes of scratch on the current device and stream: an array that its last user may simply drop."""
    return empty((size,), np.uint8)


def address(x, name="x"):
    """The address of a CuPy array as an integer for `_cuda`; 0 of an empty one. ArgumentError unless it is C-contiguous."""
    if not x.flags.c_contiguous:
        raise ArgumentError(f"{name} is not C-contiguous: pass cupy.ascontiguousarray({name})")
    return x.data.ptr


def _dlpack_device(x):
    """(kind, index) of an array that speaks DLPack or the CUDA array interface, else (kDLCPU, 0)."""
    if hasattr(x, "__dlpack_device__"):
        try:
            kind, index = x.__dlpack_device__()
        except (BufferError, NotImplementedError, ValueError) as error:
            raise ArgumentError(f"the {type(x).__name__} lies neither in main memory nor on a CUDA device ({error}): move it there") from None
        return int(kind), int(index)
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is None:
        return 1, 0
    pointer = interface["data"][0]
    cupy, missing = _load_cupy()
    if cupy is None:
        raise DeviceError(f"an array on a CUDA device needs CuPy ({missing})")
    if not pointer:
        return 2, cupy.cuda.runtime.getDevice()
    return 2, cupy.cuda.runtime.pointerGetAttributes(pointer).device


def place(device=None, **arrays):
    """Where a call runs: "cpu" or "cuda:N", from its `device` and its arrays.

    Parameters
    ----------
    device : str, optional
        "cpu", "cuda" or "cuda:N". Default: where the arrays are.
    arrays
        The array arguments by name, None for those that are not given.

    Returns
    -------
    str

    Raises
    ------
    ArgumentError
        If an array lives on a device other than the one asked for, or arrays live on different ones.
    DeviceError
        If the device is missing (`require_cuda`).

    Examples
    --------
    >>> place(None, x=np.ones(3)), place("cpu", x=[1, 2])
    ('cpu', 'cpu')
    """
    lives = {name: index for name, x in arrays.items() if x is not None for kind, index in [_dlpack_device(x)] if kind in _DLPACK_CUDA}
    if device is None:
        if len(set(lives.values())) > 1:
            raise ArgumentError("arrays on different devices: " + ", ".join(f"{name} on cuda:{i}" for name, i in lives.items()))
        device = f"cuda:{next(iter(lives.values()))}" if lives else "cpu"
    if isinstance(device, str) and device == "cpu":
        for name, index in lives.items():
            raise ArgumentError(
                f'{name} lives on cuda:{index} but the device asked for is "cpu": pass that device, or copy {name} to the CPU'
            )
        return device
    wanted = require_cuda(device)
    for name, index in lives.items():
        if index != wanted:
            raise ArgumentError(
                f'{name} lives on cuda:{index} but the device asked for is cuda:{wanted}: pass device="cuda:{index}"'
            )
    return f"cuda:{wanted}"


def _host_array(x, name):
    kind, index = _dlpack_device(x)
    if kind not in _DLPACK_HOST:
        where = f"cuda:{index}" if kind in _DLPACK_CUDA else f"a device of DLPack type {kind}"
        raise ArgumentError(
            f'{name} lives on {where} but the device asked for is "cpu": pass that device, or copy {name} to the CPU'
        )
    if isinstance(x, np.ma.MaskedArray):
        raise ArgumentError(
            f"{name} is a masked array; masks are not supported: pass {name}.filled(value) or {name}.compressed()"
        )
    try:
        array = np.asarray(x) if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack__") else np.from_dlpack(x)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise ShapeError(f"{name} is no array of numbers: {error}") from error
    if array.dtype.kind not in "biufc":
        raise ShapeError(f"{name} has dtype {array.dtype}; expected numbers")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def asarray(x, *, device="cpu", name="x"):
    """`x` as an array of the library that works on `device`: numpy for "cpu", CuPy for "cuda".

    Parameters
    ----------
    x : array or nested sequence
        numpy, CuPy, or anything with DLPack or the CUDA array interface (taken without a copy). Any shape and numeric dtype, kept as they are; foreign
        byte order becomes native.
    device : str
        "cpu", "cuda" or "cuda:N". Host data goes to the device, as `device` asks; data on a device never moves.
    name : str
        The argument's name, for messages.

    Returns
    -------
    numpy.ndarray or cupy.ndarray

    Raises
    ------
    ArgumentError
        If `x` lives on another device, is masked, or is not given away by its library.
    ShapeError
        If `x` holds no numbers.
    DeviceError
        If the device is missing (`require_cuda`).

    Examples
    --------
    >>> asarray([[0, 1], [2, 3]]).shape
    (2, 2)
    """
    if isinstance(device, str) and device == "cpu":
        return _host_array(x, name)
    wanted = require_cuda(device)
    cupy, _ = _load_cupy()
    kind, index = _dlpack_device(x)
    if kind in _DLPACK_CUDA and index != wanted:
        raise ArgumentError(
            f'{name} lives on cuda:{index} but the device asked for is cuda:{wanted}: pass device="cuda:{index}"'
        )
    with on_device(wanted):
        if kind not in _DLPACK_CUDA:
            return cupy.asarray(_host_array(x, name))
        if isinstance(x, cupy.ndarray):
            return x
        try:
            return cupy.from_dlpack(x) if hasattr(x, "__dlpack__") else cupy.asarray(x)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:  # such as a tensor of torch that wants gradients
            raise ArgumentError(f"{name} cannot be shared with CuPy: {error}") from error


def lives_on_device(x):
    """Whether `x` is an array on a CUDA device."""
    return x is not None and _dlpack_device(x)[0] in _DLPACK_CUDA


def only_on_host(who, **arrays):
    """ArgumentError if an array lives on a device, where `who` has no kernels."""
    for name, x in arrays.items():
        if lives_on_device(x) or type(x).__module__.startswith("cupyx"):
            raise ArgumentError(f"{who} runs on the CPU only, {name} lives on a CUDA device: pass {name}.get()")


def on_host(x):
    """`x` as a numpy array if it lives on a device (waits for its stream), else as it is."""
    return asarray(x, device=f"cuda:{_dlpack_device(x)[1]}").get() if lives_on_device(x) else x


def like(result, x):
    """`result` where `x` lives: as it is if `x` is on a device, else as a numpy array (waits for the stream)."""
    if isinstance(result, np.ndarray) or _dlpack_device(x)[0] in _DLPACK_CUDA:
        return result
    return result.get()


def _address(seed, tensor, first_net, n_nets, rows, columns):
    """The arguments as integers, checked against the limits of an address (csrc/core/philox.hpp)."""
    given = {"seed": seed, "tensor": tensor, "first_net": first_net, "n_nets": n_nets, "rows": rows, "columns": columns}
    powers = {"seed": 64, "tensor": 16, "first_net": 48, "n_nets": 48, "rows": 34, "columns": 32}
    values = {}
    for name, value in given.items():
        try:
            values[name] = operator.index(value)
        except TypeError:
            raise ArgumentError(f"{name} is {value!r}; expected an integer") from None
        limit = 2 ** powers[name] - (name in ("seed", "tensor"))
        if not 0 <= values[name] <= limit:
            raise ArgumentError(f"{name} is {values[name]}; expected 0 to {limit}")
    if values["first_net"] + values["n_nets"] > 2**48:
        raise ArgumentError(f"nets {values['first_net']} + {values['n_nets']} go past the last one, 2^48 - 1")
    if values["n_nets"] * values["rows"] * values["columns"] > 2**60:
        raise ArgumentError(
            f"{values['n_nets']} x {values['rows']} x {values['columns']} numbers do not fit in any memory"
        )
    return tuple(values.values())


def philox_words(seed, tensor, *, n_nets, rows, columns, first_net=0, device="cpu"):
    """Random words at the addresses (seed, net, tensor, row, column): the same bits on every device.

    Element (row, column) of net n is word row % 4 of Philox4x32-10 with counter (column, row // 4, n mod 2^32,
    n // 2^32 + 2^16 tensor) and key `seed`.

    Parameters
    ----------
    seed : int
        Key, 0 to 2^64 - 1.
    tensor : int
        Number of the tensor within a net, below 2^16.
    n_nets, rows, columns : int
        Shape of the result. A net number stays below 2^48, a row below 2^34, a column below 2^32.
    first_net : int
        Number of the first net.
    device : str
        "cpu", "cuda" or "cuda:N"; on a device the result comes from CuPy's current stream, without waiting for it.

    Returns
    -------
    array, shape (n_nets, rows, columns), uint32
        numpy on the CPU, CuPy on a device. Dimensionless, uniform over all 2^32 words.

    Raises
    ------
    ArgumentError
        If a number is no integer or out of range.
    DeviceError
        If the device is missing, or its memory too small.

    Notes
    -----
    Exact. Cost O(n_nets * rows * columns), one Philox evaluation per four rows. Salmon, Moraes, Dror and Shaw, "Parallel
    random numbers: as easy as 1, 2, 3", SC11 (2011).

    Examples
    --------
    >>> [f"{word:08x}" for word in philox_words(0, 0, n_nets=1, rows=4, columns=1).ravel()]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    address = _address(seed, tensor, first_net, n_nets, rows, columns)
    if isinstance(device, str) and device == "cpu":
        return _core.philox_words(*address)
    index = require_cuda(device)
    with on_device(index) as stream:
        out = empty(address[3:], np.uint32)
        _load_cuda()[0].philox_words(index, *address, out.data.ptr, stream)
    return out


def normals(seed, tensor, *, n_nets, rows, columns, sigma=1.0, first_net=0, device="cpu"):
    """Normal random numbers at the addresses of `philox_words`: the same bits on every device.

    Box-Muller: rows 4g and 4g + 1 share the words 0 and 1 of their block, rows 4g + 2 and 4g + 3 the words 2 and 3.

    Parameters
    ----------
    seed, tensor, n_nets, rows, columns, first_net, device
        As in `philox_words`.
    sigma : float
        Standard deviation, rounded to float32; its unit is the result's.

    Returns
    -------
    array, shape (n_nets, rows, columns), float32
        numpy on the CPU, CuPy on a device. |z| <= 6.7638 sigma.

    Raises
    ------
    ArgumentError
        If a number is out of range, or `sigma` negative or not finite.
    DeviceError
        If the device is missing, or its memory too small.

    Notes
    -----
    Relative error of a number: a few ulp; the bound on |z| cuts off a probability of 1.4e-11. Cost as `philox_words`, plus one
    logarithm, root, sine and cosine per pair. Box and Muller, Ann. Math. Statist. 29 (1958) 610.

    Examples
    --------
    >>> z = normals(0, 0, n_nets=1000, rows=8, columns=2, sigma=2.0)
    >>> z.shape, bool(abs(z.std() - 2.0) < 0.1)
    ((1000, 8, 2), True)
    """
    address = _address(seed, tensor, first_net, n_nets, rows, columns)
    try:
        scale = float(sigma)
    except (TypeError, ValueError):
        raise ArgumentError(f"sigma is {sigma!r}; expected a number") from None
    if not 0 <= scale <= _FLOAT32_MAX:
        raise ArgumentError(f"sigma is {sigma}; expected a finite standard deviation >= 0")
    if isinstance(device, str) and device == "cpu":
        return _core.normals(*address, scale)
    index = require_cuda(device)
    with on_device(index) as stream:
        out = empty(address[3:], np.float32)
        _load_cuda()[0].normals(index, *address, scale, out.data.ptr, stream)
    return out
