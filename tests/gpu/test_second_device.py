"""All families on cuda:1 while cuda:0 is current: nothing runs, or allocates, on the wrong device."""

import nnqft
import numpy as np
import pytest
from nnqft import _backend
from nnqft.ensemble import correlators, outputs
from nnqft.hessian import Hessian
from nnqft.lanczos import as_operator, lanczos, slq
from nnqft.wick import MomentAccumulator, hafnian, hafnian_batch, moments, wick_all

pytestmark = pytest.mark.gpu

RNG = np.random.default_rng(8)
A = RNG.standard_normal((40, 40))
A = A + A.T


@pytest.fixture
def there(cupy):
    """there(x): x on cuda:1, which is not the current device."""
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("this machine has one device")

    def put(x):
        with cupy.cuda.Device(1):
            return cupy.asarray(x)

    assert cupy.cuda.runtime.getDevice() == 0
    yield put
    assert cupy.cuda.runtime.getDevice() == 0


def check(got, want, tolerance=1e-12):
    assert got.device.id == 1
    np.testing.assert_allclose(got.get(), want, rtol=0, atol=tolerance * (1 + np.abs(want).max()))


def test_random_numbers(there):
    a = {"seed": 1, "tensor": 2, "n_nets": 4, "rows": 5, "columns": 3}
    check(_backend.normals(**a, device="cuda:1"), _backend.normals(**a))


def test_ensembles(there):
    net, X = nnqft.networks.erf_net(5, dim_in=1), np.array([[-1.0], [0.5]])
    sums = lambda **k: correlators(net, X, n_nets=300, block=16, seed=3, **k)._state()[1]["limbs"]
    assert np.array_equal(sums(device="cuda:1"), sums())
    check(outputs(net, there(X), stop=7, seed=1), outputs(net, X, stop=7, seed=1), 0)


def test_hafnians(there):
    K = A[:8, :8] / 8
    assert hafnian(there(K)) == hafnian(K)
    index = RNG.integers(0, 8, (9, 10))
    check(hafnian_batch(there(K), there(index[:, ::2][:, :4])), hafnian_batch(K, index[:, ::2][:, :4]), 0)
    matrices = np.stack([K, 2 * K, 3 * K])
    check(hafnian_batch(there(matrices), mu=there(np.ones((3, 8)))), hafnian_batch(matrices, mu=np.ones((3, 8))), 0)
    check(hafnian_batch(there(matrices.transpose(0, 2, 1)[::-1])), hafnian_batch(matrices[::-1]), 0)
    assert np.array_equal(wick_all(K, 4, device="cuda:1").mean, wick_all(K, 4).mean)


def test_moments(there):
    F, w = RNG.standard_normal((700, 3)), RNG.random(700)
    got, want = moments(there(F[::2]), weights=there(w[::2])), moments(F[::2], weights=w[::2])
    assert all(
        np.array_equal(got[n].mean, want[n].mean) and np.array_equal(got[n].stderr, want[n].stderr) for n in want
    )
    total = MomentAccumulator(3, block=64)
    total.push(there(F))
    assert total.n_samples == 700


@pytest.mark.parametrize("order", ["C", "F"])
def test_dense_operators_and_lanczos(there, order):
    op = as_operator(there(np.asarray(A, order=order)))
    x = RNG.standard_normal((40, 3))
    check(op @ there(x), A @ x)
    check((2.0 * op - op) @ there(x[:, 0]), A @ x[:, 0])
    check(op.restrict(slice(3, 20)).matmat(there(x[3:20])), A[3:20, 3:20] @ x[3:20])
    v0 = RNG.standard_normal((6, 40))[::2]
    got, want = lanczos(op, 12, v0=there(v0)), lanczos(A, 12, v0=v0)
    np.testing.assert_allclose(got.alpha, want.alpha, atol=1e-9)
    got = lanczos(op, 12, probes=2, seed=1, basis=True)
    assert got.basis.device.id == 1
    slq(op, probes=2, k=10, seed=0)


def test_sparse_operators(there):
    import cupy
    from cupyx.scipy.sparse import csr_matrix
    from scipy.sparse import csr_array

    host = csr_array(np.where(np.abs(A) > 1, A, 0.0))
    with cupy.cuda.Device(1):
        S = csr_matrix(tuple(cupy.asarray(x) for x in (host.data, host.indices, host.indptr)), shape=host.shape)
    x = RNG.standard_normal(40)
    check(as_operator(S) @ there(x), host @ x)
    np.testing.assert_allclose(lanczos(S, 9, seed=2).alpha, lanczos(host, 9, seed=2).alpha, atol=1e-9)


def test_callables(there):
    matrix = there(A)
    got = lanczos(as_operator(lambda x: matrix @ x, n=40, device="cuda:1"), 9, seed=2)
    np.testing.assert_allclose(got.alpha, lanczos(A, 9, seed=2).alpha, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_hessians(there, dtype):
    net = nnqft.networks.relu_net(9, dim_in=6).draw(0, seed=1)
    X, y = RNG.standard_normal((30, 6)), np.sign(RNG.standard_normal((30, 1)))
    options = {"loss": "squared_hinge", "dtype": dtype, "weight_decay": 0.1}
    got = Hessian(net, there(X[::-1]), there(y), **options)
    want = Hessian(net, X[::-1].copy(), y, **options)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    x = RNG.standard_normal((want.shape[1], 2)).astype(dtype)
    check(got @ there(x), want @ x, tolerance)
    check(got.matvec(there(x[:, 0])), want @ x[:, 0], tolerance)
    check(got.dense(), want.dense(), tolerance)
    check(got.gradient, want.gradient, tolerance)
    check(got.theta, want.theta, tolerance)
    check(got.blocks(0, 1).dense(), want.blocks(0, 1).dense(), tolerance)
    check(
        got.blocks(0, 1).rmatvec(there(x[: got.blocks(0, 1).shape[0], 0])),
        want.blocks(0, 1).rmatvec(x[: got.blocks(0, 1).shape[0], 0]),
        tolerance,
    )
    check(
        got.entries(there(np.array([3, 5, 1])), np.array([2, 2, 0])),
        want.entries(np.array([3, 5, 1]), np.array([2, 2, 0])),
        tolerance,
    )
    np.testing.assert_allclose(lanczos(got, 8, seed=3).alpha, lanczos(want, 8, seed=3).alpha, atol=1e3 * tolerance)
