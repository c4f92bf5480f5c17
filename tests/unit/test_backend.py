"""Devices and arrays: errors that say what is missing, and data that never moves behind the caller's back."""

import re
import sys
import types

import numpy as np
import pytest
from nnqft import _backend
from nnqft.errors import ArgumentError, DeviceError, ShapeError


# --- what is missing -------------------------------------------------------------------------------------------------


def pretend(
    monkeypatch, *, count=0, driver=0, reason="cudaErrorNoDevice: no CUDA-capable device is detected", cupy=None
):
    """A machine with this driver and these devices."""
    module = types.SimpleNamespace(
        device_count=lambda: count,
        driver_version=lambda: driver,
        runtime_version=lambda: 13000,
        no_device_reason=lambda: reason,
        device_properties=lambda i: {"name": f"device {i}"},
    )
    monkeypatch.setattr(_backend, "_load_cuda", lambda: (module, ""))
    monkeypatch.setattr(_backend, "_load_cupy", lambda: (cupy, "No module named 'cupy'"))


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:1 ", "cuda:\u0661", 0, None])
def test_a_device_is_cpu_or_cuda_or_cuda_with_a_number(device):
    with pytest.raises(ArgumentError, match=re.escape(f'device is {device!r}; expected "cpu", "cuda" or "cuda:N"')):
        _backend.philox_words(0, 0, n_nets=1, rows=1, columns=1, device=device)


def test_a_build_without_cuda_says_so_and_how_to_get_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "nnqft._cuda", None)  # import then raises ModuleNotFoundError
    monkeypatch.setattr(_backend, "_load_cuda", _backend._load_cuda.__wrapped__)
    message = 'device="cuda" needs a CUDA build of nnqft and a visible GPU: this build has no CUDA module'
    with pytest.raises(DeviceError, match=message) as caught:
        _backend.require_cuda("cuda")
    assert "NNQFT_CUDA=ON" in str(caught.value)
    assert _backend.devices() == []


def test_a_cuda_module_that_does_not_load_is_not_taken_for_a_missing_one(monkeypatch):
    def broken(name):
        raise ImportError("undefined symbol: cudaMalloc")

    monkeypatch.setattr(_backend.importlib, "import_module", broken)
    monkeypatch.setattr(_backend, "_load_cuda", _backend._load_cuda.__wrapped__)
    with pytest.raises(DeviceError, match=r"does not load \(undefined symbol: cudaMalloc\)"):
        _backend.require_cuda("cuda")


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        ({"driver": 0, "reason": "cudaErrorInsufficientDriver: too old"}, "no driver was found$"),
        (
            {"driver": 12040, "reason": "cudaErrorInsufficientDriver: too old"},
            "the driver supports CUDA 12.4, this build needs 13.0: update the driver$",
        ),
        ({"driver": 13000}, "the driver reports no device"),
        ({"driver": 13000, "reason": "cudaErrorSystemDriverMismatch: mixed"}, "cudaErrorSystemDriverMismatch: mixed$"),
    ],
)
def test_a_machine_without_a_device_says_why(monkeypatch, machine, message):
    pretend(monkeypatch, **machine)
    with pytest.raises(DeviceError, match='^device="cuda:0" needs a CUDA build of nnqft and a visible GPU: ' + message):
        _backend.require_cuda("cuda:0")
    assert _backend.devices() == []


def test_hidden_devices_are_named_in_the_message(monkeypatch):
    pretend(monkeypatch, driver=13000)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceError, match=re.escape("no device (CUDA_VISIBLE_DEVICES='-1')")):
        _backend.require_cuda("cuda")


def test_a_device_number_past_the_last_is_refused(monkeypatch):
    pretend(monkeypatch, count=2, driver=13000)
    with pytest.raises(DeviceError, match='device="cuda:2" does not exist; visible: cuda:0, cuda:1$'):
        _backend.require_cuda("cuda:2")
    assert [d["index"] for d in _backend.devices()] == [0, 1]


def test_missing_cupy_is_named_with_the_package_to_install(monkeypatch):
    pretend(monkeypatch, count=1, driver=13000)
    with pytest.raises(DeviceError, match=re.escape("pip install cupy-cuda13x (No module named 'cupy')")):
        _backend.require_cuda("cuda")


def test_cuda_without_a_number_is_the_current_device_of_cupy(monkeypatch):
    runtime = types.SimpleNamespace(getDevice=lambda: 1)
    pretend(monkeypatch, count=2, driver=13000, cupy=types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime)))
    assert _backend.require_cuda("cuda") == 1
    assert _backend.require_cuda("cuda:0") == 0


