"""The flow of potentials: its equations by another route, and cases in which the approximation is (nearly) exact."""

from math import gamma, pi

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from nnqft.eft import lpa_couplings, lpa_fixed_points, lpa_flow
from nnqft.networks import cos_net, gauss_net, nngp
from nnqft.tensor import Estimate


def printed_flow(d, couplings, k_start, k_stop):
    """The equations up to phi^6 as arXiv:2108.01403's authors integrate them."""
    V = 1 / (2**d * pi ** (d / 2) * gamma(d / 2 + 1))

    def slope(t, u):
        k = np.exp(t)
        b2, b4, b6 = u[0] / k**2, u[1] * k ** (d - 4), u[2] * k ** (2 * d - 6)
        return [
            k**2 * -V * b4 / (1 + b2) ** 2,
            k ** (4 - d) * V / (1 + b2) ** 2 * (-b6 + 6 * b4**2 / (1 + b2)),
            k ** (6 - 2 * d) * V * b4 / (1 + b2) ** 3 * (30 * b6 - 90 * b4**2 / (1 + b2)),
        ]

    return solve_ivp(slope, np.log([k_start, k_stop]), couplings, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]


@pytest.mark.parametrize("d", [1, 2, 2.5, 3, 4])
@pytest.mark.parametrize("k", [(10.0, 0.05), (0.05, 10.0)])
def test_the_sixth_order_truncation_has_the_printed_equations(d, k):
    flow = lpa_flow(d, 1.0, u4=0.3, u6=0.05, k=k)
    np.testing.assert_allclose(flow.couplings[-1], printed_flow(d, [2 / d, 0.3, 0.05], *k), rtol=1e-8)


def test_coefficients_are_those_of_the_closed_equation():
    # k dU/dk = V / (1 + U'') - d U + (d - 2)/2 phi U'; Taylor coefficients in z = phi^2 by Fourier sums on a circle.
    d, u = 3.0, np.array([0.2, 0.7, -0.3, 0.4])
    flow = lpa_flow(d, u2=u[0], u4=u[1], u6=u[2], higher=u[3:], k=(1.0, 0.5), n_points=2)
    m, factorials = np.arange(1, 5), np.array([2.0, 24.0, 720.0, 40320.0])
    c, z = u / factorials, np.exp(2j * np.pi * np.arange(64) / 64)  # 1 + U'' has no zero within |z| = 1.5
    U, phi_slope, curvature = (z[:, None] ** p @ (f * c) for p, f in ((m, 1), (m, 2 * m), (m - 1, 2 * m * (2 * m - 1))))
    right = 1 / (6 * np.pi**2) / (1 + curvature) - d * U + (d - 2) / 2 * phi_slope
    np.testing.assert_allclose(flow.beta[0], np.fft.fft(right)[1:5].real / 64 * factorials, rtol=1e-9)


@pytest.mark.parametrize("u4", [0.01, 0.1])
def test_without_dimensions_the_flow_ends_at_the_exact_effective_action(u4):
    weight = lambda x, n: x**n * np.exp(-x * x / 2 - u4 / 24 * x**4)
    moment = [quad(weight, -12, 12, args=(n,), epsabs=0, epsrel=1e-13, limit=400)[0] for n in (0, 2, 4, 6)]
    m2, m4, m6 = np.array(moment[1:]) / moment[0]
    k4, k6 = m4 - 3 * m2**2, m6 - 15 * m4 * m2 + 30 * m2**3
    vertices = [1 / m2, -k4 / m2**4, -k6 / m2**6 + 10 * k4**2 / m2**7]
    ends = [lpa_flow(0, u2=1.0, u4=u4, order=order, k=(1e5, 1e-5)).couplings[-1, :3] for order in (4, 8, 16)]
    errors = [np.max(abs(end[:2] / vertices[:2] - 1)) for end in ends]
    assert errors[0] > 3 * errors[1] > 0
    # An asymptotic series in u4: at 0.1 the sixteenth power of the field is worth 1e-5 of the six-point vertex.
    np.testing.assert_allclose(ends[2], vertices, rtol=1e-8 if u4 < 0.05 else 2e-3)


@pytest.mark.parametrize("quartic, accuracy", [(0.01, 1e-5), (0.1, 6e-4)])
def test_in_one_dimension_the_curvature_is_nearly_the_gap_of_the_anharmonic_oscillator(quartic, accuracy):
    lower = np.diag(np.sqrt(np.arange(1.0, 60)), 1)
    x, p2 = (lower + lower.T) / np.sqrt(2), -(lower - lower.T) @ (lower - lower.T) / 2
    levels = np.linalg.eigvalsh(p2 / 2 + x @ x / 2 + quartic * np.linalg.matrix_power(x, 4))
    flow = lpa_flow(1, u2=1.0, u4=24 * quartic, order=12, k=(1e3, 1e-3))
    # accuracy: of the local potential approximation itself, from a comparison at orders 12 and 20
    assert abs(np.sqrt(flow.couplings[-1, 0]) / (levels[1] - levels[0]) - 1) < accuracy


def test_a_flow_and_its_way_back_cancel():
    there = lpa_flow(3, 0.5, u4=2.0, u6=1.0, k=(5.0, 0.01))
    u = there.couplings[-1]
    back = lpa_flow(3, u2=u[0], u4=u[1], u6=u[2], k=(0.01, 5.0))
    # Up the flow errors grow like those of an ill-posed problem; over these scales by a few powers of ten.
    np.testing.assert_allclose(back.couplings[-1], there.couplings[0], rtol=1e-5, atol=1e-5)


