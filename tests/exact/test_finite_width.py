"""The 1/width expansion against networks that can be solved: one hidden layer, two for one point, linear, relu at one point."""

from math import comb

import numpy as np
import pytest
from nnqft._duals import ACTIVATIONS, dual
from nnqft._exact import _moments, exact_moments
from nnqft._meanfield._four_point import four_point
from nnqft._meanfield._pair_jets import pair_derivatives
from nnqft.ensemble import exact_correlators
from nnqft.errors import NNQFTWarning
from nnqft.meanfield import finite_width
from nnqft.networks import Network, gauss_net, mlp, nngp
from numpy.polynomial import Chebyshev, Polynomial
from scipy.special import erf

PARAMS = {"leaky_relu": (0.1,), "polynomial": (0.3, 1.0, -0.2, 0.1)}
COVARIANCES = np.array([
    (1.0, 0.3, 0.8), (0.7, -0.4, 1.5), (2.0, 1.9, 2.1), (0.05, 0.02, 0.03), (6.0, -4.0, 5.0), (0.5, 0.49, 0.5), (1.0, 0.0, 1.0),
]).T  # fmt: skip
X = np.array([[0.6, -0.2], [-0.4, 0.9], [1.1, 0.3]])


def slope(f, step):
    """Derivative at 0 by five points: error step^4, rounding 1e-16 / step."""
    return (f(-2 * step) - 8 * f(-step) + 8 * f(step) - f(2 * step)) / (12 * step)


# ---- derivatives of pair averages ----


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_of_pair_averages_are_their_slopes(activation):
    params = PARAMS.get(activation, ())
    grad, hess = pair_derivatives(activation, params, *COVARIANCES)
    kxx, kxy, kyy = COVARIANCES
    step = 1e-3 * np.minimum(np.sqrt(kxx * kyy) - abs(kxy), 0.5 * np.minimum(kxx, kyy))
    for k, direction in enumerate(np.eye(3)[:, :, None]):
        first = slope(lambda s: dual(activation, params, *(COVARIANCES + direction * s)), step)
        second = slope(lambda s: pair_derivatives(activation, params, *(COVARIANCES + direction * s))[0], step)
        assert (abs(first - grad[k]) < 1e-8 * abs(grad).max(axis=0)).all()  # steps down to 5e-6
        assert (abs(second - hess[k]) <= 1e-8 * abs(hess).max(axis=(0, 1))).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_hold_where_the_points_coincide(activation):
    params, q = PARAMS.get(activation, ()), np.array([0.7])
    grad, hess = pair_derivatives(activation, params, q, q, q)
    first = slope(lambda s: dual(activation, params, q + s, q + s, q + s), 1e-3)
    second = slope(lambda s: pair_derivatives(activation, params, q + s, q + s, q + s)[0].sum(0), 1e-3)
    np.testing.assert_allclose(grad.sum(0), first, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(hess.sum((0, 1)), second, atol=1e-10)


# ---- averages over four Gaussians ----


SPREAD = np.random.default_rng(0).normal(size=(5, 4))
PLANE = np.array([[1.0, 0.0, 0.3], [-0.5, 0.0, -0.15], [0.0, 0.0, 0.0], [1.0, 0.0, 0.3], [0.4, -0.7, 0.2], [0.1, 0.2, 0.9]])


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "swish", "gelu", "relu"])
@pytest.mark.parametrize("rows", [0.5 * SPREAD, 0.05 * SPREAD[:4], PLANE], ids=["generic", "small", "dependent"])
def test_products_one_by_one_are_the_tensor_rules(activation, rows):
    """The same averages with one dimension less, or one cone; rows that are zero, equal or opposite included."""
    expected = _moments(activation, (), rows, 4, "auto")
    np.testing.assert_allclose(four_point(activation, (), rows), expected, rtol=1e-10, atol=1e-12 * abs(expected).max())


# ---- one hidden layer: exact ----


@pytest.mark.parametrize("activation", sorted({*ACTIVATIONS} - {"gauss"}))
def test_one_hidden_layer_is_the_exact_result(activation):
    """Rounding, relative to the moment 3 M_4 that the connected function is left over from."""
    net = Network(2, 20, activation=activation, activation_params=PARAMS.get(activation, ()), sigma_w=1.2, sigma_b=0.4)
    expansion, exact = finite_width(net, X), exact_correlators(net, X, orders=(2, 4))
    np.testing.assert_allclose(expansion.connected(2).mean, exact.connected(2).mean, rtol=1e-12)
    np.testing.assert_allclose(expansion.connected(4).mean, exact.connected(4).mean, rtol=1e-9, atol=1e-12 * exact.full(4).mean.max())


