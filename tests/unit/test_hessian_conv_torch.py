"""Hessians of convolutional torch modules: the native path against autograd, and what goes through autograd."""

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import Hessian, from_torch
from nnqft.networks import Conv2d, Dense, Net

torch = pytest.importorskip("torch")
nn = torch.nn
EPS = np.finfo(np.float64).eps


@pytest.fixture(autouse=True, scope="module")
def one_thread_of_torch():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its threads wait for one another on a busy machine
    yield
    torch.set_num_threads(threads)


def differ(native, autograd):
    """Largest difference between products with a few vectors, relative to the largest entry of those."""
    V = np.random.default_rng(3).normal(size=(native.shape[0], 4)).astype(native.dtype)
    expected = autograd @ V
    return np.abs(native @ V - expected).max() / np.abs(expected).max()


def module(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*[layer() for layer in layers]).double()


def conv(channels, filters, kernel=3, **options):
    return lambda: nn.Conv2d(channels, filters, kernel, **options)


def dense(fan_in, fan_out, **options):
    return lambda: nn.Linear(fan_in, fan_out, **options)


def of(kind, *args, **options):
    return lambda: kind(*args, **options)


# Modules and shapes of a sample: kernels 1, 2, 3, 5; strides; padding; every pool and their orders; odd sizes; rests dropped by pools.
CASES = {
    "relu, max": ((2, 7, 9), (conv(2, 3, padding=1), nn.ReLU, of(nn.MaxPool2d, 2), conv(3, 4, padding=1), nn.ReLU, of(nn.MaxPool2d, 2), nn.Flatten, dense(8, 2))),
    "no pool, one channel": ((1, 5, 4), (conv(1, 2), nn.Tanh, nn.Flatten, dense(12, 2))),
    "stride 2, padding 2, kernel 5": ((2, 8, 7), (conv(2, 3, 5, stride=2, padding=2, bias=False), nn.SiLU, nn.Flatten, dense(48, 2))),
    "even kernel, same": ((1, 6, 6), (conv(1, 3, 2), nn.Softplus, conv(3, 2, padding="same"), nn.GELU, nn.Flatten, dense(50, 2))),
    "1x1 convolutions": ((3, 3, 3), (conv(3, 5, 1), nn.ReLU, conv(5, 2, 1), nn.Sigmoid, nn.Flatten, dense(18, 2))),
    "average": ((2, 7, 6), (conv(2, 4, padding=1), nn.LeakyReLU, of(nn.AvgPool2d, (2, 3)), nn.Flatten, dense(24, 2))),
    "global": ((2, 6, 5), (conv(2, 4, padding=1), nn.Tanh, conv(4, 3), nn.ReLU, of(nn.AdaptiveAvgPool2d, 1), nn.Flatten, dense(3, 2))),
    "max, then global": ((2, 6, 9), (conv(2, 4, padding=1), nn.ReLU, of(nn.MaxPool2d, (2, 3)), of(nn.AdaptiveAvgPool2d, (1, None)), nn.Flatten, dense(12, 2))),
    "pool in front of the activation": ((2, 6, 6), (conv(2, 4), of(nn.MaxPool2d, 2), nn.GELU, of(nn.AvgPool2d, 2), nn.Flatten, dense(4, 2))),
    "linear convolutions": ((2, 5, 5), (conv(2, 3), of(nn.AvgPool2d, 3), nn.Flatten, dense(3, 2))),
    "17 channels": ((17, 4, 4), (conv(17, 3, padding=1), nn.ReLU, of(nn.MaxPool2d, 2), nn.Flatten, dense(12, 2, bias=False))),
    "two dense layers": ((1, 6, 6), (conv(1, 4), nn.Tanh, of(nn.MaxPool2d, 2), nn.Flatten, dense(16, 5), nn.ReLU, dense(5, 2))),
    "one pixel": ((3, 1, 1), (conv(3, 4, padding=1), nn.Tanh, nn.Flatten, dense(4, 2))),
    "a perceptron of many kinds": ((6,), (dense(6, 5), nn.Tanh, dense(5, 4, bias=False), nn.ReLU, dense(4, 3), dense(3, 3), nn.SiLU, dense(3, 2))),
    "a Sequential in a Sequential": ((1, 4, 4), (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), nn.Flatten, dense(8, 2))),
}  # fmt: skip


def data(shape, n=9, seed=1, dim=2):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, *shape))), torch.tensor(np.sign(rng.normal(size=(n, dim))))


@pytest.mark.parametrize("loss", ["mse", "squared_hinge"])
@pytest.mark.parametrize("case", CASES)
def test_both_paths_give_the_same_products(case, loss):
    shape, layers = CASES[case]
    net, batch = module(*layers), data(shape)
    native, autograd = (from_torch(net, loss, batch, native=native, weight_decay=0.1) for native in (True, False))
    assert isinstance(native, Hessian)
    assert differ(native, autograd) < 200 * EPS  # sums of up to 500 products of numbers of order 1
    assert np.abs(native.gradient - autograd.gradient).max() < 1e-13 and abs(native.risk - autograd.risk) < 1e-13
    outputs = net(batch[0]).detach().numpy()
    assert np.abs(Net.from_torch(net, input_shape=shape)(batch[0].numpy()) - outputs).max() < 1e-13


