"""Vertex and tree integrals: divergences, exact zeros, bad input."""

import numpy as np
import pytest
from nnqft.eft import tree_integral, vertex_integral
from nnqft.errors import ArgumentError, DivergenceError, NNQFTWarning, ShapeError
from nnqft.networks import cos_net, erf_net, free_scalar_net, gauss_net, mlp, nngp, relu_net

X = np.array([[0.5], [1.0]])


@pytest.mark.parametrize(
    ("net", "arguments", "growth"),
    [
        (relu_net(5, dim_in=1), {}, r"Lambda\^5 "),
        (relu_net(5, dim_in=1), {"order": 6, "loops": 1}, r"Lambda\^9 "),
        (relu_net(5, dim_in=1, sigma_b=1.0), {"power": 1.5}, r"Lambda\^6.5 "),
        (erf_net(5, dim_in=1), {}, r"Lambda\^1 "),
        (erf_net(5, dim_in=1), {"power": 2, "loops": 3}, r"Lambda\^3 "),
        (mlp(1, 5, activation="tanh"), {"order": 2}, r"Lambda\^1 "),
        (mlp(1, 5, activation="gelu"), {}, r"Lambda\^5 "),
        (mlp(1, 5, activation="polynomial", activation_params=(1.0, 0.0, 1.0)), {"order": 2}, r"Lambda\^5 "),
        (mlp(1, 5, activation="exp"), {}, "faster than any power"),
        (cos_net(5, dim_in=1, momentum=("ball", 3.0)), {"order": 1}, "finds no limit"),
    ],
    ids=str,
)
def test_a_divergent_integral_tells_how_it_grows(net, arguments, growth):
    with pytest.raises(DivergenceError, match=growth):
        vertex_integral(net, X, **arguments)


@pytest.mark.parametrize("dim", [2, 3])
def test_the_growth_depends_on_the_dimension(dim):
    for net, growth in ((relu_net(5, dim_in=dim), 4 + dim), (erf_net(5, dim_in=dim), dim)):
        with pytest.raises(DivergenceError, match=rf"Lambda\^{growth} "):
            vertex_integral(net, np.ones((1, dim)))


@pytest.mark.parametrize(
    ("dim", "arguments"),
    [(1, {"order": 1}), (1, {"power": 3}), (2, {"order": 2}), (3, {"order": 4, "power": 1})],
    ids=str,
)
def test_a_logarithm_is_called_a_logarithm(dim, arguments):
    """K_W(0, y) of erf falls off as 1 / |y|."""
    with pytest.raises(DivergenceError, match="grows as log Lambda with"):
        vertex_integral(erf_net(5, dim_in=dim), np.zeros((1, dim)), **arguments)


def test_the_tree_of_erf_at_the_origin_diverges_from_three_dimensions_on():
    with pytest.raises(DivergenceError, match="grows as log Lambda with"):
        tree_integral(erf_net(5, dim_in=3), np.zeros((1, 3)))


def test_a_convergent_integral_at_the_origin_diverges_as_soon_as_another_point_comes():
    with pytest.raises(DivergenceError, match=r"Lambda\^1 "):
        vertex_integral(erf_net(5, dim_in=1), [[0.0], [1.0]])


def test_an_integral_that_hardly_converges_warns_and_its_error_covers_the_rest():
    """Power 2.9: the tail falls as R^-0.1. The truth, 1.376, by adding it from R = 1e8 on, where the kernel is a power."""
    net = erf_net(5, dim_in=1)
    with pytest.warns(NNQFTWarning, match="relative error"):
        I = vertex_integral(net, [[0.0]], power=2.9)
    near = vertex_integral(net, [[0.0]], power=2.9, cutoff=1e8).mean[0]
    leg = nngp(net, [[0.0]], [[1e8]])[0, 0] - 1
    truth = near + 2 * leg**4 * 1e8**3.9 / 0.1
    assert abs(I.mean[0] - truth) < I.stderr[0] < 0.01 * truth


def test_a_divergent_tree_tells_how_it_grows():
    for net, growth in ((relu_net(5, dim_in=1), 10), (erf_net(5, dim_in=1), 2)):
        with pytest.raises(DivergenceError, match=rf"Lambda\^{growth} "):
            tree_integral(net, X)


