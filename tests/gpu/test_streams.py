"""Streams: what returns without waiting, calls that share a device, Ctrl-C in the middle, results beyond 24 GB."""

import os
import signal
import threading
import time

import nnqft
import numpy as np
import pytest
import scipy.sparse
from nnqft import wick
from nnqft.ensemble import outputs
from nnqft.hessian import Hessian
from nnqft.lanczos import LanczosState, as_operator, lanczos

pytestmark = pytest.mark.gpu

RNG = np.random.default_rng(3)
NET = nnqft.networks.erf_net(9, dim_in=3)
X, Y = RNG.standard_normal((40, 3)), RNG.standard_normal((40, 1))
A = RNG.standard_normal((30, 30))
A = A + A.T


def sparse(cupy, matrix):
    from cupyx.scipy.sparse import csr_matrix

    matrix = scipy.sparse.csr_array(matrix)
    return csr_matrix(tuple(map(cupy.asarray, (matrix.data, matrix.indices, matrix.indptr))), matrix.shape)


def laplacian(n):
    return scipy.sparse.diags_array([np.full(n, 2.0), -np.ones(n - 1), -np.ones(n - 1)], offsets=[0, 1, -1])


def test_outputs_and_products_return_without_waiting(cupy, monkeypatch):
    if not getattr(cupy, "emulated", False):
        pytest.skip("waits are seen in the stand-in for CuPy")
    H = Hessian(NET.draw(0, seed=1), X, Y, loss="mse", device="cuda")
    block = H.blocks(0, 1)
    operators = [as_operator(cupy.asarray(A)), as_operator(sparse(cupy, A)), as_operator(lambda x: 2 * x, n=30, device="cuda")]
    points, many = cupy.asarray(X[:5]), cupy.asarray(RNG.standard_normal((30, 4)))
    v, w = cupy.ones((H.shape[0], 3)), cupy.ones(block.shape[1])

    read = []

    def waits(x=None, *arguments, **options):
        if x is points:
            return read.append(x) or X[:5]
        raise AssertionError("this call waits for the device")

    for owner, names in {
        cupy.ndarray: ["get", "item", "tolist", "__bool__", "__float__", "__int__", "__index__"],
        cupy.cuda.Stream: ["synchronize"],
        cupy.cuda.Event: ["synchronize"],
        cupy.cuda.Device: ["synchronize"],
        cupy.cuda.runtime: ["deviceSynchronize", "streamSynchronize"],
        cupy: ["asnumpy"],
    }.items():
        for name in names:
            monkeypatch.setattr(owner, name, waits)
    with pytest.raises(AssertionError, match="waits"):
        lanczos(operators[0], 2)
    results = [op @ many for op in operators] + [H @ v, H @ v[:, 0], block @ w, block.rmatvec(v[: block.shape[0], 0]), H.gradient]
    assert not read
    results.append(outputs(NET, points, stop=50, seed=1))
    assert len(read) == 1  # the host reads the points, before it queues anything
    monkeypatch.undo()
    np.testing.assert_allclose(results[1].get(), A @ many.get(), atol=1e-12)
    assert np.array_equal(results[-1].get(), outputs(NET, X[:5], stop=50, seed=1))


def calls(cupy):
    """name: call() -> array; each on whatever stream is current."""
    K, F = RNG.standard_normal((14, 14)), RNG.standard_normal((3000, 4))
    K = K + K.T
    index = RNG.integers(0, 14, (5000, 6))
    net = NET.draw(0, seed=1)
    v = np.ones((46, 4))
    there = cupy.asarray
    return {
        "hafnian": lambda: wick.hafnian(there(K)),
        "index batch": lambda: wick.hafnian_batch(K, there(index)),
        "all multisets": lambda: wick.wick_all(there(K[:5, :5].copy()), 6).mean,
        "moments": lambda: wick.moments(there(F), orders=(2, 4))[4].mean,
        "Hessian": lambda: Hessian(net, there(X), Y, loss="mse") @ there(v),
        "gradient": lambda: Hessian(net, there(X), Y, loss="mse").gradient,
    }


@pytest.mark.parametrize("name", ["hafnian", "index batch", "all multisets", "moments", "Hessian", "gradient"])
def test_calls_on_two_streams_do_not_disturb_each_other(cupy, name):
    call = calls(cupy)[name]
    bits = lambda x: (x.get() if isinstance(x, cupy.ndarray) else np.asarray(x)).tobytes()
    want = bits(call())
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    results = []
    for _ in range(3):
        for stream in streams:
            with stream:
                results.append((stream, call()))
    for stream, result in results:
        stream.synchronize()
        assert bits(result) == want


def test_ctrl_c_ends_a_run_of_lanczos_which_resumes_to_the_same_bits(cupy):
    n = 20_000
    matrix, state = sparse(cupy, laplacian(n)), LanczosState()
    options = {"probes": 2, "seed": 1, "reorth": "none", "check_symmetric": False}

    def press():  # SIGINT, as a terminal sends it, once steps are under way
        while state._core is None:
            time.sleep(1e-3)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        lanczos(matrix, n, state=state, **options)
        thread.join()
    done = int(state.steps.min())
    assert 0 < done < n and np.array_equal(state.steps, [done, done])
    resumed = lanczos(matrix, done + 3, state=state, reorth="none", seed=1)
    whole = lanczos(matrix, done + 3, **options)
    assert np.array_equal(resumed.alpha, whole.alpha) and np.array_equal(resumed.beta, whole.beta)


def test_moments_of_twenty_six_gigabytes_of_samples_are_exact(cupy):
    rows, m = (1 << 31) + (1 << 20) + 7, 3
    if cupy.cuda.runtime.memGetInfo()[0] < 32e9:
        pytest.skip("needs 32 GB of free memory on the device")
    F = cupy.empty((rows, m), np.float32)
    F[...] = cupy.asarray(np.array([1.0, 2.0, -3.0], np.float32))
    F[-1] = 0.0  # counted only if the last row, beyond 2^31, is read
    got = wick.moments(F, orders=2, stderr=False)[2].mean
    share = (rows - 1) / rows
    np.testing.assert_allclose(got, share * np.array([1.0, 2.0, -3.0, 4.0, -6.0, 9.0]), rtol=4e-16)
