"""finite_width: layout of the result, and what it refuses."""

import numpy as np
import pytest
from nnqft import meanfield
from nnqft._meanfield._jets import Jet
from nnqft.errors import ArgumentError, ShapeError
from nnqft.meanfield import finite_width
from nnqft.networks import Network, cos_net, erf_net, mlp

NET = mlp(2, (20, 30), activation="erf", sigma_b=0.5, dim_out=2)
X = np.array([[0.3, 0.4], [1.0, -1.0]])


def test_the_module_exports_what_it_names():
    assert all(hasattr(meanfield, name) for name in meanfield.__all__)


def test_layers_run_from_the_first_pre_activations_to_the_output():
    deep = finite_width(NET, X)
    assert deep.K.shape == deep.G.shape == (3, 2, 2)
    assert deep.V.shape == (3, 2, 2, 2, 2)
    assert deep.fan_in == (2, 20, 30)
    assert deep.excess is None
    np.testing.assert_allclose(deep.K[0], 0.25 + X @ X.T / 2, rtol=1e-14)
    assert not deep.G[:2].any() and not deep.V[0].any()  # one layer deep the two-point function is K
    assert repr(deep).startswith("FiniteWidth(Network(2-20-30-2, erf")


def test_outputs_are_paired_with_themselves_only():
    four = finite_width(NET, X).connected(4)
    V = finite_width(NET, X).V[-1] / 30
    assert (four.size, four.d_out, four.order) == (4, 2, 4)
    assert four[(0, 0), (1, 0), (0, 1), (1, 1)].mean == pytest.approx(V[0, 1, 0, 1])
    assert four[(0, 0), (0, 0), (1, 1), (1, 1)].mean == pytest.approx(V[0, 0, 1, 1])
    assert four[(0, 0), (1, 0), (0, 0), (1, 0)].mean == pytest.approx(V[0, 0, 1, 1] + 2 * V[0, 1, 0, 1])
    assert four[(0, 0), (0, 0), (0, 0), (1, 1)].mean == 0
    assert not four.stderr.any()
    two = finite_width(NET, X).connected(2)
    assert two[(0, 0), (1, 1)].mean == 0 and two[(0, 1), (1, 1)].mean == two[(0, 0), (1, 0)].mean


def test_hidden_layers_have_correlators_too():
    deep = finite_width(NET, X)
    four = deep.connected(4, layer=1)
    assert four.size == 2 and four.how["layer"] == 1
    assert four[0, 0, 1, 1].mean == pytest.approx((deep.V[1, 0, 0, 1, 1] + 2 * deep.V[1, 0, 1, 0, 1]) / 20)
    assert not deep.connected(4, layer=-3).mean.any()
    shallower = finite_width(mlp(2, (20,), activation="erf", sigma_b=0.5), X)
    np.testing.assert_allclose(four.mean, shallower.connected(4).mean, rtol=1e-13)


def test_the_result_cannot_be_changed_by_accident():
    deep = finite_width(NET, X)
    with pytest.raises(AttributeError):
        deep.K = 0
    with pytest.raises(ValueError, match="read-only"):
        deep.V[0] = 1.0


@pytest.mark.parametrize("x", [
    np.float32([[0.3, 0.4], [1.0, -1.0]]), np.asfortranarray(X), X[::-1][::-1], np.broadcast_to(X[0], (2, 2)), X.tolist(),
])  # fmt: skip
def test_any_layout_of_the_inputs_will_do(x):
    expected = finite_width(NET, np.array(x, dtype=np.float64))
    assert (finite_width(NET, x).V == expected.V).all()


def test_inputs_are_not_touched():
    x = X.copy()
    x.setflags(write=False)
    deep = finite_width(NET, x)
    assert (deep.x == X).all()
    assert deep.x is not x


@pytest.mark.parametrize(("x", "error", "message"), [
    ([[1.0]], ShapeError, "expected \\(n_points, 2\\)"),
    (np.zeros((0, 2)), ShapeError, "n_points >= 1"),
    ([1.0, 2.0], ShapeError, "expected \\(n_points, 2\\)"),
    ([[1.0, np.nan]], ArgumentError, "finite"),
    ([[1.0, np.inf]], ArgumentError, "finite"),
    ([[1.0, 1j]], ShapeError, "dtype"),
    ([["a", "b"]], ShapeError, "dtype"),
    ([[1e200, 0.0]], ArgumentError, "overflows"),
    (np.ones((200, 2)), ArgumentError, "fewer points"),
])  # fmt: skip
def test_bad_inputs_are_named(x, error, message):
    with pytest.raises(error, match=message):
        finite_width(NET, x)


