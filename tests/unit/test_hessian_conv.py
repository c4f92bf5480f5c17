"""Convolutional nets: descriptions, values, bits, entries, and all that can be wrong with the arguments."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from nnqft import _core
from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import Hessian, Jacobian
from nnqft.lanczos import slq
from nnqft.networks import Conv2d, Dense, Net

EPS = np.finfo(np.float64).eps


def make(activation="tanh", n=37, seed=0, **options):
    rng = np.random.default_rng(seed)
    first = Conv2d(rng.normal(size=(4, 2, 3, 3)) / 4, 0.1 * rng.normal(size=4), activation, padding=1, max_pool=2)
    second = Conv2d(rng.normal(size=(3, 4, 3, 3)) / 6, None, "relu", padding="same", average_pool=(1, 2))
    net = Net.from_layers([first, second, Dense(rng.normal(size=(2, 18)) / 4, np.ones(2))], input_shape=(2, 6, 9))
    return net, rng.normal(size=(n, 2, 6, 9)), np.sign(rng.normal(size=(n, 2)))


def by_loops(layer, h):
    """One image through a convolution, number by number."""
    filters, channels, kernel, _ = layer.weight.shape
    (height, width), largest, average = layer._sizes(h.shape)
    z = np.zeros((filters, height, width))
    for f, y, x in np.ndindex(z.shape):
        z[f, y, x] = 0.0 if layer.bias is None else layer.bias[f]
        for c, i, j in np.ndindex(channels, kernel, kernel):
            v, u = layer.stride * y + i - layer.padding, layer.stride * x + j - layer.padding
            if 0 <= v < h.shape[1] and 0 <= u < h.shape[2]:
                z[f, y, x] += layer.weight[f, c, i, j] * h[c, v, u]
    phi = {"tanh": np.tanh, "relu": lambda t: np.maximum(t, 0), "identity": lambda t: t, "sin": np.sin}[layer.activation]
    z = z if layer.pool_first else phi(z)
    (a, b), (p, q) = largest, average
    out = np.zeros(layer.out_shape(h.shape))
    for f, y, x in np.ndindex(out.shape):
        values = [z[f, (y * p + v) * a : (y * p + v + 1) * a, (x * q + u) * b : (x * q + u + 1) * b].max() for v, u in np.ndindex(p, q)]
        out[f, y, x] = np.mean(phi(np.array(values)) if layer.pool_first else values)
    return out


@pytest.mark.parametrize("options", [
    {"padding": 1, "max_pool": 2}, {"stride": 2, "padding": 2, "average_pool": (2, 1)}, {"max_pool": (1, 2), "average_pool": "global"},
    {"max_pool": "global", "activation": "identity"}, {"max_pool": 2, "activation": "sin", "pool_first": True}, {"max_pool": 2, "activation": "sin"},
])  # fmt: skip
def test_layers_are_what_loops_say_in_numpy_and_in_the_kernels(options):
    rng = np.random.default_rng(0)
    layer = Conv2d(rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3), **{"activation": "tanh"} | options)
    X = rng.normal(size=(5, 2, 7, 6))
    expected = np.stack([by_loops(layer, x).ravel() for x in X])
    top = rng.normal(size=(2, expected.shape[1]))
    net = Net.from_layers([layer, Dense(top)], input_shape=(2, 7, 6))
    assert np.abs(net.features(X) - expected).max() < 40 * EPS
    H = Hessian(net, X, np.zeros((5, 2)), loss="mse")
    assert abs(H.risk - np.mean((expected @ top.T) ** 2)) < 100 * EPS * H.risk


def test_bits_do_not_depend_on_threads_nor_on_vectors_that_come_along():
    net, X, y = make(n=300)
    for dtype in ("float32", "float64"):
        H = Hessian(net, X, y, loss="mse", dtype=dtype, threads=1)
        V = np.random.default_rng(2).normal(size=(H.shape[0], 5)).astype(dtype)
        alone = np.stack([H @ v for v in V.T], 1)
        assert np.array_equal(H @ V, alone)
        for threads in (2, 7):
            other = Hessian(net, X, y, loss="mse", dtype=dtype, threads=threads)
            assert np.array_equal(other @ V, alone) and np.array_equal(other.gradient, H.gradient)


def test_entries_and_blocks_are_those_of_the_matrix():
    net, X, y = make()
    H = Hessian(net, X, y, loss="mse", weight_decay=0.1)
    A, i, j = H.dense(), *np.random.default_rng(0).integers(H.shape[0], size=(2, 300))
    assert np.abs(H.entries(i, j) - A[i, j]).max() < 100 * EPS
    each = H.entries(i, j, per_sample=True)
    assert each.shape == (len(X), 300) and np.abs(each.sum(0) + 0.1 * (i == j) - A[i, j]).max() < 100 * EPS
    for rows, columns in [(0, 1), (1, 0), (2, (0, 1)), (1, 1), ((0, 2), 0)]:
        block = H.blocks(rows, columns)
        take = [np.concatenate([np.arange(*H.ranges[k]) for k in np.atleast_1d(side)]) for side in (rows, columns)]
        assert np.abs(block.dense() - A[np.ix_(*take)]).max() < 100 * EPS
    part = Hessian(net, X, y, loss="mse", weight_decay=0.1, layers=(0, 1))
    assert np.abs(part.dense() - A[: part.shape[0], : part.shape[0]]).max() < 100 * EPS


def test_inactive_samples_cost_nothing_and_weights_are_copies():
    net, X, y = make("relu")
    y = np.where(net(X) > 0, 1.0, -1.0)  # all on the right side, some of them beyond the margin
    weights = np.arange(len(X)) % 3
    H, everyone = (Hessian(net, X, y, loss="hinge", sample_weight=weights, active_only=only) for only in (True, False))
    copies = Hessian(net, np.repeat(X, weights, axis=0), np.repeat(y, weights, axis=0), loss="hinge")
    assert 0 < H.n_active < len(X) == everyone.n_active
    V = np.random.default_rng(0).normal(size=(H.shape[0], 3))
    assert np.abs(H @ V - everyone @ V).max() < 200 * EPS and np.abs(H @ V - copies @ V).max() < 200 * EPS


def test_lanczos_runs_on_the_native_handle_in_lockstep():
    net, X, y = make()
    H = Hessian(net, X, y, loss="mse")
    S = slq(H, 20, probes=4, seed=0)
    matrix = slq(H.dense(), 20, probes=4, seed=0)
    assert np.abs(S.nodes - matrix.nodes).max() < 1e-8 * np.abs(matrix.nodes).max()  # 20 steps amplify rounding


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_products_to_rounding(isa):
    if isa not in _core.isas():
        pytest.skip(f"this CPU has no {isa}")
    code = """if True:
        import sys, numpy as np
        sys.path.insert(0, sys.argv[1])
        from test_hessian_conv import Hessian, make
        for dtype in ("float32", "float64"):
            H = Hessian(*make(), loss="mse", dtype=dtype)
            sys.stdout.buffer.write((H @ np.linspace(-1, 1, H.shape[0])).astype(np.float64).tobytes())
    """
    arguments = [sys.executable, "-c", code, os.path.dirname(__file__)]
    run = subprocess.run(arguments, capture_output=True, env={**os.environ, "NNQFT_ISA": isa}, check=True, timeout=120)
    single, double = np.frombuffer(run.stdout).reshape(2, -1)
    H = Hessian(*make(), loss="mse")
    expected = H.dense() @ np.linspace(-1, 1, H.shape[0])
    assert np.abs(double - expected).max() < 100 * EPS * np.abs(expected).max() and np.abs(single - expected).max() < 2e-6 * np.abs(expected).max()


def test_inputs_of_any_layout_and_their_flat_form():
    net, X, y = make()
    H = Hessian(net, X, y, loss="mse")
    v = np.linspace(-1, 1, H.shape[0])
    readonly = X.copy()
    readonly.flags.writeable = False
    for same in (X.reshape(len(X), -1), np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X[::-1][::-1], readonly):
        assert np.array_equal(Hessian(net, same, y, loss="mse") @ v, H @ v)
    one = Hessian(net, X[:1], y[:1], loss="mse")
    assert np.isfinite(one @ v).all() and np.array_equal(net(X[:1]), net(X[:1].reshape(1, -1)))


@pytest.mark.parametrize("scale", [2.0**-400, 2.0**300])
def test_scales_of_the_last_layer_go_through_exactly(scale):
    net, X, y = make()
    big = Net.from_layers([*net.layers[:2], Dense(scale * net.layers[2].weight)], input_shape=net.input_shape)
    plain = Net.from_layers([*net.layers[:2], Dense(net.layers[2].weight)], input_shape=net.input_shape)
    H, scaled = (Hessian(n, X, y, loss="linear", layers=(0, 1)) for n in (plain, big))
    v = np.linspace(-1, 1, H.shape[0])
    assert np.array_equal(scaled @ v, scale * (H @ v))


W = np.ones((2, 1, 3, 3))


@pytest.mark.parametrize("call,error,message", [
    (lambda: Conv2d(np.ones((2, 3))), ShapeError, "filters, channels, kernel, kernel"),
    (lambda: Conv2d(np.ones((2, 1, 3, 2))), ShapeError, "square"),
    (lambda: Conv2d(W, np.ones(3)), ShapeError, "3 entries for 2"),
    (lambda: Conv2d(W, activation="step"), ArgumentError, "unknown activation"),
    (lambda: Conv2d(W, padding=3), ArgumentError, "less than the kernel"),
    (lambda: Conv2d(W, padding=-1), ArgumentError, "padding is -1"),
    (lambda: Conv2d(np.ones((1, 1, 2, 2)), padding="same"), ArgumentError, "odd kernel"),
    (lambda: Conv2d(W, stride=0), ArgumentError, "stride is 0"),
    (lambda: Conv2d(W, stride=2**70), ArgumentError, "stride is"),
    (lambda: Conv2d(W, max_pool=(1, 2, 3)), ArgumentError, "max_pool is"),
    (lambda: Conv2d(W, average_pool=2.5), ArgumentError, "average_pool is 2.5"),
    (lambda: Dense(np.ones(3)), ShapeError, "fan_out, fan_in"),
    (lambda: Dense(np.ones((2, 3)), skip=1.0), ShapeError, "equal widths"),
    (lambda: Dense(np.ones((2, 3)), scale=np.ones(3)), ShapeError, "2 of them"),
    (lambda: Dense(np.ones((2, 3)), scale=np.inf), ArgumentError, "finite"),
    (lambda: Net.from_layers([]), ArgumentError, "one layer or more"),
    (lambda: Net.from_layers([np.ones((2, 3))]), ArgumentError, "ndarray"),
    (lambda: Net.from_layers([Conv2d(W)], input_shape=(1, 5, 5)), ArgumentError, "last layer is dense"),
    (lambda: Net.from_layers([Dense(np.ones((9, 9))), Conv2d(W), Dense(np.ones((1, 2)))]), ArgumentError, "come first"),
    (lambda: Net.from_layers([Dense(np.ones((2, 3)), activation="relu")]), ArgumentError, "last layer is linear"),
    (lambda: Net.from_layers([Conv2d(W), Dense(np.ones((1, 18)))]), ShapeError, "input_shape is None"),
    (lambda: Net.from_layers([Conv2d(W), Dense(np.ones((1, 18)))], input_shape=(2, 5, 5)), ShapeError, "of 1 channels"),
    (lambda: Net.from_layers([Conv2d(W), Dense(np.ones((1, 18)))], input_shape=(1, 6, 5)), ShapeError, "takes 18 inputs"),
    (lambda: Net.from_layers([Conv2d(W), Dense(np.ones((1, 18)))], input_shape=(1, 2, 2)), ShapeError, "leaves nothing"),
    (lambda: Net.from_layers([Conv2d(W, max_pool=4), Dense(np.ones((1, 18)))], input_shape=(1, 5, 5)), ShapeError, "leaves nothing"),
    (lambda: Conv2d(np.ones((1, 1, 1, 1)), max_pool=2, average_pool="global").out_shape((1, 1, 1)), ShapeError, "leaves nothing"),
    (lambda: Net.from_layers([Conv2d(W), Dense(np.ones((1, 18)))], input_shape=(1, 2**40, 2**40)), ShapeError, "takes 18 inputs"),
    (lambda: make()[0](np.ones((3, 2, 9, 6))), ShapeError, r"expected \(n_points, 108\) or \(n_points, 2, 6, 9\)"),
])  # fmt: skip
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_maps_past_memory_are_refused_before_they_are_made():
    net = Net.from_layers([Conv2d(W, padding=1, average_pool="global"), Dense(np.ones((1, 2)))], input_shape=(1, 2**15, 2**15))
    with pytest.raises(ShapeError, match="2\\^30"):
        Hessian(net, np.broadcast_to(np.zeros(1), (1, 1, 2**15, 2**15)), np.ones(1), loss="mse")


def test_descriptions_are_frozen_copies():
    weight = W.copy()
    layer = Conv2d(weight)
    weight[:] = 0
    assert layer.weight.all() and not layer.weight.flags.writeable
    with pytest.raises(AttributeError):
        layer.stride = 2
    assert repr(Conv2d(W, stride=2, max_pool=(2, 1), average_pool="global")) == "Conv2d(1 -> 2, kernel 3, stride 2, identity, max 2x1, average global)"


def test_jacobians_take_nets_of_layers_of_any_kinds():
    rng = np.random.default_rng(0)
    first, second, third = (rng.normal(size=shape) for shape in ((4, 3), (4, 4), (2, 4)))
    layers = [Dense(first, np.ones(4), "tanh", scale=0.5), Dense(second, activation="relu", skip=1.0), Dense(third)]
    for net, X in ((Net.from_layers(layers), rng.normal(size=(7, 3))), make(n=7)[:2]):
        J = Jacobian(net, X).dense()
        ggn = Hessian(net, X, np.zeros((7, 2)), loss="mse", part="ggn").dense()
        assert np.abs(2 / 14 * J.T @ J - ggn).max() < 100 * EPS * np.abs(ggn).max()  # L'' = 2 / (samples * outputs)


def test_ctrl_c_leaves_an_operator_that_goes_on():
    net, X, y = make(n=2000)
    H = Hessian(net, X, y, loss="mse", threads=2)
    v = np.linspace(-1, 1, H.shape[0])
    before = H @ v
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while True:
            H @ np.ones((H.shape[0], 8))
    timer.join()
    assert np.array_equal(H @ v, before)
