"""Figures of the renormalisation group draw what they are given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from nnqft import eft, plot
from nnqft.ensemble import exact_correlators
from nnqft.errors import ArgumentError
from nnqft.networks import erf_net, relu_net

FLOWS = [eft.lpa_flow(3, u2=u2, u4=1.0, k=(1.0, 0.3), tolerance=1e-6, n_points=5) for u2 in (-0.05, 0.05)]


@pytest.fixture
def ax():
    return plot.canvas()[1][0, 0]


def test_running_couplings_are_points_at_their_modulus_and_lines_for_tuples(ax):
    flow = eft.rg_flow(exact_correlators(relu_net(20, dim_in=1), [[0.5], [1.0]]), [1.0, 10.0, 100.0])
    artists = plot.running(flow, ax=ax, power=-5, label="relu")
    assert len(artists) == 5 + 1 + 1  # tuples, power law, points
    points = artists[-1].lines[0]
    np.testing.assert_allclose(points.get_ydata(), -flow.mean)
    assert points.get_markerfacecolor() == "white"  # negative
    np.testing.assert_allclose(artists[5].get_ydata(), -flow.mean, rtol=1e-12)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log") and r"\lambda" in ax.get_ylabel()
    assert len(plot.running(flow, ax=ax, tuples=False)) == 1


def test_lines_of_tuples_break_where_the_coupling_changes_its_sign(ax):
    flow = eft.rg_flow(exact_correlators(erf_net(5, dim_in=1), [[-1.0], [1.0]]), [1.0, 100.0])
    broken = [np.isnan(line.get_ydata()).any() for line in plot.running(flow, ax=ax)[:5]]
    assert broken == [False, True, False, True, False]


def test_beta_draws_a_line_for_every_tuple_and_the_limit(ax):
    result = eft.beta_function(erf_net(5, dim_in=1), [[0.5], [1.0]], cutoffs=[1.0, 10.0, 100.0])
    artists = plot.beta(result, ax=ax, limit=-1, label="erf")
    assert len(artists) == 6 and [line.get_label() for line in artists[1:]].count("erf") == 1
    np.testing.assert_array_equal([line.get_ydata() for line in artists[1:]], result.exponent.T)


def test_flow_lines_show_dimensionless_couplings_fixed_points_and_arrows(ax):
    artists = plot.flow_lines(FLOWS, ax=ax)
    np.testing.assert_allclose(artists[1].get_xdata(), FLOWS[1].dimensionless[:, 0])
    dots = [a for a in artists if getattr(a, "get_marker", str)() == "o"]
    assert [dot.get_label() for dot in dots] == ["Gaussian", "Wilson-Fisher"]
    assert sum(hasattr(a, "arrow_patch") for a in artists) == 2
    assert len(plot.flow_lines(FLOWS[0], ax=ax, plane=(4, 6), fixed_points=False, arrows=False)) == 1
    assert ax.get_ylabel() == r"$\bar u_{6}$"


def test_flow_lines_refuse_what_does_not_belong_together(ax):
    other = eft.lpa_flow(2, 1.0, u4=1.0, k=(1.0, 0.5), n_points=2, tolerance=1e-6)
    with pytest.raises(ArgumentError, match="one dimension"):
        plot.flow_lines([FLOWS[0], other], ax=ax)
    with pytest.raises(ArgumentError, match="orders"):
        plot.flow_lines(FLOWS, ax=ax, plane=(2, 8))
    with pytest.raises(ArgumentError, match="one dimension"):
        plot.flow_lines([], ax=ax)