def test_a_free_field_does_not_flow():
    flow = lpa_flow(2, 1.5, k=(10, 0.1))
    np.testing.assert_array_equal(flow.couplings, np.tile([2.25, 0, 0], (101, 1)))


def test_the_linearised_flow_has_the_eigenvalues_of_the_stability_matrix():
    point = lpa_fixed_points(3, order=6)[1]
    matrix = np.empty((3, 3))
    for j, u in enumerate(point.couplings):
        step = 1e-5 * abs(u)
        shifted = [point.couplings + s * step * np.eye(3)[j] for s in (1, -1)]
        betas = [lpa_flow(3, u2=v[0], u4=v[1], u6=v[2], k=(1.0, 0.99), n_points=2).beta[0] for v in shifted]
        matrix[:, j] = (betas[0] - betas[1]) / (2 * step)
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(matrix).real), point.eigenvalues, rtol=1e-7)
    at_rest = lpa_flow(3, **dict(zip(("u2", "u4", "u6"), point.couplings)), k=(1.0, 0.99), n_points=2)
    np.testing.assert_allclose(at_rest.beta[0], 0, atol=1e-10 * abs(point.couplings).max())


def test_deviations_from_the_fixed_point_grow_with_the_relevant_exponent():
    point = lpa_fixed_points(3, order=6)[1]
    u = point.couplings * [1 + 1e-7, 1, 1]
    flow = lpa_flow(3, u2=u[0], u4=u[1], u6=u[2], k=(1.0, 1e-3), tolerance=1e-10)
    distance = abs(flow.dimensionless[:, 0] - point.couplings[0])
    late = (flow.k < 0.1) & (flow.k > 0.01)
    slope = np.polyfit(np.log(flow.k[late]), np.log(distance[late]), 1)[0]
    assert abs(slope - point.eigenvalues[0]) < 2e-3  # the next eigenvalue is 1.13: (0.1)^2.8 of the deviation is left


def test_the_active_flow_is_the_passive_one_in_other_units():
    # f(x; sigma_w) = sigma_w F(sigma_w x): dimensionless couplings depend on k / sigma_w alone.
    widths = np.array([1.0, 0.5, 2.0])
    active = lpa_flow(3, widths, u4=0.8, u6=0.1, k=(10.0, 0.3))
    passive = lpa_flow(3, 1.0, u4=0.8, u6=0.1, k=(10.0, 0.1))
    for row, s in zip(active.dimensionless, widths):
        np.testing.assert_allclose(row, passive.at(0.3 / s) / (0.3 / s) ** np.array([2.0, 1.0, 0.0]), rtol=1e-7)


def test_measured_couplings_of_every_net_make_an_active_flow_of_their_own():
    widths = np.array([1.0, 2.0])
    both = lpa_flow(1, widths, u4=[0.3, 0.7], k=(0.01, 3.0))
    alone = lpa_flow(1, 2.0, u4=0.7, k=(0.02, 3.0), n_points=2)
    np.testing.assert_allclose(both.couplings[1], alone.couplings[-1], rtol=1e-8)


def test_errors_of_couplings_are_carried_along_the_flow():
    flow = lpa_flow(2, 1.0, u4=Estimate(0.5, 1e-4), u6=Estimate(0.0, 1e-3), k=(0.1, 10.0), tolerance=1e-8)
    step = 1e-4
    ends = {}
    for key, start in (("u4", 0.5), ("u6", 0.0)):
        moved = [{"u4": 0.5, "u6": 0.0, key: start + sign * step} for sign in (1, -1)]
        ends[key] = [lpa_flow(2, 1.0, **c, k=(0.1, 10.0), tolerance=1e-8).couplings[-1] for c in moved]
    slopes = {key: (up - down) / (2 * step) for key, (up, down) in ends.items()}
    expected = np.hypot(slopes["u4"] * 1e-4, slopes["u6"] * 1e-3)
    np.testing.assert_allclose(flow.stderr[-1], expected, rtol=1e-4)
    np.testing.assert_allclose(flow.stderr[0], [0, 1e-4, 1e-3], rtol=1e-8)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("make", [gauss_net, cos_net])
def test_mass_and_normalisation_are_those_of_the_kernel(make, d):
    # 1/K(p) = Z (m^2 + p^2): K(0) = int K = 1/(Z m^2) and int y_1^2 K = -d^2 K/dp_1^2 (0) = 2 K(0) / m^2.
    net = make(10, dim_in=d, sigma_w=0.7)
    u2, u4, u6 = lpa_couplings(net, 0.01, 0.001)
    reach = 12 * np.sqrt(d) / 0.7
    y = np.linspace(-reach, reach, 4001)
    points = np.zeros((len(y), d))
    points[:, 0] = y
    line = nngp(net, points, np.zeros((1, d)))[:, 0] - net.sigma_b**2  # K_W = sigma_w^2 times a product over axes
    mass = np.trapezoid(line, y) / net.sigma_w**2
    total = net.sigma_w**2 * mass**d
    second = np.trapezoid(y**2 * line, y) * mass ** (d - 1)
    assert u2 == pytest.approx(2 * total / second, rel=1e-10)
    z = 1 / (total * u2)
    assert (u4, u6) == pytest.approx((24 * 0.01 / z**2, 720 * 0.001 / z**3), rel=1e-10)
