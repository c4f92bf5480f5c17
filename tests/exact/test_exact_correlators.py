"""Exact correlators of one hidden layer: stored values, identities, independent routes, actual networks."""

import json
from itertools import combinations_with_replacement
from math import comb, factorial, pi
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nnqft import _exact as exact
from nnqft import _exact_cones as cones
from nnqft._kernels import nngp_kernel
from nnqft._laws import Laws
from nnqft._packed import PackedMoments, packed_index, packed_rank
from nnqft.errors import ArgumentError, ShapeError
from scipy.integrate import quad
from scipy.special import erf, ndtr

CASES = {c["id"]: c for c in json.loads((Path(__file__).parents[1] / "data" / "correlators.json").read_text())["cases"]}
ERF_D3 = np.array([(-1, -1, -1), (1, 1, -1), (-1, 1, 1), (1, -1, 1.0)])
RELU_D3 = np.array([(0.2, 0.2, 0.2), (1, 1, 0.2), (0.2, 1, 1), (1, 0.2, 1)])


def law(**changes):
    given = {"dim_in": 1, "widths": (10,), "dim_out": 1, "activation": "erf", "activation_params": (), "sigma_w": 1.0,
             "sigma_b": 1.0, "phase": False, "amplitude": None, "momentum": "normal"}
    return SimpleNamespace(**(given | changes))


def at(packed, index, m):
    return packed[packed_rank(np.array([index]), m)[0]]


# ---- packed tensors ----


@pytest.mark.parametrize("m, n", [(1, 8), (2, 6), (3, 4), (4, 8), (5, 2)])
def test_packed_moments_hold_every_sorted_product_once(m, n):
    rng = np.random.default_rng(m)
    h, w = rng.normal(size=(m, 700)), rng.normal(size=700)
    moments = PackedMoments(m, n)
    for part in (slice(0, 1), slice(1, 400), slice(400, 700)):
        moments.add(h[:, part], w[part])
    expected = [(w * np.prod(h[list(index)], axis=0)).sum() for index in combinations_with_replacement(range(m), n)]
    np.testing.assert_allclose(moments.result(), expected, rtol=1e-11)
    assert (packed_rank(packed_index(m, n), m) == np.arange(comb(m + n - 1, n))).all()


# ---- stored values ----


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_exact_correlators_equal_the_stored_values(case):
    """Gate A2: 1e-9 relative, full and connected, orders 2, 4, 6, at N = 1, 20, 1000."""
    for width in ("1", "20", "1000"):
        stored = case["by_width"][width]
        net = law(dim_in=case["d_in"], widths=(int(width),), activation=case["net"])
        net.sigma_w, net.sigma_b = case["sigma_w"], case["sigma_b"]
        four = exact.exact_moments(net, case["x4"], (2, 4))
        six = exact.exact_moments(net, case["x6"], (6,))
        pairs = packed_index(4, 2)
        np.testing.assert_allclose(four[2].full, np.array(case["G2_x4"])[pairs[:, 0], pairs[:, 1]], rtol=1e-12)
        for values, order, m in ((four[4], 4, 4), (six[6], 6, 6)):
            index = tuple(range(order))
            np.testing.assert_allclose(at(values.full, index, m), stored[f"G{order}"], rtol=1e-9)
            np.testing.assert_allclose(at(values.connected, index, m), stored[f"G{order}c"], rtol=1e-9)


# Gate A8: N * mean |G4c / G_GP| over unique tuples at the inputs of arXiv:2008.08601.
RATIOS = [
    ("gauss", 1.0, [[-0.01], [-0.006], [-0.002], [0.002], [0.006], [0.01]], 13.3994),
    ("erf", 1.0, [[-1.0], [-0.6], [-0.2], [0.2], [0.6], [1.0]], 0.0562777),
    ("relu", 0.0, [[0.2], [0.4], [0.6], [0.8], [1.0], [1.2]], 5.0),
    ("relu", 0.0, [[0.5, 0.5], [0.5, 1.0], [1.0, 0.5], [1.0, 1.0]], 4.94791),
]


