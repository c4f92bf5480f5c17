"""Fixed points of the local potential approximation against the literature."""

from itertools import pairwise

import numpy as np
import pytest

from nnqft.eft import lpa_fixed_points


def wilson_fisher(d, order):
    return next(point for point in lpa_fixed_points(d, order=order) if point.name == "Wilson-Fisher")


def test_exponents_of_the_ising_class_tend_to_those_of_the_optimised_flow():
    # nu = 0.649562, omega = 0.655746: Litim, hep-th/0203006, table 1; the same as Polchinski's equation gives.
    orders = (4, 6, 8, 12, 20, 40)
    distance = [abs(wilson_fisher(3, order).nu - 0.649562) for order in orders]
    assert all(a > b for a, b in pairwise(distance))
    assert distance[-1] < 5e-6
    assert wilson_fisher(3, 40).omega == pytest.approx(0.655746, abs=5e-4)


def test_the_lowest_truncation_has_its_closed_form():
    # k du2/dk = k du4/dk = 0 at order 4, d = 3: u2 = -1/13, u4 = 144 / 169 * 2 / (13 V), V = 1 / (6 pi^2).
    point = wilson_fisher(3, 4)
    assert point.couplings == pytest.approx([-1 / 13, 2 / 13 * (12 / 13) ** 2 * 6 * np.pi**2], rel=1e-12)


def test_the_mass_at_the_fixed_point_is_the_known_one():
    # Litim, hep-th/0203006: U''(0) = -0.186064 for one component
    assert wilson_fisher(3, 40).couplings[0] == pytest.approx(-0.186064, abs=5e-6)


@pytest.mark.parametrize("order", [4, 8, 20])
def test_near_four_dimensions_exponents_follow_the_epsilon_expansion(order):
    # nu = 1/2 + eps/12, omega = eps: Wilson and Fisher, Phys. Rev. Lett. 28 (1972) 240
    for eps in (1e-2, 1e-4):
        point = wilson_fisher(4 - eps, order)
        assert (point.nu - 0.5) / eps == pytest.approx(1 / 12, abs=0.06 * eps + 1e-6)
        assert point.omega / eps == pytest.approx(1, abs=1.1 * eps)


@pytest.mark.parametrize("d", [4, 4.5, 6])
def test_from_four_dimensions_on_only_the_free_field_is_at_rest(d):
    for order in (4, 8, 20, 40):
        assert [point.name for point in lpa_fixed_points(d, order=order)] == ["Gaussian"]


def test_directions_at_the_free_field_scale_canonically():
    assert lpa_fixed_points(3, order=8)[0].eigenvalues.tolist() == [-2, -1, 0, 1]
    assert lpa_fixed_points(2, order=6)[0].eigenvalues.tolist() == [-2, -2, -2]
