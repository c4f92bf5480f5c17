"""Infinite-width kernels: closed forms against quadrature, limits, and actual wide networks."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from nnqft import _kernels as kernels
from nnqft._kernels_extra import conv_nngp, residual_nngp
from nnqft.errors import ArgumentError, ShapeError
from scipy.special import erf, expit, gamma, jv, ndtr

EPS = np.finfo(float).eps
FUNCTIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "erf": (erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-z * z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
    "softplus": (lambda z: np.logaddexp(0, z), expit),
    "swish": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
    "gelu": (lambda z: z * ndtr(z), lambda z: ndtr(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.1 * z), lambda z: np.where(z > 0, 1.0, 0.1)),
    "polynomial": (lambda z: 1 - 2 * z + 0.5 * z**3, lambda z: -2 + 1.5 * z**2),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda z: -np.sin(z)),
    "exp": (np.exp, np.exp),
}
PARAMS = {"leaky_relu": (0.1,), "polynomial": (1.0, -2.0, 0.0, 0.5)}
# kxx, kyy, correlation
COVARIANCES = [(1.0, 2.0, 0.3), (0.01, 0.02, -0.5), (3.0, 5.0, 1.0), (3.0, 5.0, -0.9999999), (0.0, 2.0, 0.0)]
WIDE = [(1e4, 1e4, 0.9999999), (1e4, 1e4, -1.0), (1e4, 1.0, -0.9)]  # overflow or fast oscillation for the last three names


def law(**changes):
    given = {"dim_in": 1, "widths": (10,), "dim_out": 1, "activation": "erf", "activation_params": (), "sigma_w": 1.0,
             "sigma_b": 1.0, "phase": False, "amplitude": None, "momentum": "normal"}
    return SimpleNamespace(**(given | changes))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_closed_form_of_a_pair_average_equals_nested_quadrature(name):
    """Two routes; the tolerance is the quadrature's rounding on the scale sqrt(E phi(u)^2 E phi(v)^2)."""
    params = PARAMS.get(name, ())
    for kxx, kyy, rho in COVARIANCES + (WIDE if name not in ("sin", "cos", "exp") else []):
        kxy = rho * np.sqrt(kxx * kyy)
        for average, function in zip((kernels.dual, kernels.dual_derivative), FUNCTIONS[name]):
            if name in ("relu", "leaky_relu") and average is kernels.dual_derivative and (abs(rho) == 1 or kxx == 0):
                continue  # a jump exactly where u or v has an atom or both jump together: convention, tested below
            closed = average(name, params, kxx, kxy, kyy)
            scale = np.sqrt(average(name, params, kxx, kxx, kxx) * average(name, params, kyy, kyy, kyy))
            np.testing.assert_allclose(closed, kernels.dual(function, (), kxx, kxy, kyy), rtol=0, atol=1e-13 * scale)


# mpmath, nested tanh-sinh at 20 digits over z1 and z2 with break points at the transition of phi.
STORED = [
    ("tanh", 1.0, 0.5, 2.0, 0.1467541154603874),
    ("softplus", 4.0, -3.0, 3.0, 0.4203279783617726),
    ("swish", 1.0, 0.25, 0.5, 0.09018186865449201),
    ("gelu", 2.0, -1.5, 3.0, -0.01005037006473157),
    ("sigmoid", 9.0, 8.0, 9.0, 0.3659204354416212),
]


@pytest.mark.parametrize("name, kxx, kxy, kyy, expected", STORED)
def test_pair_average_equals_a_value_stored_from_multiprecision_quadrature(name, kxx, kxy, kyy, expected):
    np.testing.assert_allclose(kernels.dual(name, (), kxx, kxy, kyy), expected, rtol=1e-14)


@pytest.mark.parametrize("name", [*FUNCTIONS, "gauss", "identity"])
def test_derivative_average_is_the_slope_of_the_average_in_the_covariance(name):
    """Price's theorem; central differences at step 1e-4 err by 1e-8 times the third derivative."""
    kxx, kxy, kyy, step, params = 1.1, 0.3, 0.7, 1e-4, PARAMS.get(name, ())
    up, down = (kernels.dual(name, params, kxx, kxy + s, kyy) for s in (step, -step))
    np.testing.assert_allclose((up - down) / (2 * step), kernels.dual_derivative(name, params, kxx, kxy, kyy), rtol=1e-6)


