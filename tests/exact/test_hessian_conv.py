"""Hessians of convolutional nets: exact facts, and the same functions as fully connected nets."""

import numpy as np
import pytest

from nnqft.hessian import Hessian
from nnqft.networks import Conv2d, Dense, Net

EPS = np.finfo(np.float64).eps

def user_loss(f, y):
    """sum_k (f_k - y_k)^4 / 4 + log cosh(sum_k f_k): second derivatives are full matrices."""
    d, t = f - y, np.tanh(f.sum(1))[:, None]
    values = (d**4).sum(1) / 4 + np.logaddexp(f.sum(1), -f.sum(1))
    return values, d**3 + t, 3 * d[..., None] ** 2 * np.eye(f.shape[1]) + (1 - t**2)[..., None]


LOSSES = ["hinge", "squared_hinge", "logistic", "mse", "linear", "cross_entropy", user_loss]


def random_net(shape=(2, 8, 7), filters=(3, 4), dim_out=1, seed=0, biased=False, activation="relu", hidden=(), **options):
    """Convolutions 3x3 with the options of Conv2d, dense layers behind them."""
    rng = np.random.default_rng(seed)
    layers, at = [], shape
    for n in filters:
        weight = rng.normal(size=(n, at[0], 3, 3)) * np.sqrt(2 / (9 * at[0]))
        layers.append(Conv2d(weight, 0.1 * rng.normal(size=n) if biased else None, activation, padding=1, **options))
        at = layers[-1].out_shape(at)
    widths = (int(np.prod(at)), *hidden, dim_out)
    for a, b in zip(widths, widths[1:]):
        last = b is widths[-1]
        layers.append(Dense(rng.normal(size=(b, a)) * np.sqrt(2 / a), 0.1 * rng.normal(size=b) if biased else None, "identity" if last else activation))
    layers[-1] = Dense(layers[-1].weight, layers[-1].bias)
    return Net.from_layers(layers, input_shape=shape)


def data(net, n, seed=1, loss=None):
    rng = np.random.default_rng(seed)
    if loss == "cross_entropy":  # rows of probabilities
        p = rng.random(size=(n, net.dim_out))
        return rng.normal(size=(n, *net.input_shape)), p / p.sum(1, keepdims=True)
    return rng.normal(size=(n, *net.input_shape)), np.sign(rng.normal(size=(n, net.dim_out)))


REFERENCE = {"shape": (3, 32, 32), "filters": (16, 32, 32), "max_pool": 2}  # 14 768 parameters
SMALL = {"max_pool": 2}
AVERAGES = {"average_pool": 2, "hidden": (5,)}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options,n", [(SMALL, 40), (AVERAGES, 40), ({"filters": (20,), "max_pool": (2, 3), "average_pool": "global"}, 40), (REFERENCE, 6)])
def test_euler_identity_holds_without_biases(loss, options, n):
    # The outputs are homogeneous of degree L in theta: F theta = (L - 1) grad R, and with one layer's weights alone the gradient
    # outside that layer.
    net = random_net(**options, dim_out=2 if loss == "cross_entropy" else 1, seed=4)
    F = Hessian(net, *data(net, n, loss=loss), loss=loss, part="residual")
    assert loss == "cross_entropy" or F.shape[0] == (14768 if options is REFERENCE else sum(w.size for w in net.weights))
    scale = np.abs(F.gradient).max()
    assert np.abs(F @ F.theta - (len(net.layers) - 1) * F.gradient).max() < 1e3 * EPS * scale  # sums over places and samples
    for start, stop in F.ranges:
        v, expected = np.zeros_like(F.theta), F.gradient.copy()
        v[start:stop], expected[start:stop] = F.theta[start:stop], 0
        assert np.abs(F @ v - expected).max() < 1e3 * EPS * scale


@pytest.mark.parametrize("loss", ["squared_hinge", "mse"])
@pytest.mark.parametrize("options", [SMALL, AVERAGES, {"activation": "leaky_relu", "stride": 2}])
def test_blocks_of_the_residual_part_within_a_layer_vanish_exactly(loss, options):
    net = random_net(**options, biased=True, dim_out=2, seed=2)
    F = Hessian(net, *data(net, 30), loss=loss, part="residual")
    for layer in range(len(net.layers)):
        block = F.blocks(layer, layer)
        assert not (block @ np.random.default_rng(layer).normal(size=(block.shape[1], 3))).any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options", [SMALL, AVERAGES])
def test_trace_is_that_of_gauss_newton_and_parts_add_up(loss, options):
    net = random_net(**options, biased=True, dim_out=2, seed=3)
    X, y = data(net, 25, loss=loss)
    full, residual, ggn = (Hessian(net, X, y, loss=loss, part=part, weight_decay=0.3).dense() for part in ("full", "residual", "ggn"))
    scale = np.abs(full).max()
    assert np.abs(full - residual - ggn).max() < 100 * EPS * scale
    assert abs(np.trace(full) - np.trace(ggn)) < 1e3 * EPS * scale
    assert np.linalg.eigvalsh(ggn).min() > -100 * EPS * scale


