"""Hessians of networks on a device against the CPU's."""

from itertools import combinations

import nnqft
import numpy as np
import pytest
from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import Hessian
from nnqft.lanczos import lanczos, slq

pytestmark = pytest.mark.gpu

LOSSES = ["hinge", "squared_hinge", "logistic", "mse", "linear", "cross_entropy"]


def problem(loss, samples=70, dim_in=6, dim_out=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((samples, dim_in))
    if loss == "cross_entropy":
        return X, rng.integers(0, dim_out, samples)
    return X, np.sign(rng.standard_normal((samples, dim_out)))


def nets():
    yield "relu", nnqft.networks.relu_net(9, dim_in=6).draw(0, seed=1)
    yield (
        "deep",
        nnqft.networks.mlp(6, [7, 5, 4], activation="tanh", dim_out=3, sigma_w=1.3, sigma_b=0.4).draw(2, seed=3),
    )
    yield "gauss", nnqft.networks.gauss_net(8, dim_in=6).draw(1, seed=2)
    yield "biased", nnqft.networks.mlp(6, [7, 5], activation="relu", sigma_b=0.4).draw(2, seed=3)


NETS = dict(nets())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("loss", LOSSES)
def test_products_risk_and_gradient_are_those_of_the_cpu(cupy, loss, name, dtype):
    net = NETS[name]
    if loss == "cross_entropy" and net.dim_out == 1:
        net = NETS["deep"]
    X, y = problem(loss, dim_out=net.dim_out)
    options = {"loss": loss, "dtype": dtype, "weight_decay": 0.01}
    weight = np.random.default_rng(4).random(len(X))
    for part in ("full", "residual", "ggn", "empirical_fisher"):
        want = Hessian(net, X, y, part=part, sample_weight=weight, **options)
        got = Hessian(net, cupy.asarray(X), cupy.asarray(y), part=part, sample_weight=cupy.asarray(weight), **options)
        assert isinstance(got, Hessian) and got.n_active == want.n_active and got.shape == want.shape
        V = np.random.default_rng(5).standard_normal((want.shape[1], 3)).astype(dtype)
        expected = want @ V
        # Sums of 70 samples and at most 9 neurons, layer by layer.
        bound = 64 * np.finfo(dtype).eps * (1.0 + np.abs(expected).max())
        np.testing.assert_allclose((got @ cupy.asarray(V)).get(), expected, rtol=0, atol=bound)
        np.testing.assert_allclose((got @ cupy.asarray(V[:, 1])).get(), expected[:, 1], rtol=0, atol=bound)
    assert got.risk == pytest.approx(want.risk, rel=1e-13)
    np.testing.assert_allclose(
        got.gradient.get(), want.gradient, rtol=0, atol=1e-13 * (1 + np.abs(want.gradient).max())
    )
    np.testing.assert_array_equal(got.theta.get(), want.theta)


@pytest.mark.parametrize("name", ["deep", "biased"])
def test_one_vector_and_many_in_lockstep_have_the_same_bits(cupy, name):
    net = NETS[name]
    X, y = problem("mse", dim_out=net.dim_out)
    H = Hessian(net, X, y, loss="mse", device="cuda", dtype="float32")
    V = cupy.asarray(np.random.default_rng(1).standard_normal((H.shape[0], 5)).astype(np.float32))
    together = (H @ V).get()
    for c in range(5):
        assert np.array_equal((H @ V[:, c]).get(), together[:, c])
    assert np.array_equal((H @ V).get(), together)


@pytest.mark.parametrize("loss", ["hinge", "logistic"])  # without and with curvature
@pytest.mark.parametrize("name", ["relu", "biased"])
def test_blocks_of_folded_nets_are_those_of_the_cpu(cupy, name, loss):
    net = NETS[name]
    X, y = problem(loss)
    for part in ("full", "ggn"):
        want, got = (Hessian(net, X, y, loss=loss, part=part, weight_decay=0.5, device=device) for device in ("cpu", "cuda"))
        depth = len(net.weights)
        sets = [layers for n in range(1, depth + 1) for layers in combinations(range(depth), n)]
        for rows in sets:
            for columns in sets:
                block = want.blocks(rows, columns)
                V = np.random.default_rng(5).standard_normal((block.shape[1], 2))
                bound = 64 * np.finfo(np.float64).eps * (1.0 + np.abs(block @ V).max())  # sums of 70 samples, as above
                np.testing.assert_allclose((got.blocks(rows, columns) @ cupy.asarray(V)).get(), block @ V, rtol=0, atol=bound)
    none = Hessian(net, X, y, loss=lambda f, y: (np.zeros((70, 1)), np.zeros((70, 1))), weight_decay=0.5, device="cuda")
    np.testing.assert_array_equal((none @ none.theta).get(), 0.5 * none.theta.get())


def test_bias_free_relu_nets_satisfy_eulers_identity(cupy):
    net = nnqft.networks.relu_net(40, dim_in=6).draw(0, seed=5)
    X, y = problem("hinge", samples=400)
    H = Hessian(net, X, y, loss="hinge", device="cuda")
    np.testing.assert_allclose((H @ H.theta).get(), (len(net.weights) - 1) * H.gradient.get(), atol=1e-14)
    np.testing.assert_allclose(H.blocks(0, 0).dense().get(), 0.0)


def test_dense_matrices_blocks_layers_and_entries_are_those_of_the_cpu(cupy):
    net = NETS["deep"]
    X, y = problem("mse", samples=20, dim_out=3)
    want, got = (
        Hessian(net, X, y, loss="mse", weight_decay=0.5),
        Hessian(net, X, y, loss="mse", weight_decay=0.5, device="cuda"),
    )
    H = want.dense()
    bound = 1e-13 * np.abs(H).max()
    dense = got.dense().get()
    np.testing.assert_allclose(dense, H, rtol=0, atol=bound)
    assert np.array_equal(dense, dense.T)
    for rows, columns in (((0, 1), (2,)), ((2,), (0, 1)), ((1,), (1,))):
        block = got.blocks(rows, columns)
        np.testing.assert_allclose(block.dense().get(), want.blocks(rows, columns).dense(), rtol=0, atol=bound)
        v = np.random.default_rng(0).standard_normal(block.shape[0])
        np.testing.assert_allclose(
            block.rmatvec(cupy.asarray(v)).get(), want.blocks(rows, columns).rmatvec(v), rtol=0, atol=10 * bound
        )
    i, j = np.array([0, 5, 40, 5]), np.array([3, 5, 0, 60])
    np.testing.assert_allclose(got.entries(i, j).get(), want.entries(i, j), rtol=0, atol=bound)
    one = Hessian(net, X, y, loss="mse", layers=1, device="cuda")
    np.testing.assert_allclose(one.dense().get(), Hessian(net, X, y, loss="mse", layers=1).dense(), rtol=0, atol=bound)


def test_inactive_samples_are_left_out_without_a_change(cupy):
    X, y = problem("hinge", samples=100)
    net = NETS["relu"]
    f = Hessian(net, X, np.ones(100), loss="linear", device="cuda")
    y = np.where(np.arange(100) % 3 == 0, y[:, 0], np.sign(np.random.default_rng(3).standard_normal(100)))
    few, all_ = (Hessian(net, 40 * X, y, loss="hinge", device="cuda", active_only=a) for a in (True, False))
    assert few.n_active < 100 == all_.n_active == f.n_active
    v = cupy.asarray(np.random.default_rng(1).standard_normal(few.shape[0]))
    np.testing.assert_allclose((few @ v).get(), (all_ @ v).get(), rtol=1e-12, atol=1e-13)


def test_a_hessian_without_active_samples_is_zero(cupy):
    net = NETS["relu"]
    X, y = problem("hinge", samples=5)
    H = Hessian(net, X, y, loss="hinge", sample_weight=np.array([1.0, 0, 0, 0, 0]), device="cuda")
    assert H.n_active <= 1
    X[:] = 0.0
    zero = Hessian(net, X, np.ones(5), loss=lambda f, y: (np.zeros((5, 1)), np.zeros((5, 1))), device="cuda")
    assert zero.n_active == 0 and not (zero @ zero.theta).get().any() and not zero.gradient.get().any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_spectra_from_runs_on_the_device_are_those_of_the_cpu(cupy, dtype):
    net = nnqft.networks.relu_net(30, dim_in=6).draw(0, seed=7)
    X, y = problem("logistic", samples=300)
    want, got = (
        Hessian(net, X, y, loss="logistic", dtype=dtype),
        Hessian(net, X, y, loss="logistic", dtype=dtype, device="cuda"),
    )
    a, b = lanczos(want, 12, probes=3, seed=2), lanczos(got, 12, probes=3, seed=2)
    np.testing.assert_allclose(b.alpha, a.alpha, rtol=0, atol=500 * np.finfo(dtype).eps * np.abs(a.alpha).max())
    S, D = slq(want, 12, probes=3, seed=2), slq(got, 12, probes=3, seed=2)
    # The second moment takes two products and a few hundred additions.
    assert D.moment(2).mean == pytest.approx(S.moment(2).mean, rel=float(200 * np.finfo(dtype).eps))
    assert np.array_equal(lanczos(got, 12, probes=3, seed=2).alpha, b.alpha)


def test_what_does_not_fit_is_refused(cupy):
    net = NETS["relu"]
    X, y = problem("hinge")
    H = Hessian(net, X, y, loss="hinge", device="cuda")
    with pytest.raises(ArgumentError, match=r"pass cupy.asarray\(x\)"):
        H @ np.ones(H.shape[1])
    with pytest.raises(ShapeError, match="expected"):
        H @ cupy.asarray(np.ones(3))
    with pytest.raises(ArgumentError, match="takes real ones"):
        H @ cupy.asarray(np.ones(H.shape[1], complex))
    with pytest.raises(ArgumentError, match="per_sample"):
        H.entries([0], [0], per_sample=True)
    bad = X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(ArgumentError, match="sample 7"):
        Hessian(net, bad, y, loss="hinge", device="cuda")
    with pytest.raises(ShapeError, match="X has shape"):
        Hessian(net, X[:, :3], y, loss="hinge", device="cuda")
    with pytest.raises(ArgumentError, match="float32 or float64"):
        Hessian(net, X.astype(np.int64), y, loss="hinge", device="cuda")
    with pytest.raises(ArgumentError, match="lives on cuda"):
        Hessian(net, cupy.asarray(X), y, loss="hinge", device="cpu")
    assert "cuda:0" in repr(H) and H.T is H


def test_no_more_vectors_share_a_launch_than_a_grid_has_rows(cupy, monkeypatch):
    net = nnqft.networks.relu_net(1, dim_in=1).draw(0, seed=1)
    H = Hessian(net, cupy.ones((1, 1)), cupy.ones((1, 1)), loss="mse")
    assert H._core._room(10**6, H._row_mask)[0] == 65535
    X = cupy.asarray(np.random.default_rng(0).standard_normal((H.shape[1], 8)))
    together = (H @ X).get()
    monkeypatch.setattr("nnqft._device._hessian._TOGETHER", 3)
    assert np.array_equal((H @ X).get(), together)
