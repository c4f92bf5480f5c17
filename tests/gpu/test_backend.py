"""Arrays, streams and devices under real launches."""

import gc
import threading
import time

import numpy as np
import pytest
from nnqft import _backend
from nnqft._device import on_each, paced
from nnqft.errors import ArgumentError

pytestmark = pytest.mark.gpu


def foreign(x, *names):
    """An array of another library, which speaks only these protocols."""
    return type("Foreign", (), {name: property(lambda self, name=name: getattr(x, name)) for name in names})()


@pytest.mark.parametrize("names", [("__dlpack__", "__dlpack_device__"), ("__cuda_array_interface__",)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_arrays_of_other_libraries_are_taken_without_a_copy(cupy, names, dtype):
    x = cupy.arange(12, dtype=dtype).reshape(3, 4)
    for view in (x, x[:, ::2], x[1:]):
        taken = _backend.asarray(foreign(view, *names), device="cuda")
        assert isinstance(taken, cupy.ndarray) and taken.data.ptr == view.data.ptr and taken.strides == view.strides
        assert np.array_equal(taken.get(), view.get())


def test_arrays_that_their_library_does_not_give_away_are_refused_by_name(cupy):
    class Tensor:
        def __dlpack_device__(self):
            return (2, cupy.cuda.runtime.getDevice())

        def __dlpack__(self, **options):
            raise BufferError("Can't export tensors that require gradient")

    with pytest.raises(ArgumentError, match="^weights cannot be shared with CuPy: .*require gradient"):
        _backend.asarray(Tensor(), device="cuda", name="weights")


def test_a_call_runs_where_its_arrays_are(cupy):
    x, host = cupy.ones(3), np.ones(3)
    here = f"cuda:{x.device.id}"
    assert _backend.place(None, x=x, y=None) == here and _backend.place("cuda", x=host) == here
    assert _backend.place(None, x=foreign(x, "__cuda_array_interface__")) == here
    assert _backend.place(None, x=host) == "cpu"
    with pytest.raises(ArgumentError, match=f'x lives on {here} but the device asked for is "cpu"'):
        _backend.place("cpu", x=x)


def test_numpy_never_gets_a_device_array_by_itself(cupy):
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(cupy.ones(3))
    with pytest.raises(TypeError, match="[Uu]nsupported type"):
        cupy.ones(3) + np.ones(3)


def test_empty_arrays_have_the_address_zero_and_strided_ones_none(cupy):
    assert _backend.address(cupy.empty((0, 3))) == 0
    with pytest.raises(ArgumentError, match="weights is not C-contiguous"):
        _backend.address(cupy.ones((4, 4)).T[:, :2], "weights")


def test_scratch_returns_to_the_pool(cupy):
    pool = cupy.get_default_memory_pool()
    gc.collect()
    before = pool.used_bytes()
    scratch = _backend.workspace(1 << 20)
    assert pool.used_bytes() >= before + (1 << 20)
    del scratch
    gc.collect()
    assert pool.used_bytes() == before


def test_steps_are_paced_and_reported_in_order(cupy):
    x, reports = cupy.zeros(4), []
    for step in paced(range(1, 6), report=reports.append, size=lambda step: step):
        x += step
    assert reports == [1, 3, 6, 10, 15]
    assert np.array_equal(x.get(), np.full(4, 15.0))


def test_an_interrupted_run_leaves_the_device_usable(cupy):
    x = cupy.zeros(4)
    with pytest.raises(KeyboardInterrupt):
        for step in paced(range(10)):
            x += 1
            if step == 3:
                raise KeyboardInterrupt
    assert np.array_equal(x.get(), np.full(4, 4.0))


def test_every_device_draws_the_same_numbers_in_a_thread_of_its_own(cupy):
    indices = list(range(cupy.cuda.runtime.getDeviceCount()))[:4]
    a = {"n_nets": 64, "rows": 5, "columns": 3}
    want = _backend.philox_words(1, 2, **a)

    def draw(index, stop):
        words = _backend.philox_words(1, 2, **a, device=f"cuda:{index}")
        assert words.device.id == index
        with _backend.on_device(index):
            return threading.get_ident(), words.get()

    for thread, words in on_each(indices, draw):
        assert np.array_equal(words, want)
        assert (thread == threading.get_ident()) == (len(indices) == 1)


def test_the_first_error_stops_the_other_devices(cupy):
    def work(worker, stop):
        if worker == 1:
            raise ArgumentError("no")
        deadline = time.monotonic() + 20
        for _ in paced(iter(int, 1), stop=stop):  # for ever
            assert time.monotonic() < deadline

    with pytest.raises(ArgumentError, match="no"):
        on_each([0, 1], work)
