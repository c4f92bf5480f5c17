"""Products with Hessians of nets against differences of gradients, and all that can be wrong with the arguments."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator, eigsh

from nnqft.errors import ArgumentError, ShapeError, StateError
from nnqft.hessian import Hessian, HessianBlock, Jacobian
from nnqft.networks import Net, cos_net, gauss_net

SMOOTH = ["erf", "tanh", "sigmoid", "softplus", "swish", "gelu", "sin", "cos", "exp", "identity", "polynomial"]
KINKED = ["relu", "leaky_relu"]
ELEMENTWISE = ["hinge", "squared_hinge", "logistic", "mse", "linear"]
EPS = np.finfo(np.float64).eps


def make(activation="tanh", widths=(3, 5, 4, 2), n=17, seed=0, biased=True, **options):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in zip(widths, widths[1:])]
    biases = [0.3 * rng.normal(size=len(w)) for w in weights] if biased else None
    params = {"leaky_relu": (0.2,), "polynomial": (0.1, 1.0, 0.3, -0.1)}.get(activation, ())
    net = Net(weights, biases, activation, params, **options)
    return net, rng.normal(size=(n, widths[0])), np.sign(rng.normal(size=(n, widths[-1])))


def moved(net, theta):
    """The net with other parameters, in the documented order."""
    weights, biases = [], []
    for w, b, biased in zip(net.weights, net.biases, net.biased):
        weights.append(theta[: w.size].reshape(w.shape))
        theta = theta[w.size :]
        biases.append(theta[: b.size] if biased else None)
        theta = theta[b.size :] if biased else theta
    assert not len(theta)
    return Net(weights, biases, net.activation, net.activation_params, amplitude=net.amplitude, normalisers=net.normalisers,
               skips=net.skips, scales=net.scales)  # fmt: skip


def check_against_differences(net, X, y, loss, tolerance=1e-9, **options):
    """Gradient from differences of the risk, Hessian from differences of the gradient: error about step^4 = 1e-16, rounding eps / step = 2e-12."""
    H = Hessian(net, X, y, loss=loss, **options)
    step, theta = 1e-4, H.theta
    for seed in range(2):
        v = np.random.default_rng(seed).normal(size=len(theta))
        v /= np.linalg.norm(v)
        at = [Hessian(moved(net, theta + k * step * v), X, y, loss=loss, **options) for k in (-2, -1, 1, 2)]
        stencil = np.array([1, -8, 8, -1]) / (12 * step)
        slope, curvature = stencil @ [h.risk for h in at], stencil @ [h.gradient for h in at]
        assert abs(slope - H.gradient @ v) < tolerance * (1 + abs(slope))
        assert np.abs(H @ v - curvature).max() < tolerance * (1 + np.abs(curvature).max())
    return H


@pytest.mark.parametrize("loss", ELEMENTWISE)
@pytest.mark.parametrize("activation", SMOOTH + KINKED)
def test_products_are_derivatives_of_the_gradient(activation, loss):
    # No kink of a relu or a hinge lies within the steps for these seeds: one that did would give an error of 1e-4.
    net, X, y = make(activation, seed=11)
    check_against_differences(net, X, y, loss)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("targets", ["classes", "probabilities"])
def test_cross_entropy_with_classes_and_with_probabilities(activation, targets):
    net, X, _ = make(activation, widths=(4, 6, 5), seed=3)
    y = np.arange(len(X)) % 5
    if targets == "probabilities":
        y = np.random.default_rng(0).dirichlet(np.ones(5), len(X))
    check_against_differences(net, X, y, "cross_entropy")


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
@pytest.mark.parametrize("loss", ["squared_hinge", "mse"])
def test_skips_and_scales(activation, loss):
    net, X, y = make(activation, widths=(4, 4, 4, 4, 2), seed=5, skips=(0.5, 1.0, -0.7), scales=(1.0, 0.3, 2.0))
    check_against_differences(net, X, y, loss)


def test_cosine_nets_with_amplitudes():
    net, X, y = make("cos", seed=2, amplitude=np.linspace(0.5, 2.0, 5))
    check_against_differences(net, X, y, "mse")


def test_gauss_nets_of_several_layers():
    net, X, y = make("gauss", seed=2, normalisers=((0.2, 0.1), (0.15, 0.3)))
    check_against_differences(net, X, y, "mse")


@pytest.mark.parametrize("law", [gauss_net, cos_net])
def test_drawn_nets(law):
    net = law(6, dim_in=2).draw(3, seed=1)
    X = np.random.default_rng(0).normal(size=(9, 2))
    H = Hessian(net, X, np.ones(9), loss="mse")
    assert H.shape[0] == sum(w.size for w in net.weights) + sum(len(b) for b, biased in zip(net.biases, net.biased) if biased)
    A = H.dense()
    assert np.abs(A - A.T).max() == 0 and np.isfinite(A).all()


@pytest.mark.parametrize("part", ["full", "residual", "ggn", "fisher", "empirical_fisher"])
@pytest.mark.parametrize("loss", ["logistic", "cross_entropy", "mse"])
def test_parts_against_jacobians(part, loss):
    net, X, y = make("tanh", seed=7)
    f = net(X)
    y = np.arange(len(X)) % 2 if loss == "cross_entropy" else y
    jacobian = np.array([[Hessian(net, X[i : i + 1], e, loss="linear").gradient * -2 for e in np.eye(2)[:, None]] for i in range(len(X))])
    if loss == "cross_entropy":
        p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
        first, second = p - np.eye(2)[y], np.einsum("ic,cd->icd", p, np.eye(2)) - np.einsum("ic,id->icd", p, p)
    elif loss == "mse":
        first, second = f - y, np.broadcast_to(np.eye(2), (len(X), 2, 2))
    else:
        first, second = -y / (1 + np.exp(y * f)) / 2, np.einsum("ic,cd->icd", 1 / (2 + 2 * np.cosh(f)), np.eye(2)) / 2
    ggn = np.einsum("icp,icd,idq->pq", jacobian, second, jacobian) / len(X)
    gradients = np.einsum("ic,icp->ip", first, jacobian)
    full = Hessian(net, X, y, loss=loss).dense()
    expected = {"full": full, "residual": full - ggn, "ggn": ggn, "fisher": ggn, "empirical_fisher": gradients.T @ gradients / len(X)}[part]
    assert np.abs(Hessian(net, X, y, loss=loss, part=part).dense() - expected).max() < 100 * EPS * np.abs(full).max()


def test_a_loss_of_the_users_with_diagonal_and_matrix_second_derivatives():
    net, X, y = make(seed=8)
    known = Hessian(net, X, y, loss="mse").dense()
    diagonal = Hessian(net, X, y, loss=lambda f, y: (((f - y) ** 2).mean(1), f - y, np.ones_like(f)))
    matrix = Hessian(net, X, y, loss=lambda f, y: (f - y, np.broadcast_to(np.eye(2), (len(f), 2, 2))))
    assert np.abs(diagonal.dense() - known).max() < 10 * EPS and np.abs(matrix.dense() - known).max() < 10 * EPS
    assert abs(diagonal.risk - Hessian(net, X, y, loss="mse").risk) < 10 * EPS
    with pytest.raises(StateError, match="returned no values"):
        assert matrix.risk

    def coupled(f, y):  # (sum f)^4 / 12
        total = f.sum(1)
        return total**4 / 12, (total**3 / 3)[:, None] * [1, 1], (total**2)[:, None, None] * np.ones((2, 2))

    check_against_differences(net, X, y, coupled)


def test_weights_of_samples_count_copies():
    net, X, y = make("relu", seed=9)
    counts = np.arange(len(X)) % 4
    repeated = Hessian(net, np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0), loss="logistic")
    weighted = Hessian(net, X, y, loss="logistic", sample_weight=counts)
    assert np.allclose(weighted.dense(), repeated.dense(), rtol=0, atol=20 * EPS)
    assert weighted.n_active == np.count_nonzero(counts)
    assert abs(weighted.risk - repeated.risk) < 20 * EPS and np.allclose(weighted.gradient, repeated.gradient, rtol=0, atol=20 * EPS)
    scaled = Hessian(net, X, y, loss="logistic", sample_weight=counts * 1e-300)
    assert np.allclose(scaled.dense(), weighted.dense(), rtol=0, atol=20 * EPS)


@pytest.mark.parametrize("part", ["full", "residual", "ggn"])
@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_leaving_out_inactive_samples_changes_rounding_alone(loss, part):
    net, X, y = make("relu", n=600, seed=10)
    X *= 10
    some, every = (Hessian(net, X, y, loss=loss, part=part, active_only=active) for active in (True, False))
    v = np.random.default_rng(0).normal(size=some.shape[0])
    assert every.n_active == 600
    assert np.abs(some @ v - every @ v).max() <= 100 * EPS * max(np.abs(every @ v).max(), 1e-300)
    if loss == "hinge" and part == "full":
        assert 0 < some.n_active < 600


def test_no_active_sample_gives_zero():
    net = Net.from_weights([np.ones((2, 2)), np.ones((1, 2))], activation="relu")
    H = Hessian(net, 5 * np.ones((3, 2)), np.ones(3), loss="hinge", weight_decay=0.5)
    assert H.n_active == 0 and H.risk == 0.5 * 0.5 * 6
    assert np.array_equal(H.dense(), 0.5 * np.eye(6))
    assert H.entries([0, 1], [0, 2], per_sample=True).shape == (3, 2)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 255, 256, 257, 513, 1100])
@pytest.mark.parametrize("widths", [(1, 1), (2, 1, 1), (3, 7, 13, 1), (5, 6, 130, 3)])
def test_any_number_of_samples_and_widths(widths, n):
    net, X, y = make("tanh", widths=widths, n=n, seed=n)
    H = Hessian(net, X, y, loss="mse")
    v = np.random.default_rng(1).normal(size=(H.shape[0], 3))
    one_by_one = sum(Hessian(net, X[i : i + 1], y[i : i + 1], loss="mse") @ v for i in range(0, n, max(1, n // 20)))
    thinned = Hessian(net, X, y, loss="mse", sample_weight=np.arange(n) % max(1, n // 20) == 0)
    count = len(range(0, n, max(1, n // 20)))
    assert np.allclose(thinned @ v, one_by_one / count, rtol=0, atol=1e-13 * np.abs(one_by_one).max())
    assert np.allclose(H @ v, np.stack([H @ x for x in v.T], 1), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype):
    net, X, y = make("tanh", widths=(30, 40, 50, 3), n=2500, seed=4)
    v = np.random.default_rng(0).normal(size=(30 * 40 + 40 * 50 + 150 + 93, 5)).astype(dtype)
    results = [Hessian(net, X, y, loss="logistic", threads=threads, dtype=dtype).matmat(v) for threads in (1, 2, 7)]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_instruction_sets_agree_to_rounding():
    code = """if 1:
        import sys, numpy as np
        from test_hessian import make
        from nnqft.hessian import Hessian
        net, X, y = make('tanh', widths=(5, 9, 7, 2), n=300)
        for dtype in ('float64', 'float32'):
            H = Hessian(net, X, y, loss='logistic', dtype=dtype)
            v = np.random.default_rng(0).normal(size=(H.shape[0], 4)).astype(dtype)
            sys.stdout.write(' '.join(map(repr, (H @ v).ravel().tolist())) + '\\n')
    """
    from nnqft._core import isas

    results = []
    for isa in isas():
        environment = {**os.environ, "NNQFT_ISA": isa, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
        lines = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout.split("\n")
        results.append([np.array(line.split(), float) for line in lines[:2]])
    for doubles, singles in results:
        assert np.abs(doubles - results[0][0]).max() < 1e-14 * np.abs(results[0][0]).max()
        assert np.abs(singles - results[0][0]).max() < 2e-6 * np.abs(results[0][0]).max()


def test_blocks_and_layers_are_parts_of_the_whole():
    net, X, y = make(seed=12, widths=(3, 4, 5, 2))
    H = Hessian(net, X, y, loss="logistic")
    A = H.dense()
    for rows in [(0,), (1,), (2,), (0, 2)]:
        for columns in [(0,), (1,), (2,), (1, 2)]:
            pick = [np.concatenate([np.arange(*H.ranges[layer]) for layer in layers]) for layers in (rows, columns)]
            block = H.blocks(rows, columns)
            assert np.abs(block.dense() - A[np.ix_(*pick)]).max() < 10 * EPS
            assert np.abs(block.T @ np.eye(block.shape[0]) - A[np.ix_(*pick)].T).max() < 10 * EPS
    middle = Hessian(net, X, y, loss="logistic", layers=-2)
    start, stop = H.ranges[1]
    assert np.abs(middle.dense() - A[start:stop, start:stop]).max() < 10 * EPS
    assert np.array_equal(middle.theta, H.theta[start:stop]) and np.allclose(middle.gradient, H.gradient[start:stop], rtol=0, atol=0)


@pytest.mark.parametrize("part", ["full", "residual", "ggn"])
@pytest.mark.parametrize("layers", [None, (0, 2)])
def test_entries_are_those_of_the_matrix_and_sums_over_samples(part, layers):
    net, X, y = make("swish", seed=13)
    H = Hessian(net, X, y, loss="squared_hinge", part=part, layers=layers, weight_decay=0.1)
    rows, columns = np.random.default_rng(0).integers(0, H.shape[0], (2, 200))
    decay = 0.1 * (rows == columns) * (part != "residual")
    expected = H.dense()[rows, columns]
    samples = H.entries(rows, columns, per_sample=True)
    assert np.abs(H.entries(rows, columns) - expected).max() < 20 * EPS
    assert samples.shape == (len(X), 200) and np.abs(samples.sum(0) + decay - expected).max() < 20 * EPS
    i = int(H.active[0])
    alone = Hessian(net, X[i : i + 1], y[i : i + 1], loss="squared_hinge", part=part, layers=layers).dense()[rows, columns]
    assert np.abs(samples[i] * len(X) - alone).max() < 1e3 * EPS
    assert H.entries([], []).shape == (0,)


def test_it_is_a_scipy_operator():
    net, X, y = make(seed=14)
    H = Hessian(net, X, y, loss="mse")
    A = H.dense()
    assert aslinearoperator(H) is H and H.T is H
    assert abs(eigsh(H, 1, which="LA", v0=np.ones(len(A)))[0][0] - np.linalg.eigvalsh(A)[-1]) < 1e-10
    v = np.random.default_rng(0).normal(size=(2 * len(A), 4))[::-2]
    v.flags.writeable = False
    assert np.allclose(H @ v, A @ v, rtol=0, atol=1e-13) and np.allclose((2 * H + H) @ v[:, 0], 3 * A @ v[:, 0], rtol=0, atol=1e-12)
    assert np.allclose(H @ np.asfortranarray(v), A @ v, rtol=0, atol=1e-13)
    assert (H @ np.zeros((len(A), 0))).shape == (len(A), 0)
    assert "62 parameters, 17 of 17 samples" in repr(Hessian(make(widths=(3, 5, 5, 2))[0], X, y, loss="mse"))


def test_a_matrix_past_memory_is_refused_before_its_first_product(monkeypatch):
    net, X, y = make()
    H = Hessian(net, X, y, loss="mse")
    monkeypatch.setattr("nnqft._lanczos._driver.available_memory", lambda: 1e3)
    monkeypatch.setattr(HessianBlock, "_apply", lambda *_: pytest.fail("a product"))
    for operator in (H, H.blocks(0, 1)):
        with pytest.raises(ArgumentError, match="GB .* take products"):
            operator.dense()
    with pytest.raises(ArgumentError, match="GB .* take products"):
        Jacobian(net, X).dense()


def test_a_matrix_takes_little_more_than_its_own_memory():
    net, X, y = make("relu", widths=(40, 48, 1))
    H = Hessian(net, X.astype(np.float32), y, loss="hinge")
    tracemalloc.start()
    A = H.dense()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(A, A.T) and peak < 1.5 * A.nbytes  # three strips of 256 of 2017 columns, products of 64 vectors


def test_tiny_and_huge_scales():
    net, X, y = make("identity", widths=(3, 4, 1), seed=15)
    A = Hessian(net, X, y, loss="linear").dense()
    for scale in (2.0**-500, 2.0**500):
        assert np.array_equal(Hessian(net, X * scale, y, loss="linear").dense(), _first_layer_scaled(net, A, scale))
    with pytest.raises(ArgumentError, match="not finite for sample 0"):
        Hessian(Net.from_weights([np.full((2, 3), 1e200), np.full((1, 2), 1e200)], activation="identity"), np.ones((2, 3)), np.ones(2), loss="mse")


def _first_layer_scaled(net, A, scale):
    """Inputs times a power of two multiply the blocks between both layers, and the layer-0 bias by 1."""
    factor = np.ones(len(A))
    factor[: net.weights[0].size] = scale
    return A * factor[:, None] * factor


@pytest.mark.parametrize("change,error,message", [
    ({"net": "net"}, ArgumentError, "expected a Net"),
    ({"X": np.ones((4, 2))}, ShapeError, r"expected \(samples, 3\)"),
    ({"X": np.ones((0, 3))}, ShapeError, "one sample or more"),
    ({"X": np.ones(3)}, ShapeError, "X has shape"),
    ({"X": np.ones((17, 3), int)}, ArgumentError, "X has dtype int64"),
    ({"X": np.ones((17, 3), complex)}, ArgumentError, "X has dtype complex128"),
    ({"X": np.full((17, 3), np.nan)}, ArgumentError, "not finite in sample 0"),
    ({"y": np.ones(17)}, ShapeError, r"expected \(17, 2\)"),
    ({"y": np.zeros((17, 2)), "loss": "hinge"}, ArgumentError, r"use 2 \* y - 1"),
    ({"y": np.full((17, 2), np.inf)}, ArgumentError, "y is not finite in sample 0"),
    ({"y": np.full((17, 2), "a")}, ArgumentError, "expected real numbers"),
    ({"loss": "l1"}, ArgumentError, "unknown loss 'l1'"),
    ({"loss": None}, ArgumentError, "a callable"),
    ({"loss": "cross_entropy", "y": np.full(17, 2)}, ArgumentError, "classes 0 .. 1"),
    ({"loss": "cross_entropy", "y": np.full(17, 0.5)}, ArgumentError, "classes 0 .. 1"),
    ({"loss": lambda f, y: f}, ArgumentError, r"\(first, second\)"),
    ({"loss": lambda f, y: (f[:3], f)}, ShapeError, "returned first"),
    ({"loss": lambda f, y: (f * np.nan, f)}, ArgumentError, "first derivatives that are not finite"),
    ({"loss": lambda f, y: (f, np.arange(4.0).reshape(1, 2, 2) + np.zeros((17, 1, 1)))}, ArgumentError, "symmetric"),
    ({"part": "half"}, ArgumentError, "unknown part"),
    ({"part": "fisher", "loss": "hinge"}, ArgumentError, "no Fisher matrix"),
    ({"layers": 3}, ArgumentError, "expected some of 0 .. 2"),
    ({"layers": ()}, ArgumentError, "expected some of"),
    ({"sample_weight": np.ones(3)}, ShapeError, r"shape \(17,\)"),
    ({"sample_weight": -np.ones(17)}, ArgumentError, ">= 0"),
    ({"sample_weight": np.zeros(17)}, ArgumentError, "not all of them zero"),
    ({"weight_decay": np.nan}, ArgumentError, "weight_decay"),
    ({"dtype": "float16"}, ArgumentError, "dtype is float16"),
    ({"threads": 0}, ArgumentError, "threads must"),
])  # fmt: skip
def test_bad_arguments_are_named(change, error, message):
    net, X, y = make()
    arguments = {"net": net, "X": X, "y": y, "loss": "mse"} | change
    with pytest.raises(error, match=message):
        Hessian(arguments.pop("net"), arguments.pop("X"), arguments.pop("y"), **arguments)


def test_bad_vectors_and_indices_are_named():
    net, X, y = make()
    H = Hessian(net, X, y, loss="mse")
    with pytest.raises(ArgumentError, match="complex128"):
        H @ np.ones(H.shape[0], complex)
    for wrong in (np.ones(3), np.ones((3, 2)), np.ones((H.shape[0], 1, 1))):
        with pytest.raises(ValueError):
            H @ wrong
    with pytest.raises(ArgumentError, match="reaches from -1"):
        H.entries([-1], [0])
    with pytest.raises(ShapeError, match="expected integers"):
        H.entries([0.5], [0])
    with pytest.raises(ShapeError, match="expected as many"):
        H.entries([0, 1], [0])
    assert np.isnan(H @ np.full(H.shape[0], np.nan)).all()
    with pytest.raises(ShapeError, match="joins 3 inputs and 5 neurons"):
        make(skips=(1.0, 0.0))


def test_the_core_refuses_what_does_not_fit():
    from nnqft import _core

    net, X, y = make()
    H = Hessian(net, X, y, loss="mse")
    good = np.zeros((1, H.shape[0]))
    for bad in (good.astype(np.float32), good[:, :-1], good[0], np.zeros((2 * H.shape[0], 1)).T[:, ::2], good.astype(">f8")):
        with pytest.raises(ShapeError):
            H._core.apply(bad, [], [], 1)
    with pytest.raises(ShapeError, match="one flag per layer"):
        H._core.apply(good, [True], [], 1)

    def layer(fan_in, fan_out, activation=0, params=(), conv=()):
        return (fan_in, fan_out, False, activation, list(params), [], 0.0, 0.0, 0.0, list(conv))

    def conv(channels=2, height=6, width=5, filters=3, kernel=3, stride=1, padding=1, pools=(1, 1, 1, 1)):
        return layer(0, 0, conv=(channels, height, width, filters, kernel, stride, padding, *pools, 0))

    assert _core.NetStructure([conv(), layer(90, 1)]).size == 3 * 18 + 90
    for layers in ([], [layer(2, 3), layer(4, 1)], [layer(2**40, 2**40)], [layer(0, 1)], [conv()], [layer(60, 60), conv(), layer(90, 1)],
                   [conv(), conv(), layer(90, 1)], [conv(height=2**21), layer(90, 1)], [conv(kernel=9), layer(6, 1)], [conv(padding=3), layer(150, 1)],
                   [conv(pools=(1, 1, 7, 1)), layer(90, 1)], [conv(height=2**20, width=2**20), layer(90, 1)], [conv(stride=0), layer(90, 1)],
                   [conv(filters=2**20, height=2**10, width=2**10), layer(90, 1)]):  # fmt: skip
        with pytest.raises(ShapeError):
            _core.NetStructure(layers)
    for bad in (layer(2, 3, 99), layer(2, 3, 12), layer(2, 3, 12, [1.0] * 99), layer(2, 3, conv=[1] * 11), conv(kernel=0)):
        with pytest.raises(ArgumentError):
            _core.NetStructure([bad])
    with pytest.raises(TypeError):
        _core.NetHessianF64.__new__(_core.NetHessianF64).apply(good, [], [], 1)


def test_lanczos_runs_on_the_native_handle():
    from nnqft import _core

    if not hasattr(_core, "Operator64"):
        pytest.skip("this build has no Lanczos driver")
    from nnqft.lanczos import as_operator

    net, X, y = make("relu", widths=(10, 12, 9, 1), n=700, seed=1)
    for dtype in (np.float64, np.float32):
        for layers in (None, (0, 2)):
            H = Hessian(net, X, y, loss="logistic", layers=layers, dtype=dtype)
            V = np.random.default_rng(0).normal(size=(H.shape[0], 3)).astype(dtype)
            op = as_operator(H)
            assert op.native is not None and op.dtype == dtype
            assert np.array_equal(op.matmat(V), H @ V)


def test_weights_whose_squares_overflow_leave_a_risk_without_weight_decay():
    net = Net.from_weights([np.full((2, 1), 1e200), np.full((1, 2), 1e-200)], activation="relu")
    assert Hessian(net, np.ones((1, 1)), np.array([3.0]), loss="mse").risk == pytest.approx(1.0, rel=1e-12)
