"""Vertex integrals: closed forms, homogeneity, cubature, and an independent double exponential rule."""

from itertools import pairwise

import numpy as np
import pytest
from nnqft._eft._legs import Legs
from nnqft.eft import vertex_integral
from nnqft.networks import cos_net, erf_net, gauss_net, mlp, nngp, relu_net
from scipy.integrate import quad

X = np.array([[-1.0], [0.3], [1.2]])
NETS = {
    "gauss": gauss_net(10, dim_in=1),
    "relu": relu_net(10, dim_in=1),
    "relu with bias": relu_net(10, dim_in=1, sigma_b=0.5),
    "erf": erf_net(10, dim_in=1, sigma_w=1.3),
    "leaky": mlp(1, 10, activation="leaky_relu", activation_params=(0.2,)),
    "gelu": mlp(1, 10, activation="gelu", sigma_b=0.3),
    "tanh": mlp(1, 10, activation="tanh", sigma_b=0.3),
    "polynomial": mlp(1, 10, activation="polynomial", activation_params=(0.5, 1.0, -0.3)),
    "sin": mlp(1, 10, activation="sin", sigma_b=0.3),
    "cos-net": cos_net(10, dim_in=1),
    "massive": cos_net(10, dim_in=1, momentum=("ball", 5.0), amplitude=lambda k: 2 / np.sqrt(k**2 + 1)),
}


def double_exponential(edges, step):
    """Nodes and weights of tanh-sinh rules between the edges: exact to rounding whatever happens at the edges."""
    t = np.arange(-3.2, 3.2 + step / 2, step)
    node, weight = np.tanh(np.pi / 2 * np.sinh(t)), step * np.pi / 2 * np.cosh(t) / np.cosh(np.pi / 2 * np.sinh(t)) ** 2
    pieces = [((a + b) / 2 + (b - a) / 2 * node, (b - a) / 2 * weight) for a, b in pairwise(edges)]
    return (np.concatenate(part) for part in zip(*pieces, strict=True))


def by_hand(net, points, cutoff, power=0.0, loops=0, step=0.1):
    """The integral over a tensor product of double exponential rules, cut at 0 and at the points' coordinates."""
    points = np.atleast_2d(points)
    axes = []
    for coordinate in points.T:
        inner = coordinate[np.abs(coordinate) < cutoff] if net.dim_in == 1 else []
        axes.append(tuple(double_exponential(np.unique([-cutoff, 0.0, *inner, cutoff]), step)))
    y = np.stack(np.meshgrid(*[node for node, _ in axes], indexing="ij"), axis=-1).reshape(-1, net.dim_in)
    weight = np.stack(np.meshgrid(*[w for _, w in axes], indexing="ij"), axis=-1).prod(axis=-1).ravel()
    legs = nngp(net, points, y) - net.sigma_b**2
    loop = np.array([nngp(net, row[None])[0, 0] for row in y]) - net.sigma_b**2 if loops else 1.0
    return (weight * np.linalg.norm(y, axis=1) ** power * loop**loops * legs.prod(axis=0)).sum()


@pytest.mark.parametrize("name", NETS)
def test_one_dimensional_integrals_equal_a_double_exponential_rule(name):
    """1e-10: both sum some hundred products of four kernels good to 1e-13, and sigma_b^2 is subtracted by hand."""
    for power, loops in [(0, 0), (2, 0), (0.5, 0)] + ([(1, 1)] if name not in ("tanh", "massive") else []):
        I = vertex_integral(NETS[name], X, cutoff=3.0, power=power, loops=loops)
        for row in ([0, 0, 0, 0], [0, 1, 1, 2], [1, 2, 2, 2]):
            truth = by_hand(NETS[name], X[row], 3.0, power, loops)
            size = max(abs(truth), 1e-3 * I.mean.max())
            np.testing.assert_allclose(I[tuple(row)].mean, truth, rtol=0, atol=1e-10 * size)


