"""The cos-net that is the free massive scalar: its kernel against closed forms, its correlators, its symmetries."""

from math import atan, log, pi, sqrt

import numpy as np
import pytest
from scipy.special import exp1

from nnqft.eft import check_invariance, free_propagator, orbit
from nnqft.ensemble import exact_correlators
from nnqft.errors import ArgumentError, DivergenceError
from nnqft.networks import Network, free_scalar_net, nngp

R = np.array([0.1, 0.7, 2.0, 5.0])


def tail(m, cutoff, r):
    """int_cutoff^inf e^{ipr} / (p^2 + m^2) dp and the same with a factor p, by exponential integrals."""
    below, above = (np.exp(-s * m * r) * exp1(-s * m * r - 1j * r * cutoff) for s in (1, -1))
    return (below - above) / (2j * m), (below + above) / 2


@pytest.mark.parametrize("m, cutoff", [(1.0, 10.0), (0.3, 40.0), (2.0, 1.5)])
def test_the_propagator_below_a_cutoff_equals_its_closed_forms(m, cutoff):
    """1e-9 of K(0), what the quadrature promises; d = 1 and 3 at any distance, d = 2 at distance 0."""
    at_zero = {
        1: atan(cutoff / m) / (pi * m),
        2: log(1 + (cutoff / m) ** 2) / (4 * pi),
        3: (cutoff - m * atan(cutoff / m)) / (2 * pi**2),
    }
    for dim, value in at_zero.items():
        assert free_propagator(0.0, dim=dim, mass=m, cutoff=cutoff) == pytest.approx(value, rel=1e-9)
    even, odd = tail(m, cutoff, R)
    one = np.exp(-m * R) / (2 * m) - even.real / pi
    three = np.exp(-m * R) / (4 * pi * R) - odd.imag / (2 * pi**2 * R)
    np.testing.assert_allclose(free_propagator(R, dim=1, mass=m, cutoff=cutoff), one, rtol=0, atol=1e-9 * at_zero[1])
    np.testing.assert_allclose(free_propagator(R, dim=3, mass=m, cutoff=cutoff), three, rtol=0, atol=1e-9 * at_zero[3])


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_propagator_solves_its_field_equation_away_from_the_source(dim):
    """(-laplacian + m^2) K = 0, central differences: error h^2 K''''/12."""
    m, r, h = 1.3, np.array([0.8, 2.0]), 1e-3
    at = lambda x: free_propagator(x, dim=dim, mass=m)
    k, up, down = at(r), at(r + h), at(r - h)
    laplacian = (up - 2 * k + down) / h**2 + (dim - 1) / r * (up - down) / (2 * h)
    np.testing.assert_allclose(laplacian, m**2 * k, rtol=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_far_above_all_scales_the_cutoff_does_not_matter(dim):
    """The tail is O(1 / (r cutoff)^2) at fixed r in d = 1 and grows by sqrt(cutoff) per dimension."""
    r = np.array([0.5, 1.0])
    got = free_propagator(r, dim=dim, mass=1.0, cutoff=800.0)
    np.testing.assert_allclose(
        got, free_propagator(r, dim=dim, mass=1.0), rtol=0, atol={1: 2e-6, 2: 1e-4, 3: 1e-3}[dim]
    )


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_kernel_of_the_net_is_the_propagator(dim):
    net = free_scalar_net(7, dim_in=dim, mass=0.7, cutoff=6.0, sigma_w=1.3, sigma_b=0.4)
    assert type(net) is Network
    x = np.random.default_rng(dim).normal(size=(5, dim))
    expected = 0.4**2 + 1.3**2 * free_propagator(np.linalg.norm(x[:, None] - x, axis=2), dim=dim, mass=0.7, cutoff=6.0)
    np.testing.assert_allclose(nngp(net, x), expected, rtol=1e-12)
    np.testing.assert_allclose(
        exact_correlators(net, x, orders=(2,)).full(2).mean, expected[np.triu_indices(5)], rtol=1e-12
    )


def test_its_four_point_function_at_one_point_is_the_kurtosis_of_its_amplitude():
    """N m_4 = 1.5 E A^4 / (E A^2)^2 - 1, with int_0^L dk / (k^2 + m^2)^2 = [atan(L/m) + m L / (m^2 + L^2)] / 2 m^3."""
    m, cutoff = 0.8, 25.0
    net = free_scalar_net(40, dim_in=1, mass=m, cutoff=cutoff)
    square, fourth = atan(cutoff / m) / m, (atan(cutoff / m) + m * cutoff / (m**2 + cutoff**2)) / (2 * m**3)
    expected = (1.5 * cutoff * fourth / square**2 - 1) / 40
    assert exact_correlators(net, [[0.3]], orders=(2, 4)).deviation(4)[0, 0, 0, 0].mean == pytest.approx(
        expected, rel=1e-9
    )


def test_all_its_correlators_are_invariant_under_translations_and_rotations():
    net, x = free_scalar_net(3, dim_in=2, mass=1.0, cutoff=4.0), np.array([[0.0, 0.2], [1.0, -0.4]])
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    for symmetry in (("translation", [2.0, -1.0]), ("rotation", turn)):
        exact = exact_correlators(net, orbit(x, symmetry), orders=(2, 4, 6))
        for order in (2, 4, 6):
            found = check_invariance(exact, symmetry, order=order)
            assert found.exact and found.holds() and found.defect < 1e-9


def test_the_law_survives_being_written_down():
    """An amplitude comes back as its table."""
    net = free_scalar_net(5, dim_in=1, mass=1.0, cutoff=8.0)
    again = Network.from_dict(net.to_dict())
    assert again == net == free_scalar_net(5, dim_in=1, mass=1.0, cutoff=8.0)
    assert net != free_scalar_net(5, dim_in=1, mass=1.1, cutoff=8.0)
    np.testing.assert_allclose(nngp(again, [[0.0], [1.0]]), nngp(net, [[0.0], [1.0]]), rtol=1e-9)


def test_masses_as_small_as_the_table_allows_are_drawn_with_the_right_spectrum():
    """Linear interpolation at cutoff / mass = 1000: relative error below (1000)^2 / 2e9 = 5e-4 at every momentum."""
    net = free_scalar_net(5, dim_in=1, mass=1e-2, cutoff=10.0)
    k = np.linspace(0, 10, 100_001)
    table = np.interp(k, np.linspace(0, 10, net.amplitude.nodes), net.amplitude.table)
    assert abs(table / net.amplitude(k) - 1).max() < 5e-4
    assert net.amplitude(0.0) == pytest.approx(sqrt(2 * 2 * 10 / (2 * pi)) / 1e-2)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: free_scalar_net(5, dim_in=4, cutoff=1.0), ArgumentError, "1, 2 or 3 dimensions, got 4"),
    (lambda: free_scalar_net(5, dim_in=1, mass=0.0, cutoff=1.0), ArgumentError, "mass must be a finite number > 0, got 0.0"),
    (lambda: free_scalar_net(5, dim_in=1, mass=np.nan, cutoff=1.0), ArgumentError, "mass must be"),
    (lambda: free_scalar_net(5, dim_in=1, cutoff=np.inf), ArgumentError, "cutoff must be a finite number > 0, got inf"),
    (lambda: free_scalar_net(5, dim_in=1, cutoff=-1.0), ArgumentError, "cutoff must be"),
    (lambda: free_scalar_net(5, dim_in=1, mass=1e-3, cutoff=10.0), ArgumentError, "resolves masses down to cutoff / 1000"),
    (lambda: free_propagator([-1.0], dim=1), ArgumentError, "distance"),
    (lambda: free_propagator([np.nan], dim=1), ArgumentError, "distance"),
    (lambda: free_propagator([1.0], dim=1, cutoff=0.0), ArgumentError, "cutoff"),
    (lambda: free_propagator([0.0], dim=2), DivergenceError, "grows like log"),
    (lambda: free_propagator([0.0, 1.0], dim=3), DivergenceError, "cutoff / 2 pi"),
])  # fmt: skip
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