@pytest.mark.parametrize("laws", [{}, {"weight_law": "normal", "dim_out": 2},
                                  {"weight_law": {"output": "sign"}, "dim_out": 2},
                                  {"weight_law": {"output": ("student_t", 7.0), "output_bias": "uniform"}, "dim_out": 3}])  # fmt: skip
def test_outputs_of_any_number_and_law_are_the_exact_ones(laws):
    net = Network(2, 20, activation="erf", sigma_w=1.2, sigma_b=0.4, **laws)
    for n in (2, 4):
        mine, exact = finite_width(net, X[:2]).connected(n), exact_correlators(net, X[:2], orders=(2, 4)).connected(n)
        np.testing.assert_allclose(mine.mean, exact.mean, rtol=1e-9, atol=1e-15)
        assert (mine.size, mine.d_out) == (exact.size, exact.d_out)


def test_the_gauss_net_of_one_layer_is_exact():
    net = gauss_net(20, dim_in=2)
    four = finite_width(net, X).connected(4).mean
    np.testing.assert_allclose(four, exact_moments(net, X, (4,))[4].connected, rtol=1e-12)


# ---- two hidden layers and one point: all orders in 1/width, by quadrature ----


def two_layers(phi, sigma_w2, sigma_b2, x, widths, degree=12):
    """E C and Var C at the output, C = sigma_b^2 + sigma_w^2 mean_j phi(z_j)^2, exactly.

    The second covariance is a mean of n independent terms, whose cumulants are known; functions of it are expanded about
    its mean (the 13th central moment at n = 32 is below 1e-12).
    """
    z = np.linspace(-10.0, 10.0, 2001)
    weight = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    average = lambda power, c: (phi(np.sqrt(c) * z) ** power * weight).sum()  # noqa: E731
    moment = [average(2 * k, sigma_b2 + sigma_w2 * x * x) for k in range(degree + 1)]
    kappa = [0.0]
    for k in range(1, degree + 1):
        kappa.append(moment[k] - sum(comb(k - 1, j - 1) * kappa[j] * moment[k - j] for j in range(1, k)))
    of_mean = [0.0, 0.0] + [kappa[k] / widths[0] ** (k - 1) for k in range(2, degree + 1)]
    central = [1.0]
    for k in range(1, degree + 1):
        central.append(sum(comb(k - 1, j - 1) * of_mean[j] * central[k - j] for j in range(1, k + 1)))
    centre, half = sigma_b2 + sigma_w2 * kappa[1], 0.6 * (sigma_b2 + sigma_w2 * kappa[1])

    def expected(function):
        series = Chebyshev.interpolate(lambda t: np.array([function(centre + half * s) for s in t]), 30)
        powers = series.convert(kind=Polynomial).coef[: degree + 1]
        return (powers * np.array(central) * (sigma_w2 / half) ** np.arange(degree + 1)).sum()

    next_mean = lambda c: sigma_b2 + sigma_w2 * average(2, c)  # noqa: E731
    mean = expected(next_mean)
    spread = expected(lambda c: sigma_w2**2 * (average(4, c) - average(2, c) ** 2)) / widths[1]
    return mean, spread + expected(lambda c: (next_mean(c) - mean) ** 2)


@pytest.mark.parametrize(("name", "phi", "sigma_w2", "sigma_b2", "remainder"), [
    ("erf", erf, 1.0, 1.0, (5.2005e-4, 5.009e-4)), ("tanh", np.tanh, 2.25, 0.09, (0.034496, -0.02265)),
])  # fmt: skip
def test_what_the_expansion_leaves_out_is_of_second_order(name, phi, sigma_w2, sigma_b2, remainder):
    """n^2 times the error tends to a constant, the same for every n up to O(1/n): slopes of -2 within 2 %."""
    errors = []
    for n in (32, 64, 128, 256, 512):
        net = mlp(1, (n, 2 * n), activation=name, sigma_w=sigma_w2**0.5, sigma_b=sigma_b2**0.5)
        expansion, (mean, variance) = finite_width(net, [[0.6]]), two_layers(phi, sigma_w2, sigma_b2, 0.6, net.widths)
        errors.append((expansion.connected(2).mean[0] - mean, expansion.connected(4).mean[0] / 3 - variance))
        assert abs(errors[-1][1]) < 0.3 / n * variance
    np.testing.assert_allclose(np.array(errors[-1]) * 512**2, remainder, rtol=1e-3)
    np.testing.assert_allclose(np.diff(np.log(np.abs(errors)), axis=0) / np.log(2), -2.0, atol=0.02)