@pytest.mark.parametrize(("dim", "step"), [(2, 0.1), (3, 0.2)])
def test_integrals_in_more_dimensions_equal_a_double_exponential_rule(dim, step):
    x = np.random.default_rng(dim).normal(size=(2, dim))
    for net in (erf_net(10, dim_in=dim), mlp(dim, 10, activation="gelu", sigma_b=0.5)):
        I = vertex_integral(net, x, order=3, cutoff=1.5, power=1.0)
        truth = by_hand(net, x[[0, 0, 1]], 1.5, 1.0, step=step)
        np.testing.assert_allclose(I[0, 0, 1].mean, truth, rtol=1e-9)  # the coarser double exponential rule


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_tables_of_slow_kernels_equal_the_kernel(activation):
    """In |y| and the angle, in more than one dimension; over five decades, at a point near 0, one far out, and 0 itself."""
    rng = np.random.default_rng(0)
    net = mlp(3, 5, activation=activation, sigma_b=0.3)
    x = rng.normal(size=(3, 3)) * np.array([[0.01], [3.0], [0.0]])
    y = rng.normal(size=(60, 3)) * 10 ** rng.uniform(-3, 2, size=(60, 1))
    K = nngp(net, y, x) - net.sigma_b**2
    np.testing.assert_allclose(Legs(net, x)(y), K, rtol=0, atol=1e-13 * np.abs(K).max())


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("make", [gauss_net, relu_net])
def test_special_routes_equal_cubature(make, dim):
    x = np.random.default_rng(dim).normal(size=(3, dim))
    net = make(10, dim_in=dim)
    for cutoff in (1e-3, 0.7, 4.0):
        special = vertex_integral(net, x, cutoff=cutoff)
        cubature = vertex_integral(net, x, cutoff=cutoff, method="quadrature")
        assert special.how["method"] != cubature.how["method"]
        assert np.all(np.abs(special.mean - cubature.mean) <= special.stderr + cubature.stderr)
        np.testing.assert_allclose(special.mean, cubature.mean, rtol=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(
    ("power", "loops", "order"), [(0, 0, 4), (0, 2, 3), (1, 0, 2), (2, 0, 6), (0.7, 1, 4), (6, 0, 2)]
)
def test_gaussian_kernels_without_cutoff_equal_cubature(dim, power, loops, order):
    """Powers of the distance are Kummer functions."""
    x = np.random.default_rng(order).normal(size=(2, dim))
    net = gauss_net(10, dim_in=dim, sigma_w=0.8)
    closed = vertex_integral(net, x, order=order, power=power, loops=loops)
    cubature = vertex_integral(net, x, order=order, power=power, loops=loops, method="quadrature", tolerance=1e-8)
    assert closed.how["method"] == "closed" and not closed.stderr.any()
    np.testing.assert_allclose(closed.mean, cubature.mean, rtol=1e-8)


def test_a_power_far_from_the_origin_is_that_of_the_centre():
    """E |y|^p = c^p (1 + p (p + d - 2) / (4 a c^2) + ..); the closed form changes series on the way out."""
    for centre in (5.0, 12.0, 13.0, 40.0, 1e5):
        x = np.array([[centre]])
        ratio = (
            vertex_integral(gauss_net(10, dim_in=1), x, power=0.5).mean[0]
            / vertex_integral(gauss_net(10, dim_in=1), x).mean[0]
        )
        z = 2.0 * centre**2  # a c^2 with a = 4 / 2
        series = 1 - 0.25 * 0.25 / z * (
            1 + 0.75 * 1.25 / (2 * z) * (1 + 1.75 * 2.25 / (3 * z) * (1 + 2.75 * 3.25 / (4 * z)))
        )
        np.testing.assert_allclose(ratio, np.sqrt(centre) * series, rtol=max(1e-13, 30 / z**5))


@pytest.mark.parametrize("power", [99.5, 150.3, 160.0])
def test_large_powers_equal_cubature_near_and_far(power):
    """z = a |c|^2 = 2 c^2 on either side of 300, where the closed form changes series. 1e-10: |y|^p has errors p eps."""
    net = gauss_net(10, dim_in=1)
    for centre in (0.3, 8.0, 12.0, 12.5, 14.0):
        a, b = (vertex_integral(net, [[centre]], power=power, method=way).mean for way in ("closed", "quadrature"))
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize(("dim", "order"), [(1, 4), (2, 4), (3, 4), (1, 2), (2, 3)])
@pytest.mark.parametrize("bias", [0.01, 1.0, 100.0])
def test_erf_at_the_origin_converges_without_a_cutoff(dim, order, bias):
    """K_W(0, y) falls off as 1 / |y|: the radial integral, its part beyond the scale of the kernel in 1 / r."""
    leg = lambda r: 2 / np.pi * np.arcsin(2 * bias**2 / np.sqrt((1 + 2 * bias**2) * (1 + 2 * bias**2 + 2 * r**2 / dim)))
    scale = np.sqrt(1 + 2 * bias**2)
    near = quad(lambda u: u ** (dim - 1) * leg(scale * u) ** order, 0, 1, epsabs=0, epsrel=1e-13)[0]
    far = quad(lambda v: v ** (-dim - 1) * leg(scale / v) ** order, 0, 1, epsabs=0, epsrel=1e-13)[0]
    truth = (2, 2 * np.pi, 4 * np.pi)[dim - 1] * scale**dim * (near + far)
    I = vertex_integral(erf_net(5, dim_in=dim, sigma_b=bias), np.zeros((1, dim)), order=order)
    assert abs(I.mean[0] - truth) <= I.stderr[0] < 2e-10 * truth


def test_tanh_at_the_origin_converges_without_a_cutoff():
    net = mlp(1, 5, activation="tanh", sigma_b=1.0)
    I = vertex_integral(net, [[0.0]])
    finite = vertex_integral(net, [[0.0]], cutoff=1e4)
    leg = nngp(net, [[0.0]], [[1e4]])[0, 0] - 1
    assert abs(finite.mean[0] + 2e4 * leg**4 / 3 - I.mean[0]) <= I.stderr[0] + finite.stderr[0] + 1e-8 * 2e4 * leg**4


def test_gauss_net_and_cos_net_have_the_same_integrals():
    for cutoff in (2.0, np.inf):
        a, b = (vertex_integral(make(10, dim_in=2), np.eye(2), cutoff=cutoff, power=2) for make in (gauss_net, cos_net))
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-13)


