"""Jacobians of nets: against differences, torch, Gauss-Newton products, dense singular values and closed forms."""

import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import Hessian, Jacobian
from nnqft.lanczos import SpectralDensity, as_operator, gram, singular_values
from nnqft.net import Net
from nnqft.networks import Conv2d, Dense, cos_net, gauss_net, mlp

RNG = np.random.default_rng(1)
X = RNG.normal(size=(7, 4))


def residual_net(activation="tanh"):
    sizes = [(5, 4), (5, 5), (5, 5), (3, 5)]
    weights = [RNG.normal(size=size) / 2 for size in sizes]
    biases = [RNG.normal(size=5), None, RNG.normal(size=5), RNG.normal(size=3)]
    return Net.from_weights(weights, activation=activation, biases=biases, skips=[0.0, 0.7, 1.0], scales=[1.0, 0.5, 1.3])


def conv_net(activation, *pools, shape=(2, 5, 4), hidden=3, biased=True, **options):
    """Two convolutions and two dense layers."""
    rng, layers, at = np.random.default_rng(7), [], shape
    for filters, pool in zip((3, 2), pools, strict=True):
        weight = rng.normal(size=(filters, at[0], 3, 3)) / 3
        layers.append(Conv2d(weight, rng.normal(size=filters) if biased else None, activation, padding=1, **pool, **options))
        at = layers[-1].out_shape(at)
    layers += [Dense(rng.normal(size=(hidden, np.prod(at))) / 2, activation=activation), Dense(rng.normal(size=(2, hidden)), np.ones(2))]
    return Net.from_layers(layers, input_shape=shape)


NETS = {
    "tanh": mlp(4, (6, 5), activation="tanh", dim_out=3, sigma_b=0.5).draw(0, seed=1),
    "relu": mlp(4, (6, 5, 3), activation="relu", dim_out=2).draw(0, seed=2),
    "gauss": gauss_net(6, dim_in=4).draw(0, seed=3),
    "cos": cos_net(6, dim_in=4).draw(0, seed=4),
    "residual": residual_net(),
    "linear": mlp(4, (3,), activation="identity").draw(0, seed=5),
    "no hidden layer": Net.from_weights([RNG.normal(size=(2, 4))], activation="relu", biases=[RNG.normal(size=2)]),
    "convolutions": conv_net("tanh", {}, {"stride": 2}),
    "max pools": conv_net("relu", {"max_pool": 2}, {"max_pool": (2, 1)}, biased=False),
    "mean pools": conv_net("swish", {"average_pool": (1, 2)}, {"average_pool": "global"}),
    "both pools": conv_net("sin", {"max_pool": (2, 1), "average_pool": (1, 2)}, {}, pool_first=True),
}


def inputs(net, n=7):
    return np.random.default_rng(2).normal(size=(n, *net.input_shape))


def differences(f, x, step=1e-6):
    """Central differences of f: (samples, out) by each element of x."""
    columns = []
    for i in range(x.size):
        d = np.zeros(x.size)
        d[i] = step
        columns.append((f(x.ravel() + d) - f(x.ravel() - d)).ravel() / (2 * step))
    return np.stack(columns, axis=1)


def with_parameters(net, theta):
    layers, at = [], 0
    for layer in net.layers:
        weight, at = theta[at : at + layer.weight.size].reshape(layer.weight.shape), at + layer.weight.size
        bias, at = (None, at) if layer.bias is None else (theta[at : at + len(layer.bias)], at + len(layer.bias))
        layers.append(replace(layer, weight=weight, bias=bias))
    return Net.from_layers(layers, input_shape=net.input_shape)


def through(net, h, start, stop):
    """Activities h_stop from h_start."""
    for layer, shape in list(zip(net.layers, net._shapes(), strict=False))[start:stop]:
        h = layer.forward(h, shape)
    return h