@pytest.mark.parametrize("name, sigma_b, x, expected", RATIOS)
def test_relative_four_point_deviation_at_the_papers_inputs(name, sigma_b, x, expected):
    """Six digits are given."""
    net = law(dim_in=len(x[0]), activation=name, sigma_b=sigma_b)
    values = exact.exact_moments(net, x, (4,))[4]
    ratio = values.connected / (values.full - values.connected)
    assert f"{10 * np.abs(ratio).mean():.6g}" == f"{expected:.6g}"


# 24-point Gauss-Legendre arcs in the azimuth between the zeros of all forms, adaptive quadrature in z between tangent circles
# and crossings, times E r^n.
RELU_STORED = [
    (RELU_D3, (0, 1, 2, 3), 0.10383010069422),
    (RELU_D3, (0, 0, 1, 1, 2, 3), 0.0799724619208239),
    (np.array([(1, 0.2, -0.5), (-0.3, 1, 0.4), (0.5, 0.6, -1), (0.8, -0.1, 0.3)]), (0, 1, 2, 3), 0.0111657963670301),
    (np.array([(1, 0.2, -0.5), (-0.3, 1, 0.4), (0.5, 0.6, -1), (0.8, -0.1, 0.3)]), (0, 0, 1, 1, 2, 3), 0.008952478727538),
]


@pytest.mark.parametrize("x, index, expected", RELU_STORED)
def test_relu_moments_in_three_dimensions_equal_nested_quadrature_on_the_sphere(x, index, expected):
    net = law(dim_in=3, activation="relu", sigma_b=0.0)
    np.testing.assert_allclose(at(exact.neuron_moments(net, x, len(index)), index, 4), expected, rtol=1e-12)


@pytest.mark.parametrize("powers", [(1, 1, 1, 1), (2, 1, 2, 1)])
def test_relu_moments_in_four_dimensions_equal_an_integral_over_the_positive_octant(powers):
    """d = 3 with bias: z1, z2, z3 > 0 on a Gauss-Legendre grid, E relu(z4) given them in closed form."""
    net = law(dim_in=3, activation="relu", sigma_w=1.2, sigma_b=0.7)
    a = np.column_stack([1.2 / np.sqrt(3) * RELU_D3, np.full(4, 0.7)])
    c = a @ a.T
    t, w = np.polynomial.legendre.leggauss(80)
    sigma = np.sqrt(np.diag(c)[:3])
    nodes = [4.75 * s * (1 + t) for s in sigma]  # up to 9.5 sigma
    z = np.stack(np.meshgrid(*nodes, indexing="ij")).reshape(3, -1)
    weight = np.einsum("i,j,k->ijk", *(4.75 * s * w for s in sigma)).ravel()
    inverse = np.linalg.inv(c[:3, :3])
    density = np.exp(-np.einsum("in,ij,jn->n", z, inverse, z) / 2) / np.sqrt((2 * pi) ** 3 * np.linalg.det(c[:3, :3]))
    mean, s = c[3, :3] @ inverse @ z, np.sqrt(c[3, 3] - c[3, :3] @ inverse @ c[:3, 3])
    last = mean * ndtr(mean / s) + s * np.exp(-((mean / s) ** 2) / 2) / np.sqrt(2 * pi)
    expected = (weight * density * np.prod(z ** np.array(powers[:3])[:, None], axis=0) * last).sum()
    index = tuple(np.repeat(range(4), powers))
    np.testing.assert_allclose(at(exact.neuron_moments(net, RELU_D3, sum(powers)), index, 4), expected, rtol=1e-10)


