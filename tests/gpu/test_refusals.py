"""Arrays and operators on a device where there is no kernel for them: errors that say so, and sums of operators that work."""

import importlib

import nnqft
import numpy as np
import pytest
import scipy.sparse
from nnqft.errors import ArgumentError, DeviceError
from nnqft.hessian import Hessian, Jacobian, variance_profile
from nnqft.lanczos import as_operator, gram, lanczos, outliers, singular_values
from nnqft.wick import hafnian_batch

pytestmark = pytest.mark.gpu

NET = nnqft.networks.relu_net(4, dim_in=3).draw(0, seed=1)
X, Y = np.random.default_rng(0).standard_normal((7, 3)), np.array([1.0, -1, 1, 1, -1, 1, -1])


def test_the_gram_operator_and_singular_values_of_a_dense_matrix_are_those_of_the_cpu(cupy):
    for shape in ((5, 8), (8, 5)):
        J = np.random.default_rng(1).standard_normal(shape)
        x = np.arange(1.0, shape[1] + 1)
        np.testing.assert_allclose((gram(cupy.asarray(J)) @ cupy.asarray(x)).get(), J.T @ (J @ x), rtol=1e-13, atol=1e-12)
        got, want = (singular_values(a, 5, probes=2, seed=3) for a in (cupy.asarray(J), J))
        np.testing.assert_allclose(got.nodes, want.nodes, rtol=1e-9)


def test_what_takes_no_array_of_a_device_says_so(cupy):
    sparse = importlib.import_module("cupyx.scipy.sparse")
    H, there = Hessian(NET, X, Y, loss="hinge", device="cuda"), cupy.asarray
    matrix = there(np.eye(60))
    for what, call in {
        r"gram\(\) of a sparse matrix runs on the CPU only, J lives": lambda: gram(sparse.csr_matrix(scipy.sparse.csr_array(np.eye(3)))),
        r"variance_profile\(\) runs on the CPU only": lambda: variance_profile(H, [12, 4]),
        r"variance_profile\(\) runs on the CPU": lambda: variance_profile(matrix, [30, 30]),
        r"Jacobian\(\) runs on the CPU only, X lives on a CUDA device: pass X.get\(\)": lambda: Jacobian(NET, there(X)),
        "y lives on a CUDA device, the Hessian in main memory": lambda: Hessian(NET, X, there(Y), loss="hinge"),
        "sample_weight lives on a CUDA device": lambda: Hessian(NET, X, Y, loss="hinge", sample_weight=there(np.ones(7))),
        r"outliers\(\) runs on the CPU only": lambda: outliers(matrix, 2),
        "restart=True runs on the CPU only": lambda: lanczos(matrix, 2, restart=True),
    }.items():
        with pytest.raises(ArgumentError, match=what):
            call()


@pytest.mark.parametrize("n", [0, -1, 2.5, "a", None])
def test_the_size_of_a_callable_is_checked_as_on_the_cpu(cupy, n):
    messages = []
    for device in ("cuda", "cpu"):
        with pytest.raises(ArgumentError) as error:
            as_operator(lambda x: x, n=n, device=device)
        messages.append(str(error.value).replace(', device="cuda"', ""))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "combined",
    [lambda H: 2 * H, lambda H: H * 2, lambda H: H + H, lambda H: np.float64(3) * H - H, lambda H: -H, lambda H: H - 1.0, lambda H: 1.0 - H, lambda H: H @ H],
)  # fmt: skip
def test_sums_multiples_and_products_of_hessians_are_operators(cupy, combined):
    there, here = (Hessian(NET, X, Y, loss="mse", device=device) for device in ("cuda", "cpu"))
    v = np.random.default_rng(2).standard_normal((here.shape[0], 2))
    op = combined(there)
    np.testing.assert_allclose((op @ cupy.asarray(v)).get(), combined(as_operator(here)) @ v, rtol=0, atol=1e-12)
    assert lanczos(op, 3).alpha.shape == (1, 3)


def test_a_block_that_is_not_symmetric_has_products_with_vectors_alone(cupy):
    H = Hessian(NET, X, Y, loss="mse", device="cuda")
    block = H.blocks(0, 1)
    for call in (lambda: 2 * block, lambda: block + block, lambda: -block, lambda: block @ H):
        with pytest.raises(ArgumentError, match=r"layers \(0,\) and \(1,\) is not symmetric"):
            call()
    with pytest.raises(ArgumentError, match="no powers"):
        H**2
    own = H.blocks(1, 1)
    v = cupy.ones(4)
    np.testing.assert_array_equal((2 * own @ v).get(), 2 * (own @ v).get())


def test_what_cupy_raises_is_a_device_error(cupy, monkeypatch):
    pool = cupy.get_default_memory_pool()
    limit = pool.get_limit()
    matrices = np.ones((1 << 15, 8, 8))
    try:
        pool.set_limit(size=pool.used_bytes() + (1 << 20))
        with pytest.raises(DeviceError, match="cuda:0: Out of memory allocating .*: ask for less"):
            hafnian_batch(matrices, device="cuda")
    finally:
        pool.set_limit(size=limit)
    from nnqft import _backend

    with pytest.raises(DeviceError, match="CUDA error|cudaError"), _backend.on_device(0):
        cupy.cuda.runtime.setDevice(1 << 20)
    with pytest.raises(RuntimeError, match="mine"), _backend.on_device(0):
        raise RuntimeError("mine")  # nobody else's is touched