def test_gaussian_integrals_without_cutoff_do_not_depend_on_the_origin():
    x = np.random.default_rng(0).normal(size=(3, 3))
    here, there = (vertex_integral(gauss_net(10, dim_in=3), x + shift) for shift in (0.0, 1e3))
    np.testing.assert_allclose(here.mean, there.mean, rtol=1e-12)  # 1e3 eps in x


def test_sinc_legs_have_the_integrals_of_fourier_theory():
    """K = sin(k r) / (k r) in one dimension: int K^4 = 2 pi / 3k, and int K_a K_b = (pi / k) K(a - b)."""
    net = cos_net(10, dim_in=1, momentum=("ball", 2.0))
    I = vertex_integral(net, [[0.0], [0.5]], tolerance=1e-8)
    np.testing.assert_allclose(I[0, 0, 0, 0].mean, 2 * np.pi / 3 / 2.0, rtol=1e-8)
    assert abs(I[0, 0, 0, 0].mean - np.pi / 3) <= I[0, 0, 0, 0].stderr
    with pytest.warns(match="relative error"):
        P = vertex_integral(net, [[0.0], [0.5]], order=2, tolerance=1e-6)
    assert abs(P[0, 1].mean - np.pi / 2 * np.sin(1.0)) <= P[0, 1].stderr < 0.02


def test_a_massive_propagator_has_the_square_that_parseval_says():
    """int K^2 d^2 y = int |K(p)|^2 d^2 p / (2 pi)^2, K(p) ~ 1 / (p^2 + m^2) below a cutoff; 1e-4: oscillations far away."""
    mass, top = 1.0, 30.0
    net = cos_net(10, dim_in=2, momentum=("ball", top), amplitude=lambda k: 1 / np.sqrt(k**2 + mass**2), sigma_b=0.0)
    density = 1 / (np.pi * top**2)  # of momenta; K(p) = (2 pi)^2 density A^2 / 2
    squares = (2 * np.pi) ** 2 * (density / 2) ** 2 * np.pi * (1 / mass**2 - 1 / (top**2 + mass**2))
    I = vertex_integral(net, [[0.0, 0.0]], order=2, tolerance=1e-5)
    np.testing.assert_allclose(I[0, 0].mean, squares, rtol=1e-4)


def test_identity_legs_integrate_to_polynomials():
    """K_W = x.y / d:  int (x.y)(z.y) over the box = (2 L)^d L^2 / 3 x.z."""
    x = np.random.default_rng(1).normal(size=(3, 3))
    net = mlp(3, 10, activation="identity")
    truth = (x @ x.T / 9 * 4.0**3 * 2.0**2 / 3)[np.triu_indices(3)]
    for method in ("homogeneous", "quadrature"):
        np.testing.assert_allclose(
            vertex_integral(net, x, order=2, cutoff=2.0, method=method).mean, truth, rtol=1e-12, atol=1e-13
        )


