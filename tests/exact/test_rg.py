"""Beta functions by independent routes, and identities of flows."""

import numpy as np
import pytest

from nnqft.eft import beta_function, quartic_coupling, rg_flow, vertex_integral
from nnqft.ensemble import correlators, exact_correlators
from nnqft.networks import cos_net, erf_net, gauss_net, mlp, relu_net

SPREAD = {1: [[-0.7], [0.4], [1.1]], 2: [[-0.7, 0.2], [0.4, 1.0], [1.1, -0.3]], 3: [[-0.7, 0.2, 0.5], [0.4, 1.0, -0.2]]}


def by_difference(net, x, cutoff, step, **options):
    """-dlog I / dlog Lambda, fourth-order central differences."""
    I = [vertex_integral(net, x, cutoff=cutoff * np.exp(k * step), **options).mean for k in (-2, -1, 1, 2)]
    slope = (I[0] - 8 * I[1] + 8 * I[2] - I[3]) / (12 * step)
    return -slope / vertex_integral(net, x, cutoff=cutoff, **options).mean


@pytest.mark.parametrize("net, d, cutoff, options", [
    (erf_net, 1, 3.0, {}),
    (erf_net, 1, 50.0, {"order": 6}),
    (erf_net, 2, 2.0, {}),
    (erf_net, 2, 0.3, {"order": 2, "power": 1.0}),
    (erf_net, 3, 2.0, {"order": 2}),
    (gauss_net, 1, 1.0, {}),
    (gauss_net, 2, 1.5, {"power": 2.0}),
    (cos_net, 1, 1.0, {"order": 6, "loops": 1}),
    (relu_net, 2, 5.0, {"loops": 1}),
])  # fmt: skip
def test_the_surface_integral_is_the_derivative_of_the_volume_integral(net, d, cutoff, options):
    law = net(10, dim_in=d)
    surface = beta_function(law, SPREAD[d], cutoffs=cutoff, method="boundary", **options)
    difference = by_difference(law, SPREAD[d], cutoff, 0.003, **options)
    # step^4 / 30 of a fifth derivative, 8^5 for relu: 9e-8; the integrals' errors are divided by the step, and
    # by integrals that are smaller than that of the absolute value.
    np.testing.assert_allclose(surface.exponent[0], difference, rtol=2e-6, atol=2e-6)