@pytest.mark.parametrize("name", NETS)
def test_both_jacobians_are_the_differences_of_outputs(name):
    net, depth = NETS[name], len(NETS[name].layers)
    X = inputs(net, 3)
    theta = np.concatenate([a.ravel() for layer in net.layers for a in (layer.weight, layer.bias) if a is not None])
    # A step of 1e-6: cut-off 1e-12 times third derivatives, rounding 1e-16 / 1e-6.
    np.testing.assert_allclose(Jacobian(net, X).dense(), differences(lambda t: with_parameters(net, t)(X), theta), atol=2e-8)
    for start in range(depth):
        h = through(net, X.reshape(3, -1), 0, start)
        for stop in range(start + 1, depth + 1):
            J = Jacobian(net, X, wrt="inputs", between=(start, stop))
            np.testing.assert_allclose(J.dense(), differences(lambda x: through(net, x.reshape(3, -1), start, stop), h), atol=2e-8)
            np.testing.assert_allclose(J.T @ np.eye(J.shape[0]), (J @ np.eye(J.shape[1])).T, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NETS)
def test_forward_and_reverse_products_are_adjoint(name, dtype):
    eps = np.finfo(dtype).eps
    for options in ({}, {"layers": -1}, {"layers": 0}, {"wrt": "inputs"}, {"wrt": "inputs", "between": (0, 1)}):
        J = Jacobian(NETS[name], inputs(NETS[name]).astype(dtype), **options)
        V, U = (RNG.normal(size=(size, 3)).astype(dtype) for size in J.shape[::-1])
        JV, JU = J @ V, J.T @ U
        assert JV.dtype == JU.dtype == dtype and JV.shape == (J.shape[0], 3) and JU.shape == (J.shape[1], 3)
        size = np.linalg.norm(U) * np.linalg.norm(JV)
        np.testing.assert_allclose(U.T @ JV, JU.T @ V, atol=8 * eps * size + 1e-300)
        np.testing.assert_allclose(J.dense() @ V, JV, atol=8 * eps * abs(JV).max())
        np.testing.assert_allclose(J @ V[:, 0], JV[:, 0], atol=8 * eps * abs(JV).max())


@pytest.mark.parametrize("name", NETS)
def test_squares_are_gauss_newton_products_in_c(name):
    net = NETS[name]
    X = inputs(net)
    J = Jacobian(net, X)
    # sum_i J_i^T L'' J_i / n with L'' = 1 for each output
    ggn = Hessian(net, X, np.zeros((len(X), net.dim_out)), loss=lambda f, y: (f, np.ones_like(f)), part="ggn")
    dense = J.dense()
    np.testing.assert_allclose(dense.T @ dense, len(X) * ggn.dense(), atol=1e-13 * abs(dense).max() ** 2 * len(X))


@pytest.mark.parametrize("name", ["relu", "gauss", "convolutions", "max pools"])
def test_samples_do_not_meet(name):
    net, rng = NETS[name], np.random.default_rng(3)
    X = inputs(net, 301)  # more than a panel, and not a multiple of anything
    for options in ({}, {"layers": [1]}, {"wrt": "inputs"}, {"wrt": "inputs", "between": (1, 2)}):
        J, alone = Jacobian(net, X, **options), [Jacobian(net, x[None], **options) for x in X]
        v, u = (rng.normal(size=n) for n in J.shape[::-1])
        vs, us = (v.reshape(301, -1) if "wrt" in options else [v] * 301), u.reshape(301, -1)
        up, down = np.concatenate([j @ a for j, a in zip(alone, vs, strict=True)]), [j.T @ a for j, a in zip(alone, us, strict=True)]
        np.testing.assert_allclose(J @ v, up, atol=1e-14 * abs(up).max())
        down = np.concatenate(down) if "wrt" in options else np.sum(down, axis=0)
        np.testing.assert_allclose(J.T @ u, down, atol=1e-13 * abs(down).max())  # a sum over 301 samples


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["tanh", "max pools"])
def test_threads_and_company_change_no_bit(name, dtype):
    net, rng = NETS[name], np.random.default_rng(4)
    X = inputs(net, 2000).astype(dtype)
    for options in ({}, {"wrt": "inputs"}):
        one, *others = (Jacobian(net, X, threads=threads, **options) for threads in (1, 2, 7))
        V, U = (rng.normal(size=(n, 70)).astype(dtype) for n in one.shape[::-1])
        JV, JU = one @ V, one.T @ U
        for J in others:
            assert (J @ V).tobytes() == JV.tobytes() and (J.T @ U).tobytes() == JU.tobytes()
        assert np.array_equal(one @ V[:, 40], JV[:, 40]) and np.array_equal(one.T @ U[:, 40], JU[:, 40])