def test_cross_entropy_of_classes():
    shape, layers = CASES["relu, max"]
    X, _ = data(shape, n=12)
    native, autograd = (from_torch(module(*layers), nn.CrossEntropyLoss(), (X, torch.arange(12) % 2), native=n) for n in (True, False))
    assert differ(native, autograd) < 200 * EPS


def test_of_equal_values_in_a_window_the_first_counts():
    net = module(conv(1, 3, 1), nn.ReLU, of(nn.MaxPool2d, 2), nn.Flatten, dense(12, 1))
    X = torch.tensor(np.random.default_rng(0).integers(0, 2, (40, 1, 4, 4)).astype(float))  # ties in nearly every window
    with torch.no_grad():
        net[0].bias.abs_()
    y = torch.ones(40, 1)
    native, autograd = (from_torch(net, "mse", (X, y), native=n) for n in (True, False))
    assert differ(native, autograd) < 200 * EPS and np.abs(native.gradient - autograd.gradient).max() < 1e-14

    # The windows of a second convolution, as tied as the first, show which of the pixels it was.
    net = module(conv(1, 2, 1), nn.ReLU, conv(2, 3, 3, padding=1, bias=False), nn.ReLU, of(nn.MaxPool2d, (2, 4)), nn.Flatten, dense(6, 1))
    with torch.no_grad():
        net[2].weight.copy_(torch.sign(net[2].weight))
        net[0].weight.fill_(1.0)
        net[0].bias.fill_(0.0)
    native, autograd = (from_torch(net, "mse", (X, y), native=n) for n in (True, False))
    assert differ(native, autograd) < 200 * EPS and np.abs(native.gradient - autograd.gradient).max() < 1e-13


def test_float32_products_agree_where_the_gates_do():
    net = module(*CASES["relu, max"][1]).float()
    X, y = data((2, 7, 9), n=60)
    native, autograd = (from_torch(net, "hinge", (X.float(), y.float()), native=n) for n in (True, False))
    assert native.dtype == np.float32
    assert differ(native, autograd) < 4e-6  # the gates and maxima agree for this seed: rounding alone


@pytest.mark.parametrize("layers,reason", [
    ((conv(2, 3, groups=1, dilation=2), nn.Flatten, dense(27, 1)), "dilation"),
    ((conv(2, 4, groups=2), nn.Flatten, dense(100, 1)), "groups"),
    ((conv(2, 4, padding=1, padding_mode="circular"), nn.Flatten, dense(196, 1)), "padding"),
    ((conv(2, 4, (3, 1)), nn.Flatten, dense(140, 1)), "not square"),
    ((conv(2, 4, padding=(1, 0)), nn.Flatten, dense(140, 1)), "different paddings"),
    ((conv(2, 4), of(nn.MaxPool2d, 3, 2), nn.Flatten, dense(16, 1)), "do not overlap"),
    ((conv(2, 4), of(nn.MaxPool2d, 2, ceil_mode=True), nn.Flatten, dense(36, 1)), "do not overlap"),
    ((conv(2, 4), of(nn.AvgPool2d, 2), nn.ReLU, nn.Flatten, dense(16, 1)), "in front of ReLU"),
    ((conv(2, 4), of(nn.AvgPool2d, 2), of(nn.MaxPool2d, 2), nn.Flatten, dense(4, 1)), "follows another pool"),
    ((conv(2, 4), of(nn.AdaptiveAvgPool2d, 2), nn.Flatten, dense(16, 1)), "overlapping"),
    ((conv(2, 4), nn.ReLU, nn.Tanh, nn.Flatten, dense(100, 1)), "one activation"),
    ((conv(2, 4), nn.Flatten, nn.ReLU, dense(100, 1)), "behind Flatten"),
    ((conv(2, 4), of(nn.BatchNorm2d, 4), nn.Flatten, dense(100, 1)), "BatchNorm2d is not known"),
    ((conv(2, 4), of(nn.Flatten, 2), dense(25, 1), nn.Flatten), "Flatten from axis 2"),
    ((conv(2, 4), dense(5, 1), nn.Flatten), "without a Flatten"),
    ((nn.ReLU, conv(2, 4), nn.Flatten, dense(100, 1)), "begins with ReLU"),
    ((conv(2, 1, 7), nn.Flatten), "last layer is dense"),
    ((conv(2, 4), nn.Flatten, dense(100, 1), nn.Tanh), "last layer is linear"),
])  # fmt: skip
def test_other_modules_say_why_they_go_through_autograd(layers, reason):
    net = module(*layers)
    X, _ = data((2, 7, 7))
    y = torch.ones_like(net(X)).double()
    with pytest.raises(ArgumentError, match=reason):
        from_torch(net, "mse", (X, y), native=True)
    assert not isinstance(from_torch(net, "mse", (X, y)), Hessian)


def test_a_module_with_convolutions_needs_images():
    net = module(*CASES["relu, max"][1])
    with pytest.raises(ShapeError, match="channels, height, width"):
        Net.from_torch(net)
    with pytest.raises(ShapeError, match="of 2 channels"):
        Net.from_torch(net, input_shape=(3, 7, 9))
    made = Net.from_torch(net, input_shape=(2, 7, 9))
    assert [type(layer) for layer in made.layers] == [Conv2d, Conv2d, Dense] and made.dim_in == 126 and made.widths == (36, 8)