# Trapezoid grids refined to aliasing exp(-38), D = 4.
@pytest.mark.parametrize("index, expected", [
    ((0, 1, 2, 3), 0.06568095982846152),
    ((0, 0, 1, 2), 0.11710828481582279),
    ((0, 0, 1, 1, 2, 3), 0.08146899824942445),
    ((0, 1, 2, 3, 3, 3), 0.058690184253827236),
])
def test_erf_moments_in_four_dimensions_as_orthant_probabilities_equal_trapezoid_sums(index, expected):
    got = exact.neuron_moments(law(dim_in=3), ERF_D3, len(index), "orthant")
    np.testing.assert_allclose(at(got, index, 4), expected, rtol=1e-12)


# ---- routes meet ----


@pytest.mark.parametrize("sigma_w", [0.01, 1.0, 4.0])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_erf_grid_equals_the_orthant_identity_at_weak_and_steep_slopes(sigma_w, order):
    """E prod erf(z) = E prod sign(z + xi), xi ~ N(0, 1/2): 1e-12 of the largest moment."""
    x = np.array([[1.0, 0.2], [-0.4, 0.9]])
    net = law(dim_in=2, sigma_w=sigma_w, sigma_b=0.3 * sigma_w)
    trapezoid, orthant = (exact.neuron_moments(net, x, order, method) for method in ("grid", "orthant"))
    np.testing.assert_allclose(trapezoid, orthant, rtol=0, atol=1e-12 * np.abs(orthant).max())


def test_erf_grid_equals_the_orthant_identity_in_three_and_four_dimensions():
    for x, sigma_b in ((ERF_D3, 0.0), (ERF_D3, 0.5)):
        net = law(dim_in=3, sigma_w=0.8, sigma_b=sigma_b)
        trapezoid, orthant = (exact.neuron_moments(net, x, 4, method) for method in ("grid", "orthant"))
        np.testing.assert_allclose(trapezoid, orthant, rtol=1e-11)


@pytest.mark.parametrize("name, function", [
    ("erf", erf), ("tanh", np.tanh), ("softplus", lambda z: np.logaddexp(0, z)), ("relu", lambda z: max(z, 0.0)),
    ("swish", lambda z: z / (1 + np.exp(-z))), ("gelu", lambda z: z * ndtr(z)), ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
    ("leaky_relu", lambda z: max(z, 0.3 * z)), ("sin", np.sin), ("cos", np.cos),
    ("exp", np.exp), ("polynomial", lambda z: 1 - z + 0.5 * z**3), ("identity", lambda z: z),
])
def test_moments_of_one_variable_equal_adaptive_quadrature_to_order_eight(name, function):
    params = {"leaky_relu": (0.3,), "polynomial": (1, -1, 0, 0.5)}.get(name, ())
    net = law(activation=name, activation_params=params, sigma_b=0.0, sigma_w=0.9)
    for order in (2, 4, 6, 8):
        got = exact.neuron_moments(net, [[1.0], [-0.4]], order)
        for k in range(0, order + 1, 3):
            f = lambda z: function(0.9 * z) ** (order - k) * function(-0.36 * z) ** k * np.exp(-z * z / 2)  # noqa: B023
            halves = [quad(f, *half, epsabs=0, epsrel=1e-12, limit=300)[0] for half in ((-15, 0), (0, 15))]
            expected = sum(halves) / np.sqrt(2 * pi)
            np.testing.assert_allclose(got[k], expected, rtol=1e-10, err_msg=f"order {order}, {k}")


@pytest.mark.parametrize("name", ["erf", "tanh", "sigmoid", "softplus", "swish", "gelu", "sin", "cos", "relu", "leaky_relu",
                                  "polynomial", "identity"])