@pytest.mark.parametrize("activation", ["relu", "tanh", "swish", "sin"])
@pytest.mark.parametrize("options", [{}, {"max_pool": 2}, {"average_pool": 2}, {"max_pool": (1, 2), "average_pool": (2, 1), "pool_first": True}, {"stride": 3}])
def test_the_operator_is_symmetric(activation, options):
    net = random_net(**options, filters=(3, 2), activation=activation, biased=True, dim_out=2, hidden=(4,))
    H = Hessian(net, *data(net, 30), loss="mse")
    u, v = np.random.default_rng(0).normal(size=(2, H.shape[0]))
    assert abs(u @ (H @ v) - v @ (H @ u)) < 1e3 * EPS * np.linalg.norm(u) * np.linalg.norm(H @ v)


def as_matrices(net):
    """The convolutions (without max pools) as dense layers with shared weights: the dense net, the matrix from the parameters of `net` to
    those of the dense net's trained layers, and those layers. Averages become fixed linear layers."""
    layers, maps, trained, shape = [], [], [], net.input_shape
    for layer in net.layers:
        trained.append(len(layers))
        if isinstance(layer, Dense):
            layers.append(layer)
            maps.append(np.eye(layer.weight.size + (layer.bias is not None) * len(layer.weight)))
            continue
        filters, channels, kernel, _ = layer.weight.shape
        p, s = layer.padding, layer.stride
        (height, width), _, average = layer._sizes(shape)
        fan_in, fan_out = int(np.prod(shape)), filters * height * width
        weights = np.zeros((fan_out, fan_in, layer.weight.size))  # derivative of the dense weights by those of the filters
        biases = np.zeros((fan_out, filters))
        for f, y, x in np.ndindex(filters, height, width):
            out = (f * height + y) * width + x
            biases[out, f] = 1
            for c, i, j in np.ndindex(channels, kernel, kernel):
                v, u = s * y + i - p, s * x + j - p
                if 0 <= v < shape[1] and 0 <= u < shape[2]:
                    weights[out, (c * shape[1] + v) * shape[2] + u, ((f * channels + c) * kernel + i) * kernel + j] = 1
        layers.append(Dense(weights @ layer.weight.ravel(), biases @ layer.bias, layer.activation, layer.activation_params))
        maps.append(np.zeros((fan_out * (fan_in + 1), layer.weight.size + filters)))
        maps[-1][: fan_out * fan_in, : layer.weight.size] = weights.reshape(-1, layer.weight.size)
        maps[-1][fan_out * fan_in :, layer.weight.size :] = biases
        shape = layer.out_shape(shape)
        if average != (1, 1):
            mean = np.zeros((int(np.prod(shape)), fan_out))
            for f, y, x, i, j in np.ndindex(*shape, *average):
                mean[(f * shape[1] + y) * shape[2] + x, (f * height + y * average[0] + i) * width + x * average[1] + j] = 1 / np.prod(average)
            layers.append(Dense(mean))
    sizes = np.cumsum([(0, 0), *(m.shape for m in maps)], axis=0)
    whole = np.zeros(sizes[-1])
    for part, (i, j) in zip(maps, sizes):
        whole[i : i + part.shape[0], j : j + part.shape[1]] = part
    return Net.from_layers(layers), whole, trained


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"average_pool": 2}, {"average_pool": "global"}])
def test_a_convolution_is_a_dense_layer_with_shared_weights(activation, options):
    net = random_net((2, 5, 4), filters=(2,), activation=activation, biased=True, dim_out=2, seed=6, **options)
    unrolled, shared, trained = as_matrices(net)
    X, y = data(net, 20)
    assert np.abs(net(X) - unrolled(X.reshape(len(X), -1))).max() < 20 * EPS
    for part in ("full", "residual", "ggn"):
        H, D = Hessian(net, X, y, loss="mse", part=part), Hessian(unrolled, X.reshape(len(X), -1), y, loss="mse", part=part, layers=trained)
        expected = shared.T @ D.dense() @ shared
        assert np.abs(H.dense() - expected).max() < 200 * EPS * np.abs(expected).max()
    assert np.abs(H.gradient - shared.T @ D.gradient).max() < 200 * EPS and abs(H.risk - D.risk) < 20 * EPS


def test_float32_products_share_the_gates_and_maxima_of_float64():
    net = random_net(**REFERENCE, seed=6)
    X, y = data(net, 40)
    X = X.astype(np.float32)
    v = np.random.default_rng(7).normal(size=14768)
    exact = Hessian(net, X, y, loss="hinge", dtype="float64") @ v
    single = Hessian(net, X, y, loss="hinge") @ v.astype(np.float32)
    assert single.dtype == np.float32
    # rounding of sums of up to 40 x 1024 terms, in units of the largest entry; one flipped gate of 2e5 would give 1e-4
    assert np.abs(single - exact).max() < 3e-6 * np.abs(exact).max()
