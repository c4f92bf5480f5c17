"""Flows of measured couplings against exact ones."""

import numpy as np

from nnqft.eft import rg_flow
from nnqft.ensemble import correlators, exact_correlators
from nnqft.networks import erf_net

X = np.array([[0.2], [0.6], [1.0]])


def test_a_measured_flow_agrees_with_the_exact_one_within_its_errors():
    net, cutoffs = erf_net(20, dim_in=1), [1.0, 10.0, 100.0]
    measured = rg_flow(correlators(net, X, n_nets=1 << 17, seed=11), cutoffs)
    exact = rg_flow(exact_correlators(net, X), cutoffs)
    assert (measured.stderr < 0.02 * np.abs(exact.mean)).all()
    # One run serves all cutoffs, so this is nearly one number: |z| < 4 fails once in 16000 seeds.
    assert (np.abs(measured.mean - exact.mean) < 4 * measured.stderr).all()


def test_an_active_flow_over_independent_runs_has_the_exact_slope_within_its_errors():
    sigma_w = (0.7, 1.4)  # with two points the slope does not depend on their weights
    runs = [correlators(erf_net(5, dim_in=1, sigma_w=s), X, n_nets=1 << 16, seed=i) for i, s in enumerate(sigma_w)]
    measured = rg_flow(runs[::-1], 10.0)
    exact = rg_flow([exact_correlators(run.net, X) for run in runs], 10.0)
    np.testing.assert_array_equal(measured.scale, sigma_w)
    line, expected = measured.slope(), exact.slope()
    z = (line.slope.mean - expected.slope.mean) / line.slope.stderr
    # 15 strongly correlated tuples: |z| < 4 fails once in some 5000 seeds.
    assert (np.abs(z) < 4).all() and line.slope.stderr.max() < 0.05