def test_relu_average_keeps_its_digits_when_the_forms_are_nearly_opposite():
    """E relu(u) relu(v) -> (pi - theta)^3 / 6 pi, far below the terms of the usual formula."""
    angle = 1e-3
    series = angle**3 / 3 * (1 - angle**2 / 10) / (2 * np.pi)
    got = kernels.dual("relu", (), 1.0, -np.cos(angle), 1.0)
    np.testing.assert_allclose(got, series, rtol=8 * EPS / angle**2)  # the input's rounding of 1 - rho^2 = angle^2


def test_correlations_beyond_one_are_clamped():
    for name in ("relu", "erf", "tanh", "gelu"):
        for sign in (1.0, -1.0):
            inside = kernels.dual(name, (), 2.0, sign * 2.0, 2.0)
            assert kernels.dual(name, (), 2.0, sign * 2.0 * (1 + 1e-12), 2.0) == inside
            assert np.isfinite(kernels.dual_derivative(name, (), 2.0, sign * 2.1, 2.0))


def test_steps_count_one_half_at_zero_variance():
    assert kernels.dual_derivative("relu", (), 0.0, 0.0, 0.0) == 0.25
    assert kernels.dual_derivative("leaky_relu", (0.5,), 0.0, 0.0, 1.0) == 0.75**2
    assert kernels.dual("relu", (), 0.0, 0.0, 0.0) == 0.0


def test_averages_broadcast_and_take_empty_arrays():
    k = np.array([1.0, 2.0])
    assert kernels.dual("erf", (), k[:, None], 0.1, k).shape == (2, 2)
    assert kernels.dual("tanh", (), np.empty((0, 3)), 0.1, 1.0).shape == (0, 3)
    assert kernels.dual(np.tanh, (), np.empty(0), 0.1, 1.0).shape == (0,)
    closed, quadrature = (kernels.dual(phi, (), k[:, None], 0.1, k) for phi in ("tanh", np.tanh))
    np.testing.assert_allclose(closed, quadrature, rtol=1e-13)


def test_a_function_with_kinks_away_from_zero_is_exact_once_they_are_named():
    def hard_tanh(z):
        return np.clip(z, -1, 1)

    # E clip(u)^2 for u ~ N(0, s^2): s^2 (2 Phi(1/s) - 1) - 2 s phi(1/s) + 2 (1 - Phi(1/s)).
    for s in (0.3, 1.0, 40.0):
        a = 1 / s
        expected = s * s * (2 * ndtr(a) - 1) - 2 * s * np.exp(-a * a / 2) / np.sqrt(2 * np.pi) + 2 * ndtr(-a)
        np.testing.assert_allclose(kernels.dual(hard_tanh, (-1.0, 1.0), s * s, s * s, s * s), expected, rtol=1e-12)
    rho, c, expected = 0.6, 0.8, 0.0
    clip_mean = lambda m: _ramp_mean(m + 1, c) - _ramp_mean(m - 1, c) - 1  # E clip(m + c xi): a difference of two ramps
    for lo, hi in ((-10, -1), (-1, 1), (1, 10)):
        t, v = np.polynomial.legendre.leggauss(120)
        t, v = (hi + lo) / 2 + (hi - lo) / 2 * t, (hi - lo) / 2 * v
        expected += (v * np.exp(-t * t / 2) / np.sqrt(2 * np.pi) * np.clip(t, -1, 1) * clip_mean(rho * t)).sum()
    np.testing.assert_allclose(kernels.dual(hard_tanh, (-1.0, 1.0), 1.0, rho, 1.0), expected, rtol=1e-12)


def _ramp_mean(m, s):
    """E relu(m + s xi)."""
    return m * ndtr(m / s) + s * np.exp(-((m / s) ** 2) / 2) / np.sqrt(2 * np.pi)


def test_an_undeclared_jump_is_refused_not_averaged_wrongly():
    step = lambda z: np.where(z > 0.3, 1.0, 0.0)
    with pytest.raises(ArgumentError, match="kinks and jumps as params"):
        kernels.dual(step, (), 1.0, 0.5, 1.0)
    assert 0 < kernels.dual(step, (0.3,), 1.0, 0.5, 1.0) < ndtr(-0.3)


