"""Hessians of torch modules: autograd against the native path."""

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import Hessian, from_torch
from nnqft.net import Net

torch = pytest.importorskip("torch")

ACTIVATIONS = [torch.nn.ReLU, torch.nn.LeakyReLU, torch.nn.Tanh, torch.nn.Sigmoid, torch.nn.Softplus, torch.nn.SiLU, torch.nn.GELU]


def mlp(activation=torch.nn.Tanh, widths=(3, 6, 5, 2), bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(a, b, bias=bias, dtype=dtype), activation()]
    return torch.nn.Sequential(*layers[:-1])


def data(loss, n=20, dim=2, dtype=torch.float64):
    rng = np.random.default_rng(1)
    y = np.arange(n) % dim if loss == "cross_entropy" else np.sign(rng.normal(size=(n, dim)))
    return torch.tensor(rng.normal(size=(n, 3)), dtype=dtype), torch.tensor(y)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "logistic", "cross_entropy", "mse", "linear"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_paths_give_the_same_matrix(activation, loss):
    module = mlp(activation)
    native, autograd = (from_torch(module, loss, data(loss), native=native, weight_decay=0.1) for native in (True, False))
    assert isinstance(native, Hessian)
    a, b = native.dense(), autograd.dense()
    assert np.abs(a - b).max() < 1e-13 * max(1, np.abs(b).max())
    assert np.abs(native.gradient - autograd.gradient).max() < 1e-14 and abs(native.risk - autograd.risk) < 1e-14


@pytest.mark.parametrize("loss,targets", [
    (torch.nn.MSELoss(), lambda y: y), (torch.nn.BCEWithLogitsLoss(), lambda y: (y + 1) / 2),
    (torch.nn.SoftMarginLoss(), lambda y: y), (torch.nn.CrossEntropyLoss(), lambda y: (y[:, 0] > 0).long()),
])  # fmt: skip
def test_torch_losses_are_recognised(loss, targets):
    X, y = data("mse")
    native, autograd = (from_torch(mlp(), loss, (X, targets(y)), native=native) for native in (True, False))
    assert np.abs(native.dense() - autograd.dense()).max() < 1e-13


def test_batches_weigh_by_their_length_and_gradients_are_left_alone():
    module, (X, y) = mlp(bias=False), data("mse")
    batches = [(X[:3], y[:3]), (X[3:], y[3:])]
    whole = from_torch(module, "mse", (X, y), native=False)
    for native in (True, False):
        assert np.abs(from_torch(module, "mse", batches, native=native).dense() - whole.dense()).max() < 1e-14
    assert all(p.grad is None for p in module.parameters())


def test_shared_gates_make_float32_agree():
    module, (X, y) = mlp(torch.nn.ReLU, dtype=torch.float32), data("hinge", n=300, dtype=torch.float32)
    native, autograd = (from_torch(module, "hinge", (X, y), native=native) for native in (True, False))
    v = np.random.default_rng(0).normal(size=native.shape[0]).astype(np.float32)
    assert native.dtype == autograd.dtype == np.float32
    # the gates agree for this seed (a preactivation would have to lie within 1e-7 of zero): rounding alone
    assert np.abs(native @ v - autograd @ v).max() < 2e-6 * np.abs(native @ v).max()


def test_any_module_goes_through_autograd():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, dilation=2, padding=2, dtype=torch.float64), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(32, 1, dtype=torch.float64))
    X, y = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)
    H = from_torch(module, "mse", (X, y))
    A = H.dense()
    assert not isinstance(H, Hessian) and np.abs(A - A.T).max() < 1e-14

    def gradient(shift):
        with torch.no_grad():
            module[0].weight[0, 0, 0, 0] += shift
        g = from_torch(module, "mse", (X, y)).gradient
        with torch.no_grad():
            module[0].weight[0, 0, 0, 0] -= shift
        return g

    assert np.abs((gradient(1e-5) - gradient(-1e-5)) / 2e-5 - A[:, 0]).max() < 1e-9  # second order in the step, rounding 1e-11


def test_reasons_against_the_native_path_are_named():
    X, y = data("mse")
    linear = torch.nn.Linear(3, 3, dtype=torch.float64)
    frozen = mlp()
    frozen[0].weight.requires_grad_(False)
    for module, loss, reason in [
        (torch.nn.ModuleList([linear]), "mse", "not a Sequential"),
        (torch.nn.Sequential(linear, torch.nn.Tanh(), linear), "mse", "share parameters"),
        (frozen, "mse", "some are frozen"),
        (mlp(), lambda f, y: f.mean(), "is not one of"),
        (mlp(), torch.nn.MSELoss(reduction="sum"), "is not one of"),
        (torch.nn.Sequential(linear, torch.nn.Dropout(), torch.nn.Linear(3, 2, dtype=torch.float64)), "mse", "Dropout is not known"),
        (mlp().half(), "mse", "float16"),
    ]:
        with pytest.raises(ArgumentError, match=reason):
            from_torch(module, loss, (X, y), native=True)
    with pytest.raises(ArgumentError, match="no native path"):
        from_torch(frozen, "mse", (X, y), part="ggn")
    with pytest.raises(ArgumentError, match="no trainable parameters"):
        from_torch(torch.nn.Sequential(torch.nn.Tanh()), "mse", (X, y))
    for bad in ([], [(X, y[:3])], [X]):
        with pytest.raises(ShapeError):
            from_torch(mlp(), "mse", bad)
    with pytest.raises(ShapeError, match="one number per batch"):
        from_torch(mlp(), lambda f, y: f, (X, y), native=False)
    assert from_torch(frozen, "mse", (X, y)).shape[0] == sum(p.numel() for p in frozen.parameters() if p.requires_grad)


class Linear(torch.nn.Linear):
    def forward(self, x):
        return 3 * super().forward(x)


class ReLU(torch.nn.Module):
    def forward(self, x):
        return x**2


class Chain(torch.nn.Sequential):
    def forward(self, x):
        return super().forward(x) ** 3


class Plain(torch.nn.Sequential):
    def __init__(self, *layers):
        super().__init__(*layers)


def test_classes_that_share_a_name_with_those_of_torch_are_not_taken_for_them():
    X, y = data("mse")
    first, last = torch.nn.Linear(3, 4, dtype=torch.float64), torch.nn.Linear(4, 2, dtype=torch.float64)
    tanh = torch.nn.Tanh()
    tanh.forward = torch.sin
    own = Linear(3, 4, dtype=torch.float64)
    modules = [torch.nn.Sequential(own, torch.nn.Tanh(), last), torch.nn.Sequential(first, ReLU(), last), Chain(first, torch.nn.Tanh(), last),
               torch.nn.Sequential(Chain(first, torch.nn.Tanh()), last), torch.nn.Sequential(first, tanh, last)]  # fmt: skip
    for module in modules:
        with pytest.raises(ArgumentError, match="of its own"):
            from_torch(module, "mse", (X, y), native=True)
        with pytest.raises(ArgumentError, match="of its own|Chain is not known"):
            Net.from_torch(module)
        assert abs(from_torch(module, "mse", (X, y)).risk - ((module(X) - y) ** 2).mean().item()) < 1e-13
    assert isinstance(from_torch(Plain(first, torch.nn.Tanh(), last), "mse", (X, y), native=True), Hessian)


def test_nets_are_not_made_of_modules_with_hooks():
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    module[1].register_forward_hook(lambda layer, inputs, output: 2 * output)
    with pytest.raises(ArgumentError, match="hooks"):
        Net.from_torch(module)