def test_products_with_no_vectors_have_no_columns():
    net, X = Net.from_weights([np.ones((4, 3)), np.ones((2, 4))], activation="tanh"), np.ones((5, 3))
    for J in (Jacobian(net, X), Jacobian(net, X, wrt="inputs")):
        assert (J @ np.zeros((J.shape[1], 0))).shape == (J.shape[0], 0) and (J.T @ np.zeros((J.shape[0], 0))).shape == (J.shape[1], 0)


@pytest.mark.parametrize("name", ["tanh", "relu", "residual", "both pools"])
def test_the_chain_of_layers_is_the_product_of_its_links(name):
    net = NETS[name]
    X, depth = inputs(net), len(net.weights)
    links = [Jacobian(net, X, wrt="inputs", between=(i, i + 1)).dense() for i in range(depth)]
    for start in range(depth):
        product = np.eye(links[start].shape[1])
        for stop in range(start + 1, depth + 1):
            product = links[stop - 1] @ product
            chain = Jacobian(net, X, wrt="inputs", between=(start, stop)).dense()
            np.testing.assert_allclose(chain, product, atol=1e-13)
    blocks = Jacobian(net, X, wrt="inputs").dense().reshape(len(X), net.dim_out, len(X), -1)
    off = blocks.transpose(0, 2, 1, 3)[~np.eye(len(X), dtype=bool)]
    assert not off.any()  # a block diagonal: samples do not meet


@pytest.mark.parametrize("name", ["residual", "convolutions"])
def test_columns_of_layers_are_those_of_the_whole(name):
    net, X = NETS[name], inputs(NETS[name])
    J, ranges = Jacobian(net, X).dense(), Hessian(net, X, np.zeros((7, net.dim_out)), loss="mse").ranges
    for layers in (0, 2, [1, 3], [-1], [0, 1, 2, 3]):
        chosen = [layers] if isinstance(layers, int) else [i % 4 for i in layers]
        columns = np.concatenate([np.arange(*ranges[i]) for i in chosen])
        np.testing.assert_allclose(Jacobian(net, X, layers=layers).dense(), J[:, columns], atol=1e-14)


@pytest.mark.parametrize("images", [False, True])
def test_torch_finds_the_same_jacobians(images):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    front = [torch.nn.Conv2d(1, 3, 2), torch.nn.Tanh(), torch.nn.MaxPool2d((1, 2)), torch.nn.Flatten()] if images else []
    module = torch.nn.Sequential(*front, torch.nn.Linear(12 if images else 4, 6), torch.nn.GELU(), torch.nn.Linear(6, 5, bias=False), torch.nn.GELU(),
                                 torch.nn.Linear(5, 2)).double()  # fmt: skip
    X = np.random.default_rng(6).normal(size=(7, 1, 3, 5) if images else (7, 4))
    net, x = Net.from_torch(module, input_shape=X.shape[1:] if images else None), torch.as_tensor(X)
    names = [name for name, _ in module.named_parameters()]

    def outputs(*parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), x)

    parts = torch.autograd.functional.jacobian(outputs, tuple(module.parameters()))
    theirs = np.concatenate([part.reshape(14, -1).numpy() for part in parts], axis=1)
    np.testing.assert_allclose(Jacobian(net, X).dense(), theirs, atol=1e-13)
    by_inputs = torch.autograd.functional.jacobian(module, x).reshape(14, -1).numpy()
    np.testing.assert_allclose(Jacobian(net, X, wrt="inputs").dense(), by_inputs, atol=1e-13)
    exact = np.linalg.svd(theirs, compute_uv=False)
    S = singular_values(Jacobian(net, X), 14, probes=3, seed=1)
    # 14 steps in dimension 14: the nodes are the singular values, the smaller ones to eps s_max^2 / s
    np.testing.assert_allclose(S.nodes, np.sort(exact)[None].repeat(3, 0), atol=1e-13 * exact[0] ** 2 / exact[-1])