def test_legs_that_vanish_everywhere_give_zero_without_a_cutoff():
    """Without bias the kernel of an odd or homogeneous activation vanishes at x = 0; the other points still diverge."""
    for net in (relu_net(5, dim_in=1), erf_net(5, dim_in=1, sigma_b=0.0), mlp(1, 5, activation="tanh")):
        I = vertex_integral(net, [[0.0]])
        assert I.mean[0] == 0 and I.stderr[0] == 0
        assert tree_integral(net, [[0.0]]).mean[0] == 0
        with pytest.raises(DivergenceError):
            vertex_integral(net, [[0.0], [1.0]])
        assert vertex_integral(net, [[0.0], [1.0]], cutoff=2.0)[0, 0, 1, 1].mean == 0


def test_coincident_points_are_no_degeneracy_of_an_integral():
    I = vertex_integral(erf_net(5, dim_in=1), [[0.7], [0.7]], cutoff=3.0)
    np.testing.assert_allclose(I.mean, I.mean[0], rtol=1e-13)


def test_any_memory_layout_gives_the_same_bits():
    x = np.arange(12.0).reshape(3, 4)[:, ::-2][:, :2]
    fixed = np.ascontiguousarray(x)
    fixed.setflags(write=False)
    net = erf_net(5, dim_in=2)
    assert vertex_integral(net, x, cutoff=1.0) == vertex_integral(net, fixed, cutoff=1.0)
    assert vertex_integral(net, x.astype(np.float32), cutoff=1.0) == vertex_integral(net, fixed, cutoff=1.0)


def test_the_result_says_how_it_was_made():
    I = vertex_integral(erf_net(5, dim_in=1), X, cutoff=2.0, power=1, order=6)
    assert (I.order, I.size, I.how["method"], I.how["cutoff"], I.how["power"]) == (6, 2, "quadrature", 2.0, 1.0)
    assert np.all(I.stderr > 0) and np.all(I.stderr < 1e-10 * I.mean)


def test_every_result_says_what_was_integrated():
    """Couplings tell by it whether they were given the integral they need."""
    said = lambda I: tuple(I.how[key] for key in ("kind", "power", "loops", "pairs", "cutoff"))
    for net in (erf_net(5, dim_in=1), relu_net(5, dim_in=1), relu_net(5, dim_in=2), gauss_net(5, dim_in=1)):
        x = X @ np.ones((1, net.dim_in))
        assert said(vertex_integral(net, x, cutoff=2, power=1, loops=3)) == ("vertex", 1.0, 3, False, 2.0)
        assert said(vertex_integral(net, x, cutoff=2.0, pairs=True)) == ("vertex", 0.0, 0, True, 2.0)
        assert said(tree_integral(net, x, cutoff=2, tolerance=1e-3)) == ("tree", 0.0, 0, False, 2.0)
    assert said(tree_integral(gauss_net(5, dim_in=1), X)) == ("tree", 0.0, 0, False, np.inf)


