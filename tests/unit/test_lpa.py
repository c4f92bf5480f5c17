"""Arguments and ends of flows."""

import pickle

import numpy as np
import pytest

from nnqft import errors
from nnqft.eft import lpa_couplings, lpa_fixed_points, lpa_flow
from nnqft.networks import cos_net, erf_net, gauss_net
from nnqft.tensor import Estimate


@pytest.mark.parametrize("arguments, message", [
    ({}, "the mass is missing"),
    ({"d": -1, "sigma_w": 1.0}, "d must be a finite number >= 0 and <= 20"),
    ({"d": float("nan"), "sigma_w": 1.0}, "d must be a finite number"),
    ({"d": True, "sigma_w": 1.0}, "d must be a real number"),
    ({"d": 0, "sigma_w": 1.0}, "give u2"),
    ({"sigma_w": 0.0}, "sigma_w must be positive"),
    ({"sigma_w": "one"}, "sigma_w must be an array of real numbers"),
    ({"sigma_w": 1e200}, "finite"),
    ({"sigma_w": np.ones((2, 2))}, r"shape \(2, 2\)"),
    ({"sigma_w": 1.0, "u4": np.nan}, "finite"),
    ({"sigma_w": 1.0, "u4": "x"}, "real numbers"),
    ({"sigma_w": 1.0, "u4": [1.0, 2.0]}, "one number for every coupling"),
    ({"sigma_w": [1.0, 2.0], "u4": [1.0, 2.0, 3.0]}, "one for each of 2"),
    ({"sigma_w": 1.0, "u4": 1e300}, "beyond float64"),
    ({"sigma_w": 1.0, "u4": 1e90}, "leave the range of float64"),
    ({"sigma_w": 1.0, "u6": 1.0, "order": 4}, "leaves no room"),
    ({"sigma_w": 1.0, "order": 5}, "even"),
    ({"sigma_w": 1.0, "order": 42}, r"order must lie in \[2, 40\]"),
    ({"sigma_w": 1.0, "order": 6.0}, "order must be an integer"),
    ({"sigma_w": 1.0, "higher": 1.0}, "sequence"),
    ({"sigma_w": 1.0, "k": 1.0}, "k_start"),
    ({"sigma_w": 1.0, "k": (1.0, 1.0)}, "strictly"),
    ({"sigma_w": 1.0, "k": (1.0, 0.0)}, "k must be positive"),
    ({"sigma_w": 1.0, "k": (1.0, 0.5, 0.7)}, "strictly"),
    ({"sigma_w": 1.0, "n_points": 1}, "n_points"),
    ({"sigma_w": 1.0, "tolerance": 0.0}, "tolerance"),
])  # fmt: skip
def test_arguments_that_make_no_flow_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        lpa_flow(**({"d": 3} | arguments))


def test_a_negative_propagator_at_the_start_is_a_divergence():
    with pytest.raises(errors.DivergenceError, match="at the start"):
        lpa_flow(3, u2=-2.0, u4=1.0, k=(1.0, 0.1))


def test_a_broken_phase_ends_the_flow_and_says_where():
    # Order 2 does not interact: u2 stays, and 1 + u2/k^2 = 0 at k = sqrt(-u2).
    with pytest.warns(errors.NNQFTWarning, match="phi = 0 is unstable"):
        flow = lpa_flow(3, u2=-0.5, order=2, k=(1.0, 0.1))
    assert flow.singular_k == pytest.approx(np.sqrt(0.5), rel=1e-6)
    assert flow.k[-1] == flow.singular_k and len(flow.k) == len(flow.couplings) < 101
    assert "singular at k=0.7071" in repr(flow)


@pytest.mark.parametrize("u4, k, way", [(-5.0, (100.0, 0.01), "-infinity"), (50.0, (0.01, 100.0), "infinity")])
def test_a_coupling_that_runs_away_ends_the_flow(u4, k, way):
    with pytest.warns(errors.NNQFTWarning, match=f"u4 runs to {way}"):
        flow = lpa_flow(1, 1.0, u4=u4, k=k, tolerance=1e-6)
    assert np.isfinite(flow.couplings).all() and min(k) < flow.singular_k < max(k)


def test_an_active_flow_that_ends_early_is_an_error():
    with pytest.raises(errors.DivergenceError, match="sigma_w = 1"):
        lpa_flow(1, [1.0, 2.0], u4=50.0, k=(0.01, 100.0), tolerance=1e-6)


def test_scales_of_the_result_are_those_asked_for():
    k = np.array([3.0, 1.0, 0.2])
    k.setflags(write=False)
    flow = lpa_flow(3, 1.0, u4=1.0, k=k[:])
    np.testing.assert_array_equal(flow.k, k)
    np.testing.assert_allclose(flow.at(1.0), flow.couplings[1], rtol=1e-12)
    with pytest.raises(errors.ArgumentError, match="outside the flow"):
        flow.at(5.0)
    with pytest.raises(errors.ArgumentError, match="orders"):
        flow.coupling(8)
    np.testing.assert_array_equal(flow.coupling(4), flow.couplings[:, 1])


def test_flows_survive_pickling_and_json():
    flow = lpa_flow(3, 1.0, u4=1.0, k=(1.0, 0.5), n_points=3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(flow)).at(0.7), flow.at(0.7))
    assert flow.to_dict()["couplings"][0] == [2 / 3, 1.0, 0.0]


def test_couplings_need_a_gaussian_kernel():
    with pytest.raises(errors.ArgumentError, match="no Gaussian kernel"):
        lpa_couplings(erf_net(5, dim_in=1), 0.1)
    with pytest.raises(errors.ArgumentError, match="no Gaussian kernel"):
        lpa_couplings(cos_net(5, dim_in=1, momentum=("ball", 3.0)), 0.1)
    with pytest.raises(errors.ArgumentError, match="sigma_w = 0"):
        lpa_couplings(gauss_net(5, dim_in=1, sigma_w=0.0), 0.1)
    measured = lpa_couplings(gauss_net(5, dim_in=1), Estimate(-0.2, 0.1))[1]
    assert measured.stderr / measured.mean == pytest.approx(-0.5)


@pytest.mark.parametrize("d, order", [(-1, 6), (3, 3), (3, 0), ("3", 6), (3, None)])
def test_fixed_points_need_a_dimension_and_an_even_order(d, order):
    if (d, order) == (3, None):
        assert len(lpa_fixed_points(3, order=None)) == len(lpa_fixed_points(3))
        return
    with pytest.raises(errors.ArgumentError):
        lpa_fixed_points(d, order=order)