def test_relu_in_one_dimension_is_exact_on_either_side_of_zero():
    """x_i > 0: L^5 prod / 80, L^7 prod / 448; the same for x_i < 0; 0 for both signs; a loop is y^2 / 2 more."""
    x = np.array([[0.5], [2.0], [-3.0], [0.0]])
    I = {n: vertex_integral(relu_net(10, dim_in=1), x, order=n, cutoff=10.0) for n in (4, 6)}
    loop = vertex_integral(relu_net(10, dim_in=1), x, cutoff=10.0, loops=1)
    close = lambda a, b: np.testing.assert_allclose(a.mean, b, rtol=1e-14)
    close(I[4][0, 0, 1, 1], 1e5 / 80)
    close(I[4][2, 2, 2, 2], 1e5 * 81 / 80)
    close(I[6][0, 0, 0, 0, 0, 1], 1e7 * 2 / 32 / 448)
    close(loop[0, 0, 1, 1], 1e7 / 16 / 2 / 7)
    assert I[4][0, 0, 1, 2].mean == I[4][0, 0, 1, 3].mean == 0 and not I[4].stderr.any()


def test_pairs_are_products_of_integrals_of_two_legs():
    x = np.array([[0.2], [0.6], [1.1]])
    P = vertex_integral(erf_net(5, dim_in=1), x, order=2, cutoff=4.0)
    N = vertex_integral(erf_net(5, dim_in=1), x, cutoff=4.0, pairs=True)
    p = P.dense()
    np.testing.assert_allclose(N[0, 0, 1, 2].mean, p[0, 0] * p[1, 2] + 2 * p[0, 1] * p[0, 2], rtol=1e-14)
    assert np.all(N.stderr > 0) and np.all(N.stderr < 1e-9 * N.mean)
    six = vertex_integral(gauss_net(5, dim_in=1), [[0.0]], order=6, pairs=True)
    np.testing.assert_allclose(six.mean, 15 * np.pi**1.5, rtol=1e-14)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_error_bound_covers_what_a_loose_tolerance_leaves(dim):
    x = 3 * np.random.default_rng(dim).normal(size=(3, dim))
    for net in (erf_net(5, dim_in=dim), relu_net(5, dim_in=dim, sigma_b=1.0), gauss_net(5, dim_in=dim, sigma_w=3.0)):
        fine = vertex_integral(net, x, cutoff=5.0, power=0.3, tolerance=1e-8)
        for tolerance in (1e-1, 1e-3, 1e-5):
            loose = vertex_integral(net, x, cutoff=5.0, power=0.3, tolerance=tolerance)
            assert np.all(np.abs(loose.mean - fine.mean) <= loose.stderr + fine.stderr)


@pytest.mark.parametrize("make", [erf_net, gauss_net])
def test_cutoffs_over_nine_decades_agree_where_the_legs_do_not_change(make):
    """Small boxes: the integrand is constant. Large ones: d I / d log L from two cutoffs approaches its limit."""
    x = np.array([[0.4], [1.0]])
    net = make(5, dim_in=1)
    constant = (nngp(net, x, [[0.0]]) - 1).prod() ** 2
    tiny = vertex_integral(net, x, cutoff=1e-3, method="quadrature")[0, 0, 1, 1].mean
    np.testing.assert_allclose(tiny, 2e-3 * constant, rtol=1e-5)
    a, b = (vertex_integral(net, x, cutoff=L, method="quadrature")[1, 1, 1, 1].mean for L in (1e6, 2e6))
    np.testing.assert_allclose((b - a) / 1e6, 0.0722105 if make is erf_net else 0.0, atol=1e-6)


def test_scales_far_apart_do_not_overflow_on_the_way():
    I = vertex_integral(relu_net(5, dim_in=1), [[1e-60]], cutoff=1e60)
    np.testing.assert_allclose(I.mean, 1e60 / 80, rtol=1e-12)
    I = vertex_integral(relu_net(5, dim_in=2), [[1e-200, 0.0]], cutoff=1e100, order=2)
    np.testing.assert_allclose(
        I.mean, vertex_integral(relu_net(5, dim_in=2), [[1.0, 0.0]], cutoff=1.0, order=2).mean, rtol=1e-12
    )