def test_every_quadrature_reproduces_the_two_point_function_in_three_dimensions(name):
    params = {"leaky_relu": (0.3,), "polynomial": (1, -1, 0, 0.5)}.get(name, ())
    method = {"relu": "cones", "leaky_relu": "cones", "polynomial": "hermite", "identity": "hermite"}.get(name, "grid")
    x = np.random.default_rng(0).normal(size=(4, 2))
    net = law(dim_in=2, activation=name, activation_params=params, sigma_w=1.1, sigma_b=0.6)
    kernel = exact.neuron_moments(net, x, 2, "kernel")
    np.testing.assert_allclose(exact.neuron_moments(net, x, 2, method), kernel, rtol=0, atol=1e-12 * np.abs(kernel).max())
    k = nngp_kernel(net, x)
    np.testing.assert_allclose(0.36 + 1.21 * kernel, k[np.triu_indices(4)], rtol=1e-12)


@pytest.mark.parametrize("name", ["sin", "cos", "identity"])
def test_closed_forms_equal_quadrature_at_order_eight(name):
    x = np.array([[0.7, 0.2], [-0.5, 1.0]])
    net = law(dim_in=2, activation=name, sigma_b=0.8)
    other = exact.neuron_moments(net, x, 8, "hermite" if name == "identity" else "grid")
    closed = exact.neuron_moments(net, x, 8, "closed")
    np.testing.assert_allclose(closed, other, rtol=0, atol=1e-12 * np.abs(closed).max())


def test_the_gauss_net_is_an_exponential_with_its_normaliser():
    x = np.array([[0.3, -0.4], [1.0, 0.1]])
    exp, gauss = (exact.neuron_moments(law(dim_in=2, activation=name, sigma_b=0.5), x, 6) for name in ("exp", "gauss"))
    variance = 0.25 + (x * x).sum(1) / 2
    np.testing.assert_allclose(gauss, exp * np.exp(-variance[packed_index(2, 6)].sum(1)), rtol=1e-13)


def test_sine_of_tiny_arguments_takes_the_route_without_cancellation():
    x = np.array([[1.0], [0.5]])
    tiny, linear = (exact.neuron_moments(law(activation=name, sigma_w=1e-3, sigma_b=0.0), x, 8) for name in ("sin", "identity"))
    np.testing.assert_allclose(tiny, linear, rtol=1e-4)  # sin z = z - z^3 / 6, z ~ 1e-3, enhanced by E z^10 / E z^8 = 9
    with pytest.raises(ArgumentError, match="cancels"):
        exact.neuron_moments(law(activation="sin", sigma_w=1e-3, sigma_b=0.0), x, 8, "closed")


# ---- identities ----


def test_relu_moments_are_homogeneous_and_leaky_slopes_interpolate():
    x = np.random.default_rng(1).normal(size=(4, 3))
    net = law(dim_in=3, activation="relu", sigma_b=0.0)
    base, scale = exact.neuron_moments(net, x, 4), np.array([2.0, 0.5, 3.0, 1.0])
    scaled = exact.neuron_moments(net, scale[:, None] * x, 4)
    np.testing.assert_allclose(scaled, base * np.prod(scale[packed_index(4, 4)], axis=1), rtol=1e-12)
    linear = exact.neuron_moments(law(dim_in=3, activation="identity", sigma_b=0.0), x, 4)
    for slope, expected in ((0.0, base), (1.0, linear)):
        leaky = law(dim_in=3, activation="leaky_relu", activation_params=(slope,), sigma_b=0.0)
        np.testing.assert_allclose(exact.neuron_moments(leaky, x, 4), expected, atol=1e-12 * np.abs(expected).max())
    # |z| = leaky relu of slope -1: even in every point separately
    absolute = law(dim_in=3, activation="leaky_relu", activation_params=(-1.0,), sigma_b=0.0)
    flip = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    np.testing.assert_allclose(exact.neuron_moments(absolute, x, 4), exact.neuron_moments(absolute, flip * x, 4), rtol=1e-12)