def test_relu_with_a_bias_and_other_activations_run_by_the_same_rule():
    for law in (
        relu_net(5, dim_in=1, sigma_b=0.5),
        mlp(1, (5,), activation="leaky_relu", sigma_b=0.3),
        mlp(1, (5,), activation="sin", sigma_b=1.0),
    ):
        surface = beta_function(law, SPREAD[1], cutoffs=2.0)
        np.testing.assert_allclose(surface.exponent[0], by_difference(law, SPREAD[1], 2.0, 0.003), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("net", [gauss_net, cos_net])
def test_the_gaussian_kernel_has_its_closed_form(net, d):
    cutoffs = [0.3, 1.0, 2.5]
    closed = beta_function(net(10, dim_in=d, sigma_w=1.3), SPREAD[d], cutoffs=cutoffs)
    surface = beta_function(net(10, dim_in=d, sigma_w=1.3), SPREAD[d], cutoffs=cutoffs, method="boundary")
    assert (closed.method, surface.method) == ("closed", "boundary") and not closed.stderr.any()
    np.testing.assert_allclose(closed.exponent, surface.exponent, rtol=1e-8)


def test_tiny_boxes_see_constant_legs():
    # I ~ (2 Lambda)^d prod K(x_i, 0)
    for net, d in ((erf_net, 1), (gauss_net, 2), (erf_net, 3)):
        np.testing.assert_allclose(beta_function(net(5, dim_in=d), SPREAD[d], cutoffs=1e-6).exponent, -d, atol=1e-5)


def test_error_bounds_of_exponents_cover_the_exact_ones():
    beta = beta_function(relu_net(5, dim_in=3), SPREAD[3], cutoffs=[3.0], method="boundary", tolerance=1e-4)
    assert (np.abs(beta.exponent + 7) <= beta.stderr + 1e-12).all() and beta.stderr.max() < 1e-2


def test_a_passive_flow_is_the_coupling_at_every_cutoff():
    run = correlators(erf_net(5, dim_in=1), [[0.3], [1.0]], n_nets=1 << 14, seed=3)
    flow = rg_flow(run, [2.0, 20.0])
    for i, cutoff in enumerate((2.0, 20.0)):
        alone = quartic_coupling(run, cutoff=cutoff)
        assert flow.mean[i] == pytest.approx(alone.mean.mean, rel=1e-8)
        assert flow.stderr[i] == pytest.approx(alone.mean.stderr, rel=1e-6)
    # Every tuple's number is one G_c over I(Lambda): the noise is a common factor, and slopes of two points have none.
    I4 = [vertex_integral(erf_net(5, dim_in=1), [[0.3], [1.0]], cutoff=cutoff).mean for cutoff in (2.0, 20.0)]
    np.testing.assert_allclose(flow.slope().slope.mean, np.log(I4[0] / I4[1]) / np.log(10), rtol=1e-8)


def test_beta_of_a_flow_is_its_derivative():
    G = exact_correlators(erf_net(5, dim_in=1), [[0.3], [1.0]], orders=(2, 4, 6))
    for order in (4, 6):
        flow = rg_flow(G, 5.0 * np.exp(0.01 * np.arange(-2, 3)), order=order, tree=False)
        m = flow.mean
        assert flow.beta()[2].mean == pytest.approx((m[0] - 8 * m[1] + 8 * m[3] - m[4]) / 0.12, rel=1e-6)


@pytest.mark.parametrize("make", [erf_net, gauss_net, cos_net, relu_net])
@pytest.mark.parametrize("d, order", [(1, 4), (1, 6), (2, 4)])
def test_sigma_w_is_a_change_of_units(make, d, order):
    # f(x; sigma_w) = sigma_w F(sigma_w x) without output bias: g(x; L, s) = s^(d - order) g(s x; s L, 1)
    x, s, cutoff = np.array(SPREAD[d])[1:2] * 0.3, 1.7, 2.0
    G = exact_correlators(make(10, dim_in=d), x, orders=(2, 4, 6))
    scaled = exact_correlators(make(10, dim_in=d), s * x, orders=(2, 4, 6))
    active = rg_flow(G, cutoff, sigma_w=[1.0, s], order=order, tree=False)
    passive = rg_flow(scaled, [s * cutoff], order=order, tree=False)
    np.testing.assert_allclose(active.pointwise[1], s ** (d - order) * passive.pointwise[0], rtol=1e-8)


def test_couplings_fall_with_powers_of_the_width():
    G = exact_correlators(erf_net(5, dim_in=1), [[0.3], [1.0]], orders=(2, 4, 6))
    for order, tree, power in ((4, True, -1), (6, True, -2), (6, False, -2)):
        line = rg_flow(G, 10.0, width=[5, 20, 100], order=order, tree=tree).slope()
        np.testing.assert_allclose(line.slope.mean, power, rtol=1e-9)


def test_kappa_of_relu_runs_the_same_with_and_without_the_tree():
    # lambda^2 int int K^7 ~ Lambda^(-2(d+4) + 2d + 8) = 1
    G = exact_correlators(relu_net(20, dim_in=1), [[0.5], [1.0]], orders=(2, 4, 6))
    for tree in (True, False):
        np.testing.assert_allclose(rg_flow(G, [1.0, 10.0, 100.0], order=6, tree=tree).slope().slope.mean, -7, atol=1e-6)


def test_beta_of_a_flow_has_the_error_of_its_coupling():
    """Where every tuple's exponent is the same number, beta = exponent * mean: so are the errors, correlations included."""
    run = correlators(relu_net(5, dim_in=1), [[0.3], [1.0]], n_nets=1 << 12, seed=3)
    flow = rg_flow(run, [2.0, 20.0])
    for beta, mean, stderr in zip(flow.beta(), flow.mean, flow.stderr, strict=True):
        assert beta.mean == pytest.approx(-5 * mean, rel=1e-8)
        assert beta.stderr == pytest.approx(5 * stderr, rel=1e-6)
        assert 0 < beta.stderr < 0.2 * abs(beta.mean)
    exact = rg_flow(exact_correlators(relu_net(5, dim_in=1), [[0.3], [1.0]]), [2.0, 20.0])
    assert all(beta.stderr <= 1e-8 * abs(beta.mean) for beta in exact.beta())