@pytest.mark.parametrize("options", [{}, {"wrt": "inputs"}, {"wrt": "inputs", "between": (1, 3)}, {"layers": 1}])
def test_densities_of_singular_values_meet_the_dense_ones(options):
    net = mlp(12, (30, 25), activation="tanh", dim_out=3).draw(0, seed=7)
    J = Jacobian(net, RNG.normal(size=(9, 12)), **options)
    exact = np.linalg.svd(J.dense(), compute_uv=False)
    S, law = singular_values(J, 20, probes=30, seed=2), SpectralDensity.from_eigenvalues(exact)
    assert S.n == min(J.shape)
    x = np.linspace(0, 1.1 * exact[0], 400)
    value, error = S.cdf(x, stderr=True)
    # Within the errors over 30 probes where k = 20 of up to 100 values resolve the curve: 0.03 is a node's weight.
    assert np.mean(abs(value - law.cdf(x))) < 0.03 and error.max() < 0.05
    for j in (2, 4):
        assert abs(S.moment(j).mean - law.moment(j).mean) < 5 * S.moment(j).stderr + 1e-12 * law.moment(j).mean
        assert S.moment(j).stderr < 0.2 * law.moment(j).mean
    assert S.edges[1] == pytest.approx(exact[0], rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"wrt": "inputs"}, {"wrt": "inputs", "between": (0, 2)}])
def test_convolutional_nets_have_singular_values(options):
    J = Jacobian(NETS["convolutions"], inputs(NETS["convolutions"], 2), **options)
    exact = np.linalg.svd(J.dense(), compute_uv=False)
    S = singular_values(J, min(J.shape), probes=2, seed=1)
    # As many steps as dimensions: the nodes are the singular values, the smaller ones to eps s_max^2 / s.
    np.testing.assert_allclose(S.nodes, np.sort(exact)[None].repeat(2, 0), atol=1e-13 * exact[0] ** 2 / exact[-1])


def test_ctrl_c_leaves_an_operator_that_goes_on():
    J = Jacobian(NETS["max pools"], inputs(NETS["max pools"], 3000), threads=2)
    u = np.linspace(-1, 1, J.shape[0])
    before = J.T @ u
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            J @ (J.T @ np.ones((J.shape[0], 8)))
    timer.join()
    assert np.array_equal(J.T @ u, before)


def test_a_deep_linear_net_of_rotations_has_singular_values_one():
    rotations = [np.linalg.qr(RNG.normal(size=(20, 20)))[0] for _ in range(12)]
    J = Jacobian(Net.from_weights(rotations, activation="identity"), RNG.normal(size=(3, 20)), wrt="inputs")
    S = singular_values(J, 30, probes=2)
    np.testing.assert_allclose(S.nodes[:, 0], 1.0, rtol=1e-13)
    assert S.complete.all() and np.isnan(S.nodes[:, 1:]).all()  # one point: Lanczos stops at once


def test_mean_squared_singular_values_of_relu_nets_are_critical_at_weight_variance_two():
    # E[W^T D W] = n_out / n_in sigma_w^2 / 2: the signs of rows do not know their lengths. Layer by layer, so exactly 1 here.
    law = mlp(40, (40,) * 8, activation="relu", dim_out=40, sigma_w=2**0.5, sigma_b=0.0)
    x = RNG.normal(size=(1, 40))
    for between, expected in (((0, 1), 1.0), ((3, 4), 1.0), ((0, 5), 1.0), ((0, 9), 2.0)):  # the last layer has no gates
        found = [np.sum(Jacobian(law.draw(i, seed=3), x, wrt="inputs", between=between).dense() ** 2) / 40 for i in range(200)]
        error = np.std(found, ddof=1) / np.sqrt(200)
        assert abs(np.mean(found) - expected) < 5 * error and error < 0.1 * expected, between


def test_a_gaussian_layer_follows_marchenko_and_pastur():
    # Singular values of a 300 x 300 matrix with entries of variance 1/300: quarter circle sqrt(4 - s^2) / pi.
    net = Net.from_weights([RNG.normal(size=(300, 300)) / 300**0.5], activation="identity")
    S = singular_values(Jacobian(net, np.ones((1, 300)), wrt="inputs"), 60, probes=20, seed=5)
    x = np.array([0.3, 0.7, 1.0, 1.4, 1.8])
    value, error = S.cdf(x, stderr=True)
    exact = (x * np.sqrt(4 - x * x) / 2 + 2 * np.arcsin(x / 2)) / np.pi
    assert (abs(value - exact) < 5 * error + 0.01).all() and (error < 0.015).all()  # 0.01: n = 300, and a node's 1/60


