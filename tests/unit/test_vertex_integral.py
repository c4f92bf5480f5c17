"""Vertex and tree integrals: divergences, exact zeros, bad input."""

import numpy as np
import pytest
from nnqft.eft import tree_integral, vertex_integral
from nnqft.errors import ArgumentError, DivergenceError, NNQFTWarning, ShapeError
from nnqft.networks import cos_net, erf_net, gauss_net, mlp, relu_net

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
        ({"cutoff": np.nan}, "cutoff must be positive"),
        ({"cutoff": None}, "cutoff must be a real number"),
        ({"cutoff": [1.0]}, "cutoff must be a real number"),
        ({"power": -1}, "power must be"),
        ({"power": np.inf}, "power must be"),
        ({"power": "2"}, "power must be a real number"),
        ({"loops": -1}, "loops must lie in"),
        ({"tolerance": 0.0}, "tolerance must lie in"),
        ({"tolerance": np.nan}, "tolerance must lie in"),
        ({"method": "magic"}, "is not one of"),
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