def test_an_unreachable_tolerance_warns_and_the_error_says_what_was_reached():
    with pytest.warns(NNQFTWarning, match="relative error"):
        P = vertex_integral(cos_net(5, dim_in=1, momentum=("ball", 1.0)), [[0.0]], order=2, tolerance=1e-9)
    assert 1e-9 * P.mean[0] < P.stderr[0] and abs(P.mean[0] - np.pi) < P.stderr[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order must lie in"),
        ({"order": 9}, "order must lie in"),
        ({"order": 4.0}, "order must be an integer"),
        ({"cutoff": 0.0}, "cutoff must be positive"),
        ({"cutoff": -1.0}, "cutoff must be positive"),
        ({"cutoff": np.nan}, "cutoff must be a number"),
        ({"cutoff": True}, "cutoff must be a real number"),
        ({"cutoff": {}}, "cutoff must be a real number"),
        ({"power": {}}, "power must be a real number"),
        ({"tolerance": "a"}, "tolerance must be a real number"),
        ({"order": True}, "order must be an integer"),
        ({"loops": True}, "loops must be an integer"),
        ({"power": 1e9}, "power must be a finite number >= 0 and <= 300"),
        ({"method": ["auto"]}, "method must be one of"),
        ({"pairs": "no"}, "pairs must be True or False"),
        ({"cutoff": None}, "cutoff must be a real number"),
        ({"cutoff": [1.0]}, "cutoff must be a real number"),
        ({"power": -1}, "power must be"),
        ({"power": np.inf}, "power must be"),
        ({"power": "2"}, "power must be a real number"),
        ({"loops": -1}, "loops must lie in"),
        ({"tolerance": 0.0}, "tolerance must be a finite number >= 1e-12"),
        ({"tolerance": np.nan}, "tolerance must be a finite number"),
        ({"method": "magic"}, "method must be one of"),
        ({"method": "closed"}, "no route"),
        ({"method": "homogeneous"}, "no route"),
        ({"pairs": True, "order": 3}, "pairs=True takes"),
        ({"pairs": True, "power": 2}, "pairs=True takes"),
        ({"cutoff": 1e200}, "overflow"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        vertex_integral(erf_net(5, dim_in=1), X, **({"cutoff": 1.0} | arguments))


@pytest.mark.parametrize("integral", [vertex_integral, tree_integral])
@pytest.mark.parametrize(
    ("net", "x", "error", "message"),
    [
        (erf_net(5, dim_in=1), np.ones(3), ShapeError, "reshape"),
        (erf_net(5, dim_in=2), np.ones((3, 1)), ShapeError, r"\(n_points, 2\)"),
        (erf_net(5, dim_in=1), np.empty((0, 1)), ShapeError, "n_points >= 1"),
        (erf_net(5, dim_in=1), np.array([[np.nan]]), ArgumentError, "finite"),
        (erf_net(5, dim_in=1), np.array([[1j]]), ShapeError, "real numbers"),
        (erf_net(5, dim_in=4), np.ones((1, 4)), ArgumentError, "1, 2 and 3 dimensions"),
        (erf_net(5, dim_in=1, sigma_w=0.0), X, ArgumentError, "sigma_w is 0"),
        (mlp(1, (5, 5), activation="erf"), X, ArgumentError, "one hidden layer"),
        (erf_net(5, dim_in=1, weight_law="uniform"), X, ArgumentError, "closed-form averages"),
        (erf_net(5, dim_in=1), np.ones((200, 1)) * np.arange(200)[:, None], ArgumentError, "entries"),
        ("erf", X, ArgumentError, "Network"),
    ],
    ids=str,
)
def test_wrong_networks_and_points_are_refused(integral, net, x, error, message):
    with pytest.raises(error, match=message):
        integral(net, x, cutoff=1.0)


def test_overflow_is_an_error_and_underflow_is_zero():
    with pytest.raises(ArgumentError, match="overflows"):
        vertex_integral(relu_net(5, dim_in=1), [[1e100]], cutoff=1.0)
    with pytest.raises(ArgumentError, match="overflows"):
        vertex_integral(gauss_net(5, dim_in=1, sigma_w=1e50), X)
    assert vertex_integral(relu_net(5, dim_in=1), [[1e-100]], cutoff=1.0).mean[0] == 0
    assert vertex_integral(gauss_net(5, dim_in=1), [[0.0], [1e6]]).mean[1] == 0


def test_overflow_in_every_route_is_an_argument_error():
    """Numbers beyond 1e154 have squares beyond float64; no OverflowError, ZeroDivisionError or nan reaches the caller."""
    plane = np.array([[1.0, 0.0]])
    for call in (
        lambda: vertex_integral(relu_net(5, dim_in=2), plane, cutoff=1e200),
        lambda: tree_integral(relu_net(5, dim_in=2), plane, cutoff=1e200),
        lambda: vertex_integral(erf_net(5, dim_in=1, sigma_w=1e200), X, cutoff=1.0),
        lambda: vertex_integral(erf_net(5, dim_in=1, sigma_b=1e200), X, cutoff=1.0),
        lambda: vertex_integral(erf_net(5, dim_in=1, sigma_b=1e150), [[0.0]]),
        lambda: vertex_integral(relu_net(5, dim_in=2, sigma_w=1e50), plane, cutoff=2.0),
        lambda: tree_integral(relu_net(5, dim_in=1, sigma_w=1e50), X, cutoff=2.0),
        lambda: tree_integral(relu_net(5, dim_in=2, sigma_w=1e50), plane, cutoff=2.0),
        lambda: tree_integral(gauss_net(5, dim_in=1, sigma_w=1e50), [[0.0]], cutoff=2.0),
        lambda: tree_integral(gauss_net(5, dim_in=1, sigma_w=1e50), X),
    ):
        with pytest.raises(ArgumentError, match="overflows"):
            call()


def test_a_small_sigma_w_is_not_called_zero():
    with pytest.raises(ArgumentError, match="sigma_w = 1e-160: its square underflows"):
        vertex_integral(relu_net(5, dim_in=1, sigma_w=1e-160), X, cutoff=1.0)


def test_a_gaussian_factor_that_overflows_alone_leaves_no_trace():
    """(pi / a)^(3/2) is 1e361 at sigma_w = 1e-120; with s^4 the integral underflows. With s alone it is s (6 pi / s)^(3/2)."""
    assert vertex_integral(gauss_net(5, dim_in=3, sigma_w=1e-120), np.zeros((1, 3))).mean[0] == 0
    I = vertex_integral(gauss_net(5, dim_in=3, sigma_w=1e-105), np.zeros((1, 3)), order=1)
    np.testing.assert_allclose(I.mean, 1e105 * (6 * np.pi) ** 1.5, rtol=1e-13)  # 210 ln(10) eps


def test_scales_out_of_reach_are_refused_at_once():
    """Meshes that float64 cannot hold, tables of 1e7 panels, 1e9 values of the kernel: no run without an end."""
    scalar = free_scalar_net(10, dim_in=1, mass=1.0, cutoff=10.0)
    tanh = mlp(2, 5, activation="tanh", sigma_w=1e20)
    for call, message in (
        (lambda: tree_integral(erf_net(5, dim_in=3), np.ones((1, 3)), cutoff=1e70), "a tree over .* boxes"),
        (lambda: vertex_integral(tanh, [[1.0, 1.0]], cutoff=2.0), "lengths of the kernel"),
        (lambda: vertex_integral(gauss_net(5, dim_in=1), [[1e20]], method="quadrature"), "lengths of the kernel"),
        (lambda: tree_integral(gauss_net(5, dim_in=1, sigma_w=1e20), X, cutoff=2.0), "lengths of the kernel"),
        (lambda: vertex_integral(scalar, [[0.0], [1e6]]), "at most 10000 are tabulated"),
        (lambda: vertex_integral(scalar, [[0.0], [1e300]]), "lengths of the kernel"),
        (lambda: vertex_integral(erf_net(5, dim_in=1), np.ones((1001, 1)), order=1, cutoff=1.0), "at most 1000"),
        (
            lambda: vertex_integral(
                erf_net(5, dim_in=2), np.random.default_rng(0).random((1000, 2)) * 100, order=1, cutoff=200.0
            ),
            "use fewer points",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()


def test_momenta_at_the_end_of_float64_are_refused():
    net = cos_net(5, dim_in=3, momentum=("ball", 1e-200))
    with pytest.raises(ArgumentError):
        vertex_integral(net, [[1.0, 0.0, 0.0]])
    with pytest.raises(ArgumentError, match="units in which it is of order 1"):
        free_scalar_net(10, dim_in=1, mass=1e200, cutoff=1e200)


def test_legs_of_step_shape_are_integrated_exactly():
    """erf of sigma_w >> 1 is a sign, and K_W(x, y) = sigma_w^2 sign(x y), on boxes down to 1 / sigma_w at 0 but not at x."""
    for sigma in (1e20, 1e50, 1e70):
        I = vertex_integral(erf_net(5, dim_in=1, sigma_w=sigma), X, order=2, cutoff=2.0)
        np.testing.assert_allclose(I.mean, 4 * sigma**4, rtol=1e-12)