# ---- linear and relu networks: all widths in closed form ----


def linear_covariance(kernel, widths, sigma_w2):
    """E C_ab C_cd of a deep linear net: E[(zz/n)_ab (zz/n)_cd] = C_ab C_cd + (C_ac C_bd + C_ad C_bc) / n, layer by layer."""
    second = np.einsum("ab,cd->abcd", kernel, kernel)
    for n in widths:
        second = sigma_w2**2 * (second + (second.transpose(0, 2, 1, 3) + second.transpose(0, 2, 3, 1)) / n)
    mean = sigma_w2 ** len(widths) * kernel
    return second - np.einsum("ab,cd->abcd", mean, mean)


def test_deep_linear_networks_are_products_of_wishart_matrices():
    widths, sigma_w2 = np.array([100, 70, 150, 120]), 1.44
    kernel = sigma_w2 / 2 * X @ X.T
    errors = []
    for scale in (8, 16):
        deep = finite_width(mlp(2, scale * widths, activation="identity", sigma_w=1.2), X)
        exact = linear_covariance(kernel, scale * widths, sigma_w2)
        np.testing.assert_allclose(deep.K[-1], sigma_w2**4 * kernel, rtol=1e-13)
        assert abs(deep.G).max() < 1e-14
        errors.append(abs(deep.V[-1] / deep.fan_in[-1] - exact).max())
    assert errors[0] < 0.01 * abs(exact).max()
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.01)


def test_the_relu_vertex_grows_linearly_with_depth_at_criticality():
    """C' = C (2/n) sum relu(g)^2, a product of independent factors of mean 1 and variance 5 / n."""
    for width in (1000, 4000):
        deep = finite_width(mlp(1, (width,) * 12, activation="relu", sigma_w=2**0.5), [[0.8]])
        K = 2 * 0.8**2
        np.testing.assert_allclose(deep.V.ravel(), 5.0 * np.arange(13) * K**2, rtol=1e-12)
        np.testing.assert_allclose(deep.K.ravel(), K, rtol=1e-14)
        assert (deep.G == 0).all()
        exact = (1 + 5 / width) ** 12 - 1
        assert deep.V[-1].item() / width / K**2 == pytest.approx(exact, rel=12 * 2.5 / width)


def test_unequal_widths_enter_one_by_one():
    widths = (300, 150, 600)
    deep = finite_width(mlp(1, widths, activation="relu", sigma_w=2**0.5), [[1.0]])
    assert deep.V[-1].item() / 600 == pytest.approx(4 * 5 * sum(1 / n for n in widths), rel=1e-12)
    assert deep.fan_in == (1, 300, 150, 600)
    assert deep.strength[-1] == pytest.approx(5 * sum(1 / n for n in widths), rel=1e-12)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "identity"])
def test_points_on_a_ray_are_proportional_in_every_layer(activation):
    net = mlp(2, (200, 100, 150), activation=activation, activation_params=PARAMS.get(activation, ()), sigma_w=1.3)
    direction, scale = np.array([0.6, -0.8]), np.array([1.0, 2.5, 0.3, 0.0])
    one, ray = finite_width(net, direction[None]), finite_width(net, scale[:, None] * direction)
    pairs = np.multiply.outer(scale, scale)
    np.testing.assert_allclose(ray.V, one.V * np.multiply.outer(pairs, pairs), rtol=1e-10)
    np.testing.assert_allclose(ray.G, one.G * pairs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("law", "kurtosis"), [("normal", 0.0), ("sign", -2.0), ("uniform", -1.2), (("student_t", 6.0), 3.0)])