def test_simplicial_cones_fill_space_whatever_the_arrangement():
    """The cones' sum of z_i z_j is the covariance: random forms, repeated, opposite, coplanar and zero ones."""
    rng = np.random.default_rng(2)
    coplanar = np.array([(1, 0, 0), (0, 1, 0), (1, 1, 0), (2, 0, 0), (-1, 0, 0), (0, 0, 0), (0, 0, 1), (1, 1, 1e-5)])
    for a in (rng.normal(size=(5, 3)), coplanar, rng.normal(size=(5, 4)), rng.normal(size=(2, 1))):
        linear = cones.cone_moments(a, 2, slope=1.0)
        np.testing.assert_allclose(linear, (a @ a.T)[np.triu_indices(len(a))], atol=1e-12 * (a * a).sum())


def test_relu_moments_of_repeated_opposite_and_zero_points():
    x = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 1e-9]])
    m4 = exact.neuron_moments(law(dim_in=2, activation="relu", sigma_b=0.0, sigma_w=np.sqrt(2.0)), x, 4)
    expected = {(0, 0, 1, 1): 6.0, (0, 0, 0, 4): 1.5, (0, 1, 1, 2): 0.0, (0, 0, 3, 3): 0.0, (2, 2, 2, 2): 1.5}
    for index, value in expected.items():
        np.testing.assert_allclose(at(m4, index, 5), value, rtol=1e-8, atol=1e-15)


def test_the_cos_net_is_translation_invariant_and_the_gauss_net_is_not():
    x = np.array([[0.0], [0.0], [0.5], [0.5]])
    moved = [exact.neuron_moments(law(activation="cos", phase=True), x + shift, 8) for shift in (0.0, 3.7)]
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-12)
    # N G4c of the Gauss-net at (a, a, a + 1/2, a + 1/2): known to five digits, its kernel does not move.
    for shift, expected in ((0.0, 161.24), (0.1, 205.67), (0.5, 1207.7), (1.0, 66077)):
        values = exact.exact_moments(law(activation="gauss", widths=(1,)), x + shift, (2, 4))
        np.testing.assert_allclose(at(values[4].connected, (0, 1, 2, 3), 4), expected, rtol=5e-5)
        np.testing.assert_allclose(values[2].full[2], 1 + np.exp(-1 / 8), rtol=1e-13)


def test_orders_four_exist_at_any_dimension_entry_by_entry():
    x = np.random.default_rng(3).normal(size=(5, 20))
    for name in ("relu", "erf", "softplus"):
        net = law(dim_in=20, activation=name)
        all_points = exact.neuron_moments(net, x, 4)
        subset = exact.neuron_moments(net, x[[0, 2, 3]], 4, "cones" if name == "relu" else "grid")
        picked = packed_rank(np.array([0, 2, 3])[packed_index(3, 4)], 5)
        np.testing.assert_allclose(all_points[picked], subset, rtol=1e-11)


# ---- cos-nets with a spectrum ----


