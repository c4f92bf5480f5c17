"""Running couplings of arXiv:2008.08601, section 4: exponents of three nets, and how sigma_w moves the Gauss-net."""

import numpy as np
import pytest

from nnqft.ensemble import exact_correlators
from nnqft.eft import beta_function, rg_flow
from nnqft.networks import erf_net, gauss_net, relu_net

RELU = {
    1: np.array([[0.2], [0.4], [0.6], [0.8], [1.0], [1.2]]),
    2: np.array([[0.5, 0.5], [0.5, 1.0], [1.0, 0.5], [1.0, 1.0]]),
    3: np.array([[0.2, 0.2, 0.2], [1.0, 1.0, 0.2], [0.2, 1.0, 1.0], [1.0, 0.2, 1.0]]),
}  # the paper's inputs
CUTOFFS = np.geomspace(7, 1e5, 21)  # the released code's


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("order", [4, 6])
def test_relu_couplings_fall_with_dimension_plus_order(d, order):
    net = relu_net(20, dim_in=d)
    exact = beta_function(net, RELU[d], order=order, cutoffs=CUTOFFS)
    np.testing.assert_array_equal(exact.exponent, -float(d + order))
    # The surface integral does not know about homogeneity.
    boundary = beta_function(net, RELU[d], order=order, cutoffs=[7.0, 1e5], method="boundary", tolerance=1e-8)
    np.testing.assert_allclose(boundary.exponent, -(d + order), atol=1e-6)


@pytest.mark.parametrize(
    "d, cutoffs, route", [(1, CUTOFFS, "quadrature"), (2, CUTOFFS[::10], "quadrature"), (3, CUTOFFS[::10], "auto")]
)
@pytest.mark.parametrize("order", [4, 6])
def test_relu_couplings_lie_on_straight_lines_in_logarithms(d, cutoffs, route, order):
    line = beta_function(relu_net(20, dim_in=d), RELU[d], order=order, cutoffs=cutoffs, tolerance=1e-8).regression(
        method=route
    )
    np.testing.assert_allclose(line.slope.mean, -(d + order), atol=1e-6)
    np.testing.assert_allclose(line.r2, 1.0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_relu_makes_every_even_operator_irrelevant(k):
    beta = beta_function(
        relu_net(20, dim_in=2), RELU[2], order=2 * k, cutoffs=[7.0, 1e3], method="boundary", tolerance=1e-8
    )
    np.testing.assert_allclose(beta.exponent, -(2 + 2 * k), atol=1e-6)


def test_the_loop_of_f6_runs_as_f6_does():
    # int K(z, z) K^4 ~ Lambda^(d+6): kappa times it stays finite
    loop = beta_function(relu_net(20, dim_in=1), RELU[1], order=4, loops=1, cutoffs=[10.0], method="boundary")
    np.testing.assert_allclose(loop.exponent, -7, atol=1e-9)


def test_erf_couplings_in_one_dimension_reach_minus_one_slowly():
    x = np.array([[-1.0], [-0.6], [-0.2], [0.2], [0.6], [1.0]])
    beta = beta_function(erf_net(5, dim_in=1), x, cutoffs=[10.0, 100.0, 1e4])
    assert [round(-beta.tensor(i)[0, 1, 3, 5].mean, n) for i, n in enumerate((3, 3, 4))] == [1.479, 1.053, 1.0005]
    np.testing.assert_allclose(beta.exponent[2], -1, atol=0.05)


def test_erf_couplings_in_two_dimensions_reach_minus_two_slowly():
    x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    beta = beta_function(erf_net(5, dim_in=2), x, cutoffs=[10.0, 100.0, 1e3], tolerance=1e-7)
    assert [round(-beta.tensor(i)[0, 1, 2, 3].mean, n) for i, n in enumerate((2, 3, 4))] == [3.13, 2.024, 2.0004]
    # (1, 1) thrice and (1, -1): the far kernel is odd under reflection, and the integral grows as log Lambda only.
    assert -0.2 < beta.tensor(2)[0, 0, 0, 1].mean < -0.1


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gauss_couplings_do_not_run_beyond_a_cutoff_of_five(d):
    x = np.linspace(-0.01, 0.01, 3)[:, None] * np.ones(d)
    beta = beta_function(gauss_net(1000, dim_in=d), x, cutoffs=[5.0, 10.0])
    assert (np.abs(beta.exponent) < 5e-5).all()


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("order", [4, 6])
def test_couplings_of_the_gauss_net_scale_with_sigma_w(d, order):
    # lambda ~ sigma_w^(d-4), kappa ~ sigma_w^(d-6) near x = 0, up to sigma_w^2 |x|^2
    G = exact_correlators(gauss_net(100, dim_in=d), 1e-4 * np.eye(d)[:1], orders=(2, 4, 6))
    flow = rg_flow(G, sigma_w=np.geomspace(0.5, 2, 5), order=order)
    np.testing.assert_allclose(flow.slope().slope.mean, d - order, atol=1e-5)
