"""Figures of couplings and six-point functions show the numbers they are given."""

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from nnqft import plot
from nnqft.eft import predict_six_point, quartic_coupling
from nnqft.errors import ArgumentError, ShapeError
from nnqft.tensor import Estimate, SymmetricTensor

COUPLING = quartic_coupling(
    SymmetricTensor([24.0, 48.0, 24.0, 0.0, -24.0], 2.4, order=4, size=2),
    SymmetricTensor(np.ones(5), 0, order=4, size=2),
    sign="table",
)


@pytest.fixture
def ax():
    return plot.canvas()[1][0, 0]


def data(errorbar):
    return errorbar.lines[0].get_xydata()


def test_tuples_are_points_and_the_mean_is_a_line(ax):
    line, band, points = plot.coupling(COUPLING, ax=ax)
    np.testing.assert_allclose(line.get_ydata(), 0.6)
    np.testing.assert_allclose(data(points), np.column_stack([np.arange(5), [1, 2, 1, 0, -1]]))
    low, high = band.get_bbox().y0, band.get_bbox().y1
    np.testing.assert_allclose([low, high], 0.6 + COUPLING.stderr * np.array([-1, 1]))


def test_exact_couplings_have_no_band_and_exact_values_are_dashes(ax):
    exact = quartic_coupling(Estimate(24.0, 0.0), 1.0)
    artists = plot.coupling(exact, ax=ax, exact=exact, against=[0.3])
    assert len(artists) == 3
    assert artists[1].get_marker() == "_"
    assert data(artists[-1]).tolist() == [[0.3, -1.0]]
    assert ax.get_xlabel() == "input"


@pytest.mark.parametrize("name", ["against", "exact"])
def test_wrong_lengths_are_refused(ax, name):
    with pytest.raises(ShapeError, match=rf"{name} has shape \(3,\); this coupling has 5 tuples"):
        plot.coupling(COUPLING, ax=ax, **{name: np.ones(3)})


def test_couplings_fall_with_the_width_as_the_line_says(ax):
    pairs = [(5, Estimate(-0.12, 0.01)), (500, Estimate(-0.001, 0.01)), (50, COUPLING)]
    line, points = plot.coupling_against_width(pairs, ax=ax, power=1)
    np.testing.assert_allclose(line.get_xydata(), [[5, 0.1], [500, 0.001]])
    np.testing.assert_allclose(data(points), [[5, 0.12], [500, 0.001], [50, 0.6]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    lowest = min(segment[:, 1].min() for segment in points.lines[2][0].get_segments())
    assert lowest > 0  # bars stay on the axis
    with pytest.raises(ArgumentError, match="no couplings"):
        plot.coupling_against_width([], ax=ax)


def test_unknown_errors_draw_points_without_bars(ax):
    unknown = quartic_coupling(Estimate(1.0, math.nan), 1.0)
    artists = plot.coupling(unknown, ax=ax)
    assert np.isfinite(artists[-1].lines[2][0].get_segments()).all()
    plot.coupling_against_width([(3, unknown)], ax=ax)


def test_six_point_predictions_come_order_by_order(ax):
    one = SymmetricTensor([1.0], 0, order=4, size=1)
    six = predict_six_point(Estimate(-0.01, 0.001), np.ones((1, 1)), terms=one)
    exact = SymmetricTensor([20.0], 0, order=6, size=1)
    line, free, first = plot.six_point(six, exact=exact, ax=ax)
    assert data(free).tolist() == [[0, 0.75]]
    np.testing.assert_allclose(data(first), [[0, (15 + 24 * 15 * 0.01) / 20]])
    assert line.get_ydata()[0] == 1