@pytest.mark.parametrize(("net", "message"), [
    ("erf", "must be a Network"),
    (cos_net(10, dim_in=2), "cos-net"),
    (Network(2, (10, 10), weight_law={"input": "sign"}), "input weights"),
    (Network(2, (10, 10), weight_law={"bias": "uniform"}), "bias weights"),
    (Network(2, (10, 10), weight_law={"hidden": ("student_t", 4.0)}), "fourth moment"),
    (Network(2, (10, 10), weight_law={"output": np.ones((1, 1, 10))}), "moments of a user array|fourth moment"),
    (Network(2, (10, 10), weight_law={"output_bias": ("student_t", 3.0)}), "fourth moment"),
    (Network(2, (10, 10), activation="gauss", weight_law={"hidden": "sign"}), "normaliser"),
    (Network(2, (10,) * 12, activation="exp"), "overflow"),
])  # fmt: skip
def test_laws_without_an_expansion_are_refused(net, message):
    with pytest.raises(ArgumentError, match=message):
        finite_width(net, X)


def test_a_bias_that_is_zero_may_have_any_law():
    net = Network(2, (10, 10), sigma_b=0.0, weight_law={"bias": ("student_t", 1.0)})
    assert np.isfinite(finite_width(net, X).V).all()


@pytest.mark.parametrize("n", [0, 3, 6, "4", None])
def test_other_orders_are_refused(n):
    with pytest.raises(ArgumentError, match="orders 2 and 4|order must be an integer"):
        finite_width(NET, X).connected(n)


@pytest.mark.parametrize("layer", [3, -4, 0.5, None, 10**30])
def test_layers_that_do_not_exist_are_refused(layer):
    with pytest.raises(ArgumentError, match=r"layer must (be an integer|lie in \[-3, 2\])"):
        finite_width(NET, X).connected(4, layer=layer)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "erf", "tanh", "gelu", "identity", "sin", "swish"])
def test_vanishing_fields_have_vanishing_corrections(activation):
    """Odd or homogeneous activations at x = 0 without bias, or sigma_w = 0; next to a point that does not vanish."""
    params = (0.2,) if activation == "leaky_relu" else ()
    deep = finite_width(mlp(1, (50, 50), activation=activation, activation_params=params), [0.0, 1.0])
    assert not deep.V[:, 0].any() and not deep.G[:, 0].any() and not deep.K[:, 0].any()
    assert deep.V[-1, 1, 1, 1, 1] > 0
    constant = finite_width(mlp(1, (50, 50), activation=activation, activation_params=params, sigma_w=0.0, sigma_b=0.3), [0.0, 1.0])
    np.testing.assert_allclose(constant.K, 0.09)
    assert not constant.V.any() and not constant.G.any()


@pytest.mark.parametrize("scale", [1e-300, 1e-70, 1e70])
def test_relu_networks_know_no_scale(scale):
    net = mlp(2, (50, 70, 60), activation="relu", sigma_w=1.3)
    one, other = finite_width(net, X), finite_width(net, scale * X)
    np.testing.assert_allclose(other.K, one.K * scale**2, rtol=1e-12)
    np.testing.assert_allclose(other.V, one.V * scale**4, rtol=1e-9, atol=1e-12 * one.V.max() * scale**4)


def test_the_number_of_layers_of_width_one_is_no_obstacle():
    deep = finite_width(mlp(1, (1,), activation="erf"), [[0.5]])
    assert deep.V.shape == (2, 1, 1, 1, 1)
    assert deep.V[-1].item() > 0


def test_jets_multiply_and_raise_to_powers_as_their_functions_do():
    x, y = Jet.variables(np.array([0.7]), np.array([-1.3]))
    f = (x * x * y + 2.0 * y) ** 3 * x**-0.5  # x^5.5 y^3 (1 + 2 / x^2)^3
    value = lambda a, b: (a * a * b + 2 * b) ** 3 / a**0.5  # noqa: E731
    h = 1e-3
    second = (value(0.7 + h, -1.3 + h) - value(0.7 + h, -1.3 - h) - value(0.7 - h, -1.3 + h) + value(0.7 - h, -1.3 - h)) / (4 * h * h)
    assert f.value[0] == pytest.approx(value(0.7, -1.3))
    assert f.grad[1, 0] == pytest.approx((value(0.7, -1.3 + h) - value(0.7, -1.3 - h)) / (2 * h), rel=1e-5)
    assert f.hess[0, 1, 0] == f.hess[1, 0, 0] == pytest.approx(second, rel=1e-4)