current_devices = []


class PretendCupy:
    """Just enough of CuPy: arrays with a pointer, a current device, a current stream."""

    class ndarray:
        def __init__(self, shape, dtype):
            self.shape, self.dtype, self.data = shape, np.dtype(dtype), types.SimpleNamespace(ptr=4096)

    class cuda:
        runtime = types.SimpleNamespace(getDevice=lambda: 0)

        class Device:
            def __init__(self, index):
                self.index = index

            def __enter__(self):
                current_devices.append(self.index)

            def __exit__(self, *error):
                current_devices.pop()

        @classmethod
        def get_current_stream(cls):
            return types.SimpleNamespace(ptr=70 + current_devices[-1])

    @classmethod
    def empty(cls, shape, dtype):
        return cls.ndarray(shape, dtype)


def test_kernels_get_the_address_the_memory_and_the_stream_of_their_device(monkeypatch):
    pretend(monkeypatch, count=2, driver=13000, cupy=PretendCupy)
    calls, cuda = [], _backend._load_cuda()[0]
    cuda.philox_words = cuda.normals = lambda *arguments: calls.append(arguments)
    a = {"n_nets": 2, "rows": 3, "columns": 4, "first_net": 5, "device": "cuda:1"}
    words, z = _backend.philox_words(6, 7, **a), _backend.normals(6, 7, sigma=0.5, **a)
    # device, seed, tensor, first_net, n_nets, rows, columns[, sigma], out, stream
    assert calls == [(1, 6, 7, 5, 2, 3, 4, 4096, 71), (1, 6, 7, 5, 2, 3, 4, 0.5, 4096, 71)]
    assert (words.shape, words.dtype, z.shape, z.dtype) == ((2, 3, 4), np.uint32, (2, 3, 4), np.float32)
    assert current_devices == []


def test_short_device_memory_is_a_device_error_with_the_size(monkeypatch):
    def short(shape, dtype):
        raise MemoryError

    pretend(monkeypatch, count=1, driver=13000, cupy=PretendCupy)
    monkeypatch.setattr(PretendCupy, "empty", short)
    with pytest.raises(
        DeviceError, match=re.escape("no room on the device for 4398046511104 bytes, shape (1073741824, 1024, 1)")
    ):
        _backend.philox_words(0, 0, n_nets=2**30, rows=2**10, columns=1, device="cuda")


# --- arrays ----------------------------------------------------------------------------------------------------------


def test_host_arrays_keep_their_memory_and_foreign_byte_order_becomes_native():
    x = np.arange(6.0).reshape(2, 3)
    assert _backend.asarray(x) is x and _backend.like(x, x) is x
    assert _backend.asarray(x[:, ::-1]).strides == (24, -8)
    swapped = _backend.asarray(x.astype(">f8"))
    assert swapped.dtype.isnative and np.array_equal(swapped, x)
    assert _backend.asarray(3.0).shape == ()


def test_dlpack_arrays_of_the_host_are_taken_without_a_copy():
    class Foreign:
        def __init__(self, data):
            self.data = data

        def __dlpack__(self, **options):
            return self.data.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.data.__dlpack_device__()

    x = np.arange(4.0)
    assert np.shares_memory(_backend.asarray(Foreign(x)), x)


@pytest.mark.parametrize("x", [["a", "b"], [[1.0], [1.0, 2.0]], np.array([None]), {"a": 1}])
def test_arguments_that_are_no_numbers_are_refused_by_name(x):
    with pytest.raises(ShapeError, match="^points "):
        _backend.asarray(x, name="points")


def test_masked_arrays_are_refused_because_the_mask_would_be_lost():
    with pytest.raises(ArgumentError, match="x is a masked array"):
        _backend.asarray(np.ma.masked_less(np.arange(3.0), 1.0))


def test_arrays_never_leave_their_device_behind_the_back_of_the_caller():
    class OnDevice:
        def __dlpack_device__(self):
            return (2, 1)

    with pytest.raises(ArgumentError, match='x lives on cuda:1 but the device asked for is "cpu"'):
        _backend.asarray(OnDevice())


@pytest.mark.gpu
def test_device_arrays_come_back_as_what_went_in(cupy):
    x = np.arange(6.0).reshape(2, 3)
    on_device = _backend.asarray(x, device="cuda")
    assert isinstance(on_device, cupy.ndarray) and _backend.asarray(on_device, device="cuda") is on_device
    assert isinstance(_backend.like(on_device, x), np.ndarray) and _backend.like(on_device, on_device) is on_device
    with pytest.raises(ArgumentError, match="x lives on cuda:"):
        _backend.asarray(on_device)