def test_arrays_and_sparse_matrices_have_singular_values_too():
    A = RNG.normal(size=(12, 5))
    exact = np.sort(np.linalg.svd(A, compute_uv=False))
    for J in (A, A.T, sp.csr_array(A), sp.csr_array(A.T), sp.linalg.aslinearoperator(A)):
        np.testing.assert_allclose(singular_values(J, 5, probes=2).nodes[0], exact, rtol=1e-9)
    assert singular_values(A, 5, probes=3).trace(np.square).mean == pytest.approx(np.sum(A * A), rel=0.5)
    np.testing.assert_allclose(np.linalg.eigvalsh(gram(A).matmat(np.eye(5))), exact**2, rtol=1e-9)
    assert as_operator(gram(Jacobian(NETS["tanh"], X))).shape == (83, 83)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: Jacobian(None, X), ArgumentError, "expected a Net"),
    (lambda: Jacobian(NETS["tanh"], X, wrt="weights"), ArgumentError, "wrt is 'weights'"),
    (lambda: Jacobian(NETS["tanh"], X, wrt=["inputs"]), ArgumentError, "wrt is"),
    (lambda: Jacobian(NETS["tanh"], X, wrt="inputs", layers=0), ArgumentError, "takes no layers"),
    (lambda: Jacobian(NETS["tanh"], X, between=(0, 1)), ArgumentError, "takes no between"),
    (lambda: Jacobian(NETS["tanh"], X, wrt="inputs", between=(1, 1)), ArgumentError, "0 <= start < stop <= 3"),
    (lambda: Jacobian(NETS["tanh"], X, wrt="inputs", between=(0, 4)), ArgumentError, "0 <= start < stop <= 3"),
    (lambda: Jacobian(NETS["tanh"], X, wrt="inputs", between=2), ArgumentError, "two integers"),
    (lambda: Jacobian(NETS["tanh"], X, wrt="inputs", between=(0.5, 1)), ArgumentError, "two integers"),
    (lambda: Jacobian(NETS["tanh"], X, layers=3), ArgumentError, "some of 0 .. 2"),
    (lambda: Jacobian(NETS["tanh"], X, layers=[]), ArgumentError, "some of 0 .. 2"),
    (lambda: Jacobian(NETS["tanh"], X[:, :3]), ShapeError, "expected"),
    (lambda: Jacobian(NETS["tanh"], X[:0]), ShapeError, "one sample or more"),
    (lambda: Jacobian(NETS["tanh"], X * np.inf), ArgumentError, "not finite"),
    (lambda: Jacobian(NETS["tanh"], X.astype(int)), ArgumentError, "astype"),
    (lambda: Jacobian(NETS["tanh"], X, dtype=np.int32), ArgumentError, "float32 or float64"),
    (lambda: Jacobian(Net.from_weights([np.full((1, 4), 1e300), [[1.0]]], activation="exp"), X), ArgumentError, "not finite at sample"),
    (lambda: Jacobian(Net.from_weights([np.full((1, 4), 1e40), [[1.0]]], activation="relu"), abs(X), dtype=np.float32), ArgumentError, "not finite at sample 0, in float32"),
    (lambda: Jacobian(NETS["tanh"], 1e30 * X, threads=0), ArgumentError, "threads"),
    (lambda: Jacobian(NETS["mean pools"], 1e308 * np.sign(inputs(NETS["mean pools"]))), ArgumentError, "layer 0 .* not finite at sample 0"),
    (lambda: Jacobian(NETS["convolutions"], X), ShapeError, "expected"),
    (lambda: Jacobian(NETS["tanh"], X) @ np.ones(3), ValueError, "mismatch"),
    (lambda: Jacobian(NETS["tanh"], X) @ (1j * np.ones(83)), ArgumentError, "real"),
    (lambda: singular_values(np.ones(3)), ShapeError, r"\(m, n\)"),
    (lambda: singular_values(np.ones((3, 2), int)), ShapeError, "float64"),
    (lambda: singular_values("text"), ShapeError, "shape"),
    (lambda: singular_values(np.full((3, 2), np.nan)), ArgumentError, "finite|NaN"),
])  # fmt: skip
def test_senseless_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