def _brute_force_cos(x, index, momenta, weight, amplitude):
    """Sum over momenta and a uniform phase: 16 phases are exact for products of up to 8 cosines."""
    phase = 2 * pi * np.arange(16) / 16
    waves = np.cos(momenta @ x[list(index)].T + phase[:, None, None])
    return (np.prod(waves, axis=-1).mean(axis=0) * weight * amplitude(np.linalg.norm(momenta, axis=1)) ** len(index)).sum()


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_moments_of_a_massive_cos_net_equal_sums_over_momentum_vectors(dim, order):
    """w uniform in a ball, A = 1 / sqrt(k^2 + m^2): Gauss-Legendre in k and cos(theta), trapezoid in the angle."""
    cutoff, mass = 3.0, 0.7
    x = np.random.default_rng(dim).normal(size=(3, dim))
    amplitude = lambda k: 1 / np.sqrt(k**2 + mass**2)
    t, w = np.polynomial.legendre.leggauss(40)
    k, wk = cutoff * (1 + t) / 2, w / 2 * dim * ((1 + t) / 2) ** (dim - 1)
    angle = 2 * pi * np.arange(60) / 60
    if dim == 1:
        direction, share = np.array([[1.0], [-1.0]]), np.array([0.5, 0.5])
    elif dim == 2:
        direction, share = np.column_stack([np.cos(angle), np.sin(angle)]), np.full(60, 1 / 60)
    else:
        sine = np.sqrt(1 - t * t)
        axes = np.outer(sine, np.cos(angle)), np.outer(sine, np.sin(angle)), np.outer(t, np.ones(60))
        direction = np.stack(axes, axis=-1).reshape(-1, 3)
        share = np.outer(w / 2, np.full(60, 1 / 60)).ravel()
    momenta = (k[:, None, None] * direction).reshape(-1, dim)
    net = law(dim_in=dim, activation="cos", phase=True, momentum=("ball", cutoff), amplitude=amplitude)
    got = exact.neuron_moments(net, x, order)
    for index in ((0,) * (order - 1) + (1,), (0, 1) * (order // 2), (0,) * (order - 2) + (1, 2)):
        index = tuple(sorted(index))
        expected = _brute_force_cos(x, index, momenta, np.outer(wk, share).ravel(), amplitude)
        np.testing.assert_allclose(at(got, index, 3), expected, rtol=1e-10)


def test_four_point_moment_of_the_plain_cos_net_is_three_gaussians():
    x = np.random.default_rng(4).normal(size=(4, 3))
    signs = ((1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))
    expected = sum(np.exp(-(1.3**2) * (np.array(s) @ x @ x.T @ np.array(s)) / 6) for s in signs) / 2
    got = exact.neuron_moments(law(dim_in=3, activation="cos", phase=True, sigma_w=1.3), x, 4)
    np.testing.assert_allclose(at(got, (0, 1, 2, 3), 4), expected, rtol=1e-13)
    constant = law(dim_in=3, activation="cos", phase=True, sigma_w=1.3, amplitude=lambda k: np.full_like(k, np.sqrt(2)))
    np.testing.assert_allclose(exact.neuron_moments(constant, x, 4), got, rtol=0, atol=1e-13 * got.max())


# ---- cumulants, widths, outputs, weight laws ----


def test_partition_counts_and_single_variable_cumulants():
    assert [len(exact._even_partitions(tuple(range(n)))) for n in (2, 4, 6, 8)] == [1, 4, 31, 379]
    # Laplace law: m_n = n!, kappa_n = 2 (n - 1)!.
    moments = {n: np.array([float(factorial(n))]) for n in (2, 4, 6, 8)}
    for n in moments:
        index = np.zeros((1, n), dtype=int)
        np.testing.assert_allclose(exact.joint_cumulant(moments, index, 1), 2 * factorial(n - 1))


def test_connected_functions_scale_as_powers_of_the_width_and_full_ones_follow():
    x = np.array([[0.3], [1.0]])
    one, many = (exact.exact_moments(law(activation="tanh", widths=(n,), sigma_w=1.2), x, (2, 4, 6, 8)) for n in (1, 50))
    for n in (2, 4, 6, 8):
        np.testing.assert_allclose(many[n].connected, one[n].connected * 50.0 ** (1 - n / 2), rtol=1e-12)
    # at N = 1, sigma_b = 0 the network is one neuron: full moments are (n - 1)!! sigma_w^n M_n
    net = law(activation="tanh", widths=(1,), sigma_w=1.2, sigma_b=0.0)
    for n, double_factorial in ((2, 1), (4, 3), (6, 15), (8, 105)):
        expected = double_factorial * 1.2**n * exact.neuron_moments(net, x, n)
        np.testing.assert_allclose(exact.exact_moments(net, x, (n,))[n].full, expected, rtol=1e-12)


def test_several_outputs_pair_their_indices():
    """G4c_{ijkl} = d_ij d_kl V_(12)(34) + d_ik d_jl V_(13)(24) + d_il d_jk V_(14)(23), V = (sw^4 / N) [M_4 - M_2 M_2]."""
    x, outs = np.array([[0.4], [1.1]]), 3
    net = law(activation="relu", dim_out=outs, widths=(7,), sigma_w=1.1, sigma_b=0.2)
    values = exact.exact_moments(net, x, (2, 4))
    m2, m4 = (exact.neuron_moments(net, x, n) for n in (2, 4))
    for fields in combinations_with_replacement(range(2 * outs), 4):
        point, out = np.array(fields) // outs, np.array(fields) % outs
        expected = 0.0
        for (a, b), (c, d) in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))):
            pairs = at(m2, sorted(point[[a, b]]), 2) * at(m2, sorted(point[[c, d]]), 2)
            expected += (out[a] == out[b]) * (out[c] == out[d]) * 1.1**4 / 7 * (at(m4, tuple(point), 2) - pairs)
        np.testing.assert_allclose(at(values[4].connected, fields, 2 * outs), expected, atol=1e-14)
    for i, j in combinations_with_replacement(range(2 * outs), 2):
        expected = (i % outs == j % outs) * nngp_kernel(net, x)[i // outs, j // outs]
        np.testing.assert_allclose(at(values[2].full, (i, j), 2 * outs), expected, atol=1e-14)


@pytest.mark.parametrize("name, moments", [
    ("sign", (1, 1, 1, 1)), ("uniform", (1, 9 / 5, 27 / 7, 9)), ("student_t", (1, 9, np.inf, np.inf)),
])
def test_the_law_of_output_weights_enters_through_its_moments(name, moments):
    x, n = np.array([[0.5], [1.5]]), 3
    net = law(activation="relu", widths=(n,), sigma_w=1.3, sigma_b=0.0)
    net.output_weight_moments = moments
    m2, m4 = (exact.neuron_moments(net, x, order) for order in (2, 4))
    got = exact.exact_moments(net, x, (4,))[4]
    # E f^4 for N i.i.d. terms: (E v^4 M_4 + 3 (N - 1) M_2^2) / N
    np.testing.assert_allclose(got.full[0], 1.3**4 / n * (moments[1] * m4[0] + 3 * (n - 1) * m2[0] ** 2), rtol=1e-13)
    if name == "student_t":
        with pytest.raises(ArgumentError, match="needs finite moments"):
            exact.exact_moments(net, x, (6,))


def test_a_bias_that_is_not_normal_adds_its_own_cumulant():
    net = law(activation="erf", widths=(5,), sigma_b=0.7, dim_out=2)
    plain = exact.exact_moments(net, [[1.0]], (2, 4))
    net.laws = Laws.of({"output_bias": "sign"})
    signed = exact.exact_moments(net, [[1.0]], (2, 4))
    np.testing.assert_allclose(signed[2].full, plain[2].full)
    same = np.array([len(set(f)) == 1 for f in combinations_with_replacement(range(2), 4)])
    np.testing.assert_allclose(signed[4].connected - plain[4].connected, -2 * 0.7**4 * same, atol=1e-14)


def test_full_correlators_equal_the_average_over_small_networks():
    """2e6 nets of 3 relu neurons, uniform output weights, 2 outputs, fixed seed: |z| < 4, error bars below 2 %."""
    rng, x, nets = np.random.default_rng(5), np.array([[0.6, -0.3], [1.0, 0.8]]), 2_000_000
    net = law(dim_in=2, activation="relu", widths=(3,), dim_out=2, sigma_w=1.2, sigma_b=0.5)
    net.output_weight_moments = (1, 9 / 5, 27 / 7, 9)
    values = exact.exact_moments(net, x, (2, 4, 6))
    tuples = [(0, 0), (0, 2), (0, 0, 1, 1), (0, 0, 2, 2), (0, 1, 2, 3), (0, 0, 1, 1, 2, 2), (0, 0, 0, 0, 2, 2)]
    total, square = np.zeros(len(tuples)), np.zeros(len(tuples))
    for _ in range(20):
        w = 1.2 / np.sqrt(2) * rng.standard_normal((nets // 20, 3, 2))
        h = np.maximum(w @ x.T + 0.5 * rng.standard_normal((nets // 20, 3, 1)), 0)
        a = 1.2 * np.sqrt(3 / 3) * rng.uniform(-1, 1, (nets // 20, 2, 3))
        f = (a @ h + 0.5 * rng.standard_normal((nets // 20, 2, 1))).transpose(0, 2, 1).reshape(-1, 4)
        for k, index in enumerate(tuples):
            product_ = np.prod(f[:, index], axis=1)
            total[k] += product_.sum()
            square[k] += (product_**2).sum()
    mean = total / nets
    error = np.sqrt((square / nets - mean**2) / nets)
    exact_values = np.array([at(values[len(index)].full, index, 4) for index in tuples])
    assert (np.abs(mean - exact_values) < 4 * error).all()
    assert (error < 0.02 * np.abs(exact_values)).all()


# ---- bad input ----


@pytest.mark.parametrize("call, message", [
    (lambda: exact.neuron_moments(law(), [[1.0]], 3), "odd correlators vanish"),
    (lambda: exact.neuron_moments(law(), [[1.0]], True), "not one of"),
    (lambda: exact.exact_moments(law(), [[1.0]], ()), "orders is empty"),
    (lambda: exact.exact_moments(law(), [[1.0]], (2, 10)), "not one of"),
    (lambda: exact.neuron_moments(law(), [[np.nan]], 4), "row 0 is not"),
    (lambda: exact.neuron_moments(law(), [1.0], 4), "reshape"),
    (lambda: exact.neuron_moments(law(widths=(5, 5)), [[1.0]], 4), "2 hidden layers"),
    (lambda: exact.neuron_moments(law(), [[1.0]], 4, "cones"), "use \"auto\" or one of orthant, grid"),
    (lambda: exact.neuron_moments(law(activation="cos", phase=True), [[1.0]], 4, "grid"), "a cos-net"),
    (lambda: exact.neuron_moments(law(activation="gauss"), [[20.0]], 8), "order 8 overflows float64"),
    (lambda: exact.neuron_moments(law(activation="relu"), [[1e80]], 4), "order 4 overflows float64"),
    (lambda: exact.exact_moments(law(activation="identity"), [[1e45]], (8,)), "order 8 overflows float64"),
    (lambda: exact.neuron_moments(law(activation="exp", sigma_w=9.0), [[9.0]], 8), "overflows float64"),
    (lambda: exact.neuron_moments(law(activation="tanh", dim_in=9, sigma_w=5.0), np.eye(9), 8),
     "no exact route to order 8 of tanh at these 9 points .rank 9.*nnqft.ensemble.correlators"),
    (lambda: exact.neuron_moments(law(activation="relu", dim_in=9), np.eye(9), 8), "no exact route to order 8 of relu"),
    (lambda: exact.neuron_moments(law(activation="gauss"), np.ones((200, 1)), 8), "use fewer points"),
    (lambda: exact.neuron_moments(law(laws=Laws.of("sign")), [[1.0]], 4), "input weights of law 'sign'"),
    (lambda: exact.neuron_moments(law(laws=Laws.of({"bias": "uniform"})), [[1.0]], 4), "bias weights of law 'uniform'"),
    (lambda: nngp_kernel(law(laws=Laws.of({"output": ("student_t", 2.0)})), [[1.0]]), "no variance"),
    (lambda: exact.exact_moments(law(laws=Laws.of({"output_bias": ("student_t", 3.0)})), [[1.0]], (4,)), "no moment of order 4"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        call()
