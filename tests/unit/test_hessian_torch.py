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


class Wrapped(torch.nn.Module):
    """What only autograd takes."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


ONE = (3, 4, 1)
PROBABILITIES = torch.tensor([[1.5, -0.5]]).repeat(20, 1)


@pytest.mark.parametrize("path", [lambda module: module, Wrapped])
@pytest.mark.parametrize("loss,widths,y,message", [
    ("hinge", ONE, torch.arange(20) % 2, r"use 2 \* y - 1"),
    ("squared_hinge", ONE, torch.arange(20.0)[:, None] % 2, r"use 2 \* y - 1"),
    ("logistic", (3, 2), torch.ones(20, 2) * 0.5, "targets -1 and \\+1"),
    ("cross_entropy", (3, 2), torch.full((20,), 0.7), "classes 0 .. 1"),
    ("cross_entropy", (3, 2), torch.full((20,), 2), "classes 0 .. 1"),
    ("cross_entropy", (3, 2), PROBABILITIES, "negative"),
    (torch.nn.CrossEntropyLoss(), (3, 2), PROBABILITIES, "negative"),
    (torch.nn.CrossEntropyLoss(), (3, 2), torch.full((20,), 2), "classes 0 .. 1|out of bounds"),
    ("mse", (3, 2), torch.ones(20, 3), r"\(20, 3\)"),
    ("mse", ONE, torch.full((20, 1), np.nan), "y is not finite in sample 0"),
    (torch.nn.MSELoss(), ONE, torch.full((20, 1), np.inf), "y is not finite in sample 0"),
    (torch.nn.MSELoss(), ONE, torch.ones(20), r"y has shape \(20,\), the outputs \(20, 1\)"),
    (torch.nn.MSELoss(), (3, 2), torch.ones(20, 1), r"y has shape \(20, 1\), the outputs \(20, 2\)"),
    (torch.nn.SoftMarginLoss(), ONE, torch.ones(20), r"y has shape \(20,\)"),
    (torch.nn.BCEWithLogitsLoss(), ONE, torch.ones(20), r"y has shape \(20,\)"),
    (torch.nn.L1Loss(), ONE, torch.ones(20), r"y has shape \(20,\)"),
])  # fmt: skip
def test_bad_targets_are_refused_on_both_paths(path, loss, widths, y, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        from_torch(path(mlp(widths=widths)), loss, (data("mse")[0], y))


@pytest.mark.parametrize("loss,y", [
    (torch.nn.BCEWithLogitsLoss(), torch.linspace(0, 1, 20)[:, None]), (torch.nn.SoftMarginLoss(), torch.linspace(-2, 2, 20)[:, None]),
])  # fmt: skip
def test_targets_that_torch_takes_and_no_loss_of_ours_go_through_autograd(loss, y):
    module, X = mlp(widths=ONE), data("mse")[0]
    H = from_torch(module, loss, (X, y))
    assert not isinstance(H, Hessian) and abs(H.risk - loss(module(X), y.double()).item()) < 1e-15


@pytest.mark.parametrize("y", [torch.ones(20), torch.ones(20, 1)])
@pytest.mark.parametrize("loss", ["hinge", "mse", "linear"])
def test_names_take_targets_of_one_output_in_both_shapes_on_both_paths(loss, y):
    X, module = data("mse")[0], mlp(widths=ONE)
    native, autograd = (from_torch(module, loss, (X, y), native=native) for native in (True, False))
    assert abs(native.risk - autograd.risk) < 1e-15 and np.abs(native.dense() - autograd.dense()).max() < 1e-14


@pytest.mark.parametrize("path", [lambda module: module, Wrapped])
@pytest.mark.parametrize("change,message", [
    ({"module": None}, "module is a NoneType"), ({"loss": None}, "loss is None"), ({"loss": "huber"}, "loss is 'huber'"), ({"data": None}, "data is a NoneType"),
    ({"data": 3}, "data is a int"), ({"data": [(1, 2)]}, "as many targets"), ({"X": lambda X: X * np.nan}, "X is not finite in sample 0"),
    ({"X": lambda X: X[:, :2]}, r"\(20, 2\)"), ({"X": lambda X: X.long()}, "int64|dtype"), ({"X": lambda X: X[:, 0]}, r"\(20,\)"),
    ({"X": lambda X: [str(x) for x in X]}, "real numbers"), ({"weight_decay": -1}, "weight_decay"), ({"weight_decay": np.nan}, "weight_decay"),
    ({"weight_decay": "x"}, "weight_decay"), ({"data": [(torch.ones(2, 3), torch.ones(2, 2)), (torch.ones(2, 4), torch.ones(2, 2))]}, "4"),
])  # fmt: skip
def test_other_bad_arguments_are_named_on_both_paths(path, change, message):
    X, y = data("mse")
    options = {"module": path(mlp()), "loss": "mse", "data": (change.get("X", lambda X: X)(X), y)} | {k: v for k, v in change.items() if k != "X"}
    options["data"] = [options["data"]] if isinstance(options["data"], tuple) else options["data"]
    with pytest.raises((ArgumentError, ShapeError), match=message):
        from_torch(options.pop("module"), options.pop("loss"), options.pop("data"), **options)


def test_what_torch_flattens_not_is_not_flattened():
    X, y = torch.randn(20, 2, 3, dtype=torch.float64), torch.ones(20, 2, 2, dtype=torch.float64)
    module = mlp()  # takes the last axis: outputs (20, 2, 2)
    assert abs(from_torch(module, "mse", (X, y)).risk - ((module(X) - y) ** 2).mean().item()) < 1e-15
    with pytest.raises(ArgumentError, match="takes its last axis"):
        from_torch(module, "mse", (X, y), native=True)
    assert isinstance(from_torch(torch.nn.Sequential(torch.nn.Flatten(), *mlp(widths=(6, 4, 2))), "mse", (X, y[:, 0])), Hessian)


def test_arrays_are_read_however_they_lie():
    X, y = (a.numpy() for a in data("mse"))
    X.flags.writeable = False
    expected = from_torch(mlp(), "mse", (X, y), native=False).gradient
    for native in (True, False):
        found = from_torch(mlp(), "mse", (np.asfortranarray(X)[::-1], y[::-1]), native=native).gradient
        assert np.abs(found - expected).max() < 1e-14


def test_the_logistic_loss_of_torch_curves_at_large_margins_too():
    module = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        module[0].weight[:] = 25.0
    data = torch.ones(1, 1, dtype=torch.float64), -torch.ones(1, 1, dtype=torch.float64)
    native, autograd = (from_torch(module, "logistic", data, native=n).dense() for n in (True, False))
    np.testing.assert_allclose(autograd, native, rtol=1e-12)
    np.testing.assert_allclose(native, np.exp(-25.0), rtol=1e-10)
