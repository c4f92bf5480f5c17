"""Numbers of arXiv:2008.08601 that rest on vertex integrals: scaling with the cutoff, the Erf-net's convergence."""

import numpy as np
import pytest
from nnqft.eft import vertex_integral
from nnqft.networks import erf_net, gauss_net, relu_net


def slope(net, x, cutoff, order=4):
    """d log I / d log Lambda, by central differences over 2e-4: truncation 1e-8 of the second derivative."""
    low, high = (
        vertex_integral(net, x, order=order, cutoff=cutoff * np.exp(h), tolerance=1e-12).mean for h in (-1e-4, 1e-4)
    )
    return np.log(high / low) / 2e-4


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("order", [4, 6])
def test_relu_grows_as_the_cutoff_to_the_dimension_plus_the_order(dim, order):
    """Section 4.2: beta = -(d + 4) lambda, -(d + 6) kappa, for every tuple of inputs."""
    x = np.abs(np.random.default_rng(dim).normal(size=(3, dim)))
    for cutoff in (7.0, 1e5):
        np.testing.assert_allclose(slope(relu_net(20, dim_in=dim), x, cutoff, order), dim + order, atol=1e-6)


def test_erf_approaches_the_power_of_the_dimension():
    line, corners = np.array([[-1.0], [-0.2], [0.6], [1.0]]), np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    at = (0, 1, 2, 3)
    for x, cutoffs, expected in (
        (line, (10, 100, 1e4), (1.479, 1.053, 1.0005)),
        (corners, (10, 100, 1e3), (3.13, 2.024, 2.0004)),
    ):
        net = erf_net(5, dim_in=x.shape[1])
        for cutoff, value in zip(cutoffs, expected, strict=True):
            low, high = (vertex_integral(net, x, cutoff=cutoff * np.exp(h))[at].mean for h in (-1e-3, 1e-3))
            digits = len(str(value).split(".")[1])
            assert abs(np.log(high / low) / 2e-3 - value) < 0.51 * 10**-digits


def test_gauss_does_not_run():
    assert np.abs(slope(gauss_net(100, dim_in=1), [[0.01], [-0.006]], 5.0)).max() < 1e-6


def test_the_integral_of_erf_nearly_converges_at_small_inputs_and_has_a_tail():
    """Inputs 0.01 (0.2, 0.4, 1, 1.2), and the tail at x = 1: d I / d Lambda."""
    x = 0.01 * np.array([[0.2], [0.4], [1.0], [1.2]])
    for cutoff, value in ((10, 1.95326), (100, 1.95449), (1000, 1.95450), (1e5, 1.95483)):
        assert abs(24 * vertex_integral(erf_net(5, dim_in=1), x, cutoff=cutoff)[0, 1, 2, 3].mean - value) < 0.51e-5
    a, b = (vertex_integral(erf_net(5, dim_in=1), [[1.0]], cutoff=L).mean[0] for L in (1e6, 3e6))
    assert abs((b - a) / 2e6 - 0.0722105) < 1e-7


def test_closed_forms_of_the_gauss_net():
    """I_4 = sigma_w^8 (pi d / 2 sigma_w^2)^(d/2) exp(-(sigma_w^2 / 2d) (sum |x|^2 - |sum x|^2 / 4))."""
    for dim in (1, 2, 3):
        x = np.random.default_rng(0).normal(size=(4, dim))
        s2 = 1.7**2
        exponent = -s2 / 2 / dim * ((x * x).sum() - (x.sum(axis=0) ** 2).sum() / 4)
        I = vertex_integral(gauss_net(100, dim_in=dim, sigma_w=1.7), x)
        np.testing.assert_allclose(
            I[0, 1, 2, 3].mean, s2**4 * (np.pi * dim / 2 / s2) ** (dim / 2) * np.exp(exponent), rtol=1e-13
        )