@pytest.mark.parametrize("call, message", [
    (lambda: kernels.dual("softmax", (), 1, 0, 1), "unknown activation 'softmax'; known: relu"),
    (lambda: kernels.dual("leaky_relu", (), 1, 0, 1), "takes one parameter"),
    (lambda: kernels.dual("polynomial", (), 1, 0, 1), "coefficients"),
    (lambda: kernels.dual("erf", (1.0,), 1, 0, 1), "takes no parameters"),
    (lambda: kernels.dual("polynomial", (np.nan,), 1, 0, 1), "finite"),
    (lambda: kernels.dual("erf", (), -1e-9, 0, 1), "variances must be >= 0"),
    (lambda: kernels.dual("erf", (), 1, np.nan, 1), "NaN or infinity"),
    (lambda: kernels.dual("exp", (), 1e4, 0, 1), "overflows float64 at variance 1e"),
    (lambda: kernels.dual(lambda z: z[:3], (), 1, 0, 1), "same shape"),
    (lambda: kernels.dual_derivative(np.tanh, (), 1, 0, 1), "pass its derivative to dual"),
    (lambda: kernels.nngp_kernel(law(dim_in=2), [[1.0]]), r"expected \(n_points, 2\)"),
    (lambda: kernels.nngp_kernel(law(), [1.0, 2.0]), r"reshape\(-1, 1\)"),
    (lambda: kernels.nngp_kernel(law(), np.empty((0, 1))), "n_points >= 1"),
    (lambda: kernels.nngp_kernel(law(), [[1j]]), "complex"),
    (lambda: kernels.nngp_kernel(law(), [[0.0], [np.inf]]), "row 1 is not"),
    (lambda: kernels.nngp_kernel(law(sigma_w=-1.0), [[1.0]]), "sigma_w must be one finite number"),
    (lambda: kernels.nngp_kernel(law(activation="exp", widths=(1,) * 9), [[1.0]]), "overflows"),
    (lambda: kernels.nngp_kernel(law(phase=True), [[1.0]]), "needs the activation cos"),
    (lambda: kernels.nngp_kernel(law(momentum=("ball", 1.0)), [[1.0]]), "phase=True"),
    (lambda: kernels.nngp_kernel(law(phase=True, activation="cos", momentum="cauchy"), [[1.0]]), "momentum must be"),
    (lambda: kernels.nngp_kernel(law(phase=True, activation="cos", momentum=("ball", 0.0)), [[1.0]]), "positive"),
    (lambda: kernels.nngp_kernel(law(phase=True, activation="cos", amplitude=3), [[1.0]]), "amplitude must be None"),
    (lambda: kernels.nngp_kernel(law(phase=True, activation="cos", amplitude=lambda k: 1 / k), [[1.0]]), "does not converge"),
    (lambda: kernels.ntk_kernel(law(phase=True, activation="cos", momentum=("ball", 1.0)), [[1.0]]), "tangent kernel"),
    (lambda: conv_nngp(np.ones((2, 4, 1)), depth=1, filter_size=2, activation="relu"), "odd"),
    (lambda: conv_nngp(np.ones((2, 4)), depth=1, filter_size=3, activation="relu"), "channels"),
    (lambda: conv_nngp(np.ones((2, 99, 99, 1)), depth=1, filter_size=3, activation="relu", readout="mean"), "flatten"),
    (lambda: conv_nngp(np.ones((2, 4, 1)), depth=0, filter_size=3, activation="relu"), "depth"),
    (lambda: conv_nngp(np.full((2, 4, 1), np.nan), depth=1, filter_size=3, activation="relu"), "finite"),
    (lambda: residual_nngp([1.0], depth=1, activation="relu"), "shape"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        call()


# ---- networks ----


def test_kernels_of_one_hidden_layer_equal_the_formulas_of_the_papers():
    """Gate A1: 1e-12 relative to the diagonal."""
    rng = np.random.default_rng(1)
    x, sw, sb = rng.normal(size=(5, 3)), 1.3, 0.4
    c = sb**2 + sw**2 * x @ x.T / 3
    v = np.diag(c)
    theta = np.arccos(np.clip(c / np.sqrt(np.outer(v, v)), -1, 1))
    expected = {
        "gauss": np.exp(-(sw**2) * ((x[:, None] - x) ** 2).sum(-1) / 6),
        "erf": 2 / np.pi * np.arcsin(2 * c / np.sqrt(np.outer(1 + 2 * v, 1 + 2 * v))),
        "relu": np.sqrt(np.outer(v, v)) / (2 * np.pi) * (np.sin(theta) + (np.pi - theta) * np.cos(theta)),
    }
    for name, average in expected.items():
        got = kernels.nngp_kernel(law(dim_in=3, activation=name, sigma_w=sw, sigma_b=sb), x)
        np.testing.assert_allclose(got, sb**2 + sw**2 * average, rtol=1e-12)


def test_the_cos_net_and_the_gauss_net_are_the_same_free_theory():
    x = np.random.default_rng(2).normal(size=(6, 2))
    gauss = kernels.nngp_kernel(law(dim_in=2, activation="gauss"), x)
    np.testing.assert_allclose(kernels.nngp_kernel(law(dim_in=2, activation="cos", phase=True), x), gauss, rtol=1e-14)


def test_an_interpolated_amplitude_is_integrated_exactly_between_its_kinks():
    """A^2 linear between 1/4, 1/2 and 5/4 at k = 0, 0.37, 1: K(x, x) = int A^2 / 2 dk by the trapezium rule."""
    class Table:
        kinks = (0.37,)

        def __call__(self, k):
            return np.sqrt(np.interp(k, [0.0, 0.37, 1.0], [0.25, 0.5, 1.25]))

    net = law(activation="cos", phase=True, sigma_b=0.0, momentum=("ball", 1.0), amplitude=Table())
    np.testing.assert_allclose(kernels.nngp_kernel(net, [[0.0]]), (0.37 * 0.75 + 0.63 * 1.75) / 4, rtol=1e-13)
    Table.kinks = ()
    with pytest.raises(ArgumentError, match="kinks"):
        kernels.nngp_kernel(net, [[0.0]])


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_momenta_uniform_in_a_ball_give_the_bessel_kernel(dim):
    """K = Gamma(d/2 + 1) (2 / Lambda r)^(d/2) J_(d/2)(Lambda r), the Fourier transform of the ball."""
    x, cutoff = np.random.default_rng(dim).normal(size=(4, dim)), 7.0
    r = np.linalg.norm(x[:, None] - x, axis=-1)
    t = np.where(r > 0, cutoff * r, 1.0)
    expected = np.where(r > 0, gamma(dim / 2 + 1) * (2 / t) ** (dim / 2) * jv(dim / 2, t), 1.0)
    net = law(dim_in=dim, activation="cos", phase=True, momentum=("ball", cutoff), sigma_b=0.0)
    np.testing.assert_allclose(kernels.nngp_kernel(net, x), expected, atol=1e-13)


def test_the_free_massive_scalar_has_its_propagator():
    """d = 1: int_0^L cos(k r) / (k^2 + m^2) dk / L: arctan(L/m) / m L at r = 0, and pi exp(-m r) / 2 m L as L -> inf."""
    mass, cutoff, points = 1e-3, 5.0, np.array([[0.0], [0.0]])
    scalar = law(activation="cos", phase=True, sigma_b=0.0, momentum=("ball", cutoff))
    scalar.amplitude = lambda k: np.sqrt(2 / (k**2 + mass**2))
    np.testing.assert_allclose(kernels.nngp_kernel(scalar, points), np.arctan(cutoff / mass) / mass / cutoff, rtol=1e-12)
    mass, cutoff = 1.0, 2000.0
    scalar.momentum = ("ball", cutoff)
    got = kernels.nngp_kernel(scalar, [[0.0], [1.5]])[0, 1] * cutoff
    np.testing.assert_allclose(got, np.pi / 2 * np.exp(-1.5), atol=2 / cutoff**2)  # the missing tail


def test_a_constant_amplitude_given_as_a_function_changes_nothing():
    x = np.random.default_rng(3).normal(size=(5, 2))
    net = law(dim_in=2, activation="cos", phase=True, sigma_w=1.7)
    expected = kernels.nngp_kernel(net, x)
    net.amplitude = lambda k: np.full_like(k, np.sqrt(2.0))
    np.testing.assert_allclose(kernels.nngp_kernel(net, x), expected, atol=1e-13)


def test_a_deep_linear_network_has_the_linear_kernel_at_every_depth():
    x, depth = np.random.default_rng(4).normal(size=(3, 2)), 4
    net = law(dim_in=2, activation="identity", widths=(5,) * depth, sigma_w=1.1, sigma_b=0.0)
    linear = 1.1 ** (2 * depth + 2) * x @ x.T / 2
    np.testing.assert_allclose(kernels.nngp_kernel(net, x), linear, rtol=1e-13)
    np.testing.assert_allclose(kernels.ntk_kernel(net, x), (depth + 1) * linear, rtol=1e-13)


def test_relu_kernels_scale_with_the_square_of_the_input_without_bias():
    x = np.random.default_rng(5).normal(size=(3, 2))
    net = law(dim_in=2, activation="relu", widths=(5, 5, 5), sigma_b=0.0)
    for kernel in (kernels.nngp_kernel, kernels.ntk_kernel):
        np.testing.assert_allclose(kernel(net, 3 * x, x), 3 * kernel(net, x), rtol=1e-13)


def test_the_deep_gauss_net_has_one_variance_at_every_depth():
    x = np.random.default_rng(6).normal(size=(4, 2))
    net = law(dim_in=2, activation="gauss", widths=(5, 5, 5), sigma_w=1.2, sigma_b=0.5)
    np.testing.assert_allclose(np.diag(kernels.nngp_kernel(net, x)), 0.25 + 1.44, rtol=1e-14)


@pytest.mark.parametrize("name", ["relu", "erf", "tanh", "swish"])
def test_repeated_points_get_identical_rows_and_the_kernel_stays_positive(name):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(6, 300))
    x[4] = x[1]
    net = law(dim_in=300, activation=name, widths=(5, 5))
    for kernel in (kernels.nngp_kernel, kernels.ntk_kernel):
        k = kernel(net, x)
        assert k[1, 4] == k[1, 1] == k[4, 4]
        np.testing.assert_allclose(k[1], k[4], rtol=1e-13)
        assert (k == k.T).all()
        np.testing.assert_allclose(kernel(net, x[:3], x[3:]), k[:3, 3:], rtol=1e-13)
        assert np.linalg.eigvalsh(k).min() > -1e-13 * np.trace(k)


def _wide_network_kernels(rng, x, phi, slope, widths, sw, sb):
    """Output covariance given the hidden layers, and the tangent kernel, of one random network (backward by hand)."""
    h, trace = x, []
    for width in widths:
        w = rng.normal(size=(width, h.shape[1]))
        z = sw / np.sqrt(h.shape[1]) * h @ w.T + sb * rng.normal(size=width)
        trace.append((h, w, z))
        h = phi(z)
    nngp = sb**2 + sw**2 * h @ h.T / h.shape[1]
    delta = sw / np.sqrt(h.shape[1]) * rng.normal(size=h.shape[1])[None, :].repeat(len(x), 0)  # df/dh
    ntk = nngp.copy()
    for h, w, z in reversed(trace):
        delta = delta * slope(z)
        ntk += (delta @ delta.T) * (sb**2 + sw**2 * h @ h.T / h.shape[1])
        delta = sw / np.sqrt(h.shape[1]) * delta @ w
    return nngp, ntk


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
def test_nngp_and_ntk_equal_the_average_over_wide_networks(name):
    """80 networks of width 512, fixed seed: |z| < 4.5, error bars below 2 % of the largest entry."""
    rng, x = np.random.default_rng(8), np.array([[1.0, 0.3], [-0.5, 1.2], [0.8, -0.1]])
    net = law(dim_in=2, activation=name, widths=(512, 512), sigma_w=1.3, sigma_b=0.4)
    draws = np.array([_wide_network_kernels(rng, x, *FUNCTIONS[name], net.widths, 1.3, 0.4) for _ in range(80)])
    error = draws.std(axis=0) / np.sqrt(len(draws))
    exact = np.array([kernels.nngp_kernel(net, x), kernels.ntk_kernel(net, x)])
    assert (np.abs(draws.mean(axis=0) - exact) < 4.5 * error).all()
    assert (error.max(axis=(1, 2)) < 0.02 * exact.max(axis=(1, 2))).all()


def test_the_tangent_kernel_of_the_cos_net_equals_the_average_over_wide_networks():
    rng, x, n = np.random.default_rng(9), np.array([[0.4, -0.2], [1.0, 0.7]]), 200_000
    w, c = 1.2 * rng.normal(size=(n, 2)) / np.sqrt(2), rng.uniform(-np.pi, np.pi, n)
    z = x @ w.T + c
    terms = 1.44 * (2 * np.cos(z)[:, None] * np.cos(z) + 2 * np.sin(z)[:, None] * np.sin(z) * (1.44 / 2 * x @ x.T + 1)[:, :, None])
    net = law(dim_in=2, activation="cos", phase=True, sigma_w=1.2, sigma_b=0.3)
    error = terms.std(axis=-1) / np.sqrt(n)
    assert (np.abs(terms.mean(axis=-1) + 0.09 - kernels.ntk_kernel(net, x)) < 4 * error + 4 * EPS).all()
    assert error.max() < 0.01


# ---- convolutions and residual networks ----


def _conv_gram(rng, x, depth, size, phi, sw, sb, padding, readout, width):
    """Output covariance given the hidden layers of one random convolutional network."""
    space = x.shape[1:-1]
    taps = list(product(range(size), repeat=len(space)))
    h = x
    for _ in range(depth):
        pad = [(0, 0)] + [(size // 2, size // 2)] * len(space) + [(0, 0)]
        padded = np.pad(h, pad, mode="wrap" if padding == "circular" else "constant")
        z = sum(padded[(slice(None), *(slice(t, t + s) for t, s in zip(tap, space)))] @ rng.normal(size=(h.shape[-1], width))
                for tap in taps)
        h = phi(sw / np.sqrt(len(taps) * h.shape[-1]) * z + sb * rng.normal(size=width))
    g = h.reshape(len(x), -1) if readout == "flatten" else h.reshape(len(x), -1, width).mean(axis=1)
    return sb**2 + sw**2 * g @ g.T / g.shape[1]


@pytest.mark.parametrize("space", [(5,), (3, 4)])
@pytest.mark.parametrize("padding", ["circular", "zeros"])
@pytest.mark.parametrize("readout", ["flatten", "mean"])
@pytest.mark.parametrize("name", ["relu", "erf"])
def test_convolutional_kernel_equals_the_average_over_wide_networks(space, padding, readout, name):
    """40 networks of 256 channels, fixed seed: |z| < 4.5, error bars below 5 %."""
    rng = np.random.default_rng(10)
    x = rng.normal(size=(2, *space, 2))
    exact = conv_nngp(x, depth=2, filter_size=3, activation=name, sigma_w=1.3, sigma_b=0.4, padding=padding, readout=readout)
    draws = np.array([_conv_gram(rng, x, 2, 3, FUNCTIONS[name][0], 1.3, 0.4, padding, readout, 256) for _ in range(40)])
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - exact) < 4.5 * error).all()
    assert (error < 0.05 * exact).all()


def test_a_convolution_of_one_pixel_is_a_dense_network():
    x = np.random.default_rng(11).normal(size=(3, 4))
    net = law(dim_in=4, activation="relu", widths=(1, 1), sigma_w=1.2, sigma_b=0.3)
    for readout in ("flatten", "mean"):
        got = conv_nngp(x[:, None], depth=2, filter_size=1, activation="relu", sigma_w=1.2, sigma_b=0.3, readout=readout)
        np.testing.assert_allclose(got, kernels.nngp_kernel(net, x), rtol=1e-13)


def test_the_averaging_readout_of_a_circular_network_ignores_translations():
    x = np.random.default_rng(12).normal(size=(1, 4, 5, 2))
    both = np.concatenate([x, np.roll(x, (1, 2), axis=(1, 2))])
    k = conv_nngp(both, depth=2, filter_size=3, activation="erf", readout="mean")
    np.testing.assert_allclose(k, k[0, 0], rtol=1e-13)
    k = conv_nngp(both, depth=2, filter_size=3, activation="erf", readout="flatten")
    assert k[0, 1] < 0.9 * k[0, 0]


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_residual_kernel_equals_the_average_over_wide_networks(name):
    """60 networks of width 512, fixed seed: |z| < 4.5, error bars below 3 % of the largest entry."""
    rng, x, phi = np.random.default_rng(13), np.array([[1.0, 0.3], [-0.5, 1.2]]), FUNCTIONS[name][0]
    exact = residual_nngp(x, depth=3, activation=name, sigma_w=1.1, sigma_b=0.3)
    dense = lambda h: 1.1 / np.sqrt(h.shape[1]) * h @ rng.normal(size=(h.shape[1], 512)) + 0.3 * rng.normal(size=512)
    draws = []
    for _ in range(60):
        h = dense(x)
        for _ in range(3):
            h = h + dense(phi(h))
        draws.append(0.09 + 1.21 * phi(h) @ phi(h).T / 512)
    draws = np.array(draws)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - exact) < 4.5 * error).all()
    assert error.max() < 0.03 * exact.max()
