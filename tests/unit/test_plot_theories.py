"""Figures of symmetries and couplings of engineered theories show the numbers that they are given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from nnqft import eft, plot
from nnqft.ensemble import correlators, exact_correlators
from nnqft.errors import ArgumentError
from nnqft.networks import cos_net, gauss_net

SHIFT = ("translation", [1.0])
X = eft.orbit([[0.0], [0.5]], SHIFT)


@pytest.fixture
def ax():
    return plot.canvas()[1][0, 0]


def test_couplings_along_shifts_start_at_one(ax):
    moved = eft.coupling_along_shifts(gauss_net(10, dim_in=1), [[0.0], [0.5]], shifts=[0.0, 0.5, 1.0])
    artists = plot.along_shifts(moved, ax=ax, tuples=[2], label="gauss")
    np.testing.assert_allclose(artists[1].get_xdata(), [0, 0.5, 1])
    np.testing.assert_allclose(artists[1].get_ydata(), moved.coupling[:, 2] / moved.coupling[0, 2])
    assert ax.get_yscale() == "log" and ax.get_legend_handles_labels()[1] == ["gauss"]
    assert len(plot.along_shifts(moved, ax=ax)) == 6


def test_naturalness_marks_the_symmetry_and_the_accident(ax):
    net = cos_net(10, dim_in=1)
    scan = eft.naturalness(net, [[0.0]], parameter="kurtosis", values=[1.0, 2.0, 3.0])
    _, coupling, breaking, restored, tuned = plot.naturalness(scan, ax=ax)
    np.testing.assert_allclose(coupling.get_ydata(), scan.coupling)
    np.testing.assert_allclose(breaking.get_ydata(), scan.breaking)
    assert (restored.get_xdata()[0], tuned.get_xdata()[0]) == (3, 2)
    assert len(plot.naturalness(eft.naturalness(net, [[0.0]], parameter="phase", values=[0.5, 1]), ax=plot.canvas()[1][0, 0])) == 4


def test_naturalness_of_the_width_is_a_power_law(ax):
    scan = eft.naturalness(cos_net(10, dim_in=1), [[0.0]], parameter="width", values=[1, 10, 100])
    (line,) = plot.naturalness(scan, ax=ax)
    np.testing.assert_allclose(line.get_ydata(), -scan.coupling)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_symmetry_checks_stand_side_by_side_in_standard_errors(ax):
    run = correlators(cos_net(10, dim_in=1), X, n_nets=8192)
    checks = [eft.check_invariance(run, SHIFT, order=n) for n in (2, 4)]
    artists = plot.symmetry(checks, ax=ax, bound=4)
    np.testing.assert_allclose(artists[-1].get_ydata(), checks[1].z)
    assert abs(artists[-1].get_xdata() - 1).max() < 0.31
    assert [t.get_text() for t in ax.get_xticklabels()] == ["translation\norder 2", "translation\norder 4"]
    assert len(plot.symmetry(checks[0], ax=plot.canvas()[1][0, 0])) == 3


def test_exact_checks_are_drawn_over_the_largest_correlator(ax):
    check = eft.check_invariance(exact_correlators(gauss_net(10, dim_in=1), X), SHIFT)
    assert abs(plot.symmetry(check, ax=ax)[-1].get_ydata()).max() == pytest.approx(check.defect)


def test_bad_input_is_named(ax):
    measured = eft.check_invariance(correlators(cos_net(10, dim_in=1), X, n_nets=8192), SHIFT)
    exact = eft.check_invariance(exact_correlators(cos_net(10, dim_in=1), X), SHIFT)
    for call, message in (
        (lambda: plot.symmetry([], ax=ax), "one or more"),
        (lambda: plot.symmetry(3.0, ax=ax), "one or more"),
        (lambda: plot.symmetry([measured, exact], ax=ax), "not both"),
        (lambda: plot.along_shifts(measured, ax=ax), "draws ShiftedCouplings, got Invariance"),
        (lambda: plot.naturalness(measured, ax=ax), "got Invariance"),
    ):
        with pytest.raises(ArgumentError, match=message):
            call()