def test_quadratic_networks_have_no_correction_beyond_the_first(law, kurtosis):
    """phi = z^2: E C' = sigma_w^2 E z^4 = sigma_w^2 (3 E C^2 + the fourth cumulant of z given the layer before), exactly."""
    n, sigma_w2, q = 7, 0.8, 0.8 * 0.49
    net = mlp(1, (n, 4), activation="polynomial", activation_params=(0.0, 0.0, 1.0), sigma_w=sigma_w2**0.5, weight_law={"hidden": law})
    with pytest.warns(NNQFTWarning, match="1/width does not hold"):
        two = finite_width(net, [[0.7]]).connected(2)
    h4, h8 = 3 * q**2, 105 * q**4  # E phi^2, E phi^4
    covariance2 = sigma_w2**2 * (h4**2 + (h8 - h4**2) / n)
    assert two.mean[0] == pytest.approx(sigma_w2 * (3 * covariance2 + kurtosis * sigma_w2**2 * h8 / n), rel=1e-12)


# ---- symmetries ----


@pytest.mark.parametrize("activation", ["erf", "relu", "tanh", "softplus"])
def test_other_points_do_not_change_what_some_points_do(activation):
    """Close points, whose kernel is nearly singular in deep layers, in every smaller choice."""
    x, net = np.array([0.5, 0.55, -0.3, 0.9]), mlp(1, (300, 200, 300), activation=activation, sigma_w=1.3, sigma_b=0.3)
    all_four = finite_width(net, x)
    for some in ([0], [1, 0], [3, 1], [0, 2, 3]):
        few = finite_width(net, x[some])
        np.testing.assert_allclose(all_four.V[np.ix_(range(4), some, some, some, some)], few.V, rtol=1e-9, atol=1e-11 * few.V.max())
        np.testing.assert_allclose(all_four.G[np.ix_(range(4), some, some)], few.G, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("activation", ["erf", "relu", "gelu", "polynomial", "gauss"])
def test_the_vertex_has_its_symmetries_and_the_points_any_order(activation):
    net = mlp(2, (200, 300), activation=activation, activation_params=PARAMS.get(activation, ()), sigma_w=0.9, sigma_b=0.3)
    deep, order = finite_width(net, X), [2, 0, 1]
    V = deep.V[-1]
    for axes in ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)):
        assert (V.transpose(axes) == V).all()
    matrix = V.reshape(9, 9)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12 * matrix.max()  # a covariance
    np.testing.assert_allclose(deep.K[-1], nngp(net, X), rtol=1e-12)
    moved = finite_width(net, X[order])
    np.testing.assert_allclose(moved.V[-1], V[np.ix_(order, order, order, order)], rtol=1e-9, atol=1e-11 * V.max())
    np.testing.assert_allclose(moved.G[-1], deep.G[-1][np.ix_(order, order)], rtol=1e-9, atol=1e-11 * abs(deep.G).max())


def test_a_rotation_of_the_inputs_changes_nothing():
    net, turn = mlp(2, (50, 60), activation="tanh", sigma_w=1.3, sigma_b=0.2), np.array([[0.6, 0.8], [-0.8, 0.6]])
    a, b = finite_width(net, X), finite_width(net, X @ turn)
    np.testing.assert_allclose(a.V, b.V, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a.G, b.G, rtol=1e-9, atol=1e-12)


def test_repeated_and_opposite_points_follow_from_the_single_one():
    net = mlp(2, (60, 50), activation="erf", sigma_w=1.3)  # odd and without bias: f(-x) = -f(x)
    one, three = finite_width(net, X[:1]), finite_width(net, [X[0], X[0], -X[0]])
    sign = np.array([1.0, 1.0, -1.0])
    pairs = np.multiply.outer(sign, sign)
    np.testing.assert_allclose(three.V, one.V * np.multiply.outer(pairs, pairs), rtol=1e-10)
    np.testing.assert_allclose(three.G, one.G * pairs, rtol=1e-10)


@pytest.mark.parametrize("activation", ["relu", "erf", "softplus"])
@pytest.mark.parametrize("apart", [1e-8, 1e-5])
def test_close_points_are_nearly_one(activation, apart):
    net = mlp(1, (200, 300, 200), activation=activation, sigma_w=1.2, sigma_b=0.3)
    one, two = finite_width(net, [0.7]), finite_width(net, [0.7, 0.7 + apart])
    np.testing.assert_allclose(two.V[1:] / one.V[1:], 1.0, atol=20 * apart + 1e-9)
    np.testing.assert_allclose(two.G - one.G, 0.0, atol=20 * apart + 1e-9)


def test_a_network_too_narrow_for_its_depth_warns():
    with pytest.warns(NNQFTWarning, match="1/width does not hold"):
        narrow = finite_width(mlp(1, (16,) * 10, activation="relu", sigma_w=2**0.5), [[1.0]])
    assert narrow.strength[-1] == pytest.approx(50 / 16)
